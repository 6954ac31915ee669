//! Many messages in one request, in both designs: each ends as if it had come alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    slice::from_ref,
    time::Duration,
};

use e2e::{contract, stack::say};
use fault_proxy::Fault;
use intake_platform::rest::Responses;
use lambda_http::{Context, RequestExt, http::Method};
use serde_json::{Value, json};
use status_lookup::StatusLookup;
use sync_insert::SyncInsert;

use crate::{
    fixtures::{
        captured,
        consumer::{MAX_RECEIVE_COUNT, TestConsumer},
        database::Database,
        events::{bulk, bulk_receipt, bulk_record, delivered, get_bulk, post, put, receipt, record, request},
    },
    receipts::response,
};

/// Sends a request with many messages.
pub(crate) async fn send(database: &Database, body: &str) -> (u16, Value) {
    let function = SyncInsert::new(database.messages(), Responses::new("*").expect("an origin"));
    let (head, body) = function.handle(request(&post("alice", body))).await.expect("a response").into_parts();
    let text = String::from_utf8_lossy(&body);
    contract::check_response(&Method::POST, "/messages", head.status.as_u16(), &head.headers, &text);
    (head.status.as_u16(), serde_json::from_slice(&body).expect("JSON"))
}

/// Looks up the outcomes of a bulk.
pub(crate) async fn look_up(consumer: &TestConsumer, owner: &str, receipt: &str) -> (u16, Value) {
    let database = &consumer.database;
    let responses = Responses::new("*").expect("an origin");
    let function = StatusLookup::new(database.messages(), database.outcomes(), responses);
    let event = get_bulk(owner, receipt);
    let (head, body) = function.handle(request(&event)).await.expect("a response").into_parts();
    let text = String::from_utf8_lossy(&body);
    let path = format!("/receipts/{receipt}");
    contract::check_response(&Method::GET, &path, head.status.as_u16(), &head.headers, &text);
    (head.status.as_u16(), serde_json::from_slice(&body).expect("JSON"))
}

/// The ids and statuses in a list of outcomes.
pub(crate) fn statuses(body: &Value) -> Vec<(&str, &str)> {
    body["outcomes"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|outcome| (outcome["id"].as_str().expect("text"), outcome["status"].as_str().expect("text")))
        .collect()
}

