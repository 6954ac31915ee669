//! What may become of a message, by what is there and what comes.

use e2e::stack::{Stack, text, unique};
use serde_json::json;
use uuid::Uuid;

const VALID: &str = r#"{"valid":true}"#;
const INVALID: &str = "[\"no object\"]";

#[tokio::test]
async fn an_invalid_message_is_rejected_with_the_reason_and_the_text_that_came() {
    let stack = Stack::running();
    let caller = stack.caller();
    let id = unique("q");

    let receipt = stack.send(caller.record(&id, INVALID)).await;
    let found = caller.becomes(&id, "rejected").await;

    let reason = "the message is JSON, but not an object";
    let expected = json!({
        "id": id,
        "status": "rejected",
        "via": "queue",
        "attempts": found["attempts"],
        "receivedAt": found["receivedAt"],
        "receipt": receipt,
        "reason": reason,
        "text": INVALID,
    });
    assert_eq!(found, expected);
    let item = caller.item(&id).await.expect("it is recorded");
    assert_eq!(text(&item, "payload"), INVALID);
    assert_eq!(text(&item, "reason"), reason);
    assert!(!item.contains_key("stored_at"), "{item:?}");
}

#[tokio::test]
async fn a_rejected_id_can_be_stored_by_a_request() {
    let stack = Stack::running();
    let caller = stack.caller();
    let id = unique("q");
    stack.send(caller.record(&id, INVALID)).await;
    caller.becomes(&id, "rejected").await;

    assert_eq!(caller.put(&id, VALID).await.status, 201);

    let found = caller.look_up(&id).await.json();
    let stored = json!({
        "id": id,
        "status": "stored",
        "via": "sync",
        "attempts": 1,
        "receivedAt": found["receivedAt"],
        "storedAt": found["storedAt"],
        "payload": { "valid": true },
    });
    assert_eq!(found, stored);
    let item = caller.item(&id).await.expect("it is stored");
    assert!(!item.contains_key("reason") && !item.contains_key("receipt"), "{item:?}");
}

#[tokio::test]
async fn a_rejected_id_can_be_stored_through_the_queue() {
    let stack = Stack::running();
    let caller = stack.caller();
    let id = unique("q");
    stack.send(caller.record(&id, INVALID)).await;
    caller.becomes(&id, "rejected").await;

    let queued = caller.queued(&id, VALID).await;
    let found = caller.outcome(&queued).await.json();

    assert_eq!(found["status"], "stored", "{found}");
    assert_eq!(found["receipt"], json!(queued.receipt));
    assert_eq!(found.get("reason"), None, "{found}");
}

#[tokio::test]
async fn a_rejected_id_can_be_rejected_again_for_another_reason() {
    let stack = Stack::running();
    let caller = stack.caller();
    let id = unique("q");
    stack.send(caller.record(&id, INVALID)).await;
    caller.becomes(&id, "rejected").await;

    let receipt = stack.send(caller.record(&id, "no JSON")).await;
    stack.settled(&receipt).await;

    let found = caller.look_up(&id).await.json();
    assert_eq!((&found["receipt"], &found["text"]), (&json!(receipt), &json!("no JSON")));
}

#[tokio::test]
async fn the_outcome_of_an_earlier_attempt_does_not_answer_for_a_later_one() {
    let stack = Stack::running();
    let caller = stack.caller();
    let id = unique("q");
    let receipt = stack.send(caller.record(&id, INVALID)).await;
    caller.becomes(&id, "rejected").await;
    let ask = async |receipt: &str| caller.get(&format!("/messages/{id}?receipt={receipt}")).await.json();

    assert_eq!(ask(&receipt).await["status"], "rejected");
    assert_eq!(ask(&Uuid::new_v4().to_string()).await["status"], "queued");
}

#[tokio::test]
async fn what_is_stored_stays_when_another_payload_comes_through_the_queue() {
    let stack = Stack::running();
    let caller = stack.caller();
    let mut socket = caller.connect().await;
    let id = unique("q");
    caller.put(&id, VALID).await;
    let stored = caller.item(&id).await;

    let queued = caller.queued(&id, r#"{"valid":"other"}"#).await;

    let event = socket.told("conflict", &id).await;
    assert_eq!(event["data"]["receipt"], json!(queued.receipt));
    assert_eq!(caller.item(&id).await, stored);
}

#[tokio::test]
async fn what_is_stored_stays_when_something_invalid_comes() {
    let stack = Stack::running();
    let caller = stack.caller();
    let mut socket = caller.connect().await;
    let id = unique("q");
    caller.put(&id, VALID).await;
    let stored = caller.item(&id).await;

    let receipt = stack.send(caller.record(&id, INVALID)).await;

    let event = socket.told("rejected", &id).await;
    assert_eq!(event["data"]["receipt"], json!(receipt));
    assert_eq!(caller.item(&id).await, stored);
}
