//! What the operator of a local stack sees and does.

use std::{
    fs,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use fault_proxy::{Capacity, Fault, FaultProxy};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use reqwest::{Method, RequestBuilder};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{Error, Local};

/// Logical ids in template.yaml, which CloudFormation puts into the names of functions.
const CONSUMER: &str = "QueueConsumerFunction";
const SYNC_INSERT: &str = "SyncInsertFunction";

/// The logical id of the function that redrives.
const REDRIVE: &str = "RedriveFunction";

/// What the page may ask for.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(crate) enum Command {
    State,
    Limit { units_per_second: Option<f64> },
    StopDatabase { seconds: u64 },
    EndOutage,
    KillConsumer,
    DeadLetters,
    Redrive,
}

/// The operations that write messages.
const WRITES: [&str; 2] = ["PutItem", "BatchExecuteStatement"];

pub(crate) struct Operator {
    local: Local,
    http: reqwest::Client,
    databases: Arc<Databases>,
    switches: Arc<Mutex<Switches>>,
}

/// Proxies before the one database, of the synchronous design and of the queue with what serves both: each design has a
/// database of the chosen capacity to itself. If they shared it, the one that asks more often would take it from the
/// other.
type Databases = [FaultProxy; 2];

fn set(databases: &Databases, fault: Fault) {
    databases.iter().for_each(|database| database.always(fault));
}

#[derive(Debug, Default)]
struct Switches {
    units_per_second: Option<f64>,
    outage_until: Option<Instant>,
    /// Since the start, of each design.
    write_requests: [usize; 2],
}

impl Operator {
    /// Puts the proxies between the functions of a stack and its database.
    pub(crate) async fn of(local: &Local, database: SocketAddr) -> Result<Self, Error> {
        let operator = Self {
            local: local.clone(),
            http: fault_proxy::http_client(),
            databases: Arc::new([FaultProxy::before(database).await, FaultProxy::before(database).await]),
            switches: Arc::default(),
        };
        operator.redirect().await?;
        Ok(operator)
    }

    pub(crate) async fn run(&self, command: Command) -> Result<Value, Error> {
        match command {
            Command::State => return self.state().await,
            Command::Limit { units_per_second: Some(units) } if !(1.0..=40_000.0).contains(&units) => {
                return Err(Error::Command(
                    "A capacity is 1 to 40,000 units a second, or null for no limit.",
                ));
            }
            Command::Limit { units_per_second } => self.limit(units_per_second),
            Command::StopDatabase { seconds } if !(1..=600).contains(&seconds) => {
                return Err(Error::Command("An outage takes 1 to 600 seconds."));
            }
            Command::StopDatabase { seconds } => self.begin_outage(Duration::from_secs(seconds)),
            Command::EndOutage => self.end_outage(),
            Command::KillConsumer => return self.kill_consumer().await,
            Command::DeadLetters => return self.dead_letters().await,
            Command::Redrive => return self.redrive().await,
        }
        Ok(Value::Null)
    }

    /// Makes every function that uses the tables reach them through its proxy.
    async fn redirect(&self) -> Result<(), Error> {
        let functions = self.lambda(Method::GET, "/2015-03-31/functions/", None).await?;
        for function in functions["Functions"].as_array().into_iter().flatten() {
            let mut variables = function["Environment"]["Variables"].clone();
            let uses_tables =
                ["MESSAGES_TABLE", "CONNECTIONS_TABLE"].iter().any(|name| variables.get(name).is_some());
            let Some(name) = function["FunctionName"].as_str().filter(|_| uses_tables) else { continue };
            let [sync, queue] = &*self.databases;
            let database = if name.contains(SYNC_INSERT) { sync } else { queue };
            variables["AWS_ENDPOINT_URL_DYNAMODB"] = json!(database.url());
            let path = format!("/2015-03-31/functions/{name}/configuration");
            let change = json!({ "Environment": { "Variables": variables } });
            self.lambda(Method::PUT, &path, Some(&change)).await?;
        }
        Ok(())
    }

