//! The life of a WebSocket connection.

use std::time::Duration;

use e2e::stack::{Item, Stack, eventually, number, text, unique};
use jiff::Timestamp;
use serde_json::json;

#[tokio::test]
async fn a_frame_that_names_a_route_of_the_gateway_is_not_routed_there() {
    let stack = Stack::running();
    let caller = stack.caller();
    let mut socket = caller.connect().await;
    let recorded = stack.connections(&caller.name).await;
    for route in ["$default", "$disconnect", "$connect"] {
        let response = socket.request(&json!({ "action": route }).to_string()).await;
        assert_eq!(response["type"], "error", "{route}: {response}");
        assert_eq!(stack.connections(&caller.name).await, recorded, "{route}");
    }
}

#[tokio::test]
async fn a_connection_is_recorded_for_its_longest_life() {
    let stack = Stack::running();
    let caller = stack.caller();
    // A token that is valid for longer than a socket can be open.
    let day = Duration::from_secs(24 * 3600);
    let token = stack.key.mint(&stack.at.token_issuer, &stack.at.token_audience, &caller.name, day);
    let before = Timestamp::now().as_second();
    let _socket = stack.connect(&format!("?token={token}")).await.expect("accepted");
    let after = Timestamp::now().as_second();

    let recorded = stack.connections(&caller.name).await;

    let [connection] = &recorded[..] else { panic!("{recorded:?}") };
    assert!(!text(connection, "connection_id").is_empty());
    // Two hours, and a little more for the clocks.
    let expires_at = number(connection, "expires_at");
    assert!((before + 7200..=after + 7800).contains(&expires_at), "{connection:?}");
}

#[tokio::test]
async fn a_connection_is_not_notified_after_its_token_has_expired() {
    let stack = Stack::running();
    let caller = stack.caller();
    // Already expired, but within the minute of leeway: valid for as long as it takes to connect.
    let claims = json!({
        "iss": stack.at.token_issuer,
        "aud": stack.at.token_audience,
        "sub": caller.name,
        "exp": Timestamp::now().as_second() - 54,
    });
    let header = json!({ "alg": "ES256", "typ": "JWT", "kid": stack.key.key_id() });
    let token = stack.key.sign(&header, &claims);
    let mut expiring = stack.open(&format!("?token={token}")).await.expect("still valid");
    let mut valid = caller.connect().await;
    eventually("the token to expire", async || {
        let response = expiring.request(r#"{"action":"ping"}"#).await;
        let reason = response["reason"].as_str().unwrap_or_default();
        if reason.contains("expired") { Ok(()) } else { Err(response.to_string()) }
    })
    .await;

    // Twice, because the first push may reach the valid connection before the other.
    for _ in 0..2 {
        let id = unique("q");
        caller.queued(&id, r#"{"a":1}"#).await;
        valid.notified("stored", &id).await;
    }
    expiring.request(r#"{"action":"ping"}"#).await;
    assert_eq!(expiring.frames, 0);
}

#[tokio::test]
async fn a_closed_connection_is_removed_and_the_others_are_not() {
    let stack = Stack::running();
    let caller = stack.caller();
    let closing = caller.connect().await;
    let first = ids(&stack.connections(&caller.name).await);
    let mut staying = caller.connect().await;
    assert_eq!(stack.connections(&caller.name).await.len(), 2);

    closing.close().await;

    eventually("the closed connection to be removed", async || {
        let left = ids(&stack.connections(&caller.name).await);
        if left.len() == 1 && left != first { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
    let id = unique("q");
    caller.queued(&id, r#"{"a":1}"#).await;
    staying.notified("stored", &id).await;
}

#[tokio::test]
async fn the_connection_of_a_client_that_vanishes_is_removed() {
    let stack = Stack::running();
    let caller = stack.caller();
    let socket = caller.connect().await;
    assert_eq!(stack.connections(&caller.name).await.len(), 1);

    // Without closing it properly.
    drop(socket);

    eventually("the connection of a client that vanished to be removed", async || {
        let left = ids(&stack.connections(&caller.name).await);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_gone_connection_is_removed_by_a_push_and_does_not_affect_the_others() {
    let stack = Stack::running();
    let (caller, other) = (stack.caller(), stack.caller());
    let mut socket = caller.connect().await;
    let open = ids(&stack.connections(&caller.name).await);
    let gone = [gone_connection(&stack).await, gone_connection(&stack).await];
    for gone in &gone {
        stack.add_gone_connection(&caller.name, gone).await;
    }
    stack.add_gone_connection(&other.name, &gone[0]).await;

    let id = unique("q");
    caller.queued(&id, r#"{"a":1}"#).await;

    socket.notified("stored", &id).await;
    eventually("the gone connections to be removed", async || {
        let left = ids(&stack.connections(&caller.name).await);
        if left == open { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
    // The other owner had no message, and so no push.
    assert_eq!(ids(&stack.connections(&other.name).await), gone[..1]);
    let id = unique("q");
    caller.queued(&id, r#"{"a":1}"#).await;
    socket.notified("stored", &id).await;
}

/// The id of a connection that is closed. The gateway would reject one that was never an id.
async fn gone_connection(stack: &Stack) -> String {
    let caller = stack.caller();
    let socket = caller.connect().await;
    let id = ids(&stack.connections(&caller.name).await).remove(0);
    socket.close().await;
    eventually("a closed connection to be removed", async || {
        let left = ids(&stack.connections(&caller.name).await);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
    id
}

fn ids(connections: &[Item]) -> Vec<String> {
    connections.iter().map(|connection| text(connection, "connection_id").to_owned()).collect()
}
