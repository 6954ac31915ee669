//! Records that keep failing, up to the dead-letter queue.

use e2e::stack::{Outcome, Record, Stack, eventually, unique};
use serde_json::json;

const BODY: &str = r#"{"number":1234567890123456789}"#;

#[tokio::test]
async fn an_unattributed_record_is_delivered_as_often_as_allowed_and_kept_unchanged() {
    let stack = Stack::running();
    let record = Record::unattributed(BODY).with("id", "an-id").with("note", "keep me");

    let message_id = stack.send(record).await;

    let letter = stack.dead_letter(&message_id).await;
    assert_eq!(letter.body(), Some(BODY));
    let attributes = letter.message_attributes().expect("attributes");
    assert_eq!(attributes["id"].string_value(), Some("an-id"));
    assert_eq!(attributes["note"].string_value(), Some("keep me"));
    eventually("a line for each delivery", async || {
        let lines = stack.logged(&message_id).await;
        if lines.len() == stack.max_receive_count() as usize { Ok(()) } else { Err(lines.join("\n")) }
    })
    .await;
}

#[tokio::test]
async fn a_message_that_cannot_be_stored_fails_after_its_last_delivery_and_is_stored_once_it_can_be() {
    let stack = Stack::running();
    let caller = stack.caller();
    let mut socket = caller.connect().await;
    let (id, good) = (unique("blocked"), unique("good"));
    stack.block(&caller.name, &id).await;

    let queued = caller.queued(&id, BODY).await;
    // It does not delay the next one.
    caller.queued(&good, BODY).await;
    socket.notified("stored", &good).await;

    let outcome = socket.notified("failed", &id).await;
    assert_eq!(outcome.receipt, queued.receipt);
    let reason = "in any of its deliveries";
    assert!(outcome.reason.as_ref().is_some_and(|text| text.contains(reason)), "{outcome:?}");
    assert_eq!(caller.get(&queued.status_path).await.found().outcome, outcome);
    let letter = stack.dead_letter(&queued.receipt).await;
    assert_eq!(letter.body(), Some(BODY));

    stack.unblock(&caller.name, &id).await;
    stack.send(Record::received(&letter)).await;
    socket.notified("stored", &id).await;
    assert_eq!(caller.look_up(&id).await.payload(), BODY);
}

#[tokio::test]
async fn in_a_batch_every_record_has_its_own_outcome() {
    let stack = Stack::running();
    let (alice, bob) = (stack.caller(), stack.caller());
    let (mut of_alice, mut of_bob) = (alice.connect().await, bob.connect().await);
    let [stored, rejected, conflict, of_another] =
        ["stored", "rejected", "conflict", "of-another"].map(unique);
    alice.put(&conflict, r#"{"first":true}"#).await;
    let unattributed = Record::unattributed(BODY);
    let batch = [
        alice.record(&stored, BODY),
        unattributed.clone(),
        alice.record(&rejected, "no JSON"),
        alice.record("no id", BODY),
        bob.record(&of_another, BODY),
        unattributed,
        alice.record(&conflict, BODY),
    ];

    let receipts = stack.send_batch_to(&stack.at.queue_url, batch).await;

    let mut notified = Vec::new();
    for _ in 0..4 {
        let Outcome { status, id, .. } = of_alice.next_outcome().await;
        notified.push(format!("{status} {id}"));
    }
    notified.sort_unstable();
    let mut expected = [
        format!("stored {stored}"),
        format!("rejected {rejected}"),
        "rejected no id".to_owned(),
        format!("conflict {conflict}"),
    ];
    expected.sort_unstable();
    assert_eq!(notified, expected);
    of_bob.notified("stored", &of_another).await;
    assert_eq!(alice.look_up(&stored).await.message_status(), "stored");
    assert_eq!(alice.look_up(&rejected).await.message_status(), "rejected");
    assert_eq!(alice.look_up(&conflict).await.json()["payload"], json!({ "first": true }));
    assert_eq!(bob.look_up(&of_another).await.message_status(), "stored");
    for unattributed in [1, 5] {
        stack.dead_letter(&receipts[unattributed]).await;
    }
    let letters = stack.dead_letters().await;
    let is_dead = |receipt: &String| letters.iter().any(|letter| letter.message_id() == Some(receipt));
    let settled = [0, 2, 3, 4, 6].map(|place| is_dead(&receipts[place]));
    assert_eq!(settled, [false; 5], "what has an outcome is no dead letter");
}

#[tokio::test]
async fn a_dead_letter_without_an_outcome_gets_one_and_stays() {
    let stack = Stack::running();
    let caller = stack.caller();
    let mut socket = caller.connect().await;
    let [failed, conflict] = ["failed", "conflict"].map(unique);
    caller.put(&conflict, r#"{"first":true}"#).await;
    // As if the consumer had been killed in the last delivery of each.
    let dead = [caller.record(&failed, BODY), caller.record(&conflict, BODY), caller.record("no+id", BODY)];
    let receipts = stack.send_batch_to(&stack.at.dead_letter_queue_url, dead).await;

    let mut found = Vec::new();
    for (receipt, id) in receipts.iter().zip([&*failed, &conflict, "no+id"]) {
        let path = format!("/messages/{id}?receipt={receipt}");
        found.push(
            eventually(&format!("the outcome of {path}"), async || {
                // As its schedule does every minute.
                stack.invoke("DeadLetterRecorderFunction", &json!({})).await;
                let found = caller.get(&path).await;
                if found.message_status() == "queued" { Err(found.text) } else { Ok(found.found().outcome) }
            })
            .await,
        );
        assert_eq!(stack.dead_letter(receipt).await.body(), Some(BODY));
    }
    let statuses: Vec<_> = found.iter().map(|outcome| &outcome.status).collect();
    assert_eq!(statuses, ["failed", "conflict", "rejected"]);
    for _ in &found {
        let outcome = socket.next_outcome().await;
        assert!(found.contains(&outcome), "{outcome:?}, not one of {found:?}");
    }
    assert_eq!(caller.look_up(&failed).await.payload(), BODY);
}
