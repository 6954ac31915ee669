//! Every receipt leads to the outcome of its own request, whatever happened to other messages with the same id; and
//! the notification says the same.

use std::{collections::BTreeSet, time::Duration};

use fault_proxy::Fault;
use intake_platform::rest::Responses;
use jiff::Timestamp;
use serde_json::{Value, json};
use status_lookup::StatusLookup;

use crate::fixtures::{
    consumer::{MAX_RECEIVE_COUNT, TestConsumer},
    events::{delivered, get, receipt, record, request},
};

const BODY: &str = r#"{"a":1,"b":2}"#;

/// Looks up a request by its receipt, which has to succeed.
pub(crate) async fn look_up(consumer: &TestConsumer, owner: &str, id: &str, number: usize) -> Value {
    let (status, body) = response(consumer, owner, id, Some(&receipt(number))).await;
    assert_eq!(status, 200, "{body}");
    body
}

pub(crate) async fn response(
    consumer: &TestConsumer,
    owner: &str,
    id: &str,
    receipt: Option<&str>,
) -> (u16, Value) {
    let database = &consumer.database;
    let responses = Responses::new("*").expect("an origin");
    let function = StatusLookup::new(database.messages(), database.outcomes(), responses);
    let response = function.handle(request(&get(owner, id, receipt))).await.expect("a response");
    (response.status().as_u16(), serde_json::from_slice(response.body()).expect("JSON"))
}

/// Delivers messages of alice with the id `m-1`, numbered from 1: in one batch each, or all in one.
async fn deliver(bodies: &[&str], in_one_batch: bool) -> TestConsumer {
    let consumer = TestConsumer::start().await;
    let records: Vec<_> =
        (1..).zip(bodies).map(|(number, body)| record(number, "alice", "m-1", body)).collect();
    for batch in records.chunks(if in_one_batch { records.len() } else { 1 }) {
        assert_eq!(consumer.consume(batch).await, BTreeSet::new());
    }
    consumer
}

/// Checks that all receipts, numbered from 1, have these outcomes: complete, and as they were notified.
async fn assert_outcomes(consumer: &TestConsumer, expected: &[&str], context: &str) {
    for (number, status) in (1..).zip(expected) {
        let found = look_up(consumer, "alice", "m-1", number).await;
        let context = format!("{context}: {found}");
        assert_eq!((&found["id"], &found["receipt"]), (&json!("m-1"), &json!(receipt(number))), "{context}");
        assert_eq!((&found["status"], &found["via"]), (&json!(status), &json!("queue")), "{context}");
        assert!(found["attempts"].is_u64(), "{context}");
        assert_eq!(found["receivedAt"], "2026-11-22T12:00:00.000Z", "{context}");
        assert_eq!(found.get("storedAt").is_some(), *status == "stored", "{context}");
        assert_eq!(found.get("reason").is_some(), *status != "stored", "{context}");
        assert_notified(consumer, "alice-1", &found);
    }
}

/// Checks that exactly one event is about a receipt, and says what its look-up says.
fn assert_notified(consumer: &TestConsumer, connection_id: &str, found: &Value) {
    let events = consumer.pushes.events(connection_id);
    let about: Vec<_> = events.iter().filter(|event| event["data"]["receipt"] == found["receipt"]).collect();
    let [event] = about[..] else { panic!("{about:?} are about {found}") };
    assert_eq!(event["type"], format!("intake.message.{}", found["status"].as_str().expect("text")));
    // An event's subject is never empty.
    let subject = if found["id"] == "" { &found["receipt"] } else { &found["id"] };
    assert_eq!(&event["subject"], subject);
    let mut data = json!({ "receipt": found["receipt"], "receivedAt": found["receivedAt"] });
    for member in ["storedAt", "reason"] {
        if let Some(value) = found.get(member) {
            data[member] = value.clone();
        }
    }
    assert_eq!(event["data"], data);
}

