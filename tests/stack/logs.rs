//! What the functions log: enough to follow a message, and nothing that is the client's own business.

use std::{fs, path::PathBuf};

use e2e::stack::{Record, Stack, eventually, unique};
use serde_json::{Value, json};
use uuid::Uuid;

#[tokio::test]
async fn a_message_can_be_followed_in_the_logs_by_its_id_and_its_receipt() {
    let stack = Stack::running();
    let caller = stack.caller();
    let (mine, queued) = (unique("m"), unique("q"));
    caller.put(&mine, r#"{"a":1}"#).await;
    let queued = caller.queued(&queued, r#"{"a":1}"#).await;
    caller.outcome(&queued).await;

    for (text, member) in [(&mine, "message_id"), (&queued.id, "message_id"), (&queued.receipt, "receipt")] {
        let line = eventually(&format!("{text} in the logs"), async || {
            let lines = stack.logged(text).await;
            let has = |line: &Value| line[member].as_str() == Some(text);
            let line = lines.iter().filter_map(|line| serde_json::from_str(line).ok()).find(has);
            line.ok_or_else(|| lines.join("\n"))
        })
        .await;
        assert_eq!(line["level"], "INFO", "{line}");
        // By this the lines of one invocation belong together.
        assert!(has_request_id(&line), "{line}");
    }
}

#[tokio::test]
async fn a_correlation_id_shows_every_step_of_a_message_in_their_order() {
    let stack = Stack::running();
    // Somebody new, about whom the authorizer has to be asked.
    let caller = stack.caller();
    let mut socket = caller.connect().await;
    let (mine, queued) = (unique("m"), unique("q"));

    let stored = caller.put(&mine, r#"{"a":1}"#).await;
    let steps = ["authorizer: allowed", "sync-insert: settled", "gateway: answered"];
    assert_steps(&stack, stored.header("x-amz-apigw-id"), &steps).await;

    let answer = caller.queue(&queued, r#"{"a":1}"#).await;
    let receipt = answer.json()["receipt"].clone();
    socket.told("stored", &queued).await;
    // The authorizer's answer is still known.
    let steps = ["gateway: answered", "queue-consumer: settled", "queue-consumer: told"];
    let lines = assert_steps(&stack, answer.header("x-amz-apigw-id"), &steps).await;
    assert_eq!(lines[0]["status"], 202);
    let about = |line: &Value| (line["receipt"].clone(), line["outcome"].clone());
    assert_eq!(about(&lines[1]), (receipt.clone(), json!("stored")));
    assert_eq!(about(&lines[2]), (receipt, json!("stored")));
    assert_eq!(lines[2]["pushed"], 1);

    let refused = caller.put("a.b", r#"{"a":1}"#).await;
    let steps = ["sync-insert: not stored", "gateway: answered"];
    assert_steps(&stack, refused.header("x-amz-apigw-id"), &steps).await;
}

#[tokio::test]
async fn a_correlation_id_outlives_failures_and_a_redrive() {
    let stack = Stack::running();
    let caller = stack.caller();
    let mut socket = caller.connect().await;
    let id = unique("blocked");
    stack.plant(&caller.name, &id, &[("status", "stored"), ("something", "else")]).await;

    let answer = caller.queue(&id, r#"{"a":1}"#).await;
    let receipt = answer.json()["receipt"].as_str().expect("a receipt").to_owned();
    socket.told("failed", &id).await;
    let letter = stack.dead_letter(&receipt).await;
    stack.uproot(&caller.name, &id).await;
    stack.send(Record::again(&letter)).await;
    socket.told("stored", &id).await;

    let retries = stack.max_receive_count().await as usize - 1;
    let mut steps = vec!["authorizer: allowed", "gateway: answered"];
    steps.extend(vec!["queue-consumer: not settled: to be delivered again"; retries]);
    let failed = "queue-consumer: the last delivery failed: the message goes to the dead-letter queue";
    steps.extend([failed, "queue-consumer: told", "queue-consumer: settled", "queue-consumer: told"]);
    assert_steps(&stack, answer.header("x-amz-apigw-id"), &steps).await;
}

/// Waits for the last step in the log, and checks that there are these. Responses the lines.
async fn assert_steps(stack: &Stack, correlation_id: &str, expected: &[&str]) -> Vec<Value> {
    assert!(!correlation_id.is_empty(), "the caller is told");
    let mut lines = Vec::new();
    eventually(&format!("{expected:?} of {correlation_id} in the log"), async || {
        let log = stack.function_log();
        let found = log.lines().filter(|line| line.contains(correlation_id));
        let (steps, found): (Vec<_>, Vec<Value>) = found.map(step).unzip();
        lines = found;
        if steps == expected { Ok(()) } else { Err(format!("{steps:?}")) }
    })
    .await;
    assert!(lines.iter().all(|line| line["correlation_id"] == correlation_id), "{lines:?}");
    lines
}

/// Who wrote a line and what it says, and all of it.
fn step(line: &str) -> (String, Value) {
    let (writer, entry) = line.split_once('\t').expect("the writer and a tab");
    let writers = [
        ("AuthorizerFunction", "authorizer"),
        ("SyncInsertFunction", "sync-insert"),
        ("QueueConsumerFunction", "queue-consumer"),
    ];
    let function = writers.iter().find(|(logical, _)| writer.contains(logical));
    let entry: Value = serde_json::from_str(entry).expect("JSON");
    let message = entry["message"].as_str().unwrap_or_default();
    (format!("{}: {message}", function.map_or(writer, |(_, name)| name)), entry)
}

#[tokio::test]
async fn neither_payloads_nor_tokens_are_logged() {
    let stack = Stack::running();
    let marker = Uuid::new_v4().simple().to_string();
    let caller = stack.caller();
    let signature = caller.token.rsplit('.').next().expect("a signature").to_owned();
    let mut socket = caller.connect().await;
    let secret = format!(r#"{{"secret":"{marker}"}}"#);
    let (mine, queued, bad, last) = (unique("m"), unique("q"), unique("bad"), unique("last"));

    // Everything that may happen to a message, with the marker in it.
    caller.put(&mine, secret.clone()).await;
    caller.put(&mine, format!(r#"{{"other":"{marker}"}}"#)).await.assert_problem(409, "conflict");
    caller.put("a.b", secret.clone()).await.assert_problem(400, "invalid-id");
    caller.put(&mine, format!("[\"{marker}\"]")).await.assert_problem(400, "invalid-body");
    caller.queued(&queued, &secret).await;
    socket.told("stored", &queued).await;
    caller.queued(&queued, &format!(r#"{{"other":"{marker}"}}"#)).await;
    socket.told("conflict", &queued).await;
    stack.send(caller.record(&bad, &format!("no JSON: {marker}"))).await;
    socket.told("rejected", &bad).await;
    stack.send(caller.record("a b", &secret)).await;
    socket.told("rejected", "a b").await;
    let nobodys = stack.send(Record::bare(&secret)).await;
    socket.say(&secret).await;
    caller.look_up(&mine).await;
    caller.look_up(&bad).await;
    let refused = format!("{}x", caller.token);
    assert!(stack.refused_handshake(&format!("?token={refused}")).await.is_some());
    stack.dead_letter(&nobodys).await;

    // Logs come after what they are about: when the last of it is there, the rest is.
    let answer = caller.put(&last, r#"{"a":1}"#).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    for text in [&mine, &queued, &bad, &nobodys, &last] {
        eventually(&format!("{text} in the logs"), async || {
            if stack.logged(text).await.is_empty() { Err("nothing") } else { Ok(()) }
        })
        .await;
    }
    for secret in [&marker, &signature] {
        assert_eq!(stack.logged(secret).await, Vec::<String>::new());
    }
    for path in [Some(&stack.at.log), stack.at.function_log.as_ref()].into_iter().flatten() {
        let log = read(path);
        assert!(!log.contains(&marker), "a payload is in {}", path.display());
        assert!(!log.contains(&signature), "a token is in {}", path.display());
    }
}

fn has_request_id(line: &Value) -> bool {
    let is_id = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    ["requestId", "request_id"].iter().any(|name| is_id(&line[*name]) || is_id(&line["span"][*name]))
}

fn read(path: &PathBuf) -> String {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    String::from_utf8_lossy(&bytes).into_owned()
}