    /// What the page shows, as of now.
    async fn state(&self) -> Result<Value, Error> {
        let [waiting, delivered, _] = self.attributes(&self.local.queue_url).await?;
        let [dead, hidden, _] = self.attributes(&self.local.dead_letter_queue_url).await?;
        let mut switches = self.switches.lock().unwrap_or_else(PoisonError::into_inner);
        for (database, requests) in self.databases.iter().zip(&mut switches.write_requests) {
            let usage = database.take_usage();
            *requests += WRITES.iter().filter_map(|operation| usage.requests.get(*operation)).sum::<usize>();
        }
        let [sync, queue] = switches.write_requests;
        let outage = switches.outage_until.map(|until| until.saturating_duration_since(Instant::now()));
        Ok(json!({
            "queue": { "waiting": waiting, "delivered": delivered },
            // The recorder hides dead letters while it looks at them.
            "deadLetters": dead + hidden,
            "writeRequests": { "sync": sync, "queue": queue },
            "unitsPerSecond": switches.units_per_second,
            "outageMs": outage.map_or(0, |left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
        }))
    }

    /// From now on, the table of messages has this capacity for each design, in write units; or no limit.
    fn limit(&self, units_per_second: Option<f64>) {
        for database in &*self.databases {
            database.limit(units_per_second.map(|units| Capacity::of(&self.local.messages_table, units)));
        }
        self.switches.lock().unwrap_or_else(PoisonError::into_inner).units_per_second = units_per_second;
    }

    /// The database responds to everything with an error, for so long.
    fn begin_outage(&self, length: Duration) {
        let until = Instant::now() + length;
        self.switches.lock().unwrap_or_else(PoisonError::into_inner).outage_until = Some(until);
        set(&self.databases, Fault::ServerError);
        let (databases, switches) = (Arc::clone(&self.databases), Arc::clone(&self.switches));
        tokio::spawn(async move {
            sleep(length).await;
            let mut switches = switches.lock().unwrap_or_else(PoisonError::into_inner);
            // Unless another one has begun meanwhile.
            if switches.outage_until == Some(until) {
                switches.outage_until = None;
                set(&databases, Fault::None);
            }
        });
    }

    fn end_outage(&self) {
        self.switches.lock().unwrap_or_else(PoisonError::into_inner).outage_until = None;
        set(&self.databases, Fault::None);
    }

    /// Kills a process of the consumer, at random, as if its machine was lost.
    async fn kill_consumer(&self) -> Result<Value, Error> {
        let consumers = consumers(&self.databases[1].url());
        let killed =
            fastrand::choice(consumers).filter(|id| kill(Pid::from_raw(*id), Signal::SIGKILL).is_ok());
        let [_, _, visibility] = self.attributes(&self.local.queue_url).await?;
        Ok(json!({ "killed": killed, "redeliverySeconds": visibility }))
    }

    /// The messages in the dead-letter queue. Their receive counts change by this.
    async fn dead_letters(&self) -> Result<Value, Error> {
        let report = self.invoke_redrive(&json!({ "dryRun": true })).await?;
        let letters = ["moved", "left"].into_iter().filter_map(|list| report[list].as_array()).flatten();
        Ok(letters.cloned().collect())
    }

    /// Moves the dead letters back into the queue.
    async fn redrive(&self) -> Result<Value, Error> {
        let report = self.invoke_redrive(&json!({})).await?;
        let count = |list: &str| report[list].as_array().map_or(0, Vec::len);
        Ok(json!({ "moved": count("moved"), "left": count("left") + count("failed") }))
    }

    async fn invoke_redrive(&self, event: &Value) -> Result<Value, Error> {
        let name = self.local.resources.get(REDRIVE);
        let name = name.ok_or_else(|| Error::Description(format!("the stack has no {REDRIVE}")))?;
        let path = format!("/2015-03-31/functions/{name}/invocations");
        let report = self.lambda(Method::POST, &path, Some(event)).await?;
        match report["error"].as_str().or(report["errorMessage"].as_str()) {
            Some(error) => Err(Error::Emulator(format!("redrive: {error}"))),
            None => Ok(report),
        }
    }

    /// Messages that wait in a queue, messages in delivery, and how many seconds these are hidden.
    async fn attributes(&self, queue_url: &str) -> Result<[u64; 3], Error> {
        let request = self
            .http
            .post(&self.local.emulator.endpoint)
            .header("x-amz-target", "AmazonSQS.GetQueueAttributes");
        let request = request.header("content-type", "application/x-amz-json-1.0");
        let names =
            ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "VisibilityTimeout"];
        let body = json!({ "QueueUrl": queue_url, "AttributeNames": names });
        let response = self.send("sqs", request.body(body.to_string())).await?;
        // Numbers are texts in SQS.
        Ok(names.map(|name| {
            response["Attributes"][name].as_str().and_then(|text| text.parse().ok()).unwrap_or(0)
        }))
    }

    async fn lambda(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Error> {
        let mut request = self.http.request(method, format!("{}{path}", self.local.emulator.endpoint));
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        self.send("lambda", request).await
    }

    /// Sends a request in the name of the account. The emulator verifies no signature: it reads the service in it.
    async fn send(&self, service: &str, request: RequestBuilder) -> Result<Value, Error> {
        let scope = format!("Credential=test/20260101/{}/{service}/aws4_request", self.local.region);
        let signature = format!("AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0");
        let response = request.header("authorization", signature).send().await.map_err(emulator)?;
        let status = response.status();
        let text = response.text().await.map_err(emulator)?;
        if !status.is_success() {
            return Err(Error::Emulator(format!("{service}: status {status}: {text}")));
        }
        serde_json::from_str(&text).map_err(|error| Error::Emulator(error.to_string()))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn emulator(error: reqwest::Error) -> Error {
    Error::Emulator(error.to_string())
}

/// The processes of the consumer whose database is behind this proxy: those of this stack.
fn consumers(proxy: &str) -> Vec<i32> {
    let database = format!("AWS_ENDPOINT_URL_DYNAMODB={proxy}");
    let is_consumer = |variable: &[u8]| {
        let text = str::from_utf8(variable).unwrap_or_default();
        text.strip_prefix("AWS_LAMBDA_FUNCTION_NAME=").is_some_and(|name| name.contains(CONSUMER))
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    ids.filter(|id| {
        let environment = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
        let mut variables = environment.split(|byte| *byte == 0);
        variables.clone().any(|variable| variable == database.as_bytes()) && variables.any(is_consumer)
    })
    .collect()
}
