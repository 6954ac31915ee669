//! The Lambda Runtime API, as far as runtimes use it ("Using the Lambda runtime API"). It reads what the function's
//! process has used at every call.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    sync::{Arc, Mutex, OnceLock},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use nix::{time::ClockId, unistd::Pid};
use tokio::{
    net::TcpListener,
    sync::{
        Mutex as AsyncMutex,
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    },
    task::JoinSet,
};

use crate::{
    Failure,
    endpoints::{Counts, lock},
};

/// The deadline of an invocation. Long enough for an instrumented function.
const TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// What a process has used until a moment.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) at: Instant,
    /// The CPU time of all its threads, also of those that have ended.
    pub(crate) cpu: Duration,
    pub(crate) counts: Counts,
}

/// Reads a process, once it is started.
pub(crate) struct Meter {
    pid: OnceLock<Pid>,
    counts: Arc<Mutex<Counts>>,
}

impl Meter {
    pub(crate) fn new(counts: Arc<Mutex<Counts>>) -> Self {
        Self { pid: OnceLock::new(), counts }
    }

    pub(crate) fn watch(&self, pid: Pid) {
        // There is one process.
        let _ = self.pid.set(pid);
    }

    fn read(&self) -> Reading {
        let clock = self.pid.get().and_then(|pid| ClockId::pid_cpu_clock_id(*pid).ok());
        let cpu = clock.and_then(|clock| clock.now().ok()).map(Duration::from).unwrap_or_default();
        Reading { at: Instant::now(), cpu, counts: lock(&self.counts).clone() }
    }

    /// The peak of the resident memory, in bytes.
    pub(crate) fn peak_memory(&self) -> Result<u64, Failure> {
        let pid = self.pid.get().ok_or("no process")?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let fields: BTreeMap<_, _> = status.lines().filter_map(|line| line.split_once(':')).collect();
        let peak = fields.get("VmHWM").and_then(|field| field.split_whitespace().next());
        Ok(peak.ok_or("the process has ended")?.parse::<u64>()? * 1024)
    }
}

/// A call of the function.
#[derive(Debug)]
pub(crate) enum Call {
    /// It asks for an event. The reading is from before it gets one.
    Next(Reading),
    /// It responds to the event that it got at `sent`.
    Response { sent: Instant, reading: Reading, body: Bytes },
    /// It reports an error.
    Error(String),
}

/// The Runtime API for one process. Dropping it ends it.
pub(crate) struct RuntimeApi {
    address: SocketAddr,
    events: UnboundedSender<Bytes>,
    pub(crate) calls: UnboundedReceiver<Call>,
    _serving: JoinSet<()>,
}

struct Serving {
    events: AsyncMutex<UnboundedReceiver<Bytes>>,
    sent: Mutex<Instant>,
    calls: UnboundedSender<Call>,
    meter: Arc<Meter>,
}

impl RuntimeApi {
    pub(crate) async fn start(meter: Arc<Meter>) -> Result<Self, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (event_sender, events) = unbounded_channel();
        let (call_sender, calls) = unbounded_channel();
        let serving = Arc::new(Serving {
            events: AsyncMutex::new(events),
            sent: Mutex::new(Instant::now()),
            calls: call_sender,
            meter,
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let _ = socket.set_nodelay(true);
                let serving = Arc::clone(&serving);
                let service = service_fn(move |request| {
                    let serving = Arc::clone(&serving);
                    async move { serving.respond(request).await.map_err(|error| error.to_string()) }
                });
                connections.spawn(async move {
                    // A broken connection shows in what the function does next.
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
                });
            }
        });
        Ok(Self { address, events: event_sender, calls, _serving: tasks })
    }

    /// Host and port.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Sends an event, as soon as the function asks for one.
    pub(crate) fn send(&self, event: Bytes) -> Result<(), Failure> {
        Ok(self.events.send(event)?)
    }
}

impl Serving {
    async fn respond(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Failure> {
        let path = request.uri().path().trim_start_matches("/2018-06-01/runtime/").to_owned();
        match (request.method(), path.as_str()) {
            (&Method::GET, "invocation/next") => self.next().await,
            (&Method::POST, path) if path.ends_with("/response") => {
                let body = request.into_body().collect().await?.to_bytes();
                let reading = self.meter.read();
                let sent = *lock(&self.sent);
                self.calls.send(Call::Response { sent, reading, body })?;
                accepted()
            }
            (&Method::POST, path) if path.ends_with("/error") => {
                let body = request.into_body().collect().await?.to_bytes();
                self.calls.send(Call::Error(String::from_utf8_lossy(&body).into_owned()))?;
                accepted()
            }
            _ => Ok(Response::builder().status(404).body(Full::default())?),
        }
    }

    async fn next(&self) -> Result<Response<Full<Bytes>>, Failure> {
        self.calls.send(Call::Next(self.meter.read()))?;
        let event = self.events.lock().await.recv().await.ok_or("there are no more events")?;
        let deadline = SystemTime::now() + TIMEOUT;
        let response = Response::builder()
            .header("content-type", "application/json")
            .header("lambda-runtime-aws-request-id", "8476a536-e9f4-11e8-9739-2dfe598c3fcd")
            .header(
                "lambda-runtime-deadline-ms",
                deadline.duration_since(UNIX_EPOCH)?.as_millis().to_string(),
            )
            .header(
                "lambda-runtime-invoked-function-arn",
                "arn:aws:lambda:us-east-1:123456789012:function:bench",
            )
            .header(
                "lambda-runtime-trace-id",
                "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=0",
            )
            .body(Full::new(event))?;
        *lock(&self.sent) = Instant::now();
        Ok(response)
    }
}

fn accepted() -> Result<Response<Full<Bytes>>, Failure> {
    let response = Response::builder().status(202).header("content-type", "application/json");
    Ok(response.body(Full::new(Bytes::from_static(br#"{"status":"OK"}"#)))?)
}
