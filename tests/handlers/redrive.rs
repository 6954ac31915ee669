//! A redrive against an SQS that fails: no message is ever lost.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use redrive::{
    Redrive,
    report::{Entry, Report},
};
use serde_json::{Value, json};
use tokio::{
    join,
    task::JoinSet,
    time::{Instant, timeout},
};

use crate::{
    fixtures::{
        consumer::AMPLE_TIME,
        events::{read, receipt, record},
        queue::{DELETE, Queue, QueueFault, RECEIVE, RELEASE, SEND, bodies},
    },
    queue_consumer::without_attribute,
};

const TRACE: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1";

/// So many letters of an owner, with different bodies.
fn letters(owner: &str, numbers: std::ops::Range<usize>) -> Vec<Value> {
    numbers.map(|number| record(number, owner, "an-id", &format!(r#"{{"a":{number}}}"#))).collect()
}

/// Five that name no id, no owner, or one that the consumer does not accept.
fn unattributed() -> [Value; 5] {
    let letter = |number| record(number, "alice", "an-id", r#"{"unattributed":true}"#);
    let mut of_a_number = letter(103);
    of_a_number["messageAttributes"]["owner"] = json!({ "dataType": "Number", "stringValue": "42" });
    [
        without_attribute(letter(101), "owner"),
        without_attribute(letter(102), "id"),
        of_a_number,
        record(104, "bøb", "an-id", "{}"),
        without_attribute(without_attribute(letter(105), "id"), "owner"),
    ]
}

async fn redrive(queue: &Queue, event: Value) -> Report {
    redrive_within(AMPLE_TIME, queue, event).await
}

async fn redrive_within(time: Duration, queue: &Queue, event: Value) -> Report {
    let function = Redrive::new(queue.client(Duration::from_secs(1)), queue.url(), queue.target_url());
    function.handle(&event, SystemTime::now() + time).await.expect("a request")
}

/// How many letters were moved, left and failed.
fn counts(report: &Report) -> [usize; 3] {
    let Report { moved, left, failed, .. } = report;
    [moved, left, failed].map(Vec::len)
}

fn receipts(entries: &[Entry]) -> BTreeSet<&str> {
    entries.iter().map(|entry| &*entry.receipt).collect()
}

fn attribute(kind: &str, value: &str) -> Value {
    json!({ "DataType": kind, "StringValue": value })
}

#[tokio::test]
async fn a_message_keeps_what_its_client_gave_it_and_its_first_receipt() {
    let queue = Queue::start(&[]).await;
    let mut attributes = json!({
        "id": attribute("String", "an-id"),
        "owner": attribute("String", "alice"),
        "number": attribute("Number", "1234567890123456789.5"),
        "bytes": { "DataType": "Binary", "BinaryValue": "AP8=" },
    });
    let body = "{\"a\": 12345678901234567890}\r\n\t\u{1F600}";
    let message = json!({
        "MessageBody": body,
        "MessageAttributes": attributes,
        "MessageSystemAttributes": { "AWSTraceHeader": attribute("String", TRACE) },
        "MessageGroupId": "group",
    });
    let receipt = queue.state().add(message, true);
    attributes["receipt"] = attribute("String", &receipt);
    attributes["received_at"] = attribute("String", "1700000000000");
    // The second time, the queue has given it another id.
    for _ in 0..2 {
        let report = redrive(&queue, json!({})).await;
        let moved = json!({
            "receipt": receipt,
            "owner": "alice",
            "id": "an-id",
            "receivedAt": "2023-11-14T22:13:20.000Z",
        });
        let expected = json!({ "dryRun": false, "moved": [moved], "left": [], "failed": [] });
        assert_eq!(json!(report), expected);
        let mut state = queue.state();
        assert_eq!(state.counts(), [0, 0, 1]);
        let moved = state.queued.remove(0);
        assert_eq!((&moved["MessageBody"], &moved["MessageAttributes"]), (&json!(body), &attributes));
        assert_eq!(moved["MessageSystemAttributes"]["AWSTraceHeader"], attribute("String", TRACE));
        assert_eq!(moved["MessageGroupId"], "group");
        state.dead.push(moved);
    }
}

#[tokio::test]
async fn a_record_of_many_messages_keeps_its_mark_and_has_the_receipt_of_its_kind() {
    let queue = Queue::start(&[]).await;
    let attributes = json!({ "owner": attribute("String", "alice"), "bulk": attribute("String", "true") });
    let message = json!({ "MessageBody": r#"{"messages":[]}"#, "MessageAttributes": attributes });
    let id = queue.state().add(message, true);
    let report = redrive(&queue, json!({})).await;
    assert_eq!(receipts(&report.moved), [&*format!("bulk-{id}")].into());
    let moved = &queue.state().queued[0]["MessageAttributes"];
    assert_eq!(moved["bulk"], attribute("String", "true"));
    assert_eq!(moved["receipt"], attribute("String", &format!("bulk-{id}")));
}

#[tokio::test]
async fn an_event_that_is_no_request_is_an_error_that_names_the_member() {
    let queue = Queue::start(&letters("alice", 0..1)).await;
    let function = Redrive::new(queue.client(Duration::from_secs(1)), queue.url(), queue.target_url());
    for (event, expected) in [
        (json!({ "dryrun": true }), "dryrun is unknown: the members are dryRun, max, owner and receipt"),
        (json!({ "dryRun": "true" }), r#"dryRun is true or false, not "true""#),
        (json!({ "max": 0 }), "max is a whole number from 1 up, not 0"),
        (json!({ "max": -1 }), "max is a whole number from 1 up, not -1"),
        (json!({ "max": 1.5 }), "max is a whole number from 1 up, not 1.5"),
        (json!({ "owner": 1 }), "owner is a text, not 1"),
        (json!({ "receipt": ["a"] }), r#"receipt is a text, not ["a"]"#),
        (json!(null), r#"the event is a JSON object, such as {} or {"dryRun":true}"#),
        (json!([]), r#"the event is a JSON object, such as {} or {"dryRun":true}"#),
    ] {
        let error = function.handle(&event, SystemTime::now() + AMPLE_TIME).await.expect_err("no request");
        assert_eq!(error.to_string(), expected);
    }
    assert_eq!(queue.state().counts(), [1, 1, 0]);
}

#[tokio::test]
async fn every_event_for_the_redrive_does_what_it_is_named_after() {
    for (event, moved, queued) in [
        (include_str!("../../events/redrive.json"), 25, 25),
        (include_str!("../../events/redrive-dry-run.json"), 25, 0),
        (include_str!("../../events/redrive-some.json"), 10, 10),
    ] {
        let queue = Queue::start(&[letters("bob", 0..5), letters("alice", 5..25)].concat()).await;
        assert_eq!(counts(&redrive(&queue, read(event)).await), [moved, 0, 0], "{event}");
        assert_eq!(queue.state().counts(), [25 - queued, 25 - queued, queued], "{event}");
    }
}

#[tokio::test]
async fn only_the_letters_that_are_asked_for_are_moved_and_listed() {
    let all = [letters("bob", 0..15), letters("alice", 15..30)].concat();
    for (event, expected) in [
        (json!({ "owner": "bob" }), (0..15).collect()),
        (json!({ "receipt": receipt(17) }), vec![17]),
        (json!({ "owner": "bob", "receipt": receipt(17) }), vec![]),
        (json!({ "owner": "nobody" }), vec![]),
    ] {
        let queue = Queue::start(&all).await;
        let report = redrive(&queue, event.clone()).await;
        let expected: Vec<_> = expected.into_iter().map(receipt).collect();
        assert_eq!(receipts(&report.moved), expected.iter().map(String::as_str).collect(), "{event}");
        assert_eq!(counts(&report), [expected.len(), 0, 0], "{event}");
        let left = 30 - expected.len();
        assert_eq!(queue.state().counts(), [left, left, expected.len()], "{event}");
    }
}

#[tokio::test]
async fn unattributed_records_stay_unless_their_receipt_is_asked_for() {
    let queue = Queue::start(&[letters("alice", 0..5), unattributed().into()].concat()).await;
    let report = redrive(&queue, json!({})).await;
    assert_eq!(counts(&report), [5, 5, 0]);
    let reason = "it is an unattributed record, which would fail again: ask for its receipt to move it";
    assert!(report.left.iter().all(|entry| entry.reason.as_deref() == Some(reason)), "{report:?}");
    assert_eq!(queue.state().counts(), [5, 5, 5]);

    let report = redrive(&queue, json!({ "receipt": receipt(104) })).await;
    assert_eq!(counts(&report), [1, 0, 0]);
    assert_eq!(queue.state().counts(), [4, 4, 6]);
}

#[tokio::test]
async fn a_message_that_sqs_rejects_stays_and_does_not_hold_up_the_others() {
    let queue = Queue::start(&letters("alice", 0..12)).await;
    queue.next(SEND, [QueueFault::None, QueueFault::Rejected("InvalidMessageContents")]);
    let report = redrive(&queue, json!({})).await;
    assert_eq!((counts(&report), &report.error), ([11, 0, 1], &None));
    let reason = report.failed[0].reason.as_deref();
    assert_eq!(reason, Some("not moved: SendMessage on queue: InvalidMessageContents: rejected"));
    assert_eq!(queue.state().counts(), [1, 1, 11]);
}

#[tokio::test]
async fn a_lost_response_to_a_send_loses_nothing() {
    let queue = Queue::start(&letters("alice", 0..1)).await;
    queue.next(SEND, [QueueFault::LostResponse; 3]);
    let report = redrive(&queue, json!({})).await;
    assert_eq!(counts(&report), [0, 0, 1]);
    assert!(report.error.is_some_and(|error| error.starts_with("SendMessage on queue: ")));
    assert_eq!(queue.state().counts(), [1, 1, 3]);
}

#[tokio::test]
async fn a_delete_that_is_denied_ends_it_and_leaves_messages_in_both_queues() {
    let queue = Queue::start(&letters("alice", 0..25)).await;
    queue.next(DELETE, [QueueFault::Rejected("AccessDenied"); 10]);
    let report = redrive(&queue, json!({})).await;
    assert_eq!(counts(&report), [0, 0, 10]);
    let error = "DeleteMessage on dead: AccessDenied: rejected";
    assert_eq!(report.error.as_deref(), Some(error));
    assert_eq!(report.failed[0].reason, Some(format!("in both queues: {error}")));
    assert_eq!(queue.state().counts(), [25, 25, 10]);
}

#[tokio::test]
async fn no_more_than_the_maximum_are_moved_or_even_received() {
    let queue = Queue::start(&letters("alice", 0..30)).await;
    let report = redrive(&queue, json!({ "max": 12 })).await;
    assert_eq!((counts(&report), report.remaining), ([12, 0, 0], None));
    assert_eq!(queue.state().counts(), [18, 18, 12]);
    assert_eq!(queue.state().count(RECEIVE), 2);
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let queue = Queue::start(&[letters("alice", 0..25), unattributed().into()].concat()).await;
    let report = redrive(&queue, json!({ "dryRun": true })).await;
    assert_eq!((counts(&report), report.dry_run), ([25, 5, 0], true));
    assert_eq!(queue.state().counts(), [30, 30, 0]);
    assert_eq!(queue.state().count(DELETE), 0);
}

#[tokio::test]
async fn messages_that_fail_again_are_left_alone() {
    let queue = Queue::start(&letters("alice", 0..15)).await;
    queue.state().all_fail = true;
    let report = redrive(&queue, json!({})).await;
    assert_eq!(counts(&report), [15, 15, 0]);
    assert_eq!(queue.state().counts(), [15, 15, 0]);
}

#[tokio::test]
async fn a_receive_that_returns_nothing_does_not_hide_the_letters_behind_it() {
    let queue = Queue::start(&letters("alice", 0..25)).await;
    queue.next(RECEIVE, [QueueFault::Empty, QueueFault::None, QueueFault::Empty]);
    assert_eq!(counts(&redrive(&queue, json!({})).await), [25, 0, 0]);
}

#[tokio::test]
async fn it_waits_for_messages_that_another_reader_hides() {
    let waited = "another reader hides letters (1): invoke it again in a minute".to_owned();
    for (looks, receives, remaining) in [(1, 2, None), (5, 5, None), (1000, 10, Some(waited))] {
        let queue = Queue::start(&[]).await;
        queue.state().hidden_by_others = looks;
        let report = redrive(&queue, json!({})).await;
        assert_eq!((report.remaining, queue.state().count(RECEIVE)), (remaining, receives));
    }
}

#[tokio::test]
async fn of_two_redrives_at_once_neither_waits_for_ever_and_nothing_is_lost() {
    let queue = Queue::start(&[letters("bob", 0..20), letters("alice", 20..40)].concat()).await;
    let reports =
        join!(redrive(&queue, json!({ "owner": "bob" })), redrive(&queue, json!({ "owner": "alice" })));
    let moved = reports.0.moved.len() + reports.1.moved.len();
    assert_eq!(queue.state().counts(), [40 - moved, 40 - moved, moved]);
    for owner in ["alice", "bob"] {
        assert_eq!(redrive(&queue, json!({ "owner": owner })).await.remaining, None);
    }
    assert_eq!(queue.state().counts(), [0, 0, 40]);
}

#[tokio::test]
async fn a_run_lists_no_more_than_fit_into_a_response_and_says_that_letters_remain() {
    let queue = Queue::start(&letters("alice", 0..5_005)).await;
    let report = redrive_within(Duration::from_secs(600), &queue, json!({ "dryRun": true })).await;
    assert_eq!(counts(&report), [5_000, 0, 0]);
    assert!(report.remaining.is_some_and(|text| text.contains("invoke it again")));
}

#[tokio::test]
async fn a_run_ends_before_its_deadline_whatever_hangs_and_says_that_letters_remain() {
    let mut runs = JoinSet::new();
    for operation in [RECEIVE, SEND, DELETE, RELEASE, "GetQueueAttributes"] {
        runs.spawn(async move {
            let queue = Queue::start(&[letters("alice", 0..25), unattributed().into()].concat()).await;
            queue.next(operation, [QueueFault::Hang; 100]);
            let time = Duration::from_secs(5);
            let function = Redrive::new(queue.client(time), queue.url(), queue.target_url());
            let deadline = Instant::now() + time;
            let report = function.handle(&json!({}), SystemTime::now() + time).await.expect("a request");
            assert!(Instant::now() < deadline, "{operation}");
            let says = report.remaining.is_some() || report.error.is_some();
            assert_eq!(says, operation != RELEASE, "{operation}: {report:?}");
            let state = queue.state();
            assert_eq!(&bodies(&state.dead) | &bodies(&state.queued), bodies_of(25), "{operation}");
        });
    }
    while let Some(run) = runs.join_next().await {
        run.expect("see above");
    }
}

/// The bodies of so many letters, and of unattributed ones.
fn bodies_of(number: usize) -> BTreeSet<String> {
    let attributed = (0..number).map(|number| format!(r#"{{"a":{number}}}"#));
    attributed.chain([r#"{"unattributed":true}"#, "{}"].map(str::to_owned)).collect()
}

/// Faults at random, and kills at random, as often as it takes to move everything.
#[tokio::test]
async fn whatever_happens_every_message_is_in_one_of_the_queues_at_least() {
    let mut seeds = JoinSet::new();
    for seed in 0..24 {
        seeds.spawn(async move {
            let mut random = fastrand::Rng::with_seed(seed);
            let queue = Queue::start(&letters("alice", 0..random.usize(1..40))).await;
            let all = bodies(&queue.state().dead);
            for round in 0_u32.. {
                assert!(round < 200, "seed {seed} does not end");
                for operation in [SEND, DELETE, RECEIVE, RELEASE] {
                    // Fewer from round to round: in the end everything is to succeed.
                    let number = random.usize(0..20).saturating_sub(round as usize);
                    queue.next(operation, (0..number).map(|_| fault(&mut random)).collect::<Vec<_>>());
                }
                let client = queue.client(Duration::from_millis(200));
                let function = Redrive::new(client, queue.url(), queue.target_url());
                let event = json!({});
                let run = function.handle(&event, SystemTime::now() + AMPLE_TIME);
                // Longer from round to round, too: a busy machine needs more time.
                let lifetime = Duration::from_millis(random.u64(1..300)) + Duration::from_millis(20) * round;
                let ended = timeout(lifetime, run).await;
                let mut state = queue.state();
                assert_eq!(&bodies(&state.dead) | &bodies(&state.queued), all, "seed {seed}, round {round}");
                state.show_all();
                if state.dead.is_empty() && ended.is_ok() {
                    break;
                }
            }
            assert_eq!(bodies(&queue.state().queued), all, "seed {seed}");
        });
    }
    seeds.join_all().await;
}

fn fault(random: &mut fastrand::Rng) -> QueueFault {
    match random.u8(0..6) {
        0 | 1 => QueueFault::None,
        2 => {
            let code = random.choice(["AccessDenied", "InvalidMessageContents"]);
            QueueFault::Rejected(code.expect("one of two"))
        }
        3 | 4 => QueueFault::LostResponse,
        _ => QueueFault::Hang,
    }
}
