//! Faults and a limited capacity between the functions and DynamoDB, on demand.

#![allow(clippy::expect_used, reason = "a failure here ends a test or a run")]

mod capacity;

use std::{
    collections::VecDeque,
    mem::take,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Request, Response,
    body::{Bytes, Incoming},
    header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::sleep};

use crate::capacity::{Bucket, read_units, writes};
pub use crate::capacity::{Capacity, Usage};

/// The one operation whose parts are throttled by themselves.
const BATCH: &str = "BatchExecuteStatement";

/// What happens to a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: it is passed on.
    #[default]
    None,
    /// The database has no capacity left.
    Throttle,
    /// In a batch, every second statement is throttled, beginning with the first: the response is a 200.
    ThrottleStatements,
    /// The database responds with 500.
    ServerError,
    /// The database rejects the request for good.
    Reject,
    /// The connection is cut before the request reaches the database.
    CutBefore,
    /// The connection is cut after the request took effect.
    CutAfter,
    /// There is no response, ever.
    Hang,
    /// The request is passed on late, if its client still waits then.
    Delay(Duration),
    /// The request takes effect late, even if its client does not wait any more.
    Late(Duration),
}

/// An HTTP proxy before a DynamoDB endpoint.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// What the proxy and its requests share.
#[derive(Debug)]
struct Shared {
    database: SocketAddr,
    client: reqwest::Client,
    state: Mutex<State>,
    under_way: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    /// The only operation that has faults; none means all operations.
    only: Option<String>,
    next: VecDeque<Fault>,
    then: Fault,
    /// How likely `then` is to happen to a request, from 0 to 1.
    share: f64,
    chance: fastrand::Rng,
    /// None if the database has no limit.
    bucket: Option<Bucket>,
    usage: Usage,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("not poisoned")
    }
}

impl State {
    /// Counts a request for an operation, and returns what happens to it.
    fn fault(&mut self, operation: &str) -> Fault {
        *self.usage.requests.entry(operation.to_owned()).or_default() += 1;
        if self.only.as_ref().is_some_and(|only| only != operation) {
            return Fault::None;
        }
        match self.next.pop_front() {
            Some(fault) => fault,
            None if self.chance.f64() < self.share => self.then,
            None => Fault::None,
        }
    }

    /// Whether each write of a request is admitted. What is admitted counts as consumed.
    fn admit(&mut self, operation: &str, request: &Value) -> Vec<bool> {
        let mut admitted = Vec::new();
        for write in writes(operation, request) {
            let fits = self.bucket.as_mut().is_none_or(|bucket| bucket.admit(&write, Instant::now()));
            if fits {
                self.usage.write_units += write.units;
            }
            admitted.push(fits);
        }
        let throttled = admitted.iter().filter(|fits| !**fits).count();
        if operation == BATCH {
            self.usage.throttled_statements += throttled;
        } else {
            self.usage.throttled_requests += throttled.min(1);
        }
        admitted
    }
}

impl FaultProxy {
    /// A proxy that passes everything on at first.
    pub async fn before(database: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (state, under_way) = (Mutex::default(), AtomicUsize::new(0));
        let shared = Arc::new(Shared { database, client: http_client(), state, under_way });
        tokio::spawn(serve(listener, Arc::clone(&shared)));
        Self { address, shared }
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on, the database has this capacity, beginning with a full bucket; or no limit.
    pub fn limit(&self, capacity: Option<Capacity>) {
        self.shared.state().bucket = capacity.map(|capacity| Bucket::full(capacity, Instant::now()));
    }

    /// From now on, only requests for this operation have faults.
    pub fn only(&self, operation: &str) {
        self.shared.state().only = Some(operation.to_owned());
    }

    /// From now on, this happens to every request.
    pub fn always(&self, fault: Fault) {
        self.sometimes(1.0, fault, 0);
    }

    /// From now on, this happens to a share of the requests, by chance from a seed.
    pub fn sometimes(&self, share: f64, fault: Fault, seed: u64) {
        let mut state = self.shared.state();
        state.next.clear();
        state.then = fault;
        state.share = share;
        state.chance = fastrand::Rng::with_seed(seed);
    }

    /// These happen to the next requests, one each; then requests are passed on.
    pub fn next(&self, faults: impl IntoIterator<Item = Fault>) {
        self.always(Fault::None);
        self.shared.state().next = faults.into_iter().collect();
    }

    /// What the requests have consumed since the last call of this.
    pub fn take_usage(&self) -> Usage {
        take(&mut self.shared.state().usage)
    }

    /// The number of requests since the last call of this, of [`FaultProxy::take_usage`], or of
    /// [`FaultProxy::take_requests_of`] for their operation.
    pub fn take_request_count(&self) -> usize {
        take(&mut self.shared.state().usage.requests).values().sum()
    }

    /// The number of requests for an operation since the last call of this.
    pub fn take_requests_of(&self, operation: &str) -> usize {
        self.shared.state().usage.requests.remove(operation).unwrap_or_default()
    }

    /// The number of requests that have neither a response nor been cut, or have yet to take effect.
    pub fn under_way(&self) -> usize {
        self.shared.under_way.load(Ordering::Relaxed)
    }
}

/// A client of a stack, which is not behind this machine's proxy, if there is one.
///
/// # Panics
/// If it cannot be built.
pub fn http_client() -> reqwest::Client {
    // A build of the whole workspace enables TLS here, for the end-to-end tests: then a crypto provider is needed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().expect("a client")
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((socket, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        let service = service_fn(move |request: Request<Incoming>| {
            let shared = Arc::clone(&shared);
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.map_err(|_| "the client is gone")?.to_bytes();
                let path = head.uri.to_string();
                let response = Exchange::new(shared, path, head.headers, body).respond().await;
                // An error of the service is how a connection is cut.
                response.map(|response| response.map(Full::new)).ok_or("cut")
            }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), service));
    }
}

