use e2e::contract;
use fault_proxy::Fault;
use intake_domain::{
    message::{MessageId, Owner, Payload, Receipt, Via},
    state::{Content, Incoming},
};
use intake_platform::rest::Responses;
use jiff::Timestamp;
use lambda_http::http::Method;
use serde_json::{Value, json};
use status_lookup::StatusLookup;
use sync_insert::SyncInsert;

use crate::fixtures::{
    database::Database,
    events::{get, put, receipt, request},
};

async fn look_up(database: &Database, event: &Value) -> (u16, Value, String) {
    let function =
        StatusLookup::new(database.messages(), database.outcomes(), Responses::new("*").expect("an origin"));
    let (head, body) = function.handle(request(event)).await.expect("a response").into_parts();
    let text = String::from_utf8(body.to_vec()).expect("text");
    let path = event["path"].as_str().expect("text");
    contract::check_response(&Method::GET, path, head.status.as_u16(), &head.headers, &text);
    (head.status.as_u16(), serde_json::from_str(&text).expect("JSON"), text)
}

async fn record(database: &Database, id: &str, number: usize, content: Content) {
    let incoming = Incoming {
        owner: Owner::parse("alice").expect("legal"),
        id: MessageId::parse(id),
        via: Via::Queue(Receipt::parse(&receipt(number)).expect("a receipt")),
        attempts: Some(2),
        received_at: Timestamp::from_second(1_800_000_000).expect("in range"),
        content,
    };
    database.messages().write(&incoming).await.expect("written");
}

fn valid(text: &str) -> Content {
    Content::Valid(Payload::parse(text).expect("valid"))
}

#[tokio::test]
async fn a_stored_message_is_returned_as_it_was_sent() {
    let database = Database::start().await;
    let payload = r#"{"z": 1.0, "a": 12345678901234567890123, "n": "\u0000 \"&=%+😀"}"#;
    record(&database, "m-1", 1, valid(payload)).await;
    let (status, body, text) = look_up(&database, &get("alice", "m-1", None)).await;
    assert_eq!(status, 200);
    assert_eq!(body["id"], "m-1");
    assert_eq!(body["status"], "stored");
    assert_eq!(body["via"], "queue");
    assert_eq!(body["attempts"], 2);
    assert_eq!(body["receivedAt"], "2027-01-15T08:00:00.000Z");
    assert!(body["storedAt"].as_str().expect("a time").parse::<Timestamp>().is_ok());
    assert_eq!(body["receipt"], receipt(1));
    assert!(text.contains(payload), "byte for byte: {text}");
}

#[tokio::test]
async fn a_message_stored_in_a_request_is_found() {
    let database = Database::start().await;
    let function = SyncInsert::new(database.messages(), Responses::new("*").expect("an origin"));
    function.handle(request(&put("alice", "m-1", r#"{"a":1}"#))).await.expect("a response");
    let (status, body, _) = look_up(&database, &get("alice", "m-1", None)).await;
    assert_eq!(status, 200);
    assert_eq!((&body["via"], &body["payload"]), (&json!("sync"), &json!({ "a": 1 })));
    assert_eq!(body.get("receipt"), None);
}

#[tokio::test]
async fn a_rejected_message_is_returned_with_the_reason_and_the_received_text() {
    let database = Database::start().await;
    let content = Content::Invalid { text: "hello".into(), reason: "the message is not JSON".into() };
    record(&database, "m-1", 1, content).await;
    let (status, body, _) = look_up(&database, &get("alice", "m-1", None)).await;
    assert_eq!((status, &body["status"]), (200, &json!("rejected")));
    assert_eq!(body["reason"], "the message is not JSON");
    assert_eq!(body["text"], "hello");
    assert_eq!((body.get("payload"), body.get("storedAt")), (None, None));
}

#[tokio::test]
async fn a_failed_message_is_returned_with_the_reason_and_its_payload() {
    let database = Database::start().await;
    let payload = Payload::parse(r#"{"a":1}"#).expect("valid");
    record(&database, "m-1", 1, Content::Failed { payload, reason: "throttled" }).await;
    let (status, body, _) = look_up(&database, &get("alice", "m-1", None)).await;
    assert_eq!((status, &body["status"]), (200, &json!("failed")));
    assert_eq!((&body["reason"], &body["payload"]), (&json!("throttled"), &json!({ "a": 1 })));
}

#[tokio::test]
async fn a_receipt_without_an_outcome_is_queued() {
    let database = Database::start().await;
    let (status, body, _) = look_up(&database, &get("alice", "m-1", Some(&receipt(1)))).await;
    assert_eq!(status, 200);
    assert_eq!(body, json!({ "id": "m-1", "status": "queued", "receipt": receipt(1) }));
    let (status, body, _) = look_up(&database, &get("alice", "m-1", None)).await;
    assert_eq!((status, &body["type"]), (404, &json!("urn:intake:problem:not-found")));
}

#[tokio::test]
async fn the_outcome_of_one_receipt_is_not_that_of_another() {
    let database = Database::start().await;
    let content = Content::Invalid { text: "hello".into(), reason: "the message is not JSON".into() };
    record(&database, "m-1", 1, content).await;
    let (_, body, _) = look_up(&database, &get("alice", "m-1", Some(&receipt(1)))).await;
    assert_eq!(body["status"], "rejected");
    let (_, body, _) = look_up(&database, &get("alice", "m-1", Some(&receipt(2)))).await;
    assert_eq!(body["status"], "queued");
    record(&database, "m-1", 2, valid(r#"{"a":1}"#)).await;
    let (_, body, _) = look_up(&database, &get("alice", "m-1", Some(&receipt(1)))).await;
    assert_eq!(
        body["status"], "queued",
        "the message names another request, and nothing is kept of this one"
    );
}

#[tokio::test]
async fn an_illegal_id_or_receipt_is_a_400_with_the_reason() {
    let database = Database::start().await;
    for id in ["", "a b", "x#alice", &"x".repeat(65)] {
        let (status, body, _) = look_up(&database, &get("alice", id, None)).await;
        assert_eq!((status, &body["type"]), (400, &json!("urn:intake:problem:invalid-id")));
        assert!(body["detail"].as_str().expect("a reason").contains("1 to 64"));
    }
    for receipt in ["", "no-uuid", "5fea7756-0ea4-451a-a703-a558b933e27z"] {
        let (status, body, _) = look_up(&database, &get("alice", "m-1", Some(receipt))).await;
        assert_eq!((status, &body["type"]), (400, &json!("urn:intake:problem:invalid-receipt")));
    }
}

#[tokio::test]
async fn the_message_of_another_owner_is_not_found() {
    let database = Database::start().await;
    record(&database, "m-1", 1, valid(r#"{"a":1}"#)).await;
    assert_eq!(look_up(&database, &get("bob", "m-1", None)).await.0, 404);
    assert_eq!(look_up(&database, &get("alice", "m-1", None)).await.0, 200);
}

#[tokio::test]
async fn an_unavailable_database_is_a_503() {
    let database = Database::start().await;
    for fault in [Fault::Throttle, Fault::ServerError, Fault::CutBefore, Fault::Hang] {
        database.faults.always(fault);
        let (status, body, _) = look_up(&database, &get("alice", "m-1", None)).await;
        assert_eq!((status, &body["type"]), (503, &json!("urn:intake:problem:unavailable")));
    }
}
