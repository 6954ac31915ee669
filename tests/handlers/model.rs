//! Random sequences of everything that can happen to the messages of one id, against a model of the state table: what
//! the look-up of the id says, and what the look-up of every receipt says.

use std::collections::{BTreeMap, BTreeSet};

use fault_proxy::Fault;
use intake_platform::rest::Responses;
use proptest::{prelude::*, sample::Index, test_runner::Config};
use sync_insert::SyncInsert;

use crate::{
    fixtures::{
        consumer::{MAX_RECEIVE_COUNT, TestConsumer},
        events::{delivered, put, receipt, record, request},
    },
    receipts::response,
};

/// What can happen.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A client puts a message.
    Put(Body),
    /// A client queues a message, and gets a receipt.
    Queue(Body),
    /// The queue delivers one of the queued messages, perhaps again.
    Deliver(Index, Delivery),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivery {
    Undisturbed,
    /// The response to the first request to the table is lost.
    LosesResponse,
    /// It is the last one, and the database rejects the message.
    FailsForGood,
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

    fn is_same_as(self, other: Self) -> bool {
        self == other || [[Self::One, Self::SameAsOne], [Self::SameAsOne, Self::One]].contains(&[self, other])
    }
}

/// What has to be found: the message under the id, and the outcome of every receipt that has one.
#[derive(Debug, Default)]
struct Model {
    message: Option<(&'static str, Body)>,
    outcomes: BTreeMap<usize, &'static str>,
}

impl Model {
    /// The state table once more, in other words: a message that becomes `status` if it is valid and written.
    /// Returns its outcome.
    fn accept(&mut self, body: Body, status: &'static str) -> &'static str {
        let status = if body == Body::Invalid { "rejected" } else { status };
        match self.message {
            Some(("stored", _)) if body == Body::Invalid => "rejected",
            Some(("stored", stored)) if body.is_same_as(stored) => "stored",
            Some(("stored", _)) => "conflict",
            _ => {
                self.message = Some((status, body));
                status
            }
        }
    }
}

async fn check(consumer: &TestConsumer, model: &Model, queued: &[Body], step: Step) {
    let (status, found) = response(consumer, "alice", "m-1", None).await;
    match model.message {
        Some((expected, body)) => {
            assert_eq!(found["status"], expected, "after {step:?}");
            let text = consumer.database.text("alice", "m-1", "payload").await;
            assert_eq!(text, body.text(), "after {step:?}");
        }
        None => assert_eq!(status, 404, "after {step:?}"),
    }
    for number in 0..queued.len() {
        let (_, found) = response(consumer, "alice", "m-1", Some(&receipt(number))).await;
        let expected = model.outcomes.get(&number).copied().unwrap_or("queued");
        assert_eq!(found["status"], expected, "by receipt {number}, after {step:?}: {found}");
        assert_eq!(found["receipt"], receipt(number));
        assert_eq!(found["storedAt"].is_string(), expected == "stored", "{found}");
        assert_eq!(found["reason"].is_string(), !["stored", "queued"].contains(&expected), "{found}");
    }
}

async fn run(steps: Vec<Step>) {
    let consumer = TestConsumer::start().await;
    let insert = SyncInsert::new(consumer.database.messages(), Responses::new("*").expect("an origin"));
    let mut model = Model::default();
    let mut queued = Vec::new();
    for step in steps {
        match step {
            Step::Put(body) => {
                let response =
                    insert.handle(request(&put("alice", "m-1", body.text()))).await.expect("a response");
                let was_stored = matches!(model.message, Some(("stored", _)));
                let expected = match body {
                    Body::Invalid => 400,
                    _ => match model.accept(body, "stored") {
                        "conflict" => 409,
                        _ if was_stored => 200,
                        _ => 201,
                    },
                };
                assert_eq!(response.status().as_u16(), expected, "{step:?}");
            }
            Step::Queue(body) => queued.push(body),
            Step::Deliver(..) if queued.is_empty() => {}
            Step::Deliver(which, delivery) => {
                let number = which.index(queued.len());
                let body = queued[number];
                let mut record = record(number, "alice", "m-1", body.text());
                let mut status = "stored";
                match delivery {
                    Delivery::Undisturbed => {}
                    Delivery::LosesResponse => consumer.database.faults.next([Fault::CutAfter]),
                    Delivery::FailsForGood => {
                        // It is read first. A valid message is tried in a batch and by itself then, an invalid one by itself.
                        let attempts = if body == Body::Invalid { 2 } else { 3 };
                        consumer.database.faults.next(vec![Fault::Reject; attempts]);
                        record = delivered(record, MAX_RECEIVE_COUNT);
                        status = "failed";
                    }
                }
                let failures = consumer.consume(&[record]).await;
                let outcome = model.accept(body, status);
                let expected = (outcome == "failed").then(|| receipt(number));
                assert_eq!(failures, BTreeSet::from_iter(expected), "{step:?}");
                model.outcomes.insert(number, outcome);
            }
        }
        check(&consumer, &model, &queued, step).await;
    }
}

fn any_step() -> impl Strategy<Value = Step> {
    let body = || prop::sample::select(vec![Body::One, Body::SameAsOne, Body::Another, Body::Invalid]);
    let delivery =
        prop::sample::select(vec![Delivery::Undisturbed, Delivery::LosesResponse, Delivery::FailsForGood]);
    prop_oneof![
        1 => body().prop_map(Step::Put),
        3 => body().prop_map(Step::Queue),
        4 => (any::<Index>(), delivery).prop_map(|(which, delivery)| Step::Deliver(which, delivery)),
    ]
}

proptest! {
    #![proptest_config(Config { cases: 64, ..Config::default() })]
    #[test]
    fn an_id_and_every_receipt_have_the_status_of_the_state_table_after_every_step(
        steps in prop::collection::vec(any_step(), 1..20),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(run(steps));
    }
}
