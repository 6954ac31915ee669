//! Dead letters get the outcome that the consumer could not write, and stay.

use std::time::{Duration, SystemTime};

use dead_letter_recorder::DeadLetterRecorder;
use fault_proxy::Fault;
use intake_platform::push::Push;
use serde_json::{Value, json};

use crate::{
    fixtures::{
        consumer::{AMPLE_TIME, MAX_RECEIVE_COUNT, TestConsumer},
        database::MESSAGES,
        events::{delivered, receipt, record},
        queue::Queue,
    },
    queue_consumer::without_attribute,
    receipts::{look_up, response},
};

/// A run ends after so many receives in a row without a message that needs an outcome.
const MAX_IDLE_RECEIVES: usize = 100;

/// A record that was delivered as often as allowed.
fn dead(number: usize, id: &str, body: &str) -> Value {
    delivered(record(number, "alice", id, body), MAX_RECEIVE_COUNT + 1)
}

fn recorder(consumer: &TestConsumer, queue: &Queue) -> DeadLetterRecorder {
    let TestConsumer { database, pushes, .. } = consumer;
    DeadLetterRecorder::new(
        queue.client(),
        queue.url(),
        database.settler(database.messages()),
        Push::new(database.aws(), &pushes.url(), database.connections(), AMPLE_TIME),
    )
}

