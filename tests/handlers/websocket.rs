use fault_proxy::Fault;
use serde_json::{Value, json};
use websocket::WebSocket;

use crate::fixtures::{
    database::{CONNECTIONS, Database},
    events::read,
    pushes::{PushFault, Pushes},
};

const CONNECT: &str = include_str!("../../events/websocket-connect.json");
const DISCONNECT: &str = include_str!("../../events/websocket-disconnect.json");
const PING: &str = include_str!("../../events/websocket-ping.json");

async fn handle(database: &Database, event: Value) -> Result<Value, String> {
    let event = serde_json::from_value(event).expect("an event");
    let response = WebSocket::new(database.connections(), 100, database.aws().clone(), "http://127.0.0.1:1")
        .handle(event)
        .await;
    response.map(|response| json!(response)).map_err(|error| error.to_string())
}

fn connecting(connection_id: &str, valid_until: i64) -> Value {
    let mut event = read(CONNECT);
    event["requestContext"]["connectionId"] = json!(connection_id);
    event["requestContext"]["authorizer"]["validUntil"] = json!(valid_until.to_string());
    event
}

#[tokio::test]
async fn a_connection_is_added_and_removed_when_it_closes() {
    let database = Database::start().await;
    let response = handle(&database, read(CONNECT)).await;
    assert_eq!(response, Ok(json!({ "statusCode": 200 })));
    let mut second = read(CONNECT);
    second["requestContext"]["connectionId"] = json!("second");
    handle(&database, second).await.expect("a response");
    assert_eq!(database.connections_of("alice").await.len(), 2);
    assert!(database.connections_of("bob").await.is_empty());

    let response = handle(&database, read(DISCONNECT)).await;
    assert_eq!(response, Ok(json!({ "statusCode": 200 })));
    assert_eq!(database.connections_of("alice").await, ["second"]);
    handle(&database, read(DISCONNECT)).await.expect("twice does no harm");
}

#[tokio::test]
async fn the_subprotocol_is_selected_if_it_is_offered() {
    let database = Database::start().await;
    for (offered, selected) in [
        (json!(["bearer.a.b.c, intake"]), true),
        (json!(["intake"]), true),
        // Two lines of a header are one list (RFC 6455, section 11.3.4).
        (json!(["intake", "bearer.a.b.c"]), true),
        (json!(["bearer.a.b.c"]), false),
        (json!(["intake2,Intake"]), false),
    ] {
        let mut event = read(CONNECT);
        event["multiValueHeaders"]["sec-websocket-protocol"] = offered.clone();
        let response = handle(&database, event).await.expect("a response");
        let headers = json!({ "Sec-WebSocket-Protocol": "intake" });
        assert_eq!(response.get("headers"), selected.then_some(&headers), "{offered}");
    }
}

#[tokio::test]
async fn a_connection_expires_minutes_after_the_longest_life_of_a_socket() {
    let database = Database::start().await;
    handle(&database, read(CONNECT)).await.expect("a response");
    let expires_at = database.connection_expiry("alice", "Uf3k2cBHliACE4Q=").await;
    let now = jiff::Timestamp::now().as_second();
    assert!((7_200..=7_500).contains(&(expires_at - now)), "{expires_at}");
}

#[tokio::test]
async fn nothing_is_pushed_to_a_connection_whose_token_has_expired() {
    let database = Database::start().await;
    let now = jiff::Timestamp::now().as_second();
    for (id, valid_until) in [("expired", now - 1), ("good", now + 600)] {
        handle(&database, connecting(id, valid_until)).await.expect("a response");
    }
    assert_eq!(database.authorized_connections_of("alice").await, ["good"]);
    assert_eq!(database.connections_of("alice").await, ["expired", "good"], "both are open");

    let ping = async |valid_until: i64| {
        let mut event = read(PING);
        event["requestContext"]["authorizer"]["validUntil"] = json!(valid_until.to_string());
        let response = handle(&database, event).await.expect("a response");
        serde_json::from_str::<Value>(response["body"].as_str().expect("text")).expect("JSON")
    };
    assert_eq!(ping(now + 600).await, json!({ "type": "pong" }));
    let response = ping(now - 1).await;
    assert_eq!(response["type"], "error", "{response}");
    assert!(response["reason"].as_str().is_some_and(|reason| reason.contains("expired")), "{response}");
}

