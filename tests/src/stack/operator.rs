//! The queues, tables, functions and logs of a stack, as an operator has them.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    net::SocketAddr,
    sync::LazyLock,
    time::{Duration, SystemTime},
};

use aws_config::sts::AssumeRoleProvider;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_sqs::types::{
    Message as QueueMessage, MessageAttributeValue, MessageSystemAttributeName, QueueAttributeName,
    SendMessageBatchRequestEntry,
};
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4::SigningParams,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use reqwest::{
    Method,
    header::{HeaderName, HeaderValue},
};
use serde_json::{Value, json};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep},
};

use super::{Response, Stack, apart, eventually};

/// How long a message that the tests have received stays hidden, and how many of those that a queue is known to have make
/// it a second more: long enough to receive all of them, and no longer, because the stack itself has to receive dead
/// letters, too.
const VISIBILITY_TIMEOUT_SECONDS: usize = 1;
const RECEIVED_IN_A_SECOND: usize = 200;

/// How often the tests receive from the dead-letter queue, so that its messages are visible most of the time.
const DEAD_LETTER_INTERVAL: Duration = Duration::from_secs(3);

/// How far back the logs are searched: longer than a run of the tests.
const SEARCHED: Duration = Duration::from_secs(3600);

/// How long to wait between two requests to CloudWatch Logs, which responds to ten a second ("CloudWatch Logs quotas").
const LOGS_INTERVAL: Duration = Duration::from_millis(150);

/// How often, and how soon, the stack's queue delivers a message.
pub(super) struct Redelivery {
    pub(super) first_delay: Duration,
    pub(super) visibility_timeout: Duration,
    pub(super) max_receive_count: u32,
}

/// As the queue's attributes and the consumer's configuration say.
pub(super) static REDELIVERY: LazyLock<Redelivery> = LazyLock::new(|| {
    apart(async {
        let stack = Stack::running();
        let get = stack.sqs.get_queue_attributes().queue_url(&stack.at.queue_url);
        let got = get.attribute_names(QueueAttributeName::All).send().await;
        let attributes = got.expect("the queue has attributes").attributes.expect("attributes");
        let text = |name: &QueueAttributeName| attributes[name].as_str();
        let policy: Value = serde_json::from_str(text(&QueueAttributeName::RedrivePolicy)).expect("JSON");
        // A number, or a text that is one.
        let max_receive_count = policy["maxReceiveCount"].to_string();
        let seconds = text(&QueueAttributeName::VisibilityTimeout).parse().expect("a number");
        let path = format!("{}/configuration", stack.function("QueueConsumerFunction"));
        let consumer = stack.rest("lambda", Method::GET, &path, None).await;
        let first_delay = consumer["Environment"]["Variables"]["REDELIVERY_DELAY_SECONDS"].as_str();
        let first_delay = first_delay.and_then(|text| text.parse().ok()).expect("a number");
        Redelivery {
            first_delay: Duration::from_secs(first_delay),
            visibility_timeout: Duration::from_secs(seconds),
            max_receive_count: max_receive_count.trim_matches('"').parse().expect("a number"),
        }
    })
});

/// An item of a table.
pub type Item = HashMap<String, AttributeValue>;

/// The tables.
impl Stack {
    /// The item of a message.
    pub async fn item(&self, owner: &str, id: &str) -> Option<Item> {
        let key = AttributeValue::S(partition_key(owner, id));
        let found = self.dynamodb.get_item().table_name(&self.at.messages_table).key("pk", key);
        found.consistent_read(true).send().await.expect("the table can be read").item
    }

    /// All items of the table of messages.
    pub async fn items(&self) -> Vec<Item> {
        self.scan(&self.at.messages_table).await
    }

    /// All items of a table.
    pub async fn scan(&self, table: &str) -> Vec<Item> {
        let scan = self.dynamodb.scan().table_name(table).consistent_read(true);
        let pages = scan.into_paginator().items().send().collect::<Result<_, _>>().await;
        pages.expect("the table can be read")
    }

    /// Writes an item under a message's key that the consumer cannot read: a message with that key cannot be stored.
    pub async fn block(&self, owner: &str, id: &str) {
        self.dynamodb
            .put_item()
            .table_name(&self.at.messages_table)
            .item("pk", AttributeValue::S(partition_key(owner, id)))
            .item("status", AttributeValue::S("stored".to_owned()))
            .send()
            .await
            .expect("the table can be written");
    }

