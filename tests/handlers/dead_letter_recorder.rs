//! Dead letters get the outcome that the consumer could not write, and stay.

use std::time::{Duration, SystemTime};

use dead_letter_recorder::DeadLetterRecorder;
use fault_proxy::Fault;
use futures_util::future::join_all;
use intake_platform::{
    metrics::{Metric, Metrics},
    push::Push,
    tables::Outcomes,
};
use jiff::SignedDuration;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    bulk,
    fixtures::{
        consumer::{AMPLE_TIME, MAX_RECEIVE_COUNT, TestConsumer},
        database::MESSAGES,
        events::{bulk as bulk_of, bulk_receipt, bulk_record, delivered, receipt, record},
        pushes::PushFault,
        queue::{Queue, QueueFault, RECEIVE, RELEASE},
    },
    notifications::settled,
    queue_consumer::without_attribute,
    receipts::{look_up, response},
};

/// A record that was delivered as often as allowed, and then received by others.
fn dead(number: usize, id: &str, body: &str) -> Value {
    delivered(record(number, "alice", id, body), MAX_RECEIVE_COUNT + 7)
}

fn recorder(consumer: &TestConsumer, queue: &Queue) -> DeadLetterRecorder {
    let TestConsumer { database, pushes, .. } = consumer;
    DeadLetterRecorder::new(
        queue.client(Duration::from_secs(5)),
        queue.url(),
        MAX_RECEIVE_COUNT,
        database.settler(database.messages()),
        Push::new(database.aws(), &pushes.url(), database.connections(), AMPLE_TIME),
    )
}

async fn run(recorder: &DeadLetterRecorder) -> Result<(), String> {
    run_within(AMPLE_TIME, recorder).await.0
}

/// Runs with so much time, and returns the metrics, too.
async fn run_within(time: Duration, recorder: &DeadLetterRecorder) -> (Result<(), String>, Metrics) {
    let mut metrics = Metrics::default();
    let result = recorder.run(SystemTime::now() + time, &mut metrics).await;
    (result.map_err(|error| error.to_string()), metrics)
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
        assert_eq!(found["attempts"], MAX_RECEIVE_COUNT, "the receives by others are no deliveries");
        notified.push(format!("{status} {id}"));
    }
    notified.sort_unstable();
    let mut outcomes = consumer.pushes.outcomes("alice-1");
    outcomes.sort_unstable();
    assert_eq!(outcomes, notified);
    assert_eq!(response(&consumer, "alice", "failed", None).await.1["payload"], json!({ "a": 2 }));
    assert_eq!(look_up(&consumer, "alice", "unattributed", 7).await["status"], "queued");
    let number = dead_letters.len();
    assert_eq!(queue.state().counts(), [number, number, 0], "they stay, and are visible");
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
        let (result, _) = run_within(Duration::from_secs(3), &recorder).await;
        assert_eq!(result, Err("2 dead letters have no outcome yet".to_owned()), "{operation}");
        assert_eq!(consumer.pushes.requests(), [""; 0], "{operation}");

        consumer.database.faults.always(Fault::None);
        assert_eq!(run(&recorder).await, Ok(()), "{operation}");
        for (number, id) in [(1, "m-1"), (2, "m-2")] {
            assert_eq!(look_up(&consumer, "alice", id, number).await["status"], "failed", "{operation}");
        }
    }
}

