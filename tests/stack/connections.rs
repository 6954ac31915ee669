//! The life of a socket.

use std::time::Duration;

use e2e::stack::{Item, Stack, eventually, number, text, unique};
use jiff::Timestamp;
use serde_json::json;

#[tokio::test]
async fn a_ping_is_answered() {
    let stack = Stack::running();
    let mut socket = stack.caller().connect().await;
    for frame in [r#"{"action":"ping"}"#, r#"{ "more": 1, "action": "ping" }"#] {
        assert_eq!(socket.say(frame).await, json!({ "type": "pong" }), "{frame}");
    }
}

#[tokio::test]
async fn any_other_frame_is_answered_with_an_error() {
    let stack = Stack::running();
    let mut socket = stack.caller().connect().await;
    for frame in [
        "hello",
        "{}",
        "[]",
        "null",
        "\"ping\"",
        r#"{"action":"pong"}"#,
        r#"{"action":["ping"]}"#,
        "{\"action\":",
    ] {
        let answer = socket.say(frame).await;
        assert_eq!(answer["type"], "error", "{frame}: {answer}");
        assert!(answer["reason"].as_str().is_some_and(|reason| reason.contains("ping")), "{frame}: {answer}");
    }
    assert_eq!(socket.say(r#"{"action":"ping"}"#).await, json!({ "type": "pong" }));
}

#[tokio::test]
async fn a_frame_that_names_a_route_of_the_gateway_is_a_frame_like_any_other() {
    let stack = Stack::running();
    let caller = stack.caller();
    let mut socket = caller.connect().await;
    let noted = stack.connections(&caller.name).await;
    for route in ["$default", "$disconnect", "$connect"] {
        let answer = socket.say(&json!({ "action": route }).to_string()).await;
        assert_eq!(answer["type"], "error", "{route}: {answer}");
        assert_eq!(stack.connections(&caller.name).await, noted, "{route}");
    }
}

#[tokio::test]
async fn a_connection_is_noted_for_as_long_as_it_can_live() {
    let stack = Stack::running();
    let caller = stack.caller();
    // A token that is good for longer than a socket can be open.
    let day = Duration::from_secs(24 * 3600);
    let token = stack.key.mint(&stack.at.token_issuer, &stack.at.token_audience, &caller.name, day);
    let before = Timestamp::now().as_second();
    let _socket = stack.connect(&format!("?token={token}")).await.expect("good");
    let after = Timestamp::now().as_second();

    let noted = stack.connections(&caller.name).await;

    let [connection] = &noted[..] else { panic!("{noted:?}") };
    assert!(!text(connection, "connection_id").is_empty());
    // Two hours, and a little more for the clocks.
    let expires_at = number(connection, "expires_at");
    assert!((before + 7200..=after + 7800).contains(&expires_at), "{connection:?}");
}

#[tokio::test]
async fn a_socket_is_told_nothing_after_its_token_has_expired() {
    let stack = Stack::running();
    let caller = stack.caller();
    // Expired already, but within the minute that clocks may differ by: good for two more seconds.
    let claims = json!({
        "iss": stack.at.token_issuer,
        "aud": stack.at.token_audience,
        "sub": caller.name,
        "exp": Timestamp::now().as_second() - 58,
    });
    let header = json!({ "alg": "ES256", "typ": "JWT", "kid": stack.key.key_id() });
    let token = stack.key.sign(&header, &claims);
    let mut expiring = stack.open(&format!("?token={token}")).await.expect("still good");
    let mut good = caller.connect().await;
    eventually("the token to expire", async || {
        let answer = expiring.say(r#"{"action":"ping"}"#).await;
        let reason = answer["reason"].as_str().unwrap_or_default();
        if reason.contains("expired") { Ok(()) } else { Err(answer.to_string()) }
    })
    .await;

    // Twice, because of the first time one may be told before the other.
    for _ in 0..2 {
        let id = unique("q");
        caller.queued(&id, r#"{"a":1}"#).await;
        good.told("stored", &id).await;
    }
    expiring.say(r#"{"action":"ping"}"#).await;
    assert_eq!(expiring.frames, 0);
}

#[tokio::test]
async fn a_closed_connection_is_forgotten_and_the_others_are_not() {
    let stack = Stack::running();
    let caller = stack.caller();
    let closing = caller.connect().await;
    let first = ids(&stack.connections(&caller.name).await);
    let mut staying = caller.connect().await;
    assert_eq!(stack.connections(&caller.name).await.len(), 2);

    closing.close().await;

    eventually("the closed connection to be forgotten", async || {
        let left = ids(&stack.connections(&caller.name).await);
        if left.len() == 1 && left != first { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
    let id = unique("q");
    caller.queued(&id, r#"{"a":1}"#).await;
    staying.told("stored", &id).await;
}

#[tokio::test]
async fn a_client_that_vanishes_is_forgotten() {
    let stack = Stack::running();
    let caller = stack.caller();
    let socket = caller.connect().await;
    assert_eq!(stack.connections(&caller.name).await.len(), 1);

    // Without a farewell: the connection is just gone.
    drop(socket);

    eventually("the connection of a client that vanished to be forgotten", async || {
        let left = ids(&stack.connections(&caller.name).await);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_gone_connection_is_removed_by_a_push_and_disturbs_no_other() {
    let stack = Stack::running();
    let (caller, other) = (stack.caller(), stack.caller());
    let mut socket = caller.connect().await;
    let alive = ids(&stack.connections(&caller.name).await);
    // One that sorts before every other and one that sorts behind.
    for dead in ["!dead", "~dead"] {
        stack.note_connection(&caller.name, dead).await;
    }
    stack.note_connection(&other.name, "!dead").await;

    let id = unique("q");
    caller.queued(&id, r#"{"a":1}"#).await;

    socket.told("stored", &id).await;
    eventually("the gone connections to be removed", async || {
        let left = ids(&stack.connections(&caller.name).await);
        if left == alive { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
    // Nobody had anything to tell the other.
    assert_eq!(ids(&stack.connections(&other.name).await), ["!dead"]);
    let id = unique("q");
    caller.queued(&id, r#"{"a":1}"#).await;
    socket.told("stored", &id).await;
}

#[tokio::test]
async fn an_owner_whose_connections_are_all_gone_still_has_messages_stored() {
    let stack = Stack::running();
    let caller = stack.caller();
    stack.note_connection(&caller.name, "dead").await;
    let queued = caller.queued(&unique("q"), r#"{"a":1}"#).await;
    assert_eq!(caller.outcome(&queued).await.state(), "stored");
}

fn ids(connections: &[Item]) -> Vec<String> {
    connections.iter().map(|connection| text(connection, "connection_id").to_owned()).collect()
}
