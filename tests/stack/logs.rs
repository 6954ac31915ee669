//! What the functions log: enough to follow a message, and neither payloads nor tokens.

use e2e::stack::{Entry, Record, Stack, eventually, unique};
use serde_json::{Value, json};
use uuid::Uuid;

#[tokio::test]
async fn a_message_can_be_followed_in_the_logs_by_its_id_and_its_receipt() {
    let stack = Stack::running();
    let caller = stack.caller();
    let (sync, queued) = (unique("m"), unique("q"));
    caller.put(&sync, r#"{"a":1}"#).await;
    let queued = caller.queued(&queued, r#"{"a":1}"#).await;
    caller.outcome(&queued).await;

    for (text, member) in [(&sync, "message_id"), (&queued.id, "message_id"), (&queued.receipt, "receipt")] {
        let line = eventually(&format!("{text} in the logs"), async || {
            let lines = stack.logged(text).await;
            let has = |line: &Value| line[member].as_str() == Some(text);
            let line = lines.iter().filter_map(|line| serde_json::from_str(line).ok()).find(has);
            line.ok_or_else(|| lines.join("\n"))
        })
        .await;
        assert_eq!(line["level"], "INFO", "{line}");
        // It joins the lines of one invocation.
        assert!(has_request_id(&line), "{line}");
    }
}

#[tokio::test]
async fn a_correlation_id_shows_every_step_of_a_message_in_their_order() {
    let stack = Stack::running();
    // A new caller, whose token the gateway has not cached.
    let caller = stack.caller();
    let mut socket = caller.connect().await;
    let (sync, queued) = (unique("m"), unique("q"));

    let stored = caller.put(&sync, r#"{"a":1}"#).await;
    let steps = ["Authorizer: allowed", "SyncInsert: settled"];
    assert_steps(&stack, stored.header("x-amz-apigw-id"), &steps).await;

    let response = caller.queue(&queued, r#"{"a":1}"#).await;
    let receipt = json!(response.queued().receipt);
    socket.notified("stored", &queued).await;
    // The gateway has cached the authorizer's response.
    let steps = ["QueueConsumer: settled", "QueueConsumer: notified"];
    let lines = assert_steps(&stack, response.header("x-amz-apigw-id"), &steps).await;
    let outcome = |line: &Value| (line["receipt"].clone(), line["outcome"].clone());
    assert_eq!(outcome(&lines[0]), (receipt.clone(), json!("stored")));
    assert_eq!(outcome(&lines[1]), (receipt, json!("stored")));
    assert_eq!(lines[1]["pushed"], 1);

    let rejected = caller.put("a.b", r#"{"a":1}"#).await;
    assert_steps(&stack, rejected.header("x-amz-apigw-id"), &["SyncInsert: responded with a problem"]).await;
}

#[tokio::test]
async fn a_correlation_id_is_kept_through_failures_and_a_redrive() {
    let stack = Stack::running();
    let caller = stack.caller();
    let mut socket = caller.connect().await;
    let id = unique("blocked");
    stack.block(&caller.name, &id).await;

    let response = caller.queue(&id, r#"{"a":1}"#).await;
    socket.notified("failed", &id).await;
    let dead_letter = stack.dead_letter(&response.queued().receipt).await;
    stack.unblock(&caller.name, &id).await;
    stack.send(Record::received(&dead_letter)).await;
    socket.notified("stored", &id).await;

    let retries = stack.max_receive_count() as usize - 1;
    let mut steps = vec!["Authorizer: allowed"];
    steps.extend(vec!["QueueConsumer: not settled: to be redelivered"; retries]);
    let failed = "QueueConsumer: failed: to the dead-letter queue";
    steps.extend([failed, "QueueConsumer: notified", "QueueConsumer: settled", "QueueConsumer: notified"]);
    assert_steps(&stack, response.header("x-amz-apigw-id"), &steps).await;
}

#[tokio::test]
async fn the_gateway_logs_its_response_under_the_correlation_id() {
    let stack = Stack::running();
    let response = stack.caller().queue(&unique("q"), r#"{"a":1}"#).await;
    let correlation_id = response.header("x-amz-apigw-id");
    let log = stack.function_log();
    let line = log.lines().find(|line| line.starts_with("gateway\t") && line.contains(correlation_id));
    assert!(line.is_some_and(|line| line.contains("\"status\": 202")), "{line:?}");
}

/// Waits until the functions have logged exactly these steps of a message, and returns their lines.
async fn assert_steps(stack: &Stack, correlation_id: &str, expected: &[&str]) -> Vec<Value> {
    assert!(!correlation_id.is_empty(), "the response has it");
    let step = |entry: &Entry| {
        let message = entry.json["message"].as_str().unwrap_or_default();
        format!("{}: {message}", entry.function)
    };
    let entries = eventually(&format!("{expected:?} of {correlation_id} in the log"), async || {
        let entries = stack.entries(correlation_id).await;
        let steps: Vec<_> = entries.iter().map(step).collect();
        if steps == expected { Ok(entries) } else { Err(format!("{steps:?}")) }
    })
    .await;
    let lines: Vec<_> = entries.into_iter().map(|entry| entry.json).collect();
    assert!(lines.iter().all(|line| line["correlation_id"] == correlation_id), "{lines:?}");
    lines
}

#[tokio::test]
async fn neither_payloads_nor_tokens_are_logged() {
    let stack = Stack::running();
    let marker = Uuid::new_v4().simple().to_string();
    let caller = stack.caller();
    let signature = caller.token.rsplit('.').next().expect("a signature").to_owned();
    let mut socket = caller.connect().await;
    let secret = format!(r#"{{"secret":"{marker}"}}"#);
    let (sync, queued, bad, last) = (unique("m"), unique("q"), unique("bad"), unique("last"));

    // Every outcome that a message can have, with the marker in the message.
    caller.put(&sync, secret.clone()).await;
    caller.put(&sync, format!(r#"{{"other":"{marker}"}}"#)).await.assert_problem(409, "conflict");
    caller.put("a.b", secret.clone()).await.assert_problem(400, "invalid-id");
    caller.put(&sync, format!("[\"{marker}\"]")).await.assert_problem(400, "invalid-body");
    caller.queued(&queued, &secret).await;
    socket.notified("stored", &queued).await;
    caller.queued(&queued, &format!(r#"{{"other":"{marker}"}}"#)).await;
    socket.notified("conflict", &queued).await;
    stack.send(caller.record(&bad, &format!("no JSON: {marker}"))).await;
    socket.notified("rejected", &bad).await;
    stack.send(caller.record("a b", &secret)).await;
    socket.notified("rejected", "a b").await;
    let unattributed = stack.send(Record::unattributed(&secret)).await;
    socket.request(&secret).await;
    caller.look_up(&sync).await;
    caller.look_up(&bad).await;
    let forged = format!("{}x", caller.token);
    assert!(stack.handshake_rejection(&format!("?token={forged}")).await.is_some());
    stack.dead_letter(&unattributed).await;

    // Logs appear with a delay: once the last line is there, the others are.
    let response = caller.put(&last, r#"{"a":1}"#).await;
    assert_eq!(response.status, 201, "{response:?}");
    for text in [&sync, &queued, &bad, &unattributed, &last] {
        eventually(&format!("{text} in the logs"), async || {
            if stack.logged(text).await.is_empty() { Err("nothing") } else { Ok(()) }
        })
        .await;
    }
    for secret in [&marker, &signature] {
        assert_eq!(stack.logged(secret).await, Vec::<String>::new());
    }
}

fn has_request_id(line: &Value) -> bool {
    let is_id = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    ["requestId", "request_id"].iter().any(|name| is_id(&line[*name]) || is_id(&line["span"][*name]))
}
