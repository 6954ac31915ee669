//! An HTTP endpoint that stands for `@connections` of the WebSocket API, as far as pushing needs it.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

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

/// The sockets behind the endpoint. Every connection is open unless told otherwise.
#[derive(Debug)]
pub struct Pushes {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    frames: HashMap<String, Vec<String>>,
    statuses: HashMap<String, u16>,
}

impl Pushes {
    /// An endpoint to which nothing was pushed yet.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let state = Arc::new(Mutex::new(State::default()));
        let serving = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let state = Arc::clone(&serving);
                let service = service_fn(move |request| answer(request, Arc::clone(&state)));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), service));
            }
        });
        Self { address, state }
    }

    /// Where it is, with the stage in the path, as on AWS.
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Pushes to this connection get this HTTP status from now on: 410 if it is gone.
    pub fn answer(&self, connection_id: &str, status: u16) {
        self.state.lock().expect("not poisoned").statuses.insert(connection_id.to_owned(), status);
    }

    /// The frames that a connection got, as they came.
    pub fn frames(&self, connection_id: &str) -> Vec<String> {
        self.state.lock().expect("not poisoned").frames.get(connection_id).cloned().unwrap_or_default()
    }

    /// What a connection was told: the last word of each event's type and its subject.
    pub fn told(&self, connection_id: &str) -> Vec<(String, String)> {
        let events = |frame: &String| serde_json::from_str::<Vec<Value>>(frame).expect("a JSON array");
        let text = |event: &Value, name: &str| event[name].as_str().unwrap_or_default().to_owned();
        self.frames(connection_id)
            .iter()
            .flat_map(events)
            .map(|event| {
                let kind = text(&event, "type");
                (kind.trim_start_matches("intake.message.").to_owned(), text(&event, "subject"))
            })
            .collect()
    }
}

async fn answer(
    request: Request<Incoming>,
    state: Arc<Mutex<State>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let connection_id = request.uri().path().trim_start_matches("/v1/@connections/").to_owned();
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let mut state = state.lock().expect("not poisoned");
    let status = state.statuses.get(&connection_id).copied().unwrap_or(200);
    if status == 200 {
        let frame = String::from_utf8(body.to_vec()).expect("text");
        state.frames.entry(connection_id).or_default().push(frame);
    }
    let kind = match status {
        410 => "GoneException",
        403 => "ForbiddenException",
        _ => "InternalServerError",
    };
    let answer = Response::builder().status(status).header("content-type", "application/json");
    let answer = if status == 200 { answer } else { answer.header("x-amzn-errortype", kind) };
    let body = if status == 200 { String::new() } else { json!({ "message": kind }).to_string() };
    Ok(answer.body(Full::new(Bytes::from(body))).expect("complete"))
}
