//! The fault matrix: every fault of the table and of the sockets, in every situation in which it can happen.
//! The rows are data, a situation is a function, and each cell that fails is named.
//!
//! In every cell the fault is there first, then it is lifted, and whoever was told to come back comes back.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::{Duration, SystemTime},
};

use aws_sdk_dynamodb::types::AttributeValue;
use e2e::{
    database::{CONNECTIONS, Database, MESSAGES},
    events::{batch, delivered, get, put, read, receipt, record, request},
    pushes::{PushFault, Pushes},
    stack::eventually,
};
use fault_proxy::Fault;
use intake::rest::Responses;
use queue_consumer::Consumer;
use serde_json::{Value, json};
use status_lookup::StatusLookup;
use sync_insert::SyncInsert;
use tokio::{
    sync::Semaphore,
    task::{JoinSet, LocalSet},
    time::{Instant, timeout_at},
};
use websocket::WebSocket;

use crate::queue_consumer::{Bench, MAX_RECEIVE_COUNT, connect, connected, consumer_of};

/// How long an attempt at storing a part of a batch may take. Single requests and pushes have a second.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);

/// Longer than any attempt may take.
const TOO_LATE: Duration = Duration::from_secs(3);

/// The seconds that a batch has if its fault ends before them, and if it does not.
pub(crate) const PLENTY: u64 = 60;
const SHORT: u64 = 3;

/// A fault of the table, and what has become of a request when whoever made it is answered.
#[derive(Clone, Copy, Debug)]
struct Row {
    name: &'static str,
    fault: Fault,
    lasts: Lasts,
    one: Then,
    batch: Then,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lasts {
    /// Until it is lifted.
    On,
    /// For two requests.
    Twice,
    /// Until it is lifted, for half of the requests, at random.
    Half,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// It took effect, and is answered as done.
    Done,
    /// It did not take effect, and is not answered as done.
    Nothing,
    /// It took effect, at least in part, but nobody could know.
    Unknown,
    /// In a batch: for some it is done, and for the others nothing.
    Parts,
    /// Done or nothing: chance decides.
    Either,
}

const fn row(name: &'static str, fault: Fault, lasts: Lasts, one: Then, batch: Then) -> Row {
    Row { name, fault, lasts, one, batch }
}

/// A batch has time for more attempts than a single request.
#[rustfmt::skip]
const ROWS: [Row; 16] = [
    //  fault                                                              one request    a batch
    row("none",                     Fault::None,               Lasts::On,    Then::Done,    Then::Done),
    row("throttle twice",           Fault::Throttle,           Lasts::Twice, Then::Done,    Then::Done),
    row("throttle half",            Fault::Throttle,           Lasts::Half,  Then::Either,  Then::Done),
    row("throttle all",             Fault::Throttle,           Lasts::On,    Then::Nothing, Then::Nothing),
    row("throttle statements twice", Fault::ThrottleStatements, Lasts::Twice, Then::Done,    Then::Done),
    row("throttle statements",      Fault::ThrottleStatements, Lasts::On,    Then::Done,    Then::Parts),
    row("500 twice",                Fault::ServerError,        Lasts::Twice, Then::Done,    Then::Done),
    row("500",                      Fault::ServerError,        Lasts::On,    Then::Nothing, Then::Nothing),
    row("cut before twice",         Fault::CutBefore,          Lasts::Twice, Then::Done,    Then::Done),
    row("cut before",               Fault::CutBefore,          Lasts::On,    Then::Nothing, Then::Nothing),
    row("cut after twice",          Fault::CutAfter,           Lasts::Twice, Then::Done,    Then::Done),
    row("cut after",                Fault::CutAfter,           Lasts::On,    Then::Unknown, Then::Unknown),
    row("late twice",               Fault::Late(TOO_LATE),     Lasts::Twice, Then::Done,    Then::Done),
    row("late",                     Fault::Late(TOO_LATE),     Lasts::On,    Then::Unknown, Then::Unknown),
    row("hang twice",               Fault::Hang,               Lasts::Twice, Then::Done,    Then::Done),
    row("hang",                     Fault::Hang,               Lasts::On,    Then::Nothing, Then::Nothing),
];

/// A fault of a socket's pushes, and what its owner hears on that socket.
#[derive(Clone, Copy, Debug)]
struct PushRow {
    name: &'static str,
    fault: PushFault,
    times: usize,
    hears: Hears,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hears {
    Everything,
    Nothing,
    /// And the note of the connection is removed.
    NothingEver,
}

const fn push_row(name: &'static str, fault: PushFault, times: usize, hears: Hears) -> PushRow {
    PushRow { name, fault, times, hears }
}

const ON: usize = usize::MAX;

#[rustfmt::skip]
const PUSH_ROWS: [PushRow; 13] = [
    push_row("410 gone",         PushFault::Status(410),      ON, Hears::NothingEver),
    push_row("403",              PushFault::Status(403),      ON, Hears::Nothing),
    push_row("429 twice",        PushFault::Status(429),      2,  Hears::Everything),
    push_row("429",              PushFault::Status(429),      ON, Hears::Nothing),
    push_row("500 twice",        PushFault::Status(500),      2,  Hears::Everything),
    push_row("500",              PushFault::Status(500),      ON, Hears::Nothing),
    push_row("cut before twice", PushFault::CutBefore,        2,  Hears::Everything),
    push_row("cut before",       PushFault::CutBefore,        ON, Hears::Nothing),
    push_row("cut after",        PushFault::CutAfter,         ON, Hears::Everything),
    push_row("late twice",       PushFault::Delay(TOO_LATE),  2,  Hears::Everything),
    push_row("late",             PushFault::Delay(TOO_LATE),  ON, Hears::Everything),
    push_row("hang twice",       PushFault::Hang,             2,  Hears::Everything),
    push_row("hang",             PushFault::Hang,             ON, Hears::Nothing),
];

/// Plays one situation with every row, `at_once` of them side by side, and names the cells that fail.
async fn each<R: Copy, C: Future<Output = ()> + 'static>(
    situation: &str,
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
        let playing = async move {
            let _turn = turns.acquire().await.expect("never closed");
            cell.await;
        };
        names.insert(cells.spawn_local_on(playing, &local).id(), name(row));
    }
    let mut failed = Vec::new();
    while let Some(ended) = local.run_until(cells.join_next_with_id()).await {
        let Err(error) = ended else { continue };
        let name = names[&error.id()];
        let panic = error.into_panic();
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or_default();
        failed.push(format!("{situation} × {name}: {text}"));
    }
    assert!(failed.is_empty(), "{} of {} cells:\n{}", failed.len(), rows.len(), failed.join("\n"));
}