#[tokio::test]
async fn every_receipt_of_one_id_has_its_own_outcome() {
    let other = r#"{"a":2}"#;
    for (bodies, expected) in [
        ([BODY, other], ["stored", "conflict"]),
        ([BODY, r#"{ "b": 2, "a": 1 }"#], ["stored", "stored"]),
        ([BODY, "[]"], ["stored", "rejected"]),
        (["[]", BODY], ["rejected", "stored"]),
        (["[]", "no JSON"], ["rejected", "rejected"]),
    ] {
        for in_one_batch in [false, true] {
            let consumer = deliver(&bodies, in_one_batch).await;
            let context = format!("{bodies:?}, in one batch: {in_one_batch}");
            assert_outcomes(&consumer, &expected, &context).await;
        }
    }
}

#[tokio::test]
async fn a_conflict_is_no_outcome_of_the_stored_message() {
    let consumer = deliver(&[BODY, r#"{"a":2}"#], false).await;
    let conflict = look_up(&consumer, "alice", "m-1", 2).await;
    assert_eq!((conflict.get("payload"), conflict.get("text")), (None, None));
    let (_, message) = response(&consumer, "alice", "m-1", None).await;
    assert_eq!((&message["status"], &message["receipt"]), (&json!("stored"), &json!(receipt(1))));
}

#[tokio::test]
async fn two_rejected_messages_have_their_own_reasons() {
    let consumer = deliver(&["[]", "no JSON"], false).await;
    let [first, second] =
        [look_up(&consumer, "alice", "m-1", 1).await, look_up(&consumer, "alice", "m-1", 2).await];
    assert!(first["reason"].as_str().is_some_and(|reason| reason.contains("not an object")), "{first}");
    assert!(second["reason"].as_str().is_some_and(|reason| reason.contains("line 1")), "{second}");
    // The record is that of the second.
    assert_eq!((first.get("text"), &second["text"]), (None, &json!("no JSON")));
}

#[tokio::test]
async fn a_duplicate_was_stored_when_the_first_one_was() {
    let consumer = deliver(&[BODY, BODY], false).await;
    let [first, duplicate] =
        [look_up(&consumer, "alice", "m-1", 1).await, look_up(&consumer, "alice", "m-1", 2).await];
    assert!(first["storedAt"].as_str().is_some_and(|time| time.parse::<Timestamp>().is_ok()), "{first}");
    assert_eq!(duplicate["storedAt"], first["storedAt"]);
    assert_eq!(duplicate.get("payload"), None, "the look-up by the id has it");
    assert_eq!(first["payload"], json!({ "a": 1, "b": 2 }));
}

#[tokio::test]
async fn the_same_payload_is_the_same_json_with_numbers_as_written() {
    for (first, second, expected) in [
        (BODY, " {\n\"b\" : 2,\t\"a\":1 } ", "stored"),
        (r#"{"a":"é"}"#, r#"{"a":"\u00e9"}"#, "stored"),
        (r#"{"a":1}"#, r#"{"a":1.0}"#, "conflict"),
        (r#"{"a":100}"#, r#"{"a":1e2}"#, "conflict"),
        (r#"{"a":[1,2]}"#, r#"{"a":[2,1]}"#, "conflict"),
        (r#"{"a":2}"#, r#"{"a":1,"a":2}"#, "rejected"),
    ] {
        let consumer = deliver(&[first, second], false).await;
        assert_outcomes(&consumer, &["stored", expected], &format!("{first} and {second}")).await;
    }
}

#[tokio::test]
async fn a_message_with_an_illegal_id_is_queued_and_then_rejected_by_its_receipt() {
    for id in ["a b", "", "ä", "a#b", "../x", &"x".repeat(65), &"x".repeat(4000)] {
        let consumer = TestConsumer::start().await;
        let before = look_up(&consumer, "alice", id, 1).await;
        assert_eq!((&before["status"], &before["receipt"]), (&json!("queued"), &json!(receipt(1))), "{id}");

        assert_eq!(consumer.consume(&[record(1, "alice", id, r#"{"a":1}"#)]).await, BTreeSet::new());

        let found = look_up(&consumer, "alice", id, 1).await;
        assert_eq!(found["status"], "rejected", "{found}");
        assert!(found["reason"].as_str().is_some_and(|reason| reason.contains("1 to 64")), "{found}");
        assert_notified(&consumer, "alice-1", &found);
        // Without a receipt there is nothing to look up by.
        let (status, problem) = response(&consumer, "alice", id, None).await;
        assert_eq!((status, &problem["type"]), (400, &json!("urn:intake:problem:invalid-id")));
    }
}

#[tokio::test]
async fn the_receipt_of_another_owner_is_like_an_unknown_one() {
    // A stored message, whose item holds its outcome; a conflict, whose receipt has it; an illegal id.
    let consumer = deliver(&[BODY, r#"{"a":2}"#], false).await;
    assert_eq!(consumer.consume(&[record(3, "alice", "a b", r#"{"a":1}"#)]).await, BTreeSet::new());
    for (id, number) in [("m-1", 1), ("m-1", 2), ("a b", 3), ("m-1", 4)] {
        let found = look_up(&consumer, "bob", id, number).await;
        assert_eq!(found, json!({ "id": id, "status": "queued", "receipt": receipt(number) }));
    }
}

#[tokio::test]
async fn a_receipt_of_another_id_is_not_found() {
    let consumer = deliver(&[BODY, r#"{"a":2}"#], false).await;
    let (status, problem) = response(&consumer, "alice", "m-2", Some(&receipt(2))).await;
    assert_eq!((status, &problem["type"]), (404, &json!("urn:intake:problem:not-found")));
}

#[tokio::test]
async fn a_failed_message_stays_failed_by_its_receipt_until_it_is_stored_itself() {
    let consumer = TestConsumer::start().await;
    let first = record(1, "alice", "m-1", BODY);
    consumer.database.faults.next([Fault::Reject; 3]);
    let failures = consumer.consume(&[delivered(first.clone(), MAX_RECEIVE_COUNT)]).await;
    assert_eq!(failures, [receipt(1)].into());
    assert_outcomes(&consumer, &["failed"], "after its last delivery").await;
    assert_eq!(look_up(&consumer, "alice", "m-1", 1).await["payload"], json!({ "a": 1, "b": 2 }));

    // Another one takes its place, and then it is redriven.
    assert_eq!(consumer.consume(&[record(2, "alice", "m-1", r#"{"a":2}"#)]).await, BTreeSet::new());
    assert_outcomes(&consumer, &["failed", "stored"], "after another one was stored").await;
    assert_eq!(consumer.consume(&[first]).await, BTreeSet::new());
    assert_eq!(look_up(&consumer, "alice", "m-1", 1).await["status"], "conflict");
}

#[tokio::test]
async fn a_redriven_message_keeps_its_first_receipt_and_time() {
    let consumer = TestConsumer::start().await;
    let attribute = |value: &str| json!({ "dataType": "String", "stringValue": value });
    let mut redriven = record(9, "alice", "m-1", BODY);
    redriven["messageAttributes"]["receipt"] = attribute(&receipt(1));
    redriven["messageAttributes"]["received_at"] = attribute("1795348700000");

    // The record itself is named by its message id.
    consumer.database.faults.always(Fault::Throttle);
    let failures = consumer.consume_within(Duration::from_millis(800), &[redriven.clone()]).await;
    assert_eq!(failures, [receipt(9)].into());
    consumer.database.faults.always(Fault::None);
    assert_eq!(consumer.consume(&[redriven]).await, BTreeSet::new());

    let found = look_up(&consumer, "alice", "m-1", 1).await;
    assert_eq!((&found["status"], &found["receipt"]), (&json!("stored"), &json!(receipt(1))), "{found}");
    assert_eq!(found["receivedAt"], "2026-11-22T11:58:20.000Z");
    assert_notified(&consumer, "alice-1", &found);
    assert_eq!(look_up(&consumer, "alice", "m-1", 9).await["status"], "queued");
}

#[tokio::test]
async fn the_outcome_of_a_redriven_message_replaces_failed_under_its_receipt() {
    let consumer = TestConsumer::start().await;
    let under_receipt = async || consumer.database.text("alice", &format!("#{}", receipt(1)), "status").await;
    consumer.database.faults.next([Fault::Reject; 3]);
    let last = delivered(record(1, "alice", "m-1", BODY), MAX_RECEIVE_COUNT);
    assert_eq!(consumer.consume(&[last]).await, [receipt(1)].into());
    assert_eq!(under_receipt().await, "failed");

    let mut redriven = record(9, "alice", "m-1", BODY);
    redriven["messageAttributes"]["receipt"] = json!({ "dataType": "String", "stringValue": receipt(1) });
    assert_eq!(consumer.consume(&[redriven]).await, BTreeSet::new());
    // Otherwise `failed` would show again when the message expires.
    assert_eq!(under_receipt().await, "stored");
}

#[tokio::test]
async fn an_outcome_that_cannot_be_kept_is_a_batch_item_failure_and_not_notified() {
    for (id, body, expected, fault) in [
        ("m-1", BODY, "stored", Fault::Throttle),
        ("m-1", r#"{"a":2}"#, "conflict", Fault::Hang),
        ("m-1", "[]", "rejected", Fault::CutBefore),
        ("m-2", "[]", "rejected", Fault::ServerError),
        ("a b", BODY, "rejected", Fault::Reject),
    ] {
        let consumer = deliver(&[BODY], false).await;
        let context = format!("{id} {body} {fault:?}");
        consumer.database.faults.only("BatchWriteItem");
        consumer.database.faults.always(fault);
        let second = record(2, "alice", id, body);
        // A message that holds its own outcome is not affected.
        let batch = [second.clone(), record(3, "alice", "m-3", BODY)];
        let failures = consumer.consume_within(Duration::from_secs(5), &batch).await;
        assert_eq!(failures, [receipt(2)].into(), "{context}");
        let mut outcomes = consumer.pushes.outcomes("alice-1");
        outcomes.sort();
        assert_eq!(outcomes, ["stored m-1", "stored m-3"], "{context}");

        consumer.database.faults.always(Fault::None);
        assert_eq!(consumer.consume(&[delivered(second, 2)]).await, BTreeSet::new(), "{context}");
        let found = look_up(&consumer, "alice", id, 2).await;
        assert_eq!(found["status"], expected, "{context}");
        assert_notified(&consumer, "alice-1", &found);
    }
}

#[tokio::test]
async fn a_new_message_needs_no_note_and_25_others_need_one_request() {
    let consumer = TestConsumer::start().await;
    let batch = |first: usize, body: &str| -> Vec<_> {
        (0..50).map(|number| record(first + number, "alice", &format!("m-{number}"), body)).collect()
    };
    let new = batch(0, BODY);
    assert_eq!(consumer.consume(&new).await, BTreeSet::new());
    let again: Vec<_> = new.into_iter().map(|record| delivered(record, 2)).collect();
    assert_eq!(consumer.consume(&again).await, BTreeSet::new());
    assert_eq!(consumer.database.faults.take_requests_of("BatchWriteItem"), 0);

    assert_eq!(consumer.consume(&batch(100, r#"{"a":2}"#)).await, BTreeSet::new());
    assert_eq!(consumer.database.faults.take_requests_of("BatchWriteItem"), 2);
}

#[tokio::test]
async fn a_record_that_is_twice_in_a_batch_has_one_note_and_one_notification() {
    let consumer = TestConsumer::start().await;
    let rejected = record(1, "alice", "m-1", "[]");
    assert_eq!(consumer.consume(&[rejected.clone(), rejected]).await, BTreeSet::new());
    assert_outcomes(&consumer, &["rejected"], "twice in a batch").await;
}

#[tokio::test]
async fn a_note_expires() {
    let consumer = deliver(&[BODY, r#"{"a":2}"#], false).await;
    let kept = consumer.database.item("alice", &format!("#{}", receipt(2))).await.expect("an outcome");
    let expires_at: i64 = kept["expires_at"].as_n().expect("a number").parse().expect("whole");
    assert!(expires_at > Timestamp::now().as_second(), "{expires_at}");
}

/// DynamoDB deletes an item up to days after its time to live is over.
#[tokio::test]
async fn what_has_expired_is_not_there_whether_it_is_deleted_or_not() {
    let other = r#"{"a":2}"#;
    let consumer = deliver(&[BODY, other], false).await;
    assert_outcomes(&consumer, &["stored", "conflict"], "before").await;
    consumer.database.expire_all().await;
    assert_eq!(response(&consumer, "alice", "m-1", None).await.0, 404);
    for number in [1, 2] {
        assert_eq!(look_up(&consumer, "alice", "m-1", number).await["status"], "queued");
    }

    // Another payload takes the place of the expired one: in a batch, when it is redelivered, and by itself.
    let stored =
        async |receipt_number| look_up(&consumer, "alice", "m-1", receipt_number).await["status"].clone();
    assert_eq!(consumer.consume(&[record(3, "alice", "m-1", other)]).await, BTreeSet::new());
    assert_eq!(stored(3).await, "stored");
    consumer.database.expire_all().await;
    assert_eq!(consumer.consume(&[delivered(record(4, "alice", "m-1", BODY), 2)]).await, BTreeSet::new());
    assert_eq!(stored(4).await, "stored");
    consumer.database.expire_all().await;
    let insert =
        sync_insert::SyncInsert::new(consumer.database.messages(), Responses::new("*").expect("an origin"));
    let put = insert
        .handle(request(&crate::fixtures::events::put("alice", "m-1", other)))
        .await
        .expect("a response");
    assert_eq!(put.status(), 201);
    assert_eq!(consumer.database.text("alice", "m-1", "payload").await, other);
}

#[tokio::test]
async fn an_outcome_that_the_database_denies_is_not_tried_again_until_the_next_delivery() {
    let consumer = TestConsumer::start().await;
    consumer.database.faults.only("BatchWriteItem");
    consumer.database.faults.always(Fault::Reject);
    let rejected = record(1, "alice", "m-1", "[]");
    assert_eq!(consumer.consume(std::slice::from_ref(&rejected)).await, [receipt(1)].into());
    assert_eq!(consumer.database.faults.take_requests_of("BatchWriteItem"), 1);
    consumer.database.faults.always(Fault::None);
    assert_eq!(consumer.consume(&[delivered(rejected, 2)]).await, BTreeSet::new());
    assert_eq!(look_up(&consumer, "alice", "m-1", 1).await["status"], "rejected");
}
