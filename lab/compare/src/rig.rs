//! The stack under test: what its clients use, what an operator can do to it, and what only an operator sees. One on
//! this machine has a proxy before its tables.

mod table;

use std::{
    collections::HashMap,
    mem::take,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Instant,
};

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_sqs::types::QueueAttributeName;
use e2e::stack::{Socket, Stack, eventually, partition_key, processes_with};
use fault_proxy::{Capacity, Fault, FaultProxy, Usage};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use reqwest::{Method, Request};
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;

use crate::{callers::Caller, schedule::OWNERS};

/// What names the address of the database to the SDK ("Service-specific endpoints").
const ENDPOINT: &str = "AWS_ENDPOINT_URL_DYNAMODB";

/// What this was before, if it was there.
const ENDPOINT_BEFORE: &str = "COMPARE_ENDPOINT_BEFORE";

/// An address at which nothing listens in a function.
const NOWHERE: &str = "http://127.0.0.1:9";

/// The text in a message, in bytes: its item takes one write unit.
const TEXT_BYTES: usize = 500;

/// Of the emulator. If the generator itself runs at 10, it has at least the same priority.
const NICENESS: &str = "10";

/// CloudWatch Logs counts so many bytes for each event beside its text ("PutLogEvents").
const LOG_EVENT_BYTES: usize = 26;

pub(crate) struct Rig {
    pub(crate) stack: Stack,
    /// What gives the table a size; a deployed stack's table has one of its own.
    proxy: Option<FaultProxy>,
    /// What connects the queue with the consumer, as deployed; null if nothing changes it.
    event_source: Value,
    /// The owners' names and tokens. The names are others in each run, and so the messages.
    owners: Vec<(String, String)>,
    /// The keys of all messages that may have been stored.
    sent: Mutex<Vec<String>>,
}

/// What can be counted on this machine only: the work of the function that stores what a caller sends.
#[derive(Clone, Debug)]
pub(crate) struct Counted {
    pub(crate) usage: Usage,
    pub(crate) invocations: usize,
    pub(crate) billed_ms: f64,
    pub(crate) memory_mb: f64,
    pub(crate) log_bytes: usize,
    /// How many batches are consumed at once, at most.
    pub(crate) consumers: f64,
}

/// What arrived at the sockets of all owners.
#[derive(Default)]
pub(crate) struct Pushes {
    pub(crate) frames: usize,
    /// When each message was first notified, by its id.
    pub(crate) notified: HashMap<String, Instant>,
}

impl Rig {
    /// A stack on this machine, with a proxy between its functions and its tables.
    pub(crate) async fn local(stack: Stack) -> Self {
        let proxy = FaultProxy::before(stack.address()).await;
        let url = proxy.url();
        let mut rig = Self { proxy: Some(proxy), ..Self::deployed(stack) };
        let consumer = rig.function(Caller::Queue);
        let path = format!("/2015-03-31/event-source-mappings/?FunctionName={consumer}");
        rig.event_source =
            rig.stack.rest("lambda", Method::GET, &path, None).await["EventSourceMappings"][0].take();
        rig.lower_priority();
        for caller in [Caller::Once, Caller::Queue] {
            rig.change_environment(caller, |variables| {
                variables.insert(ENDPOINT.to_owned(), json!(url));
            })
            .await;
        }
        rig
    }

    pub(crate) fn deployed(stack: Stack) -> Self {
        let owners = OWNERS.iter().map(|(name, _)| {
            let name = format!("{name}-{}", stack.at.run);
            let token = stack.caller_named(&name).token;
            (name, token)
        });
        Self {
            owners: owners.collect(),
            stack,
            proxy: None,
            event_source: Value::Null,
            sent: Mutex::default(),
        }
    }