async fn each_fault<C: Future<Output = ()> + 'static>(
    situation: &str,
    at_once: usize,
    cell: impl Fn(Row) -> C,
) {
    each(situation, &ROWS, |row| row.name, at_once, cell).await;
}

impl Row {
    fn begins(&self, database: &Database) {
        match self.lasts {
            Lasts::On => database.faults.always(self.fault),
            Lasts::Twice => database.faults.next([self.fault; 2]),
            Lasts::Half => database.faults.sometimes(0.5, self.fault, 1),
        }
    }

    /// Whether everybody is told what is settled. With every second request throttled, the connections may not
    /// be found; and once the time for storing is used up, little is left for telling.
    fn tells_all(&self) -> bool {
        self.lasts != Lasts::Half && self.batch != Then::Parts
    }

    /// The seconds that a batch has.
    fn seconds(&self) -> u64 {
        if self.batch == Then::Done { PLENTY } else { SHORT }
    }

    /// Waits until what is on its way has taken effect.
    async fn settles(&self, database: &Database) {
        eventually("nothing to be under way", async || match database.faults.under_way() {
            0 => Ok(()),
            busy => Err(busy),
        })
        .await;
    }
}

/// A message through the queue.
pub(crate) struct Sent {
    pub(crate) number: usize,
    pub(crate) owner: &'static str,
    pub(crate) id: String,
    pub(crate) body: String,
}

impl Sent {
    /// Messages of two owners, who use the same ids. No reader could write them in the same way again.
    pub(crate) fn many(count: usize) -> Vec<Self> {
        let one = |number| Self {
            number,
            owner: if number % 2 == 0 { "alice" } else { "bob" },
            id: format!("m-{}", number / 2),
            body: format!("{{\"z\": {number}.50, \"a\":\"\\u00e9é😀&=%2B\",\"a\":1e2 }}"),
        };
        (0..count).map(one).collect()
    }

