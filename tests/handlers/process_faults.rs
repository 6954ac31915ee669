//! What can happen to the consumer itself, and to the batches that it receives.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use aws_sdk_dynamodb::{
    Client,
    config::{ConfigBag, Intercept, RuntimeComponents, interceptors::BeforeTransmitInterceptorContextRef},
    error::BoxError,
};
use fault_proxy::Fault;
use intake_domain::message::Payload;
use intake_platform::tables::Messages;
use serde_json::{Value, json};
use tokio::{join, select, time::sleep};

use crate::{
    fixtures::{
        consumer::TestConsumer,
        database::MESSAGES,
        events::{bulk, bulk_record, receipt, record},
    },
    queue_consumer::without_attribute,
    sent::{Sent, assert_stored, items, notified_as_stored, object_of, records, records_of},
};

#[tokio::test]
async fn a_consumer_that_is_killed_in_the_middle_of_a_batch_loses_nothing() {
    // Four inserts and two reads of the connections; of bulks also what keeps their outcomes. What is under way when the consumer dies takes effect, or never
    // does, or does so while the next consumer is at work.
    for fault in [Fault::None, Fault::CutBefore, Fault::Hang, Fault::Late(Duration::from_millis(50))] {
        for (requests, bulks) in (1..=6).flat_map(|requests| [(requests, 0), (requests, 4)]) {
            let consumer = TestConsumer::start().await;
            let TestConsumer { database, pushes, .. } = &consumer;
            let sent = Sent::in_bulks(Sent::many(100), bulks, 25);
            database.faults.always(fault);
            let lifetime = async {
                let mut made = 0;
                while made < requests {
                    sleep(Duration::from_millis(1)).await;
                    made += database.faults.take_request_count();
                    // With four requests that hang it makes no other.
                    if made >= 4 && fault == Fault::Hang {
                        break;
                    }
                }
            };
            let first = records(&sent, 1);
            select! {
                biased;
                () = lifetime => {}
                _ = consumer.consume(&first) => {}
            }

            database.faults.always(Fault::None);
            let context = format!("{fault:?}, {bulks} bulks, killed at request {requests}");
            assert_eq!(consumer.consume(&records(&sent, 2)).await, BTreeSet::new(), "{context}");
            assert_stored(database, &sent, &context).await;
            assert_eq!(notified_as_stored(pushes, &sent).len(), sent.len(), "{context}");
        }
    }
}

#[tokio::test]
async fn two_consumers_with_the_same_batch_store_it_once_and_push_the_same_events() {
    for fault in [Fault::None, Fault::ThrottleStatements, Fault::CutAfter] {
        let consumer = TestConsumer::start().await;
        let TestConsumer { database, pushes, .. } = &consumer;
        let sent = Sent::in_bulks(Sent::many(100), 2, 25);
        let (first, second) = (records(&sent, 1), records(&sent, 2));
        database.faults.next([fault; 6]);
        let failures = join!(consumer.consume(&first), consumer.consume(&second));
        assert_eq!(failures, (BTreeSet::new(), BTreeSet::new()), "{fault:?}");
        assert_stored(database, &sent, &format!("{fault:?}")).await;
        // Both push it, and the client sees by the event's id that it is one.
        assert_eq!(notified_as_stored(pushes, &sent).len(), sent.len(), "{fault:?}");
        let events = pushes.events("alice-1").len() + pushes.events("bob-1").len();
        assert_eq!(events, 2 * sent.len(), "{fault:?}: twice");
    }
}

#[tokio::test]
async fn a_whole_batch_that_is_delivered_twice_changes_nothing() {
    let consumer = TestConsumer::start().await;
    let TestConsumer { database, pushes, .. } = &consumer;
    let sent = Sent::in_bulks(Sent::many(100), 2, 25);
    assert_eq!(consumer.consume(&records(&sent, 1)).await, BTreeSet::new());
    let (stored, notified) = (items(database).await, notified_as_stored(pushes, &sent));
    assert_eq!(consumer.consume(&records(&sent, 2)).await, BTreeSet::new());
    assert_eq!(items(database).await, stored);
    assert_eq!(notified_as_stored(pushes, &sent), notified, "the same events, by their ids");
}

