use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use fault_proxy::Fault;
use intake_domain::message::Payload;
use serde_json::{Value, json};
use tokio::{select, time::sleep};

use crate::{
    fixtures::{
        consumer::{MAX_RECEIVE_COUNT, TestConsumer},
        database::{CONNECTIONS, MESSAGES},
        events::{delivered, receipt, record},
        pushes::PushFault,
    },
    sent::object_of,
};

fn receipts<const N: usize>(numbers: [usize; N]) -> BTreeSet<String> {
    numbers.map(receipt).into()
}

pub(crate) fn without_attribute(mut record: Value, attribute: &str) -> Value {
    record["messageAttributes"].as_object_mut().expect("attributes").remove(attribute);
    record
}

#[tokio::test]
async fn a_batch_is_stored_in_one_request_and_each_owner_notified_in_one_frame() {
    let consumer = TestConsumer::start().await;
    let owner = |number| if number % 2 == 0 { "alice" } else { "bob" };
    let one = |number| record(number, owner(number), &format!("m-{number}"), &format!("{{\"n\":{number}}}"));
    assert!(consumer.consume(&(0..10).map(one).collect::<Vec<_>>()).await.is_empty());
    for number in 0..10 {
        let text = async |name| consumer.database.text(owner(number), &format!("m-{number}"), name).await;
        assert_eq!(text("status").await, "stored");
        assert_eq!(text("payload").await, format!("{{\"n\":{number}}}"));
        assert_eq!(text("via").await, "queue");
        assert_eq!(text("receipt").await, receipt(number));
        assert_eq!(text("received_at").await, "2026-11-22T12:00:00.000Z", "SentTimestamp");
    }
    assert_eq!(consumer.database.faults.take_requests_of("BatchExecuteStatement"), 1);
    assert_eq!(consumer.pushes.frames("alice-1").len(), 1);
    let of_alice = ["stored m-0", "stored m-2", "stored m-4", "stored m-6", "stored m-8"];
    assert_eq!(consumer.pushes.outcomes("alice-1"), of_alice);
    let of_bob = ["stored m-1", "stored m-3", "stored m-5", "stored m-7", "stored m-9"];
    assert_eq!(consumer.pushes.outcomes("bob-1"), of_bob);
}

