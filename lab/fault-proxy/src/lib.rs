//! Faults and a limited capacity between the functions and DynamoDB, on demand.

#![allow(clippy::expect_used, reason = "a failure here ends a test or a run")]

mod capacity;

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{AUTHORIZATION, CONTENT_LENGTH, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};

use crate::capacity::{Buckets, Demand, reads_beyond_demand};
pub use crate::capacity::{Capacity, Usage};

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: it is passed on.
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
    state: Arc<Mutex<State>>,
    under_way: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct State {
    /// The only operation that has faults; none means all operations.
    only: Option<String>,
    next: VecDeque<Fault>,
    then: Fault,
    /// How likely `then` is to happen to a request, from 0 to 1.
    share: f64,
    chance: fastrand::Rng,
    /// None if the database has no limit.
    buckets: Option<Buckets>,
    usage: Usage,
}

impl State {
    fn fault(&mut self, operation: &str) -> Fault {
        if self.only.as_ref().is_some_and(|only| only != operation) {
            return Fault::None;
        }
        match self.next.pop_front() {
            Some(fault) => fault,
            None if self.chance.f64() < self.share => self.then,
            None => Fault::None,
        }
    }

    /// Whether each part of a demand is admitted. What is admitted counts as consumed.
    fn admit(&mut self, demand: &Demand) -> Vec<bool> {
        let admitted = match &mut self.buckets {
            Some(buckets) => buckets.admit(demand, Instant::now()),
            None => vec![true; demand.parts.len()],
        };
        for (part, _) in demand.parts.iter().zip(&admitted).filter(|(_, admitted)| **admitted) {
            self.usage.write_units += part.write;
            self.usage.read_units += part.read;
        }
        admitted
    }

    fn charge_reads(&mut self, table: Option<&str>, units: f64) {
        self.usage.read_units += units;
        if let Some(buckets) = &mut self.buckets {
            buckets.charge_reads(table, units);
        }
    }
}

impl FaultProxy {
    /// A proxy that passes everything on at first.
    pub async fn before(database: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let state = Arc::new(Mutex::new(State {
            only: None,
            next: VecDeque::new(),
            then: Fault::None,
            share: 1.0,
            chance: fastrand::Rng::with_seed(0),
            buckets: None,
            usage: Usage::default(),
        }));
        let under_way = Arc::new(AtomicUsize::new(0));
        tokio::spawn(serve(listener, database, Arc::clone(&state), Arc::clone(&under_way)));
        Self { address, state, under_way }
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on, the database has this capacity, beginning with a full bucket; or no limit.
    pub fn limit(&self, capacity: Option<Capacity>) {
        let buckets = capacity.map(|capacity| Buckets::of(capacity, Instant::now()));
        self.state.lock().expect("not poisoned").buckets = buckets;
    }

    /// What the requests have consumed since the last call of this.
    pub fn take_usage(&self) -> Usage {
        std::mem::take(&mut self.state.lock().expect("not poisoned").usage)
    }

    /// From now on, only requests for this operation have faults.
    pub fn only(&self, operation: &str) {
        self.state.lock().expect("not poisoned").only = Some(operation.to_owned());
    }

    /// From now on, this happens to every request.
    pub fn always(&self, fault: Fault) {
        let mut state = self.state.lock().expect("not poisoned");
        state.next.clear();
        state.then = fault;
        state.share = 1.0;
    }

    /// From now on, this happens to a share of the requests, from 0 to 1, chosen at random from a seed.
    pub fn sometimes(&self, share: f64, fault: Fault, seed: u64) {
        let mut state = self.state.lock().expect("not poisoned");
        state.next.clear();
        state.then = fault;
        state.share = share;
        state.chance = fastrand::Rng::with_seed(seed);
    }

    /// The number of requests since the last call of this, of [`FaultProxy::take_usage`], or of
    /// [`FaultProxy::take_requests_of`] for their operation.
    pub fn take_request_count(&self) -> usize {
        std::mem::take(&mut self.state.lock().expect("not poisoned").usage.requests).values().sum()
    }

    /// The number of requests that have neither a response nor been cut, or have yet to take effect.
    pub fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Relaxed)
    }

    /// These happen to the next requests, one each; then requests are passed on.
    pub fn next(&self, faults: impl IntoIterator<Item = Fault>) {
        let mut state = self.state.lock().expect("not poisoned");
        state.next = faults.into_iter().collect();
        state.then = Fault::None;
        state.share = 1.0;
    }

    /// The number of requests for an operation since the last call of this.
    pub fn take_requests_of(&self, operation: &str) -> usize {
        self.state.lock().expect("not poisoned").usage.requests.remove(operation).unwrap_or_default()
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

async fn serve(
    listener: TcpListener,
    database: SocketAddr,
    state: Arc<Mutex<State>>,
    under_way: Arc<AtomicUsize>,
) {
    let client = http_client();
    while let Ok((socket, _)) = listener.accept().await {
        let (client, state, under_way) = (client.clone(), Arc::clone(&state), Arc::clone(&under_way));
        let service = service_fn(move |request| {
            let (client, state) = (client.clone(), Arc::clone(&state));
            let under_way = UnderWay::one(&under_way);
            // An error of the service is how a connection is cut.
            async move { respond(request, database, client, state, under_way).await.ok_or("cut") }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), service));
    }
}

