//! Random sequences of everything that can happen to one message, against a model of the state table.

use e2e::events::{delivered, get, put, receipt, record, request};
use fault_proxy::Fault;
use intake::{message::Payload, rest::Responses};
use proptest::{prelude::*, test_runner::Config};
use serde_json::{Value, json};
use status_lookup::StatusLookup;
use sync_insert::SyncInsert;

use crate::queue_consumer::{Bench, MAX_RECEIVE_COUNT};

/// What can happen. The number is the receipt, so that the same one is the same SQS message again.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A message comes in a request.
    Put(Body),
    /// A message is delivered.
    Deliver(usize, Body),
    /// A message is delivered for the last time, and the database refuses it until it is given up.
    Exhaust(usize, Body),
    /// A message is delivered, and the answer to the first request that stores it is lost.
    LoseAnswer(usize, Body),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    One,
    /// As JSON the same.
    OneToo,
    Another,
    Invalid,
}

impl Body {
    fn text(self) -> &'static str {
        match self {
            Self::One => r#"{"a":1,"b":2}"#,
            Self::OneToo => r#"{ "b": 2, "a": 1 }"#,
            Self::Another => r#"{"a":2}"#,
            Self::Invalid => "[]",
        }
    }
}

/// What the table should have: the status and the text that came.
type Model = Option<(&'static str, &'static str)>;

/// The state table once more, in other words.
fn next(there: Model, body: Body, becomes: &'static str) -> Model {
    match there {
        Some(("stored", _)) => there,
        _ => Some((if body == Body::Invalid { "rejected" } else { becomes }, body.text())),
    }
}

fn same(there: Model, body: Body) -> bool {
    let payload = |text: &str| Payload::parse(text).ok();
    let stored = there.filter(|(status, _)| *status == "stored").and_then(|(_, text)| payload(text));
    stored.is_some_and(|stored| stored.is_same_as(body.text()))
}

async fn check(bench: &Bench, there: Model) {
    let look_up = StatusLookup::new(bench.database.messages(), Responses::new("*").expect("an origin"));
    let answer = look_up.handle(request(&get("alice", "m-1", None))).await.expect("an answer");
    let (status, text) = (answer.status(), bench.database.text("alice", "m-1", "payload").await);
    let body: Value = serde_json::from_slice(answer.body()).expect("JSON");
    match there {
        Some((state, came)) => assert_eq!((&body["status"], text.as_str()), (&json!(state), came)),
        None => assert_eq!(status, 404),
    }
}

async fn run(steps: Vec<Step>) {
    let bench = Bench::start().await;
    let insert = SyncInsert::new(bench.database.messages(), Responses::new("*").expect("an origin"));
    let mut there: Model = None;
    for step in steps {
        match step {
            Step::Put(body) => {
                let answer =
                    insert.handle(request(&put("alice", "m-1", body.text()))).await.expect("an answer");
                let expected = match there {
                    _ if body == Body::Invalid => 400,
                    Some(("stored", _)) if same(there, body) => 200,
                    Some(("stored", _)) => 409,
                    _ => 201,
                };
                assert_eq!(answer.status().as_u16(), expected, "{step:?}");
                if body != Body::Invalid {
                    there = next(there, body, "stored");
                }
            }
            Step::Deliver(number, body) => {
                let failures = bench.consume(&[record(number, "alice", "m-1", body.text())]).await;
                assert!(failures.is_empty(), "{step:?}");
                there = next(there, body, "stored");
            }
            Step::LoseAnswer(number, body) => {
                bench.database.faults.next([Fault::CutAfter]);
                let failures = bench.consume(&[record(number, "alice", "m-1", body.text())]).await;
                assert!(failures.is_empty(), "{step:?}");
                there = next(there, body, "stored");
            }
            Step::Exhaust(number, body) => {
                // A valid message is tried in a batch and by itself, an invalid one by itself.
                let refusals = if body == Body::Invalid { 1 } else { 2 };
                bench.database.faults.next([Fault::Refuse; 2].into_iter().take(refusals));
                let last = delivered(record(number, "alice", "m-1", body.text()), MAX_RECEIVE_COUNT);
                let failures = bench.consume(&[last]).await;
                let fails = body != Body::Invalid && !matches!(there, Some(("stored", _)));
                let expected = if fails { vec![receipt(number)] } else { Vec::new() };
                assert_eq!(failures, expected, "{step:?}");
                there = next(there, body, "failed");
            }
        }
        check(&bench, there).await;
    }
}

fn any_step() -> impl Strategy<Value = Step> {
    let body = || prop::sample::select(vec![Body::One, Body::OneToo, Body::Another, Body::Invalid]);
    prop_oneof![
        body().prop_map(Step::Put),
        (0..3_usize, body()).prop_map(|(number, body)| Step::Deliver(number, body)),
        (0..3_usize, body()).prop_map(|(number, body)| Step::Exhaust(number, body)),
        (0..3_usize, body()).prop_map(|(number, body)| Step::LoseAnswer(number, body)),
    ]
}

proptest! {
    #![proptest_config(Config { cases: 64, ..Config::default() })]
    #[test]
    fn whatever_happens_a_message_is_as_the_state_table_says(steps in prop::collection::vec(any_step(), 1..12)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(run(steps));
    }
}
