//! What the functions count. Metrics name no owner, so this test needs the stack for itself.

use std::{collections::BTreeMap, net::TcpListener};

use e2e::{
    events::record,
    stack::{Entry, Record, Response, Stack, eventually, processes_with, unique},
};
use intake_platform::metrics::{DIMENSION, Metric, NAMESPACE};
use reqwest::Method;
use serde_json::{Value, json};

const BODY: &str = r#"{"a":1}"#;
const FUNCTIONS: [&str; 5] = [
    "AuthorizerFunction",
    "QueueConsumerFunction",
    "StatusLookupFunction",
    "SyncInsertFunction",
    "WebSocketFunction",
];

/// The environment variable by which new processes are recognized.
const MARK: &str = "STARTED_FOR";

/// What each function has counted. Of times it is how many there are.
type Counts = BTreeMap<(String, &'static str), u64>;

#[tokio::test]
#[ignore = "counts all that the stack does: `cargo xtask test` runs it alone"]
async fn every_metric_is_what_was_sent() {
    let stack = Stack::running();
    let mut started = Vec::new();
    for function in FUNCTIONS {
        started.push(Started::with(&stack, function, &[]).await);
    }
    let before = stack.function_entries().len();
    let caller = stack.caller();
    let max_receive_count = u64::from(stack.max_receive_count());
    let mut expected = Expected::default();

    // Authorization: the gateway caches the response for the HTTP API.
    let mut socket = caller.connect().await;
    expected.add("WebSocketFunction", &[(Metric::Connected, 1)]);
    let forged = format!("{}x", caller.token);
    assert!(stack.handshake_rejection(&format!("?token={forged}")).await.is_some());
    let rejected =
        stack.request(Method::GET, "/messages/m").header("authorization", format!("Bearer {forged}"));
    assert_eq!(Response::to(rejected).await.status, 401);
    expected.add("AuthorizerFunction", &[(Metric::Allowed, 2), (Metric::Denied, 2)]);

    // The synchronous path.
    let id = unique("m");
    for (id, body, status) in
        [(&*id, BODY, 201), (&id, BODY, 200), (&id, r#"{"a":2}"#, 409), ("a.b", BODY, 400)]
    {
        let response = caller.put(id, body).await;
        assert_eq!(response.status, status, "{response:?}");
    }
    expected.add(
        "SyncInsertFunction",
        &[
            (Metric::Accepted, 3),
            (Metric::Stored, 1),
            (Metric::TimeToStored, 1),
            (Metric::Duplicate, 1),
            (Metric::Conflict, 1),
            (Metric::Rejected, 1),
        ],
    );
    assert_eq!(caller.look_up(&id).await.status, 200);

    // The queue path.
    let id = unique("q");
    caller.queued(&id, BODY).await;
    socket.notified("stored", &id).await;
    expected.outcome(&[(Metric::Stored, 1), (Metric::TimeToStored, 1), (Metric::Pushed, 1)]);
    caller.queued(&id, BODY).await;
    socket.notified("stored", &id).await;
    expected.outcome(&[(Metric::Duplicate, 1), (Metric::Pushed, 1)]);
    caller.queued(&id, r#"{"a":2}"#).await;
    socket.notified("conflict", &id).await;
    expected.outcome(&[(Metric::Conflict, 1), (Metric::Pushed, 1)]);
    let bad = unique("bad");
    stack.send(caller.record(&bad, "no JSON")).await;
    socket.notified("rejected", &bad).await;
    expected.outcome(&[(Metric::Rejected, 1), (Metric::Pushed, 1)]);
    stack.send(caller.record("a b", BODY)).await;
    socket.notified("rejected", "a b").await;
    expected.outcome(&[(Metric::Rejected, 1), (Metric::Pushed, 1)]);
    stack.add_gone_connection(&caller.name, "!gone").await;
    let id = unique("q");
    stack.send(caller.record(&id, BODY)).await;
    socket.notified("stored", &id).await;
    let stored = [(Metric::Stored, 1), (Metric::TimeToStored, 1), (Metric::Pushed, 1), (Metric::Gone, 1)];
    expected.outcome(&stored);

    // Up to the dead-letter queue: a message that cannot be stored, and an unattributed record.
    let blocked = unique("blocked");
    stack.block(&caller.name, &blocked).await;
    let receipt = stack.send(caller.record(&blocked, BODY)).await;
    socket.notified("failed", &blocked).await;
    stack.dead_letter(&receipt).await;
    let failed = [(Metric::Failed, 1), (Metric::Retried, max_receive_count - 1)];
    expected.outcome(&failed);
    expected.add("QueueConsumerFunction", &[(Metric::Pushed, 1)]);
    let unattributed = stack.send(Record::unattributed(BODY)).await;
    stack.dead_letter(&unattributed).await;
    expected.outcome(&failed);
    // Each redelivery is a batch of its own.
    expected.add("QueueConsumerFunction", &[(Metric::BatchSize, 2 * (max_receive_count - 1))]);

    // More times than one line may have, and more messages than the emulator delivers at once.
    let many: Vec<_> = (0..250).map(|number| record(number, &caller.name, &unique("many"), BODY)).collect();
    assert_eq!(stack.consume(&many).await, json!({ "batchItemFailures": [] }));
    let stored = [(Metric::Accepted, 250), (Metric::Stored, 250), (Metric::TimeToStored, 250)];
    expected.add("QueueConsumerFunction", &stored);
    expected.add("QueueConsumerFunction", &[(Metric::BatchSize, 250), (Metric::Pushed, 1)]);
    // Pushes that fail, and keys that are unavailable; in new processes.
    started.iter().for_each(|started| expected.starts(started));
    // Nothing listens at the one endpoint. At the other one nothing responds, until there is no time left.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let silent_endpoint = format!("http://{}", silent.local_addr().expect("bound"));
    for (endpoint, metric) in
        [("http://127.0.0.1:1", Metric::PushFailed), (&silent_endpoint, Metric::PushSkipped)]
    {
        let elsewhere = [("WEBSOCKET_ENDPOINT", endpoint)];
        let started = Started::with(&stack, "QueueConsumerFunction", &elsewhere).await;
        // Not through the queue, which would deliver the message again meanwhile.
        let message = record(1000, &caller.name, &unique("q"), BODY);
        assert_eq!(stack.consume(&[message]).await, json!({ "batchItemFailures": [] }));
        expected.outcome(&[(Metric::Stored, 1), (Metric::TimeToStored, 1), (metric, 1)]);
        expected.starts(&started);
    }
    let nowhere = [("TOKEN_JWKS", ""), ("TOKEN_JWKS_URL", "https://127.0.0.1:1/keys")];
    let without_keys = Started::with(&stack, "AuthorizerFunction", &nowhere).await;
    assert!(stack.handshake_rejection(&format!("?token={}", caller.token)).await.is_some());
    expected.add("AuthorizerFunction", &[(Metric::Unverified, 1), (Metric::KeyFetchFailed, 1)]);
    expected.starts(&without_keys);
    socket.close().await;
    expected.add("WebSocketFunction", &[(Metric::Disconnected, 1)]);
    let disconnected = ("WebSocketFunction".to_owned(), Metric::Disconnected.name());
    // Otherwise a process of the next configuration may handle it.
    eventually("the socket to be disconnected", async || {
        let counts = counts(&stack.function_entries()[before..]);
        counts.get(&disconnected).ok_or_else(|| format!("{counts:?}")).copied()
    })
    .await;
    // A table of connections that is not there. The token is verified by a process that has keys.
    without_keys.restore(&stack).await;
    let with_keys = Started::with(&stack, "AuthorizerFunction", &[]).await;
    let no_table = [("CONNECTIONS_TABLE", "none")];
    let without_table = Started::with(&stack, "WebSocketFunction", &no_table).await;
    assert!(stack.handshake_rejection(&format!("?token={}", caller.token)).await.is_some());
    expected.add("AuthorizerFunction", &[(Metric::Allowed, 1)]);
    expected.add("WebSocketFunction", &[(Metric::ConnectFailed, 1)]);
    expected.starts(&with_keys);
    expected.starts(&without_table);

    eventually("the metrics to be what was sent", async || {
        let mut counts = counts(&stack.function_entries()[before..]);
        // The first token repeats a failed fetch if it comes late enough.
        if let Some(failed) =
            counts.get_mut(&("AuthorizerFunction".to_owned(), Metric::KeyFetchFailed.name()))
        {
            *failed = (*failed).min(1);
        }
        if counts == expected.0 { Ok(()) } else { Err(format!("{counts:#?}, not {:#?}", expected.0)) }
    })
    .await;
    let counted: Vec<_> = expected.0.keys().map(|(_, metric)| *metric).collect();
    for metric in Metric::ALL {
        assert!(counted.contains(&metric.name()), "{metric:?} was not tested");
    }
    for started in [with_keys, without_table].into_iter().chain(started) {
        started.restore(&stack).await;
    }
}

#[derive(Default)]
struct Expected(Counts);

impl Expected {
    fn add(&mut self, function: &str, more: &[(Metric, u64)]) {
        for (metric, count) in more {
            *self.0.entry((function.to_owned(), metric.name())).or_default() += count;
        }
    }

    /// Every process counts its start. Requests that wait for each other need one; how many the queue gets, the
    /// emulator decides.
    fn starts(&mut self, started: &Started) {
        let starts = match started.function {
            "QueueConsumerFunction" => processes_with(&format!("{MARK}={}", started.mark)).len() as u64,
            _ => 1,
        };
        self.add(started.function, &[(Metric::ColdStart, starts)]);
    }

    /// Adds the counts of a message that is delivered alone.
    fn outcome(&mut self, more: &[(Metric, u64)]) {
        self.add("QueueConsumerFunction", &[(Metric::Accepted, 1), (Metric::BatchSize, 1)]);
        self.add("QueueConsumerFunction", more);
    }
}

/// Adds up the lines of a log like CloudWatch does.
fn counts(log: &[Entry]) -> Counts {
    let mut counts = Counts::new();
    for Entry { function, json: line, .. } in log {
        let Some(directives) = line.get("_aws").map(|marker| &marker["CloudWatchMetrics"]) else { continue };
        let [directive] = directives.as_array().expect("directives").as_slice() else {
            panic!("{directives}: not one directive");
        };
        assert_eq!(directive["Namespace"], NAMESPACE);
        assert_eq!(directive["Dimensions"], json!([[DIMENSION]]));
        assert_eq!(line[DIMENSION], json!(function), "the dimension is the name of the function");
        // The dead-letter recorder runs every minute, whatever the test does.
        if function.contains("DeadLetterRecorderFunction") {
            continue;
        }
        let logical =
            FUNCTIONS.iter().find(|logical| function.contains(**logical)).expect("a function of ours");
        for described in directive["Metrics"].as_array().expect("metrics") {
            let metric = Metric::ALL.iter().copied().find(|metric| described["Name"] == metric.name());
            let metric = metric.unwrap_or_else(|| panic!("{described} is no metric of ours"));
            assert_eq!(described["Unit"], metric.unit());
            *counts.entry(((*logical).to_owned(), metric.name())).or_default() += sum(line, metric);
        }
    }
    counts
}

/// What a line adds: the sum of counts, the number of times.
fn sum(line: &Value, metric: Metric) -> u64 {
    let value = &line[metric.name()];
    let values = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
    assert!((1..=100).contains(&values.len()), "CloudWatch accepts at most 100 values, not {}", values.len());
    let numbers = values.iter().map(|value| value.as_u64().expect("a whole number"));
    if metric == Metric::TimeToStored { values.len() as u64 } else { numbers.sum() }
}

/// A function in new processes, which have a mark.
struct Started {
    function: &'static str,
    mark: String,
    before: Value,
}

impl Started {
    /// Starts a function anew, with some variables changed.
    async fn with(stack: &Stack, function: &'static str, changes: &[(&str, &str)]) -> Self {
        let mark = unique("metrics");
        let change = |configuration: &mut Value| {
            for (name, value) in [&[(MARK, mark.as_str())], changes].concat() {
                configuration["Environment"]["Variables"][name] = json!(value);
            }
        };
        let before = stack.reconfigure(function, change).await;
        Self { function, mark, before }
    }

    async fn restore(self, stack: &Stack) {
        stack.reconfigure(self.function, |configuration| *configuration = self.before).await;
    }
}
