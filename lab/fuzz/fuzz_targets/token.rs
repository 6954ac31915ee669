//! Tokens: whatever a stranger sends, nobody is let in whom the issuer did not sign for.
//!
//! There is no private key in here, so that nothing at all may be accepted.

#![no_main]

use std::{str, sync::LazyLock, time::SystemTime};

use authorizer::{
    Authorizer,
    key_set::KeySet,
    key_source::KeySource,
    request::Request,
    error::VerificationError,
    token::TokenVerifier,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use fuzz::at_once;
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
    KeySource::inline(KEYS).expect("keys that can be used")
}

fn refused(token: &str) {
    let verdict = at_once(TOKENS.verify(token, &SOURCE, SystemTime::now()));
    assert!(matches!(verdict, Err(VerificationError::Denied(_))), "{verdict:?}");
}

/// The authorizer's answer to an event: an error, or a policy that denies.
fn turned_away(event: Request) {
    let answer = at_once(AUTHORIZER.handle(LambdaEvent::new(event, Context::default())));
    if let Ok(answer) = answer {
        let answer = serde_json::to_value(answer).expect("JSON");
        assert_eq!(answer["principalId"], "anonymous");
        assert_eq!(answer["policyDocument"]["Statement"][0]["Effect"], "Deny");
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

/// A token of the right form. What is `None` is what a good token would have.
#[derive(Arbitrary, Debug)]
struct Token<'a> {
    algorithm: Algorithm<'a>,
    key: Key<'a>,
    header: Vec<(&'a str, Odd<'a>)>,
    issuer: Option<Odd<'a>>,
    audience: Option<Odd<'a>>,
    subject: Option<Odd<'a>>,
    expiry: Option<Odd<'a>>,
    claims: Vec<(&'a str, Odd<'a>)>,
    signature: Signature<'a>,
    /// So many bytes more, up to more than are looked at.
    padding: u16,
    websocket: bool,
}

#[derive(Arbitrary, Debug)]
enum Algorithm<'a> {
    Rs256,
    Es256,
    EdDsa,
    Any(&'a str),
}

#[derive(Arbitrary, Debug)]
enum Key<'a> {
    Rsa,
    Ec,
    Okp,
    None,
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
}

#[derive(Arbitrary, Debug)]
enum Signature<'a> {
    /// Of the length that the algorithm has.
    Repeated(u8),
    Halves([u8; 32], [u8; 32]),
    Any(&'a [u8]),
    Text(&'a str),
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
        }
    }
}

impl Algorithm<'_> {
    fn text(&self) -> &str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
            Self::Any(text) => text,
        }
    }
}

impl Token<'_> {
    fn compact(&self) -> String {
        let others = |odd: &[(&str, Odd)]| -> Map<String, Value> {
            odd.iter().map(|(name, value)| ((*name).to_owned(), value.json())).collect()
        };
        let or = |odd: &Option<Odd>, good: Value| odd.as_ref().map_or(good, Odd::json);

        let mut header = others(&self.header);
        header.insert("alg".to_owned(), self.algorithm.text().into());
        let key = match self.key {
            Key::Rsa => Some("r"),
            Key::Ec => Some("e"),
            Key::Okp => Some("o"),
            Key::None => None,
            Key::Any(id) => Some(id),
        };
        if let Some(key) = key {
            header.insert("kid".to_owned(), key.into());
        }
        let mut claims = others(&self.claims);
        if self.padding > 0 {
            claims.insert("padding".to_owned(), "x".repeat(usize::from(self.padding % 10_000)).into());
        }
        claims.insert("iss".to_owned(), or(&self.issuer, ISSUER.into()));
        claims.insert("aud".to_owned(), or(&self.audience, AUDIENCE.into()));
        claims.insert("sub".to_owned(), or(&self.subject, "alice".into()));
        claims.insert("exp".to_owned(), or(&self.expiry, EXPIRY.into()));

        let part = |json: Map<String, Value>| URL_SAFE_NO_PAD.encode(Value::Object(json).to_string());
        let signature = match self.signature {
            Signature::Repeated(byte) => {
                let length = if matches!(self.algorithm, Algorithm::Rs256) { 256 } else { 64 };
                URL_SAFE_NO_PAD.encode(vec![byte; length])
            }
            Signature::Halves(r, s) => URL_SAFE_NO_PAD.encode([r, s].concat()),
            Signature::Any(bytes) => URL_SAFE_NO_PAD.encode(bytes),
            Signature::Text(text) => text.to_owned(),
        };
        format!("{}.{}.{signature}", part(header), part(claims))
    }
}

