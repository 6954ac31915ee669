//! `PUT /queue/{id}`: the response is a receipt, and the outcome follows.

use std::collections::HashSet;

use aws_sdk_sqs::types::{Message, MessageSystemAttributeName};
use e2e::stack::{Stack, number, text, unique};
use futures_util::future::join_all;
use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

#[tokio::test]
async fn a_message_is_accepted_with_a_receipt_and_a_status_path() {
    let stack = Stack::running();
    let caller = stack.caller();
    let id = unique("q");

    let response = caller.queue(&id, r#"{"order":4711}"#).await;

    assert_eq!(response.status, 202, "{response:?}");
    assert_eq!(response.header("content-type"), "application/json");
    let queued = response.json();
    let receipt = queued["receipt"].as_str().expect("a receipt");
    assert!(Uuid::parse_str(receipt).is_ok(), "{response:?}");
    let expected = json!({
        "id": id,
        "status": "queued",
        "receipt": receipt,
        "statusPath": format!("/messages/{id}?receipt={receipt}"),
    });
    assert_eq!(queued, expected);
}

#[tokio::test]
async fn a_queued_message_is_stored_in_the_end() {
    let stack = Stack::running();
    let caller = stack.caller();
    let id = unique("q");
    let queued = caller.queued(&id, r#"{"order":4711}"#).await;

    let response = caller.outcome(&queued).await;

    let item = caller.item(&id).await.expect("it is in the table");
    assert_eq!(text(&item, "status"), "stored");
    assert_eq!(text(&item, "payload"), r#"{"order":4711}"#);
    assert_eq!(text(&item, "via"), "queue");
    assert_eq!(text(&item, "receipt"), queued.receipt);
    assert!(number(&item, "attempts") >= 1, "{item:?}");
    let time = |name| text(&item, name).parse::<Timestamp>().expect("RFC 3339");
    assert!(time("received_at") <= time("stored_at"), "{item:?}");
    assert!(!item.contains_key("reason"), "{item:?}");
    assert_eq!(item.contains_key("expires_at"), stack.at.messages_expire, "{item:?}");

    let found = response.json();
    let expected = json!({
        "id": id,
        "status": "stored",
        "via": "queue",
        "attempts": number(&item, "attempts"),
        "receivedAt": found["receivedAt"],
        "storedAt": found["storedAt"],
        "receipt": queued.receipt,
        "payload": { "order": 4711 },
    });
    assert_eq!(found, expected);
    let same_time = |member: &str, name: &'static str| {
        assert_eq!(found[member].as_str().and_then(|text| text.parse().ok()), Some(time(name)));
    };
    same_time("receivedAt", "received_at");
    same_time("storedAt", "stored_at");
    // The receipt is not needed any more.
    assert_eq!(caller.look_up(&id).await.json(), found);
}

/// The message group of a fair queue has at most 128 characters and no spaces, unlike an owner.
#[tokio::test]
async fn messages_of_an_owner_of_255_characters_with_spaces_have_one_group() {
    let stack = Stack::running();
    let (caller, other) =
        (stack.caller_named(&format!("{:x<255}", unique("an owner with spaces "))), stack.caller());
    assert_eq!(caller.name.len(), 255);
    let (first, second, of_other) = (unique("blocked"), unique("blocked"), unique("blocked"));
    let mut letters = Vec::new();
    for (caller, id) in [(&caller, &first), (&caller, &second), (&other, &of_other)] {
        stack.block(&caller.name, id).await;
        let queued = caller.queued(id, r#"{"a":1}"#).await;
        letters.push(stack.dead_letter(&queued.receipt).await);
    }
    let groups: Vec<_> = letters.iter().map(group).collect();
    assert!(groups[0].len() <= 128 && !groups[0].contains(' '), "{groups:?}");
    assert_eq!(groups[0], groups[1]);
    assert_ne!(groups[0], groups[2]);
}

fn group(letter: &Message) -> String {
    let attributes = letter.attributes().expect("attributes");
    attributes[&MessageSystemAttributeName::MessageGroupId].clone()
}

#[tokio::test]
async fn every_message_of_a_burst_is_stored_and_notified() {
    let stack = Stack::running();
    let caller = stack.caller();
    let mut socket = caller.connect().await;
    let ids: HashSet<_> = (0..60).map(|_| unique("q")).collect();

    let sent = join_all(ids.iter().map(|id| caller.queued(id, r#"{"burst":true}"#))).await;
    let receipts: HashSet<_> = sent.iter().map(|queued| queued.receipt.as_str()).collect();
    assert_eq!(receipts.len(), ids.len(), "every message has a receipt of its own");

    let mut notified = HashSet::new();
    while notified.len() < ids.len() {
        let outcome = socket.next_outcome().await;
        assert!(outcome.status == "stored" && ids.contains(&outcome.id), "{outcome:?}");
        notified.insert(outcome.id);
    }
    for id in &ids {
        let item = caller.item(id).await.expect("what is notified is stored");
        assert_eq!(text(&item, "status"), "stored");
    }
}

#[tokio::test]
async fn a_message_sent_twice_through_the_queue_is_stored_once() {
    let stack = Stack::running();
    let caller = stack.caller();
    let mut socket = caller.connect().await;
    let id = unique("q");

    let first = caller.queued(&id, r#"{"a":1,"b":2}"#).await;
    let found = caller.outcome(&first).await.json();
    let stored = caller.item(&id).await;
    let second = caller.queued(&id, r#"{ "b": 2, "a": 1 }"#).await;
    let duplicate = caller.outcome(&second).await.json();

    assert_ne!(first.receipt, second.receipt);
    assert_eq!(caller.item(&id).await, stored);
    // Each receipt leads to an outcome of its own, and both say when the message was stored.
    let expected = json!({
        "id": id,
        "status": "stored",
        "via": "queue",
        "attempts": duplicate["attempts"],
        "receivedAt": duplicate["receivedAt"],
        "storedAt": found["storedAt"],
        "receipt": second.receipt,
    });
    assert_eq!(duplicate, expected);
    // In any order: an outcome can be looked up before it is notified.
    let notified =
        [socket.notified("stored", &id).await.receipt, socket.notified("stored", &id).await.receipt];
    let receipts = [first.receipt, second.receipt];
    assert!(receipts.iter().all(|receipt| notified.contains(receipt)), "{notified:?}, not {receipts:?}");
}

#[tokio::test]
async fn a_rejected_id_can_be_stored_through_the_queue() {
    let stack = Stack::running();
    let caller = stack.caller();
    let id = unique("q");
    stack.send(caller.record(&id, "[]")).await;
    caller.becomes(&id, "rejected").await;

    let queued = caller.queued(&id, r#"{"a":1}"#).await;
    let found = caller.outcome(&queued).await.json();

    assert_eq!(found["status"], "stored", "{found}");
    assert_eq!(found["receipt"], json!(queued.receipt));
    assert_eq!(found.get("reason"), None, "{found}");
}
