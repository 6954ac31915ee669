//! An HTTP endpoint that stands for `@connections` of the WebSocket API, as far as pushing needs it.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
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
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};

/// What happens to a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushFault {
    /// It is answered with this HTTP status and does not reach the socket: 410 if that is gone.
    Status(u16),
    /// The connection is cut before it reaches the socket.
    CutBefore,
    /// The connection is cut after it reached the socket.
    CutAfter,
    /// It reaches the socket, and the answer comes this late.
    Delay(Duration),
    /// There is no answer, ever.
    Hang,
}

/// The sockets behind the endpoint. Every connection is open unless told otherwise.
#[derive(Debug)]
pub struct Pushes {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    frames: HashMap<String, Vec<String>>,
    faults: HashMap<String, (PushFault, usize)>,
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
        self.fail(connection_id, PushFault::Status(status), usize::MAX);
    }

    /// This happens to so many pushes to this connection from now on.
    pub fn fail(&self, connection_id: &str, fault: PushFault, times: usize) {
        self.state.lock().expect("not poisoned").faults.insert(connection_id.to_owned(), (fault, times));
    }

    /// The frames that a connection got, as they came.
    pub fn frames(&self, connection_id: &str) -> Vec<String> {
        self.state.lock().expect("not poisoned").frames.get(connection_id).cloned().unwrap_or_default()
    }

    /// What a connection was told: the last word of each event's type and its subject.
    pub fn told(&self, connection_id: &str) -> Vec<(String, String)> {
        let text = |event: &Value, name: &str| event[name].as_str().unwrap_or_default().to_owned();
        self.events(connection_id)
            .iter()
            .map(|event| {
                let kind = text(event, "type");
                (kind.trim_start_matches("intake.message.").to_owned(), text(event, "subject"))
            })
            .collect()
    }

    /// The events that a connection got, as they came.
    pub fn events(&self, connection_id: &str) -> Vec<Value> {
        let events = |frame: &String| serde_json::from_str::<Vec<Value>>(frame).expect("a JSON array");
        self.frames(connection_id).iter().flat_map(events).collect()
    }
}

/// The answer; an error if the connection is to be cut.
async fn answer(
    request: Request<Incoming>,
    state: Arc<Mutex<State>>,
) -> Result<Response<Full<Bytes>>, &'static str> {
    let connection_id = request.uri().path().trim_start_matches("/v1/@connections/").to_owned();
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let fault = {
        let mut state = state.lock().expect("not poisoned");
        let fault = state.faults.get_mut(&connection_id).and_then(|(fault, times)| {
            *times = times.checked_sub(1)?;
            Some(*fault)
        });
        if matches!(fault, None | Some(PushFault::CutAfter | PushFault::Delay(_))) {
            let frame = String::from_utf8(body.to_vec()).expect("text");
            state.frames.entry(connection_id).or_default().push(frame);
        }
        fault
    };
    match fault {
        None => {}
        Some(PushFault::Status(status)) => return Ok(refusal(status)),
        Some(PushFault::CutBefore | PushFault::CutAfter) => return Err("cut"),
        Some(PushFault::Delay(delay)) => sleep(delay).await,
        Some(PushFault::Hang) => {
            // Bounded, so that a test that forgot to let go ends.
            let _ = timeout(Duration::from_secs(60), std::future::pending::<()>()).await;
        }
    }
    Ok(Response::new(Full::default()))
}

fn refusal(status: u16) -> Response<Full<Bytes>> {
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
