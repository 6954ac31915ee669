//! As much of SQS as a redrive uses, in the test's process, with faults on demand.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use aws_sdk_sqs::{
    Client,
    config::{BehaviorVersion, Credentials, Region, retry::RetryConfig},
};
use aws_smithy_http_client::Builder;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use redrive::queues::Queues;
use serde_json::{Value, json};
use tokio::net::TcpListener;

pub(crate) const SEND: &str = "SendMessageBatch";
pub(crate) const DELETE: &str = "DeleteMessageBatch";
pub(crate) const RECEIVE: &str = "ReceiveMessage";
pub(crate) const GIVE_BACK: &str = "ChangeMessageVisibilityBatch";

/// What happens to a request.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// The entries at these places are not done, by SQS's fault or by the sender's.
    Fail { places: Vec<usize>, sender_fault: bool },
    /// All is done, and nothing said about the entries at these places.
    Forget(Vec<usize>),
    /// The whole request is refused.
    Refuse(&'static str),
    /// The connection is cut before anything is done.
    CutBefore,
    /// The connection is cut after all is done.
    CutAfter,
    /// There is no answer, and nothing is done.
    Hang,
}

/// A message in a queue.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stored {
    pub(crate) id: String,
    pub(crate) body: String,
    pub(crate) attributes: Value,
    pub(crate) trace_header: Option<String>,
    handle: Option<String>,
    hidden: bool,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    /// Messages by the queue's address.
    queues: BTreeMap<String, Vec<Stored>>,
    /// What happens to the next requests for an operation.
    faults: HashMap<String, VecDeque<Fault>>,
    /// Whether what reaches the queue fails there at once, and becomes a dead letter.
    pub(crate) all_fails: bool,
    /// All entries of all batches that were sent, in bytes of their bodies.
    pub(crate) batches: Vec<Vec<usize>>,
    requests: Vec<String>,
    issued: usize,
}

/// The service.
pub(crate) struct Service {
    pub(crate) client: Client,
    pub(crate) queues: Queues,
    state: Arc<Mutex<State>>,
}

impl Service {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let state = Arc::new(Mutex::new(State::default()));
        let queues =
            Queues { from: format!("http://{address}/1/dead"), to: format!("http://{address}/1/queue") };
        for url in [&queues.from, &queues.to] {
            state.lock().expect("not poisoned").queues.insert(url.clone(), Vec::new());
        }
        tokio::spawn(serve(listener, Arc::clone(&state)));
        Self { client: client(address), queues, state }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("not poisoned")
    }

    /// These happen to the next requests for an operation.
    pub(crate) fn next(&self, operation: &str, faults: impl IntoIterator<Item = Fault>) {
        self.state().faults.entry(operation.to_owned()).or_default().extend(faults);
    }

    /// A dead letter for somebody.
    pub(crate) fn die(&self, body: &str) -> String {
        let attributes = json!({
            "id": { "DataType": "String", "StringValue": "an-id" },
            "owner": { "DataType": "String", "StringValue": "alice" },
        });
        self.die_with(body, attributes, None)
    }

    pub(crate) fn die_with(&self, body: &str, attributes: Value, trace_header: Option<&str>) -> String {
        let mut state = self.state();
        let stored = state.new_message(body, attributes, trace_header.map(str::to_owned));
        let id = stored.id.clone();
        state.queues.get_mut(&self.queues.from).expect("it is there").push(stored);
        id
    }

    /// As after a visibility timeout.
    pub(crate) fn show_all(&self) {
        for message in self.state().queues.get_mut(&self.queues.from).expect("it is there") {
            message.hidden = false;
        }
    }

    /// The dead letters.
    pub(crate) fn dead(&self) -> Vec<Stored> {
        self.state().queues[&self.queues.from].clone()
    }

    /// What is in the queue.
    pub(crate) fn queued(&self) -> Vec<Stored> {
        self.state().queues[&self.queues.to].clone()
    }

    /// How many dead letters can be received.
    pub(crate) fn visible(&self) -> usize {
        self.dead().iter().filter(|message| !message.hidden).count()
    }

    /// How many requests for an operation came.
    pub(crate) fn requests(&self, operation: &str) -> usize {
        self.state().requests.iter().filter(|name| *name == operation).count()
    }
}

