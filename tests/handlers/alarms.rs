//! Which alarm rings for which fault, and how soon: the metrics of each fault are played through the alarms of
//! `template.yaml` by CloudWatch's rules, and what rings is compared with the table in `docs/operations.md`.
//!
//! What the functions write is captured from their handlers. What AWS writes follows from what it documents: an error
//! of a function, a `5xx` of the gateway, and a sample of each queue every minute.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use authorizer::{Authorizer, key_source::KeySource};
use dead_letter_recorder::DeadLetterRecorder;
use fault_proxy::Fault;
use intake_platform::push::Push;
use lambda_runtime::{Context, LambdaEvent};
use serde_json::{Value, json};
use websocket::WebSocket;

use crate::{
    authorizer::signing::{SigningKey, claims, verifier},
    fixtures::{
        captured,
        consumer::{AMPLE_TIME, MAX_RECEIVE_COUNT, TestConsumer},
        database::Database,
        events::{delivered, read, record},
        pushes::PushFault,
        queue::Queue,
    },
    queue_consumer::without_attribute,
};

mod cloudwatch;

use cloudwatch::{Alarm, Metric, Sample};

const TEMPLATE: &str = include_str!("../../template.yaml");
const OPERATIONS: &str = include_str!("../../docs/operations.md");
const RELIABILITY: &str = include_str!("../../docs/reliability.md");

const MINUTE: i64 = 60;

/// When a fault begins. Before, all is well.
const BEGIN: i64 = 60 * MINUTE;

/// How long it is observed.
const OBSERVED: i64 = 15 * MINUTE;

/// How long the consumer tries to store a batch while the table is throttled.
const STORING: i64 = 21;

const CONSUMER: &str = "QueueConsumerFunction";
const RECORDER: &str = "DeadLetterRecorderFunction";
const AUTHORIZER: &str = "AuthorizerFunction";
const WEBSOCKET: &str = "WebSocketFunction";

const BODY: &str = r#"{"a":1}"#;

/// What each captured invocation has written: its function, and the metrics.
type Captured = BTreeMap<String, Vec<(Metric, f64)>>;

/// The metrics of one fault, in the order of time.
#[derive(Clone)]
struct Play<'a> {
    captured: &'a Captured,
    begin: i64,
    samples: Vec<Sample>,
}

impl Play<'_> {
    /// An invocation of a function ends so many seconds after the beginning.
    fn invoked(mut self, after: i64, name: &str) -> Self {
        let at = self.begin + after;
        let written = self.captured.get(name).unwrap_or_else(|| panic!("{name} was not captured"));
        self.samples.extend(written.iter().map(|(metric, value)| Sample {
            at,
            metric: metric.clone(),
            value: *value,
        }));
        self
    }

    /// The same at several times.
    fn invoked_at(self, times: impl IntoIterator<Item = i64>, name: &str) -> Self {
        times.into_iter().fold(self, |play, after| play.invoked(after, name))
    }

    /// AWS writes a value.
    fn aws(mut self, after: i64, namespace: &str, name: &str, of: &str, value: f64) -> Self {
        let metric = Metric { namespace: namespace.into(), name: name.into(), of: of.into() };
        self.samples.push(Sample { at: self.begin + after, metric, value });
        self
    }

    /// A function ends with an error at these times.
    fn errors(self, times: impl IntoIterator<Item = i64>, function: &str) -> Self {
        times.into_iter().fold(self, |play, after| play.aws(after, "AWS/Lambda", "Errors", function, 1.0))
    }

    /// From a time on, the dead-letter queue has so many messages when it is sampled: these visible, those hidden.
    fn letters(self, from: i64, visible: f64, hidden: f64) -> Self {
        let first = (self.begin + from).div_euclid(MINUTE) * MINUTE + 30 - self.begin;
        let sampled = (first..OBSERVED).step_by(60).filter(|after| *after >= from);
        sampled.fold(self, |play, after| {
            play.aws(after, "AWS/SQS", "ApproximateNumberOfMessagesVisible", "DeadLetterQueue", visible).aws(
                after,
                "AWS/SQS",
                "ApproximateNumberOfMessagesNotVisible",
                "DeadLetterQueue",
                hidden,
            )
        })
    }

    /// The gateway responds to two requests a second: with `5xx` to all from the beginning, and to none before.
    fn responses(self) -> Self {
        (-BEGIN / 2..OBSERVED).fold(self, |play, after| {
            let value = if after < 0 { 0.0 } else { 1.0 };
            play.aws(after, "AWS/ApiGateway", "5XXError", "AWS::StackName", value)
        })
    }
}