#[tokio::test]
async fn a_large_batch_takes_a_request_for_every_25_messages_and_few_frames() {
    let consumer = TestConsumer::start().await;
    let records: Vec<_> =
        (0..1000).map(|number| record(number, "alice", &format!("m-{number}"), r#"{"a":1}"#)).collect();
    assert!(consumer.consume(&records).await.is_empty());
    assert_eq!(consumer.database.faults.take_requests_of("BatchExecuteStatement"), 40);
    assert_eq!(consumer.database.faults.take_requests_of("PutItem"), 0);
    assert_eq!(consumer.database.count(MESSAGES).await, 1000);
    let outcomes: Vec<_> = (0..1000).map(|number| format!("stored m-{number}")).collect();
    assert_eq!(consumer.pushes.outcomes("alice-1"), outcomes, "in the order of the batch");
    let frames = consumer.pushes.frames("alice-1");
    assert!(frames.iter().all(|frame| frame.len() <= 32 * 1024));
    assert!(frames.len() <= 16, "{} frames", frames.len());
}

/// As many requests are under way at once as hold a mebibyte of payload, and four at most.
#[tokio::test]
async fn the_larger_the_payloads_are_the_fewer_requests_are_under_way_at_once() {
    for (bytes, expected) in [(100, 4), (16 * 1024, 2), (50 * 1024, 1)] {
        let consumer = TestConsumer::start().await;
        let faults = &consumer.database.faults;
        let body = object_of(bytes);
        let records: Vec<_> =
            (0..100).map(|number| record(number, "alice", &format!("m-{number}"), &body)).collect();
        // So that all that may be under way at once are.
        faults.always(Fault::Delay(Duration::from_millis(200)));
        let mut most = 0;
        let watch = async {
            loop {
                most = most.max(faults.under_way());
                sleep(Duration::from_millis(1)).await;
            }
        };
        select! {
            failures = consumer.consume(&records) => assert!(failures.is_empty()),
            () = watch => {}
        }
        assert_eq!(most, expected, "with 25 payloads of {bytes} bytes a request");
    }
}

#[tokio::test]
async fn a_bad_record_does_not_affect_the_others() {
    let consumer = TestConsumer::start().await;
    let records = [
        record(0, "alice", "good-1", r#"{"a":1}"#),
        record(1, "alice", "m-1", "not JSON"),
        record(2, "alice", "m-2", "[]"),
        record(3, "alice", "m 3!", r#"{"a":1}"#),
        without_attribute(record(4, "alice", "m-4", r#"{"a":1}"#), "owner"),
        record(5, "alice", "good-2", r#"{"a":1}"#),
    ];
    assert_eq!(consumer.consume(&records).await, receipts([4]), "it has no owner to notify");
    assert_eq!(consumer.status("alice", "good-1").await, "stored");
    assert_eq!(consumer.status("alice", "good-2").await, "stored");
    assert_eq!(consumer.status("alice", "m-1").await, "rejected");
    assert!(consumer.database.text("alice", "m-1", "reason").await.contains("not JSON: line 1"));
    assert_eq!(consumer.status("alice", "m-2").await, "rejected");
    let mut outcomes = consumer.pushes.outcomes("alice-1");
    outcomes.sort();
    let expected = ["rejected m 3!", "rejected m-1", "rejected m-2", "stored good-1", "stored good-2"];
    assert_eq!(outcomes, expected);
    assert!(consumer.pushes.outcomes("bob-1").is_empty());
}

#[tokio::test]
async fn a_record_whose_body_is_no_message_is_rejected_with_what_fits_of_it() {
    let consumer = TestConsumer::start().await;
    let bodies = [
        "no JSON".to_owned(),
        "{\"a\":".to_owned(),
        "[]".to_owned(),
        "null".to_owned(),
        "\"text\"".to_owned(),
        " ".to_owned(),
        "{\"a\":1}{\"b\":2}".to_owned(),
        "\u{feff}{\"a\":1}".to_owned(),
        "a=1&MessageAttribute.2.Value.StringValue=bob&MessageBody={}".to_owned(),
        format!("{{\"a\":{}{}}}", "[".repeat(1000), "]".repeat(1000)),
        format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000)),
        "[".repeat(5000),
        "{\"a\":".repeat(5000),
        object_of(Payload::MAX_BYTES + 1),
        // A character cut in two would be no text.
        format!("{{\"a\":\"{}\"}}", "ä".repeat(150 * 1024)),
    ];
    let id = |number| format!("m-{number}");
    let records: Vec<_> =
        bodies.iter().enumerate().map(|(number, body)| record(number, "alice", &id(number), body)).collect();
    assert!(consumer.consume(&records).await.is_empty());
    for (number, body) in bodies.iter().enumerate() {
        let text = async |name| consumer.database.text("alice", &id(number), name).await;
        assert_eq!(text("status").await, "rejected", "{number}");
        assert!(!text("reason").await.is_empty(), "{number}");
        let kept = text("payload").await;
        assert!(body.starts_with(&kept), "{number}");
        assert!(kept.len() >= body.len().min(Payload::MAX_BYTES - 1), "{} bytes are kept", kept.len());
    }
    let events = consumer.pushes.events("alice-1");
    assert_eq!(events.len(), bodies.len());
    for event in events {
        let id = event["subject"].as_str().expect("text");
        assert_eq!(event["type"], "intake.message.rejected", "{id}");
        assert_eq!(event["data"]["reason"], consumer.database.text("alice", id, "reason").await, "{id}");
    }
}

#[tokio::test]
async fn an_unattributed_record_is_a_batch_item_failure() {
    let consumer = TestConsumer::start().await;
    let string = |value: &str| json!({ "dataType": "String", "stringValue": value });
    let of_another_type = |kind: &str| json!({ "dataType": kind, "stringValue": "42" });
    let bytes = json!({ "dataType": "Binary", "binaryValue": "Ym9i" });
    let message = || record(1, "alice", "m-1", r#"{"a":1}"#);
    let with = |name: &str, attribute: Value| {
        let mut record = message();
        record["messageAttributes"][name] = attribute;
        record
    };
    let owner = |attribute: Value| with("owner", attribute);
    let id = |attribute: Value| with("id", attribute);
    let named_otherwise = without_attribute(with("Owner", string("alice")), "owner");
    for record in [
        without_attribute(message(), "owner"),
        without_attribute(message(), "id"),
        without_attribute(without_attribute(message(), "owner"), "id"),
        named_otherwise,
        owner(string("")),
        owner(of_another_type("Number")),
        owner(of_another_type("String.uuid")),
        owner(bytes.clone()),
        owner(string("bøb")),
        owner(string("bob\nalice")),
        owner(string(&"o".repeat(256))),
        id(of_another_type("Number")),
        id(bytes),
    ] {
        let failures = consumer.consume(std::slice::from_ref(&record)).await;
        assert_eq!(failures, receipts([1]), "{record}");
    }
    assert_eq!(consumer.database.count(MESSAGES).await, 0);
    assert!(consumer.pushes.outcomes("alice-1").is_empty());

    // More attributes than these two do no harm.
    assert!(consumer.consume(&[with("trace", string("x"))]).await.is_empty());
    assert_eq!(consumer.status("alice", "m-1").await, "stored");
}

#[tokio::test]
async fn a_record_of_another_form_is_a_batch_item_failure_and_its_neighbours_are_stored() {
    let consumer = TestConsumer::start().await;
    let with = |pointer: &str, value: Value| {
        let mut record = record(1, "alice", "odd", r#"{"a":1}"#);
        *record.pointer_mut(pointer).expect("it is there") = value;
        record.to_string()
    };
    // JSON, but no text: half of a surrogate pair.
    let half = |pointer: &str| with(pointer, json!("half")).replace("\"half\"", r#""\ud800""#);
    for (place, odd) in [
        with("/body", json!({ "not": "text" })),
        with("/body", json!(["not", "text"])),
        half("/body"),
        half("/messageAttributes/owner/stringValue"),
        with("/messageAttributes", json!("none")),
        with("/messageAttributes", json!([])),
        with("/messageAttributes/owner", json!("bob")),
        with("/messageAttributes/owner/stringValue", json!(null)),
        with("/messageAttributes/owner/dataType", json!(7)),
        with("/attributes", json!(7)),
        json!({ "messageId": receipt(1) }).to_string(),
        json!({ "messageId": receipt(1), "Sns": { "Message": "{}" } }).to_string(),
    ]
    .into_iter()
    .enumerate()
    {
        let (before, after) = (format!("before-{place}"), format!("after-{place}"));
        let [first, last] =
            [record(2, "alice", &before, r#"{"a":1}"#), record(3, "alice", &after, r#"{"a":1}"#)];
        let event = format!("{{\"Records\":[{first},{odd},{last}]}}");
        assert_eq!(consumer.consume_event(&event).await, receipts([1]), "{odd}");
        for id in [before, after] {
            assert_eq!(consumer.status("alice", &id).await, "stored", "{odd}");
        }
    }
    assert_eq!(consumer.status("alice", "odd").await, "");
}

#[test]
fn a_batch_with_a_record_without_a_message_id_is_delivered_again_as_a_whole() {
    for message_id in [json!(""), json!(null), json!(1)] {
        let mut record = record(1, "alice", "m-1", r#"{"a":1}"#);
        record["messageId"] = message_id;
        let event = json!({ "Records": [self::record(2, "alice", "m-2", r#"{"a":1}"#), record] });
        // The runtime's response to an event that cannot be read is an error, and nothing of the batch is handled.
        serde_json::from_value::<queue_consumer::Batch>(event).expect_err("it cannot be read");
    }
}

#[tokio::test]
async fn a_message_that_is_sent_again_is_stored_once() {
    let consumer = TestConsumer::start().await;
    assert!(consumer.consume(&[record(1, "alice", "m-1", r#"{"a":1,"b":2}"#)]).await.is_empty());
    let stored = consumer.database.item("alice", "m-1").await;
    let again =
        [record(2, "alice", "m-1", r#"{"a":1,"b":2}"#), record(3, "alice", "m-1", r#"{ "b":2, "a":1 }"#)];
    assert!(consumer.consume(&again).await.is_empty());
    assert_eq!(consumer.database.item("alice", "m-1").await, stored);
    assert_eq!(
        consumer.pushes.outcomes("alice-1"),
        ["stored m-1", "stored m-1", "stored m-1"],
        "each receipt"
    );
}

#[tokio::test]
async fn a_redelivered_message_is_stored_once_and_notified_with_the_same_event_id() {
    let consumer = TestConsumer::start().await;
    let first = record(1, "alice", "m-1", r#"{"a":1}"#);
    assert!(consumer.consume(std::slice::from_ref(&first)).await.is_empty());
    let stored = consumer.database.item("alice", "m-1").await;
    assert!(consumer.consume(&[delivered(first, 2)]).await.is_empty());
    assert_eq!(consumer.database.item("alice", "m-1").await, stored);
    let events = consumer.pushes.events("alice-1");
    assert_eq!(events.len(), 2);
    for event in events {
        assert_eq!(event["id"], format!("{}:stored", receipt(1)));
    }
}

#[tokio::test]
async fn another_payload_under_the_same_id_is_a_conflict_and_changes_nothing() {
    let consumer = TestConsumer::start().await;
    assert!(consumer.consume(&[record(1, "alice", "m-1", r#"{"a":1}"#)]).await.is_empty());
    let stored = consumer.database.item("alice", "m-1").await;
    assert!(consumer.consume(&[record(2, "alice", "m-1", r#"{"a":2}"#)]).await.is_empty());
    assert_eq!(consumer.database.item("alice", "m-1").await, stored);
    assert_eq!(consumer.pushes.outcomes("alice-1"), ["stored m-1", "conflict m-1"]);
}

#[tokio::test]
async fn the_same_id_twice_in_a_batch_is_stored_once() {
    let consumer = TestConsumer::start().await;
    let records = [
        record(1, "alice", "same", r#"{"a":1}"#),
        record(2, "alice", "same", r#"{"a": 1}"#),
        record(1, "alice", "same", r#"{"a":1}"#),
        record(3, "alice", "other", r#"{"a":1}"#),
        record(4, "alice", "other", r#"{"a":2}"#),
        record(5, "bob", "same", r#"{"a":3}"#),
    ];
    assert!(consumer.consume(&records).await.is_empty());
    assert_eq!(consumer.database.text("alice", "same", "receipt").await, receipt(1));
    assert_eq!(consumer.database.text("alice", "other", "payload").await, r#"{"a":1}"#, "the first one");
    assert_eq!(consumer.database.text("bob", "same", "payload").await, r#"{"a":3}"#);
    let mut outcomes = consumer.pushes.outcomes("alice-1");
    outcomes.sort();
    assert_eq!(outcomes, ["conflict other", "stored other", "stored same", "stored same"]);
}

#[tokio::test]
async fn a_rejected_id_can_be_stored_and_a_stored_message_is_not_rejected() {
    let consumer = TestConsumer::start().await;
    for (number, body, status) in
        [(1, "hello", "rejected"), (2, r#"{"a":1}"#, "stored"), (3, "hello", "stored")]
    {
        assert!(consumer.consume(&[record(number, "alice", "m-1", body)]).await.is_empty());
        assert_eq!(consumer.status("alice", "m-1").await, status);
    }
    let expected = ["rejected m-1", "stored m-1", "rejected m-1"];
    assert_eq!(consumer.pushes.outcomes("alice-1"), expected);
}

#[tokio::test]
async fn throttled_statements_are_retried_within_the_time_left() {
    let consumer = TestConsumer::start().await;
    let records: Vec<_> =
        (0..25).map(|number| record(number, "alice", &format!("m-{number}"), r#"{"a":1}"#)).collect();
    consumer.database.faults.next([Fault::ThrottleStatements; 3]);
    assert!(consumer.consume(&records).await.is_empty());
    assert_eq!(consumer.database.count(MESSAGES).await, 25);
    assert_eq!(consumer.pushes.outcomes("alice-1").len(), 25);
}

#[tokio::test]
async fn a_failed_request_is_retried_within_the_time_left() {
    for fault in [Fault::Throttle, Fault::ServerError, Fault::CutBefore, Fault::CutAfter, Fault::Hang] {
        let consumer = TestConsumer::start().await;
        let records = [record(1, "alice", "m-1", r#"{"a":1}"#), record(2, "alice", "m-2", r#"{"a":1}"#)];
        consumer.database.faults.next([fault; 4]);
        assert!(consumer.consume(&records).await.is_empty(), "{fault:?}");
        assert_eq!(consumer.database.count(MESSAGES).await, 2, "{fault:?}");
        let mut outcomes = consumer.pushes.outcomes("alice-1");
        outcomes.sort();
        assert_eq!(outcomes, ["stored m-1", "stored m-2"], "{fault:?}: each once");
    }
}

#[tokio::test]
async fn what_is_not_stored_in_time_is_a_batch_item_failure_and_not_notified() {
    for fault in [Fault::Throttle, Fault::ServerError, Fault::CutBefore, Fault::Hang] {
        let consumer = TestConsumer::start().await;
        consumer.database.faults.always(fault);
        let records = [record(1, "alice", "m-1", r#"{"a":1}"#), record(2, "bob", "m-2", "[]")];
        let failures = consumer.consume_within(Duration::from_millis(800), &records).await;
        assert_eq!(failures, receipts([1, 2]), "{fault:?}");
        assert_eq!(consumer.database.count(MESSAGES).await, 0, "{fault:?}");
        for connection_id in ["alice-1", "bob-1"] {
            assert!(consumer.pushes.outcomes(connection_id).is_empty(), "{fault:?}");
        }
    }
}

#[tokio::test]
async fn only_what_is_not_stored_is_a_batch_item_failure() {
    let consumer = TestConsumer::start().await;
    // Every second statement passes, so that only the first message never does.
    consumer.database.faults.always(Fault::ThrottleStatements);
    let records = [0, 1, 2, 3].map(|number| record(number, "alice", &format!("m-{number}"), r#"{"a":1}"#));
    assert_eq!(consumer.consume_within(Duration::from_secs(5), &records).await, receipts([0]));
    assert_eq!(consumer.status("alice", "m-0").await, "");
    for id in ["m-1", "m-2", "m-3"] {
        assert_eq!(consumer.status("alice", id).await, "stored");
    }
    let mut outcomes = consumer.pushes.outcomes("alice-1");
    outcomes.sort();
    assert_eq!(outcomes, ["stored m-1", "stored m-2", "stored m-3"]);
}

#[tokio::test]
async fn a_batch_without_time_fails_as_a_whole() {
    let consumer = TestConsumer::start().await;
    let records = [record(1, "alice", "m-1", r#"{"a":1}"#)];
    assert_eq!(consumer.consume_within(Duration::ZERO, &records).await, receipts([1]));
}

#[tokio::test]
async fn a_batch_without_a_deadline_is_handled() {
    let consumer = TestConsumer::start().await;
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(600);
    assert!(consumer.consume_until(long_ago, &[record(1, "alice", "m-1", r#"{"a":1}"#)]).await.is_empty());
    assert_eq!(consumer.status("alice", "m-1").await, "stored");
}

#[tokio::test]
async fn one_message_that_the_database_rejects_does_not_affect_the_others() {
    let consumer = TestConsumer::start().await;
    let records = [record(1, "alice", "m-1", r#"{"a":1}"#), record(2, "alice", "m-2", r#"{"a":1}"#)];
    // The database rejects the batch as a whole, and then the first message by itself.
    consumer.database.faults.next([Fault::Reject, Fault::Reject]);
    assert_eq!(consumer.consume(&records).await.len(), 1);
    assert_eq!(consumer.database.count(MESSAGES).await, 1);
    assert_eq!(consumer.pushes.outcomes("alice-1").len(), 1);
}

#[tokio::test]
async fn a_last_delivery_that_fails_becomes_failed_and_notified_and_a_batch_item_failure() {
    let consumer = TestConsumer::start().await;
    let records = [
        delivered(record(1, "alice", "m-1", r#"{"a":1}"#), MAX_RECEIVE_COUNT),
        delivered(record(2, "alice", "m-2", r#"{"a":2}"#), MAX_RECEIVE_COUNT - 1),
    ];
    // The database denies the read, the batch, and each message by itself, but not the write of the failure.
    consumer.database.faults.next([Fault::Reject; 4]);
    assert_eq!(consumer.consume(&records).await, receipts([1, 2]));
    assert_eq!(consumer.status("alice", "m-1").await, "failed");
    assert_eq!(consumer.database.text("alice", "m-1", "payload").await, r#"{"a":1}"#);
    assert!(consumer.database.text("alice", "m-1", "reason").await.contains("in any of its deliveries"));
    assert_eq!(consumer.status("alice", "m-2").await, "", "it is redelivered");
    assert_eq!(consumer.pushes.outcomes("alice-1"), ["failed m-1"]);

    // Redriven from the dead-letter queue, it is stored.
    assert!(consumer.consume(&[record(1, "alice", "m-1", r#"{"a":1}"#)]).await.is_empty());
    assert_eq!(consumer.status("alice", "m-1").await, "stored");
    assert_eq!(consumer.pushes.outcomes("alice-1"), ["failed m-1", "stored m-1"]);
}

#[tokio::test]
async fn a_last_delivery_that_took_effect_is_no_failure() {
    let consumer = TestConsumer::start().await;
    let last = [delivered(record(1, "alice", "m-1", r#"{"a":1}"#), MAX_RECEIVE_COUNT)];
    // Read, and stored, but the response is lost; then the database denies everything until the message counts as failed.
    let lost = [Fault::None, Fault::CutAfter];
    consumer.database.faults.next(lost.into_iter().chain([Fault::Reject; 3]));
    assert!(consumer.consume(&last).await.is_empty());
    assert_eq!(consumer.status("alice", "m-1").await, "stored");
    assert_eq!(consumer.pushes.outcomes("alice-1"), ["stored m-1"]);
}

#[tokio::test]
async fn a_rejection_on_the_last_delivery_is_no_failure() {
    let consumer = TestConsumer::start().await;
    let last = [delivered(record(1, "alice", "m-1", "hello"), MAX_RECEIVE_COUNT)];
    consumer.database.faults.next([Fault::Reject, Fault::Reject]);
    assert!(consumer.consume(&last).await.is_empty());
    assert_eq!(consumer.status("alice", "m-1").await, "rejected");
    assert_eq!(consumer.pushes.outcomes("alice-1"), ["rejected m-1"]);
}

#[tokio::test]
async fn all_connections_of_an_owner_are_notified_and_a_gone_one_is_removed() {
    let consumer = TestConsumer::start().await;
    for connection_id in ["alice-2", "gone", "broken"] {
        consumer.connect("alice", connection_id).await;
    }
    consumer.pushes.always("gone", PushFault::Status(410));
    consumer.pushes.always("broken", PushFault::Status(500));
    assert!(consumer.consume(&[record(1, "alice", "m-1", r#"{"a":1}"#)]).await.is_empty());
    assert_eq!(consumer.pushes.outcomes("alice-1"), ["stored m-1"]);
    assert_eq!(consumer.pushes.outcomes("alice-2"), ["stored m-1"]);
    assert_eq!(consumer.connections("alice").await, ["alice-1", "alice-2", "broken"]);
    assert_eq!(consumer.database.count(CONNECTIONS).await, 4, "and bob's");
}

#[tokio::test]
async fn a_push_that_fails_is_no_failure_of_the_message() {
    let consumer = TestConsumer::start().await;
    for status in [403, 500, 503] {
        consumer.pushes.always("alice-1", PushFault::Status(status));
        let id = format!("m-{status}");
        assert!(consumer.consume(&[record(status.into(), "alice", &id, r#"{"a":1}"#)]).await.is_empty());
        assert_eq!(consumer.status("alice", &id).await, "stored");
    }
    // The connections cannot be read: the batch insert passes, and nothing after it.
    consumer.database.faults.next([Fault::None, Fault::Reject]);
    assert!(consumer.consume(&[record(1, "alice", "m-1", r#"{"a":1}"#)]).await.is_empty());
    assert_eq!(consumer.status("alice", "m-1").await, "stored");
}
