//! A client of a deployed stack: its APIs as any client has them, and its queues, tables, functions and logs
//! as an operator has them.

use std::{
    collections::{HashMap, VecDeque},
    env,
    error::Error,
    fmt::Display,
    fs,
    net::SocketAddr,
    path::PathBuf,
    time::Duration,
};

use aws_credential_types::Credentials;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_sqs::{
    config::{BehaviorVersion, Region},
    types::{
        Message as QueueMessage, MessageAttributeValue, MessageSystemAttributeName, QueueAttributeName,
        SendMessageBatchRequestEntry,
    },
};
use development_key::DevelopmentKey;
use futures_util::{SinkExt, StreamExt};
use intake::aws::{AMAZON_ROOTS, Aws};
use redrive::connection;
use reqwest::{Method, RequestBuilder, header::HeaderMap};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use tokio::{
    net::TcpStream,
    sync::{Mutex, OnceCell},
    time::{Instant, sleep, timeout_at},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{self, Message},
};
use uuid::Uuid;

/// How long a condition may take to come true. Far longer than any does, even on a busy machine: it is
/// there so that a test that waits in vain ends with a message.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// An attempt at DynamoDB or SQS that takes longer is given up.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);

/// Waits until `attempt` succeeds, and answers what it came to.
///
/// # Panics
/// If it takes too long, with what was waited for and what `attempt` saw last.
pub async fn eventually<T, E: Display>(awaited: &str, mut attempt: impl AsyncFnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + LONGEST_WAIT;
    loop {
        match attempt().await {
            Ok(outcome) => return outcome,
            Err(seen) if Instant::now() > deadline => {
                panic!("waited {} s for {awaited}; last seen: {seen}", LONGEST_WAIT.as_secs())
            }
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

/// A text that no other test uses.
pub fn unique(prefix: &str) -> String {
    format!("{prefix}-{}", Uuid::new_v4())
}

/// An item of a table.
pub type Item = HashMap<String, AttributeValue>;

/// Where a stack is, as whoever started it wrote it down.
#[derive(Clone, Debug, Deserialize)]
pub struct Description {
    /// The address of everything that is no API of the stack itself.
    pub endpoint: String,
    /// Its region.
    pub region: String,
    /// The address of the HTTP API, without a slash at its end.
    pub http_url: String,
    /// The address of the WebSocket API.
    pub websocket_url: String,
    /// The queue between `PUT /queue/{id}` and the consumer.
    pub queue_url: String,
    /// Where its dead letters go.
    pub dead_letter_queue_url: String,
    /// The role that puts them back.
    pub redrive_role: String,
    /// The table of messages.
    pub messages_table: String,
    /// The table of open sockets.
    pub connections_table: String,
    /// The issuer that it trusts.
    pub token_issuer: String,
    /// The audience that it is.
    pub token_audience: String,
    /// The key that it trusts.
    pub key_file: PathBuf,
    /// What the emulator that it runs on has logged.
    pub log: PathBuf,
    /// What the functions have logged, if there is a file of it.
    #[serde(default)]
    pub function_log: Option<PathBuf>,
}

/// A deployed stack. Every test makes its own, since connections belong to a test's runtime.
pub struct Stack {
    /// Where everything is.
    pub at: Description,
    /// The key that it trusts.
    pub key: DevelopmentKey,
    /// For requests that no [`Caller`] would make.
    pub http: reqwest::Client,
    /// The client of queues, with all that the account itself may do.
    pub sqs: aws_sdk_sqs::Client,
    path: PathBuf,
    redriving: OnceCell<aws_sdk_sqs::Client>,
    dynamodb: aws_sdk_dynamodb::Client,
}

impl Stack {
    /// The stack that the environment variable `INTAKE_STACK` names.
    ///
    /// # Panics
    /// If there is none.
    pub fn running() -> Self {
        let path = env::var("INTAKE_STACK").unwrap_or_else(|_| {
            panic!(
                "INTAKE_STACK is not set: it names the file that says where a running stack is. \
                 `cargo xtask test` starts one for these tests."
            )
        });
        let text = fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("INTAKE_STACK names {path}, which cannot be read: {error}"));
        let at: Description = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{path} does not say where a stack is: {error}"));

        // The emulator takes these for the account itself.
        let credentials = Credentials::new("test", "test", None, None, "tests");
        let region = Region::new(at.region.clone());
        let endpoint = Some(at.endpoint.clone());
        let aws = Aws::new(region.clone(), credentials.clone(), endpoint, AMAZON_ROOTS.to_vec())
            .expect("the roots are ours");
        let sqs = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(region)
            .credentials_provider(credentials)
            .http_client(aws.http_client())
            .endpoint_url(&at.endpoint)
            .build();
        Self {
            key: DevelopmentKey::load_or_create(&at.key_file).unwrap_or_else(|error| panic!("{error}")),
            // Whatever proxy this machine has: the stack is not behind it.
            http: reqwest::Client::builder().no_proxy().build().expect("a client"),
            sqs: aws_sdk_sqs::Client::from_conf(sqs),
            dynamodb: aws.dynamodb(ATTEMPT_TIMEOUT),
            path: path.into(),
            redriving: OnceCell::new(),
            at,
        }
    }

    /// A client of queues in the stack's role for redrives, the only one besides the gateway's that may send to
    /// its queue.
    pub async fn redriving(&self) -> &aws_sdk_sqs::Client {
        let take = async || connection::to_local_stack(&self.path).await.expect("the role can be taken").0;
        self.redriving.get_or_init(take).await
    }

    /// A client that may send to this queue.
    async fn sender(&self, queue_url: &str) -> &aws_sdk_sqs::Client {
        if queue_url == self.at.queue_url { self.redriving().await } else { &self.sqs }
    }

    /// Somebody whom no other test knows.
    pub fn caller(&self) -> Caller<'_> {
        self.caller_named(&unique("owner"))
    }

    /// Somebody with this name.
    pub fn caller_named(&self, name: &str) -> Caller<'_> {
        let lifetime = Duration::from_secs(3600);
        let token = self.key.mint(&self.at.token_issuer, &self.at.token_audience, name, lifetime);
        Caller { stack: self, name: name.to_owned(), token }
    }

    /// A request to the HTTP API, without a token.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.at.http_url))
    }

    /// Opens a socket. Once this returns, both sides have it open: pushes reach it.
    ///
    /// # Errors
    /// If the handshake is refused.
    pub async fn connect(&self, query: &str) -> Result<Socket, tungstenite::Error> {
        let mut socket = self.open(query).await?;
        assert_eq!(socket.say(r#"{"action":"ping"}"#).await, json!({ "type": "pong" }));
        Ok(socket)
    }

    /// Opens a socket, whatever it is good for.
    ///
    /// # Errors
    /// If the handshake is refused.
    pub async fn open(&self, query: &str) -> Result<Socket, tungstenite::Error> {
        let (stream, _) = connect_async(format!("{}{query}", self.at.websocket_url)).await?;
        Ok(Socket { stream, events: VecDeque::new(), answers: VecDeque::new(), frames: 0 })
    }

    /// The status that a handshake is refused with; none if it is not refused.
    pub async fn refused_handshake(&self, query: &str) -> Option<u16> {
        match connect_async(format!("{}{query}", self.at.websocket_url)).await {
            Ok(_) => None,
            Err(tungstenite::Error::Http(answer)) => Some(answer.status().as_u16()),
            Err(error) => panic!("the handshake was neither taken nor refused: {error}"),
        }
    }

    /// What the table has about a message.
    pub async fn item(&self, owner: &str, id: &str) -> Option<Item> {
        let key = AttributeValue::S(partition_key(owner, id));
        let found = self.dynamodb.get_item().table_name(&self.at.messages_table).key("pk", key);
        found.consistent_read(true).send().await.expect("the table can be read").item
    }

    /// Everything that is in the table of messages.
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

    /// Puts something into the table of messages that the stack did not put there.
    pub async fn plant(&self, owner: &str, id: &str, attributes: &[(&str, &str)]) {
        let mut put = self.dynamodb.put_item().table_name(&self.at.messages_table);
        put = put.item("pk", AttributeValue::S(partition_key(owner, id)));
        for (name, value) in attributes {
            put = put.item(*name, AttributeValue::S((*value).to_owned()));
        }
        put.send().await.expect("the table can be written");
    }

    /// Takes something out of the table of messages.
    pub async fn uproot(&self, owner: &str, id: &str) {
        let key = AttributeValue::S(partition_key(owner, id));
        let delete = self.dynamodb.delete_item().table_name(&self.at.messages_table).key("pk", key);
        delete.send().await.expect("the table can be written");
    }

    /// The connections that are noted for an owner.
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

    /// Notes a connection that is not there.
    pub async fn note_connection(&self, owner: &str, connection_id: &str) {
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

    /// Puts a record into the queue by hand, and answers its message id.
    pub async fn send(&self, record: Record) -> String {
        self.send_to(&self.at.queue_url, record).await
    }

    /// Puts a record into some queue by hand, and answers its message id.
    pub async fn send_to(&self, queue_url: &str, record: Record) -> String {
        let send = self.sender(queue_url).await.send_message().queue_url(queue_url).message_body(record.body);
        let sent = send.set_message_attributes(Some(record.attributes)).send().await;
        sent.expect("the queue takes it").message_id.expect("a message id")
    }

    /// Puts up to ten records into some queue at once, and answers their message ids, in their order.
    pub async fn send_batch_to(
        &self,
        queue_url: &str,
        records: impl IntoIterator<Item = Record>,
    ) -> Vec<String> {
        let entries = records.into_iter().enumerate().map(|(place, record)| {
            SendMessageBatchRequestEntry::builder()
                .id(place.to_string())
                .message_body(record.body)
                .set_message_attributes(Some(record.attributes))
                .build()
                .expect("complete")
        });
        let entries = Some(entries.collect());
        let send = self.sender(queue_url).await.send_message_batch().queue_url(queue_url);
        let sent = send.set_entries(entries).send().await;
        let sent = sent.expect("the queue takes the batch");
        assert_eq!(sent.failed(), [], "the queue takes all of it");
        let mut ids: Vec<_> = sent.successful().iter().map(|one| (one.id(), one.message_id())).collect();
        ids.sort_unstable();
        ids.into_iter().map(|(_, message_id)| message_id.to_owned()).collect()
    }

    /// How often the queue delivers a record before it becomes a dead letter.
    pub async fn max_receive_count(&self) -> u32 {
        let attributes = self.sqs.get_queue_attributes().queue_url(&self.at.queue_url);
        let attributes = attributes.attribute_names(QueueAttributeName::RedrivePolicy).send().await;
        let attributes = attributes.expect("the queue can be asked").attributes.expect("it has attributes");
        let policy: Value =
            serde_json::from_str(&attributes[&QueueAttributeName::RedrivePolicy]).expect("JSON");
        // A number, or a text that is one.
        policy["maxReceiveCount"].to_string().trim_matches('"').parse().expect("a number")
    }

    /// Waits until a record is a dead letter.
    pub async fn dead_letter(&self, message_id: &str) -> QueueMessage {
        let awaited = format!("the record {message_id} in the dead-letter queue");
        eventually(&awaited, async || {
            let letters = self.dead_letters().await;
            let found = letters.iter().find(|letter| letter.message_id() == Some(message_id));
            found.cloned().ok_or_else(|| format!("{} dead letters, it is not among them", letters.len()))
        })
        .await
    }

    /// All dead letters that came since the tests have started, as far as they are there by now.
    pub async fn dead_letters(&self) -> Vec<QueueMessage> {
        // Shared by all tests, because one that receives a letter hides it from the others for a while.
        // It stays in the queue.
        static SEEN: Mutex<Vec<QueueMessage>> = Mutex::const_new(Vec::new());
        let mut seen = SEEN.lock().await;
        loop {
            let received = self.receive(&self.at.dead_letter_queue_url).await;
            if received.is_empty() {
                return seen.clone();
            }
            seen.extend(received);
        }
    }

    /// Receives from some queue, without waiting.
    pub async fn receive(&self, queue_url: &str) -> Vec<QueueMessage> {
        self.sqs
            .receive_message()
            .queue_url(queue_url)
            .max_number_of_messages(10)
            .message_attribute_names("All")
            .message_system_attribute_names(MessageSystemAttributeName::All)
            // Longer than the tests take.
            .visibility_timeout(1800)
            .send()
            .await
            .expect("the queue can be read")
            .messages
            .unwrap_or_default()
    }

    /// The physical name of a function of the stack.
    pub async fn function(&self, logical_id: &str) -> String {
        let functions = self.operate("lambda", Method::GET, "/2015-03-31/functions/", "").await;
        let names = functions["Functions"].as_array().expect("functions").iter();
        let mut names = names.filter_map(|function| function["FunctionName"].as_str());
        let name = names.find(|name| name.contains(logical_id));
        name.unwrap_or_else(|| panic!("the stack has no function {logical_id}: {functions}")).to_owned()
    }

    /// Hands a batch of records to the deployed consumer, and answers what it answers.
    pub async fn consume(&self, records: &[Value]) -> Value {
        self.invoke("QueueConsumerFunction", &json!({ "Records": records }).to_string()).await
    }

    /// Calls a function of the stack with an event, and answers what it answers.
    pub async fn invoke(&self, logical_id: &str, event: &str) -> Value {
        let function = self.function(logical_id).await;
        let path = format!("/2015-03-31/functions/{function}/invocations");
        self.operate("lambda", Method::POST, &path, event).await
    }

    /// All that the functions have logged so far that has this text in it.
    pub async fn logged(&self, text: &str) -> Vec<String> {
        let groups = self.logs("DescribeLogGroups", &json!({})).await;
        let mut lines = Vec::new();
        for group in groups["logGroups"].as_array().expect("log groups") {
            let filter = json!({ "logGroupName": group["logGroupName"], "filterPattern": quoted(text) });
            let found = self.logs("FilterLogEvents", &filter).await;
            let events = found["events"].as_array().expect("log events").iter();
            lines.extend(events.filter_map(|event| event["message"].as_str()).map(ToOwned::to_owned));
        }
        lines
    }

    /// All that the functions have written so far, in its order: the function's name, a tab, the line.
    pub fn function_log(&self) -> String {
        let path = self.at.function_log.as_ref().expect("the stack has a log of its functions");
        let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until the consumer is done with a record.
    pub async fn settled(&self, message_id: &str) {
        eventually(&format!("the consumer to be done with the record {message_id}"), async || {
            let lines = self.logged(message_id).await;
            if lines.iter().any(|line| line.contains("settled")) { Ok(()) } else { Err(lines.join("\n")) }
        })
        .await;
    }

    async fn logs(&self, operation: &str, request: &Value) -> Value {
        let target = format!("Logs_20140328.{operation}");
        // The emulator answers 500 if a function logs just while it looks.
        eventually(&format!("an answer to {operation}"), async || {
            let call = self.http.post(&self.at.endpoint).header("x-amz-target", &target);
            let call = call.header("content-type", "application/x-amz-json-1.1").body(request.to_string());
            let answer = self.operator_call("logs", call).await;
            if answer.status < 500 { Ok(answer) } else { Err(format!("{answer:?}")) }
        })
        .await
        .json()
    }

    /// A call to a service that speaks REST and JSON, with a body unless it is empty.
    pub async fn operate(&self, service: &str, method: Method, path: &str, body: &str) -> Value {
        let mut call = self.http.request(method, format!("{}{path}", self.at.endpoint));
        if !body.is_empty() {
            call = call.header("content-type", "application/json").body(body.to_owned());
        }
        let answer = self.operator_call(service, call).await;
        assert!((200..300).contains(&answer.status), "{service} answered {answer:?}");
        if answer.text.is_empty() { Value::Null } else { answer.json() }
    }

    async fn operator_call(&self, service: &str, call: RequestBuilder) -> Answer {
        // The emulator checks no signature; it reads from it which service is meant.
        let scope = format!("Credential=test/20260101/{}/{service}/aws4_request", self.at.region);
        let signature = format!("AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0");
        Answer::to(call.header("authorization", signature)).await
    }

    /// Where the emulator listens.
    pub fn address(&self) -> SocketAddr {
        let address = self.at.endpoint.trim_start_matches("http://");
        address.parse().expect("the endpoint is an address and a port")
    }
}

/// The processes of this machine that have this variable in their environment, written as `NAME=value`. The
/// functions of a local stack are such.
pub fn processes_with(variable: &str) -> Vec<i32> {
    let processes = fs::read_dir("/proc").expect("the functions are Linux programs");
    let ids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_one = |id: &i32| {
        let environment = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|other| other == variable.as_bytes())
    };
    ids.filter(is_one).collect()
}

fn partition_key(owner: &str, id: &str) -> String {
    format!("{id}#{owner}")
}

/// A filter pattern for a text as it is.
fn quoted(text: &str) -> String {
    format!("\"{text}\"")
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

/// A record to put into the queue by hand.
#[derive(Clone, Debug)]
pub struct Record {
    body: String,
    attributes: HashMap<String, MessageAttributeValue>,
}

impl Record {
    /// A record without attributes.
    pub fn bare(body: &str) -> Self {
        Self { body: body.to_owned(), attributes: HashMap::new() }
    }

    /// A record as the gateway makes it.
    pub fn of(owner: &str, id: &str, body: &str) -> Self {
        Self::bare(body).with("id", "String", id).with("owner", "String", owner)
    }

    /// The same, with one more attribute of a type that has a text for a value.
    #[must_use]
    pub fn with(mut self, name: &str, kind: &str, value: &str) -> Self {
        let attribute = MessageAttributeValue::builder().data_type(kind).string_value(value);
        self.attributes.insert(name.to_owned(), attribute.build().expect("complete"));
        self
    }

    /// The same, with one more attribute of bytes.
    #[must_use]
    pub fn with_bytes(mut self, name: &str, value: &[u8]) -> Self {
        let value = aws_sdk_sqs::primitives::Blob::new(value);
        let attribute = MessageAttributeValue::builder().data_type("Binary").binary_value(value);
        self.attributes.insert(name.to_owned(), attribute.build().expect("complete"));
        self
    }

    /// A record that was received, to be sent once more: as a redrive does.
    pub fn again(received: &QueueMessage) -> Self {
        Self {
            body: received.body().expect("a body").to_owned(),
            attributes: received.message_attributes().cloned().unwrap_or_default(),
        }
    }
}

/// A client of the stack, with a valid token.
#[derive(Clone)]
pub struct Caller<'a> {
    stack: &'a Stack,
    /// The owner that the token names.
    pub name: String,
    /// The token.
    pub token: String,
}

impl Caller<'_> {
    /// A request to the HTTP API with the token.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.stack.request(method, path).header("authorization", format!("Bearer {}", self.token))
    }

    /// Stores a message, and waits for the outcome.
    pub async fn put(&self, id: &str, body: impl Into<reqwest::Body>) -> Answer {
        self.send(&format!("/messages/{id}"), body).await
    }

    /// Puts a message into the queue.
    pub async fn queue(&self, id: &str, body: impl Into<reqwest::Body>) -> Answer {
        self.send(&format!("/queue/{id}"), body).await
    }

    /// Puts a message into the queue, which must take it.
    pub async fn queued(&self, id: &str, body: &str) -> Queued {
        let answer = self.queue(id, body.to_owned()).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        serde_json::from_str(&answer.text).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
    }

    /// Sends JSON somewhere.
    pub async fn send(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        let request = self.request(Method::PUT, path).header("content-type", "application/json");
        Answer::to(request.body(body)).await
    }

    /// Gets what is under a path.
    pub async fn get(&self, path: &str) -> Answer {
        Answer::to(self.request(Method::GET, path)).await
    }

    /// Looks up a message by its id alone.
    pub async fn look_up(&self, id: &str) -> Answer {
        self.get(&format!("/messages/{id}")).await
    }

    /// Waits until a message has an outcome, asking with the path that the queue gave out.
    pub async fn outcome(&self, queued: &Queued) -> Answer {
        eventually(&format!("an outcome under {}", queued.status_path), async || {
            let answer = self.get(&queued.status_path).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            if answer.state() == "queued" { Err(answer.text) } else { Ok(answer) }
        })
        .await
    }

    /// Waits until a message has this status.
    pub async fn becomes(&self, id: &str, status: &str) -> Value {
        eventually(&format!("the message {id} to be {status}"), async || {
            let answer = self.look_up(id).await;
            if answer.status == 200 && answer.state() == status {
                Ok(answer.json())
            } else {
                Err(format!("{answer:?}"))
            }
        })
        .await
    }

    /// What the table has about a message of this owner.
    pub async fn item(&self, id: &str) -> Option<Item> {
        self.stack.item(&self.name, id).await
    }

    /// A record as the gateway makes it of a message of this owner.
    pub fn record(&self, id: &str, body: &str) -> Record {
        Record::of(&self.name, id, body)
    }

    /// Opens a socket.
    pub async fn connect(&self) -> Socket {
        let query = format!("?token={}", self.token);
        self.stack.connect(&query).await.unwrap_or_else(|error| panic!("no socket: {error}"))
    }
}