async fn run(recorder: &DeadLetterRecorder) -> Result<(), String> {
    recorder.run(SystemTime::now() + AMPLE_TIME).await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn every_dead_letter_gets_its_outcome_and_its_owner_a_notification() {
    let consumer = TestConsumer::start().await;
    assert!(consumer.consume(&[record(1, "alice", "stored", r#"{"a":1}"#)]).await.is_empty());
    let dead_letters = [
        dead(2, "failed", r#"{"a":2}"#),
        dead(3, "stored", r#"{"a":3}"#),
        dead(4, "stored", r#"{ "a":1 }"#),
        dead(5, "rejected", "no JSON"),
        dead(6, "no+id", r#"{"a":1}"#),
        without_attribute(dead(7, "unattributed", r#"{"a":1}"#), "owner"),
    ];
    let queue = Queue::start(&dead_letters).await;

    assert_eq!(run(&recorder(&consumer, &queue)).await, Ok(()));

    let mut notified = vec!["stored stored".to_owned()];
    for (number, id, status) in [
        (2, "failed", "failed"),
        (3, "stored", "conflict"),
        (4, "stored", "stored"),
        (5, "rejected", "rejected"),
        (6, "no+id", "rejected"),
    ] {
        let found = look_up(&consumer, "alice", id, number).await;
        assert_eq!(found["status"], status, "{found}");
        notified.push(format!("{status} {id}"));
    }
    notified.sort_unstable();
    let mut outcomes = consumer.pushes.outcomes("alice-1");
    outcomes.sort_unstable();
    assert_eq!(outcomes, notified);
    assert_eq!(response(&consumer, "alice", "failed", None).await.1["payload"], json!({ "a": 2 }));
    assert_eq!(look_up(&consumer, "alice", "unattributed", 7).await["status"], "queued");
    assert_eq!(queue.len(), dead_letters.len(), "they stay");
}

#[tokio::test]
async fn a_dead_letter_with_an_outcome_is_looked_up_once_and_left_alone() {
    let consumer = TestConsumer::start().await;
    // Stored in its last delivery, whose response got lost; failed; in conflict.
    let dead_letters =
        [dead(1, "m-1", r#"{"a":1}"#), dead(2, "m-2", r#"{"a":2}"#), dead(3, "m-1", r#"{"a":3}"#)];
    assert!(consumer.consume(&dead_letters[..1]).await.is_empty());
    consumer.database.faults.next([Fault::Reject; 3]);
    assert_eq!(consumer.consume(&dead_letters[1..]).await, [receipt(2)].into());
    let (items, notified) = (consumer.database.items(MESSAGES).await.len(), consumer.pushes.requests().len());
    let queue = Queue::start(&dead_letters).await;
    let recorder = recorder(&consumer, &queue);
    let _ = consumer.database.faults.take_request_count();

    assert_eq!(run(&recorder).await, Ok(()));
    assert_eq!(consumer.database.faults.take_requests_of("BatchGetItem"), dead_letters.len());
    queue.show_all();
    assert_eq!(run(&recorder).await, Ok(()));

    assert_eq!(consumer.database.faults.take_request_count(), 0, "nothing is written or looked up again");
    assert_eq!(consumer.database.items(MESSAGES).await.len(), items);
    assert_eq!(consumer.pushes.requests().len(), notified);
}

#[tokio::test]
async fn a_failure_without_its_outcome_under_the_receipt_gets_it() {
    let consumer = TestConsumer::start().await;
    let dead_letter = dead(1, "m-1", r#"{"a":1}"#);
    // As if the consumer had been killed between recording the failure and keeping the outcome.
    consumer.database.faults.only("BatchWriteItem");
    consumer.database.faults.always(Fault::Reject);
    let rejected = dead(1, "m-1", "no JSON");
    assert_eq!(consumer.consume_within(Duration::from_secs(3), &[rejected]).await, [receipt(1)].into());
    assert_eq!(consumer.status("alice", "m-1").await, "rejected");
    consumer.database.faults.always(Fault::None);

    let queue = Queue::start(&[dead_letter]).await;
    assert_eq!(run(&recorder(&consumer, &queue)).await, Ok(()));

    // Another message takes its place under the id, and the receipt still has its outcome.
    assert!(consumer.consume(&[record(2, "alice", "m-1", r#"{"a":1}"#)]).await.is_empty());
    assert_eq!(look_up(&consumer, "alice", "m-1", 1).await["status"], "failed");
    assert_eq!(look_up(&consumer, "alice", "m-1", 2).await["status"], "stored");
}

#[tokio::test]
async fn what_an_unavailable_table_leaves_without_an_outcome_is_an_error_and_written_later() {
    for operation in ["BatchGetItem", "PutItem", "BatchWriteItem"] {
        let consumer = TestConsumer::start().await;
        let queue = Queue::start(&[dead(1, "m-1", r#"{"a":1}"#), dead(2, "m-2", r#"{"a":1}"#)]).await;
        let recorder = recorder(&consumer, &queue);
        consumer.database.faults.only(operation);
        consumer.database.faults.always(Fault::Throttle);
        let deadline = SystemTime::now() + Duration::from_secs(3);
        let error = recorder.run(deadline).await.expect_err(operation).to_string();
        assert_eq!(error, "2 dead letters have no outcome yet", "{operation}");
        assert_eq!(consumer.pushes.requests(), [""; 0], "{operation}");

        consumer.database.faults.always(Fault::None);
        queue.show_all();
        assert_eq!(run(&recorder).await, Ok(()), "{operation}");
        for (number, id) in [(1, "m-1"), (2, "m-2")] {
            assert_eq!(look_up(&consumer, "alice", id, number).await["status"], "failed", "{operation}");
        }
    }
}

#[tokio::test]
async fn a_key_with_an_item_of_another_program_does_not_keep_a_failure_from_its_receipt() {
    let consumer = TestConsumer::start().await;
    consumer.database.add_foreign_item("alice", "m-1").await;
    let queue = Queue::start(&[dead(1, "m-1", r#"{"a":1}"#)]).await;
    assert_eq!(run(&recorder(&consumer, &queue)).await, Ok(()));
    assert_eq!(look_up(&consumer, "alice", "m-1", 1).await["status"], "failed");
}

#[tokio::test]
async fn a_run_ends_when_no_dead_letter_needs_an_outcome() {
    let consumer = TestConsumer::start().await;
    let dead_letters: Vec<_> =
        (0..25).map(|number| dead(number, &format!("m-{number}"), r#"{"a":1}"#)).collect();
    let queue = Queue::start(&dead_letters).await;
    let recorder = recorder(&consumer, &queue);
    assert_eq!(run(&recorder).await, Ok(()));
    assert_eq!(queue.receives(), 4, "three with dead letters, one without");
    assert_eq!(consumer.pushes.outcomes("alice-1").len(), 25);

    // However many dead letters with an outcome there are.
    queue.show_all();
    queue.hide_nothing();
    let before = queue.receives();
    assert_eq!(run(&recorder).await, Ok(()));
    assert_eq!(queue.receives() - before, MAX_IDLE_RECEIVES);
}

#[tokio::test]
async fn a_run_without_time_receives_nothing() {
    let consumer = TestConsumer::start().await;
    let queue = Queue::start(&[dead(1, "m-1", r#"{"a":1}"#)]).await;
    let recorder = recorder(&consumer, &queue);
    recorder.run(SystemTime::now() - Duration::from_secs(1)).await.expect("nothing was open");
    assert_eq!(queue.receives(), 0);
}