/// When the deliveries of a message end that all fail after `storing` seconds. Each hides the message for twice as long as
/// the one before, and for `random` of that in addition.
fn deliveries(storing: i64, random: f64) -> Vec<i64> {
    let mut ends = vec![storing];
    let mut hidden = parameter("RedeliveryDelaySeconds");
    while let Some(end) = ends.last().copied().filter(|end| *end < OBSERVED) {
        ends.push(end + (hidden as f64 * (1.0 + random)) as i64 + storing);
        hidden *= 2;
    }
    ends
}

/// A message that keeps failing, alone: at once, or while the table is throttled, whatever the random part of the delays.
fn lone<'a>(play: &Play<'a>, name: &str) -> Vec<Play<'a>> {
    let cases =
        [0, STORING].into_iter().flat_map(|storing| [0.0, 0.125, 0.25].map(|random| (storing, random)));
    cases.map(|(storing, random)| play.clone().invoked_at(deliveries(storing, random), name)).collect()
}

fn every_minute(until: i64) -> impl Iterator<Item = i64> {
    (0..until).map(|minute| minute * MINUTE)
}

/// The default of a number that the template takes.
fn parameter(name: &str) -> i64 {
    let template: Value = serde_saphyr::from_str(TEMPLATE).expect("YAML");
    template["Parameters"][name]["Default"].as_i64().expect("a number")
}