    pub(crate) fn record(&self, delivery: u32) -> Value {
        delivered(record(self.number, self.owner, &self.id, &self.body), delivery)
    }

    /// Whether the table has exactly this message as stored.
    pub(crate) fn is_stored(&self, items: &Items) -> bool {
        self.is("stored", items)
    }

    /// Whether the table has exactly this message in this state.
    fn is(&self, status: &str, items: &Items) -> bool {
        let Some(item) = items.get(&self.key()) else { return false };
        let has = |name: &str, value: &str| item.get(name) == Some(&AttributeValue::S(value.to_owned()));
        has("status", status)
            && has("payload", &self.body)
            && has("receipt", &receipt(self.number))
            && has("via", "queue")
            && item.contains_key("reason") == (status != "stored")
    }

    fn key(&self) -> String {
        format!("{}#{}", self.id, self.owner)
    }
}

/// The table of messages.
pub(crate) type Items = HashMap<String, HashMap<String, AttributeValue>>;

pub(crate) async fn items(database: &Database) -> Items {
    let items = database.items(MESSAGES).await;
    items.into_iter().map(|item| (item["pk"].as_s().expect("text").clone(), item)).collect()
}

/// A bench whose consumer gives its attempts [`ATTEMPT_TIMEOUT`].
pub(crate) async fn patient() -> Bench {
    let bench = Bench::start().await;
    let messages = bench.database.messages_within(ATTEMPT_TIMEOUT);
    let consumer = consumer_of(messages, &bench.database, &bench.pushes);
    Bench { consumer, ..bench }
}

pub(crate) async fn deliver(consumer: &Consumer, records: &[Value], seconds: u64) -> HashSet<String> {
    let deadline = SystemTime::now() + Duration::from_secs(seconds);
    let answer = consumer.handle(batch(records), deadline).await;
    let failures: Vec<_> =
        answer.batch_item_failures.into_iter().map(|failure| failure.item_identifier).collect();
    let count = failures.len();
    let failures: HashSet<_> = failures.into_iter().collect();
    assert_eq!(failures.len(), count, "none is reported twice");
    failures
}

/// What the sockets of the owners were told: the receipt and the last word of the event's type, each event
/// once. Fails if anybody was told of a message of another.
pub(crate) fn told(pushes: &Pushes, sent: &[Sent]) -> BTreeSet<(String, String)> {
    let mut all = BTreeSet::new();
    let sent: HashMap<_, _> = sent.iter().map(|sent| (receipt(sent.number), sent)).collect();
    for owner in ["alice", "bob"] {
        for event in pushes.events(&format!("{owner}-1")) {
            let receipt = event["data"]["receipt"].as_str().expect("text").to_owned();
            let kind = event["type"].as_str().expect("text").trim_start_matches("intake.message.").to_owned();
            let sent = sent[&receipt];
            assert_eq!((sent.owner, json!(sent.id)), (owner, event["subject"].clone()));
            assert_eq!(event["id"], format!("{receipt}:{kind}"));
            all.insert((receipt, kind));
        }
    }
    all
}

