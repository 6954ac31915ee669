//! `PUT /queue/{id}`: the answer is a receipt, and the outcome comes later.

use std::collections::HashSet;

use e2e::stack::{Stack, number, text, unique};
use futures_util::future::join_all;
use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

#[tokio::test]
async fn a_message_is_taken_with_a_receipt_and_a_place_to_ask() {
    let stack = Stack::running();
    let caller = stack.caller();
    let id = unique("q");

    let answer = caller.queue(&id, r#"{"order":4711}"#).await;

    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/json");
    let queued = answer.json();
    let receipt = queued["receipt"].as_str().expect("a receipt");
    assert!(Uuid::parse_str(receipt).is_ok(), "{answer:?}");
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

    let answer = caller.outcome(&queued).await;

    let item = caller.item(&id).await.expect("it is in the table");
    assert_eq!(text(&item, "status"), "stored");
    assert_eq!(text(&item, "payload"), r#"{"order":4711}"#);
    assert_eq!(text(&item, "via"), "queue");
    assert_eq!(text(&item, "receipt"), queued.receipt);
    assert!(number(&item, "attempts") >= 1, "{item:?}");
    let time = |name| text(&item, name).parse::<Timestamp>().expect("RFC 3339");
    assert!(time("received_at") <= time("stored_at"), "{item:?}");
    for absent in ["reason", "expires_at"] {
        assert!(!item.contains_key(absent), "{absent}: {item:?}");
    }

    let found = answer.json();
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

#[tokio::test]
async fn a_receipt_makes_an_unseen_message_queued() {
    let stack = Stack::running();
    let caller = stack.caller();
    let (id, receipt) = (unique("q"), Uuid::new_v4().to_string());

    let answer = caller.get(&format!("/messages/{id}?receipt={receipt}")).await;

    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json(), json!({ "id": id, "status": "queued", "receipt": receipt }));
    caller.look_up(&id).await.assert_problem(404, "not-found");
}

#[tokio::test]
async fn a_text_that_is_no_receipt_is_refused() {
    let stack = Stack::running();
    let caller = stack.caller();
    let id = unique("q");
    for receipt in ["x", "%00", "5fea7756-0ea4-451a-a703-a558b933e27", "..%2F..", "%22%7D", "a%26b%3Dc"] {
        let answer = caller.get(&format!("/messages/{id}?receipt={receipt}")).await;
        answer.assert_problem(400, "invalid-receipt");
    }
}

#[tokio::test]
async fn a_burst_is_stored_and_told_to_the_last_message() {
    let stack = Stack::running();
    let caller = stack.caller();
    let mut socket = caller.connect().await;
    let ids: HashSet<_> = (0..60).map(|_| unique("q")).collect();

    let sent = join_all(ids.iter().map(|id| caller.queued(id, r#"{"burst":true}"#))).await;
    let receipts: HashSet<_> = sent.iter().map(|queued| queued.receipt.as_str()).collect();
    assert_eq!(receipts.len(), ids.len(), "every message has a receipt of its own");

    let mut told = HashSet::new();
    while told.len() < ids.len() {
        let event = socket.next_event().await;
        assert_eq!(event["type"], "intake.message.stored", "{event}");
        let subject = event["subject"].as_str().expect("a subject").to_owned();
        assert!(ids.contains(&subject), "{event}");
        told.insert(subject);
    }
    for id in &ids {
        let item = caller.item(id).await.expect("what is told is stored");
        assert_eq!(text(&item, "status"), "stored");
    }
}

#[tokio::test]
async fn a_message_stored_by_one_way_is_known_to_the_other() {
    let stack = Stack::running();
    let caller = stack.caller();
    let id = unique("m");

    let queued = caller.queued(&id, r#"{"a":1,"b":2}"#).await;
    assert_eq!(caller.outcome(&queued).await.state(), "stored");

    assert_eq!(caller.put(&id, r#"{"b":2,"a":1}"#).await.status, 200);
    caller.put(&id, r#"{"a":3}"#).await.assert_problem(409, "conflict");
    let item = caller.item(&id).await.expect("it is stored");
    assert_eq!(text(&item, "via"), "queue");
}