/// Every fault, each as the different ways in which it shows.
fn faults<'a>(play: &Play<'a>) -> Vec<(&'static str, Vec<Play<'a>>)> {
    let play = || play.clone();
    let one = |play| vec![play];
    let timeout = parameter("VisibilityTimeoutSeconds");
    let killed = |duration: i64| {
        (0..).map(move |delivery| delivery * timeout + duration).take_while(|at| *at < OBSERVED)
    };
    let retried = || {
        let mut plays = lone(&play(), "a message is to be redelivered");
        plays.push(play().invoked_at(every_minute(15), "a message is to be redelivered"));
        plays
    };
    vec![
        ("the table is throttled or unavailable, synchronous request", one(play().responses())),
        ("the table is throttled or unavailable, queue", retried()),
        (
            "the table is throttled or unavailable until the last delivery",
            one(play().invoked(0, "a message has failed").letters(0, 1.0, 0.0)),
        ),
        (
            "the same, while older dead letters wait",
            one(play().letters(-BEGIN, 3.0, 0.0).invoked(0, "a message has failed").letters(0, 1.0, 0.0)),
        ),
        ("dead letters are hidden whenever SQS counts", one(play().letters(0, 0.0, 1.0))),
        (
            "a write takes effect and its response is lost",
            one(play().invoked_at(every_minute(15), "a response was lost")),
        ),
        (
            "one record of a batch is not a valid message",
            one(play().invoked_at(every_minute(15), "a message is rejected")),
        ),
        (
            "one record has no id, no valid owner or no valid receipt (an *unattributed record*: it was not sent through the API)",
            lone(&play(), "an unattributed record"),
        ),
        // Without its receive count, it is left to the visibility timeout.
        ("parsing one record panics", one(play().invoked_at(killed(0), "an unattributed record"))),
        (
            "the consumer is killed, or runs out of memory or time",
            [0, 30].map(|duration| play().errors(killed(duration), CONSUMER)).into(),
        ),
        ("the same once or twice", [1, 2].map(|times| play().errors(killed(0).take(times), CONSUMER)).into()),
        (
            "a record that failed cannot be hidden",
            one(play().invoked_at(killed(STORING), "a message is to be redelivered")),
        ),
        ("the outcome cannot be written under its receipt (`not settled` in the log)", retried()),
        (
            "the consumer is killed in a last delivery, or the table is unavailable then",
            one(play()
                .errors([0], CONSUMER)
                .letters(0, 1.0, 0.0)
                .invoked(MINUTE, "the recorder finds a failure")),
        ),
        ("the dead-letter recorder fails", one(play().errors(every_minute(15), RECORDER))),
        ("SQS is throttled or unavailable", one(play().responses())),
        ("a WebSocket is gone", one(play().invoked_at(every_minute(15), "a socket is gone"))),
        ("a WebSocket is still opening when it is notified", one(play().invoked(0, "a push failed"))),
        ("pushes fail", one(play().invoked_at((0..OBSERVED).step_by(10), "a push failed"))),
        ("notifications take too long", one(play().invoked_at(every_minute(15), "pushes are skipped"))),
        (
            "the issuer's key set cannot be fetched",
            one(play().invoked_at(every_minute(15), "keys are not fetched")),
        ),
        (
            "the same, and no keys are known any more",
            one(play().invoked_at(every_minute(15), "a token is not verified")),
        ),
        (
            "more messages arrive than are stored",
            one((0..OBSERVED).step_by(60).fold(play(), |play, after| {
                play.aws(after, "AWS/SQS", "ApproximateAgeOfOldestMessage", "Queue", after as f64)
            })),
        ),
        (
            "Lambda throttles the consumer",
            one((0..OBSERVED)
                .step_by(10)
                .fold(play(), |play, after| play.aws(after, "AWS/Lambda", "Throttles", CONSUMER, 1.0))),
        ),
        ("the WebSocket function fails", one(play().errors(every_minute(15), WEBSOCKET))),
        (
            "the table of connections cannot be written",
            one(play().invoked_at(every_minute(15), "a socket is not opened")),
        ),
    ]
}

/// The rows of the table under a heading of a document that begins with this cell, without the first two.
fn rows(document: &'static str, first: &str) -> Vec<Vec<&'static str>> {
    let lines = document.lines().skip_while(|line| !line.starts_with(&format!("| {first} |")));
    let rows = lines.take_while(|line| line.starts_with('|')).skip(2);
    rows.map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect()).collect()
}

/// The alarms that a table's row names, each with the minutes in parentheses behind it.
fn documented(cell: &str) -> BTreeMap<String, i64> {
    let named = cell.split('`').skip(1).step_by(2);
    let minutes = cell.split('`').skip(2).step_by(2).map(|rest| {
        let number = rest.trim_start().strip_prefix('(').and_then(|rest| rest.split([')', ' ']).next());
        number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{cell}: no minutes"))
    });
    named.map(str::to_owned).zip(minutes).collect()
}

