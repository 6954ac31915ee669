//! The stack under test, with a proxy before its tables: what an operator can do to it, and what only an operator
//! sees.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use aws_sdk_sqs::types::QueueAttributeName;
use e2e::stack::{Stack, processes_with};
use fault_proxy::{Capacity, FaultProxy};
use futures_util::StreamExt;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::timeout};
use tokio_tungstenite::{connect_async, tungstenite::Message as Frame};

use crate::{callers::Caller, schedule::OWNERS};

/// Marks the processes of the functions that go through the proxy.
const MARK: &str = "COMPARED_THROUGH";

/// How long a socket may take to open.
const SOCKET_LIMIT: Duration = Duration::from_secs(15);

/// CloudWatch Logs counts so many bytes for each event beside its text ("PutLogEvents").
const LOG_EVENT_BYTES: usize = 26;

/// The stack under test.
pub(crate) struct Rig {
    pub(crate) stack: Stack,
    pub(crate) proxy: FaultProxy,
    pub(crate) http: reqwest::Client,
    pub(crate) tokens: Vec<String>,
}

/// The function that stores what a caller sends.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    name: String,
    log_group: String,
    pub(crate) memory_mb: f64,
}

/// How often a function ran, and for how long altogether.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Invocations {
    pub(crate) count: usize,
    pub(crate) billed_ms: f64,
}

/// The sockets of all owners, and when each message was first notified.
pub(crate) struct Sockets {
    listeners: Vec<JoinHandle<()>>,
    pub(crate) notified: Arc<Mutex<HashMap<String, Instant>>>,
    pub(crate) frames: Arc<AtomicUsize>,
}

impl Drop for Sockets {
    fn drop(&mut self) {
        self.listeners.iter().for_each(JoinHandle::abort);
    }
}

impl Rig {
    /// Puts a proxy between the functions and the tables.
    pub(crate) async fn of(stack: Stack) -> Self {
        let proxy = FaultProxy::before(stack.address()).await;
        let http = fault_proxy::http_client();
        let tokens = OWNERS.iter().map(|(name, _)| stack.caller_named(name).token).collect();
        let rig = Self { stack, proxy, http, tokens };
        rig.yield_to_the_generator();
        for caller in [Caller::Once, Caller::Queue] {
            let path = rig.configuration(caller);
            let configuration = rig.stack.rest("lambda", Method::GET, &path, None).await;
            let mut variables = configuration["Environment"]["Variables"].clone();
            variables["AWS_ENDPOINT_URL_DYNAMODB"] = json!(rig.proxy.url());
            variables[MARK] = json!(rig.mark(caller));
            let change = json!({ "Environment": { "Variables": variables } });
            rig.stack.rest("lambda", Method::PUT, &path, Some(&change)).await;
        }
        rig
    }

    /// Lowers the priority of the emulator and of the functions that it will start: with few processors, the generator
    /// would wait for them when its time has come. Where that is not possible it is late, and says so.
    fn yield_to_the_generator(&self) {
        // Behind the name of the program, which is in parentheses, the 17th field ("proc_pid_stat(5)").
        let own = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let own = own.rsplit(") ").next().and_then(|fields| fields.split(' ').nth(16)?.parse::<i32>().ok());
        let lower = (own.unwrap_or(0) + 5).to_string();
        let port = self.stack.address().port();
        for process in processes_with(&format!("GATEWAY_PORT={port}")) {
            // The group has all threads of the emulator. Other processes lead none, which is an error here.
            let group = process.to_string();
            let mut renice = Command::new("renice");
            renice.args(["-n", &lower, "-g", &group]).stdout(Stdio::null()).stderr(Stdio::null());
            let _ = renice.status();
        }
    }

    /// The function that stores what this caller sends.
    pub(crate) async fn function(&self, caller: Caller) -> Function {
        let described = self.stack.rest("lambda", Method::GET, &self.configuration(caller), None).await;
        Function {
            name: text(&described, "FunctionName").to_owned(),
            log_group: text(&described["LoggingConfig"], "LogGroup").to_owned(),
            memory_mb: described["MemorySize"].as_f64().expect("a memory size"),
        }
    }

    fn configuration(&self, caller: Caller) -> String {
        format!("{}/configuration", self.stack.function(function_name(caller)))
    }

    fn mark(&self, caller: Caller) -> String {
        let way = if caller == Caller::Queue { "queue" } else { "sync" };
        format!("{}/{way}", self.proxy.url())
    }

    /// Limits the table of messages to so many units a second, from a full bucket; or not at all.
    pub(crate) fn limit(&self, units: Option<f64>) {
        self.proxy.limit(units.map(|units| Capacity::of(&self.stack.at.messages_table, units)));
    }

    /// Kills the processes of the function that stores what this caller sends. Returns how many there were.
    pub(crate) fn kill_all(&self, caller: Caller) -> usize {
        let processes = processes_with(&format!("{MARK}={}", self.mark(caller)));
        processes.into_iter().filter(|id| kill(Pid::from_raw(*id), Signal::SIGKILL).is_ok()).count()
    }

