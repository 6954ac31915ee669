//! Which tokens the gateway accepts. What is wrong with a token is the authorizer's business, and so in
//! `tests/handlers/authorizer`: here is that every route and the WebSocket ask it.

use std::{env, fs, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use development_key::DevelopmentKey;
use e2e::stack::{Response, Stack, unique};
use futures_util::StreamExt;
use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::{
    connect_async,
    tungstenite::{self, client::IntoClientRequest},
};

const BODY: &str = r#"{"a":1}"#;
const HOUR: i64 = 3600;

#[tokio::test]
async fn an_invalid_token_is_rejected_by_every_route_and_by_the_websocket_and_changes_nothing() {
    let stack = Stack::running();
    let owner = unique("owner");
    let mut accepted = Vec::new();
    for (what, token) in invalid_tokens(&stack, &owner) {
        let id = unique("rejected");
        for response in on_every_route(&stack, &id, Some(&format!("Bearer {token}"))).await {
            if response.status == 401 {
                response.assert_problem(401, "unauthorized");
                assert_eq!(response.header("www-authenticate"), "Bearer", "{what}: {response:?}");
            } else {
                accepted.push(format!("{what}: {response:?}"));
            }
        }
        assert_eq!(stack.item(&owner, &id).await, None, "{what}");
        let status = stack.handshake_rejection(&format!("?token={token}")).await;
        if !matches!(status, Some(401 | 403)) {
            accepted.push(format!("{what}: the status of the handshake is {status:?}"));
        }
    }
    assert!(accepted.is_empty(), "{}", accepted.join("\n"));
    assert!(stack.connections(&owner).await.is_empty(), "no rejected connection is recorded");
}

#[tokio::test]
async fn a_request_without_a_bearer_token_is_rejected() {
    let stack = Stack::running();
    let valid = stack.caller().token;
    let headers = [
        None,
        Some(String::new()),
        Some("Bearer".to_owned()),
        Some("Bearer ".to_owned()),
        Some(valid.clone()),
        Some(format!("Basic {valid}")),
        Some(format!("Token {valid}")),
        Some(format!("Bearer{valid}")),
        Some(format!("Bearer {valid} {valid}")),
        Some(format!("Bearer {valid},Bearer {valid}")),
        Some("Basic YWxpY2U6c2VjcmV0".to_owned()),
    ];
    for header in headers {
        for response in on_every_route(&stack, &unique("rejected"), header.as_deref()).await {
            assert_eq!(response.status, 401, "{header:?}: {response:?}");
            response.assert_problem(401, "unauthorized");
        }
    }
}

#[tokio::test]
async fn the_http_api_accepts_a_token_in_the_header_alone() {
    let stack = Stack::running();
    let (caller, id) = (stack.caller(), unique("m"));
    for name in ["token", "access_token", "authorization", "Authorization"] {
        let path = format!("/messages/{id}?{name}={}", caller.token);
        let request = stack.request(Method::PUT, &path).header("content-type", "application/json");
        let request =
            request.header("token", &caller.token).header("cookie", format!("token={}", caller.token));
        Response::to(request.body(BODY)).await.assert_problem(401, "unauthorized");
    }
    assert_eq!(caller.item(&id).await, None);
}

#[tokio::test]
async fn the_websocket_accepts_a_token_in_the_query_or_as_a_subprotocol_alone() {
    let stack = Stack::running();
    let token = stack.caller().token;
    for query in ["", "?", "?token", "?token=", "?Token=x", "?access_token=x", "?token=x&token=x"] {
        let query = query.replace('x', &token);
        let status = stack.handshake_rejection(&query).await;
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
    let response = Response::to(handshake).await;
    assert!([401, 403].contains(&response.status), "{response:?}");
}

/// As browsers do it, for which a server has to select one of the subprotocols that were offered.
#[tokio::test]
async fn a_token_that_is_too_long_for_a_url_opens_a_websocket_as_a_subprotocol() {
    let stack = Stack::running();
    let caller = stack.caller();
    let mut claims = stack.claims(&caller.name);
    claims["groups"] = json!(vec!["a group of many"; 250]);
    let token = stack.sign(&claims);
    assert!((4096..8192).contains(&token.len()), "{} bytes", token.len());
    let offer_lines = async |lines: &[String]| {
        let mut handshake = stack.at.websocket_url.as_str().into_client_request().expect("a URL");
        for line in lines {
            handshake.headers_mut().append("sec-websocket-protocol", line.parse().expect("a header"));
        }
        connect_async(handshake).await
    };
    let offer = async |protocols: String| offer_lines(&[protocols]).await;

    let (mut socket, response) = offer(format!("intake, bearer.{token}")).await.expect("accepted");

    assert_eq!(response.headers()["sec-websocket-protocol"], "intake", "and not the token");
    let id = unique("q");
    caller.queued(&id, BODY).await;
    let frame = timeout(Duration::from_secs(60), socket.next()).await.expect("in time");
    let frame = frame.expect("open").expect("a frame").into_text().expect("text");
    assert!(frame.contains("intake.message.stored") && frame.contains(&id), "{frame}");

    // Several lines are one list (RFC 6455, 11.3.4). A token alone would be selected by no server.
    let lines = ["intake".to_owned(), format!("bearer.{token}")];
    let (_, response) = offer_lines(&lines).await.expect("accepted");
    assert_eq!(response.headers()["sec-websocket-protocol"], "intake");
    match offer_lines(&lines[1..]).await {
        Err(tungstenite::Error::Http(response)) => assert_eq!(response.status(), 403),
        other => panic!("{other:?}"),
    }

    for (what, token) in invalid_tokens(&stack, &caller.name) {
        match offer(format!("intake, bearer.{token}")).await {
            Err(tungstenite::Error::Http(response)) => assert_eq!(response.status(), 403, "{what}"),
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn one_token_is_valid_for_every_route() {
    let stack = Stack::running();
    let caller = stack.caller();
    // The gateway caches the authorizer's response to the first request, and it has to hold for the others.
    let id = unique("m");
    caller.look_up(&id).await.assert_problem(404, "not-found");
    assert_eq!(caller.put(&id, BODY).await.status, 201);
    assert_eq!(caller.queue(&id, BODY).await.status, 202);
    assert_eq!(caller.look_up(&id).await.status, 200);
    caller.connect().await;
}

/// The responses of all three routes to requests that are valid except for their token.
async fn on_every_route(stack: &Stack, id: &str, authorization: Option<&str>) -> Vec<Response> {
    let mut responses = Vec::new();
    for (method, path) in [(Method::PUT, "messages"), (Method::PUT, "queue"), (Method::GET, "messages")] {
        let mut request = stack.request(method.clone(), &format!("/{path}/{id}"));
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        if method == Method::PUT {
            request = request.header("content-type", "application/json").body(BODY);
        }
        responses.push(Response::to(request).await);
    }
    responses
}

/// A token for each part of a token that the authorizer verifies, with that part wrong.
fn invalid_tokens(stack: &Stack, owner: &str) -> Vec<(&'static str, String)> {
    let now = Timestamp::now().as_second();
    let header = json!({ "alg": "ES256", "typ": "JWT", "kid": stack.key.key_id() });
    let claims = stack.claims(owner);
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        stack.sign(&claims)
    };
    let valid = stack.sign(&claims);
    let (_, signature) = valid.rsplit_once('.').expect("a signature");
    let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let none = json!({ "alg": "none", "typ": "JWT" });
    vec![
        ("garbage", "garbage".to_owned()),
        ("unsigned", format!("{}.{}.", encoded(&none), encoded(&claims))),
        ("alg none, with a valid signature", format!("{}.{}.{signature}", encoded(&none), encoded(&claims))),
        ("another key with the same id", other_key().sign(&header, &claims)),
        (
            "an unknown key",
            other_key().sign(&json!({ "alg": "ES256", "typ": "JWT", "kid": "other" }), &claims),
        ),
        ("expired", with("exp", json!(now - HOUR))),
        ("not yet valid", with("nbf", json!(now + HOUR))),
        ("another issuer", with("iss", json!("https://other.example"))),
        ("another audience", with("aud", json!("other"))),
        ("no owner", with("sub", json!("bob\nalice"))),
    ]
}

/// A key that the stack does not trust.
fn other_key() -> DevelopmentKey {
    let path = env::temp_dir().join(unique("other-key"));
    let key = DevelopmentKey::load_or_create(&path).unwrap_or_else(|error| panic!("{error}"));
    fs::remove_file(path).expect("it was just made");
    key
}