/// What the queue answers when it takes a message.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Queued {
    /// The id, URL-encoded.
    pub id: String,
    /// That it is queued.
    pub status: String,
    /// What it is known by until there is an outcome.
    pub receipt: String,
    /// Where to ask for the outcome.
    pub status_path: String,
}

/// An answer to an HTTP request.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub text: String,
}

impl Answer {
    /// The answer to a request.
    pub async fn to(request: RequestBuilder) -> Self {
        let answer = request.send().await;
        let answer = answer.unwrap_or_else(|error| panic!("no answer: {error}: {:?}", error.source()));
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Self { status, headers, text: answer.text().await.expect("a body of text") }
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }

    /// The member `status`. What else there is need not be text that Rust can hold: an escaped lone
    /// surrogate is not.
    pub fn state(&self) -> String {
        #[derive(Deserialize)]
        struct Body {
            status: String,
        }
        let body: Result<Body, _> = serde_json::from_str(&self.text);
        body.unwrap_or_else(|error| panic!("no state ({error}): {self:?}")).status
    }

    /// The value of a header; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    /// The member `payload`, byte for byte.
    pub fn payload(&self) -> String {
        #[derive(Deserialize)]
        struct Body<'a> {
            #[serde(borrow)]
            payload: &'a RawValue,
        }
        let body: Body<'_> =
            serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"));
        body.payload.get().to_owned()
    }

    /// Checks that this is a problem of this kind, as all of them are answered.
    #[track_caller]
    pub fn assert_problem(&self, status: u16, slug: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        assert_eq!(self.header("access-control-allow-origin"), "*", "{self:?}");
        let problem = self.json();
        assert_eq!(problem["type"], format!("urn:intake:problem:{slug}"), "{self:?}");
        assert_eq!(problem["status"], status, "{self:?}");
        for member in ["title", "detail"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {self:?}");
        }
        assert_eq!(problem.as_object().map(serde_json::Map::len), Some(4), "{self:?}");
    }
}

