//! A redrive against an SQS that fails: no message is ever lost.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "this crate is nothing but tests")]

use std::{
    cell::Cell,
    collections::{BTreeSet, HashMap, VecDeque},
    future::pending,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use aws_sdk_sqs::{
    Client,
    config::{
        BehaviorVersion, Credentials, Region,
        http::{HttpRequest, HttpResponse},
        retry::RetryConfig,
    },
};
use aws_smithy_runtime_api::client::{
    http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn},
    result::ConnectorError,
};
use redrive::{
    connection::Queues,
    error::RedriveError,
    run::{Disposition, Options, Summary, redrive},
};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::timeout};

const SEND: &str = "SendMessage";
const DELETE: &str = "DeleteMessage";
const RECEIVE: &str = "ReceiveMessage";
const RELEASE: &str = "ChangeMessageVisibilityBatch";
const TRACE: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1";

/// What happens to a request.
#[derive(Clone, Copy, Debug)]
enum Fault {
    None,
    /// SQS responds with this error code.
    Rejected(&'static str),
    /// It has its effect, and there is no response.
    LostResponse,
    /// It has no effect, and never ends.
    Hang,
}

/// As much of SQS as a redrive uses. A message is the request that sent it, with `MessageId`, and once it was
/// received `ReceiptHandle` and `hidden`.
#[derive(Debug, Default)]
struct Sqs {
    dead: Vec<Value>,
    queued: Vec<Value>,
    /// What happens to the next requests for an operation.
    faults: HashMap<&'static str, VecDeque<Fault>>,
    requests: Vec<String>,
    /// Whether the queue's messages fail at once.
    all_fail: bool,
    /// For how many more looks other readers hide a message.
    hidden_by_others: u32,
    issued: u64,
}

impl Sqs {
    fn next_fault(&mut self, operation: &str) -> Fault {
        self.requests.push(operation.to_owned());
        self.faults.get_mut(operation).and_then(VecDeque::pop_front).unwrap_or(Fault::None)
    }

    fn store(&mut self, mut message: Value, is_dead: bool) -> String {
        self.issued += 1;
        let id = format!("00000000-0000-0000-0000-{:012}", self.issued);
        message["MessageId"] = json!(id);
        let messages = if is_dead { &mut self.dead } else { &mut self.queued };
        messages.push(message);
        id
    }

    fn execute(&mut self, operation: &str, request: &Value) -> Value {
        let place = |sqs: &Self, entry: &Value| {
            sqs.dead.iter().position(|message| message["ReceiptHandle"] == entry["ReceiptHandle"])
        };
        match operation {
            SEND => json!({ "MessageId": self.store(request.clone(), self.all_fail) }),
            RECEIVE => {
                let limit = request["MaxNumberOfMessages"].as_u64().expect("a limit");
                assert!(limit <= 10, "SQS hands out ten at most");
                let visible = self.dead.iter_mut().filter(|message| message["hidden"] != true);
                let received = visible.take(limit as usize).map(|message| {
                    self.issued += 1;
                    message["hidden"] = json!(true);
                    message["ReceiptHandle"] = json!(self.issued.to_string());
                    let mut received = message.clone();
                    received["Body"] = received["MessageBody"].take();
                    received["Attributes"] = json!({ "SentTimestamp": "1700000000000",
                                                     "AWSTraceHeader": TRACE, "MessageGroupId": "group" });
                    received
                });
                json!({ "Messages": received.collect::<Vec<_>>() })
            }
            DELETE => {
                // Of two attempts at one delete, the second finds nothing, and succeeds.
                if let Some(place) = place(self, request) {
                    let deleted = self.dead.remove(place);
                    // What all of this is about.
                    let mut others = self.dead.iter().chain(&self.queued);
                    assert!(others.any(|other| other["MessageBody"] == deleted["MessageBody"]), "{deleted}");
                }
                json!({})
            }
            RELEASE => {
                for entry in request["Entries"].as_array().expect("entries") {
                    if let Some(place) = place(self, entry) {
                        self.dead[place]["hidden"] = json!(false);
                    }
                }
                json!({ "Successful": [], "Failed": [] })
            }
            "GetQueueAttributes" => {
                self.hidden_by_others = self.hidden_by_others.saturating_sub(1);
                let own = self.dead.iter().filter(|message| message["hidden"] == true).count();
                let hidden = own + usize::from(self.hidden_by_others > 0);
                json!({ "Attributes": { "ApproximateNumberOfMessagesNotVisible": hidden.to_string() } })
            }
            other => panic!("{other}"),
        }
    }

