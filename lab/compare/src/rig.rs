//! The stack under test: what its clients use, what an operator can do to it, and what only an operator sees. One on
//! this machine has a proxy before its tables.

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
use e2e::stack::{Stack, eventually, processes_with};
use fault_proxy::{Capacity, Fault, FaultProxy, Usage};
use futures_util::StreamExt;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use reqwest::{Method, Request};
use serde_json::{Map, Value, json};
use tokio::{task::JoinHandle, time::timeout};
use tokio_tungstenite::{connect_async, tungstenite::Message as Frame};

use crate::{callers::Caller, deployed::ENDPOINT, schedule::OWNERS};

/// Marks the processes of the functions that go through the proxy.
const MARK: &str = "COMPARED_THROUGH";

/// How long a socket may take to open.
const SOCKET_LIMIT: Duration = Duration::from_secs(15);

/// CloudWatch Logs counts so many bytes for each event beside its text ("PutLogEvents").
const LOG_EVENT_BYTES: usize = 26;

/// The stack under test.
pub(crate) struct Rig {
    pub(crate) stack: Stack,
    /// What gives the table a size; a deployed stack's table has one of its own.
    proxy: Option<FaultProxy>,
    pub(crate) http: reqwest::Client,
    /// The owners' names and tokens. The names are others in each run, and so the messages.
    owners: Vec<(String, String)>,
    /// The keys of all messages that may have been stored.
    sent: Mutex<Vec<String>>,
    /// What the capacity of a deployed table was before this run has changed it.
    pub(crate) capacity_before: Mutex<Option<String>>,
}

/// What can be counted on this machine only: the work of the function that stores what a caller sends.
#[derive(Clone, Debug)]
pub(crate) struct Counted {
    /// What reached the database.
    pub(crate) usage: Usage,
    pub(crate) invocations: usize,
    pub(crate) billed_ms: f64,
    pub(crate) memory_mb: f64,
    pub(crate) log_bytes: usize,
}

/// What is known when counting begins.
pub(crate) struct Count {
    name: String,
    log_group: String,
    memory_mb: f64,
    log_length: u64,
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
    /// A stack on this machine, with a proxy between its functions and its tables.
    pub(crate) async fn local(stack: Stack) -> Self {
        let proxy = FaultProxy::before(stack.address()).await;
        let url = proxy.url();
        let rig = Self { proxy: Some(proxy), ..Self::deployed(stack) };
        rig.yield_to_the_generator();
        for caller in [Caller::Once, Caller::Queue] {
            let mark = rig.mark(caller);
            rig.change_environment(caller, |variables| {
                variables.insert(ENDPOINT.to_owned(), json!(url));
                variables.insert(MARK.to_owned(), json!(mark));
            })
            .await;
        }
        rig
    }

    /// A stack as it is deployed.
    pub(crate) fn deployed(stack: Stack) -> Self {
        let owners = OWNERS.iter().map(|(name, _)| {
            let name = format!("{name}-{}", stack.at.run);
            let token = stack.caller_named(&name).token;
            (name, token)
        });
        let (owners, http) = (owners.collect(), fault_proxy::http_client());
        let (sent, capacity_before) = (Mutex::default(), Mutex::default());
        Self { stack, proxy: None, http, owners, sent, capacity_before }
    }

    /// The request for a message.
    pub(crate) fn request(&self, caller: Caller, owner: usize, id: &str, body: &str) -> Request {
        let (name, token) = &self.owners[owner];
        self.sent.lock().expect("not poisoned").push(e2e::stack::partition_key(name, id));
        caller.request(&self.http, &self.stack.at.http_url, token, id, body)
    }

    /// Looks up a message by the API, and returns the response's status and body.
    pub(crate) async fn look_up(&self, owner: usize, id: &str) -> (u16, Value) {
        let url = format!("{}/messages/{id}", self.stack.at.http_url);
        let sent = self.http.get(url).bearer_auth(&self.owners[owner].1).send().await;
        let Ok(response) = sent else { return (0, Value::Null) };
        let status = response.status().as_u16();
        (status, serde_json::from_slice(&response.bytes().await.unwrap_or_default()).unwrap_or_default())
    }

