//! What can happen to the consumer itself, and to the batches that it is given.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, SystemTime},
};

use aws_sdk_dynamodb::{
    Client,
    config::{ConfigBag, Intercept, RuntimeComponents, interceptors::BeforeTransmitInterceptorContextRef},
    error::BoxError,
};
use e2e::{
    database::MESSAGES,
    events::{batch, receipt, record},
};
use fault_proxy::Fault;
use intake::{message::Payload, store::messages::Messages};
use serde_json::{Value, json};
use tokio::{join, select, time::sleep};

use crate::{
    matrix::{PLENTY, Sent, deliver, items, patient, told},
    queue_consumer::{Bench, consumer_of},
};

#[tokio::test]
async fn a_consumer_that_is_killed_in_the_middle_of_a_batch_loses_nothing() {
    // Four inserts and two reads of the connections; what is under way when it dies takes effect, or never
    // does, or does so while the next consumer is at it.
    for fault in [Fault::None, Fault::CutBefore, Fault::Hang, Fault::Late(Duration::from_millis(50))] {
        for requests in 1..=6 {
            let Bench { database, pushes, consumer } = patient().await;
            let sent = Sent::many(100);
            let records: Vec<_> = sent.iter().map(|sent| sent.record(1)).collect();
            let _ = database.faults.taken_all();
            database.faults.always(fault);
            let alive = async {
                let mut taken = 0;
                while taken < requests {
                    sleep(Duration::from_millis(1)).await;
                    taken += database.faults.taken_all();
                    // It does not come further soon with four requests that hang.
                    if taken >= 4 && fault == Fault::Hang {
                        break;
                    }
                }
            };
            select! {
                biased;
                () = alive => {}
                _ = deliver(&consumer, &records, PLENTY) => {}
            }

            database.faults.always(Fault::None);
            let records: Vec<_> = sent.iter().map(|sent| sent.record(2)).collect();
            let context = format!("{fault:?}, killed at request {requests}");
            assert_eq!(deliver(&consumer, &records, PLENTY).await, HashSet::new(), "{context}");
            let items = items(&database).await;
            assert!(sent.iter().all(|sent| sent.is_stored(&items)), "{context}");
            assert_eq!(items.len(), sent.len(), "{context}");
            let told = told(&pushes, &sent);
            assert!(told.len() == sent.len() && told.iter().all(|(_, kind)| kind == "stored"), "{context}");
        }
    }
}

#[tokio::test]
async fn two_consumers_with_the_same_batch_store_it_once_and_tell_the_same_events() {
    for fault in [Fault::None, Fault::ThrottleStatements, Fault::CutAfter] {
        let Bench { database, pushes, consumer } = patient().await;
        let sent = Sent::many(100);
        let first: Vec<_> = sent.iter().map(|sent| sent.record(1)).collect();
        let second: Vec<_> = sent.iter().map(|sent| sent.record(2)).collect();
        database.faults.next([fault; 6]);
        let failures = join!(deliver(&consumer, &first, PLENTY), deliver(&consumer, &second, PLENTY));
        assert_eq!(failures, (HashSet::new(), HashSet::new()), "{fault:?}");
        let items = items(&database).await;
        assert!(sent.iter().all(|sent| sent.is_stored(&items)), "{fault:?}");
        assert_eq!(items.len(), sent.len(), "{fault:?}");
        // Both tell it, and the client sees by the event's id that it is one.
        let told = told(&pushes, &sent);
        assert!(told.len() == sent.len() && told.iter().all(|(_, kind)| kind == "stored"), "{fault:?}");
        assert_eq!(pushes.events("alice-1").len(), sent.len(), "{fault:?}: half of them, twice");
    }
}

#[tokio::test]
async fn a_whole_batch_that_is_delivered_twice_changes_nothing() {
    let Bench { database, pushes, consumer } = patient().await;
    let sent = Sent::many(100);
    let records: Vec<_> = sent.iter().map(|sent| sent.record(1)).collect();
    assert_eq!(deliver(&consumer, &records, PLENTY).await, HashSet::new());
    let stored = items(&database).await;
    let told_once = told(&pushes, &sent);
    let records: Vec<_> = sent.iter().map(|sent| sent.record(2)).collect();
    assert_eq!(deliver(&consumer, &records, PLENTY).await, HashSet::new());
    assert_eq!(items(&database).await, stored);
    assert_eq!(told(&pushes, &sent), told_once, "the same events, by their ids");
}

/// Messages of so many bytes.
pub(crate) fn long(count: usize, bytes: usize) -> Vec<Sent> {
    let mut sent = Sent::many(count);
    for sent in &mut sent {
        sent.body = format!("{{\"n\":{},\"a\":\"", sent.number);
        sent.body += &"x".repeat(bytes - sent.body.len() - "\"}".len());
        sent.body += "\"}";
        assert_eq!(sent.body.len(), bytes);
    }
    sent
}

