//! What owners are told over their sockets.

use e2e::stack::{Stack, text, unique};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::redelivery::delivery;

#[tokio::test]
async fn every_outcome_is_told_as_a_cloud_event() {
    let stack = Stack::running();
    let caller = stack.caller();
    let mut socket = caller.connect().await;
    let (good, bad) = (unique("good"), unique("bad"));

    let queued = caller.queued(&good, r#"{"a":1}"#).await;
    let event = socket.told("stored", &good).await;
    assert_eq!(event, cloud_event(&event, "stored", &good, &queued.receipt, None));

    let queued = caller.queued(&good, r#"{"a":2}"#).await;
    let event = socket.told("conflict", &good).await;
    let reason = event["data"]["reason"].as_str().expect("a reason");
    assert_eq!(event, cloud_event(&event, "conflict", &good, &queued.receipt, Some(reason)));

    let receipt = stack.send(caller.record(&bad, "no JSON")).await;
    let event = socket.told("rejected", &bad).await;
    let reason = "the message is not JSON: line 1, column 2";
    assert_eq!(event, cloud_event(&event, "rejected", &bad, &receipt, Some(reason)));
}

#[tokio::test]
async fn all_sockets_of_an_owner_are_told() {
    let stack = Stack::running();
    let caller = stack.caller();
    let mut sockets = [caller.connect().await, caller.connect().await, caller.connect().await];
    let id = unique("q");

    caller.queued(&id, r#"{"a":1}"#).await;

    let [one, two, three] = &mut sockets;
    let first = one.told("stored", &id).await;
    assert_eq!(two.told("stored", &id).await, first);
    assert_eq!(three.told("stored", &id).await, first);
}

#[tokio::test]
async fn other_owners_are_told_nothing() {
    let stack = Stack::running();
    let (alice, bob) = (stack.caller(), stack.caller());
    let (mut of_alice, mut of_bob) = (alice.connect().await, bob.connect().await);
    let ids = ["one", "two", "three", "four", "five"].map(unique);
    let [stored, rejected, illegal, mine, his] = &ids;

    bob.queued(stored, r#"{"a":1}"#).await;
    of_bob.told("stored", stored).await;
    bob.queued(stored, r#"{"a":2}"#).await;
    of_bob.told("conflict", stored).await;
    stack.send(bob.record(rejected, "no JSON")).await;
    of_bob.told("rejected", rejected).await;
    let illegal = format!("{illegal}!");
    stack.send(bob.record(&illegal, r#"{"a":1}"#)).await;
    of_bob.told("rejected", &illegal).await;

    // Whatever Alice was told before this would be before it on her socket.
    alice.queued(mine, r#"{"a":1}"#).await;
    of_alice.told("stored", mine).await;
    bob.queued(his, r#"{"a":1}"#).await;
    of_bob.told("stored", his).await;
}

#[tokio::test]
async fn each_of_two_owners_of_one_id_is_told_about_their_own() {
    let stack = Stack::running();
    let (alice, bob) = (stack.caller(), stack.caller());
    let (mut of_alice, mut of_bob) = (alice.connect().await, bob.connect().await);
    let id = unique("shared");
    // In one batch, so that the consumer has to keep them apart.
    let records = [alice.record(&id, r#"{"of":"alice"}"#), bob.record(&id, r#"{"of":"bob"}"#)];

    let receipts = stack.send_batch_to(&stack.at.queue_url, records).await;

    assert_eq!(of_alice.told("stored", &id).await["data"]["receipt"], json!(receipts[0]));
    assert_eq!(of_bob.told("stored", &id).await["data"]["receipt"], json!(receipts[1]));
}

/// The emulator's queue hands out ten at a time: what AWS does is given to the function itself.
#[tokio::test]
async fn a_large_batch_is_told_in_few_frames_that_are_not_too_long() {
    let stack = Stack::running();
    let caller = stack.caller();
    let mut socket = caller.connect().await;
    let ids: Vec<_> = (0..200).map(|_| unique("q")).collect();
    let records: Vec<_> = ids.iter().map(|id| delivery(&caller.name, id, r#"{"a":1}"#)).collect();

    assert_eq!(stack.consume(&records).await, json!({ "batchItemFailures": [] }));

    // In the order of the batch; that no frame is too long, the socket checks.
    for id in &ids {
        socket.told("stored", id).await;
    }
    assert!((2..=4).contains(&socket.frames), "{} frames", socket.frames);
    for id in &ids {
        assert_eq!(
            caller.item(id).await.map(|item| text(&item, "status").to_owned()).as_deref(),
            Some("stored")
        );
    }
}

#[tokio::test]
async fn what_is_told_is_already_there_to_look_up() {
    let stack = Stack::running();
    let caller = stack.caller();
    let mut socket = caller.connect().await;
    for _ in 0..5 {
        let id = unique("q");
        caller.queued(&id, r#"{"a":1}"#).await;
        socket.told("stored", &id).await;
        assert_eq!(caller.look_up(&id).await.state(), "stored");
    }
}

#[tokio::test]
async fn nobody_has_to_listen() {
    let stack = Stack::running();
    let caller = stack.caller();
    let id = unique("q");
    let queued = caller.queued(&id, r#"{"a":1}"#).await;
    assert_eq!(caller.outcome(&queued).await.state(), "stored");
}

/// The whole event as it has to be, with the time that it says itself.
fn cloud_event(told: &Value, kind: &str, subject: &str, receipt: &str, reason: Option<&str>) -> Value {
    let time = told["time"].as_str().expect("a time");
    assert!(time.ends_with('Z') && time.parse::<Timestamp>().is_ok(), "{told}");
    let mut data = json!({ "receipt": receipt });
    if let Some(reason) = reason {
        data["reason"] = json!(reason);
    }
    json!({
        "specversion": "1.0",
        "id": format!("{receipt}:{kind}"),
        "source": "/intake",
        "type": format!("intake.message.{kind}"),
        "subject": subject,
        "time": time,
        "datacontenttype": "application/json",
        "data": data,
    })
}
