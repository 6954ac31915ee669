//! Dead letters that an operator redrives.
//!
//! Each test names the owner or the receipt of its own letters, because all tests share the dead-letter queue.

use e2e::stack::{Caller, Record, Stack, eventually, text, unique};
use serde_json::{Value, json};

const BODY: &str = r#"{"number":1234567890123456789, "text":"as it came"}"#;

/// A dead letter of this caller that is known to have failed; returns its receipt.
async fn failed(stack: &Stack, caller: &Caller<'_>, id: &str) -> String {
    let receipt = stack.send_to(&stack.at.dead_letter_queue_url, caller.record(id, BODY)).await;
    let path = format!("/messages/{id}?receipt={receipt}");
    eventually(&format!("the outcome of {path}"), async || {
        // As its schedule does every minute.
        stack.invoke("DeadLetterRecorderFunction", &json!({})).await;
        let found = caller.get(&path).await;
        if found.message_status() == "failed" { Ok(()) } else { Err(found.text) }
    })
    .await;
    receipt
}

fn receipts(list: &Value) -> Vec<&str> {
    let entries = list.as_array().expect("a list").iter();
    entries.map(|entry| entry["receipt"].as_str().expect("a receipt")).collect()
}

#[tokio::test]
async fn a_redriven_dead_letter_is_stored_unchanged_and_notified() {
    let stack = Stack::running();
    let caller = stack.caller();
    let mut socket = caller.connect().await;
    let id = unique("dead");
    let receipt = failed(&stack, &caller, &id).await;
    socket.notified("failed", &id).await;

    let report = stack.redrive(&json!({ "owner": caller.name, "max": 1 })).await;

    let [moved] = report["moved"].as_array().expect("a list").as_slice() else { panic!("{report}") };
    assert_eq!(moved["receipt"], receipt);
    assert_eq!((&moved["owner"], &moved["id"]), (&json!(caller.name), &json!(id)));
    let outcome = socket.notified("stored", &id).await;
    assert_eq!(moved["receivedAt"], json!(outcome.received_at));
    let item = caller.item(&id).await.expect("it is stored");
    assert_eq!(text(&item, "payload"), BODY);
    // The receipt that its client got is still the one that leads to the outcome.
    assert_eq!(outcome.receipt, receipt);
    let found = caller.get(&format!("/messages/{id}?receipt={receipt}")).await;
    assert_eq!(found.found().outcome, outcome);
}

#[tokio::test]
async fn a_dry_run_lists_the_dead_letters_and_leaves_them() {
    let stack = Stack::running();
    let caller = stack.caller();
    let mut expected = Vec::new();
    for id in ["dry-1", "dry-2"] {
        expected.push(failed(&stack, &caller, &unique(id)).await);
    }
    expected.sort_unstable();

    let report = stack.redrive(&json!({ "dryRun": true, "owner": caller.name })).await;

    let mut listed = receipts(&report["moved"]);
    listed.sort_unstable();
    assert_eq!((listed, &report["left"]), (expected.iter().map(String::as_str).collect(), &json!([])));
    for receipt in &expected {
        assert_eq!(stack.dead_letter(receipt).await.body(), Some(BODY));
    }
}

#[tokio::test]
async fn an_unattributed_dead_letter_is_moved_if_its_receipt_is_asked_for() {
    let stack = Stack::running();
    let record = Record::unattributed(BODY);
    let receipt = stack.send_to(&stack.at.dead_letter_queue_url, record).await;

    let report = stack.redrive(&json!({ "receipt": receipt, "max": 1 })).await;

    assert_eq!(receipts(&report["moved"]), [&receipt]);
    // It fails again, under another id.
    eventually("the record in the dead-letter queue", async || {
        let letters = stack.dead_letters().await;
        let is_it = |attribute: &aws_sdk_sqs::types::MessageAttributeValue| {
            attribute.string_value() == Some(&receipt)
        };
        let mut attributes = letters.iter().filter_map(|letter| letter.message_attributes()?.get("receipt"));
        if attributes.any(is_it) { Ok(()) } else { Err(format!("{} others", letters.len())) }
    })
    .await;
}

#[tokio::test]
async fn an_event_that_is_no_request_is_an_error_that_says_so() {
    let stack = Stack::running();
    let error = stack.invoke("RedriveFunction", &json!({ "maximum": 1 })).await;
    let text = "maximum is unknown: the members are dryRun, max, owner and receipt";
    assert_eq!(error["errorMessage"], text, "{error}");
}