#[tokio::test]
async fn a_batch_as_large_as_an_event_may_be_is_stored() {
    // 1 MiB, and 6 MB, which is the most that Lambda hands on.
    for count in [4, 23] {
        let Bench { database, pushes, consumer } = patient().await;
        let sent = long(count, Payload::MAX_BYTES);
        let records: Vec<_> = sent.iter().map(|sent| sent.record(1)).collect();
        assert_eq!(deliver(&consumer, &records, PLENTY).await, HashSet::new());
        let items = items(&database).await;
        assert!(sent.iter().all(|sent| sent.is_stored(&items)));
        assert_eq!(told(&pushes, &sent).len(), count);
    }
}

#[tokio::test]
async fn bad_records_among_a_thousand_are_their_own_matter() {
    let Bench { database, pushes, consumer } = patient().await;
    let sent = Sent::many(1_000);
    let mut records: Vec<_> = sent.iter().map(|sent| sent.record(1)).collect();
    let bad = |number: usize, body: &str| record(2_000 + number, "alice", &format!("bad-{number}"), body);
    let without = |mut record: Value, attribute: &str| {
        record["messageAttributes"].as_object_mut().expect("attributes").remove(attribute);
        record
    };
    let with = |mut record: Value, name: &str, value: Value| {
        record[name] = value;
        record
    };
    let rejected = [
        bad(0, "no JSON"),
        bad(1, "[]"),
        bad(2, ""),
        bad(3, &format!("{{\"a\":\"{}\"}}", "x".repeat(Payload::MAX_BYTES))),
        bad(4, &format!("{{\"a\":{}}}", "[".repeat(100_000))),
        with(bad(5, "{}"), "body", Value::Null),
    ];
    let told_only = [record(2_010, "alice", "no legal id!", "{}")];
    let nobodys = [
        without(bad(20, "{}"), "owner"),
        without(bad(21, "{}"), "id"),
        with(bad(22, "{}"), "messageAttributes", json!([1])),
        with(bad(23, "{}"), "body", json!({ "not": "text" })),
        record(2_024, "", "bad-24", "{}"),
        with(bad(25, "{}"), "messageId", json!("no UUID")),
    ];
    for (place, bad) in rejected.iter().chain(&told_only).chain(&nobodys).enumerate() {
        records.insert(place * 70, bad.clone());
    }

    let failures = deliver(&consumer, &records, PLENTY).await;
    let mut expected: HashSet<_> = (2_020..2_025).map(receipt).collect();
    expected.insert("no UUID".to_owned());
    assert_eq!(failures, expected);
    let items = items(&database).await;
    assert!(sent.iter().all(|sent| sent.is_stored(&items)));
    assert_eq!(items.len(), sent.len() + rejected.len());
    for number in 0..rejected.len() {
        assert_eq!(database.text("alice", &format!("bad-{number}"), "status").await, "rejected");
    }
    let told = pushes.told("alice-1");
    assert_eq!(told.iter().filter(|(kind, _)| kind == "stored").count(), sent.len() / 2);
    assert_eq!(told.iter().filter(|(kind, _)| kind == "rejected").count(), rejected.len() + told_only.len());
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
async fn a_panic_while_some_messages_are_stored_is_their_own_matter() {
    let Bench { database, pushes, .. } = Bench::start().await;
    let client = database.aws().dynamodb(Duration::from_secs(5));
    let config = client.config().to_builder().interceptor(PanicsOnce::default());
    let messages = Messages::new(Client::from_conf(config.build()), MESSAGES, None);
    let consumer = consumer_of(messages, &database, &pushes);

    let sent = Sent::many(100);
    let records: Vec<_> = sent.iter().map(|sent| sent.record(1)).collect();
    let deadline = SystemTime::now() + Duration::from_secs(PLENTY);
    let answer = consumer.handle(batch(&records), deadline).await;
    let failures = answer.batch_item_failures.into_iter().map(|failure| failure.item_identifier);
    let failures: HashSet<_> = failures.collect();
    assert_eq!(failures.len(), Messages::BATCH_LIMIT, "those of one request");
    let items_then = items(&database).await;
    for sent in &sent {
        assert!(sent.is_stored(&items_then) != failures.contains(&receipt(sent.number)), "{}", sent.id);
    }

    let again: Vec<_> = sent.iter().map(|sent| sent.record(2)).collect();
    assert_eq!(deliver(&consumer, &again, PLENTY).await, HashSet::new());
    let items = items(&database).await;
    assert!(sent.iter().all(|sent| sent.is_stored(&items)));
}