    /// Removes the item that [`Stack::block`] wrote.
    pub async fn unblock(&self, owner: &str, id: &str) {
        let key = AttributeValue::S(partition_key(owner, id));
        let delete = self.dynamodb.delete_item().table_name(&self.at.messages_table).key("pk", key);
        delete.send().await.expect("the table can be written");
    }

    /// The recorded connections of an owner.
    pub async fn connections(&self, owner: &str) -> Vec<Item> {
        self.dynamodb
            .query()
            .table_name(&self.at.connections_table)
            .key_condition_expression("#owner = :owner")
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_values(":owner", AttributeValue::S(owner.to_owned()))
            .consistent_read(true)
            .send()
            .await
            .expect("the table can be read")
            .items
            .unwrap_or_default()
    }

    /// Records a connection that does not exist.
    pub async fn add_gone_connection(&self, owner: &str, connection_id: &str) {
        let in_an_hour = jiff::Timestamp::now().as_second() + 3600;
        self.dynamodb
            .put_item()
            .table_name(&self.at.connections_table)
            .item("owner", AttributeValue::S(owner.to_owned()))
            .item("connection_id", AttributeValue::S(connection_id.to_owned()))
            .item("expires_at", AttributeValue::N(in_an_hour.to_string()))
            .item("valid_until", AttributeValue::N(in_an_hour.to_string()))
            .send()
            .await
            .expect("the table can be written");
    }
}

/// The queues.
impl Stack {
    /// A client of the queues in the role of the redrive function: besides the gateway's, only that role may send to
    /// the stack's queue. `cargo xtask` lets the account assume it.
    pub async fn sending_sqs(&self) -> &aws_sdk_sqs::Client {
        let connect = async || {
            let path = format!("{}/configuration", self.function("RedriveFunction"));
            let function = self.rest("lambda", Method::GET, &path, None).await;
            let role = AssumeRoleProvider::builder(function["Role"].as_str().expect("a role"));
            let provider = role.session_name("tests").configure(&self.config).build().await;
            // IAM needs some seconds until it knows that the role may be assumed.
            let credentials =
                eventually("the role of the redrive function", async || provider.provide_credentials().await);
            let provider = SharedCredentialsProvider::new(credentials.await);
            aws_sdk_sqs::Client::new(&self.config.to_builder().credentials_provider(provider).build())
        };
        self.sending_sqs.get_or_init(connect).await
    }

    /// Sends a record to the stack's queue, past the gateway, and returns its message id.
    pub async fn send(&self, record: Record) -> String {
        self.send_to(&self.at.queue_url, record).await
    }

    /// Sends a record to some queue, and returns its message id.
    pub async fn send_to(&self, queue_url: &str, record: Record) -> String {
        let mut message_ids = self.send_batch_to(queue_url, [record]).await;
        message_ids.pop().expect("a message id")
    }

    /// Sends up to ten records to some queue at once, and returns their message ids, in their order.
    pub async fn send_batch_to(
        &self,
        queue_url: &str,
        records: impl IntoIterator<Item = Record>,
    ) -> Vec<String> {
        let sqs = if queue_url == self.at.queue_url { self.sending_sqs().await } else { &self.sqs };
        // By this they are found again, even without an owner.
        let records = records.into_iter().map(|record| record.with("run", &self.at.run));
        let entries = records.enumerate().map(|(place, record)| {
            SendMessageBatchRequestEntry::builder()
                .id(place.to_string())
                .message_body(record.body)
                .set_message_attributes(Some(record.attributes))
                .build()
                .expect("complete")
        });
        let send = sqs.send_message_batch().queue_url(queue_url).set_entries(Some(entries.collect()));
        let sent = send.send().await.expect("the queue accepts the batch");
        assert_eq!(sent.failed(), [], "the queue accepts all of it");
        let mut ids: Vec<_> = sent.successful().iter().map(|one| (one.id(), one.message_id())).collect();
        ids.sort_unstable();
        ids.into_iter().map(|(_, message_id)| message_id.to_owned()).collect()
    }

    /// The queue's `maxReceiveCount`: how often it delivers a record before it becomes a dead letter.
    pub fn max_receive_count(&self) -> u32 {
        REDELIVERY.max_receive_count
    }

    /// After how long a record is delivered a second time, if it could not be stored.
    pub fn first_delay(&self) -> Duration {
        REDELIVERY.first_delay
    }

