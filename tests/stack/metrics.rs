//! What the functions count. Metrics name no owner, so this has the stack for itself.

use std::collections::BTreeMap;

use e2e::stack::{Record, Stack, eventually, processes_with, unique};
use intake::metrics::{DIMENSION, Metric, NAMESPACE};
use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::redelivery::delivery;

const BODY: &str = r#"{"a":1}"#;
const FUNCTIONS: [&str; 5] = [
    "AuthorizerFunction",
    "QueueConsumerFunction",
    "StatusLookupFunction",
    "SyncInsertFunction",
    "WebSocketFunction",
];

/// The variable that new processes are known by.
const MARK: &str = "STARTED_FOR";

/// What a function has counted. For times and sizes of which there may be several, how many there are.
type Counts = BTreeMap<(String, &'static str), u64>;

#[tokio::test]
#[ignore = "counts all that the stack does: `cargo xtask test` runs it while nobody else uses it"]
async fn every_metric_is_what_was_sent() {
    let stack = Stack::running();
    let mut started = Vec::new();
    for function in FUNCTIONS {
        started.push(Started::with(&stack, function, &[]).await);
    }
    let before = stack.function_log().len();
    let caller = stack.caller();
    let max_receive_count = u64::from(stack.max_receive_count().await);
    let mut expected = Expected::default();

    // Who gets in: the answer about a token of the HTTP way is asked for once.
    let mut socket = caller.connect().await;
    expected.add("WebSocketFunction", &[(Metric::Connected, 1)]);
    let forged = format!("{}x", caller.token);
    assert!(stack.refused_handshake(&format!("?token={forged}")).await.is_some());
    let refused =
        stack.request(Method::GET, "/messages/m").header("authorization", format!("Bearer {forged}"));
    assert_eq!(refused.send().await.expect("an answer").status(), 401);
    expected.add("AuthorizerFunction", &[(Metric::Allowed, 2), (Metric::Denied, 2)]);

    // By request and response.
    let id = unique("m");
    for (id, body, status) in
        [(&*id, BODY, 201), (&id, BODY, 200), (&id, r#"{"a":2}"#, 409), ("a.b", BODY, 400)]
    {
        let answer = caller.put(id, body).await;
        assert_eq!(answer.status, status, "{answer:?}");
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

    // Through the queue.
    let id = unique("q");
    caller.queued(&id, BODY).await;
    socket.told("stored", &id).await;
    expected.outcome(&[(Metric::Stored, 1), (Metric::TimeToStored, 1), (Metric::Pushed, 1)]);
    let again = caller.queued(&id, BODY).await;
    stack.settled(&again.receipt).await;
    expected.outcome(&[(Metric::Duplicate, 1)]);
    caller.queued(&id, r#"{"a":2}"#).await;
    socket.told("conflict", &id).await;
    expected.outcome(&[(Metric::Conflict, 1), (Metric::Pushed, 1)]);
    let bad = unique("bad");
    stack.send(caller.record(&bad, "no JSON")).await;
    socket.told("rejected", &bad).await;
    expected.outcome(&[(Metric::Rejected, 1), (Metric::Pushed, 1)]);
    stack.send(caller.record("a b", BODY)).await;
    socket.told("rejected", "a b").await;
    expected.outcome(&[(Metric::Rejected, 1), (Metric::Pushed, 1)]);
    stack.note_connection(&caller.name, "!dead").await;
    let id = unique("q");
    stack.send(caller.record(&id, BODY)).await;
    socket.told("stored", &id).await;
    let stored = [(Metric::Stored, 1), (Metric::TimeToStored, 1), (Metric::Pushed, 1), (Metric::Gone, 1)];
    expected.outcome(&stored);

    // Up to the dead-letter queue: a message that cannot be stored, and a record that is none.
    let blocked = unique("blocked");
    stack.plant(&caller.name, &blocked, &[("status", "stored"), ("something", "else")]).await;
    let receipt = stack.send(caller.record(&blocked, BODY)).await;
    socket.told("failed", &blocked).await;
    stack.dead_letter(&receipt).await;
    let given_up = [(Metric::Failed, 1), (Metric::Retried, max_receive_count - 1)];
    expected.outcome(&given_up);
    expected.add("QueueConsumerFunction", &[(Metric::Pushed, 1)]);
    let nobodys = stack.send(Record::bare(BODY)).await;
    stack.dead_letter(&nobodys).await;
    expected.outcome(&given_up);
    // The deliveries that were retried came in batches of their own.
    expected.add("QueueConsumerFunction", &[(Metric::BatchSize, 2 * (max_receive_count - 1))]);

    // More times than one line may have, and more messages than one queue of this machine hands out at once.
    let many: Vec<_> = (0..250).map(|_| delivery(&caller.name, &unique("many"), BODY)).collect();
    assert_eq!(stack.consume(&many).await, json!({ "batchItemFailures": [] }));
    let stored = [(Metric::Accepted, 250), (Metric::Stored, 250), (Metric::TimeToStored, 250)];
    expected.add("QueueConsumerFunction", &stored);
    expected.add("QueueConsumerFunction", &[(Metric::BatchSize, 250), (Metric::Pushed, 1)]);
    // A socket that cannot be reached, and keys that cannot be had; in new processes.
    started.iter().for_each(|started| expected.starts(started));
    let nowhere = [("WEBSOCKET_ENDPOINT", "http://127.0.0.1:1")];
    let without_sockets = Started::with(&stack, "QueueConsumerFunction", &nowhere).await;
    let queued = stack.send(caller.record(&unique("q"), BODY)).await;
    stack.settled(&queued).await;
    expected.outcome(&[(Metric::Stored, 1), (Metric::TimeToStored, 1), (Metric::PushFailed, 1)]);
    expected.starts(&without_sockets);
    let nowhere = [("TOKEN_JWKS", ""), ("TOKEN_JWKS_URL", "https://127.0.0.1:1/keys")];
    let without_keys = Started::with(&stack, "AuthorizerFunction", &nowhere).await;
    assert!(stack.refused_handshake(&format!("?token={}", caller.token)).await.is_some());
    expected.add("AuthorizerFunction", &[(Metric::Unverified, 1)]);
    expected.starts(&without_keys);
    socket.close().await;
    expected.add("WebSocketFunction", &[(Metric::Disconnected, 1)]);

    eventually("the metrics to be what was sent", async || {
        let counts = counts(&stack.function_log()[before..]);
        if counts == expected.0 { Ok(()) } else { Err(format!("{counts:#?}, not {:#?}", expected.0)) }
    })
    .await;
    let counted: Vec<_> = expected.0.keys().map(|(_, metric)| *metric).collect();
    for metric in Metric::ALL {
        assert!(counted.contains(&metric.name()), "{metric:?} was not tried");
    }
    for started in started {
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

    /// Every process counts its start. One is enough for requests that wait for each other; how many the queue
    /// gets is the emulator's decision.
    fn starts(&mut self, started: &Started) {
        let starts = match started.function {
            "QueueConsumerFunction" => processes_with(&format!("{MARK}={}", started.mark)).len() as u64,
            _ => 1,
        };
        self.add(started.function, &[(Metric::ColdStart, starts)]);
    }

    /// What a message comes to that is delivered alone.
    fn outcome(&mut self, more: &[(Metric, u64)]) {
        self.add("QueueConsumerFunction", &[(Metric::Accepted, 1), (Metric::BatchSize, 1)]);
        self.add("QueueConsumerFunction", more);
    }
}

/// Adds up the lines that CloudWatch would make metrics of, as it would.
fn counts(log: &str) -> Counts {
    let mut counts = Counts::new();
    for (function, line) in log.lines().filter_map(|line| line.split_once('\t')) {
        let Ok(Value::Object(line)) = serde_json::from_str(line) else { continue };
        let Some(directives) = line.get("_aws").map(|marker| &marker["CloudWatchMetrics"]) else { continue };
        let [directive] = directives.as_array().expect("directives").as_slice() else {
            panic!("{directives}: not one directive");
        };
        assert_eq!(directive["Namespace"], NAMESPACE);
        assert_eq!(directive["Dimensions"], json!([[DIMENSION]]));
        assert_eq!(line[DIMENSION], function, "the dimension is the name of the function");
        let logical =
            FUNCTIONS.iter().find(|logical| function.contains(**logical)).expect("a function of ours");
        for described in directive["Metrics"].as_array().expect("metrics") {
            let metric = Metric::ALL.into_iter().find(|metric| described["Name"] == metric.name());
            let metric = metric.unwrap_or_else(|| panic!("{described} is no metric of ours"));
            assert_eq!(described["Unit"], metric.unit());
            *counts.entry(((*logical).to_owned(), metric.name())).or_default() += sum(&line, metric);
        }
    }
    counts
}

/// What a line adds: the sum of counts, the number of times.
fn sum(line: &Map<String, Value>, metric: Metric) -> u64 {
    let value = &line[metric.name()];
    let values = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
    assert!((1..=100).contains(&values.len()), "CloudWatch takes up to 100 values, not {}", values.len());
    let numbers = values.iter().map(|value| value.as_u64().expect("a whole number"));
    if metric == Metric::TimeToStored { values.len() as u64 } else { numbers.sum() }
}

/// A function in new processes, which can be told from all others by their mark.
struct Started {
    function: &'static str,
    mark: String,
    original: Value,
}

impl Started {
    /// Starts a function anew, with some variables changed.
    async fn with(stack: &Stack, function: &'static str, changes: &[(&str, &str)]) -> Self {
        let path = path(stack, function).await;
        let configuration = stack.operate("lambda", Method::GET, &path, "").await;
        let original = configuration["Environment"]["Variables"].clone();
        let (mark, mut variables) = (unique("metrics"), original.clone());
        for (name, value) in [&[(MARK, mark.as_str())], changes].concat() {
            variables[name] = json!(value);
        }
        set_variables(stack, function, &variables).await;
        Self { function, mark, original }
    }

    async fn restore(self, stack: &Stack) {
        set_variables(stack, self.function, &self.original).await;
    }
}

async fn set_variables(stack: &Stack, function: &str, variables: &Value) {
    let change = json!({ "Environment": { "Variables": variables } });
    stack.operate("lambda", Method::PUT, &path(stack, function).await, &change.to_string()).await;
}

async fn path(stack: &Stack, function: &str) -> String {
    format!("/2015-03-31/functions/{}/configuration", stack.function(function).await)
}