/// A request to the database. It counts as under way until it is dropped, which also happens when its client
/// disconnects.
struct Exchange {
    shared: Arc<Shared>,
    operation: String,
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.shared.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Exchange {
    fn new(shared: Arc<Shared>, path: String, headers: HeaderMap, body: Bytes) -> Self {
        let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok());
        let operation = target.and_then(|target| target.rsplit('.').next()).unwrap_or_default().to_owned();
        shared.under_way.fetch_add(1, Ordering::Relaxed);
        Self { shared, operation, path, headers, body }
    }

    /// The response; none if the connection is to be cut.
    async fn respond(self) -> Option<Response<Bytes>> {
        let fault = self.shared.state().fault(&self.operation);
        match fault {
            Fault::ThrottleStatements if self.operation == BATCH => {
                self.throttle_statements("ThrottlingError", |index| index % 2 == 0).await
            }
            Fault::None | Fault::ThrottleStatements => self.pass_what_fits().await,
            Fault::Throttle => Some(throttled()),
            Fault::ServerError => Some(error(500, "InternalServerError", "An internal error.")),
            Fault::Reject => Some(error(400, "ValidationException", "The request is not valid.")),
            Fault::CutBefore => None,
            Fault::CutAfter => {
                self.pass_what_fits().await;
                None
            }
            Fault::Hang => {
                // Bounded, so that a forgotten test ends.
                sleep(Duration::from_secs(60)).await;
                None
            }
            Fault::Delay(delay) => self.pass_after(delay).await,
            // A task of its own: the client cannot stop it.
            Fault::Late(delay) => tokio::spawn(self.pass_after(delay)).await.ok().flatten(),
        }
    }

    async fn pass_after(self, delay: Duration) -> Option<Response<Bytes>> {
        sleep(delay).await;
        self.pass_what_fits().await
    }

    /// Passes on what fits into the capacity, and responds to the rest as DynamoDB does.
    async fn pass_what_fits(&self) -> Option<Response<Bytes>> {
        let request: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let admitted = self.shared.state().admit(&self.operation, &request);
        if admitted.contains(&false) {
            if self.operation != BATCH {
                return Some(throttled());
            }
            // "BatchStatementError": the request succeeds, and each statement has its own error.
            return self.throttle_statements("ProvisionedThroughputExceeded", |index| !admitted[index]).await;
        }
        let response = self.pass(self.body.clone()).await?;
        let found = serde_json::from_slice(response.body()).unwrap_or_default();
        self.shared.state().usage.read_units += read_units(&self.operation, &request, &found);
        Some(response)
    }

    /// Passes on the statements that are not throttled, and puts the errors of the others between their responses.
    async fn throttle_statements(
        &self,
        code: &str,
        is_throttled: impl Fn(usize) -> bool,
    ) -> Option<Response<Bytes>> {
        let mut request: Value = serde_json::from_slice(&self.body).ok()?;
        let statements = request.get_mut("Statements")?.as_array_mut()?;
        let count = statements.len();
        let mut indices = 0..count;
        statements.retain(|_| indices.next().is_some_and(|index| !is_throttled(index)));
        let mut passed = Vec::new();
        if !statements.is_empty() {
            let response = self.pass(Bytes::from(request.to_string())).await?;
            let response: Value = serde_json::from_slice(response.body()).ok()?;
            passed = response["Responses"].as_array()?.clone();
        }
        let mut passed = passed.into_iter();
        let error = json!({ "Error": { "Code": code, "Message": "The level of throughput is exceeded." } });
        let response = |index| if is_throttled(index) { Some(error.clone()) } else { passed.next() };
        let responses: Vec<_> = (0..count).map(response).collect();
        Some(json_response(200, &json!({ "Responses": responses })))
    }

    async fn pass(&self, body: Bytes) -> Option<Response<Bytes>> {
        let mut headers = self.headers.clone();
        headers.remove(CONTENT_LENGTH);
        if body != self.body {
            // A changed body does not match its signature. The emulator does not check that of the account itself.
            let signature = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/dynamodb/aws4_request, \
                             SignedHeaders=host, Signature=0";
            headers.insert(AUTHORIZATION, HeaderValue::from_static(signature));
            headers.remove("x-amz-security-token");
        }
        let url = format!("http://{}{}", self.shared.database, self.path);
        let response = self.shared.client.post(url).headers(headers).body(body).send().await.ok()?;
        let mut copy = Response::builder().status(response.status());
        *copy.headers_mut()? = response.headers().clone();
        copy.body(response.bytes().await.ok()?).ok()
    }
}

fn throttled() -> Response<Bytes> {
    error(400, "ProvisionedThroughputExceededException", "The level of throughput is exceeded.")
}

fn error(status: u16, kind: &str, message: &str) -> Response<Bytes> {
    let kind = format!("com.amazonaws.dynamodb.v20120810#{kind}");
    json_response(status, &json!({ "__type": kind, "message": message }))
}

fn json_response(status: u16, body: &Value) -> Response<Bytes> {
    let response = Response::builder().status(status).header(CONTENT_TYPE, "application/x-amz-json-1.0");
    response.body(Bytes::from(body.to_string())).expect("complete")
}