async fn batch_of(count: usize, row: Row) {
    let Bench { database, pushes, consumer } = patient().await;
    let sent = Sent::many(count);

    row.begins(&database);
    let records: Vec<_> = sent.iter().map(|sent| sent.record(1)).collect();
    let failures = deliver(&consumer, &records, row.seconds()).await;
    row.settles(&database).await;

    let before = items(&database).await;
    let told_before = told(&pushes, &sent);
    for sent in &sent {
        let (receipt, stored) = (receipt(sent.number), sent.is_stored(&before));
        let reported = failures.contains(&receipt);
        assert!(stored || reported, "{} is neither stored nor reported", sent.id);
        assert!(stored || !before.contains_key(&sent.key()), "{} is there otherwise than sent", sent.id);
        let told = told_before.contains(&(receipt, "stored".to_owned()));
        assert!(!told || !reported, "{} is told as stored, and reported", sent.id);
        assert!(told || reported || !row.tells_all(), "{} is settled, and not told", sent.id);
    }
    assert!(told_before.iter().all(|(_, kind)| kind == "stored"), "{told_before:?}");
    match row.batch {
        Then::Done => assert_eq!(failures, HashSet::new()),
        Then::Nothing => assert!(before.is_empty(), "{} are stored", before.len()),
        Then::Unknown => assert!(failures.len() == count && !before.is_empty()),
        Then::Parts => assert!(!failures.is_empty() && failures.len() < count),
        Then::Either => panic!("not in a batch"),
    }

    database.faults.always(Fault::None);
    let again: Vec<_> = sent
        .iter()
        .filter(|sent| failures.contains(&receipt(sent.number)))
        .map(|sent| sent.record(2))
        .collect();
    assert_eq!(deliver(&consumer, &again, PLENTY).await, HashSet::new(), "once nothing goes wrong any more");
    let after = items(&database).await;
    assert!(sent.iter().all(|sent| sent.is_stored(&after)));
    assert_eq!(after.len(), count);
    assert!(before.iter().all(|(key, item)| after[key] == *item), "what was stored is touched");
    let told = told(&pushes, &sent);
    assert!(told.iter().all(|(_, kind)| kind == "stored"), "{told:?}");
    assert!(told.len() == count || !row.tells_all(), "{} are told", told.len());
}

#[tokio::test]
async fn a_batch_of_10() {
    each_fault("batch of 10", ROWS.len(), |row| batch_of(10, row)).await;
}

#[tokio::test]
async fn a_batch_of_100() {
    each_fault("batch of 100", 8, |row| batch_of(100, row)).await;
}

#[tokio::test]
async fn a_batch_of_1000() {
    each_fault("batch of 1,000", 3, |row| batch_of(1_000, row)).await;
}

#[tokio::test]
async fn the_last_delivery_of_a_batch() {
    each_fault("last delivery", ROWS.len(), |row| async move {
        let Bench { database, pushes, consumer } = patient().await;
        let sent = Sent::many(10);

        row.begins(&database);
        let records: Vec<_> = sent.iter().map(|sent| sent.record(MAX_RECEIVE_COUNT)).collect();
        let failures = deliver(&consumer, &records, row.seconds()).await;
        row.settles(&database).await;

        let before = items(&database).await;
        let told_before = told(&pushes, &sent);
        for sent in &sent {
            let receipt = receipt(sent.number);
            let (stored, failed) = (sent.is_stored(&before), sent.is("failed", &before));
            let reported = failures.contains(&receipt);
            assert!(stored || reported, "{} is neither stored nor a dead letter", sent.id);
            assert!(stored || failed || !before.contains_key(&sent.key()), "{} is altered", sent.id);
            let told = |kind: &str| told_before.contains(&(receipt.clone(), kind.to_owned()));
            assert!(!told("stored") || (stored && !reported), "{} is not stored", sent.id);
            assert!(!told("failed") || reported, "{} is no dead letter", sent.id);
            assert!(!told("conflict") && !told("rejected"));
        }
        match row.batch {
            Then::Done => assert_eq!(failures, HashSet::new()),
            Then::Parts => assert!(failures.len() < sent.len()),
            _ => assert_eq!(failures.len(), sent.len()),
        }

        // An operator puts the dead letters back.
        database.faults.always(Fault::None);
        let again: Vec<_> = sent
            .iter()
            .filter(|sent| failures.contains(&receipt(sent.number)))
            .map(|sent| sent.record(1))
            .collect();
        assert_eq!(deliver(&consumer, &again, PLENTY).await, HashSet::new());
        let after = items(&database).await;
        assert!(sent.iter().all(|sent| sent.is_stored(&after)));
        let told = told(&pushes, &sent);
        let stored = told.iter().filter(|(_, kind)| kind == "stored").count();
        assert!(stored == sent.len() || !row.tells_all(), "{told:?}");
    })
    .await;
}

