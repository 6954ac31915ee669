//! Random sequences of everything that can happen to one message, against a model of the state table.

use std::collections::BTreeSet;

use e2e::{
    consumer::{MAX_RECEIVE_COUNT, TestConsumer},
    events::{delivered, get, put, receipt, record, request},
};
use fault_proxy::Fault;
use intake::{message::Payload, rest::Responses};
use proptest::{prelude::*, test_runner::Config};
use serde_json::{Value, json};
use status_lookup::StatusLookup;
use sync_insert::SyncInsert;

/// What can happen. The number makes the receipt: the same number is the same SQS message again.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A client puts a message.
    Put(Body),
    /// The queue delivers a message.
    Deliver(usize, Body),
    /// The queue delivers a message for the last time, and the database rejects it.
    FailLastDelivery(usize, Body),
    /// The queue delivers a message, and the response to the first request that stores it is lost.
    LoseResponse(usize, Body),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    One,
    /// The same JSON, written otherwise.
    SameAsOne,
    Another,
    Invalid,
}

impl Body {
    fn text(self) -> &'static str {
        match self {
            Self::One => r#"{"a":1,"b":2}"#,
            Self::SameAsOne => r#"{ "b": 2, "a": 1 }"#,
            Self::Another => r#"{"a":2}"#,
            Self::Invalid => "[]",
        }
    }
}

/// What the table should have: the status and the received text.
type Model = Option<(&'static str, &'static str)>;

/// The state table once more, in other words: the model after a message that becomes `status` if it is valid.
fn next(current: Model, body: Body, status: &'static str) -> Model {
    match current {
        Some(("stored", _)) => current,
        _ => Some((if body == Body::Invalid { "rejected" } else { status }, body.text())),
    }
}

/// Whether this payload is stored.
fn is_stored(current: Model, body: Body) -> bool {
    let payload = |text: &str| Payload::parse(text).ok();
    let stored = current.filter(|(status, _)| *status == "stored").and_then(|(_, text)| payload(text));
    stored.is_some_and(|stored| stored.is_same_as(body.text()))
}

async fn check(consumer: &TestConsumer, model: Model) {
    let look_up = StatusLookup::new(consumer.database.messages(), consumer.database.outcomes(), responses());
    let response = look_up.handle(request(&get("alice", "m-1", None))).await.expect("a response");
    let body: Value = serde_json::from_slice(response.body()).expect("JSON");
    match model {
        Some((status, received)) => {
            let text = consumer.database.text("alice", "m-1", "payload").await;
            assert_eq!((&body["status"], text.as_str()), (&json!(status), received));
        }
        None => assert_eq!(response.status(), 404),
    }
}

fn responses() -> Responses {
    Responses::new("*").expect("an origin")
}

async fn run(steps: Vec<Step>) {
    let consumer = TestConsumer::start().await;
    let insert = SyncInsert::new(consumer.database.messages(), responses());
    let mut model: Model = None;
    for step in steps {
        match step {
            Step::Put(body) => {
                let response =
                    insert.handle(request(&put("alice", "m-1", body.text()))).await.expect("a response");
                let expected = match model {
                    _ if body == Body::Invalid => 400,
                    Some(("stored", _)) if is_stored(model, body) => 200,
                    Some(("stored", _)) => 409,
                    _ => 201,
                };
                assert_eq!(response.status().as_u16(), expected, "{step:?}");
                if body != Body::Invalid {
                    model = next(model, body, "stored");
                }
            }
            Step::Deliver(number, body) | Step::LoseResponse(number, body) => {
                if matches!(step, Step::LoseResponse(..)) {
                    consumer.database.faults.next([Fault::CutAfter]);
                }
                let failures = consumer.consume(&[record(number, "alice", "m-1", body.text())]).await;
                assert_eq!(failures, BTreeSet::new(), "{step:?}");
                model = next(model, body, "stored");
            }
            Step::FailLastDelivery(number, body) => {
                // A valid message is tried in a batch and by itself, an invalid one by itself.
                let attempts = if body == Body::Invalid { 1 } else { 2 };
                consumer.database.faults.next(vec![Fault::Refuse; attempts]);
                let last = delivered(record(number, "alice", "m-1", body.text()), MAX_RECEIVE_COUNT);
                let failures = consumer.consume(&[last]).await;
                let fails = body != Body::Invalid && !matches!(model, Some(("stored", _)));
                let expected = if fails { BTreeSet::from([receipt(number)]) } else { BTreeSet::new() };
                assert_eq!(failures, expected, "{step:?}");
                model = next(model, body, "failed");
            }
        }
        check(&consumer, model).await;
    }
}

fn any_step() -> impl Strategy<Value = Step> {
    let body = || prop::sample::select(vec![Body::One, Body::SameAsOne, Body::Another, Body::Invalid]);
    prop_oneof![
        body().prop_map(Step::Put),
        (0..3_usize, body()).prop_map(|(number, body)| Step::Deliver(number, body)),
        (0..3_usize, body()).prop_map(|(number, body)| Step::FailLastDelivery(number, body)),
        (0..3_usize, body()).prop_map(|(number, body)| Step::LoseResponse(number, body)),
    ]
}

proptest! {
    #![proptest_config(Config { cases: 64, ..Config::default() })]
    #[test]
    fn a_message_has_the_status_of_the_state_table_after_every_step(
        steps in prop::collection::vec(any_step(), 1..12),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(run(steps));
    }
}
