//! The life of a WebSocket connection.

use e2e::stack::{Caller, Item, Stack, eventually, number, text, unique};
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
    let before = Timestamp::now().as_second();
    let mut claims = stack.claims(&caller.name);
    claims["exp"] = json!(before + 24 * 3600);
    let _socket = stack.connect(&format!("?token={}", stack.sign(&claims))).await.expect("accepted");
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
    let mut claims = stack.claims(&caller.name);
    claims["exp"] = json!(Timestamp::now().as_second() - 54);
    let mut expiring = stack.open(&format!("?token={}", stack.sign(&claims))).await.expect("still valid");
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

    until_connections(&stack, &caller, |left| left.len() == 1 && left != first).await;
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

    until_connections(&stack, &caller, <[_]>::is_empty).await;
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
    until_connections(&stack, &caller, |left| left == open).await;
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
    until_connections(stack, &caller, <[_]>::is_empty).await;
    id
}

/// Waits until what should be removed is: then these connections of the caller are left.
async fn until_connections(stack: &Stack, caller: &Caller<'_>, is_left: impl Fn(&[String]) -> bool) {
    eventually("the other connections to be removed", async || {
        let left = ids(&stack.connections(&caller.name).await);
        if is_left(&left) { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
}

fn ids(connections: &[Item]) -> Vec<String> {
    connections.iter().map(|connection| text(connection, "connection_id").to_owned()).collect()
}
