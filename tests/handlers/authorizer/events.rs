//! The responses to the events of API Gateway.

use std::{
    env,
    io::{self, Write},
    process::Command,
    sync::{Arc, Mutex},
};

use authorizer::{Authorizer, error::AuthorizerError, key_source::KeySource};
use lambda_runtime::{Context, Diagnostic, LambdaEvent};
use serde_json::{Value, json};

use super::{
    key_server::{KeyServer, Response},
    signing::{ISSUER, OWNER, SigningKey, Trusted, claims, jwks, seconds, verifier, with},
};

const REST: &str = include_str!("../../../events/authorizer-rest.json");
const WEBSOCKET: &str = include_str!("../../../events/authorizer-websocket.json");
const NO_TOKEN: &str = include_str!("../../../events/authorizer-no-token.json");

/// Where the token is in the event files.
const PLACEHOLDER: &str = "put.a-token.here";

fn event(text: &str, token: &str) -> Value {
    serde_json::from_str(&text.replace(PLACEHOLDER, token)).expect("an event is JSON")
}

async fn respond(keys: KeySource, event: &Value) -> Result<Value, AuthorizerError> {
    let request = serde_json::from_value(event.clone()).expect("any JSON is a request");
    let response =
        Authorizer::new(verifier(), keys).handle(LambdaEvent::new(request, Context::default())).await?;
    Ok(serde_json::to_value(response).expect("a response is JSON"))
}

/// The policy alone, without the context.
async fn policy_of(keys: KeySource, event: &Value) -> Result<Value, AuthorizerError> {
    let mut response = respond(keys, event).await?;
    response.as_object_mut().expect("an object").remove("context");
    Ok(response)
}

fn policy(principal: &str, effect: &str, resource: &str) -> Value {
    json!({
        "principalId": principal,
        "policyDocument": {
            "Version": "2012-10-17",
            "Statement": [
                { "Action": "execute-api:Invoke", "Effect": effect, "Resource": resource },
            ],
        },
    })
}

fn allowed(resource: &str) -> Result<Value, AuthorizerError> {
    Ok(policy(OWNER, "Allow", resource))
}

const REST_STAGE: &str = "arn:aws:execute-api:eu-west-1:123456789012:a1b2c3d4e5/v1/*";
const WEBSOCKET_STAGE: &str = "arn:aws:execute-api:eu-west-1:123456789012:f6g7h8i9j0/v1/*";

fn denied() -> Result<Value, AuthorizerError> {
    Ok(policy("anonymous", "Deny", WEBSOCKET_STAGE))
}

#[tokio::test]
async fn a_valid_token_is_allowed_into_the_whole_stage() {
    for key in [SigningKey::rsa(), SigningKey::p256(), SigningKey::ed25519()] {
        let issuer = Trusted::new(key);
        let token = issuer.token(&claims());
        assert_eq!(policy_of(issuer.keys, &event(REST, &token)).await, allowed(REST_STAGE));
    }
    let issuer = Trusted::new(SigningKey::p256());
    let token = issuer.token(&claims());
    assert_eq!(policy_of(issuer.keys, &event(WEBSOCKET, &token)).await, allowed(WEBSOCKET_STAGE));
}

#[tokio::test]
async fn a_connection_gets_the_time_until_which_its_token_is_valid() {
    let now = i64::try_from(seconds()).expect("this century");
    for (exp, valid_until) in [
        (json!(now + 600), now + 660),
        // Within the leeway it is still valid, and for that long only.
        (json!(now - 30), now + 30),
        (serde_json::from_str(&format!("{}.75", now + 600)).expect("a number"), now + 660),
        (json!(u64::MAX), i64::MAX),
    ] {
        let issuer = Trusted::new(SigningKey::p256());
        let token = issuer.token(&with("exp", exp.clone()));
        let response = respond(issuer.keys, &event(WEBSOCKET, &token)).await.expect("allowed");
        assert_eq!(response["context"]["validUntil"], json!(valid_until.to_string()), "{exp}");
    }
}

#[tokio::test]
async fn an_invalid_token_is_rejected_by_both_apis() {
    let key = SigningKey::p256();
    let other = SigningKey::p256();
    let tokens = [
        PLACEHOLDER.to_owned(),
        "x".to_owned(),
        key.token("key-2", &claims()),
        key.token(Trusted::KEY_ID, &with("exp", 1.into())),
        key.token(Trusted::KEY_ID, &with("iss", "https://other.example/".into())),
        key.token(Trusted::KEY_ID, &with("aud", "other".into())),
        other.token(Trusted::KEY_ID, &claims()),
        key.sign(&json!({ "alg": "none", "kid": Trusted::KEY_ID }), &claims()),
    ];
    let set = jwks(&[key.jwk(Trusted::KEY_ID)]);
    let keys = || KeySource::inline(&set).expect("keys");
    for token in tokens {
        let result = respond(keys(), &event(REST, &token)).await;
        assert_eq!(result, Err(AuthorizerError::Unauthorized), "{token}");
        let result = respond(keys(), &event(WEBSOCKET, &token)).await;
        assert_eq!(result, denied(), "{token}");
    }
}

