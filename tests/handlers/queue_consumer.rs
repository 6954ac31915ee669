use std::time::{Duration, SystemTime};

use e2e::{
    database::{CONNECTIONS, Database, MESSAGES},
    events::{batch, delivered, receipt, record},
    pushes::Pushes,
};
use fault_proxy::Fault;
use intake::{message::Owner, store::messages::Messages};
use queue_consumer::{Consumer, push::Push};
use serde_json::{Value, json};

pub(crate) const MAX_RECEIVE_COUNT: u32 = 5;

pub(crate) fn consumer(database: &Database, pushes: &Pushes) -> Consumer {
    consumer_of(database.messages(), database, pushes)
}

pub(crate) fn consumer_of(messages: Messages, database: &Database, pushes: &Pushes) -> Consumer {
    let push = Push::new(database.aws(), &pushes.url(), database.connections());
    Consumer::new(messages, push, MAX_RECEIVE_COUNT)
}

/// Handles an event with time enough, and gives the records that are to be delivered again.
pub(crate) async fn consume(consumer: &Consumer, event: Value) -> Vec<String> {
    consume_within(consumer, event, Duration::from_secs(20)).await
}

async fn consume_within(consumer: &Consumer, event: Value, time: Duration) -> Vec<String> {
    let batch = serde_json::from_value(event).expect("a batch");
    let answer = consumer.handle(batch, SystemTime::now() + time).await;
    answer.batch_item_failures.into_iter().map(|failure| failure.item_identifier).collect()
}

fn event(records: &[Value]) -> Value {
    json!({ "Records": records })
}

/// A function with its database and its sockets: alice has one, called `alice-1`, and bob has `bob-1`.
pub(crate) struct Bench {
    pub(crate) database: Database,
    pub(crate) pushes: Pushes,
    pub(crate) consumer: Consumer,
}

impl Bench {
    pub(crate) async fn start() -> Self {
        let (database, pushes) = (Database::start().await, Pushes::start().await);
        for owner in ["alice", "bob"] {
            connect(&database, owner, &format!("{owner}-1")).await;
        }
        let consumer = consumer(&database, &pushes);
        Self { database, pushes, consumer }
    }

    pub(crate) async fn consume(&self, records: &[Value]) -> Vec<String> {
        consume(&self.consumer, event(records)).await
    }

    async fn status(&self, owner: &str, id: &str) -> String {
        self.database.text(owner, id, "status").await
    }
}

pub(crate) async fn connect(database: &Database, owner: &str, connection_id: &str) {
    let owner = Owner::parse(owner).expect("legal");
    database.connections().add(&owner, connection_id, i64::MAX).await.expect("noted");
}

/// The connections of an owner that are noted.
pub(crate) async fn connected(database: &Database, owner: &str) -> Vec<String> {
    database.connections().of(&Owner::parse(owner).expect("legal")).await.expect("read")
}

fn told(kind: &str, ids: &[&str]) -> Vec<(String, String)> {
    ids.iter().map(|id| (kind.to_owned(), (*id).to_owned())).collect()
}

#[tokio::test]
async fn a_batch_is_stored_in_one_request_and_each_owner_told_in_one_frame() {
    let bench = Bench::start().await;
    let records: Vec<_> = (0..10)
        .map(|number| {
            let owner = if number % 2 == 0 { "alice" } else { "bob" };
            record(number, owner, &format!("m-{number}"), &format!("{{\"n\":{number}}}"))
        })
        .collect();
    assert!(bench.consume(&records).await.is_empty());
    for number in 0..10 {
        let owner = if number % 2 == 0 { "alice" } else { "bob" };
        let text = async |name| bench.database.text(owner, &format!("m-{number}"), name).await;
        assert_eq!(text("status").await, "stored");
        assert_eq!(text("payload").await, format!("{{\"n\":{number}}}"));
        assert_eq!(text("via").await, "queue");
        assert_eq!(text("receipt").await, receipt(number));
        assert_eq!(text("received_at").await, "2026-11-22T12:00:00.000Z", "SentTimestamp");
    }
    assert_eq!(bench.database.faults.taken("BatchExecuteStatement"), 1);
    assert_eq!(bench.pushes.frames("alice-1").len(), 1);
    assert_eq!(bench.pushes.told("alice-1"), told("stored", &["m-0", "m-2", "m-4", "m-6", "m-8"]));
    assert_eq!(bench.pushes.told("bob-1"), told("stored", &["m-1", "m-3", "m-5", "m-7", "m-9"]));
}