    /// As after a visibility timeout.
    fn show_all(&mut self) {
        self.dead.iter_mut().for_each(|message| message["hidden"] = json!(false));
    }

    /// How many messages are in the dead-letter queue, how many of them can be received, and how many are queued.
    fn counts(&self) -> [usize; 3] {
        let visible = self.dead.iter().filter(|message| message["hidden"] != true).count();
        [self.dead.len(), visible, self.queued.len()]
    }

    fn count(&self, operation: &str) -> usize {
        self.requests.iter().filter(|request| *request == operation).count()
    }
}

fn bodies(messages: &[Value]) -> BTreeSet<String> {
    messages.iter().map(|message| message["MessageBody"].as_str().expect("a body").to_owned()).collect()
}

/// SQS in the place of the network.
#[derive(Clone, Debug, Default)]
struct Service(Arc<Mutex<Sqs>>);

impl HttpConnector for Service {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let service = self.clone();
        HttpConnectorFuture::new(async move {
            let target = request.headers().get("x-amz-target").expect("a target");
            let operation = target.trim_start_matches("AmazonSQS.");
            let body = serde_json::from_slice(request.body().bytes().expect("in memory")).expect("JSON");
            let response = |status: u16, body: Value| {
                Ok(HttpResponse::new(status.try_into().expect("a status"), body.to_string().into()))
            };
            let fault = service.sqs().next_fault(operation);
            match fault {
                Fault::Rejected(code) => response(400, json!({ "__type": code, "message": "rejected" })),
                Fault::Hang => pending().await,
                Fault::None => response(200, service.sqs().execute(operation, &body)),
                Fault::LostResponse => {
                    service.sqs().execute(operation, &body);
                    Err(ConnectorError::io("the connection was cut".into()))
                }
            }
        })
    }
}

impl Service {
    /// With so many messages in the dead-letter queue.
    fn with(number: usize) -> Self {
        let service = Self::default();
        for number in 0..number {
            let (id, owner) = (attribute("String", "an-id"), attribute("String", "alice"));
            let attributes = json!({ "id": id, "owner": owner });
            let message = json!({ "MessageBody": format!("body {number}"), "MessageAttributes": attributes });
            service.sqs().store(message, true);
        }
        service
    }

    /// Adds five that name no id, no owner, or one that the consumer does not accept.
    fn add_unattributed(&self) {
        let (id, owner) = (attribute("String", "an-id"), attribute("String", "alice"));
        for attributes in [
            json!({}),
            json!({ "id": id }),
            json!({ "owner": owner }),
            json!({ "id": id, "owner": attribute("Number", "42") }),
            json!({ "id": id, "owner": attribute("String", "bøb") }),
        ] {
            let message = json!({ "MessageBody": "unattributed", "MessageAttributes": attributes });
            self.sqs().store(message, true);
        }
    }

    fn sqs(&self) -> MutexGuard<'_, Sqs> {
        self.0.lock().expect("not poisoned")
    }

    /// These happen to the next requests for an operation.
    fn next(&self, operation: &'static str, faults: impl IntoIterator<Item = Fault>) {
        self.sqs().faults.entry(operation).or_default().extend(faults);
    }

    async fn redrive(&self, options: Options) -> (Summary, Result<(), RedriveError>) {
        self.redrive_until(options, || false, |_| {}).await
    }

    async fn redrive_until(
        &self,
        options: Options,
        stop: impl Fn() -> bool,
        report: impl Fn(&Disposition),
    ) -> (Summary, Result<(), RedriveError>) {
        let service = SharedHttpConnector::new(self.clone());
        let retries = RetryConfig::standard().with_max_attempts(2);
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::from_static("us-east-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "tests"))
            .http_client(http_client_fn(move |_, _| service.clone()))
            .retry_config(retries.with_initial_backoff(Duration::from_millis(1)));
        let queues = Queues { from: "https://sqs/1/dead".to_owned(), to: "https://sqs/1/queue".to_owned() };
        redrive(&Client::from_conf(config.build()), &queues, options, stop, |_, disposition| {
            report(disposition);
        })
        .await
    }
}