fn client(address: SocketAddr) -> Client {
    let retries = RetryConfig::standard().with_max_attempts(2).with_initial_backoff(Duration::from_millis(1));
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::from_static("us-east-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "tests"))
        .endpoint_url(format!("http://{address}"))
        .http_client(Builder::new().build_http())
        .retry_config(retries);
    Client::from_conf(config.build())
}

async fn serve(listener: TcpListener, state: Arc<Mutex<State>>) {
    while let Ok((socket, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        let service = service_fn(move |request| {
            let state = Arc::clone(&state);
            // An error of the service is how a connection is cut.
            async move { answer(request, &state).await.ok_or("cut") }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), service));
    }
}

async fn answer(request: Request<Incoming>, state: &Mutex<State>) -> Option<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.ok()?.to_bytes();
    let target = head.headers.get("x-amz-target")?.to_str().ok()?;
    let operation = target.rsplit('.').next()?.to_owned();
    let request: Value = serde_json::from_slice(&body).ok()?;
    let fault = {
        let mut state = state.lock().expect("not poisoned");
        state.requests.push(operation.clone());
        state.faults.get_mut(&operation).and_then(VecDeque::pop_front).unwrap_or(Fault::None)
    };
    match fault {
        Fault::Refuse(code) => return Some(error(code)),
        Fault::CutBefore => return None,
        Fault::Hang => {
            std::future::pending::<()>().await;
            return None;
        }
        Fault::None | Fault::Fail { .. } | Fault::Forget(_) | Fault::CutAfter => {}
    }
    let mut state = state.lock().expect("not poisoned");
    let url = request["QueueUrl"].as_str()?;
    if !state.queues.contains_key(url) {
        return Some(error("QueueDoesNotExist"));
    }
    let done = match operation.as_str() {
        "GetQueueAttributes" => state.attributes(url),
        "ReceiveMessage" => state.receive(url, &request),
        _ => state.batch(&operation, url, &request, &fault),
    };
    (!matches!(fault, Fault::CutAfter)).then(|| json_answer(200, &done))
}

impl State {
    fn new_message(&mut self, body: &str, attributes: Value, trace_header: Option<String>) -> Stored {
        self.issued += 1;
        let id = format!("message-{}", self.issued);
        Stored { id, body: body.to_owned(), attributes, trace_header, handle: None, hidden: false }
    }

    fn attributes(&self, url: &str) -> Value {
        let name = url.rsplit('/').next().unwrap_or(url);
        let arn = |name: &str| format!("arn:aws:sqs:us-east-1:1:{name}");
        let mut attributes = json!({
            "QueueArn": arn(name),
            "ApproximateNumberOfMessages": self.queues[url].len().to_string(),
            "ApproximateNumberOfMessagesNotVisible": "0",
        });
        if name == "queue" {
            let policy = json!({ "deadLetterTargetArn": arn("dead"), "maxReceiveCount": 5 });
            attributes["RedrivePolicy"] = json!(policy.to_string());
        }
        json!({ "Attributes": attributes })
    }

