//! Notifications of owners over their WebSockets.

use e2e::stack::{Caller, Stack, unique};
use jiff::Timestamp;
use serde_json::{Value, json};

#[tokio::test]
async fn every_outcome_is_notified_as_a_cloud_event() {
    let stack = Stack::running();
    let caller = stack.caller();
    let mut socket = caller.connect().await;
    let (good, bad) = (unique("good"), unique("bad"));

    let queued = caller.queued(&good, r#"{"a":1}"#).await;
    let event = socket.next_event().await;
    assert_eq!(event, cloud_event(&caller, &event, "stored", &good, &queued.receipt).await);

    let queued = caller.queued(&good, r#"{"a":2}"#).await;
    let event = socket.next_event().await;
    assert_eq!(event, cloud_event(&caller, &event, "conflict", &good, &queued.receipt).await);

    let receipt = stack.send(caller.record(&bad, "no JSON")).await;
    let event = socket.next_event().await;
    assert_eq!(event, cloud_event(&caller, &event, "rejected", &bad, &receipt).await);
    assert_eq!(event["data"]["reason"], "the message is not JSON: line 1, column 2");
}

#[tokio::test]
async fn all_connections_of_an_owner_are_notified() {
    let stack = Stack::running();
    let caller = stack.caller();
    let mut sockets = [caller.connect().await, caller.connect().await, caller.connect().await];
    let id = unique("q");

    caller.queued(&id, r#"{"a":1}"#).await;

    let [one, two, three] = &mut sockets;
    let first = one.next_event().await;
    assert_eq!(first["subject"], json!(id));
    assert_eq!(two.next_event().await, first);
    assert_eq!(three.next_event().await, first);
}

#[tokio::test]
async fn other_owners_are_not_notified() {
    let stack = Stack::running();
    let (alice, bob) = (stack.caller(), stack.caller());
    let (mut of_alice, mut of_bob) = (alice.connect().await, bob.connect().await);
    let ids = ["one", "two", "three", "four", "five"].map(unique);
    let [stored, rejected, illegal, for_alice, for_bob] = &ids;

    bob.queued(stored, r#"{"a":1}"#).await;
    of_bob.notified("stored", stored).await;
    bob.queued(stored, r#"{"a":2}"#).await;
    of_bob.notified("conflict", stored).await;
    stack.send(bob.record(rejected, "no JSON")).await;
    of_bob.notified("rejected", rejected).await;
    let illegal = format!("{illegal}!");
    stack.send(bob.record(&illegal, r#"{"a":1}"#)).await;
    of_bob.notified("rejected", &illegal).await;

    // An earlier notification of Alice would be the first one on her socket.
    alice.queued(for_alice, r#"{"a":1}"#).await;
    of_alice.notified("stored", for_alice).await;
    bob.queued(for_bob, r#"{"a":1}"#).await;
    of_bob.notified("stored", for_bob).await;
}

#[tokio::test]
async fn a_notified_outcome_can_already_be_looked_up() {
    let stack = Stack::running();
    let caller = stack.caller();
    let mut socket = caller.connect().await;
    for _ in 0..5 {
        let id = unique("q");
        caller.queued(&id, r#"{"a":1}"#).await;
        socket.notified("stored", &id).await;
        assert_eq!(caller.look_up(&id).await.message_status(), "stored");
    }
}

/// The whole event as it has to be, with the time of the one that was received: it says what the look-up says.
async fn cloud_event(caller: &Caller<'_>, received: &Value, kind: &str, id: &str, receipt: &str) -> Value {
    let time = received["time"].as_str().expect("a time");
    assert!(time.ends_with('Z') && time.parse::<Timestamp>().is_ok(), "{received}");
    let found = caller.get(&format!("/messages/{id}?receipt={receipt}")).await.json();
    assert_eq!(found["status"], kind);
    let mut data = json!({ "receipt": receipt, "receivedAt": found["receivedAt"] });
    for member in ["storedAt", "reason"] {
        if let Some(value) = found.get(member) {
            data[member] = value.clone();
        }
    }
    json!({
        "specversion": "1.0",
        "id": format!("{receipt}:{kind}"),
        "source": "/intake",
        "type": format!("intake.message.{kind}"),
        "subject": id,
        "time": time,
        "datacontenttype": "application/json",
        "data": data,
    })
}