fn attribute(kind: &str, value: &str) -> Value {
    json!({ "DataType": kind, "StringValue": value })
}

#[tokio::test]
async fn a_message_keeps_what_its_client_gave_it_and_its_first_receipt() {
    let service = Service::default();
    let mut attributes = json!({
        "id": attribute("String", "an-id"),
        "owner": attribute("String", "alice"),
        "number": attribute("Number", "1234567890123456789.5"),
        "bytes": { "DataType": "Binary", "BinaryValue": "AP8=" },
    });
    let body = "{\"a\": 12345678901234567890}\r\n\t\u{1F600}";
    let message = json!({ "MessageBody": body, "MessageAttributes": attributes });
    let receipt = service.sqs().store(message, true);
    attributes["receipt"] = attribute("String", &receipt);
    attributes["received_at"] = attribute("String", "1700000000000");
    // The second time, the queue has given it another id.
    for _ in 0..2 {
        let (summary, result) = service.redrive(Options::default()).await;
        assert_eq!((summary, result), (Summary { moved: 1, ..Summary::default() }, Ok(())));
        let mut sqs = service.sqs();
        assert_eq!(sqs.counts(), [0, 0, 1]);
        let moved = sqs.queued.remove(0);
        assert_eq!((&moved["MessageBody"], &moved["MessageAttributes"]), (&json!(body), &attributes));
        assert_eq!(moved["MessageSystemAttributes"]["AWSTraceHeader"], attribute("String", TRACE));
        assert_eq!(moved["MessageGroupId"], "group");
        sqs.dead.push(moved);
    }
}

#[tokio::test]
async fn a_message_that_sqs_rejects_stays_and_does_not_hold_up_the_others() {
    let service = Service::with(12);
    service.next(SEND, [Fault::None, Fault::Rejected("InvalidMessageContents")]);
    let (summary, result) = service.redrive(Options::default()).await;
    assert_eq!((summary, result), (Summary { moved: 11, not_moved: 1, ..Summary::default() }, Ok(())));
    assert_eq!(service.sqs().counts(), [1, 1, 11]);
}

#[tokio::test]
async fn a_lost_response_to_a_send_loses_nothing() {
    let service = Service::with(1);
    service.next(SEND, [Fault::LostResponse, Fault::LostResponse]);
    let (summary, result) = service.redrive(Options::default()).await;
    assert_eq!(summary, Summary { not_moved: 1, ..Summary::default() });
    assert!(matches!(result, Err(RedriveError::Fatal(_))), "{result:?}");
    assert_eq!(service.sqs().counts(), [1, 1, 2]);
}

#[tokio::test]
async fn a_delete_that_is_denied_ends_it_and_leaves_messages_in_both_queues() {
    let service = Service::with(25);
    service.next(DELETE, [Fault::Rejected("AccessDenied"); 10]);
    let (summary, result) = service.redrive(Options::default()).await;
    assert_eq!(summary, Summary { not_deleted: 10, ..Summary::default() });
    let text = "DeleteMessage on https://sqs/1/dead: AccessDenied: rejected";
    assert_eq!(result, Err(RedriveError::Fatal(text.to_owned())));
    assert_eq!(service.sqs().counts(), [25, 25, 10]);
}