    /// The queue's visibility timeout, as it is deployed: after this long it delivers a record again that a killed
    /// consumer had received.
    pub fn visibility_timeout(&self) -> Duration {
        REDELIVERY.visibility_timeout
    }

    /// Changes the queue's visibility timeout, so that a test need not wait for as long as users do.
    pub async fn redeliver_after(&self, visibility_timeout: Duration) {
        let set = self.sqs.set_queue_attributes().queue_url(&self.at.queue_url);
        let seconds = visibility_timeout.as_secs().to_string();
        let set = set.attributes(QueueAttributeName::VisibilityTimeout, seconds);
        set.send().await.expect("the queue can be changed");
    }

    /// How many messages a queue has, with those in flight.
    pub async fn message_count(&self, queue_url: &str) -> usize {
        let names = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        ];
        let get = self.sqs.get_queue_attributes().queue_url(queue_url);
        let got = get.set_attribute_names(Some(names.to_vec())).send().await;
        let counts = got.expect("the queue has attributes").attributes.unwrap_or_default();
        names.iter().map(|name| counts[name].parse::<usize>().expect("a number")).sum()
    }

    /// Waits until a record is in the dead-letter queue.
    pub async fn dead_letter(&self, message_id: &str) -> QueueMessage {
        let awaited = format!("the record {message_id} in the dead-letter queue");
        eventually(&awaited, async || {
            let letters = self.dead_letters().await;
            let found = letters.iter().find(|letter| letter.message_id() == Some(message_id));
            found.cloned().ok_or_else(|| format!("{} dead letters, it is not among them", letters.len()))
        })
        .await
    }

    /// All dead letters that were in the queue since the tests have started, as of a few seconds ago. They stay there.
    pub async fn dead_letters(&self) -> Vec<QueueMessage> {
        // Shared by all tests, because one that receives a letter hides it from the others.
        static SEEN: Mutex<(Option<Instant>, BTreeMap<String, QueueMessage>)> =
            Mutex::const_new((None, BTreeMap::new()));
        let (received_at, letters) = &mut *SEEN.lock().await;
        if received_at.is_none_or(|at| at.elapsed() > DEAD_LETTER_INTERVAL) {
            loop {
                let received = self.receive_some(&self.at.dead_letter_queue_url, letters.len()).await;
                if received.is_empty() {
                    break;
                }
                let named = |letter: QueueMessage| (letter.message_id().expect("an id").to_owned(), letter);
                letters.extend(received.into_iter().map(named));
            }
            *received_at = Some(Instant::now());
        }
        letters.values().cloned().collect()
    }

    /// Receives from some queue, without waiting.
    pub async fn receive(&self, queue_url: &str) -> Vec<QueueMessage> {
        self.receive_some(queue_url, 0).await
    }

    async fn receive_some(&self, queue_url: &str, known: usize) -> Vec<QueueMessage> {
        let hidden_for = VISIBILITY_TIMEOUT_SECONDS + known / RECEIVED_IN_A_SECOND;
        self.sqs
            .receive_message()
            .queue_url(queue_url)
            .max_number_of_messages(10)
            .message_attribute_names("All")
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .visibility_timeout(hidden_for.try_into().expect("some seconds"))
            .send()
            .await
            .expect("the queue can be read")
            .messages
            .unwrap_or_default()
    }
}

/// The functions and their logs.
impl Stack {
    /// The physical name of a resource.
    pub fn resource(&self, logical_id: &str) -> &str {
        let known = &self.at.resources;
        known.get(logical_id).unwrap_or_else(|| panic!("the stack has no {logical_id}: {known:?}"))
    }

    /// The path of a function in Lambda's API.
    pub fn function(&self, logical_id: &str) -> String {
        format!("/2015-03-31/functions/{}", self.resource(logical_id))
    }

    /// Changes the environment variables and the timeout of a function, which then runs in new processes. Returns
    /// them as they were.
    pub async fn reconfigure(&self, logical_id: &str, change: impl FnOnce(&mut Value)) -> Value {
        let path = format!("{}/configuration", self.function(logical_id));
        let read = self.rest("lambda", Method::GET, &path, None).await;
        let variables = &read["Environment"]["Variables"];
        let before = json!({ "Environment": { "Variables": variables }, "Timeout": read["Timeout"] });
        let mut after = before.clone();
        change(&mut after);
        self.rest("lambda", Method::PUT, &path, Some(&after)).await;
        before
    }