/// Counts a request until it is dropped, which also happens when its client disconnects.
struct UnderWay(Arc<AtomicUsize>);

impl UnderWay {
    fn one(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request on its way to the database.
#[derive(Clone)]
struct Passing {
    url: String,
    headers: HeaderMap,
    client: reqwest::Client,
}

impl Passing {
    /// The same request in the name of the account itself. A changed body does not match its signature; the emulator
    /// does not check the signature of the account.
    fn by_the_account(mut self) -> Self {
        let signature = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/dynamodb/aws4_request, \
                         SignedHeaders=host, Signature=0";
        self.headers.insert(AUTHORIZATION, HeaderValue::from_static(signature));
        self.headers.remove("x-amz-security-token");
        self
    }

    async fn pass(self, body: Bytes) -> Option<Response<Bytes>> {
        let mut headers = self.headers;
        headers.remove(CONTENT_LENGTH);
        let response = self.client.post(self.url).headers(headers).body(body).send().await.ok()?;
        let mut copy = Response::builder().status(response.status());
        *copy.headers_mut()? = response.headers().clone();
        copy.body(response.bytes().await.ok()?).ok()
    }
}

/// The response; none if the connection is to be cut.
async fn respond(
    request: Request<Incoming>,
    database: SocketAddr,
    client: reqwest::Client,
    state: Arc<Mutex<State>>,
    under_way: UnderWay,
) -> Option<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.ok()?.to_bytes();
    let target = head.headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
    let fault = {
        let mut state = state.lock().expect("not poisoned");
        *state.usage.requests.entry(operation.clone()).or_default() += 1;
        state.fault(&operation)
    };
    let passing = Passing { url: format!("http://{database}{}", head.uri), headers: head.headers, client };
    let pass = pass_what_fits(operation.clone(), body.clone(), passing.clone(), Arc::clone(&state));
    let response = match fault {
        Fault::None => pass.await,
        Fault::Throttle => Some(throttled()),
        Fault::ThrottleStatements if operation == "BatchExecuteStatement" => {
            let request = serde_json::from_slice(&body).ok()?;
            throttle_statements(request, passing, "ThrottlingError", |place| place % 2 == 0).await
        }
        Fault::ThrottleStatements => pass.await,
        Fault::ServerError => Some(error(500, "InternalServerError", "An internal error.")),
        Fault::Reject => Some(error(400, "ValidationException", "The request is not valid.")),
        Fault::CutBefore => None,
        Fault::CutAfter => {
            pass.await;
            None
        }
        Fault::Hang => {
            // Bounded, so that a forgotten test ends.
            let _ = timeout(Duration::from_secs(60), std::future::pending::<()>()).await;
            None
        }
        Fault::Delay(delay) => {
            sleep(delay).await;
            pass.await
        }
        Fault::Late(delay) => {
            // A task of its own: the client cannot stop it.
            let late = tokio::spawn(async move {
                sleep(delay).await;
                let response = pass.await;
                drop(under_way);
                response
            });
            late.await.ok().flatten()
        }
    };
    response.map(|response| response.map(Full::new))
}

/// Passes on what fits into the capacity, and responds to the rest as DynamoDB does.
async fn pass_what_fits(
    operation: String,
    body: Bytes,
    passing: Passing,
    state: Arc<Mutex<State>>,
) -> Option<Response<Bytes>> {
    let Ok(request) = serde_json::from_slice::<Value>(&body) else { return passing.pass(body).await };
    let demand = Demand::of(&operation, &request);
    let admitted = {
        let mut state = state.lock().expect("not poisoned");
        let admitted = state.admit(&demand);
        let throttled = admitted.iter().filter(|admitted| !**admitted).count();
        if operation == "BatchExecuteStatement" {
            state.usage.throttled_statements += throttled;
        } else {
            state.usage.throttled_requests += throttled.min(1);
        }
        admitted
    };
    if admitted.contains(&false) {
        if operation != "BatchExecuteStatement" {
            return Some(throttled());
        }
        // "BatchStatementError": the request succeeds, and each statement has its own error.
        return throttle_statements(request, passing, "ProvisionedThroughputExceeded", |place| {
            !admitted[place]
        })
        .await;
    }
    let response = passing.pass(body).await?;
    if demand.units().1 > 0.0 {
        let found = serde_json::from_slice(response.body()).unwrap_or_default();
        let table = demand.parts.first().and_then(|part| part.table.as_deref());
        let units = reads_beyond_demand(&operation, &request, &found);
        state.lock().expect("not poisoned").charge_reads(table, units);
    }
    Some(response)
}

/// Passes on the statements that are not throttled, and puts the errors of the others between their responses.
async fn throttle_statements(
    mut request: Value,
    passing: Passing,
    code: &str,
    is_throttled: impl Fn(usize) -> bool,
) -> Option<Response<Bytes>> {
    let statements = request.get_mut("Statements")?.as_array_mut()?;
    let count = statements.len();
    let mut places = 0..count;
    statements.retain(|_| places.next().is_some_and(|place| !is_throttled(place)));
    let passed: Vec<Value> = if statements.is_empty() {
        Vec::new()
    } else {
        let response = passing.by_the_account().pass(Bytes::from(request.to_string())).await?;
        let mut response: Value = serde_json::from_slice(response.body()).ok()?;
        response.get_mut("Responses")?.as_array_mut()?.drain(..).collect()
    };
    let mut passed = passed.into_iter();
    let responses: Vec<_> = (0..count)
        .map(|place| match is_throttled(place) {
            true => json!({ "Error": { "Code": code, "Message": "The level of throughput is exceeded." } }),
            false => passed.next().unwrap_or_default(),
        })
        .collect();
    Some(json_response(StatusCode::OK, &json!({ "Responses": responses })))
}

fn throttled() -> Response<Bytes> {
    error(400, "ProvisionedThroughputExceededException", "The level of throughput is exceeded.")
}

fn error(status: u16, kind: &str, message: &str) -> Response<Bytes> {
    let kind = format!("com.amazonaws.dynamodb.v20120810#{kind}");
    let body = json!({ "__type": kind, "message": message });
    json_response(StatusCode::from_u16(status).expect("a status"), &body)
}

fn json_response(status: StatusCode, body: &Value) -> Response<Bytes> {
    Response::builder()
        .status(status)
        .header("content-type", "application/x-amz-json-1.0")
        .body(Bytes::from(body.to_string()))
        .expect("complete")
}
