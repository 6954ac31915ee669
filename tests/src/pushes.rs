//! An HTTP endpoint in place of `@connections` of the WebSocket API, as far as pushing needs it.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};

use crate::contract;

/// What happens to a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushFault {
    /// It does not reach the client; the response has this HTTP status: 410 if the connection is gone.
    Status(u16),
    /// The request is cut off before it reaches the client.
    CutBefore,
    /// The request is cut off after it reached the client.
    CutAfter,
    /// It reaches the client, and the response comes this late.
    Delay(Duration),
    /// It does not reach the client, and there is no response, ever.
    Hang,
}

/// The connections behind the endpoint. All that a test does not say otherwise about are open.
#[derive(Debug)]
pub struct Pushes {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// The connections of all requests, in their order, each behind the method.
    requests: Vec<String>,
    frames: HashMap<String, Vec<String>>,
    faults: HashMap<String, (PushFault, usize)>,
}

impl Pushes {
    /// An endpoint that has received nothing yet.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let state = Arc::new(Mutex::new(State::default()));
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

    /// Where it is, with the stage in the path, as on AWS.
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// From now on, this happens to every push to this connection.
    pub fn always(&self, connection_id: &str, fault: PushFault) {
        self.fail(connection_id, fault, usize::MAX);
    }

    /// From now on, this happens to so many pushes to this connection.
    pub fn fail(&self, connection_id: &str, fault: PushFault, times: usize) {
        self.state.lock().expect("not poisoned").faults.insert(connection_id.to_owned(), (fault, times));
    }

    /// All requests so far, in their order, each as method and connection.
    pub fn requests(&self) -> Vec<String> {
        self.state.lock().expect("not poisoned").requests.clone()
    }

    /// The frames that a connection has received, in their order. Each must be as `asyncapi.yaml` documents it.
    pub fn frames(&self, connection_id: &str) -> Vec<String> {
        let state = self.state.lock().expect("not poisoned");
        let frames = state.frames.get(connection_id).cloned().unwrap_or_default();
        frames.iter().for_each(|frame| contract::check_frame(frame));
        frames
    }

    /// The outcomes that a connection has received: each a kind and a message, as in `stored m-1`.
    pub fn outcomes(&self, connection_id: &str) -> Vec<String> {
        let text = |event: &Value, name: &str| event[name].as_str().unwrap_or_default().to_owned();
        let outcome = |event: &Value| {
            format!(
                "{} {}",
                text(event, "type").trim_start_matches("intake.message."),
                text(event, "subject")
            )
        };
        self.events(connection_id).iter().map(outcome).collect()
    }

    /// The events that a connection has received, in their order.
    pub fn events(&self, connection_id: &str) -> Vec<Value> {
        let events = |frame: &String| serde_json::from_str::<Vec<Value>>(frame).expect("a JSON array");
        self.frames(connection_id).iter().flat_map(events).collect()
    }
}

/// The response; an error cuts the request off.
async fn respond(
    request: Request<Incoming>,
    state: Arc<Mutex<State>>,
) -> Result<Response<Full<Bytes>>, &'static str> {
    let connection_id = request.uri().path().trim_start_matches("/v1/@connections/").to_owned();
    let method = request.method().clone();
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let fault = {
        let mut state = state.lock().expect("not poisoned");
        state.requests.push(format!("{method} {connection_id}"));
        let fault = state.faults.get_mut(&connection_id).and_then(|(fault, times)| {
            *times = times.checked_sub(1)?;
            Some(*fault)
        });
        if method == Method::POST && matches!(fault, None | Some(PushFault::CutAfter | PushFault::Delay(_))) {
            let frame = String::from_utf8(body.to_vec()).expect("text");
            state.frames.entry(connection_id).or_default().push(frame);
        }
        fault
    };
    match fault {
        None => {}
        Some(PushFault::Status(status)) => return Ok(error(status)),
        Some(PushFault::CutBefore | PushFault::CutAfter) => return Err("cut"),
        Some(PushFault::Delay(delay)) => sleep(delay).await,
        Some(PushFault::Hang) => {
            // Not for ever, so that a test which never stops waiting ends.
            let _ = timeout(Duration::from_secs(60), std::future::pending::<()>()).await;
        }
    }
    Ok(Response::new(Full::default()))
}

fn error(status: u16) -> Response<Full<Bytes>> {
    let kind = match status {
        410 => "GoneException",
        403 => "ForbiddenException",
        429 => "LimitExceededException",
        _ => "InternalServerError",
    };
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .header("x-amzn-errortype", kind)
        .body(Full::new(Bytes::from(json!({ "message": kind }).to_string())))
        .expect("complete")
}