    fn receive(&mut self, url: &str, request: &Value) -> Value {
        let number = request["MaxNumberOfMessages"].as_u64().unwrap_or(1) as usize;
        assert!(number <= 10, "SQS gives ten at most");
        let mut issued = self.issued;
        let messages = self.queues.get_mut(url).expect("it is there");
        let found: Vec<_> = messages
            .iter_mut()
            .filter(|message| !message.hidden)
            .take(number)
            .map(|message| {
                issued += 1;
                let handle = format!("handle-{issued}");
                message.handle = Some(handle.clone());
                message.hidden = true;
                let mut system = json!({
                    "SentTimestamp": "1700000000000",
                    "ApproximateReceiveCount": "6",
                    "SenderId": "somebody",
                });
                if let Some(header) = &message.trace_header {
                    system["AWSTraceHeader"] = json!(header);
                }
                json!({
                    "MessageId": message.id,
                    "ReceiptHandle": handle,
                    "Body": message.body,
                    "MessageAttributes": message.attributes,
                    "Attributes": system,
                })
            })
            .collect();
        self.issued = issued;
        json!({ "Messages": found })
    }

    fn batch(&mut self, operation: &str, url: &str, request: &Value, fault: &Fault) -> Value {
        let (mut successful, mut failed) = (Vec::new(), Vec::new());
        let entries = request["Entries"].as_array().expect("entries");
        assert!((1..=10).contains(&entries.len()), "SQS takes ten at most");
        if operation == SEND {
            let size = |entry: &Value| entry["MessageBody"].as_str().expect("a body").len();
            self.batches.push(entries.iter().map(size).collect());
        }
        for (place, entry) in entries.iter().enumerate() {
            match fault {
                Fault::Fail { places, sender_fault } if places.contains(&place) => {
                    failed.push(json!({
                        "Id": entry["Id"], "Code": "Faulty", "Message": "not now", "SenderFault": sender_fault,
                    }));
                    continue;
                }
                _ => {}
            }
            let Some(mut done) = self.entry(operation, url, entry) else {
                failed.push(
                    json!({ "Id": entry["Id"], "Code": "ReceiptHandleIsInvalid", "SenderFault": true }),
                );
                continue;
            };
            if matches!(fault, Fault::Forget(places) if places.contains(&place)) {
                continue;
            }
            done["Id"] = entry["Id"].clone();
            successful.push(done);
        }
        json!({ "Successful": successful, "Failed": failed })
    }

    fn entry(&mut self, operation: &str, url: &str, entry: &Value) -> Option<Value> {
        if operation == SEND {
            let header = &entry["MessageSystemAttributes"]["AWSTraceHeader"]["StringValue"];
            let header = header.as_str().map(str::to_owned);
            let body = entry["MessageBody"].as_str().expect("a body");
            let sent = self.new_message(body, entry["MessageAttributes"].clone(), header);
            let id = sent.id.clone();
            let target = if self.all_fails { url.replace("queue", "dead") } else { url.to_owned() };
            self.queues.get_mut(&target).expect("it is there").push(sent);
            return Some(json!({ "MessageId": id, "MD5OfMessageBody": "" }));
        }
        let handle = entry["ReceiptHandle"].as_str();
        let messages = self.queues.get_mut(url).expect("it is there");
        let place = messages.iter().position(|message| message.handle.as_deref() == handle)?;
        if operation == GIVE_BACK {
            assert_eq!(entry["VisibilityTimeout"], 0);
            messages[place].hidden = false;
            return Some(json!({}));
        }
        assert_eq!(operation, DELETE);
        let deleted = messages.remove(place);
        // What all is about.
        let is_kept = |message: &Stored| {
            (&message.body, &message.attributes, &message.trace_header)
                == (&deleted.body, &deleted.attributes, &deleted.trace_header)
        };
        assert!(
            self.all_fails || self.queues.values().flatten().any(is_kept),
            "deleted before it was sent: {deleted:?}"
        );
        Some(json!({}))
    }
}

fn error(code: &str) -> Response<Full<Bytes>> {
    json_answer(400, &json!({ "__type": format!("com.amazonaws.sqs#{code}"), "message": "It is refused." }))
}

fn json_answer(status: u16, body: &Value) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .header("content-type", "application/x-amz-json-1.0")
        .body(Full::new(Bytes::from(body.to_string())))
        .expect("complete")
}