/// A key that an issuer may publish, with whatever in it.
#[derive(Arbitrary, Debug)]
struct Published<'a> {
    kind: Kind<'a>,
    id: bool,
    algorithm: Option<&'a str>,
    purpose: Option<&'a str>,
    operations: Option<Vec<&'a str>>,
}

#[derive(Arbitrary, Debug)]
enum Kind<'a> {
    /// A modulus of so many times 64 bytes, with these at its end.
    Rsa(u8, &'a [u8], &'a [u8]),
    Ec([u8; 32], [u8; 32]),
    Okp([u8; 32]),
    Any(&'a str, &'a str, &'a [u8], &'a [u8]),
}

impl Published<'_> {
    fn json(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut key = match &self.kind {
            Kind::Rsa(size, end, exponent) => {
                let mut modulus = vec![0xc5; usize::from(size % 20) * 64];
                modulus.extend_from_slice(end);
                json!({ "kty": "RSA", "n": text(&modulus), "e": text(exponent) })
            }
            Kind::Ec(x, y) => json!({ "kty": "EC", "crv": "P-256", "x": text(x), "y": text(y) }),
            Kind::Okp(x) => json!({ "kty": "OKP", "crv": "Ed25519", "x": text(x) }),
            Kind::Any(kind, curve, x, y) => {
                json!({ "kty": kind, "crv": curve, "x": text(x), "y": text(y), "n": text(x), "e": text(y) })
            }
        };
        if self.id {
            key["kid"] = "r".into();
        }
        for (name, value) in [("alg", self.algorithm), ("use", self.purpose)] {
            if let Some(value) = value {
                key[name] = value.into();
            }
        }
        if let Some(operations) = &self.operations {
            key["key_ops"] = json!(operations);
        }
        key
    }
}

/// Reads a key set and checks a token with it. Its keys may be as weak as the issuer likes, so that it
/// proves nothing if one takes the token: but nothing may break.
fn key_set(text: &str, token: &str) {
    let Ok(keys) = KeySet::parse(text) else {
        return;
    };
    if let Ok(Value::Object(set)) = serde_json::from_str(text) {
        assert_eq!(Some(keys.usable() + keys.skipped()), set["keys"].as_array().map(Vec::len));
    }
    let source = KeySource::inline(text);
    assert_eq!(source.is_some(), keys.usable() > 0);
    if let Some(source) = source {
        let _verdict = at_once(TOKENS.verify(token, &source, SystemTime::now()));
    }
}

fuzz_target!(|bytes: &[u8]| {
    // The same bytes in several readings. An event, as API Gateway would write it:
    if let Ok(event) = serde_json::from_slice::<Request>(bytes) {
        turned_away(event);
    }
    // The token itself, or the key set:
    if let Ok(text) = str::from_utf8(bytes) {
        refused(text);
        turned_away(event(text, false));
        key_set(text, text);
    }
    // What tokens and key sets may be made of:
    let mut choices = Unstructured::new(bytes);
    if let Ok(token) = Token::arbitrary(&mut choices) {
        let compact = token.compact();
        refused(&compact);
        turned_away(event(&compact, token.websocket));
        if let Ok(published) = Vec::<Published>::arbitrary(&mut choices) {
            let keys: Vec<_> = published.iter().map(Published::json).collect();
            key_set(&json!({ "keys": keys }).to_string(), &compact);
        }
    }
});