    /// Lowers the priority of the emulator and of the functions that it will start: with few processors, the generator
    /// would wait for them when its time has come. Where that is not possible it is late, and says so.
    fn lower_priority(&self) {
        for process in processes_with(&format!("GATEWAY_PORT={}", self.stack.address().port())) {
            // The group has all threads of the emulator. Other processes lead none, which is an error here.
            let mut renice = Command::new("renice");
            renice.args(["-n", NICENESS, "-g", &process.to_string()]);
            let _ = renice.stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
    }

    /// A request to store these messages of one owner, in the order of their ids.
    pub(crate) fn request(&self, caller: Caller, owner: usize, ids: &[&str]) -> Request {
        let (name, token) = &self.owners[owner];
        self.sent.lock().expect("not poisoned").extend(ids.iter().map(|id| partition_key(name, id)));
        let resource = format!("{}/{}", self.stack.at.http_url, caller.resource());
        let request = match ids {
            [id] => self.stack.http.put(format!("{resource}/{id}")),
            _ => self.stack.http.post(resource),
        };
        let request = request.bearer_auth(token).header("content-type", "application/json");
        request.body(body(ids)).build().expect("a request")
    }

    /// The record of a message by the API, or the problem in its place; null without a response.
    pub(crate) async fn look_up(&self, owner: usize, id: &str) -> Value {
        let url = format!("{}/messages/{id}", self.stack.at.http_url);
        let sent = self.stack.http.get(url).bearer_auth(&self.owners[owner].1).send().await;
        let Ok(response) = sent else { return Value::Null };
        serde_json::from_slice(&response.bytes().await.unwrap_or_default()).unwrap_or_default()
    }

    /// Opens a socket for every owner. They are open, and what arrives is kept, until the set of tasks is dropped.
    pub(crate) async fn sockets(&self) -> (JoinSet<()>, Arc<Mutex<Pushes>>) {
        let (mut listeners, pushes) = (JoinSet::new(), Arc::default());
        for (_, token) in &self.owners {
            let socket = self.stack.connect(&format!("?token={token}")).await.expect("a socket");
            listeners.spawn(listen(socket, Arc::clone(&pushes)));
        }
        (listeners, pushes)
    }

    /// Removes all messages that may have been stored. Returns how many these were.
    pub(crate) async fn remove_sent(&self) -> usize {
        let keys = take(&mut *self.sent.lock().expect("not poisoned"));
        for key in &keys {
            let delete = self.stack.dynamodb.delete_item().table_name(&self.stack.at.messages_table);
            let delete = delete.key("pk", AttributeValue::S(key.clone()));
            delete.send().await.expect("the table can be written");
        }
        keys.len()
    }

    /// How many messages the queue holds, those in flight among them, and how many requests to the database are under
    /// way, as far as that is seen.
    pub(crate) async fn under_way(&self) -> usize {
        let names = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        ];
        let request = self.stack.sqs.get_queue_attributes().queue_url(&self.stack.at.queue_url);
        let response = request.set_attribute_names(Some(names.to_vec())).send().await;
        let numbers = response.expect("the stack responds").attributes.unwrap_or_default();
        let queued = names.map(|name| numbers[&name].parse::<usize>().expect("a number"));
        queued.iter().sum::<usize>() + self.proxy.as_ref().map_or(0, FaultProxy::under_way)
    }

    /// The configuration of the function that stores what this caller sends, once no change of it is under way.
    async fn configuration(&self, caller: Caller) -> Value {
        let path = self.configuration_path(caller);
        eventually(&format!("{path} without a change"), async || {
            let configuration = self.stack.rest("lambda", Method::GET, &path, None).await;
            let is_changing = configuration["LastUpdateStatus"] == "InProgress";
            if is_changing { Err("it is changing") } else { Ok(configuration) }
        })
        .await
    }

    async fn change_environment(&self, caller: Caller, change: impl FnOnce(&mut Map<String, Value>)) {
        let mut variables = self.configuration(caller).await["Environment"]["Variables"].take();
        change(variables.as_object_mut().expect("variables"));
        let request = json!({ "Environment": { "Variables": variables } });
        self.stack.rest("lambda", Method::PUT, &self.configuration_path(caller), Some(&request)).await;
    }

    fn configuration_path(&self, caller: Caller) -> String {
        format!("/2015-03-31/functions/{}/configuration", self.function(caller))
    }

    /// The name of the function that stores what this caller sends.
    fn function(&self, caller: Caller) -> &str {
        self.stack.resource(match caller {
            Caller::Once | Caller::Retrying => "SyncInsertFunction",
            Caller::Queue => "QueueConsumerFunction",
        })
    }