#[tokio::test]
async fn a_ping_gets_a_pong_and_any_other_frame_an_error() {
    let database = Database::start().await;
    let send = async |frame: Option<&str>| {
        let mut event = read(PING);
        event["body"] = json!(frame);
        let response = handle(&database, event).await.expect("a response");
        assert_eq!(response["statusCode"], 200);
        serde_json::from_str::<Value>(response["body"].as_str().expect("text")).expect("JSON")
    };
    assert_eq!(send(Some(r#"{"action":"ping"}"#)).await, json!({ "type": "pong" }));
    for other in ["", "ping", "[]", r#"["ping"]"#, r#"{"action":1}"#, r#"{"action":"x"}"#].map(Some) {
        assert_eq!(send(other).await["type"], "error", "{other:?}");
    }
    assert_eq!(send(None).await["type"], "error");
    assert_eq!(database.count(CONNECTIONS).await, 0);
}

#[tokio::test]
async fn a_connection_that_cannot_be_added_is_not_opened() {
    let database = Database::start().await;
    for fault in [Fault::Throttle, Fault::ServerError, Fault::CutBefore, Fault::Hang, Fault::Reject] {
        database.faults.always(fault);
        let response = handle(&database, read(CONNECT)).await.expect("a response");
        assert_eq!(response["statusCode"], 503, "{fault:?}");
    }
    let response = handle(&database, read(DISCONNECT)).await.expect("a response");
    assert_eq!(response["statusCode"], 200, "the socket is closed either way");
}

#[tokio::test]
async fn a_connection_without_an_owner_is_an_error() {
    let database = Database::start().await;
    for owner in [
        json!(null),
        json!({ "principalId": "", "validUntil": "4102444800" }),
        json!({ "principalId": "a\nb", "validUntil": "4102444800" }),
        json!({ "principalId": "alice" }),
        json!({ "principalId": "alice", "validUntil": "for ever" }),
    ] {
        let mut event = read(CONNECT);
        event["requestContext"]["authorizer"] = owner;
        assert!(handle(&database, event).await.is_err());
    }
    assert_eq!(database.count(CONNECTIONS).await, 0);
}

/// Connects sockets one after the other, each opened in another millisecond, with a limit of two for each owner.
async fn connect(database: &Database, pushes: &Pushes, connection_ids: &[&str], valid_until: i64) {
    let function = WebSocket::new(database.connections(), 2, database.aws().clone(), pushes.url());
    for connection_id in connection_ids {
        let event = connecting(connection_id, valid_until);
        let response = function.handle(serde_json::from_value(event).expect("an event")).await;
        assert_eq!(json!(response.expect("a response")), json!({ "statusCode": 200 }));
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn one_connection_more_than_allowed_closes_the_oldest() {
    let (database, pushes) = (Database::start().await, Pushes::start().await);
    // Not in the order of their names, in which the table returns them.
    connect(&database, &pushes, &["c", "b"], i64::MAX).await;
    assert_eq!(pushes.requests(), [""; 0]);
    connect(&database, &pushes, &["a"], i64::MAX).await;
    assert_eq!(pushes.requests(), ["DELETE c"]);
    assert_eq!(database.connections_of("alice").await, ["a", "b"]);

    // A connection that cannot be closed stays, and the next one tries again.
    pushes.always("b", PushFault::Status(403));
    connect(&database, &pushes, &["d"], i64::MAX).await;
    assert_eq!(database.connections_of("alice").await, ["a", "b", "d"]);
    // So does a new one that API Gateway reports as gone: it may still be opening.
    pushes.always("b", PushFault::Status(410));
    connect(&database, &pushes, &["e"], i64::MAX).await;
    assert_eq!(database.connections_of("alice").await, ["b", "d", "e"]);
}

#[tokio::test]
async fn an_old_connection_that_is_gone_makes_room() {
    let (database, pushes) = (Database::start().await, Pushes::start().await);
    database.add_connections("alice", 2).await;
    pushes.always("alice-0", PushFault::Status(410));
    connect(&database, &pushes, &["a"], i64::MAX).await;
    assert_eq!(database.connections_of("alice").await, ["a", "alice-1"]);
}

#[tokio::test]
async fn open_connections_count_whether_or_not_their_tokens_are_still_valid() {
    let (database, pushes) = (Database::start().await, Pushes::start().await);
    connect(&database, &pushes, &["c", "b", "a"], 1).await;
    assert_eq!(pushes.requests(), ["DELETE c"]);
    assert_eq!(database.connections_of("alice").await, ["a", "b"]);
}

#[tokio::test]
async fn connections_are_closed_side_by_side() {
    let (database, pushes) = (Database::start().await, Pushes::start().await);
    database.add_connections("alice", 3).await;
    for connection in ["alice-0", "alice-1"] {
        pushes.always(connection, PushFault::Together(2));
    }
    connect(&database, &pushes, &["a"], i64::MAX).await;
    assert_eq!(database.connections_of("alice").await, ["a", "alice-2"]);
    assert_eq!(pushes.requests().len(), 2, "no attempt timed out");
}