#[test]
fn every_fault_rings_the_alarms_of_its_row_within_its_minutes() {
    let captured = captured();
    let alarms = Alarm::all(TEMPLATE);
    let table = rows(OPERATIONS, "fault");
    let documented: BTreeMap<_, _> = table.iter().map(|row| (row[0], documented(row[1]))).collect();
    let mut wrong = Vec::new();
    let mut ringing = BTreeSet::new();
    let mut played = BTreeSet::new();
    // Wherever in a minute it begins.
    let mut latest = BTreeMap::<_, Vec<BTreeMap<String, i64>>>::new();
    for phase in [0, 7, 20, 35, 59] {
        let quiet = Play { captured: &captured, begin: BEGIN + phase, samples: Vec::new() };
        for (fault, plays) in faults(&quiet) {
            let _ = played.insert(fault);
            let rung = plays.iter().map(|play| {
                let rings = |alarm: &Alarm| {
                    let rings = alarm.rings(&play.samples, BEGIN + OBSERVED);
                    rings.into_iter().find(|at| *at >= play.begin).map(|at| (at - play.begin + 59) / MINUTE)
                };
                alarms.iter().filter_map(|alarm| Some((alarm.name.clone(), rings(alarm)?))).collect()
            });
            latest.entry(fault).or_default().extend(rung);
        }
    }
    for (fault, rung) in latest {
        let names: BTreeSet<_> = rung.iter().flat_map(BTreeMap::keys).collect();
        ringing.extend(names.iter().map(|name| (*name).clone()));
        // None, if it rings only sometimes.
        let within = |name| {
            rung.iter()
                .map(|rung: &BTreeMap<_, _>| rung.get(name).copied())
                .max_by_key(|at| at.unwrap_or(i64::MAX))
        };
        let rung: BTreeMap<_, _> =
            names.iter().map(|name| ((*name).clone(), within(*name).flatten())).collect();
        let expected = documented.get(fault).cloned().unwrap_or_default();
        let expected: BTreeMap<_, _> =
            expected.into_iter().map(|(name, minutes)| (name, Some(minutes))).collect();
        if rung != expected {
            wrong.push(format!("{fault}\n    rings:      {rung:?}\n    documented: {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let of_the_table: BTreeSet<_> = documented.keys().copied().collect();
    assert_eq!(of_the_table, played, "the faults of the table, and those that are played");
    for row in rows(RELIABILITY, "fault") {
        assert!(
            played.contains(row[0]),
            "docs/operations.md has no alarm for {:?}, and no reason for none",
            row[0]
        );
    }
    for alarm in &alarms {
        assert!(ringing.contains(&alarm.name), "{} rings for no fault", alarm.name);
        assert!(OPERATIONS.contains(&format!("### {}", alarm.name)), "{} is not in the runbook", alarm.name);
        assert!(
            TEMPLATE.contains(&format!("${{{}.Arn}}", alarm.name)),
            "{} is not on the dashboard",
            alarm.name
        );
    }
    let written: Vec<_> = captured.values().flatten().map(|(metric, _)| metric).collect();
    for (metric, _) in
        alarms.iter().flat_map(|alarm| &alarm.terms).filter(|(metric, _)| metric.namespace == "Intake")
    {
        assert!(written.contains(&metric), "no function writes {metric:?}");
    }
    for row in table {
        assert!(row[1].contains('`') || !row[2].is_empty(), "{}: why none?", row[0]);
    }
}

/// Runs the handlers in a process of their own, and reads their metrics.
fn captured() -> Captured {
    let mut captured = Captured::new();
    for (name, lines) in captured::run("alarms::invocations") {
        let Some((function, name)) = name.split_once(": ") else { continue };
        let metrics = captured.entry(name.to_owned()).or_default();
        for line in lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            for directive in line["_aws"]["CloudWatchMetrics"].as_array().into_iter().flatten() {
                for metric in directive["Metrics"].as_array().into_iter().flatten() {
                    let metric = metric["Name"].as_str().expect("a name");
                    let value = &line[metric];
                    let values = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
                    let sum = values.iter().filter_map(Value::as_f64).sum();
                    let namespace = directive["Namespace"].as_str().expect("a namespace").to_owned();
                    let metric = Metric { namespace, name: metric.to_owned(), of: function.to_owned() };
                    metrics.push((metric, sum));
                }
            }
        }
    }
    captured
}

#[tokio::test]
#[ignore = "it is the process of every_fault_rings_the_alarms_of_its_row_within_its_minutes"]
async fn invocations() {
    captured::captured(async {
        of_the_consumer().await;
        of_the_others().await;
    })
    .await;
}

fn capture(function: &str, what: &str) {
    captured::begin(&format!("{function}: {what}"));
}

async fn of_the_consumer() {
    let short = Duration::from_secs(5);
    let consumer = TestConsumer::start().await;
    let faults = &consumer.database.faults;
    let message = |number, id| record(number, "alice", id, BODY);

    capture(CONSUMER, "a message is to be redelivered");
    faults.always(Fault::Throttle);
    assert_eq!(consumer.consume_within(short, &[message(1, "retried")]).await.len(), 1);
    faults.always(Fault::None);

    capture(CONSUMER, "a message has failed");
    faults.next([Fault::Reject; 3]);
    assert_eq!(consumer.consume(&[delivered(message(2, "failed"), MAX_RECEIVE_COUNT)]).await.len(), 1);

    capture(CONSUMER, "a response was lost");
    faults.next([Fault::CutAfter]);
    assert!(consumer.consume(&[message(3, "lost")]).await.is_empty());

    capture(CONSUMER, "a message is rejected");
    assert!(consumer.consume(&[record(4, "alice", "rejected", "no JSON")]).await.is_empty());

    capture(CONSUMER, "an unattributed record");
    assert_eq!(consumer.consume(&[without_attribute(message(5, "unattributed"), "owner")]).await.len(), 1);

    capture(CONSUMER, "a socket is gone");
    consumer.pushes.always("alice-1", PushFault::Status(410));
    assert!(consumer.consume(&[message(6, "gone")]).await.is_empty());

    capture(CONSUMER, "a push failed");
    consumer.connect("alice", "alice-2").await;
    consumer.pushes.always("alice-2", PushFault::Status(403));
    assert!(consumer.consume(&[message(7, "not-notified")]).await.is_empty());

    let consumer = consumer.without_time_for_notifications();
    capture(CONSUMER, "pushes are skipped");
    assert!(consumer.consume(&[message(8, "skipped")]).await.is_empty());
}

async fn of_the_others() {
    let consumer = TestConsumer::start().await;
    let TestConsumer { database, pushes, .. } = &consumer;
    let queue = Queue::start(&[delivered(record(1, "alice", "dead", BODY), MAX_RECEIVE_COUNT + 1)]).await;
    let push = Push::new(database.aws(), &pushes.url(), database.connections(), AMPLE_TIME);
    let settler = database.settler(database.messages());
    let recorder =
        DeadLetterRecorder::new(queue.client(AMPLE_TIME), queue.url(), MAX_RECEIVE_COUNT, settler, push);
    capture(RECORDER, "the recorder finds a failure");
    recorder.handle(SystemTime::now() + AMPLE_TIME).await.expect("recorded");

    let database = Database::start().await;
    database.faults.always(Fault::Reject);
    capture(WEBSOCKET, "a socket is not opened");
    let function = WebSocket::new(database.connections(), 100, database.aws().clone(), "http://127.0.0.1:1");
    let event = serde_json::from_value(read(include_str!("../../events/websocket-connect.json")));
    let response = function.handle(event.expect("an event")).await.expect("a response");
    assert_eq!(json!(response)["statusCode"], 503);

    // Nothing listens there.
    let keys = || KeySource::remote("https://127.0.0.1:1/keys").expect("an address");
    capture(AUTHORIZER, "keys are not fetched");
    keys().warm_up(SystemTime::now()).await;
    capture(AUTHORIZER, "a token is not verified");
    let token = SigningKey::p256().token("key", &claims());
    let event = include_str!("../../events/authorizer-rest.json").replace("put.a-token.here", &token);
    let request = serde_json::from_str(&event).expect("an event");
    let authorizer = Authorizer::new(verifier(), keys());
    assert!(authorizer.handle(LambdaEvent::new(request, Context::default())).await.is_err());
}
