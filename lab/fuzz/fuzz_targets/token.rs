//! Tokens: whatever a client sends, only a token that the issuer signed is accepted.
//!
//! There is no private key in here, so that nothing at all may be accepted.

#![no_main]

use std::{
    pin::pin,
    str,
    sync::LazyLock,
    task::{self, Poll, Waker},
    time::SystemTime,
};

use authorizer::{
    Authorizer, error::VerificationError, key_set::KeySet, key_source::KeySource, request::Request,
    token::TokenVerifier,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use lambda_runtime::{Context, LambdaEvent};
use libfuzzer_sys::{
    arbitrary::{self, Arbitrary, Unstructured},
    fuzz_target,
};
use serde_json::{Map, Value, json};

const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "intake";
/// Far in the future.
const EXPIRY: u64 = 1 << 40;

/// The public halves of the examples in RFC 7515 (A.2.1, A.3.1) and RFC 8037 (A.2): a key for each algorithm.
const KEYS: &str = r#"{"keys": [
    {"kid": "r", "kty": "RSA", "e": "AQAB", "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"},
    {"kid": "e", "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
    {"kid": "o", "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
]}"#;

static TOKENS: LazyLock<TokenVerifier> = LazyLock::new(|| TokenVerifier::new(ISSUER, AUDIENCE));
static SOURCE: LazyLock<KeySource> = LazyLock::new(source);
static AUTHORIZER: LazyLock<Authorizer> =
    LazyLock::new(|| Authorizer::new(TokenVerifier::new(ISSUER, AUDIENCE), source()));

fn source() -> KeySource {
    KeySource::inline(KEYS).expect("usable keys")
}

/// The result of a future that waits for nothing: a target that waits reaches more than it should.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut task::Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("it waits for something"),
    }
}

fn assert_denied(token: &str) {
    let verdict = at_once(TOKENS.verify(token, &SOURCE, SystemTime::now()));
    assert!(matches!(verdict, Err(VerificationError::Denied(_))), "{verdict:?}");
}

/// Checks that the authorizer's response to an event is an error, or a policy that denies.
fn assert_denies(event: Request) {
    let response = at_once(AUTHORIZER.handle(LambdaEvent::new(event, Context::default())));
    if let Ok(policy) = response {
        let policy = serde_json::to_value(policy).expect("JSON");
        assert_eq!(policy["principalId"], "anonymous");
        assert_eq!(policy["policyDocument"]["Statement"][0]["Effect"], "Deny");
    }
}

fn event(token: &str, websocket: bool) -> Request {
    let method = "arn:aws:execute-api:eu-west-1:123456789012:a1b2c3d4e5/v1/GET/messages/order-1";
    let event = if websocket {
        json!({
            "methodArn": method,
            "queryStringParameters": { "token": token },
            "requestContext": { "connectionId": "Uf3k2cBHliACE4Q=" },
        })
    } else {
        json!({ "methodArn": method, "headers": { "Authorization": format!("Bearer {token}") } })
    };
    serde_json::from_value(event).expect("an event")
}

/// A token of the right form: a good one, except for its signature and for these members.
#[derive(Arbitrary, Debug)]
struct Token<'a> {
    algorithm: Algorithm,
    header: Vec<(Name<'a>, Odd<'a>)>,
    claims: Vec<(Name<'a>, Odd<'a>)>,
    signature: Signature<'a>,
    websocket: bool,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Algorithm {
    Rs256,
    Es256,
    EdDsa,
}

/// The name of a member.
#[derive(Arbitrary, Debug)]
enum Name<'a> {
    Known(u8),
    Any(&'a str),
}

#[derive(Arbitrary, Debug)]
enum Odd<'a> {
    Nothing,
    Text(&'a str),
    Texts(Vec<&'a str>),
    Number(i64),
    Fraction(f64),
    Object(&'a str, &'a str),
    /// Longer than any token may be.
    Long,
}

#[derive(Arbitrary, Debug)]
enum Signature<'a> {
    /// Of the length that the algorithm has.
    Repeated(u8),
    Halves([u8; 32], [u8; 32]),
    Any(&'a [u8]),
}

impl Name<'_> {
    fn text(&self) -> &str {
        const KNOWN: [&str; 10] = ["alg", "kid", "typ", "crit", "jwk", "iss", "aud", "sub", "exp", "nbf"];
        match self {
            Self::Known(number) => KNOWN[usize::from(*number) % KNOWN.len()],
            Self::Any(text) => text,
        }
    }
}

impl Odd<'_> {
    fn json(&self) -> Value {
        match self {
            Self::Nothing => Value::Null,
            Self::Text(text) => json!(text),
            Self::Texts(texts) => json!(texts),
            Self::Number(number) => json!(number),
            Self::Fraction(number) => json!(number),
            Self::Object(name, text) => json!({ *name: text }),
            Self::Long => json!("x".repeat(TokenVerifier::MAX_BYTES)),
        }
    }
}

impl Token<'_> {
    fn compact(&self) -> String {
        let (algorithm, key, length) = match self.algorithm {
            Algorithm::Rs256 => ("RS256", "r", 256),
            Algorithm::Es256 => ("ES256", "e", 64),
            Algorithm::EdDsa => ("EdDSA", "o", 64),
        };
        let part = |good: Value, odd: &[(Name, Odd)]| {
            let Value::Object(mut members) = good else { unreachable!("an object") };
            members.extend(
                odd.iter()
                    .map(|(name, value)| (name.text().to_owned(), value.json()))
                    .collect::<Map<String, Value>>(),
            );
            URL_SAFE_NO_PAD.encode(Value::Object(members).to_string())
        };
        let header = part(json!({ "alg": algorithm, "kid": key }), &self.header);
        let claims = json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": EXPIRY });
        let signature = match self.signature {
            Signature::Repeated(byte) => URL_SAFE_NO_PAD.encode(vec![byte; length]),
            Signature::Halves(r, s) => URL_SAFE_NO_PAD.encode([r, s].concat()),
            Signature::Any(bytes) => URL_SAFE_NO_PAD.encode(bytes),
        };
        format!("{header}.{}.{signature}", part(claims, &self.claims))
    }
}

/// Reads a key set and verifies a token with it. Its keys may be as weak as the issuer likes, so that an accepted
/// token proves nothing; but nothing may panic.
fn key_set(text: &str) {
    let Ok(keys) = KeySet::parse(text) else {
        return;
    };
    if let Ok(Value::Object(set)) = serde_json::from_str(text) {
        assert_eq!(Some(keys.usable() + keys.skipped()), set["keys"].as_array().map(Vec::len));
    }
    let source = KeySource::inline(text);
    assert_eq!(source.is_some(), keys.usable() > 0);
    if let Some(source) = source {
        for algorithm in [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa] {
            let (header, claims) = (Vec::new(), Vec::new());
            let token =
                Token { algorithm, header, claims, signature: Signature::Repeated(1), websocket: false };
            let _verdict = at_once(TOKENS.verify(&token.compact(), &source, SystemTime::now()));
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    // The same bytes in three readings. An event, as API Gateway writes it:
    if let Ok(event) = serde_json::from_slice::<Request>(bytes) {
        assert_denies(event);
    }
    // The token itself, or the key set:
    if let Ok(text) = str::from_utf8(bytes) {
        assert_denied(text);
        assert_denies(event(text, false));
        key_set(text);
    }
    // A token made from the bytes:
    if let Ok(token) = Token::arbitrary(&mut Unstructured::new(bytes)) {
        let compact = token.compact();
        assert_denied(&compact);
        assert_denies(event(&compact, token.websocket));
    }
});