#[tokio::test]
async fn a_batch_as_large_as_an_event_may_be_is_stored() {
    // 1 MiB, and 6 MB, which is the largest event of Lambda.
    for count in [4, 23] {
        let consumer = TestConsumer::start().await;
        let sent = Sent::large(count, Payload::MAX_BYTES);
        assert_eq!(consumer.consume(&records(&sent, 1)).await, BTreeSet::new());
        assert_stored(&consumer.database, &sent, "all of it").await;
        assert_eq!(notified_as_stored(&consumer.pushes, &sent).len(), count);
    }
}

#[tokio::test]
async fn bad_records_among_a_thousand_do_not_affect_the_others() {
    let consumer = TestConsumer::start().await;
    let sent = Sent::many(1_000);
    let bad = |number: usize, body: &str| record(2_000 + number, "alice", &format!("bad-{number}"), body);
    let with = |mut record: Value, name: &str, value: Value| {
        record[name] = value;
        record
    };
    let rejected = [
        bad(0, "no JSON"),
        bad(1, "[]"),
        bad(2, ""),
        bad(3, &object_of(Payload::MAX_BYTES + 1)),
        bad(4, &format!("{{\"a\":{}}}", "[".repeat(100_000))),
        with(bad(5, r#"{"a":1}"#), "body", Value::Null),
    ];
    let illegal_id = [record(2_010, "alice", "no legal id!", r#"{"a":1}"#)];
    let in_a_bulk = |number: usize| bulk_record(2_000 + number, "alice", &bulk(&[("bad", r#"{"a":1}"#)]));
    let unattributed = [
        without_attribute(in_a_bulk(18), "owner"),
        with(in_a_bulk(19), "messageId", json!("no UUID either")),
        without_attribute(bad(20, r#"{"a":1}"#), "owner"),
        without_attribute(bad(21, r#"{"a":1}"#), "id"),
        with(bad(22, r#"{"a":1}"#), "messageAttributes", json!([1])),
        with(bad(23, r#"{"a":1}"#), "body", json!({ "not": "text" })),
        record(2_024, "", "bad-24", r#"{"a":1}"#),
        with(bad(25, r#"{"a":1}"#), "messageId", json!("no UUID")),
    ];
    let mut all = records(&sent, 1);
    for (place, bad) in rejected.iter().chain(&illegal_id).chain(&unattributed).enumerate() {
        all.insert(place * 70, bad.clone());
    }

    let failures = consumer.consume(&all).await;
    let mut expected: BTreeSet<_> = [2_018].into_iter().chain(2_020..2_025).map(receipt).collect();
    expected.extend(["no UUID".to_owned(), "no UUID either".to_owned()]);
    assert_eq!(failures, expected);
    let items = items(&consumer.database).await;
    assert!(sent.iter().all(|sent| sent.is_stored(&items)));
    for number in 0..rejected.len() {
        assert_eq!(consumer.status("alice", &format!("bad-{number}")).await, "rejected");
    }
    let outcomes = consumer.pushes.outcomes("alice-1");
    let count = |kind: &str| outcomes.iter().filter(|outcome| outcome.starts_with(kind)).count();
    assert_eq!(count("stored"), sent.len() / 2);
    assert_eq!(count("rejected"), rejected.len() + illegal_id.len());
}

/// Panics in the middle of the first request to the table.
#[derive(Debug, Default)]
struct PanicsOnce(AtomicUsize);

impl Intercept for PanicsOnce {
    fn name(&self) -> &'static str {
        "panics once"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        assert!(self.0.fetch_add(1, Ordering::Relaxed) > 0, "on purpose");
        Ok(())
    }
}

#[tokio::test]
async fn a_panic_while_some_messages_are_stored_does_not_affect_the_others() {
    for bulks in [0, 2] {
        let consumer = TestConsumer::start().await;
        let client = consumer.database.aws().dynamodb(Duration::from_secs(5));
        let config = client.config().to_builder().interceptor(PanicsOnce::default());
        let consumer = consumer.through(Messages::new(Client::from_conf(config.build()), MESSAGES, None));

        let sent = Sent::in_bulks(Sent::many(100), bulks, 20);
        let failures = consumer.consume(&records(&sent, 1)).await;
        let items = items(&consumer.database).await;
        let not_stored = sent.iter().filter(|sent| !sent.is_stored(&items));
        assert_eq!(not_stored.clone().count(), Messages::BATCH_LIMIT, "those of one request");
        assert_eq!(failures, not_stored.map(Sent::record_id).collect());

        assert_eq!(consumer.consume(&records_of(&failures, &sent, 2)).await, BTreeSet::new());
        assert_stored(&consumer.database, &sent, "redelivered").await;
    }
}
