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
async fn a_connection_expires_with_its_token() {
    let database = Database::start().await;
    let now = jiff::Timestamp::now().as_second();
    let connect = async |id: &str, valid_until: i64| {
        let mut event = read(CONNECT);
        event["requestContext"]["connectionId"] = json!(id);
        event["requestContext"]["authorizer"]["validUntil"] = json!(valid_until.to_string());
        handle(&database, event).await.expect("a response")
    };
    connect("good", now + 600).await;
    assert_eq!(database.connection_expiry("alice", "good").await, now + 600);
    connect("expired", now - 1).await;
    assert_eq!(database.connections_of("alice").await, ["good"]);

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

#[tokio::test]
async fn one_connection_more_than_allowed_closes_the_oldest() {
    let (database, pushes) = (Database::start().await, Pushes::start().await);
    let function = WebSocket::new(database.connections(), 2, database.aws().clone(), pushes.url());
    let connect = async |connection_id: &str| {
        let mut event = read(CONNECT);
        event["requestContext"]["connectionId"] = json!(connection_id);
        let response = function.handle(serde_json::from_value(event).expect("an event")).await;
        assert_eq!(json!(response.expect("a response")), json!({ "statusCode": 200 }));
        // Opened in another millisecond than the next one.
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    };
    // Not in the order of their names, in which the table returns them.
    connect("c").await;
    connect("b").await;
    assert_eq!(pushes.requests(), [""; 0]);
    connect("a").await;
    assert_eq!(pushes.requests(), ["DELETE c"]);
    assert_eq!(database.connections_of("alice").await, ["a", "b"]);

    // A connection that cannot be closed stays, and the next one tries again; a gone one is removed.
    pushes.always("b", PushFault::Status(403));
    connect("d").await;
    assert_eq!(database.connections_of("alice").await, ["a", "b", "d"]);
    pushes.always("b", PushFault::Status(410));
    connect("e").await;
    assert_eq!(database.connections_of("alice").await, ["d", "e"]);
}
