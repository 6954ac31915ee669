//! The fault matrix: every fault of the table and of the pushes, in every situation in which it can happen. Rows are
//! data, a situation is a test, and a failing test names each cell that failed.
//!
//! In each cell the fault happens first, and then it is lifted, and whatever has to be repeated is repeated.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use fault_proxy::Fault;
use intake_platform::rest::Responses;
use serde_json::json;
use status_lookup::StatusLookup;
use sync_insert::SyncInsert;
use tokio::{
    sync::Semaphore,
    task::{JoinSet, LocalSet},
    time::{Instant, sleep, timeout, timeout_at},
};
use websocket::WebSocket;

use crate::{
    bulk::{look_up, statuses},
    fixtures::{
        consumer::{AMPLE_TIME, ATTEMPT_TIMEOUT, MAX_RECEIVE_COUNT, TestConsumer},
        database::{CONNECTIONS, Database, MESSAGES},
        events::{get, put, read, receipt, record, request},
        pushes::PushFault,
    },
    sent::{Sent, assert_stored, items, notifications, notified_as_stored, records, records_of},
};

/// Longer than any attempt may take.
const TOO_LATE: Duration = Duration::from_secs(ATTEMPT_TIMEOUT.as_secs() + 1);

/// The time that a batch has if its fault outlasts it.
const SHORT_TIME: Duration = Duration::from_secs(3);

/// A fault of the table, and the effect that requests then have.
#[derive(Clone, Copy, Debug)]
struct Row {
    name: &'static str,
    fault: Fault,
    lasts: Lasts,
    /// Of a single request.
    request: Effect,
    /// Of a batch, which has time for more attempts.
    batch: Effect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lasts {
    UntilLifted,
    ForTwoRequests,
    /// Until it is lifted, for half of the requests, at random.
    ForHalfOfRequests,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Confirmed,
    /// No effect, and none is confirmed.
    Nothing,
    /// An effect, at least in part, that is not confirmed.
    Unconfirmed,
    /// In a batch: confirmed for some messages, and nothing for the others.
    Partial,
    /// Of a single request: confirmed or nothing, by chance.
    Random,
}

const fn row(name: &'static str, fault: Fault, lasts: Lasts, request: Effect, batch: Effect) -> Row {
    Row { name, fault, lasts, request, batch }
}

#[rustfmt::skip]
const ROWS: [Row; 16] = {
    use Effect::{Confirmed, Nothing, Partial, Random, Unconfirmed};
    use Lasts::{ForHalfOfRequests, ForTwoRequests, UntilLifted};
    [
        //  name                         fault                      lasts              one request  a batch
        row("none",                      Fault::None,               UntilLifted,       Confirmed,   Confirmed),
        row("throttle twice",            Fault::Throttle,           ForTwoRequests,    Confirmed,   Confirmed),
        row("throttle half",             Fault::Throttle,           ForHalfOfRequests, Random,      Confirmed),
        row("throttle all",              Fault::Throttle,           UntilLifted,       Nothing,     Nothing),
        row("throttle statements twice", Fault::ThrottleStatements, ForTwoRequests,    Confirmed,   Confirmed),
        row("throttle statements",       Fault::ThrottleStatements, UntilLifted,       Confirmed,   Partial),
        row("500 twice",                 Fault::ServerError,        ForTwoRequests,    Confirmed,   Confirmed),
        row("500",                       Fault::ServerError,        UntilLifted,       Nothing,     Nothing),
        row("cut before twice",          Fault::CutBefore,          ForTwoRequests,    Confirmed,   Confirmed),
        row("cut before",                Fault::CutBefore,          UntilLifted,       Nothing,     Nothing),
        row("cut after twice",           Fault::CutAfter,           ForTwoRequests,    Confirmed,   Confirmed),
        row("cut after",                 Fault::CutAfter,           UntilLifted,       Unconfirmed, Unconfirmed),
        row("late twice",                Fault::Late(TOO_LATE),     ForTwoRequests,    Confirmed,   Confirmed),
        row("late",                      Fault::Late(TOO_LATE),     UntilLifted,       Unconfirmed, Unconfirmed),
        row("hang twice",                Fault::Hang,               ForTwoRequests,    Confirmed,   Confirmed),
        row("hang",                      Fault::Hang,               UntilLifted,       Nothing,     Nothing),
    ]
};

impl Row {
    fn begin(&self, database: &Database) {
        match self.lasts {
            Lasts::UntilLifted => database.faults.always(self.fault),
            Lasts::ForTwoRequests => database.faults.next([self.fault; 2]),
            Lasts::ForHalfOfRequests => database.faults.sometimes(0.5, self.fault, 1),
        }
    }