#[tokio::test]
async fn a_large_batch_takes_a_request_for_every_25_messages() {
    let bench = Bench::start().await;
    let records: Vec<_> =
        (0..1000).map(|number| record(number, "alice", &format!("m-{number}"), "{}")).collect();
    assert!(bench.consume(&records).await.is_empty());
    assert_eq!(bench.database.faults.taken("BatchExecuteStatement"), 40);
    assert_eq!(bench.database.faults.taken("PutItem"), 2, "the two connections of the bench");
    assert_eq!(bench.database.count(MESSAGES).await, 1000);
    assert_eq!(bench.pushes.told("alice-1").len(), 1000);
    assert!(bench.pushes.frames("alice-1").iter().all(|frame| frame.len() <= 32 * 1024));
}

#[tokio::test]
async fn a_bad_record_never_touches_its_neighbours() {
    let bench = Bench::start().await;
    let without = |mut record: Value, attribute: &str| {
        record["messageAttributes"].as_object_mut().expect("attributes").remove(attribute);
        record
    };
    let mut of_another_type = record(7, "alice", "m-7", "{}");
    of_another_type["messageAttributes"]["owner"]["dataType"] = json!("Number");
    let mut of_another_shape = record(8, "alice", "m-8", "{}");
    of_another_shape["messageAttributes"] = json!(["what is this?"]);
    let mut not_text = record(9, "alice", "m-9", "{}");
    not_text["body"] = json!({ "not": "text" });
    let records = [
        record(0, "alice", "good-1", "{}"),
        record(1, "alice", "m-1", "not JSON"),
        record(2, "alice", "m-2", "[]"),
        record(3, "alice", "m 3!", "{}"),
        without(record(4, "alice", "m-4", "{}"), "owner"),
        without(record(5, "alice", "m-5", "{}"), "id"),
        record(6, "", "m-6", "{}"),
        of_another_type,
        of_another_shape,
        not_text,
        record(10, "alice", "good-2", "{}"),
    ];
    let failures = bench.consume(&records).await;
    assert_eq!(failures, [4, 5, 6, 7, 8, 9].map(receipt), "those that nobody can be told of");
    assert_eq!(bench.status("alice", "good-1").await, "stored");
    assert_eq!(bench.status("alice", "good-2").await, "stored");
    assert_eq!(bench.status("alice", "m-1").await, "rejected");
    assert_eq!(bench.database.text("alice", "m-1", "payload").await, "not JSON");
    assert!(bench.database.text("alice", "m-1", "reason").await.contains("not JSON: line 1"));
    assert_eq!(bench.status("alice", "m-2").await, "rejected");
    assert_eq!(bench.database.count(MESSAGES).await, 4, "nothing of the others");
    let mut told_alice = bench.pushes.told("alice-1");
    told_alice.sort();
    let expected =
        [told("rejected", &["m 3!", "m-1", "m-2"]), told("stored", &["good-1", "good-2"])].concat();
    assert_eq!(told_alice, expected);
    assert!(bench.pushes.told("bob-1").is_empty());
}

#[tokio::test]
async fn a_message_over_256_kib_is_rejected_with_what_fits_of_it() {
    let bench = Bench::start().await;
    let text = format!("{{\"a\":\"{}\"}}", "ä".repeat(150 * 1024));
    assert!(bench.consume(&[record(1, "alice", "m-1", &text)]).await.is_empty());
    assert_eq!(bench.status("alice", "m-1").await, "rejected");
    assert!(bench.database.text("alice", "m-1", "reason").await.contains("at most 262144 (256 KiB)"));
    let kept = bench.database.text("alice", "m-1", "payload").await;
    assert!(kept.len() <= 256 * 1024 && text.starts_with(&kept) && kept.len() > 255 * 1024);
}

