//! When what could not be stored is delivered again.

use std::{collections::BTreeSet, time::Duration};

use fault_proxy::Fault;
use serde_json::{Value, json};

use crate::{
    fixtures::{
        consumer::{MAX_RECEIVE_COUNT, TestConsumer},
        events::{bulk, bulk_record, delivered, receipt, record},
        queue::{QueueFault, RELEASE},
    },
    queue_consumer::without_attribute,
};

const BODY: &str = r#"{"a":1}"#;

/// Long enough for two rounds.
const SHORT: Duration = Duration::from_secs(1);

/// In seconds, the delay after each delivery but the last one; up to a quarter is added.
const DELAYS: [u64; 7] = [30, 60, 120, 240, 480, 960, 1_920];

/// A record with a receipt handle of its own.
fn received(number: usize, attempts: u32) -> Value {
    with_handle(delivered(record(number, "alice", &format!("m-{number}"), BODY), attempts), number)
}

fn with_handle(mut record: Value, number: usize) -> Value {
    record["receiptHandle"] = json!(format!("handle-{number}"));
    record
}

/// Which of these records were hidden, and for how many seconds, since the last look.
fn hidden(consumer: &TestConsumer) -> Vec<(String, u64)> {
    let mut hidden = std::mem::take(&mut consumer.queue.state().hidden);
    hidden.sort_unstable();
    hidden
}

#[tokio::test]
async fn each_delivery_that_fails_is_followed_by_a_longer_delay() {
    let consumer = TestConsumer::start().await;
    for (attempts, delay) in (1..).zip(DELAYS) {
        let batch: Vec<_> = (0..9).map(|number| received(number, attempts)).collect();
        consumer.database.faults.always(Fault::Throttle);
        assert_eq!(consumer.consume_within(SHORT, &batch).await.len(), batch.len());
        let hidden = hidden(&consumer);
        assert_eq!(hidden.len(), batch.len(), "each of them once: {hidden:?}");
        let delays: BTreeSet<_> = hidden.iter().map(|(_, seconds)| *seconds).collect();
        assert!(
            delays.iter().all(|seconds| (delay..=delay * 5 / 4).contains(seconds)),
            "{delay}: {delays:?}"
        );
        assert!(delays.len() > 1, "a part of it is random: {delays:?}");
    }
}

#[tokio::test]
async fn a_record_is_visible_at_once_after_its_last_delivery() {
    let consumer = TestConsumer::start().await;
    consumer.database.faults.always(Fault::Throttle);
    // SQS counts for itself, and may have counted more.
    let batch = [received(1, MAX_RECEIVE_COUNT), received(2, MAX_RECEIVE_COUNT + 3)];
    assert_eq!(consumer.consume_within(SHORT, &batch).await.len(), 2);
    assert_eq!(hidden(&consumer), [("handle-1".to_owned(), 0), ("handle-2".to_owned(), 0)]);
}

#[tokio::test]
async fn only_what_failed_is_hidden_ten_records_in_a_request() {
    let consumer = TestConsumer::start().await;
    // As many again are stored, and one is rejected.
    let mut batch: Vec<_> = (0..23).map(|number| received(number, 2)).collect();
    let unattributed: BTreeSet<_> = (0..23).map(|number| format!("handle-{number}")).collect();
    batch = batch.into_iter().map(|record| without_attribute(record, "owner")).collect();
    batch.extend((100..123).map(|number| received(number, 2)));
    batch.push(with_handle(record(200, "alice", "rejected", "no JSON"), 200));
    assert_eq!(consumer.consume(&batch).await.len(), 23);
    let hidden: BTreeSet<_> = hidden(&consumer).into_iter().map(|(handle, _)| handle).collect();
    assert_eq!(hidden, unattributed);
    assert_eq!(consumer.queue.state().count(RELEASE), 3);

    assert!(consumer.consume(&[received(300, 1)]).await.is_empty());
    assert_eq!(consumer.queue.state().count(RELEASE), 3, "nothing failed, so nothing is asked of the queue");
}