    /// Invokes the consumer with a batch of records, and returns its response.
    pub async fn consume(&self, records: &[Value]) -> Value {
        self.invoke("QueueConsumerFunction", &json!({ "Records": records })).await
    }

    /// Invokes a function with an event, and returns its response.
    pub async fn invoke(&self, logical_id: &str, event: &Value) -> Value {
        let path = format!("{}/invocations", self.function(logical_id));
        self.rest("lambda", Method::POST, &path, Some(event)).await
    }

    /// Invokes the redrive with an event until it has seen all dead letters, and returns its report.
    pub async fn redrive(&self, event: &Value) -> Value {
        // One at a time, because each hides letters from the others. Tests that look at them do, too, for a moment.
        static REDRIVING: Mutex<()> = Mutex::const_new(());
        let _redriving = REDRIVING.lock().await;
        let report = eventually("a redrive that has seen all dead letters", async || {
            let report = self.invoke("RedriveFunction", event).await;
            if report["remaining"].is_null() { Ok(report) } else { Err(report) }
        })
        .await;
        assert_eq!((&report["error"], &report["failed"]), (&Value::Null, &json!([])), "{report}");
        report
    }

    /// All lines that the functions have logged so far and that contain this text.
    pub async fn logged(&self, text: &str) -> Vec<String> {
        self.entries(text).await.into_iter().map(|entry| entry.line).collect()
    }

    /// All log entries so far that contain this text, in the order of their times.
    pub async fn entries(&self, text: &str) -> Vec<Entry> {
        let start = (jiff::Timestamp::now() - SEARCHED).as_millisecond();
        let groups = self.at.resources.iter().filter_map(|(logical_id, name)| {
            logical_id.strip_suffix("LogGroup").map(|function| (function, name))
        });
        let mut entries = Vec::new();
        for (function, group) in groups {
            let mut request = json!({
                "logGroupName": group,
                "filterPattern": format!("\"{text}\""),
                "startTime": start,
            });
            loop {
                let page = self.json_rpc("logs", "Logs_20140328.FilterLogEvents", &request).await;
                let events = page["events"].as_array().expect("log events").iter();
                entries
                    .extend(events.filter_map(|event| Some(Entry::of(function, event["message"].as_str()?))));
                match &page["nextToken"] {
                    Value::Null => break,
                    token => request["nextToken"] = token.clone(),
                }
            }
        }
        // Of one format, their times sort as texts do.
        entries.sort_by_key(|entry| entry.json["timestamp"].as_str().unwrap_or_default().to_owned());
        entries
    }

    /// All that the functions have logged so far, in its order: the function's name, a tab, the line. Only a stack on
    /// this machine has such a file.
    pub fn function_log(&self) -> String {
        let path = &self.emulator().function_log;
        let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The lines of [`Stack::function_log`], with the functions' names.
    pub fn function_entries(&self) -> Vec<Entry> {
        let log = self.function_log();
        let entries = log.lines().filter_map(|line| line.split_once('\t'));
        entries.map(|(function, line)| Entry::of(function, line)).collect()
    }

    /// Waits until the consumer has settled a record.
    pub async fn settled(&self, message_id: &str) {
        eventually(&format!("the consumer to settle the record {message_id}"), async || {
            let lines = self.logged(message_id).await;
            if lines.iter().any(|line| line.contains("settled")) { Ok(()) } else { Err(lines.join("\n")) }
        })
        .await;
    }

    /// Where the emulator listens.
    pub fn address(&self) -> SocketAddr {
        let address = self.emulator().endpoint.trim_start_matches("http://");
        address.parse().expect("the endpoint is an address and a port")
    }
}

/// Services that have no client here: each would take minutes to compile.
impl Stack {
    /// Calls a service that speaks REST and JSON, and returns its response.
    pub async fn rest(&self, service: &str, method: Method, path: &str, body: Option<&Value>) -> Value {
        let body = body.map(Value::to_string).unwrap_or_default();
        let headers = [("content-type", "application/json")];
        let response = self.signed(service, method, path, &headers, body).await;
        assert!((200..300).contains(&response.status), "the response of {service} is {response:?}");
        response.json()
    }