/// An open WebSocket.
#[derive(Debug)]
pub struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    events: VecDeque<Value>,
    answers: VecDeque<Value>,
    /// How many frames of events came so far.
    pub frames: usize,
}

impl Socket {
    /// Says something, and waits for the answer to it.
    pub async fn say(&mut self, frame: &str) -> Value {
        self.stream.send(Message::text(frame)).await.expect("the socket is open");
        loop {
            if let Some(answer) = self.answers.pop_front() {
                return answer;
            }
            self.read("an answer").await;
        }
    }

    /// Waits for the next event.
    pub async fn next_event(&mut self) -> Value {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            self.read("an event").await;
        }
    }

    /// Waits for the next event, which must be of this kind and about this message.
    pub async fn told(&mut self, kind: &str, subject: &str) -> Value {
        let event = self.next_event().await;
        let told = (event["type"].as_str(), event["subject"].as_str());
        let expected = format!("intake.message.{kind}");
        assert_eq!(told, (Some(expected.as_str()), Some(subject)), "{event}");
        event
    }

    /// Closes the socket, with a farewell.
    pub async fn close(mut self) {
        self.stream.close(None).await.expect("the socket is open");
    }

    async fn read(&mut self, awaited: &str) {
        let frame = timeout_at(Instant::now() + LONGEST_WAIT, self.stream.next()).await;
        let frame = frame
            .unwrap_or_else(|_| panic!("waited {} s on the socket for {awaited}", LONGEST_WAIT.as_secs()));
        match frame {
            Some(Ok(Message::Text(text))) => {
                assert!(text.len() <= 32 * 1024, "a frame of {} bytes", text.len());
                match serde_json::from_str(&text).expect("frames are JSON") {
                    Value::Array(events) => {
                        self.frames += 1;
                        self.events.extend(events);
                    }
                    answer => self.answers.push_back(answer),
                }
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            other => panic!("waited on the socket for {awaited}, and got {other:?}"),
        }
    }
}
