//! Who is let in.

use std::{
    env, fs,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use development_key::DevelopmentKey;
use e2e::stack::{Answer, Stack, unique};
use reqwest::Method;
use ring::hmac;
use serde_json::{Value, json};

const HOUR: u64 = 3600;

#[tokio::test]
async fn a_token_that_is_not_good_is_refused_by_every_route_and_by_the_socket() {
    let stack = Stack::running();
    let mut accepted = Vec::new();
    for (what, token) in bad_tokens(&stack) {
        for answer in on_every_route(&stack, Some(&format!("Bearer {token}"))).await {
            if answer.status == 401 {
                answer.assert_problem(401, "unauthorized");
                assert_eq!(answer.header("www-authenticate"), "Bearer", "{what}: {answer:?}");
            } else {
                accepted.push(format!("{what}: HTTP answered {answer:?}"));
            }
        }
        let status = stack.refused_handshake(&format!("?token={token}")).await;
        if !matches!(status, Some(401 | 403)) {
            accepted.push(format!("{what}: the handshake was answered {status:?}"));
        }
    }
    assert!(accepted.is_empty(), "{}", accepted.join("\n"));
}

#[tokio::test]
async fn a_request_without_a_bearer_token_is_refused() {
    let stack = Stack::running();
    let good = stack.caller().token;
    let headers = [
        None,
        Some(String::new()),
        Some("Bearer".to_owned()),
        Some("Bearer ".to_owned()),
        Some(good.clone()),
        Some(format!("Basic {good}")),
        Some(format!("Token {good}")),
        Some(format!("Bearer{good}")),
        Some(format!("Bearer {good} {good}")),
        Some(format!("Bearer {good},Bearer {good}")),
        Some("Basic YWxpY2U6c2VjcmV0".to_owned()),
    ];
    for header in headers {
        for answer in on_every_route(&stack, header.as_deref()).await {
            assert_eq!(answer.status, 401, "{header:?}: {answer:?}");
            answer.assert_problem(401, "unauthorized");
        }
    }
}

#[tokio::test]
async fn http_takes_a_token_from_the_header_alone() {
    let stack = Stack::running();
    let (caller, id) = (stack.caller(), unique("m"));
    for name in ["token", "access_token", "authorization", "Authorization"] {
        let path = format!("/messages/{id}?{name}={}", caller.token);
        let request = stack.request(Method::PUT, &path).header("content-type", "application/json");
        let request =
            request.header("token", &caller.token).header("cookie", format!("token={}", caller.token));
        Answer::to(request.body(r#"{"a":1}"#)).await.assert_problem(401, "unauthorized");
    }
    assert_eq!(caller.item(&id).await, None);
}

#[tokio::test]
async fn a_socket_takes_a_token_from_the_query_alone() {
    let stack = Stack::running();
    let token = stack.caller().token;
    for query in ["", "?", "?token", "?token=", "?Token=x", "?access_token=x", "?token=x&token=x"] {
        let query = query.replace('x', &token);
        let status = stack.refused_handshake(&query).await;
        assert!(matches!(status, Some(401 | 403)), "{query}: {status:?}");
    }
    let url = format!("{}/", stack.at.websocket_url).replacen("ws", "http", 1);
    let handshake = stack
        .http
        .get(url.trim_end_matches('/'))
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("authorization", format!("Bearer {token}"));
    let answer = Answer::to(handshake).await;
    assert!([401, 403].contains(&answer.status), "{answer:?}");
}

#[tokio::test]
async fn a_refused_socket_is_not_noted() {
    let stack = Stack::running();
    let owner = unique("owner");
    let (issuer, audience) = (&stack.at.token_issuer, "somebody else");
    let token = stack.key.mint(issuer, audience, &owner, Duration::from_secs(HOUR));
    assert!(stack.refused_handshake(&format!("?token={token}")).await.is_some());
    assert!(stack.connections(&owner).await.is_empty());
}

#[tokio::test]
async fn a_refused_request_writes_nothing() {
    let stack = Stack::running();
    let (owner, id) = (unique("owner"), unique("m"));
    let token = stack.key.mint(
        "https://elsewhere.example",
        &stack.at.token_audience,
        &owner,
        Duration::from_secs(HOUR),
    );
    for way in ["messages", "queue"] {
        let request = stack.request(Method::PUT, &format!("/{way}/{id}"));
        let request = request.header("authorization", format!("Bearer {token}"));
        let request = request.header("content-type", "application/json").body(r#"{"a":1}"#);
        Answer::to(request).await.assert_problem(401, "unauthorized");
    }
    assert_eq!(stack.item(&owner, &id).await, None);
}

#[tokio::test]
async fn one_token_is_good_for_every_route() {
    let stack = Stack::running();
    let caller = stack.caller();
    // In this order the gateway's cached answer to the first has to do for the others.
    let id = unique("m");
    caller.look_up(&id).await.assert_problem(404, "not-found");
    assert_eq!(caller.put(&id, r#"{"a":1}"#).await.status, 201);
    assert_eq!(caller.queue(&id, r#"{"a":1}"#).await.status, 202);
    assert_eq!(caller.look_up(&id).await.status, 200);
    caller.connect().await;
}

#[tokio::test]
async fn a_token_may_be_written_in_every_way_that_is_allowed() {
    let stack = Stack::running();
    let claims = |owner: &str| good_claims(&stack, owner);
    let header = good_header(&stack);
    let with = |owner: &str, name: &str, value: Value| {
        let mut claims = claims(owner);
        claims[name] = value;
        stack.key.sign(&header, &claims)
    };
    let owner = unique("owner");
    let audience = &stack.at.token_audience;
    let tokens = [
        with(&owner, "aud", json!([audience])),
        with(&owner, "aud", json!(["somebody else", audience])),
        with(&owner, "nbf", json!(now() - 10)),
        with(&owner, "iat", json!(null)),
        with(&owner, "scope", json!("anything")),
        // Not more than what clocks may differ by.
        with(&owner, "exp", json!(now() - 5)),
        stack.key.sign(&json!({ "alg": "ES256", "kid": stack.key.key_id() }), &claims(&owner)),
    ];
    for token in tokens {
        for scheme in ["Bearer", "bearer"] {
            let id = unique("m");
            let request = stack.request(Method::PUT, &format!("/messages/{id}"));
            let request = request.header("authorization", format!("{scheme} {token}"));
            let request = request.header("content-type", "application/json").body(r#"{"a":1}"#);
            let answer = Answer::to(request).await;
            assert_eq!(answer.status, 201, "{token}: {answer:?}");
            assert!(stack.item(&owner, &id).await.is_some());
        }
        stack.connect(&format!("?token={token}")).await.unwrap_or_else(|error| panic!("{token}: {error}"));
    }
}

/// The answers of all three routes to requests that are good except for their Authorization.
async fn on_every_route(stack: &Stack, authorization: Option<&str>) -> Vec<Answer> {
    let id = unique("refused");
    let mut answers = Vec::new();
    for (method, way) in [(Method::PUT, "messages"), (Method::PUT, "queue"), (Method::GET, "messages")] {
        let mut request = stack.request(method.clone(), &format!("/{way}/{id}"));
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        if method == Method::PUT {
            request = request.header("content-type", "application/json").body(r#"{"a":1}"#);
        }
        answers.push(Answer::to(request).await);
    }
    answers
}

/// Tokens that must not let anybody in, and what is wrong with each.
fn bad_tokens(stack: &Stack) -> Vec<(&'static str, String)> {
    let owner = unique("owner");
    let header = good_header(stack);
    let claims = good_claims(stack, &owner);
    let good = stack.key.sign(&header, &claims);
    let with_claim = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        stack.key.sign(&header, &claims)
    };
    let without_claim = |name: &str| {
        let mut claims = claims.clone();
        claims.as_object_mut().expect("an object").remove(name);
        stack.key.sign(&header, &claims)
    };
    let with_header = |name: &str, value: Value| {
        let mut header = header.clone();
        header[name] = value;
        stack.key.sign(&header, &claims)
    };
    let parts: Vec<&str> = good.split('.').collect();
    let [head, body, signature] = parts[..] else { panic!("a token has three parts") };
    let other_body = encoded(&good_claims(stack, "somebody else"));
    let unsigned = |header: &Value| format!("{}.{body}", encoded(header));
    let none = unsigned(&json!({ "alg": "none", "typ": "JWT" }));
    let mut first_bit = URL_SAFE_NO_PAD.decode(signature).expect("base64");
    first_bit[0] ^= 0x80;

    let other_key = other_key();
    let mut tokens = vec![
        ("garbage", "garbage".to_owned()),
        ("three parts of garbage", "a.b.c".to_owned()),
        ("nothing but dots", "..".to_owned()),
        ("an encrypted token's five parts", format!("{good}.{body}.{signature}")),
        ("no signature", format!("{head}.{body}.")),
        ("two parts", format!("{head}.{body}")),
        ("another signature", format!("{head}.{body}.{}", URL_SAFE_NO_PAD.encode(first_bit))),
        ("a short signature", format!("{head}.{body}.{}", &signature[..40])),
        ("a signature of zeros", format!("{head}.{body}.{}", URL_SAFE_NO_PAD.encode([0; 64]))),
        ("other claims under the same signature", format!("{head}.{other_body}.{signature}")),
        ("expired", with_claim("exp", json!(now() - HOUR))),
        ("never valid", with_claim("exp", json!(0))),
        ("an expiry that is a text", with_claim("exp", json!((now() + HOUR).to_string()))),
        ("no expiry", without_claim("exp")),
        ("not yet valid", with_claim("nbf", json!(now() + HOUR))),
        ("another issuer", with_claim("iss", json!("https://elsewhere.example"))),
        ("an issuer with a slash more", with_claim("iss", json!(format!("{}/", stack.at.token_issuer)))),
        ("issuers", with_claim("iss", json!([stack.at.token_issuer]))),
        ("no issuer", without_claim("iss")),
        ("another audience", with_claim("aud", json!("somebody else"))),
        ("other audiences", with_claim("aud", json!(["somebody", "else"]))),
        ("no audience among them", with_claim("aud", json!([]))),
        ("no audience", without_claim("aud")),
        ("no subject", without_claim("sub")),
        ("an empty subject", with_claim("sub", json!(""))),
        ("a subject that is a number", with_claim("sub", json!(42))),
        ("subjects", with_claim("sub", json!([owner]))),
        ("a subject that is no ASCII", with_claim("sub", json!("bøb"))),
        ("a subject with a line break", with_claim("sub", json!("bob\nalice"))),
        ("a subject that is too long", with_claim("sub", json!("o".repeat(256)))),
        ("another key under the same name", other_key.sign(&header, &claims)),
        (
            "another key under its own name",
            other_key.sign(&json!({ "alg": "ES256", "kid": other_key.key_id() }), &claims),
        ),
        (
            "another key that it brings along",
            other_key.sign(&json!({ "alg": "ES256", "jwk": keys(&other_key)["keys"][0] }), &claims),
        ),
        (
            "another key that is to be fetched",
            other_key.sign(&json!({ "alg": "ES256", "jku": "http://127.0.0.1:1/jwks.json" }), &claims),
        ),
        ("an unknown key", with_header("kid", json!("unknown"))),
        ("a key that is a path", with_header("kid", json!("../../../../dev/null"))),
        ("an extension that must be understood", with_header("crit", json!(["exp"]))),
        ("alg none, without a signature", format!("{none}.")),
        ("alg none, with two parts", none.clone()),
        ("alg none, with the good signature", format!("{none}.{signature}")),
        ("alg None", format!("{}.", unsigned(&json!({ "alg": "None", "typ": "JWT" })))),
        ("alg NONE", format!("{}.", unsigned(&json!({ "alg": "NONE", "kid": stack.key.key_id() })))),
        ("alg none, signed with the good key", with_header("alg", json!("none"))),
        ("alg missing", stack.key.sign(&json!({ "kid": stack.key.key_id() }), &claims)),
        ("alg RS256 for a key of another family", with_header("alg", json!("RS256"))),
        ("alg EdDSA for a key of another family", with_header("alg", json!("EdDSA"))),
        ("alg ES384 for a key of another curve", with_header("alg", json!("ES384"))),
        ("alg HS256, with the good signature", with_header("alg", json!("HS256"))),
    ];
    for (what, secret) in public_key_bytes(&stack.key) {
        let header = json!({ "alg": "HS256", "typ": "JWT", "kid": stack.key.key_id() });
        let signed = format!("{}.{body}", encoded(&header));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), signed.as_bytes());
        tokens.push((what, format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))));
    }
    tokens
}

/// All that somebody might take for "the public key" as a secret.
fn public_key_bytes(key: &DevelopmentKey) -> Vec<(&'static str, Vec<u8>)> {
    let set = keys(key);
    let coordinate = |name: &str| {
        let text = set["keys"][0][name].as_str().expect("a coordinate");
        URL_SAFE_NO_PAD.decode(text).expect("base64")
    };
    let point = [vec![4], coordinate("x"), coordinate("y")].concat();
    // SubjectPublicKeyInfo of a P-256 key (RFC 5480) is the same for all up to the point.
    let info = [
        b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00"
            .to_vec(),
        point.clone(),
    ]
    .concat();
    let text = base64::engine::general_purpose::STANDARD.encode(&info);
    let (first, second) = text.split_at(64);
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{first}\n{second}\n-----END PUBLIC KEY-----\n");
    vec![
        ("HS256 signed with the key set", key.jwks().into_bytes()),
        ("HS256 signed with the key of the set", set["keys"][0].to_string().into_bytes()),
        ("HS256 signed with the point", point),
        ("HS256 signed with the public key's DER", info),
        ("HS256 signed with the public key's PEM", pem.into_bytes()),
        ("HS256 signed with the name of the key", key.key_id().into_bytes()),
        ("HS256 signed with nothing", Vec::new()),
    ]
}

/// A key that the stack does not know.
fn other_key() -> DevelopmentKey {
    let path = env::temp_dir().join(unique("other-key"));
    let key = DevelopmentKey::load_or_create(&path).unwrap_or_else(|error| panic!("{error}"));
    fs::remove_file(path).expect("it was just made");
    key
}

fn keys(key: &DevelopmentKey) -> Value {
    serde_json::from_str(&key.jwks()).expect("JSON")
}

fn good_header(stack: &Stack) -> Value {
    json!({ "alg": "ES256", "typ": "JWT", "kid": stack.key.key_id() })
}

fn good_claims(stack: &Stack, owner: &str) -> Value {
    json!({
        "iss": stack.at.token_issuer,
        "aud": stack.at.token_audience,
        "sub": owner,
        "iat": now(),
        "exp": now() + HOUR,
    })
}

fn encoded(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}
