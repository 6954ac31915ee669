//! Messages that keep failing, up to the dead-letter queue and back.

use std::collections::HashMap;

use aws_sdk_sqs::types::QueueAttributeName;
use base64::{Engine, engine::general_purpose::STANDARD};
use e2e::stack::{Record, Stack, eventually, text, unique};
use fault_proxy::{Fault, FaultProxy};
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn a_record_that_names_nobody_is_delivered_as_often_as_allowed_and_kept_as_it_came() {
    let stack = Stack::running();
    let body = r#"{"of":"nobody","number":1234567890123456789}"#;
    let record = Record::bare(body).with("id", "String", "an-id").with("note", "String", "keep me");

    let message_id = stack.send(record).await;

    let letter = stack.dead_letter(&message_id).await;
    assert_eq!(letter.body(), Some(body));
    let attributes = letter.message_attributes().expect("attributes");
    assert_eq!(attributes["id"].string_value(), Some("an-id"));
    assert_eq!(attributes["note"].string_value(), Some("keep me"));
    assert_eq!(stack.logged(&message_id).await.len(), stack.max_receive_count().await as usize);
}

/// Its key is taken by something that the program did not write: a real reason why storing fails for good.
#[tokio::test]
async fn a_message_that_cannot_be_stored_is_tried_as_often_as_allowed_then_told_and_kept() {
    let stack = Stack::running();
    let caller = stack.caller();
    let mut socket = caller.connect().await;
    let (id, good) = (unique("blocked"), unique("good"));
    stack.plant(&caller.name, &id, &[("status", "stored"), ("something", "else")]).await;

    let queued = caller.queued(&id, r#"{"a":1}"#).await;
    // Its neighbours are not held up meanwhile.
    caller.queued(&good, r#"{"a":1}"#).await;
    socket.told("stored", &good).await;

    let event = socket.told("failed", &id).await;
    assert_eq!(event["data"]["receipt"], json!(queued.receipt));
    let tries = format!("in {} deliveries", stack.max_receive_count().await);
    assert!(event["data"]["reason"].as_str().is_some_and(|reason| reason.contains(&tries)), "{event}");
    let letter = stack.dead_letter(&queued.receipt).await;
    assert_eq!(letter.body(), Some(r#"{"a":1}"#));

    // What is in the way is repaired, and the message redriven.
    stack.uproot(&caller.name, &id).await;
    stack.send(Record::again(&letter)).await;
    socket.told("stored", &id).await;
    assert_eq!(caller.look_up(&id).await.json()["payload"], json!({ "a": 1 }));
}

#[tokio::test]
async fn a_message_that_keeps_failing_is_recorded_as_failed_and_can_still_be_stored() {
    let stack = Stack::running();
    let caller = stack.caller();
    let mut socket = caller.connect().await;
    let throttled = Throttled::beside(&stack).await;
    let (again, redriven) = (unique("again"), unique("redriven"));
    let body = r#"{"number":1234567890123456789}"#;

    // One by one: of two in one batch the proxy lets one pass.
    let mut receipts = Vec::new();
    for id in [&again, &redriven] {
        let receipt = stack.send_to(&throttled.queue_url, caller.record(id, body)).await;
        let event = socket.told("failed", id).await;
        assert_eq!(event["data"]["receipt"], json!(receipt));

        let answer = caller.look_up(id).await;
        let found = answer.json();
        let expected = json!({
            "id": id,
            "status": "failed",
            "via": "queue",
            "attempts": 2,
            "receivedAt": found["receivedAt"],
            "receipt": receipt,
            "reason": event["data"]["reason"],
            "payload": found["payload"],
        });
        assert_eq!(found, expected);
        assert_eq!(answer.payload(), body);
        let item = caller.item(id).await.expect("it is recorded");
        assert_eq!(text(&item, "payload"), body);
        assert!(!item.contains_key("stored_at"), "{item:?}");
        receipts.push(receipt);
    }
    // Each is a dead letter, too.
    let mut letters = HashMap::new();
    for receipt in &receipts {
        let letter = eventually(&format!("the record {receipt} in the dead-letter queue"), async || {
            for letter in stack.receive(&throttled.dead_letter_queue_url).await {
                letters.insert(letter.message_id().expect("an id").to_owned(), letter);
            }
            letters.get(receipt).cloned().ok_or_else(|| format!("{} dead letters", letters.len()))
        })
        .await;
        assert_eq!(letter.body(), Some(body));
    }

    // Sent again by its client.
    assert_eq!(caller.put(&again, body).await.status, 201);
    // Redriven by an operator.
    stack.send(Record::again(&letters[&receipts[1]])).await;
    socket.told("stored", &redriven).await;
    for id in [&again, &redriven] {
        let found = caller.look_up(id).await.json();
        assert_eq!(found["status"], "stored", "{found}");
        assert_eq!(found.get("reason"), None, "{found}");
    }
    throttled.remove(&stack).await;
}

#[tokio::test]
async fn of_a_batch_that_is_throttled_in_part_the_rest_is_stored() {
    let stack = Stack::running();
    let caller = stack.caller();
    let mut socket = caller.connect().await;
    let throttled = Throttled::beside(&stack).await;
    let ids: Vec<_> = (0..8).map(|_| unique("q")).collect();

    let records = ids.iter().map(|id| caller.record(id, r#"{"a":1}"#));
    let receipts = stack.send_batch_to(&throttled.queue_url, records).await;

    // Every round lets half of what is left pass, until there is one.
    let mut told = HashMap::new();
    while told.len() < ids.len() {
        let event = socket.next_event().await;
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        told.insert(text(&event["subject"]), (text(&event["type"]), text(&event["data"]["receipt"])));
    }
    let mut stored = 0;
    for (id, receipt) in ids.iter().zip(&receipts) {
        let (kind, told_receipt) = &told[id];
        assert_eq!(told_receipt, receipt);
        let item = caller.item(id).await.expect("every message has an outcome");
        assert_eq!(*kind, format!("intake.message.{}", text(&item, "status")));
        stored += usize::from(text(&item, "status") == "stored");
    }
    // SQS may have split the batch, and of each part one is left.
    assert!((1..ids.len()).contains(&stored), "{told:?}");
    throttled.remove(&stack).await;
}

/// The deployed consumer a second time, with queues of its own and a table that throttles: of the
/// statements in a batch every second one, beginning with the first, so a lone one always.
struct Throttled {
    function: String,
    mapping: String,
    queue_url: String,
    dead_letter_queue_url: String,
    /// Ends with the test's runtime.
    _database: FaultProxy,
}

impl Throttled {
    async fn beside(stack: &Stack) -> Self {
        let database = FaultProxy::before(stack.address()).await;
        database.always(Fault::ThrottleStatements);

        let name = unique("throttled");
        let dead_letter_queue_url = create_queue(stack, &format!("{name}-dead"), HashMap::new()).await;
        let policy = json!({
            "deadLetterTargetArn": arn(stack, &dead_letter_queue_url).await,
            "maxReceiveCount": 2,
        });
        let attributes = HashMap::from([
            (QueueAttributeName::RedrivePolicy, policy.to_string()),
            (QueueAttributeName::VisibilityTimeout, "3".to_owned()),
        ]);
        let queue_url = create_queue(stack, &name, attributes).await;

        let original = stack.function("QueueConsumerFunction").await;
        let path = format!("/2015-03-31/functions/{original}");
        let original = stack.operate("lambda", Method::GET, &path, "").await;
        let mut variables = original["Configuration"]["Environment"]["Variables"].clone();
        variables["AWS_ENDPOINT_URL_DYNAMODB"] = json!(database.url());
        variables["MAX_RECEIVE_COUNT"] = json!("2");
        let code = original["Code"]["Location"].as_str().expect("where the code is");
        // What is before the path is the emulator's idea of its own name.
        let (_, path) = code.trim_start_matches("http://").split_once('/').expect("a path");
        let code = stack.http.get(format!("{}/{path}", stack.at.endpoint)).send().await;
        let code = code.expect("the code can be had").bytes().await.expect("all of it");
        let created = json!({
            "FunctionName": name,
            "Runtime": original["Configuration"]["Runtime"],
            "Handler": original["Configuration"]["Handler"],
            "Role": original["Configuration"]["Role"],
            "Architectures": original["Configuration"]["Architectures"],
            "MemorySize": original["Configuration"]["MemorySize"],
            // It tries for as long as it has time.
            "Timeout": 3,
            "Environment": { "Variables": variables },
            "Code": { "ZipFile": STANDARD.encode(code) },
        });
        stack.operate("lambda", Method::POST, "/2015-03-31/functions", &created.to_string()).await;
        let mapping = json!({
            "FunctionName": name,
            "EventSourceArn": arn(stack, &queue_url).await,
            "BatchSize": 10,
            "FunctionResponseTypes": ["ReportBatchItemFailures"],
        });
        let path = "/2015-03-31/event-source-mappings/";
        let mapping = stack.operate("lambda", Method::POST, path, &mapping.to_string()).await;
        Self {
            function: name,
            mapping: mapping["UUID"].as_str().expect("a UUID").to_owned(),
            queue_url,
            dead_letter_queue_url,
            _database: database,
        }
    }

    async fn remove(self, stack: &Stack) {
        for path in [
            format!("/2015-03-31/event-source-mappings/{}", self.mapping),
            format!("/2015-03-31/functions/{}", self.function),
        ] {
            stack.operate("lambda", Method::DELETE, &path, "").await;
        }
        for url in [&self.queue_url, &self.dead_letter_queue_url] {
            stack.sqs.delete_queue().queue_url(url).send().await.expect("it is there");
        }
    }
}

async fn create_queue(stack: &Stack, name: &str, attributes: HashMap<QueueAttributeName, String>) -> String {
    let created = stack.sqs.create_queue().queue_name(name).set_attributes(Some(attributes)).send().await;
    created.expect("a queue can be made").queue_url.expect("it has an address")
}

async fn arn(stack: &Stack, queue_url: &str) -> String {
    let name = QueueAttributeName::QueueArn;
    let asked =
        stack.sqs.get_queue_attributes().queue_url(queue_url).attribute_names(name.clone()).send().await;
    asked.expect("the queue can be asked").attributes.expect("attributes")[&name].clone()
}