    /// Limits the table of messages to so many write units a second, from a bucket that is full; or not at all. A
    /// deployed table keeps its limit until all runs are over.
    pub(crate) async fn limit(&self, units: Option<f64>) {
        match (&self.proxy, units) {
            (Some(proxy), _) => {
                proxy.limit(units.map(|units| Capacity::of(&self.stack.at.messages_table, units)));
            }
            (None, Some(units)) => table::provision(&self.stack, units).await,
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

    /// Makes the function that stores what this caller sends reach its database, or not. Its own address of it stays in
    /// the environment meanwhile: the next run finds it there if this one is killed.
    async fn make_unavailable(&self, caller: Caller, unavailable: bool) {
        let variables = &self.configuration(caller).await["Environment"]["Variables"];
        if unavailable == (variables[ENDPOINT] == NOWHERE) {
            return;
        }
        self.change_environment(caller, |variables| {
            let before = if unavailable {
                variables.insert(ENDPOINT.to_owned(), json!(NOWHERE)).map(|before| (ENDPOINT_BEFORE, before))
            } else {
                variables.remove(ENDPOINT);
                variables.remove(ENDPOINT_BEFORE).map(|before| (ENDPOINT, before))
            };
            variables.extend(before.map(|(name, before)| (name.to_owned(), before)));
        })
        .await;
    }

    /// Sets a deployed stack back, whether this run or one before it has changed it.
    pub(crate) async fn set_back(&self) {
        for caller in [Caller::Once, Caller::Queue] {
            self.make_unavailable(caller, false).await;
        }
        table::set_back(&self.stack).await;
    }

    /// Kills the processes of the function that stores what this caller sends, on this machine. Returns how many there
    /// were.
    pub(crate) fn kill_all(&self, caller: Caller) -> usize {
        let name = format!("AWS_LAMBDA_FUNCTION_NAME={}", self.function(caller));
        let mut processes = processes_with(&name);
        // Another stack may have a function of the same name, but not the same proxy.
        let url = self.proxy.as_ref().map(FaultProxy::url).unwrap_or_default();
        let behind_proxy = processes_with(&format!("{ENDPOINT}={url}"));
        processes.retain(|process| behind_proxy.contains(process));
        processes.into_iter().filter(|id| kill(Pid::from_raw(*id), Signal::SIGKILL).is_ok()).count()
    }

    /// Limits how many requests the synchronous function and how many batches the consumer works on at once; or as
    /// deployed. Only on this machine.
    pub(crate) async fn limit_concurrency(&self, limit: Option<usize>) {
        let path = format!("/2017-10-31/functions/{}/concurrency", self.function(Caller::Once));
        let reserved = limit.map(|limit| json!({ "ReservedConcurrentExecutions": limit }));
        let method = if reserved.is_some() { Method::PUT } else { Method::DELETE };
        self.stack.rest("lambda", method, &path, reserved.as_ref()).await;
        let path = format!("/2015-03-31/event-source-mappings/{}", text(&self.event_source, "UUID"));
        let limited = limit.map(|limit| json!({ "MaximumConcurrency": limit }));
        let change =
            json!({ "ScalingConfig": limited.as_ref().unwrap_or(&self.event_source["ScalingConfig"]) });
        self.stack.rest("lambda", Method::PUT, &path, Some(&change)).await;
    }

    /// Begins to count. Returns the length of the functions' log.
    pub(crate) fn begin_count(&self) -> usize {
        let Some(proxy) = &self.proxy else { return 0 };
        proxy.take_usage();
        self.stack.function_log().len()
    }

    /// The work of the function that stores what this caller sends, since the log had this length, at this time.
    pub(crate) async fn counted(&self, caller: Caller, log_length: usize, since_ms: i64) -> Option<Counted> {
        let usage = self.proxy.as_ref()?.take_usage();
        let configuration = self.configuration(caller).await;
        let log = self.stack.function_log();
        let lines = log[log_length..].lines().filter_map(|line| line.split_once('\t'));
        let lines = lines.filter(|(name, _)| *name == text(&configuration, "FunctionName"));
        let log_bytes = lines.map(|(_, line)| line.len() + LOG_EVENT_BYTES).sum();
        // Lambda reports each invocation in the log ("Log formats for Lambda"). The emulator has one page of them.
        let request = json!({ "logGroupName": configuration["LoggingConfig"]["LogGroup"], "startTime": since_ms,
                              "filterPattern": "\"REPORT RequestId\"" });
        let reports = self.stack.json_rpc("logs", "Logs_20140328.FilterLogEvents", &request).await;
        let billed = reports["events"].as_array().expect("log events").iter().map(|report| {
            let (_, rest) = text(report, "message").split_once("Billed Duration: ").expect("a report");
            rest.split(' ').next().and_then(|ms| ms.parse::<f64>().ok()).expect("milliseconds")
        });
        Some(Counted {
            usage,
            invocations: billed.len(),
            billed_ms: billed.sum(),
            memory_mb: configuration["MemorySize"].as_f64().expect("a memory size"),
            log_bytes,
            consumers: self.event_source["ScalingConfig"]["MaximumConcurrency"].as_f64().expect("a limit"),
        })
    }
}

/// The body of a request: a message, or a bulk of several.
pub(crate) fn body(ids: &[&str]) -> String {
    let payload = json!({ "text": "x".repeat(TEXT_BYTES) });
    let message = |id| json!({ "id": id, "payload": payload });
    match ids {
        [_] => payload.to_string(),
        _ => json!({ "messages": ids.iter().map(message).collect::<Vec<_>>() }).to_string(),
    }
}

async fn listen(mut socket: Socket, pushes: Arc<Mutex<Pushes>>) {
    loop {
        let event = socket.next_event().await;
        let at = Instant::now();
        let mut pushes = pushes.lock().expect("not poisoned");
        pushes.frames += take(&mut socket.frames);
        pushes.notified.entry(text(&event, "subject").to_owned()).or_insert(at);
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}