#[tokio::test]
async fn a_sync_insert() {
    each_fault("sync insert", ROWS.len(), |row| async move {
        let database = Database::start().await;
        let function = SyncInsert::new(database.messages(), Responses::new("*").expect("an origin"));
        let body = r#"{"n": 1.0, "a":"\u00e9"}"#;
        let send = async || {
            let answer = function.handle(request(&put("alice", "m-1", body))).await.expect("an answer");
            (answer.status().as_u16(), answer.headers().contains_key("retry-after"))
        };
        let is_stored = async || {
            let payload = database.text("alice", "m-1", "payload").await;
            let count = database.count(MESSAGES).await;
            assert!(
                (payload.as_str(), count) == (body, 1) || (payload.is_empty() && count == 0),
                "{payload}"
            );
            !payload.is_empty() && database.text("alice", "m-1", "status").await == "stored"
        };

        row.begins(&database);
        let (status, comes_back) = send().await;
        row.settles(&database).await;
        let stored = is_stored().await;
        let confirmed = matches!(status, 200 | 201);
        assert!(confirmed || (status == 503 && comes_back), "{status}");
        assert!(!confirmed || stored, "{status}, but it is not stored");
        match row.one {
            Then::Done => assert!(confirmed, "{status}"),
            Then::Nothing => assert!(!confirmed && !stored, "{status}"),
            Then::Unknown => assert!(!confirmed && stored, "{status}"),
            Then::Either => {}
            Then::Parts => panic!("of one request there are no parts"),
        }

        database.faults.always(Fault::None);
        let first = database.item("alice", "m-1").await;
        let (status, _) = send().await;
        assert_eq!(status, if stored { 200 } else { 201 }, "sent again");
        assert!(is_stored().await);
        assert!(!stored || database.item("alice", "m-1").await == first, "it is touched");
    })
    .await;
}

#[tokio::test]
async fn a_status_lookup() {
    each_fault("status look-up", ROWS.len(), |row| async move {
        let database = Database::start().await;
        let answers = Responses::new("*").expect("an origin");
        let body = r#"{"n": 1.0, "a":"\u00e9"}"#;
        let insert = SyncInsert::new(database.messages(), answers.clone());
        insert.handle(request(&put("alice", "m-1", body))).await.expect("an answer");
        let there = database.item("alice", "m-1").await.expect("stored");
        let function = StatusLookup::new(database.messages(), answers);
        let ask = async |receipt: Option<&str>| {
            let answer = function.handle(request(&get("alice", "m-1", receipt))).await.expect("an answer");
            let text = String::from_utf8(answer.body().to_vec()).expect("text");
            assert!(answer.status() != 200 || text.contains(body), "{text}");
            answer.status().as_u16()
        };

        // With a receipt, too, what is stored is never said to be unknown or queued.
        let receipt = receipt(1);
        for receipt in [None, Some(receipt.as_str())] {
            row.begins(&database);
            let status = ask(receipt).await;
            match row.one {
                Then::Done => assert_eq!(status, 200),
                Then::Nothing | Then::Unknown => assert_eq!(status, 503),
                Then::Either => assert!(matches!(status, 200 | 503), "{status}"),
                Then::Parts => panic!("of one request there are no parts"),
            }
            row.settles(&database).await;
            database.faults.always(Fault::None);
            assert_eq!(ask(receipt).await, 200);
        }
        assert_eq!(database.item("alice", "m-1").await, Some(there));
    })
    .await;
}

#[tokio::test]
async fn a_connect() {
    each_fault("connect", ROWS.len(), |row| async move {
        let database = Database::start().await;
        let function = WebSocket::new(database.connections());
        let open = async |connection_id: &str| {
            let mut event = read(include_str!("../../events/websocket-connect.json"));
            event["requestContext"]["connectionId"] = json!(connection_id);
            let event = serde_json::from_value(event).expect("an event");
            json!(function.handle(event).await.expect("an answer"))["statusCode"].clone()
        };

        row.begins(&database);
        let status = open("first").await;
        row.settles(&database).await;
        let noted = database.count(CONNECTIONS).await == 1;
        let opened = status == 200;
        assert!(opened || status == 503, "{status}");
        assert!(!opened || noted, "a socket is open that nobody knows of");
        match row.one {
            Then::Done => assert!(opened, "{status}"),
            Then::Nothing => assert!(!opened && !noted, "{status}"),
            // The note of a socket that never opened: the first push finds it gone.
            Then::Unknown => assert!(!opened && noted, "{status}"),
            Then::Either => {}
            Then::Parts => panic!("of one request there are no parts"),
        }

        database.faults.always(Fault::None);
        assert_eq!(open("second").await, 200);
        assert_eq!(database.count(CONNECTIONS).await, 1 + usize::from(noted));
        assert_eq!(database.count(MESSAGES).await, 0);
    })
    .await;
}

