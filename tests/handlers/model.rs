//! Random sequences of everything that can happen to the messages of two ids, alone and in bulks, against a model of the
//! state table: what the look-up of each id says, and what the look-ups of every receipt say.

use std::collections::{BTreeMap, BTreeSet};

use fault_proxy::Fault;
use intake_platform::rest::Responses;
use proptest::{prelude::*, sample::Index, test_runner::Config};
use serde_json::Value;
use sync_insert::SyncInsert;

use crate::{
    bulk::{look_up, send, statuses},
    fixtures::{
        consumer::{MAX_RECEIVE_COUNT, TestConsumer},
        events::{bulk, bulk_receipt, bulk_record, delivered, put, receipt, record, request},
    },
    receipts::response,
};

/// What can happen.
#[derive(Clone, Debug)]
enum Step {
    /// A client sends a request to the synchronous path.
    Put(Request),
    /// A client sends a request to the queue, and gets a receipt.
    Queue(Request),
    /// The queue delivers one of the queued requests, perhaps again.
    Deliver(Index, Delivery),
}

/// The legal ids, and one that is not.
const IDS: [&str; 2] = ["m-1", "m-2"];
const ILLEGAL: &str = "m 3";

/// A message of the first id, or a bulk.
#[derive(Clone, Debug)]
enum Request {
    One(Body),
    Bulk(Vec<(&'static str, Body)>),
}

impl Request {
    fn messages(&self) -> Vec<(&'static str, Body)> {
        match self {
            Self::One(body) => vec![(IDS[0], *body)],
            Self::Bulk(messages) => messages.clone(),
        }
    }

    fn body(&self) -> String {
        match self {
            Self::One(body) => body.text().to_owned(),
            Self::Bulk(messages) => {
                bulk(&messages.iter().map(|(id, body)| (*id, body.text())).collect::<Vec<_>>())
            }
        }
    }

    fn record(&self, number: usize) -> Value {
        match self {
            Self::One(_) => record(number, "alice", IDS[0], &self.body()),
            Self::Bulk(_) => bulk_record(number, "alice", &self.body()),
        }
    }

    /// How many requests to the table its last delivery makes, if it rejects all of them: it is read; what is valid is
    /// tried in a batch, and each message by itself. Of several with one id it is the first.
    fn attempts(&self) -> usize {
        let first_of: BTreeMap<_, _> = self.messages().into_iter().rev().collect();
        let legal = first_of.iter().filter(|(id, _)| **id != ILLEGAL);
        let singles = legal.clone().count();
        let batches = usize::from(legal.clone().any(|(_, body)| *body != Body::Invalid));
        usize::from(singles > 0) + batches + singles
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivery {
    Undisturbed,
    /// The response to the first request to the table is lost.
    LosesResponse,
    /// The record is in the batch twice, and a part of it is throttled.
    Twice,
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

/// What has to be found: the messages under the ids, and the outcomes of every receipt that has them.
#[derive(Debug, Default)]
struct Model {
    messages: BTreeMap<&'static str, (&'static str, Body)>,
    outcomes: BTreeMap<usize, Vec<&'static str>>,
}

impl Model {
    /// The state table once more, in other words: a message that becomes `status` if it is valid and written.
    /// Returns its outcome.
    fn accept(&mut self, id: &'static str, body: Body, status: &'static str) -> &'static str {
        let status = if body == Body::Invalid { "rejected" } else { status };
        match self.messages.get(id) {
            _ if id == ILLEGAL => "rejected",
            Some(("stored", _)) if body == Body::Invalid => "rejected",
            Some(("stored", stored)) if body.is_same_as(*stored) => "stored",
            Some(("stored", _)) => "conflict",
            _ => {
                self.messages.insert(id, (status, body));
                status
            }
        }
    }

    /// The same for a message of a synchronous request, which leaves no trace if it is invalid.
    fn accept_synchronous(&mut self, id: &'static str, body: Body) -> &'static str {
        if body == Body::Invalid { "rejected" } else { self.accept(id, body, "stored") }
    }
}

async fn check(consumer: &TestConsumer, model: &Model, queued: &[Request], step: &Step) {
    for id in IDS {
        let (status, found) = response(consumer, "alice", id, None).await;
        match model.messages.get(id) {
            Some((expected, body)) => {
                assert_eq!(found["status"], *expected, "after {step:?}");
                let text = consumer.database.text("alice", id, "payload").await;
                assert_eq!(text, body.text(), "after {step:?}");
            }
            None => assert_eq!(status, 404, "after {step:?}"),
        }
    }
    for (number, sent) in queued.iter().enumerate() {
        let outcomes = model.outcomes.get(&number);
        let receipt = match sent {
            Request::One(_) => receipt(number),
            Request::Bulk(messages) => {
                let (_, found) = look_up(consumer, "alice", &bulk_receipt(number)).await;
                let ids = messages.iter().map(|(id, _)| *id);
                let expected: Vec<_> = ids.zip(outcomes.into_iter().flatten().copied()).collect();
                assert_eq!(statuses(&found), expected, "by receipt {number}, after {step:?}: {found}");
                assert_eq!(found["status"], if outcomes.is_some() { "settled" } else { "queued" });
                bulk_receipt(number)
            }
        };
        for id in IDS {
            let (status, found) = response(consumer, "alice", id, Some(&receipt)).await;
            let messages = sent.messages().into_iter().zip(outcomes.into_iter().flatten());
            let of_id: Vec<_> =
                messages.filter(|((sent, _), _)| *sent == id).map(|(_, outcome)| *outcome).collect();
            // Of several the one that is stored, or else the last.
            let expected = match of_id.iter().find(|outcome| **outcome == "stored").or(of_id.last()) {
                Some(outcome) => *outcome,
                None if outcomes.is_none() => "queued",
                // No other id is looked up by the receipt of a single message.
                None if matches!(sent, Request::One(_)) => continue,
                None => {
                    assert_eq!(status, 404, "{id} is not in it: {found}");
                    continue;
                }
            };
            assert_eq!(found["status"], expected, "{id} by receipt {number}, after {step:?}: {found}");
            assert_eq!(found["receipt"], receipt);
            assert_eq!(found["storedAt"].is_string(), expected == "stored", "{found}");
            assert_eq!(found["reason"].is_string(), !["stored", "queued"].contains(&expected), "{found}");
        }
    }
}

async fn run(steps: Vec<Step>) {
    let consumer = TestConsumer::start().await;
    let insert = SyncInsert::new(consumer.database.messages(), Responses::new("*").expect("an origin"));
    let mut model = Model::default();
    let mut queued = Vec::new();
    for step in steps {
        match &step {
            Step::Put(Request::One(body)) => {
                let response =
                    insert.handle(request(&put("alice", IDS[0], body.text()))).await.expect("a response");
                let was_stored = matches!(model.messages.get(IDS[0]), Some(("stored", _)));
                let expected = match model.accept_synchronous(IDS[0], *body) {
                    "rejected" => 400,
                    "conflict" => 409,
                    _ if was_stored => 200,
                    _ => 201,
                };
                assert_eq!(response.status().as_u16(), expected, "{step:?}");
            }
            Step::Put(bulk @ Request::Bulk(messages)) => {
                let (status, body) = send(&consumer.database, &bulk.body()).await;
                let expected: Vec<_> =
                    messages.iter().map(|(id, body)| (*id, model.accept_synchronous(id, *body))).collect();
                assert_eq!(statuses(&body), expected, "{step:?}");
                let all_stored = expected.iter().all(|(_, outcome)| *outcome == "stored");
                assert_eq!(status, if all_stored { 200 } else { 207 }, "{step:?}");
            }
            Step::Queue(request) => queued.push(request.clone()),
            Step::Deliver(..) if queued.is_empty() => {}
            Step::Deliver(which, delivery) => {
                let number = which.index(queued.len());
                let sent = &queued[number];
                let mut records = vec![sent.record(number)];
                let mut status = "stored";
                match delivery {
                    Delivery::Undisturbed => {}
                    Delivery::LosesResponse => consumer.database.faults.next([Fault::CutAfter]),
                    Delivery::Twice => {
                        records.push(records[0].clone());
                        consumer.database.faults.next([Fault::ThrottleStatements; 3]);
                    }
                    Delivery::FailsForGood => {
                        consumer.database.faults.next(vec![Fault::Reject; sent.attempts()]);
                        records[0] = delivered(records[0].take(), MAX_RECEIVE_COUNT);
                        status = "failed";
                    }
                }
                let failures = consumer.consume(&records).await;
                let messages = sent.messages().into_iter();
                let outcomes: Vec<_> = messages.map(|(id, body)| model.accept(id, body, status)).collect();
                let expected = outcomes.contains(&"failed").then(|| receipt(number));
                assert_eq!(failures, BTreeSet::from_iter(expected), "{step:?}");
                model.outcomes.insert(number, outcomes);
            }
        }
        check(&consumer, &model, &queued, &step).await;
    }
}

fn any_step() -> impl Strategy<Value = Step> {
    let body = || prop::sample::select(vec![Body::One, Body::SameAsOne, Body::Another, Body::Invalid]);
    let id = prop::sample::select(vec![IDS[0], IDS[0], IDS[1], ILLEGAL]);
    let bulk = prop::collection::vec((id, body()), 1..6);
    let request = prop_oneof![body().prop_map(Request::One), bulk.prop_map(Request::Bulk)];
    let delivery = prop_oneof![
        3 => Just(Delivery::Undisturbed),
        3 => Just(Delivery::LosesResponse),
        1 => Just(Delivery::Twice),
        3 => Just(Delivery::FailsForGood),
    ];
    prop_oneof![
        1 => request.clone().prop_map(Step::Put),
        3 => request.prop_map(Step::Queue),
        4 => (any::<Index>(), delivery).prop_map(|(which, delivery)| Step::Deliver(which, delivery)),
    ]
}

proptest! {
    #![proptest_config(Config { cases: 64, ..Config::default() })]
    #[test]
    fn every_id_and_every_receipt_has_the_status_of_the_state_table_after_every_step(
        steps in prop::collection::vec(any_step(), 1..20),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(run(steps));
    }
}
