//! The queues, tables, functions and logs of a stack, as an operator has them.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    net::SocketAddr,
    time::Duration,
};

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_sqs::types::{
    Message as QueueMessage, MessageAttributeValue, MessageSystemAttributeName, QueueAttributeName,
    SendMessageBatchRequestEntry,
};
use redrive::connection;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::{sync::Mutex, time::Instant};

use super::{Response, Stack, eventually};

/// How long a message that the tests have received stays hidden: long enough to receive all that a queue has, and
/// no longer, because the stack itself has to receive dead letters, too.
const VISIBILITY_TIMEOUT_SECONDS: i32 = 1;

/// How often the tests receive from the dead-letter queue, so that its messages are visible most of the time.
const DEAD_LETTER_INTERVAL: Duration = Duration::from_secs(3);

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
        let mut items = Vec::new();
        let mut start = None;
        loop {
            let scan = self.dynamodb.scan().table_name(&self.at.messages_table).consistent_read(true);
            let page = scan.set_exclusive_start_key(start).send().await.expect("the table can be read");
            items.extend(page.items.unwrap_or_default());
            start = page.last_evaluated_key;
            if start.is_none() {
                return items;
            }
        }
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
            .send()
            .await
            .expect("the table can be written");
    }
}

/// The queues.
impl Stack {
    /// A client of the queues in the stack's redrive role. Besides the gateway's, only that role may send to the
    /// stack's queue.
    pub async fn redrive_sqs(&self) -> &aws_sdk_sqs::Client {
        let connect =
            async || connection::to_local_stack(&self.path).await.expect("the role can be assumed").0;
        self.redrive_sqs.get_or_init(connect).await
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
        let sqs = if queue_url == self.at.queue_url { self.redrive_sqs().await } else { &self.sqs };
        let entries = records.into_iter().enumerate().map(|(place, record)| {
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
    pub async fn max_receive_count(&self) -> u32 {
        let get = self.sqs.get_queue_attributes().queue_url(&self.at.queue_url);
        let got = get.attribute_names(QueueAttributeName::RedrivePolicy).send().await;
        let attributes = got.expect("the queue has attributes").attributes.expect("attributes");
        let policy: Value =
            serde_json::from_str(&attributes[&QueueAttributeName::RedrivePolicy]).expect("JSON");
        // A number, or a text that is one.
        policy["maxReceiveCount"].to_string().trim_matches('"').parse().expect("a number")
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
                let received = self.receive(&self.at.dead_letter_queue_url).await;
                if received.is_empty() {
                    break;
                }
                letters.extend(
                    received
                        .into_iter()
                        .map(|letter| (letter.message_id().expect("an id").to_owned(), letter)),
                );
            }
            *received_at = Some(Instant::now());
        }
        letters.values().cloned().collect()
    }

    /// Receives from some queue, without waiting.
    pub async fn receive(&self, queue_url: &str) -> Vec<QueueMessage> {
        self.sqs
            .receive_message()
            .queue_url(queue_url)
            .max_number_of_messages(10)
            .message_attribute_names("All")
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .visibility_timeout(VISIBILITY_TIMEOUT_SECONDS)
            .send()
            .await
            .expect("the queue can be read")
            .messages
            .unwrap_or_default()
    }
}

/// The functions and their logs.
impl Stack {
    /// The physical name of a function.
    pub async fn function(&self, logical_id: &str) -> String {
        let functions = self.operate("lambda", Method::GET, "/2015-03-31/functions/", "").await;
        let names = functions["Functions"].as_array().expect("functions").iter();
        let mut names = names.filter_map(|function| function["FunctionName"].as_str());
        let name = names.find(|name| name.contains(logical_id));
        name.unwrap_or_else(|| panic!("the stack has no function {logical_id}: {functions}")).to_owned()
    }

    /// Invokes the consumer with a batch of records, and returns its response.
    pub async fn consume(&self, records: &[Value]) -> Value {
        self.invoke("QueueConsumerFunction", &json!({ "Records": records })).await
    }

    /// Invokes a function with an event, and returns its response.
    pub async fn invoke(&self, logical_id: &str, event: &Value) -> Value {
        let path = format!("/2015-03-31/functions/{}/invocations", self.function(logical_id).await);
        self.operate("lambda", Method::POST, &path, &event.to_string()).await
    }

    /// All lines that the functions have logged so far and that contain this text.
    pub async fn logged(&self, text: &str) -> Vec<String> {
        let groups = self.logs("DescribeLogGroups", &json!({})).await;
        let mut lines = Vec::new();
        for group in groups["logGroups"].as_array().expect("log groups") {
            let filter =
                json!({ "logGroupName": group["logGroupName"], "filterPattern": format!("\"{text}\"") });
            let found = self.logs("FilterLogEvents", &filter).await;
            let events = found["events"].as_array().expect("log events").iter();
            lines.extend(events.filter_map(|event| event["message"].as_str()).map(ToOwned::to_owned));
        }
        lines
    }

    /// All that the functions have logged so far, in its order: the function's name, a tab, the line.
    pub fn function_log(&self) -> String {
        let path = self.at.function_log.as_ref().expect("the stack has a log of its functions");
        let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until the consumer has settled a record.
    pub async fn settled(&self, message_id: &str) {
        eventually(&format!("the consumer to settle the record {message_id}"), async || {
            let lines = self.logged(message_id).await;
            if lines.iter().any(|line| line.contains("settled")) { Ok(()) } else { Err(lines.join("\n")) }
        })
        .await;
    }

    async fn logs(&self, operation: &str, request: &Value) -> Value {
        let target = format!("Logs_20140328.{operation}");
        // The emulator responds with 500 if a function logs at the same moment.
        eventually(&format!("a response to {operation}"), async || {
            let call = self.http.post(&self.at.endpoint).header("x-amz-target", &target);
            let call = call.header("content-type", "application/x-amz-json-1.1").body(request.to_string());
            let response = self.signed("logs", call).await;
            if response.status < 500 { Ok(response) } else { Err(format!("{response:?}")) }
        })
        .await
        .json()
    }

    /// Calls a service that speaks REST and JSON. An empty body is none.
    pub async fn operate(&self, service: &str, method: Method, path: &str, body: &str) -> Value {
        let mut call = self.http.request(method, format!("{}{path}", self.at.endpoint));
        if !body.is_empty() {
            call = call.header("content-type", "application/json").body(body.to_owned());
        }
        let response = self.signed(service, call).await;
        assert!((200..300).contains(&response.status), "the response of {service} is {response:?}");
        if response.text.is_empty() { Value::Null } else { response.json() }
    }

    async fn signed(&self, service: &str, call: RequestBuilder) -> Response {
        // The emulator verifies no signature; it finds the name of the service in it.
        let scope = format!("Credential=test/20260101/{}/{service}/aws4_request", self.at.region);
        let signature = format!("AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0");
        Response::to(call.header("authorization", signature)).await
    }

    /// Where the emulator listens.
    pub fn address(&self) -> SocketAddr {
        let address = self.at.endpoint.trim_start_matches("http://");
        address.parse().expect("the endpoint is an address and a port")
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

fn partition_key(owner: &str, id: &str) -> String {
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