/// The table of connections fails, and nothing else.
#[tokio::test]
async fn a_notification_whose_receivers_have_to_be_found() {
    each_fault("finding the sockets", ROWS.len(), |row| async move {
        let Bench { database, pushes, consumer } = patient().await;
        let sent = Sent::many(10);

        database.faults.only("Query");
        row.begins(&database);
        let records: Vec<_> = sent.iter().map(|sent| sent.record(1)).collect();
        let failures = deliver(&consumer, &records, 30).await;
        assert_eq!(failures, HashSet::new(), "a push never fails a message");
        let items = items(&database).await;
        assert!(sent.iter().all(|sent| sent.is_stored(&items)));
        let told = told(&pushes, &sent).len();
        match row.one {
            Then::Done => assert_eq!(told, sent.len()),
            Then::Nothing | Then::Unknown => assert_eq!(told, 0),
            Then::Either => {}
            Then::Parts => panic!("of one request there are no parts"),
        }
    })
    .await;
}

/// More connections than are pushed to at once fail. The owner's others, and the other owner's, do not.
#[tokio::test]
async fn a_notification_of_sockets_some_of_which_fail() {
    const FAILING: [&str; 6] = ["alice-2", "alice-3", "alice-4", "alice-5", "alice-6", "alice-7"];
    each(
        "notification",
        &PUSH_ROWS,
        |row| row.name,
        PUSH_ROWS.len(),
        |row| async move {
            let Bench { database, pushes, consumer } = patient().await;
            for connection_id in [FAILING.as_slice(), &["alice-9"]].concat() {
                connect(&database, "alice", connection_id).await;
            }
            let sent = Sent::many(10);

            FAILING.iter().for_each(|id| pushes.fail(id, row.fault, row.times));
            let records: Vec<_> = sent.iter().map(|sent| sent.record(1)).collect();
            assert_eq!(
                deliver(&consumer, &records, 30).await,
                HashSet::new(),
                "a push never fails a message"
            );
            let items = items(&database).await;
            assert!(sent.iter().all(|sent| sent.is_stored(&items)));

            assert_eq!(told(&pushes, &sent).len(), sent.len());
            assert_eq!(pushes.events("alice-1").len(), 5, "once");
            assert_eq!(pushes.events("alice-9"), pushes.events("alice-1"), "whatever happens to others");
            for id in FAILING {
                let heard: HashSet<_> =
                    pushes.events(id).iter().map(|event| event["id"].to_string()).collect();
                assert_eq!(heard.len(), if row.hears == Hears::Everything { 5 } else { 0 }, "{id}");
            }
            let left = if row.hears == Hears::NothingEver { 2 } else { 2 + FAILING.len() };
            assert_eq!(connected(&database, "alice").await.len(), left);
            assert_eq!(database.count(CONNECTIONS).await, left + 1, "and bob's");
        },
    )
    .await;
}

/// No push is answered any more. The batch is, before Lambda would kill the consumer.
#[tokio::test]
async fn pushes_that_hang_leave_time_for_the_answer() {
    let Bench { database, pushes, consumer } = patient().await;
    for number in 1..=100 {
        let id = format!("alice-{number}");
        connect(&database, "alice", &id).await;
        pushes.fail(&id, PushFault::Hang, ON);
    }
    let sent = Sent::many(10);
    let records: Vec<_> = sent.iter().map(|sent| sent.record(1)).collect();
    let killed = Instant::now() + Duration::from_secs(10);
    let failures = timeout_at(killed, deliver(&consumer, &records, 10)).await.expect("an answer in time");
    assert_eq!(failures, HashSet::new());
    let items = items(&database).await;
    assert!(sent.iter().all(|sent| sent.is_stored(&items)));
}
