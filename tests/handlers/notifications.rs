//! The order of notifications: an owner's sockets never delay storing, and delay another owner only briefly.

use std::{
    collections::HashSet,
    time::{Duration, SystemTime},
};

use intake_domain::{
    message::{Owner, Receipt},
    state::{Outcome, Status},
};
use intake_platform::{
    delivery::{Decided, QueuedRequest},
    push::{Push, PushSummary},
    schedule::Schedule,
};
use jiff::Timestamp;

use crate::fixtures::{
    consumer::{AMPLE_TIME, TestConsumer},
    database::MESSAGES,
    events::{receipt, record},
    pushes::PushFault,
};

/// How many connections of an owner a batch is pushed to: as many as the template lets an owner have.
const MAX_CONNECTIONS: usize = 1000;

/// A message of an owner that is stored.
pub(crate) fn settled(number: usize, owner: &str) -> Decided {
    let outcome = Outcome {
        status: Status::Stored,
        attempts: Some(1),
        received_at: Timestamp::UNIX_EPOCH,
        stored_at: Some(Timestamp::UNIX_EPOCH),
        reason: None,
    };
    let request = QueuedRequest {
        record_id: receipt(number),
        owner: Owner::parse(owner).expect("legal"),
        id: "m-1".to_owned(),
        receipt: Receipt::parse(&receipt(number)).expect("a receipt"),
        index: 0,
        record_size: 1,
        correlation_id: None,
    };
    Decided { request, outcome, is_duplicate: false, is_held: true, needs_keeping: false }
}

fn push(consumer: &TestConsumer, budget: Duration) -> Push {
    let TestConsumer { database, pushes, .. } = consumer;
    Push::new(database.aws(), &pushes.url(), database.connections(), budget)
}

async fn notify(push: &Push, owners: &[&str]) -> PushSummary {
    let settled: Vec<_> = owners.iter().enumerate().map(|(number, owner)| settled(number, owner)).collect();
    push.notify(&settled, Schedule::until(SystemTime::now() + AMPLE_TIME)).await
}