/// A bulk in which everything happens, once `known` is stored with another payload, and `same` with this one.
const MIXED: [(&str, &str); 7] = [
    ("new", r#"{ "n": 1.0e+1 }"#),
    ("same", r#"{"a":1}"#),
    ("known", r#"{"a":2}"#),
    ("bad", "[]"),
    ("a b", r#"{"a":1}"#),
    ("new", r#"{"n":1.0e+1}"#),
    ("new", r#"{"n":2}"#),
];
const MIXED_STATUSES: [(&str, &str); 7] = [
    ("new", "stored"),
    ("same", "stored"),
    ("known", "conflict"),
    ("bad", "rejected"),
    ("a b", "rejected"),
    ("new", "stored"),
    ("new", "conflict"),
];

/// A bulk of 100.
fn many() -> String {
    let ids: Vec<_> = (0..100).map(|number| format!("m-{number}")).collect();
    let messages: Vec<_> = ids.iter().map(|id| (id.as_str(), r#"{"a":1}"#)).collect();
    bulk(&messages)
}

/// Stores what [`MIXED`] meets.
async fn prepare(database: &Database) {
    let function = SyncInsert::new(database.messages(), Responses::new("*").expect("an origin"));
    for (id, body) in [("known", r#"{"a":1}"#), ("same", r#"{ "a": 1 }"#)] {
        let response = function.handle(request(&put("alice", id, body))).await.expect("a response");
        assert_eq!(response.status(), 201);
    }
}

#[tokio::test]
async fn a_synchronous_bulk_has_the_outcome_of_each_message_in_its_order() {
    let database = Database::start().await;
    prepare(&database).await;
    for _ in 0..2 {
        let (status, body) = send(&database, &bulk(&MIXED)).await;
        assert_eq!(status, 207, "{body}");
        assert_eq!(statuses(&body), MIXED_STATUSES);
        for outcome in body["outcomes"].as_array().expect("a list") {
            assert_eq!(outcome["reason"].is_string(), outcome["status"] != "stored", "{outcome}");
        }
        assert_eq!(database.text("alice", "new", "payload").await, MIXED[0].1, "byte for byte");
        assert_eq!(database.item("alice", "bad").await, None, "a rejected one leaves no trace");
    }
}

#[tokio::test]
async fn a_synchronous_bulk_that_is_stored_is_a_200_however_often_it_is_sent() {
    let database = Database::start().await;
    let sent = many();
    let _ = database.faults.take_usage();
    let (status, body) = send(&database, &sent).await;
    assert_eq!((status, statuses(&body).len()), (200, 100), "{body}");
    let usage = database.faults.take_usage();
    assert_eq!(usage.requests["BatchExecuteStatement"], 4, "{usage:?}");
    assert_eq!(usage.requests.len(), 1, "{usage:?}");

    // The response to a request is lost, and the same request is sent again.
    let (status, body) = send(&database, &sent).await;
    assert_eq!(status, 200, "{body}");
    assert!(statuses(&body).iter().all(|(_, status)| *status == "stored"));
    let usage = database.faults.take_usage();
    assert_eq!(usage.requests.get("PutItem"), None, "what is stored is read, not written: {usage:?}");
}

#[tokio::test]
async fn a_synchronous_bulk_of_invalid_messages_has_the_outcome_of_each() {
    let database = Database::start().await;
    let (status, body) = send(&database, &bulk(&[("m", "[]"), ("a b", r#"{"a":1}"#)])).await;
    assert_eq!((status, statuses(&body)), (207, vec![("m", "rejected"), ("a b", "rejected")]), "{body}");
    assert_eq!(database.count("messages").await, 0);
}

#[tokio::test]
async fn a_message_that_is_throttled_is_unavailable_beside_the_stored_ones() {
    let database = Database::start().await;
    // Every second statement, beginning with the first: in the end one is left, which never gets through.
    database.faults.always(Fault::ThrottleStatements);
    let messages = [("m-1", r#"{"a":1}"#), ("m-2", r#"{"a":2}"#), ("m-3", "[]")];
    let (status, body) = send_within(&database, &bulk(&messages), Duration::from_secs(1)).await;
    assert_eq!(status, 207, "{body}");
    assert_eq!(statuses(&body), [("m-1", "unavailable"), ("m-2", "stored"), ("m-3", "rejected")]);
    database.faults.always(Fault::None);
    let (_, body) = send(&database, &bulk(&messages)).await;
    assert_eq!(statuses(&body), [("m-1", "stored"), ("m-2", "stored"), ("m-3", "rejected")]);
}

/// The same, with so much time until the deadline.
async fn send_within(database: &Database, body: &str, time: Duration) -> (u16, Value) {
    let function = SyncInsert::new(database.messages(), Responses::new("*").expect("an origin"));
    let mut context = Context::default();
    let deadline = std::time::SystemTime::now() + time;
    let since = deadline.duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    context.deadline = u64::try_from(since.as_millis()).expect("in range");
    let request = request(&post("alice", body)).with_lambda_context(context);
    let (head, body) = function.handle(request).await.expect("a response").into_parts();
    (head.status.as_u16(), serde_json::from_slice(&body).expect("JSON"))
}

#[tokio::test]
async fn a_synchronous_bulk_of_which_nothing_is_confirmed_is_a_503_in_time() {
    let database = Database::start().await;
    database.faults.always(Fault::Throttle);
    let (status, body) = send_within(
        &database,
        &bulk(&[("m-1", r#"{"a":1}"#), ("m-2", r#"{"a":2}"#)]),
        Duration::from_secs(1),
    )
    .await;
    assert_eq!((status, &body["type"]), (503, &json!("urn:intake:problem:unavailable")), "{body}");

    // It would not help to send again what the database denies.
    database.faults.always(Fault::None);
    database.add_foreign_item("alice", "m-1").await;
    let (status, body) = send(&database, &bulk(&[("m-1", r#"{"a":1}"#)])).await;
    assert_eq!((status, &body["type"]), (500, &json!("urn:intake:problem:internal")), "{body}");
}

#[tokio::test]
async fn what_is_no_bulk_is_a_problem_and_stores_nothing() {
    let database = Database::start().await;
    let too_many = bulk(&[("m", r#"{"a":1}"#)].repeat(101));
    let too_long = format!("{}{}", bulk(&[("m", r#"{"a":1}"#)]), " ".repeat(1_000_000));
    for (body, status, problem) in [
        ("", 400, "invalid-body"),
        (r#"{"a":1}"#, 400, "invalid-body"),
        (r#"{"messages":[]}"#, 400, "invalid-body"),
        (&too_many, 400, "invalid-body"),
        (&too_long, 413, "payload-too-large"),
        (r#"{"messages":[{"id":"m","payload":{"a":1}},{"id":"n"}]}"#, 400, "invalid-body"),
    ] {
        let (got, response) = send(&database, body).await;
        assert_eq!((got, &response["type"]), (status, &json!(format!("urn:intake:problem:{problem}"))));
        assert_eq!(database.count("messages").await, 0);
    }
}

#[tokio::test]
async fn a_queued_bulk_has_the_outcome_of_each_message_everywhere() {
    let consumer = TestConsumer::start().await;
    prepare(&consumer.database).await;
    let (_, before) = look_up(&consumer, "alice", &bulk_receipt(1)).await;
    assert_eq!(before, json!({ "receipt": bulk_receipt(1), "status": "queued", "outcomes": [] }));

    assert_eq!(consumer.consume(&[bulk_record(1, "alice", &bulk(&MIXED))]).await, BTreeSet::new());
    let (_, found) = look_up(&consumer, "alice", &bulk_receipt(1)).await;
    assert_eq!((&found["status"], statuses(&found)), (&json!("settled"), MIXED_STATUSES.to_vec()));
    assert_eq!(consumer.database.text("alice", "new", "payload").await, MIXED[0].1, "byte for byte");

    let stored_at = consumer.database.text("alice", "new", "stored_at").await;
    assert_eq!(found["outcomes"][0]["storedAt"], stored_at);

    // The socket says the same, in the same order.
    let notified = consumer.pushes.outcomes("alice-1");
    let expected: Vec<_> = MIXED_STATUSES.iter().map(|(id, status)| format!("{status} {id}")).collect();
    assert_eq!(notified, expected);
    // And so does the look-up of each id by the bulk's receipt, which finds the stored one of several.
    for (id, expected) in &MIXED_STATUSES[..5] {
        let (status, one) = response(&consumer, "alice", id, Some(&bulk_receipt(1))).await;
        assert_eq!((status, &one["status"]), (200, &json!(expected)), "{one}");
        assert_eq!(one["receipt"], bulk_receipt(1));
        assert_eq!(one["text"], if *id == "bad" { json!("[]") } else { Value::Null });
    }
    let (status, _) = response(&consumer, "alice", "elsewhere", Some(&bulk_receipt(1))).await;
    assert_eq!(status, 404, "it was not in it");

    // Delivered again, it has the same outcomes.
    assert_eq!(
        consumer.consume(&[delivered(bulk_record(1, "alice", &bulk(&MIXED)), 2)]).await,
        BTreeSet::new()
    );
    assert_eq!(statuses(&look_up(&consumer, "alice", &bulk_receipt(1)).await.1), MIXED_STATUSES);
}

#[tokio::test]
async fn the_two_kinds_of_receipts_are_kept_apart_and_owners_too() {
    let consumer = TestConsumer::start().await;
    assert!(consumer.consume(&[bulk_record(1, "alice", &bulk(&MIXED[..1]))]).await.is_empty());
    let (status, problem) = look_up(&consumer, "alice", &receipt(1)).await;
    assert_eq!((status, &problem["type"]), (400, &json!("urn:intake:problem:invalid-receipt")));
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("/messages/{id}?receipt=")));
    let (status, other) = look_up(&consumer, "bob", &bulk_receipt(1)).await;
    assert_eq!((status, &other["status"]), (200, &json!("queued")));
    let (status, single) = response(&consumer, "alice", "new", Some(&receipt(1))).await;
    assert_eq!((status, &single["status"]), (200, &json!("queued")), "a receipt that was never given");

    // A record has a receipt of its own kind, whatever is in its attribute.
    let with = |mut record: Value, receipt: String| {
        record["messageAttributes"]["receipt"] = json!({ "dataType": "String", "stringValue": receipt });
        record
    };
    let single = with(record(2, "alice", "single", r#"{"a":1}"#), bulk_receipt(8));
    let many = with(bulk_record(3, "alice", &bulk(&[("many", r#"{"a":1}"#)])), receipt(9));
    assert_eq!(consumer.consume(&[single, many]).await, BTreeSet::new());
    assert_eq!(response(&consumer, "alice", "single", Some(&receipt(2))).await.1["status"], "stored");
    assert_eq!(look_up(&consumer, "alice", &bulk_receipt(3)).await.1["status"], "settled");
}

#[tokio::test]
async fn what_is_no_bulk_is_rejected_as_a_whole() {
    let consumer = TestConsumer::start().await;
    for (number, body) in [(1, "no JSON"), (2, r#"{"messages":[]}"#), (3, r#"{"messages":[{"id":"m"}]}"#)] {
        assert_eq!(consumer.consume(&[bulk_record(number, "alice", body)]).await, BTreeSet::new());
        let (_, found) = look_up(&consumer, "alice", &bulk_receipt(number)).await;
        assert_eq!(statuses(&found), [("", "rejected")], "{body}");
        assert!(found["outcomes"][0]["reason"].is_string(), "{found}");
    }
    assert_eq!(consumer.pushes.outcomes("alice-1").len(), 3);
}

#[tokio::test]
async fn a_bulk_is_acknowledged_when_all_of_it_is_settled_and_then_nothing_is_written_twice() {
    let consumer = TestConsumer::start().await;
    let one = bulk_record(1, "alice", &many());
    consumer.database.faults.only("BatchExecuteStatement");
    consumer.database.faults.always(Fault::ThrottleStatements);
    let failures = consumer.consume_within(Duration::from_secs(2), from_ref(&one)).await;
    consumer.database.faults.always(Fault::None);
    assert_eq!(failures, [receipt(1)].into());
    let (_, found) = look_up(&consumer, "alice", &bulk_receipt(1)).await;
    assert_eq!(found["status"], "queued", "not all of it has an outcome");
    let stored = consumer.database.count("messages").await;
    assert!((50..100).contains(&stored), "{stored}");
    let _ = consumer.database.faults.take_usage();
    assert_eq!(consumer.consume(&[delivered(one.clone(), 2)]).await, BTreeSet::new());
    let usage = consumer.database.faults.take_usage();
    assert_eq!(usage.requests["BatchGetItem"], 1, "{usage:?}");
    let outcomes = 10.0;
    assert!(usage.write_units <= (100 - stored) as f64 + outcomes, "with {stored} stored before: {usage:?}");
    let (_, found) = look_up(&consumer, "alice", &bulk_receipt(1)).await;
    assert_eq!(statuses(&found).len(), 100);
    assert!(statuses(&found).iter().all(|(_, status)| *status == "stored"));

    // Delivered once more, only the item with the outcomes is written again.
    let _ = consumer.database.faults.take_usage();
    assert_eq!(consumer.consume(&[delivered(one, 3)]).await, BTreeSet::new());
    let usage = consumer.database.faults.take_usage();
    let writes: Vec<_> =
        usage.requests.keys().filter(|name| *name != "BatchGetItem" && *name != "Query").collect();
    assert_eq!(writes, ["BatchWriteItem"], "{usage:?}");
    assert!(usage.write_units <= 10.0, "at most a tenth of a unit a message: {usage:?}");
}

#[tokio::test]
async fn of_a_bulk_that_is_twice_in_a_batch_a_half_is_not_taken_for_the_whole() {
    let consumer = TestConsumer::start().await;
    let one = bulk_record(1, "alice", &bulk(&[("late", r#"{"a":1}"#), ("early", r#"{"a":2}"#)]));
    consumer.database.faults.only("BatchExecuteStatement");
    // Once for each of the two: the first statement is throttled both times.
    consumer.database.faults.next([Fault::ThrottleStatements, Fault::ThrottleStatements]);
    assert_eq!(consumer.consume(&[one.clone(), one]).await, BTreeSet::new());
    assert_eq!(consumer.database.faults.take_requests_of("BatchExecuteStatement"), 4);
    let (_, found) = look_up(&consumer, "alice", &bulk_receipt(1)).await;
    assert_eq!(statuses(&found), [("late", "stored"), ("early", "stored")]);
    let mut notified = consumer.pushes.outcomes("alice-1");
    notified.sort_unstable();
    assert_eq!(notified, ["stored early", "stored late"]);
}

#[tokio::test]
async fn what_is_open_after_the_last_delivery_of_a_bulk_has_failed_and_the_rest_has_not() {
    let consumer = TestConsumer::start().await;
    let messages = [("m-1", r#"{"a":1}"#), ("m-2", r#"{"a":2}"#)];
    assert!(consumer.consume(&[record(9, "alice", "m-1", messages[0].1)]).await.is_empty());
    let last = delivered(bulk_record(1, "alice", &bulk(&messages)), MAX_RECEIVE_COUNT);
    // It is read; then the database denies the batch, and the message by itself, but not the failure.
    consumer.database.faults.next([Fault::None, Fault::Reject, Fault::Reject]);
    assert_eq!(consumer.consume(from_ref(&last)).await, [receipt(1)].into());
    let (_, found) = look_up(&consumer, "alice", &bulk_receipt(1)).await;
    assert_eq!(statuses(&found), [("m-1", "stored"), ("m-2", "failed")]);

    // Redriven as a whole, under a record id of its own.
    let mut redriven = bulk_record(2, "alice", &bulk(&messages));
    let attribute = json!({ "dataType": "String", "stringValue": bulk_receipt(1) });
    redriven["messageAttributes"]["receipt"] = attribute;
    assert_eq!(consumer.consume(&[redriven]).await, BTreeSet::new());
    let (_, found) = look_up(&consumer, "alice", &bulk_receipt(1)).await;
    assert_eq!(statuses(&found), [("m-1", "stored"), ("m-2", "stored")]);
    let (_, none) = look_up(&consumer, "alice", &bulk_receipt(2)).await;
    assert_eq!(none["status"], "queued");
}

#[tokio::test]
async fn a_message_that_is_stored_is_notified_and_found_although_another_one_of_its_bulk_is_open() {
    let consumer = TestConsumer::start().await;
    consumer.database.add_foreign_item("alice", "b").await;
    let one = bulk_record(1, "alice", &bulk(&[("a", r#"{"a":1}"#), ("b", r#"{"a":1}"#)]));
    assert_eq!(consumer.consume(&[one]).await, [receipt(1)].into());
    assert_eq!(consumer.pushes.outcomes("alice-1"), ["stored a"]);
    let (_, found) = response(&consumer, "alice", "a", Some(&bulk_receipt(1))).await;
    assert_eq!(found["status"], "stored");
    assert_eq!(look_up(&consumer, "alice", &bulk_receipt(1)).await.1["status"], "queued");
}

#[tokio::test]
async fn what_a_later_message_of_a_bulk_could_replace_is_not_notified_before_a_look_up_finds_it() {
    let consumer = TestConsumer::start().await;
    consumer.database.add_foreign_item("alice", "b").await;
    let one = bulk_record(1, "alice", &bulk(&[("a", "{}"), ("b", r#"{"a":1}"#)]));
    let of_a = async || response(&consumer, "alice", "a", Some(&bulk_receipt(1))).await.1["status"].clone();
    for attempts in [1, 2] {
        assert_eq!(consumer.consume(&[delivered(one.clone(), attempts)]).await, [receipt(1)].into());
        assert_eq!(of_a().await, "queued");
        assert!(
            consumer.pushes.outcomes("alice-1").is_empty(),
            "a client that is notified finds the outcome"
        );
    }

    let last = delivered(one, MAX_RECEIVE_COUNT);
    assert_eq!(consumer.consume(&[last]).await, [receipt(1)].into());
    assert_eq!(of_a().await, "rejected");
    assert_eq!(consumer.pushes.outcomes("alice-1"), ["rejected a", "failed b"]);
}

#[tokio::test]
async fn outcomes_of_a_bulk_that_cannot_be_kept_are_a_batch_item_failure() {
    let consumer = TestConsumer::start().await;
    let one = bulk_record(1, "alice", &bulk(&MIXED));
    consumer.database.faults.only("BatchWriteItem");
    consumer.database.faults.always(Fault::Throttle);
    let failures = consumer.consume_within(Duration::from_secs(3), from_ref(&one)).await;
    assert_eq!(failures, [receipt(1)].into());
    assert_eq!(consumer.pushes.outcomes("alice-1"), [""; 0], "not notified before it can be looked up");
    consumer.database.faults.always(Fault::None);
    assert_eq!(consumer.consume(&[delivered(one, 2)]).await, BTreeSet::new());
    assert_eq!(look_up(&consumer, "alice", &bulk_receipt(1)).await.1["status"], "settled");
}

#[tokio::test]
async fn messages_with_one_id_are_stored_in_their_order_also_when_the_first_has_to_be_retried_or_is_slow() {
    let slow = Fault::Delay(Duration::from_millis(300));
    for faults in
        [vec![Fault::Throttle, Fault::ServerError, Fault::CutBefore], vec![Fault::None, slow], vec![slow]]
    {
        let consumer = TestConsumer::start().await;
        let messages = [("m", r#"{"a":1}"#), ("m", r#"{"a":2}"#), ("m", r#"{"a":1}"#)];
        consumer.database.faults.next(faults);
        assert_eq!(consumer.consume(&[bulk_record(1, "alice", &bulk(&messages))]).await, BTreeSet::new());
        let (_, found) = look_up(&consumer, "alice", &bulk_receipt(1)).await;
        assert_eq!(statuses(&found), [("m", "stored"), ("m", "conflict"), ("m", "stored")]);
        assert_eq!(consumer.database.text("alice", "m", "payload").await, messages[0].1);
    }
}

#[tokio::test]
async fn behind_a_message_that_the_database_denies_no_other_with_its_id_is_stored() {
    let consumer = TestConsumer::start().await;
    let one = bulk_record(1, "alice", &bulk(&[("m", r#"{"a":1}"#), ("m", r#"{"a":2}"#)]));
    consumer.database.faults.next([Fault::Reject, Fault::Reject]);
    assert_eq!(consumer.consume(from_ref(&one)).await, [receipt(1)].into());
    assert_eq!(consumer.database.count("messages").await, 0);
    assert_eq!(consumer.consume(&[delivered(one, 2)]).await, BTreeSet::new());
    let (_, found) = look_up(&consumer, "alice", &bulk_receipt(1)).await;
    assert_eq!(statuses(&found), [("m", "stored"), ("m", "conflict")]);
}

#[tokio::test]
async fn of_two_messages_of_a_bulk_with_one_id_the_look_up_of_the_id_finds_the_stored_one() {
    let consumer = TestConsumer::start().await;
    let valid = r#"{"a":1}"#;
    let by_receipt =
        async || response(&consumer, "alice", "m", Some(&bulk_receipt(1))).await.1["status"].clone();
    let one = bulk_record(1, "alice", &bulk(&[("m", "[]"), ("m", valid)]));
    // The first is written as rejected. The second is denied.
    consumer.database.faults.next([Fault::None, Fault::Reject, Fault::Reject]);
    assert_eq!(consumer.consume(from_ref(&one)).await, [receipt(1)].into());
    assert_eq!(consumer.status("alice", "m").await, "rejected");
    assert_eq!(by_receipt().await, "queued", "the other one may yet be stored");
    assert_eq!(consumer.consume(&[delivered(one, 2)]).await, BTreeSet::new());
    assert_eq!(by_receipt().await, "stored");

    // Also if another request has stored it, and the last one is invalid.
    let one = bulk_record(2, "alice", &bulk(&[("m", valid), ("m", "[]")]));
    assert_eq!(consumer.consume(&[one]).await, BTreeSet::new());
    let (_, found) = response(&consumer, "alice", "m", Some(&bulk_receipt(2))).await;
    assert_eq!(found["status"], "stored");
}

/// Shown with `--nocapture`: docs/observability.md quotes it.
#[tokio::test]
async fn a_bulk_writes_a_fraction_of_the_log_of_its_messages_alone() {
    let captured = captured::run("bulk::a_hundred_messages");
    let bytes = |name: &str| captured[name].iter().map(|line| line.len() + 1).sum::<usize>();
    for (alone, together) in [("100 requests", "a request of 100"), ("100 records", "a record of 100")] {
        let (alone, together) = (bytes(alone), bytes(together));
        say(format_args!("bytes of log for 100 messages: alone {alone}, in a bulk {together}"));
        assert!(together > 0 && together * 20 <= alone, "alone {alone}, in a bulk {together}");
    }
}

#[tokio::test]
#[ignore = "it is the process of a_bulk_writes_a_fraction_of_the_log_of_its_messages_alone"]
async fn a_hundred_messages() {
    captured::captured(async {
        for is_bulk in [false, true] {
            let consumer = TestConsumer::start().await;
            let ids = (0..100).map(|number| (number, format!("m-{number}")));
            let records: Vec<_> = if is_bulk {
                vec![bulk_record(0, "alice", &many())]
            } else {
                ids.clone().map(|(number, id)| record(number, "alice", &id, r#"{"a":1}"#)).collect()
            };
            captured::begin(if is_bulk { "a record of 100" } else { "100 records" });
            assert_eq!(consumer.consume(&records).await, BTreeSet::new());

            let database = Database::start().await;
            let function = SyncInsert::new(database.messages(), Responses::new("*").expect("an origin"));
            captured::begin(if is_bulk { "a request of 100" } else { "100 requests" });
            let requests: Vec<_> = if is_bulk {
                vec![post("alice", &many())]
            } else {
                ids.map(|(_, id)| put("alice", &id, r#"{"a":1}"#)).collect()
            };
            for one in &requests {
                assert!(function.handle(request(one)).await.expect("a response").status().is_success());
            }
        }
    })
    .await;
}

/// A bulk of 100 of which half is throttled at first, and one that is throttled until its last delivery.
#[tokio::test]
async fn metrics_count_each_message_of_a_bulk_once_however_often_it_is_delivered() {
    let captured = captured::run("bulk::deliveries_of_bulks");
    let sums = |deliveries: &[&str]| {
        let mut sums = BTreeMap::<String, u64>::new();
        let lines = deliveries.iter().flat_map(|delivery| &captured[*delivery]);
        for line in lines.filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            for metric in line["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().into_iter().flatten() {
                let name = metric["Name"].as_str().expect("a name");
                // Of times it is how many there are.
                let number = match &line[name] {
                    Value::Array(times) => times.len() as u64,
                    _ if name == "TimeToStored" => 1,
                    count => count.as_u64().expect("a number"),
                };
                *sums.entry(name.to_owned()).or_default() += number;
            }
        }
        ["Accepted", "Stored", "TimeToStored", "Failed", "Conflict"]
            .map(|name| sums.get(name).copied().unwrap_or_default())
    };
    assert_eq!(sums(&["throttled"]), [100, 0, 0, 0, 0], "nothing is counted before the bulk is settled");
    assert_eq!(sums(&["throttled", "redelivered"]), [100, 100, 100, 0, 0]);
    assert_eq!(sums(&["denied", "denied at last"]), [3, 1, 1, 1, 1]);
}

#[tokio::test]
#[ignore = "it is the process of metrics_count_each_message_of_a_bulk_once_however_often_it_is_delivered"]
async fn deliveries_of_bulks() {
    captured::captured(async {
        let consumer = TestConsumer::start().await;
        let faults = &consumer.database.faults;
        let one = bulk_record(1, "alice", &many());
        captured::begin("throttled");
        faults.only("BatchExecuteStatement");
        faults.always(Fault::ThrottleStatements);
        assert_eq!(
            consumer.consume_within(Duration::from_secs(2), from_ref(&one)).await,
            [receipt(1)].into()
        );
        assert!(consumer.database.count("messages").await >= 50);
        captured::begin("redelivered");
        faults.always(Fault::None);
        assert_eq!(consumer.consume(&[delivered(one, 2)]).await, BTreeSet::new());

        let messages = [("a", r#"{"a":1}"#), ("b", r#"{"a":1}"#), ("a", r#"{"a":2}"#)];
        let one = bulk_record(2, "alice", &bulk(&messages));
        consumer.database.add_foreign_item("alice", "b").await;
        for (delivery, name) in [(1, "denied"), (MAX_RECEIVE_COUNT, "denied at last")] {
            captured::begin(name);
            let failures = consumer.consume(&[delivered(one.clone(), delivery)]).await;
            assert_eq!(failures, [receipt(2)].into());
        }
    })
    .await;
}
