//! Deliveries may repeat: the effect never does.

use std::slice;

use e2e::stack::{Stack, text, unique};
use serde_json::{Value, json};
use uuid::Uuid;

#[tokio::test]
async fn a_redelivered_message_is_stored_once() {
    let stack = Stack::running();
    let caller = stack.caller();
    let mut socket = caller.connect().await;
    let id = unique("q");
    let record = delivery(&caller.name, &id, r#"{"a":1}"#);

    assert_eq!(stack.consume(slice::from_ref(&record)).await, json!({ "batchItemFailures": [] }));
    let first = socket.told("stored", &id).await;
    let stored = caller.item(&id).await.expect("it is stored");

    // As if the answer to the first delivery had got lost.
    let mut again = record;
    again["attributes"]["ApproximateReceiveCount"] = json!("2");
    assert_eq!(stack.consume(&[again]).await, json!({ "batchItemFailures": [] }));
    let second = socket.told("stored", &id).await;

    assert_eq!(caller.item(&id).await, Some(stored));
    // By these two a client knows that it is told the same thing twice.
    assert_eq!((&first["source"], &first["id"]), (&second["source"], &second["id"]));
}

#[tokio::test]
async fn a_record_that_is_twice_in_a_batch_is_stored_and_told_once() {
    let stack = Stack::running();
    let caller = stack.caller();
    let mut socket = caller.connect().await;
    let (id, last) = (unique("q"), unique("last"));
    let record = delivery(&caller.name, &id, r#"{"a":1}"#);

    assert_eq!(stack.consume(&[record.clone(), record]).await, json!({ "batchItemFailures": [] }));

    socket.told("stored", &id).await;
    caller.queued(&last, r#"{"a":1}"#).await;
    socket.told("stored", &last).await;
}

#[tokio::test]
async fn a_message_sent_twice_through_the_queue_is_stored_once() {
    let stack = Stack::running();
    let caller = stack.caller();
    let mut socket = caller.connect().await;
    let (id, last) = (unique("q"), unique("last"));

    let first = caller.queued(&id, r#"{"a":1,"b":2}"#).await;
    let found = caller.outcome(&first).await.json();
    let stored = caller.item(&id).await;
    let second = caller.queued(&id, r#"{ "b": 2, "a": 1 }"#).await;
    stack.settled(&second.receipt).await;

    assert_ne!(first.receipt, second.receipt);
    assert_eq!(caller.item(&id).await, stored);
    // Both receipts lead to the one outcome.
    assert_eq!(caller.outcome(&second).await.json(), found);
    // And it was told once.
    socket.told("stored", &id).await;
    caller.queued(&last, r#"{"a":1}"#).await;
    socket.told("stored", &last).await;
}

#[tokio::test]
async fn the_same_message_twice_in_one_send_is_stored_once() {
    let stack = Stack::running();
    let caller = stack.caller();
    let id = unique("q");
    let record = caller.record(&id, r#"{"a":1}"#);

    let receipts = stack.send_batch_to(&stack.at.queue_url, [record.clone(), record]).await;
    for receipt in &receipts {
        stack.settled(receipt).await;
    }

    let item = caller.item(&id).await.expect("it is stored");
    assert_eq!(text(&item, "status"), "stored");
    assert!(receipts.contains(&text(&item, "receipt").to_owned()), "{item:?}");
    assert_eq!(caller.look_up(&id).await.json()["payload"], json!({ "a": 1 }));
}

#[tokio::test]
async fn of_two_payloads_in_one_send_one_is_stored_and_the_other_a_conflict() {
    let stack = Stack::running();
    let caller = stack.caller();
    let mut socket = caller.connect().await;
    let id = unique("q");
    let records = [caller.record(&id, r#"{"a":1}"#), caller.record(&id, r#"{"a":2}"#)];

    let receipts = stack.send_batch_to(&stack.at.queue_url, records).await;
    let mut told = Vec::new();
    while told.len() < 2 {
        let event = socket.next_event().await;
        assert_eq!(event["subject"], json!(id), "{event}");
        let receipt = event["data"]["receipt"].as_str().expect("a receipt").to_owned();
        told.push((event["type"].as_str().expect("a type").to_owned(), receipt));
    }
    told.sort_unstable();

    let [(conflict, loser), (stored, winner)] = &told[..] else { panic!("{told:?}") };
    assert_eq!((conflict.as_str(), stored.as_str()), ("intake.message.conflict", "intake.message.stored"));
    let item = caller.item(&id).await.expect("one of them is stored");
    assert_eq!(text(&item, "receipt"), winner);
    assert_ne!(winner, loser);
    let place = receipts.iter().position(|receipt| receipt == winner).expect("one of the two");
    assert_eq!(text(&item, "payload"), [r#"{"a":1}"#, r#"{"a":2}"#][place]);
}

/// A record as Lambda hands it to the consumer, delivered for the first time.
pub(crate) fn delivery(owner: &str, id: &str, body: &str) -> Value {
    json!({
        "messageId": Uuid::new_v4().to_string(),
        "receiptHandle": "handle",
        "body": body,
        "attributes": { "ApproximateReceiveCount": "1", "SentTimestamp": "1800000000000" },
        "messageAttributes": {
            "id": { "dataType": "String", "stringValue": id },
            "owner": { "dataType": "String", "stringValue": owner },
        },
        "eventSource": "aws:sqs",
    })
}