#[tokio::test]
async fn a_message_that_comes_again_is_stored_once() {
    let bench = Bench::start().await;
    assert!(bench.consume(&[record(1, "alice", "m-1", r#"{"a":1,"b":2}"#)]).await.is_empty());
    let stored = bench.database.item("alice", "m-1").await;
    let again =
        [record(2, "alice", "m-1", r#"{"a":1,"b":2}"#), record(3, "alice", "m-1", r#"{ "b":2, "a":1 }"#)];
    assert!(bench.consume(&again).await.is_empty());
    assert_eq!(bench.database.item("alice", "m-1").await, stored);
    assert_eq!(bench.pushes.told("alice-1"), told("stored", &["m-1"]), "sent again: silently done");
}

#[tokio::test]
async fn a_redelivered_message_is_stored_once_and_told_under_the_same_event_id() {
    let bench = Bench::start().await;
    let first = record(1, "alice", "m-1", r#"{"a":1}"#);
    assert!(bench.consume(std::slice::from_ref(&first)).await.is_empty());
    let stored = bench.database.item("alice", "m-1").await;
    assert!(bench.consume(&[delivered(first, 2)]).await.is_empty());
    assert_eq!(bench.database.item("alice", "m-1").await, stored);
    let ids: Vec<_> = bench
        .pushes
        .frames("alice-1")
        .iter()
        .map(|frame| serde_json::from_str::<Value>(frame).expect("JSON")[0]["id"].clone())
        .collect();
    assert_eq!(ids, [json!(format!("{}:stored", receipt(1))), json!(format!("{}:stored", receipt(1)))]);
}

#[tokio::test]
async fn another_message_under_the_same_id_is_a_conflict_and_changes_nothing() {
    let bench = Bench::start().await;
    assert!(bench.consume(&[record(1, "alice", "m-1", r#"{"a":1}"#)]).await.is_empty());
    let stored = bench.database.item("alice", "m-1").await;
    assert!(bench.consume(&[record(2, "alice", "m-1", r#"{"a":2}"#)]).await.is_empty());
    assert_eq!(bench.database.item("alice", "m-1").await, stored);
    let expected = [told("stored", &["m-1"]), told("conflict", &["m-1"])].concat();
    assert_eq!(bench.pushes.told("alice-1"), expected);
}

#[tokio::test]
async fn the_same_id_twice_in_a_batch_is_stored_once() {
    let bench = Bench::start().await;
    let records = [
        record(1, "alice", "same", r#"{"a":1}"#),
        record(2, "alice", "same", r#"{"a": 1}"#),
        record(1, "alice", "same", r#"{"a":1}"#),
        record(3, "alice", "other", r#"{"a":1}"#),
        record(4, "alice", "other", r#"{"a":2}"#),
        record(5, "bob", "same", r#"{"a":3}"#),
    ];
    assert!(bench.consume(&records).await.is_empty());
    assert_eq!(bench.database.text("alice", "same", "receipt").await, receipt(1));
    assert_eq!(bench.database.text("alice", "other", "payload").await, r#"{"a":1}"#, "the first one");
    assert_eq!(bench.database.text("bob", "same", "payload").await, r#"{"a":3}"#);
    let mut told_alice = bench.pushes.told("alice-1");
    told_alice.sort();
    let expected = [told("conflict", &["other"]), told("stored", &["other", "same"])].concat();
    assert_eq!(told_alice, expected);
}

#[tokio::test]
async fn what_was_rejected_or_failed_can_be_stored_and_what_is_stored_stays() {
    let bench = Bench::start().await;
    assert!(bench.consume(&[record(1, "alice", "m-1", "hello")]).await.is_empty());
    assert_eq!(bench.status("alice", "m-1").await, "rejected");
    assert!(bench.consume(&[record(2, "alice", "m-1", "{}")]).await.is_empty());
    assert_eq!(bench.status("alice", "m-1").await, "stored");
    assert!(bench.consume(&[record(3, "alice", "m-1", "hello")]).await.is_empty());
    assert_eq!(bench.status("alice", "m-1").await, "stored");
    let expected = ["rejected", "stored", "rejected"].map(|kind| (kind.to_owned(), "m-1".to_owned()));
    assert_eq!(bench.pushes.told("alice-1"), expected);
}

#[tokio::test]
async fn what_was_throttled_is_tried_again_within_the_time_left() {
    let bench = Bench::start().await;
    let records: Vec<_> =
        (0..25).map(|number| record(number, "alice", &format!("m-{number}"), "{}")).collect();
    bench.database.faults.next([
        Fault::ThrottleStatements,
        Fault::ThrottleStatements,
        Fault::ThrottleStatements,
    ]);
    assert!(bench.consume(&records).await.is_empty());
    assert_eq!(bench.database.count(MESSAGES).await, 25);
    assert_eq!(bench.pushes.told("alice-1").len(), 25);
}

#[tokio::test]
async fn a_fault_of_a_whole_request_is_tried_again_within_the_time_left() {
    for fault in [Fault::Throttle, Fault::ServerError, Fault::CutBefore, Fault::CutAfter, Fault::Hang] {
        let bench = Bench::start().await;
        let records = [record(1, "alice", "m-1", "{}"), record(2, "alice", "m-2", "{}")];
        bench.database.faults.next([fault; 4]);
        assert!(bench.consume(&records).await.is_empty(), "{fault:?}");
        assert_eq!(bench.database.count(MESSAGES).await, 2, "{fault:?}");
        let mut told_alice = bench.pushes.told("alice-1");
        told_alice.sort();
        assert_eq!(told_alice, told("stored", &["m-1", "m-2"]), "{fault:?}: each told once");
    }
}

#[tokio::test]
async fn what_is_not_stored_in_time_is_reported_and_nobody_is_told() {
    for fault in [Fault::Throttle, Fault::ServerError, Fault::CutBefore, Fault::Hang] {
        let bench = Bench::start().await;
        bench.database.faults.always(fault);
        let records = event(&[record(1, "alice", "m-1", "{}"), record(2, "bob", "m-2", "[]")]);
        let failures = consume_within(&bench.consumer, records, Duration::from_millis(800)).await;
        assert_eq!(failures, [1, 2].map(receipt), "{fault:?}");
        assert_eq!(bench.database.count(MESSAGES).await, 0, "{fault:?}");
        assert!(bench.pushes.told("alice-1").is_empty() && bench.pushes.told("bob-1").is_empty());
    }
}

#[tokio::test]
async fn only_what_is_not_stored_is_reported() {
    let bench = Bench::start().await;
    // Every second statement passes, so that only the first message never does.
    bench.database.faults.always(Fault::ThrottleStatements);
    let records = event(&[0, 1, 2, 3].map(|number| record(number, "alice", &format!("m-{number}"), "{}")));
    let failures = consume_within(&bench.consumer, records, Duration::from_secs(5)).await;
    assert_eq!(failures, [receipt(0)]);
    assert_eq!(bench.status("alice", "m-0").await, "");
    for id in ["m-1", "m-2", "m-3"] {
        assert_eq!(bench.status("alice", id).await, "stored");
    }
    let mut told_alice = bench.pushes.told("alice-1");
    told_alice.sort();
    assert_eq!(told_alice, told("stored", &["m-1", "m-2", "m-3"]));
}

#[tokio::test]
async fn a_batch_without_time_is_given_back_whole() {
    let bench = Bench::start().await;
    let records = event(&[record(1, "alice", "m-1", "{}")]);
    let failures = consume_within(&bench.consumer, records, Duration::ZERO).await;
    assert_eq!(failures, [receipt(1)]);
}

#[tokio::test]
async fn a_batch_without_a_deadline_is_handled() {
    let bench = Bench::start().await;
    let batch = batch(&[record(1, "alice", "m-1", "{}")]);
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(600);
    let answer = bench.consumer.handle(batch, long_ago).await;
    assert!(answer.batch_item_failures.is_empty());
    assert_eq!(bench.status("alice", "m-1").await, "stored");
}

#[tokio::test]
async fn one_message_that_the_database_refuses_leaves_the_others_alone() {
    let bench = Bench::start().await;
    let records = [record(1, "alice", "m-1", "{}"), record(2, "alice", "m-2", "{}")];
    // The batch is refused as a whole, and then the first message by itself.
    bench.database.faults.next([Fault::Refuse, Fault::Refuse]);
    let failures = bench.consume(&records).await;
    assert_eq!(failures.len(), 1);
    assert_eq!(bench.database.count(MESSAGES).await, 1);
    assert_eq!(bench.pushes.told("alice-1").len(), 1);
}

#[tokio::test]
async fn the_last_failing_delivery_is_recorded_as_failed_told_and_still_reported() {
    let bench = Bench::start().await;
    let records = [
        delivered(record(1, "alice", "m-1", r#"{"a":1}"#), MAX_RECEIVE_COUNT),
        delivered(record(2, "alice", "m-2", r#"{"a":2}"#), MAX_RECEIVE_COUNT - 1),
    ];
    // The batch is refused, and each message by itself; recording the failure is not.
    bench.database.faults.next([Fault::Refuse, Fault::Refuse, Fault::Refuse]);
    let mut failures = bench.consume(&records).await;
    failures.sort();
    assert_eq!(failures, [1, 2].map(receipt));
    assert_eq!(bench.status("alice", "m-1").await, "failed");
    assert_eq!(bench.database.text("alice", "m-1", "payload").await, r#"{"a":1}"#);
    assert!(bench.database.text("alice", "m-1", "reason").await.contains("in 5 deliveries"));
    assert_eq!(bench.status("alice", "m-2").await, "", "it comes again");
    assert_eq!(bench.pushes.told("alice-1"), told("failed", &["m-1"]));

    // Redriven from the dead-letter queue, it is stored.
    assert!(bench.consume(&[record(1, "alice", "m-1", r#"{"a":1}"#)]).await.is_empty());
    assert_eq!(bench.status("alice", "m-1").await, "stored");
    let expected = [told("failed", &["m-1"]), told("stored", &["m-1"])].concat();
    assert_eq!(bench.pushes.told("alice-1"), expected);
}

#[tokio::test]
async fn a_last_delivery_that_did_take_effect_is_no_failure() {
    let bench = Bench::start().await;
    let last = [delivered(record(1, "alice", "m-1", r#"{"a":1}"#), MAX_RECEIVE_COUNT)];
    // Stored, but the answer is lost, and after that the database refuses until it is time to give up.
    bench.database.faults.next([Fault::CutAfter, Fault::Refuse, Fault::Refuse]);
    assert!(bench.consume(&last).await.is_empty());
    assert_eq!(bench.status("alice", "m-1").await, "stored");
    assert_eq!(bench.pushes.told("alice-1"), told("stored", &["m-1"]));
}

#[tokio::test]
async fn a_rejection_on_the_last_delivery_is_no_failure() {
    let bench = Bench::start().await;
    let last = [delivered(record(1, "alice", "m-1", "hello"), MAX_RECEIVE_COUNT)];
    bench.database.faults.next([Fault::Refuse]);
    assert!(bench.consume(&last).await.is_empty());
    assert_eq!(bench.status("alice", "m-1").await, "rejected");
    assert_eq!(bench.pushes.told("alice-1"), told("rejected", &["m-1"]));
}

#[tokio::test]
async fn all_sockets_of_an_owner_are_told_and_one_that_is_gone_is_forgotten() {
    let bench = Bench::start().await;
    for connection_id in ["alice-2", "gone", "broken"] {
        connect(&bench.database, "alice", connection_id).await;
    }
    bench.pushes.answer("gone", 410);
    bench.pushes.answer("broken", 500);
    assert!(bench.consume(&[record(1, "alice", "m-1", "{}")]).await.is_empty());
    assert_eq!(bench.pushes.told("alice-1"), told("stored", &["m-1"]));
    assert_eq!(bench.pushes.told("alice-2"), told("stored", &["m-1"]));
    let left = connected(&bench.database, "alice").await;
    assert_eq!(left, ["alice-1", "alice-2", "broken"]);
    assert_eq!(bench.database.count(CONNECTIONS).await, 4, "and bob's");
}

#[tokio::test]
async fn a_push_that_cannot_be_made_is_no_failure_of_the_message() {
    let bench = Bench::start().await;
    for status in [403, 500, 503] {
        bench.pushes.answer("alice-1", status);
        let id = format!("m-{status}");
        assert!(bench.consume(&[record(status.into(), "alice", &id, "{}")]).await.is_empty());
        assert_eq!(bench.status("alice", &id).await, "stored");
    }
    // The connections cannot be read: the batch insert passes, everything after it does not.
    bench.database.faults.next([Fault::None, Fault::Refuse]);
    assert!(bench.consume(&[record(1, "alice", "m-1", "{}")]).await.is_empty());
    assert_eq!(bench.status("alice", "m-1").await, "stored");
}

#[test]
fn a_batch_with_a_record_that_cannot_be_named_comes_again_as_a_whole() {
    for nameless in [json!(""), json!(null), json!(1)] {
        let mut record = record(1, "alice", "m-1", "{}");
        record["messageId"] = nameless;
        let event = json!({ "Records": [self::record(2, "alice", "m-2", "{}"), record] });
        // The runtime answers an event that cannot be read with an error, and nothing of it has happened.
        serde_json::from_value::<queue_consumer::Batch>(event).expect_err("it cannot be read");
    }
}