#[tokio::test]
async fn no_more_than_the_maximum_are_moved_or_even_received() {
    let service = Service::with(30);
    let (summary, _) = service.redrive(Options { max: Some(12), ..Options::default() }).await;
    assert_eq!(summary, Summary { moved: 12, ..Summary::default() });
    assert_eq!(service.sqs().counts(), [18, 18, 12]);
    assert_eq!(service.sqs().count(RECEIVE), 2);
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let service = Service::with(25);
    service.add_unattributed();
    let (summary, _) = service.redrive(Options { dry_run: true, ..Options::default() }).await;
    assert_eq!(summary, Summary { moved: 25, unattributed: 5, ..Summary::default() });
    assert_eq!(service.sqs().counts(), [30, 30, 0]);
    assert_eq!(service.sqs().count(DELETE), 0);
}

#[tokio::test]
async fn messages_that_fail_again_are_left_alone() {
    let service = Service::with(15);
    service.sqs().all_fail = true;
    let (summary, _) = service.redrive(Options::default()).await;
    assert_eq!(summary, Summary { moved: 15, failed_again: 15, ..Summary::default() });
    assert_eq!(service.sqs().counts(), [15, 15, 0]);
}

/// As when a run takes longer than messages stay hidden.
#[tokio::test]
async fn what_stays_and_shows_again_is_counted_once_and_does_not_keep_it_going() {
    let service = Service::with(5);
    service.add_unattributed();
    let show = || {
        service.sqs().show_all();
        false
    };
    let (summary, _) = service.redrive_until(Options::default(), show, |_| {}).await;
    assert_eq!(summary, Summary { moved: 5, unattributed: 5, ..Summary::default() });

    let (summary, _) = service.redrive(Options { include_unattributed: true, ..Options::default() }).await;
    assert_eq!(summary, Summary { moved: 5, ..Summary::default() });
}

#[tokio::test]
async fn an_interruption_ends_it_after_the_messages_in_hand() {
    let service = Service::with(30);
    let moved = Cell::new(false);
    let (summary, _) = service.redrive_until(Options::default(), || moved.get(), |_| moved.set(true)).await;
    assert_eq!(summary, Summary { moved: 10, ..Summary::default() });
    assert_eq!(service.sqs().counts(), [20, 20, 10]);
}

#[tokio::test]
async fn it_waits_for_messages_that_another_reader_hides() {
    for (looks, receives, hidden) in [(1, 1, 0), (5, 5, 0), (1000, 60, 1)] {
        let service = Service::default();
        service.sqs().hidden_by_others = looks;
        let (summary, _) = service.redrive(Options::default()).await;
        assert_eq!((summary.hidden, service.sqs().count(RECEIVE)), (hidden, receives));
    }
}

/// Faults at random, and kills at random, as often as it takes to move everything.
#[tokio::test]
async fn whatever_happens_every_message_is_in_one_of_the_queues_at_least() {
    let mut seeds = JoinSet::new();
    for seed in 0..24 {
        seeds.spawn(async move {
            let mut random = fastrand::Rng::with_seed(seed);
            let service = Service::with(random.usize(1..40));
            let all = bodies(&service.sqs().dead);
            for round in 0.. {
                assert!(round < 200, "seed {seed} does not end");
                for operation in [SEND, DELETE, RECEIVE, RELEASE] {
                    // Fewer from round to round: in the end everything is to succeed.
                    let number = random.usize(0..20).saturating_sub(round);
                    service.next(operation, (0..number).map(|_| fault(&mut random)).collect::<Vec<_>>());
                }
                let lifetime = Duration::from_millis(random.u64(1..300));
                let ended = timeout(lifetime, service.redrive(Options::default())).await;
                let mut sqs = service.sqs();
                assert_eq!(&bodies(&sqs.dead) | &bodies(&sqs.queued), all, "seed {seed}, round {round}");
                sqs.show_all();
                if sqs.dead.is_empty() && ended.is_ok() {
                    break;
                }
            }
            assert_eq!(bodies(&service.sqs().queued), all, "seed {seed}");
        });
    }
    seeds.join_all().await;
}

fn fault(random: &mut fastrand::Rng) -> Fault {
    match random.u8(0..6) {
        0 | 1 => Fault::None,
        2 => Fault::Rejected(random.choice(["AccessDenied", "InvalidMessageContents"]).expect("one of two")),
        3 | 4 => Fault::LostResponse,
        _ => Fault::Hang,
    }
}