#[tokio::test]
async fn a_token_in_the_wrong_place_is_not_used() {
    let issuer = Trusted::new(SigningKey::p256());
    let token = issuer.token(&claims());
    let set = jwks(&[issuer.key.jwk(Trusted::KEY_ID)]);
    let keys = || KeySource::inline(&set).expect("keys");

    // This one has its token in the query.
    let rest = event(NO_TOKEN, &token);
    assert_eq!(rest["queryStringParameters"]["token"], token);
    assert_eq!(respond(keys(), &rest).await, Err(AuthorizerError::Unauthorized));

    let mut websocket = event(WEBSOCKET, &token);
    websocket["queryStringParameters"] = Value::Null;
    websocket["multiValueQueryStringParameters"] = Value::Null;
    websocket["headers"]["Authorization"] = format!("Bearer {token}").into();
    assert_eq!(respond(keys(), &websocket).await, denied());
}

#[tokio::test]
async fn a_rejection_has_the_one_message_that_a_rest_api_turns_into_a_401() {
    let diagnostic = Diagnostic::from(AuthorizerError::Unauthorized);
    assert_eq!(diagnostic.error_message, "Unauthorized");
    assert_ne!(Diagnostic::from(AuthorizerError::Failed).error_message, "Unauthorized");
}

#[tokio::test]
async fn without_keys_the_authorizer_fails_and_rejects_no_token() {
    let issuer = Trusted::new(SigningKey::p256());
    let token = issuer.token(&claims());
    let server = KeyServer::start(Response::Status(500));
    for text in [REST, WEBSOCKET] {
        let result = respond(server.keys(), &event(text, &token)).await;
        assert_eq!(result, Err(AuthorizerError::Failed));
    }
    // A token that can never be valid is rejected without keys, too.
    let result = respond(server.keys(), &event(REST, PLACEHOLDER)).await;
    assert_eq!(result, Err(AuthorizerError::Unauthorized));
}

#[tokio::test]
async fn an_event_of_another_form_is_a_failure() {
    let issuer = Trusted::new(SigningKey::p256());
    let set = jwks(&[issuer.key.jwk(Trusted::KEY_ID)]);
    for odd in [json!({}), json!(null), json!([]), json!("x"), json!({ "methodArn": "*" })] {
        let keys = KeySource::inline(&set).expect("keys");
        assert_eq!(respond(keys, &odd).await, Err(AuthorizerError::Failed), "{odd}");
    }
}

/// In a process of its own: `tracing` caches for a whole process which events are of interest, and a thread without
/// a subscriber could turn them off for this one.
#[test]
fn the_log_has_one_line_for_each_event_and_no_part_of_a_token() {
    let alone = Command::new(env::current_exe().expect("this program"))
        .args(["--exact", "authorizer::events::the_log_of_a_process", "--ignored"])
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&alone.stdout);
    assert!(alone.status.success() && said.contains("1 passed"), "{said}");
}

#[tokio::test]
#[ignore = "it is the process of the_log_has_one_line_for_each_event_and_no_part_of_a_token"]
async fn the_log_of_a_process() {
    let issuer = Trusted::new(SigningKey::p256());
    let valid = issuer.token(&claims());
    let expired = issuer.token(&with("exp", 1.into()));
    let unknown = issuer.key.token("key-2", &claims());
    let set = jwks(&[issuer.key.jwk(Trusted::KEY_ID)]);

    for (token, reason) in [
        (valid.as_str(), "\"allowed\""),
        (expired.as_str(), "\"exp: expired\""),
        (unknown.as_str(), "unknown key"),
        (PLACEHOLDER, "\"malformed token\""),
    ] {
        for text in [REST, WEBSOCKET] {
            let log = Log::default();
            let subscriber = tracing_subscriber::fmt()
                .json()
                .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
                .with_writer({
                    let log = log.clone();
                    move || log.clone()
                })
                .finish();
            let guard = tracing::subscriber::set_default(subscriber);
            let keys = KeySource::inline(&set).expect("keys");
            let _result = respond(keys, &event(text, token)).await;
            drop(guard);

            let lines = String::from_utf8(log.0.lock().expect("a log").clone()).expect("text");
            assert_eq!(lines.lines().count(), 1, "{lines}");
            assert!(lines.contains(reason), "{lines}");
            for part in token.split('.').chain([OWNER, ISSUER]) {
                assert!(!lines.contains(part), "{part} in {lines}");
            }
        }
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("a log").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