#[tokio::test]
async fn one_connection_of_each_owner_is_notified_before_the_second_of_any() {
    let consumer = TestConsumer::start().await;
    let crowds = ["crowd-1", "crowd-2", "crowd-3", "crowd-4"];
    for owner in crowds {
        consumer.database.add_connections(owner, 1_500).await;
        for number in 0..1_500 {
            consumer.pushes.always(&format!("{owner}-{number}"), PushFault::Status(410));
        }
    }
    let mut records: Vec<_> =
        crowds.iter().enumerate().map(|(number, owner)| record(number, owner, "m", r#"{"a":1}"#)).collect();
    records.push(record(9, "zoe", "m", r#"{"a":1}"#));
    consumer.connect("zoe", "zoe-1").await;

    assert!(consumer.consume(&records).await.is_empty());

    assert_eq!(consumer.database.count(MESSAGES).await, 5);
    assert_eq!(consumer.pushes.outcomes("zoe-1"), ["stored m"]);
    let requests = consumer.pushes.requests();
    let turn = requests.iter().position(|request| request == "POST zoe-1").expect("notified");
    assert!(turn < 5 + 3, "zoe's turn is {turn}: the first of each, and at most four requests at once");
    assert_eq!(requests.len(), crowds.len() * MAX_CONNECTIONS + 1, "no more than the limit of each owner");
}

#[tokio::test]
async fn the_connections_behind_many_gone_ones_are_notified_by_later_batches() {
    let consumer = TestConsumer::start().await;
    let gone = MAX_CONNECTIONS + 100;
    consumer.database.add_connections("crowd", gone).await;
    for number in 0..gone {
        consumer.pushes.always(&format!("crowd-{number}"), PushFault::Status(410));
    }
    consumer.connect("crowd", "crowd-living").await;
    let push = push(&consumer, AMPLE_TIME);
    let summaries = [notify(&push, &["crowd"]).await, notify(&push, &["crowd"]).await];
    assert_eq!(summaries.map(|summary| summary.gone).iter().sum::<usize>(), gone);
    assert_eq!(consumer.database.connections_of("crowd").await, ["crowd-living"]);
    assert_eq!(consumer.pushes.outcomes("crowd-living").len(), 1, "the second batch reached it");
}

#[tokio::test]
async fn an_owner_of_as_many_connections_as_the_limit_is_notified_on_all() {
    let consumer = TestConsumer::start().await;
    consumer.database.add_connections("crowd", MAX_CONNECTIONS).await;
    let summary = notify(&push(&consumer, AMPLE_TIME), &["crowd", "alice"]).await;
    assert_eq!(summary, PushSummary { pushed: MAX_CONNECTIONS + 1, ..PushSummary::default() });
    assert_eq!(consumer.pushes.outcomes("alice-1"), ["stored m-1"]);
}

#[tokio::test]
async fn no_connection_is_always_left_out() {
    let consumer = TestConsumer::start().await;
    consumer.database.add_connections("crowd", 20).await;
    for number in 0..20 {
        consumer.pushes.always(&format!("crowd-{number}"), PushFault::Hang);
    }
    // Time suffices for four at once. That one of 20 is left out 200 times happens once in 10^18 runs.
    let push = push(&consumer, Duration::from_millis(50));
    for _ in 0..200 {
        assert_eq!(notify(&push, &["crowd"]).await.skipped, 20);
        if consumer.pushes.requests().iter().collect::<HashSet<_>>().len() == 20 {
            return;
        }
    }
    panic!("only {:?}", consumer.pushes.requests());
}

#[tokio::test]
async fn notifications_without_time_left_are_counted_and_fail_no_message() {
    let consumer = TestConsumer::start().await;
    consumer.database.add_connections("crowd", 3).await;
    // Nothing is known of their connections.
    let summary = notify(&push(&consumer, Duration::ZERO), &["crowd", "alice"]).await;
    assert_eq!(summary, PushSummary { skipped: 2, ..PushSummary::default() });

    let without_time = consumer.without_time_for_notifications();
    assert!(without_time.consume(&[record(1, "alice", "m-1", r#"{"a":1}"#)]).await.is_empty());
    assert_eq!(without_time.status("alice", "m-1").await, "stored");
    assert_eq!(without_time.pushes.requests().len(), 0);
}

#[tokio::test]
async fn connections_that_time_does_not_suffice_for_are_counted() {
    let consumer = TestConsumer::start().await;
    consumer.database.add_connections("crowd", 10).await;
    for number in 0..10 {
        consumer.pushes.always(&format!("crowd-{number}"), PushFault::Hang);
    }
    let summary = notify(&push(&consumer, Duration::from_secs(2)), &["crowd", "alice"]).await;
    assert_eq!(summary, PushSummary { pushed: 1, skipped: 10, ..PushSummary::default() });
}

#[tokio::test]
async fn owners_whose_connections_cannot_be_read_are_counted_and_fail_no_message() {
    let consumer = TestConsumer::start().await;
    consumer.database.faults.only("Query");
    consumer.database.faults.always(fault_proxy::Fault::Reject);
    let summary = notify(&push(&consumer, AMPLE_TIME), &["alice", "bob"]).await;
    assert_eq!(summary, PushSummary { failed: 2, ..PushSummary::default() });

    assert!(consumer.consume(&[record(1, "alice", "m-1", r#"{"a":1}"#)]).await.is_empty());
    assert_eq!(consumer.status("alice", "m-1").await, "stored");
}

#[tokio::test]
async fn gone_connections_that_cannot_be_removed_are_pushed_to_once() {
    let consumer = TestConsumer::start().await;
    consumer.connect("alice", "alice-2").await;
    for connection in ["alice-1", "alice-2"] {
        consumer.pushes.always(connection, PushFault::Status(410));
    }
    consumer.database.faults.only("DeleteItem");
    consumer.database.faults.always(fault_proxy::Fault::Reject);
    for number in 1..=3 {
        let records = [record(number, "alice", &format!("m-{number}"), r#"{"a":1}"#)];
        assert!(consumer.consume(&records).await.is_empty());
    }
    assert_eq!(consumer.connections("alice").await, ["alice-1", "alice-2"]);
    // They are pushed to at the same time.
    let mut requests = consumer.pushes.requests();
    requests.sort();
    assert_eq!(requests, ["POST alice-1", "POST alice-2"]);
}

#[tokio::test]
async fn a_connection_that_is_still_opening_is_not_removed() {
    let consumer = TestConsumer::start().await;
    let alice = Owner::parse("alice").expect("legal");
    consumer.database.connections().add(&alice, "opening", i64::MAX).await.expect("added");
    // As API Gateway does until `$connect` has returned.
    consumer.pushes.fail("opening", PushFault::Status(410), 1);
    assert!(consumer.consume(&[record(1, "alice", "m-1", r#"{"a":1}"#)]).await.is_empty());
    assert_eq!(consumer.connections("alice").await, ["alice-1", "opening"]);
    assert!(consumer.consume(&[record(2, "alice", "m-2", r#"{"a":1}"#)]).await.is_empty());
    assert_eq!(consumer.pushes.outcomes("opening"), ["stored m-2"]);
}

#[tokio::test]
async fn what_is_stored_is_notified_while_the_rest_of_the_batch_is_still_tried() {
    let consumer = TestConsumer::start().await;
    consumer.database.faults.only("BatchExecuteStatement");
    // Of every request the first statement is throttled: in the end one message is left, for as long as there is time.
    consumer.database.faults.always(fault_proxy::Fault::ThrottleStatements);
    let body = r#"{"a":1}"#;
    let batch = [1, 2, 3].map(|number| record(number, "alice", &format!("m-{number}"), body));
    let consuming = consumer.consume_within(AMPLE_TIME, &batch);
    let notified = async {
        while consumer.pushes.outcomes("alice-1").is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::pin!(consuming);
    tokio::select! {
        _ = &mut consuming => panic!("it ends before anybody is notified"),
        () = notified => {}
    }
    consumer.database.faults.always(fault_proxy::Fault::None);
    assert!(consuming.await.is_empty());
    let mut outcomes = consumer.pushes.outcomes("alice-1");
    outcomes.sort();
    assert_eq!(outcomes, ["stored m-1", "stored m-2", "stored m-3"]);
}