    /// The keys of all messages that may have been stored.
    pub(crate) fn sent(&self) -> Vec<String> {
        self.sent.lock().expect("not poisoned").clone()
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

    /// The configuration of the function that stores what this caller sends, once no change of it is under way.
    pub(crate) async fn configuration(&self, caller: Caller) -> Value {
        let path = self.configuration_path(caller);
        eventually(&format!("{path} without a change"), async || {
            let configuration = self.stack.rest("lambda", Method::GET, &path, None).await;
            let state = text(&configuration, "LastUpdateStatus").to_owned();
            if state == "InProgress" { Err(state) } else { Ok(configuration) }
        })
        .await
    }

    /// Changes the environment variables of that function.
    pub(crate) async fn change_environment(
        &self,
        caller: Caller,
        change: impl FnOnce(&mut Map<String, Value>),
    ) {
        let mut variables = self.configuration(caller).await["Environment"]["Variables"].take();
        change(variables.as_object_mut().expect("variables"));
        let request = json!({ "Environment": { "Variables": variables } });
        self.stack.rest("lambda", Method::PUT, &self.configuration_path(caller), Some(&request)).await;
    }

    fn configuration_path(&self, caller: Caller) -> String {
        format!("{}/configuration", self.stack.function(function_name(caller)))
    }

    fn mark(&self, caller: Caller) -> String {
        let way = if caller == Caller::Queue { "queue" } else { "sync" };
        format!("{}/{way}", self.proxy.as_ref().map(FaultProxy::url).unwrap_or_default())
    }

    /// Limits the table of messages to so many write units a second, from a bucket that is full; or not at all. A
    /// deployed table keeps its limit until all runs are over.
    pub(crate) async fn limit(&self, units: Option<f64>) {
        match (&self.proxy, units) {
            (Some(proxy), _) => {
                proxy.limit(units.map(|units| Capacity::of(&self.stack.at.messages_table, units)));
            }
            (None, Some(units)) => self.provision(units).await,
            (None, None) => {}
        }
    }

    /// This happens to every request to the tables from now on, of the function that stores what this caller sends. On
    /// a deployed stack, whatever is no fault makes them unavailable.
    pub(crate) async fn fault(&self, caller: Caller, fault: Fault) {
        match &self.proxy {
            Some(proxy) => proxy.always(fault),
            None => self.make_unavailable(caller, fault != Fault::None).await,
        }
    }

    /// How many requests to the database are under way, as far as that is seen.
    pub(crate) fn under_way(&self) -> usize {
        self.proxy.as_ref().map_or(0, FaultProxy::under_way)
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

    /// Begins to count the work of the function that stores what this caller sends.
    pub(crate) async fn begin_count(&self, caller: Caller) -> Option<Count> {
        self.proxy.as_ref()?.take_usage();
        let configuration = self.configuration(caller).await;
        Some(Count {
            name: text(&configuration, "FunctionName").to_owned(),
            log_group: text(&configuration["LoggingConfig"], "LogGroup").to_owned(),
            memory_mb: configuration["MemorySize"].as_f64().expect("a memory size"),
            log_length: self.function_log().metadata().expect("the functions' log").len(),
        })
    }

    /// What was counted since then, from this time on.
    pub(crate) async fn counted(&self, count: Option<Count>, since_ms: i64) -> Option<Counted> {
        let (proxy, count) = (self.proxy.as_ref()?, count?);
        let usage = proxy.take_usage();
        let (invocations, billed_ms) = self.invocations(&count.log_group, since_ms).await;
        let log_bytes = self.logged(&count);
        Some(Counted { usage, invocations, billed_ms, memory_mb: count.memory_mb, log_bytes })
    }

    /// How often a function ran since a time, and for how many milliseconds altogether, by the reports that Lambda
    /// logs ("Log formats for Lambda").
    async fn invocations(&self, log_group: &str, since_ms: i64) -> (usize, f64) {
        let mut all = (0, 0.0);
        let mut token = Value::Null;
        loop {
            let mut request = json!({ "logGroupName": log_group, "startTime": since_ms,
                                      "filterPattern": "\"REPORT RequestId\"" });
            if token.is_string() {
                request["nextToken"] = token;
            }
            let page = self.stack.json_rpc("logs", "Logs_20140328.FilterLogEvents", &request).await;
            let events = page["events"].as_array().into_iter().flatten();
            for message in events.filter_map(|event| event["message"].as_str()) {
                if let Some((_, rest)) = message.split_once("Billed Duration: ") {
                    all.0 += 1;
                    all.1 += rest.split(' ').next().and_then(|ms| ms.parse().ok()).unwrap_or(0.0);
                }
            }
            token = page["nextToken"].clone();
            if !token.is_string() {
                return all;
            }
        }
    }

    /// How many bytes of log the function has written since then, as CloudWatch Logs counts them.
    fn logged(&self, count: &Count) -> usize {
        let mut file = self.function_log();
        let mut text = Vec::new();
        file.seek(SeekFrom::Start(count.log_length))
            .and_then(|_| file.read_to_end(&mut text))
            .expect("the functions' log");
        let text = String::from_utf8_lossy(&text);
        let lines = text.lines().filter_map(|line| line.split_once('\t'));
        lines.filter(|(name, _)| *name == count.name).map(|(_, line)| line.len() + LOG_EVENT_BYTES).sum()
    }

    fn function_log(&self) -> File {
        File::open(&self.stack.emulator().function_log).expect("the functions' log")
    }

    /// Opens a socket for every owner.
    pub(crate) async fn sockets(&self) -> Sockets {
        let mut sockets = Sockets { listeners: Vec::new(), notified: Arc::default(), frames: Arc::default() };
        for (_, token) in &self.owners {
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