#[tokio::test]
async fn a_bulk_is_hidden_as_one_record() {
    let consumer = TestConsumer::start().await;
    consumer.database.faults.always(Fault::Throttle);
    let bulk = with_handle(delivered(bulk_record(1, "alice", &bulk(&[("a", BODY), ("b", BODY)])), 3), 1);
    assert_eq!(consumer.consume_within(SHORT, &[bulk]).await, [receipt(1)].into());
    let hidden = hidden(&consumer);
    assert!(matches!(&hidden[..], [(_, 120..=150)]), "{hidden:?}");
}

#[tokio::test]
async fn what_the_record_does_not_say_leaves_it_to_the_visibility_timeout() {
    let consumer = TestConsumer::start().await;
    consumer.database.faults.always(Fault::Throttle);
    let mut without_handle = received(1, 1);
    without_handle["receiptHandle"] = Value::Null;
    let mut without_count = received(2, 1);
    without_count["attributes"]["ApproximateReceiveCount"] = json!("many");
    // It cannot be parsed, but it has a name.
    let mut unreadable = received(3, 1);
    unreadable["body"] = json!({});
    let failures = consumer.consume_within(SHORT, &[without_handle, without_count, unreadable]).await;
    assert_eq!(failures, [receipt(1), receipt(2), receipt(3)].into());
    assert_eq!(hidden(&consumer), []);
}

#[tokio::test]
async fn a_queue_that_hides_nothing_changes_nothing_else() {
    for fault in
        [QueueFault::Rejected("OverLimit"), QueueFault::LostResponse, QueueFault::Hang, QueueFault::Failed]
    {
        let consumer = TestConsumer::start().await;
        consumer.queue.next(RELEASE, [fault; 3]);
        // One is stored and notified, one fails.
        let batch = [received(1, 1), without_attribute(received(2, 1), "owner")];
        assert_eq!(consumer.consume(&batch).await, [receipt(2)].into(), "{fault:?}");
        assert_eq!(consumer.status("alice", "m-1").await, "stored", "{fault:?}");
        assert_eq!(consumer.pushes.frames("alice-1").len(), 1, "{fault:?}");
    }
}

/// By a clock of the test's own, and with the delays that the consumer asks SQS for.
#[tokio::test]
async fn an_outage_of_an_hour_ends_with_every_message_stored() {
    const OUTAGE: u64 = 60 * 60;
    // Of a consumer that tries for as long as it may.
    const DELIVERY: u64 = 21;
    // What SQS is not asked to hide, because this machine is busy, is hidden for this long.
    const VISIBILITY_TIMEOUT: u64 = 181;
    const MESSAGES: usize = 10;

    let consumer = TestConsumer::start().await;
    // For each message, when its next delivery begins, and which one it is. They arrive all through the outage.
    let begin = |number: usize| number as u64 * OUTAGE / MESSAGES as u64;
    let mut due: Vec<_> = (0..MESSAGES).map(|number| (begin(number), 1)).collect();
    let mut stored_at = vec![None; due.len()];
    while let Some(number) = (0..due.len()).filter(|it| stored_at[*it].is_none()).min_by_key(|it| due[*it]) {
        let (now, attempts) = due[number];
        let is_over = now + DELIVERY > OUTAGE;
        consumer.database.faults.always(if is_over { Fault::None } else { Fault::Throttle });
        let time = if is_over { SHORT * 10 } else { SHORT / 3 };
        let failures = consumer.consume_within(time, &[received(number, attempts)]).await;
        if failures.is_empty() {
            stored_at[number] = Some(now.max(OUTAGE));
            continue;
        }
        assert!(
            attempts < MAX_RECEIVE_COUNT,
            "message {number} fails for the last time {now} s after the beginning"
        );
        let hidden = hidden(&consumer);
        assert!(hidden.iter().all(|(handle, _)| *handle == format!("handle-{number}")), "{hidden:?}");
        let seconds = hidden.first().map_or(VISIBILITY_TIMEOUT, |(_, seconds)| *seconds);
        due[number] = (now + DELIVERY + seconds, attempts + 1);
    }
    for (number, stored_at) in stored_at.iter().enumerate() {
        assert_eq!(consumer.status("alice", &format!("m-{number}")).await, "stored");
        // What has waited for longer than the outage has lasted would have been hidden for too long.
        let waited = stored_at.expect("stored") - OUTAGE;
        let met = OUTAGE - begin(number);
        assert!(
            waited <= 30 + met * 5 / 4,
            "message {number} met {met} s of the outage, and waited for {waited} s more"
        );
    }
}