    /// Waits until all requests that are under way have had their effect, and lifts the fault.
    async fn end(&self, database: &Database) {
        let idle = async {
            while database.faults.under_way() > 0 {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(60), idle).await.expect("in the end, nothing is under way");
        database.faults.always(Fault::None);
    }

    /// Whether all settled messages of a batch are notified. They are not if half of the requests for connections
    /// are throttled, nor if storing has used up the batch's time.
    fn notifies_all(&self) -> bool {
        self.lasts != Lasts::ForHalfOfRequests && self.batch != Effect::Partial
    }

    /// The time that a batch has.
    fn time(&self) -> Duration {
        if self.batch == Effect::Confirmed { AMPLE_TIME } else { SHORT_TIME }
    }

    /// Whether a single request is confirmed; none if chance decides.
    fn confirms_request(&self) -> Option<bool> {
        (self.request != Effect::Random).then_some(self.request == Effect::Confirmed)
    }

    /// Checks the effect of a single write.
    fn check_write(&self, confirmed: bool, written: bool) {
        assert!(written || !confirmed, "it is confirmed, but not written");
        assert_eq!(confirmed, self.confirms_request().unwrap_or(confirmed), "confirmed");
        if !confirmed {
            assert_eq!(written, self.request == Effect::Unconfirmed, "written");
        }
    }
}

/// A fault of the pushes to a connection, and what the client receives.
#[derive(Clone, Copy, Debug)]
struct PushRow {
    name: &'static str,
    fault: PushFault,
    times: usize,
    receives: Receives,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Receives {
    Everything,
    Nothing,
    /// Nothing, and the connection is removed.
    NothingEver,
}

const fn push_row(name: &'static str, fault: PushFault, times: usize, receives: Receives) -> PushRow {
    PushRow { name, fault, times, receives }
}

const ALWAYS: usize = usize::MAX;

#[rustfmt::skip]
const PUSH_ROWS: [PushRow; 13] = [
    push_row("410 gone",         PushFault::Status(410),      ALWAYS, Receives::NothingEver),
    push_row("403",              PushFault::Status(403),      ALWAYS, Receives::Nothing),
    push_row("429 twice",        PushFault::Status(429),      2,      Receives::Everything),
    push_row("429",              PushFault::Status(429),      ALWAYS, Receives::Nothing),
    push_row("500 twice",        PushFault::Status(500),      2,      Receives::Everything),
    push_row("500",              PushFault::Status(500),      ALWAYS, Receives::Nothing),
    push_row("cut before twice", PushFault::CutBefore,        2,      Receives::Everything),
    push_row("cut before",       PushFault::CutBefore,        ALWAYS, Receives::Nothing),
    push_row("cut after",        PushFault::CutAfter,         ALWAYS, Receives::Everything),
    push_row("late twice",       PushFault::Delay(TOO_LATE),  2,      Receives::Everything),
    push_row("late",             PushFault::Delay(TOO_LATE),  ALWAYS, Receives::Everything),
    push_row("hang twice",       PushFault::Hang,             2,      Receives::Everything),
    push_row("hang",             PushFault::Hang,             ALWAYS, Receives::Nothing),
];

/// Runs one situation with every row, `at_once` of them concurrently, and names the cells that fail.
async fn each<R: Copy, C: Future<Output = ()> + 'static>(
    rows: &[R],
    name: fn(&R) -> &'static str,
    at_once: usize,
    cell: impl Fn(R) -> C,
) {
    let turns = Arc::new(Semaphore::new(at_once));
    let (mut cells, mut names) = (JoinSet::new(), HashMap::new());
    let local = LocalSet::new();
    for row in rows {
        let (turns, cell) = (Arc::clone(&turns), cell(*row));
        let running = async move {
            let _turn = turns.acquire().await.expect("never closed");
            cell.await;
        };
        names.insert(cells.spawn_local_on(running, &local).id(), name(row));
    }
    let mut failed = Vec::new();
    while let Some(ended) = local.run_until(cells.join_next_with_id()).await {
        let Err(error) = ended else { continue };
        let name = names[&error.id()];
        let panic = error.into_panic();
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or_default();
        failed.push(format!("{name}: {text}"));
    }
    assert!(failed.is_empty(), "{} of {} cells:\n{}", failed.len(), rows.len(), failed.join("\n"));
}

async fn each_fault<C: Future<Output = ()> + 'static>(at_once: usize, cell: impl Fn(Row) -> C) {
    each(&ROWS, |row| row.name, at_once, cell).await;
}

async fn batch_of(sent: Vec<Sent>, row: Row) {
    let consumer = TestConsumer::start().await;
    let TestConsumer { database, pushes, .. } = &consumer;
    let all = records(&sent, 1);

    row.begin(database);
    let failures = consumer.consume_within(row.time(), &all).await;
    row.end(database).await;

    let before = items(database).await;
    let notified = notified_as_stored(pushes, &sent);
    for sent in &sent {
        let (id, stored, reported) =
            (&sent.id, sent.is_stored(&before), failures.contains(&sent.record_id()));
        assert!(stored || reported, "{id} is neither stored nor a failure");
        assert!(stored || !before.contains_key(&sent.key()), "{id} is not stored as it was sent");
        let notified = notified.contains(&sent.key());
        assert!(!notified || stored, "{id} is notified as stored, and is not");
        // Of a bulk some messages may be stored, and others not.
        assert!(!notified || !reported || sent.bulk.is_some(), "{id} is notified as stored, and a failure");
        assert!(notified || reported || !row.notifies_all(), "{id} is settled, and not notified");
    }
    match row.batch {
        Effect::Confirmed => assert_eq!(failures, BTreeSet::new()),
        Effect::Nothing => assert!(before.is_empty(), "{} are stored", before.len()),
        Effect::Unconfirmed => assert!(failures.len() == all.len() && !before.is_empty()),
        Effect::Partial => {
            let (stored, reported) = (before.len(), failures.len());
            assert!(stored > 0 && reported > 0, "{stored} are stored, {reported} reported");
            assert!(reported < all.len() || sent.iter().all(|sent| sent.bulk.is_some()), "all are reported");
        }
        Effect::Random => unreachable!("it is an effect of single requests"),
    }

    assert_eq!(
        consumer.consume(&records_of(&failures, &sent, 2)).await,
        BTreeSet::new(),
        "without the fault"
    );
    let after = assert_stored(database, &sent, "without the fault").await;
    assert!(before.iter().all(|(key, item)| after[key] == *item), "a stored message is changed");
    let notified = notified_as_stored(pushes, &sent);
    assert!(notified.len() == sent.len() || !row.notifies_all(), "{} are notified", notified.len());
    assert_bulks_are_stored(&consumer, &sent).await;
}

/// Checks what is looked up under the receipt of every bulk.
async fn assert_bulks_are_stored(consumer: &TestConsumer, sent: &[Sent]) {
    for bulk in sent.chunk_by(|one, next| one.bulk == next.bulk).filter(|bulk| bulk[0].bulk.is_some()) {
        let (_, found) = look_up(consumer, bulk[0].owner, &bulk[0].receipt()).await;
        let expected: Vec<_> = bulk.iter().map(|sent| (&*sent.id, "stored")).collect();
        assert_eq!(statuses(&found), expected);
    }
}

#[tokio::test]
async fn a_batch_of_10() {
    each_fault(ROWS.len(), |row| batch_of(Sent::many(10), row)).await;
}

#[tokio::test]
async fn a_batch_of_100() {
    each_fault(8, |row| batch_of(Sent::many(100), row)).await;
}

#[tokio::test]
async fn a_batch_of_1000() {
    each_fault(3, |row| batch_of(Sent::many(1_000), row)).await;
}

#[tokio::test]
async fn a_bulk_of_100() {
    each_fault(4, |row| batch_of(Sent::in_bulks(Sent::many(100), 1, 100), row)).await;
}

#[tokio::test]
async fn a_batch_of_bulks_and_messages() {
    each_fault(4, |row| batch_of(Sent::in_bulks(Sent::many(60), 4, 10), row)).await;
}

async fn last_delivery_of(sent: Vec<Sent>, row: Row) {
    let consumer = TestConsumer::start().await;
    let TestConsumer { database, pushes, .. } = &consumer;
    let all = records(&sent, MAX_RECEIVE_COUNT);

    row.begin(database);
    let failures = consumer.consume_within(row.time(), &all).await;
    row.end(database).await;

    let before = items(database).await;
    let notified = notifications(pushes, &sent);
    for sent in &sent {
        let (id, stored, failed) = (&sent.id, sent.is_stored(&before), sent.is("failed", &before));
        let reported = failures.contains(&sent.record_id());
        assert!(stored || reported, "{id} is neither stored nor a dead letter");
        assert!(stored || failed || !before.contains_key(&sent.key()), "{id} is changed");
        let notified = |kind: &str| notified.contains(&(sent.key(), kind.to_owned()));
        assert!(!notified("stored") || stored, "{id} is notified as stored");
        assert!(!notified("stored") || !reported || sent.bulk.is_some(), "{id} is notified as stored");
        assert!(!notified("failed") || reported, "{id} is notified as failed");
        assert!(!notified("conflict") && !notified("rejected"));
    }
    match row.batch {
        Effect::Confirmed => assert_eq!(failures, BTreeSet::new()),
        Effect::Partial => assert!(failures.len() < sent.len()),
        _ => assert_eq!(failures.len(), all.len()),
    }

    // An operator redrives the dead letters.
    assert_eq!(consumer.consume(&records_of(&failures, &sent, 1)).await, BTreeSet::new());
    assert_stored(database, &sent, "redriven").await;
    let notified = notifications(pushes, &sent);
    let stored = notified.iter().filter(|(_, kind)| kind == "stored").count();
    assert!(stored == sent.len() || !row.notifies_all(), "{notified:?}");
    assert_bulks_are_stored(&consumer, &sent).await;
}

#[tokio::test]
async fn the_last_delivery_of_a_batch() {
    each_fault(ROWS.len(), |row| last_delivery_of(Sent::many(10), row)).await;
}

#[tokio::test]
async fn the_last_delivery_of_a_bulk() {
    each_fault(ROWS.len(), |row| last_delivery_of(Sent::in_bulks(Sent::many(10), 1, 10), row)).await;
}

/// A payload that would not survive being parsed and written again.
const BODY: &str = r#"{"n": 1.0, "a":"\u00e9"}"#;

fn responses() -> Responses {
    Responses::new("*").expect("an origin")
}

#[tokio::test]
async fn a_sync_insert() {
    each_fault(ROWS.len(), |row| async move {
        let database = Database::start().await;
        let function = SyncInsert::new(database.messages(), responses());
        let send = async || {
            let response = function.handle(request(&put("alice", "m-1", BODY))).await.expect("a response");
            (response.status().as_u16(), response.headers().contains_key("retry-after"))
        };
        let is_stored = async || {
            let (payload, count) =
                (database.text("alice", "m-1", "payload").await, database.count(MESSAGES).await);
            let expected = if payload.is_empty() { ("", 0) } else { (BODY, 1) };
            assert_eq!((payload.as_str(), count), expected);
            count == 1 && database.text("alice", "m-1", "status").await == "stored"
        };

        row.begin(&database);
        let (status, has_retry_after) = send().await;
        row.end(&database).await;
        let stored = is_stored().await;
        let confirmed = matches!(status, 200 | 201);
        assert!(confirmed || (status == 503 && has_retry_after), "{status}");
        row.check_write(confirmed, stored);

        let first = database.item("alice", "m-1").await;
        let (status, _) = send().await;
        assert_eq!(status, if stored { 200 } else { 201 }, "sent again");
        assert!(is_stored().await);
        assert!(!stored || database.item("alice", "m-1").await == first, "the stored message is changed");
    })
    .await;
}

#[tokio::test]
async fn a_status_lookup() {
    each_fault(ROWS.len(), |row| async move {
        let consumer = TestConsumer::start().await;
        assert_eq!(consumer.consume(&[record(1, "alice", "m-1", BODY)]).await, BTreeSet::new());
        let database = &consumer.database;
        let function = StatusLookup::new(database.messages(), database.outcomes(), responses());
        let look_up = async |receipt: Option<&str>| {
            let response = function.handle(request(&get("alice", "m-1", receipt))).await.expect("a response");
            let text = String::from_utf8(response.body().to_vec()).expect("text");
            assert!(response.status() != 200 || text.contains(BODY), "{text}");
            response.status().as_u16()
        };

        // By its receipt, too, a stored message never seems to be unknown or queued.
        for receipt in [None, Some(receipt(1))] {
            row.begin(database);
            let status = look_up(receipt.as_deref()).await;
            row.end(database).await;
            assert!(matches!(status, 200 | 503), "{status}");
            assert_eq!(status == 200, row.confirms_request().unwrap_or(status == 200), "{status}");
            assert_eq!(look_up(receipt.as_deref()).await, 200);
        }
    })
    .await;
}

#[tokio::test]
async fn a_connect() {
    each_fault(ROWS.len(), |row| async move {
        let database = Database::start().await;
        let function =
            WebSocket::new(database.connections(), 100, database.aws().clone(), "http://127.0.0.1:1");
        let connect = async |connection_id: &str| {
            let mut event = read(include_str!("../../events/websocket-connect.json"));
            event["requestContext"]["connectionId"] = json!(connection_id);
            let event = serde_json::from_value(event).expect("an event");
            json!(function.handle(event).await.expect("a response"))["statusCode"].clone()
        };

        row.begin(&database);
        let status = connect("first").await;
        row.end(&database).await;
        let added = database.count(CONNECTIONS).await == 1;
        assert!(status == 200 || status == 503, "{status}");
        // A connection that is added and never opened does no harm: the first push finds it gone.
        row.check_write(status == 200, added);

        assert_eq!(connect("second").await, 200);
        assert_eq!(database.count(CONNECTIONS).await, 1 + usize::from(added));
        assert_eq!(database.count(MESSAGES).await, 0);
    })
    .await;
}

/// The table of connections fails, and nothing else.
#[tokio::test]
async fn a_notification_whose_connections_are_looked_up() {
    each_fault(ROWS.len(), |row| async move {
        let consumer = TestConsumer::start().await;
        let TestConsumer { database, pushes, .. } = &consumer;
        let sent = Sent::many(10);

        database.faults.only("Query");
        row.begin(database);
        let failures = consumer.consume_within(AMPLE_TIME / 2, &records(&sent, 1)).await;
        assert_eq!(failures, BTreeSet::new(), "no failure of a push is a failure of the message");
        assert_stored(database, &sent, "whatever happens to pushes").await;
        let notified = notifications(pushes, &sent).len();
        if let Some(confirmed) = row.confirms_request() {
            assert_eq!(notified, if confirmed { sent.len() } else { 0 });
        }
    })
    .await;
}

/// More connections fail than are pushed to at once. The owner's others, and the other owner's, do not.
#[tokio::test]
async fn a_notification_of_connections_some_of_which_fail() {
    const FAILING: [&str; 6] = ["alice-2", "alice-3", "alice-4", "alice-5", "alice-6", "alice-7"];
    let cell = |row: PushRow| async move {
        let consumer = TestConsumer::start().await;
        let TestConsumer { database, pushes, .. } = &consumer;
        for connection_id in [FAILING.as_slice(), &["alice-9"]].concat() {
            consumer.connect("alice", connection_id).await;
        }
        let sent = Sent::many(10);

        FAILING.iter().for_each(|id| pushes.fail(id, row.fault, row.times));
        let failures = consumer.consume_within(AMPLE_TIME / 2, &records(&sent, 1)).await;
        assert_eq!(failures, BTreeSet::new(), "no failure of a push is a failure of the message");
        assert_stored(database, &sent, "whatever happens to pushes").await;

        assert_eq!(notifications(pushes, &sent).len(), sent.len());
        assert_eq!(pushes.events("alice-1").len(), 5, "once");
        assert_eq!(pushes.events("alice-9"), pushes.events("alice-1"), "whatever happens to others");
        for id in FAILING {
            let received: HashSet<_> =
                pushes.events(id).iter().map(|event| event["id"].to_string()).collect();
            assert_eq!(received.len(), if row.receives == Receives::Everything { 5 } else { 0 }, "{id}");
        }
        let left = if row.receives == Receives::NothingEver { 2 } else { 2 + FAILING.len() };
        assert_eq!(consumer.connections("alice").await.len(), left);
        assert_eq!(consumer.connections("bob").await.len(), 1);
    };
    each(&PUSH_ROWS, |row| row.name, PUSH_ROWS.len(), cell).await;
}

/// No push gets a response any more. The batch does, before Lambda would end the consumer.
#[tokio::test]
async fn pushes_that_hang_leave_time_for_the_response() {
    let consumer = TestConsumer::start().await;
    for number in 1..=100 {
        let id = format!("alice-{number}");
        consumer.connect("alice", &id).await;
        consumer.pushes.always(&id, PushFault::Hang);
    }
    let sent = Sent::many(10);
    let time = Duration::from_secs(10);
    let deadline = Instant::now() + time;
    let consumed = timeout_at(deadline, consumer.consume_within(time, &records(&sent, 1))).await;
    assert_eq!(consumed.expect("a response in time"), BTreeSet::new());
    assert_stored(&consumer.database, &sent, "although pushes hang").await;
}