    /// Limits how many requests the synchronous function and how many batches the consumer works on at once; or
    /// as deployed.
    pub(crate) async fn limit_concurrency(&self, limit: Option<usize>, deployed: &Value) {
        let function = self.stack.resource(function_name(Caller::Once));
        let path = format!("/2017-10-31/functions/{function}/concurrency");
        let reserved = limit.map(|limit| json!({ "ReservedConcurrentExecutions": limit }));
        let method = if reserved.is_some() { Method::PUT } else { Method::DELETE };
        self.stack.rest("lambda", method, &path, reserved.as_ref()).await;
        let path = format!("/2015-03-31/event-source-mappings/{}", text(deployed, "UUID"));
        let maximum = limit.map(|limit| json!({ "MaximumConcurrency": limit }));
        let change = json!({ "ScalingConfig": maximum.unwrap_or_else(|| deployed["ScalingConfig"].clone()) });
        self.stack.rest("lambda", Method::PUT, &path, Some(&change)).await;
    }

    /// What connects the queue with the consumer, as deployed.
    pub(crate) async fn event_source(&self) -> Value {
        let all = self.stack.rest("lambda", Method::GET, "/2015-03-31/event-source-mappings/", None).await;
        let consumer = self.stack.resource(function_name(Caller::Queue));
        let sources = all["EventSourceMappings"].as_array().expect("event sources").iter();
        let mut sources = sources.filter(|source| text(source, "FunctionArn").contains(consumer));
        sources.next().expect("the consumer has an event source").clone()
    }

    /// How many messages the queue holds, those in flight among them.
    pub(crate) async fn queue_depth(&self) -> usize {
        let names = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        ];
        let request = self.stack.sqs.get_queue_attributes().queue_url(&self.stack.at.queue_url);
        let response = request.set_attribute_names(Some(names.to_vec())).send().await;
        let numbers = response.expect("the stack responds").attributes.unwrap_or_default();
        names.map(|name| numbers[&name].parse::<usize>().expect("a number")).iter().sum()
    }

    /// After how long the queue delivers again what was not acknowledged.
    pub(crate) async fn set_visibility_timeout(&self, seconds: u32) {
        let request = self.stack.sqs.set_queue_attributes().queue_url(&self.stack.at.queue_url);
        let request = request.attributes(QueueAttributeName::VisibilityTimeout, seconds.to_string());
        request.send().await.expect("the stack responds");
    }

    /// The invocations since a time, by the reports that Lambda logs ("Log formats for Lambda").
    pub(crate) async fn invocations(&self, function: &Function, since_ms: i64) -> Invocations {
        let mut all = Invocations::default();
        let mut token = Value::Null;
        loop {
            let mut request = json!({ "logGroupName": function.log_group, "startTime": since_ms,
                                      "filterPattern": "\"REPORT RequestId\"" });
            if token.is_string() {
                request["nextToken"] = token;
            }
            let page = self.stack.json_rpc("logs", "Logs_20140328.FilterLogEvents", &request).await;
            let events = page["events"].as_array().into_iter().flatten();
            for message in events.filter_map(|event| event["message"].as_str()) {
                if let Some((_, rest)) = message.split_once("Billed Duration: ") {
                    all.count += 1;
                    all.billed_ms += rest.split(' ').next().and_then(|ms| ms.parse().ok()).unwrap_or(0.0);
                }
            }
            token = page["nextToken"].clone();
            if !token.is_string() {
                return all;
            }
        }
    }

    /// How long the functions' log is.
    pub(crate) fn log_length(&self) -> u64 {
        self.function_log().metadata().expect("the functions' log").len()
    }

    /// How many bytes of log this function has written since then, as CloudWatch Logs counts them.
    pub(crate) fn logged_since(&self, function: &Function, length: u64) -> usize {
        let mut file = self.function_log();
        let mut text = Vec::new();
        file.seek(SeekFrom::Start(length))
            .and_then(|_| file.read_to_end(&mut text))
            .expect("the functions' log");
        let text = String::from_utf8_lossy(&text);
        let lines = text.lines().filter_map(|line| line.split_once('\t'));
        lines.filter(|(name, _)| *name == function.name).map(|(_, line)| line.len() + LOG_EVENT_BYTES).sum()
    }

    fn function_log(&self) -> File {
        let emulator = self.stack.at.emulator.as_ref().expect("a stack on this machine");
        File::open(&emulator.function_log).expect("the functions' log")
    }

    /// Opens a socket for every owner.
    pub(crate) async fn sockets(&self) -> Sockets {
        let mut sockets = Sockets { listeners: Vec::new(), notified: Arc::default(), frames: Arc::default() };
        for token in &self.tokens {
            let url = format!("{}?token={token}", self.stack.at.websocket_url);
            let opened = timeout(SOCKET_LIMIT, connect_async(url)).await.expect("the stack responds");
            let mut stream = opened.expect("a socket").0;
            let (notified, frames) = (Arc::clone(&sockets.notified), Arc::clone(&sockets.frames));
            sockets.listeners.push(tokio::spawn(async move {
                while let Some(Ok(frame)) = stream.next().await {
                    let Frame::Text(text) = frame else { continue };
                    let at = Instant::now();
                    let events: Value = serde_json::from_str(&text).expect("frames are JSON");
                    frames.fetch_add(1, Ordering::Relaxed);
                    let mut notified = notified.lock().expect("not poisoned");
                    for event in events.as_array().into_iter().flatten() {
                        notified.entry(text_of(event, "subject")).or_insert(at);
                    }
                }
            }));
        }
        sockets
    }
}

fn function_name(caller: Caller) -> &'static str {
    match caller {
        Caller::Once | Caller::Retrying => "SyncInsertFunction",
        Caller::Queue => "QueueConsumerFunction",
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

fn text_of(value: &Value, name: &str) -> String {
    text(value, name).to_owned()
}
