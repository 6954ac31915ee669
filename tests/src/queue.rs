//! A dead-letter queue in the test process, as far as receiving needs it: the emulator's runs on the stack only.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use aws_credential_types::Credentials;
use aws_sdk_sqs::config::{BehaviorVersion, Region};
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// The most messages in the response to one receive.
const RECEIVE_LIMIT: usize = 10;

/// A queue whose messages stay: a received one is hidden until [`Queue::show_all`].
#[derive(Debug)]
pub struct Queue {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    visible: Vec<Value>,
    hidden: Vec<Value>,
    /// Whether received messages are visible again at once.
    hides_nothing: bool,
    receives: usize,
}

impl Queue {
    /// A queue with these records, written as Lambda passes them on.
    pub async fn start(records: &[Value]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let visible = records.iter().map(message).collect();
        let state = Arc::new(Mutex::new(State { visible, ..State::default() }));
        let serving = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let state = Arc::clone(&serving);
                let service = service_fn(move |request| respond(request, Arc::clone(&state)));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), service));
            }
        });
        Self { address, state }
    }

    /// Makes all messages visible.
    pub fn show_all(&self) {
        let mut state = self.state.lock().expect("not poisoned");
        let hidden = std::mem::take(&mut state.hidden);
        state.visible.extend(hidden);
    }

    /// From now on, received messages are visible again at once.
    pub fn hide_nothing(&self) {
        self.state.lock().expect("not poisoned").hides_nothing = true;
    }

    /// How many receives there were so far.
    pub fn receives(&self) -> usize {
        self.state.lock().expect("not poisoned").receives
    }

    /// How many messages are in the queue, hidden or not.
    pub fn len(&self) -> usize {
        let state = self.state.lock().expect("not poisoned");
        state.visible.len() + state.hidden.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A client of it.
    pub fn client(&self) -> aws_sdk_sqs::Client {
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new(format!("port-{}", self.address.port())))
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .http_client(crate::database::aws_at(self.url(), "queue").http_client())
            .endpoint_url(self.url());
        aws_sdk_sqs::Client::from_conf(config.build())
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn respond(
    request: Request<Incoming>,
    state: Arc<Mutex<State>>,
) -> Result<Response<Full<Bytes>>, &'static str> {
    let target = request.headers().get("x-amz-target").cloned();
    assert_eq!(target.expect("a JSON protocol"), "AmazonSQS.ReceiveMessage", "it may receive only");
    request.into_body().collect().await.map_err(|_| "cut")?;
    let received = {
        let mut state = state.lock().expect("not poisoned");
        state.receives += 1;
        let count = RECEIVE_LIMIT.min(state.visible.len());
        let received: Vec<_> = state.visible.drain(..count).collect();
        if state.hides_nothing {
            state.visible.extend(received.clone());
        } else {
            state.hidden.extend(received.clone());
        }
        received
    };
    let body = json!({ "Messages": received }).to_string();
    let response = Response::builder().header("content-type", "application/x-amz-json-1.0");
    Ok(response.body(Full::new(Bytes::from(body))).expect("complete"))
}

/// A record as a receive returns it.
fn message(record: &Value) -> Value {
    let attributes = record["messageAttributes"].as_object().into_iter().flatten().map(|(name, value)| {
        let value = json!({ "DataType": value["dataType"], "StringValue": value["stringValue"] });
        (name.clone(), value)
    });
    json!({
        "MessageId": record["messageId"],
        "ReceiptHandle": record["messageId"],
        "Body": record["body"],
        "Attributes": record["attributes"],
        "MessageAttributes": attributes.collect::<serde_json::Map<_, _>>(),
    })
}