#[tokio::test]
async fn of_a_bulk_what_is_open_has_failed_and_the_rest_has_its_outcome() {
    let consumer = TestConsumer::start().await;
    let body = r#"{"a":1}"#;
    let messages = [("open", body), ("stored", body), ("bad", "[]"), ("a b", body), ("stored", r#"{"a":2}"#)];
    let expected = ["failed", "stored", "rejected", "rejected", "conflict"];
    assert!(consumer.consume(&[record(2, "alice", "stored", body)]).await.is_empty());
    let queue =
        Queue::start(&[delivered(bulk_record(1, "alice", &bulk_of(&messages)), MAX_RECEIVE_COUNT + 1)]).await;
    let recorder = recorder(&consumer, &queue);

    // Nothing is looked up, and nothing written, before the outcomes can be kept.
    consumer.database.faults.only("BatchWriteItem");
    consumer.database.faults.always(Fault::Throttle);
    let (result, metrics) = run_within(Duration::from_secs(3), &recorder).await;
    assert!(result.is_err());
    assert_counts(&metrics, Metric::Failed, 0);
    assert_eq!(bulk::look_up(&consumer, "alice", &bulk_receipt(1)).await.1["status"], "queued");
    consumer.database.faults.always(Fault::None);

    let before = consumer.pushes.outcomes("alice-1").len();
    let (result, metrics) = run_within(AMPLE_TIME, &recorder).await;
    result.expect("recorded");
    assert_counts(&metrics, Metric::Failed, 1);
    let (_, found) = bulk::look_up(&consumer, "alice", &bulk_receipt(1)).await;
    let pairs = messages.iter().zip(expected).map(|((id, _), expected)| (*id, expected));
    assert_eq!(bulk::statuses(&found), pairs.clone().collect::<Vec<_>>());
    let notified = consumer.pushes.outcomes("alice-1").split_off(before);
    assert_eq!(notified, pairs.map(|(id, expected)| format!("{expected} {id}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_key_with_an_item_of_another_program_does_not_keep_a_failure_from_its_receipt() {
    let consumer = TestConsumer::start().await;
    consumer.database.add_foreign_item("alice", "m-1").await;
    let queue = Queue::start(&[dead(1, "m-1", r#"{"a":1}"#)]).await;
    assert_eq!(run(&recorder(&consumer, &queue)).await, Ok(()));
    assert_eq!(look_up(&consumer, "alice", "m-1", 1).await["status"], "failed");
}

/// `number` dead letters with different ids.
fn open(number: usize) -> Vec<Value> {
    (1..=number).map(|number| dead(number, &format!("m-{number}"), r#"{"a":1}"#)).collect()
}

#[tokio::test]
async fn a_run_ends_when_the_queue_is_empty() {
    let consumer = TestConsumer::start().await;
    let queue = Queue::start(&open(25)).await;
    let (result, metrics) = run_within(AMPLE_TIME, &recorder(&consumer, &queue)).await;
    assert_eq!(result, Ok(()));
    assert_eq!(queue.state().count(RECEIVE), 5, "three with dead letters, two without");
    assert_eq!(consumer.pushes.outcomes("alice-1").len(), 25);
    assert_counts(&metrics, Metric::Failed, 25);
    assert_counts(&metrics, Metric::Pushed, 1);
}

#[tokio::test]
async fn a_receive_that_returns_nothing_does_not_hide_the_dead_letters_behind_it() {
    let consumer = TestConsumer::start().await;
    let queue = Queue::start(&open(25)).await;
    let [none, empty] = [QueueFault::None, QueueFault::Empty];
    queue.next(RECEIVE, [empty, none, empty, none, empty, none]);
    assert_eq!(run(&recorder(&consumer, &queue)).await, Ok(()));
    assert_eq!(consumer.pushes.outcomes("alice-1").len(), 25);
}

#[tokio::test]
async fn the_last_of_5000_dead_letters_gets_its_outcome_in_the_first_run() {
    let consumer = TestConsumer::start().await;
    let mut dead_letters = open(5_000);
    // All others have an outcome.
    let decided: Vec<_> = (1..5_000).map(|number| settled(number, "alice")).collect();
    for chunk in decided.chunks(Outcomes::BATCH_LIMIT) {
        let chunk: Vec<_> = chunk.iter().map(std::slice::from_ref).collect();
        consumer.database.outcomes().keep(&chunk, SignedDuration::from_hours(1)).await.expect("kept");
    }
    dead_letters.last_mut().expect("5,000")["messageAttributes"]["id"]["stringValue"] = json!("last");
    let queue = Queue::start(&dead_letters).await;
    // Ample, even on a busy machine.
    let (result, metrics) = run_within(Duration::from_secs(600), &recorder(&consumer, &queue)).await;
    assert_eq!(result, Ok(()));
    assert_counts(&metrics, Metric::Failed, 1);
    assert_eq!(look_up(&consumer, "alice", "last", 5_000).await["status"], "failed");
}

#[tokio::test]
async fn pushes_that_hang_do_not_limit_how_many_dead_letters_a_run_settles() {
    let consumer = TestConsumer::start().await;
    consumer.pushes.always("alice-1", PushFault::Hang);
    let queue = Queue::start(&open(100)).await;
    let TestConsumer { database, pushes, .. } = &consumer;
    let settler = database.settler(database.messages());
    let push = Push::new(database.aws(), &pushes.url(), database.connections(), Duration::from_secs(1));
    let client = queue.client(Duration::from_secs(5));
    let recorder = DeadLetterRecorder::new(client, queue.url(), MAX_RECEIVE_COUNT, settler, push);
    let (result, metrics) = run_within(Duration::from_secs(10), &recorder).await;
    assert_eq!(result, Ok(()));
    assert_counts(&metrics, Metric::Failed, 100);
    assert_counts(&metrics, Metric::PushSkipped, 1);
}

#[tokio::test]
async fn what_was_settled_before_a_receive_fails_is_notified_counted_and_released() {
    let consumer = TestConsumer::start().await;
    let queue = Queue::start(&open(15)).await;
    queue.next(RECEIVE, [QueueFault::None, QueueFault::Rejected("AccessDenied")]);
    let recorder = recorder(&consumer, &queue);

    let (result, metrics) = run_within(AMPLE_TIME, &recorder).await;

    assert!(result.is_err());
    assert_eq!(consumer.pushes.outcomes("alice-1").len(), 10);
    assert_counts(&metrics, Metric::Failed, 10);
    assert_counts(&metrics, Metric::Pushed, 1);
    assert_eq!(queue.state().counts(), [15, 15, 0]);

    let (result, metrics) = run_within(AMPLE_TIME, &recorder).await;
    assert_eq!(result, Ok(()));
    assert_counts(&metrics, Metric::Failed, 5);
}

#[tokio::test]
async fn a_run_ends_before_its_deadline_whatever_hangs() {
    let run_with = async |hanging| {
        let consumer = TestConsumer::start().await;
        let queue = Queue::start(&open(25)).await;
        if [RECEIVE, RELEASE].contains(&hanging) {
            queue.next(hanging, [QueueFault::None, QueueFault::Hang, QueueFault::Hang, QueueFault::Hang]);
        } else {
            consumer.database.faults.only(hanging);
            consumer.database.faults.always(Fault::Hang);
        }
        let (time, recorder) = (Duration::from_secs(4), recorder(&consumer, &queue));
        let deadline = Instant::now() + time;
        let (result, _) = run_within(time, &recorder).await;
        assert!(Instant::now() < deadline, "{hanging}");
        assert_eq!(result.is_ok(), [RELEASE, "Query"].contains(&hanging), "{hanging}: {result:?}");
    };
    join_all([RECEIVE, RELEASE, "BatchGetItem", "PutItem", "BatchWriteItem", "Query"].map(run_with)).await;
}

#[tokio::test]
async fn a_run_without_time_receives_nothing() {
    let consumer = TestConsumer::start().await;
    let queue = Queue::start(&open(1)).await;
    let (result, _) = run_within(Duration::ZERO, &recorder(&consumer, &queue)).await;
    assert_eq!(result, Ok(()));
    assert_eq!(queue.state().count(RECEIVE), 0);
}

fn assert_counts(metrics: &Metrics, metric: Metric, expected: u64) {
    assert_eq!(metrics.counted(metric), expected, "{metrics:?}");
}