    /// Calls an operation of a service that speaks JSON only, and returns its response.
    pub async fn json_rpc(&self, service: &str, target: &str, request: &Value) -> Value {
        // One at a time, because CloudWatch Logs limits the requests of an account.
        static CALLING: Mutex<()> = Mutex::const_new(());
        let version = if service == "logs" { "1.1" } else { "1.0" };
        let content_type = format!("application/x-amz-json-{version}");
        let headers = [("content-type", content_type.as_str()), ("x-amz-target", target)];
        eventually(&format!("a response to {target}"), async || {
            let _calling = CALLING.lock().await;
            if self.at.emulator.is_none() {
                sleep(LOGS_INTERVAL).await;
            }
            let body = request.to_string();
            let response = self.signed(service, Method::POST, "/", &headers, body).await;
            // The emulator responds with 500 if a function logs at the same moment.
            let again = response.status >= 500 || response.text.contains("Throttling");
            if again { Err(format!("{response:?}")) } else { Ok(response) }
        })
        .await
        .json()
    }

    async fn signed(
        &self,
        service: &str,
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
        body: String,
    ) -> Response {
        let base = match &self.at.emulator {
            Some(emulator) => emulator.endpoint.clone(),
            None => format!("https://{service}.{}.{}", self.at.region, self.at.url_suffix),
        };
        let url = format!("{base}{path}");
        let identity = self.credentials.clone().into();
        let parameters = SigningParams::builder()
            .identity(&identity)
            .region(&self.at.region)
            .name(service)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .expect("complete");
        let signable = SignableBody::Bytes(body.as_bytes());
        let signable = SignableRequest::new(method.as_str(), &*url, headers.iter().copied(), signable);
        let signed = sign(signable.expect("a valid request"), &parameters.into()).expect("signed");
        let mut call = self.http.request(method, &url);
        for (name, value) in headers.iter().copied().chain(signed.output().headers()) {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            call = call.header(name, HeaderValue::from_str(value).expect("a value"));
        }
        Response::to(call.body(body)).await
    }
}

/// A line that a function has logged.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The function, by its name in the template without `Function`.
    pub function: String,
    /// The line.
    pub line: String,
    /// The line as JSON; null if it is none.
    pub json: Value,
}

impl Entry {
    fn of(function: &str, line: &str) -> Self {
        let json = serde_json::from_str(line).unwrap_or_default();
        Self { function: function.to_owned(), line: line.to_owned(), json }
    }
}

/// The processes of this machine that have this variable in their environment, written as `NAME=value`. The
/// functions of a local stack are such processes.
pub fn processes_with(variable: &str) -> Vec<i32> {
    let processes = fs::read_dir("/proc").expect("the functions are Linux programs");
    let ids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let has_it = |id: &i32| {
        let environment = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|other| other == variable.as_bytes())
    };
    ids.filter(has_it).collect()
}

/// Kills a process, as nothing but the machine can. Returns whether there was one.
pub fn kill_process(id: i32) -> bool {
    kill(Pid::from_raw(id), Signal::SIGKILL).is_ok()
}

/// The key of a message in the table.
pub fn partition_key(owner: &str, id: &str) -> String {
    format!("{id}#{owner}")
}

/// A text attribute of an item.
///
/// # Panics
/// If it is missing or no text.
pub fn text<'a>(item: &'a Item, name: &str) -> &'a str {
    match item.get(name) {
        Some(AttributeValue::S(text)) => text,
        other => panic!("{name} is {other:?}, not a text"),
    }
}

/// A number attribute of an item.
///
/// # Panics
/// If it is missing or no number.
pub fn number(item: &Item, name: &str) -> i64 {
    match item.get(name) {
        Some(AttributeValue::N(number)) => number.parse().expect("a whole number"),
        other => panic!("{name} is {other:?}, not a number"),
    }
}

/// A record to send to a queue past the gateway.
#[derive(Clone, Debug)]
pub struct Record {
    body: String,
    attributes: HashMap<String, MessageAttributeValue>,
}

impl Record {
    /// A record without attributes, and so without an owner.
    pub fn unattributed(body: &str) -> Self {
        Self { body: body.to_owned(), attributes: HashMap::new() }
    }

    /// A record like the gateway's.
    pub fn of(owner: &str, id: &str, body: &str) -> Self {
        Self::unattributed(body).with("id", id).with("owner", owner)
    }

    /// The same, with one more attribute of type `String`.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        let attribute = MessageAttributeValue::builder().data_type("String").string_value(value);
        self.attributes.insert(name.to_owned(), attribute.build().expect("complete"));
        self
    }

    /// The record of a message that was received, to send it again.
    pub fn received(message: &QueueMessage) -> Self {
        Self {
            body: message.body().expect("a body").to_owned(),
            attributes: message.message_attributes().cloned().unwrap_or_default(),
        }
    }
}
