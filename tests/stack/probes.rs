//! Behaviours that only AWS can show: each probe prints what it saw, and fails only if it could not look. The
//! emulator's own behaviour is printed too, so that the two can be compared. `docs/aws.md` has a row for each.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
};

use aws_sdk_dynamodb::{
    error::DisplayErrorContext,
    types::{AttributeValue, BatchStatementRequest},
};
use aws_sdk_sqs::types::MessageSystemAttributeName;
use e2e::{
    events::bulk,
    stack::{Stack, eventually, say, unique},
};
use futures_util::future::join_all;
use jiff::Timestamp;
use reqwest::Method;
use serde_json::json;

const BODY: &str = r#"{"a":1}"#;

fn seen(behaviour: &str, what: impl Display) {
    say(format_args!("seen: {behaviour}: {what}"));
}

#[tokio::test]
async fn an_invalid_body_under_other_spellings_of_the_content_type() {
    let stack = Stack::running();
    let caller = stack.caller();
    let mut statuses = BTreeMap::<u16, Vec<String>>::new();
    for path in ["messages", "queue"] {
        for spelling in [
            "application/json",
            "Application/JSON",
            "application/json;charset=utf-8",
            "application/json; charset=latin1",
            "application/json ; a=b",
            "text/json",
        ] {
            let response = caller.send_as(&format!("/{path}/{}", unique("probe")), spelling, "[]").await;
            statuses.entry(response.status).or_default().push(format!("{path} {spelling}"));
        }
    }
    let only = statuses.len() == 1;
    let sent = |sent: &[String]| if only { "all".to_owned() } else { sent.join(", ") };
    let shown: Vec<_> =
        statuses.iter().map(|(status, paths)| format!("{status} for {}", sent(paths))).collect();
    seen("content types", shown.join("; "));
}

#[tokio::test]
async fn a_batch_of_25_inserts_of_256_kib() {
    let stack = Stack::running();
    let payload = format!(r#"{{"filler":"{}"}}"#, "x".repeat(256 * 1024 - r#"{"filler":""}"#.len()));
    let statement = format!(r#"INSERT INTO "{}" VALUE {{'pk': ?, 'payload': ?}}"#, stack.at.messages_table);
    let statements = (0..25).map(|_| {
        let parameters = [unique("probe"), payload.clone()].map(AttributeValue::S);
        let request = BatchStatementRequest::builder().statement(&statement);
        request.set_parameters(Some(parameters.to_vec())).build().expect("complete")
    });
    let batch = stack.dynamodb.batch_execute_statement().set_statements(Some(statements.collect()));
    let what = match batch.send().await {
        Ok(done) => {
            let errors: Vec<_> = done.responses().iter().filter_map(|response| response.error()).collect();
            let first = errors.first().map(|error| format!(", first error {error:?}"));
            format!("{} stored{}", 25 - errors.len(), first.unwrap_or_default())
        }
        Err(error) => format!("rejected: {}", DisplayErrorContext(&error)),
    };
    seen("25 inserts of 256 KiB", what);
}

#[tokio::test]
async fn bulks_at_the_limits() {
    let stack = Stack::running();
    let caller = stack.caller();
    let of = |count: usize, filler: &str| {
        let payload = format!(r#"{{"filler":"{filler}"}}"#);
        let ids: Vec<_> = (0..count).map(|_| unique("probe")).collect();
        bulk(&ids.iter().map(|id| (id.as_str(), payload.as_str())).collect::<Vec<_>>())
    };
    let padded = |bytes: usize| format!("{}{}", of(1, ""), " ".repeat(bytes - of(1, "").len()));
    let bodies = [
        ("no message", of(0, "")),
        ("101 messages", of(101, "")),
        ("messages that are no list", r#"{"messages":{"a":1}}"#.to_owned()),
        ("1,000,000 bytes", padded(1_000_000)),
        ("1,000,001 bytes", padded(1_000_001)),
        // Fewer characters than bytes, by which SQS counts: more than a bulk may have, and more than SQS accepts.
        ("510,000 characters of two bytes", of(3, &"é".repeat(170_000))),
        ("540,000 characters of two bytes", of(3, &"é".repeat(180_000))),
        ("400,000 characters of four bytes", of(4, &"😀".repeat(100_000))),
        ("2,000,000 bytes", padded(2_000_000)),
    ];
    let mut shown = Vec::new();
    for (what, body) in bodies {
        shown.push(format!("{} for {what}", caller.post("/queue", body).await.status));
    }
    seen("bulks at the limits", shown.join(", "));
}

#[tokio::test]
async fn an_encoded_id() {
    let stack = Stack::running();
    let caller = stack.caller();
    let mut shown = Vec::new();
    for encoded in ["%2D", "%61", "%20", "%2B", "+"] {
        let id = unique(encoded);
        let sync = caller.put(&id, BODY).await.status;
        let queued = caller.queue(&id, BODY).await;
        let returned = queued.json()["id"].as_str().unwrap_or("none").to_owned();
        let returned = returned.split(&stack.at.run).next().unwrap_or_default();
        shown.push(format!("{encoded} {sync}, {} with id {returned}…", queued.status));
    }
    seen("percent-encoded ids", shown.join("; "));
}

#[tokio::test]
async fn a_message_that_is_delivered_again() {
    let stack = Stack::running();
    let caller = stack.caller();
    let id = unique("probe");
    stack.block(&caller.name, &id).await;
    let queued = caller.queued(&id, BODY).await;
    let letter = stack.dead_letter(&queued.receipt).await;

    let system = letter.attributes().and_then(|all| all.get(&MessageSystemAttributeName::AwsTraceHeader));
    seen("X-Ray header in the queue", system.map_or("none", String::as_str));
    let times = eventually("a line for each delivery", async || {
        let entries = stack.entries(&queued.receipt).await;
        let deliveries = entries.iter().filter(|entry| entry.json["attempt"].is_number());
        let times: BTreeSet<Timestamp> =
            deliveries.filter_map(|entry| entry.json["timestamp"].as_str()?.parse().ok()).collect();
        let enough = times.len() >= stack.max_receive_count() as usize;
        if enough { Ok(Vec::from_iter(times)) } else { Err(format!("{times:?}")) }
    })
    .await;
    let gaps = times.windows(2).map(|pair| format!("{:.1} s", pair[1].duration_since(pair[0]).as_secs_f64()));
    let gaps = gaps.collect::<Vec<_>>().join(", ");
    let delay = stack.first_delay().as_secs();
    seen("redelivery", format!("after {gaps}, with a first delay of {delay} s"));
}

#[tokio::test]
async fn the_status_of_a_rejected_handshake() {
    let stack = Stack::running();
    let valid = stack.caller().token;
    let mut shown = Vec::new();
    for (what, query) in [
        ("no token", String::new()),
        ("an empty one", "?token=".to_owned()),
        ("an invalid one", format!("?token={valid}x")),
        ("garbage", "?token=garbage".to_owned()),
    ] {
        let status = stack.handshake_rejection(&query).await;
        shown.push(format!("{what} {}", status.map_or("accepted".to_owned(), |status| status.to_string())));
    }
    seen("rejected handshakes", shown.join(", "));
}

#[tokio::test]
async fn the_limits_of_the_stage() {
    let stack = Stack::running();
    let caller = stack.caller();
    let path = format!("/restapis/{}/stages/v1", stack.resource("RestApi"));
    let stage = stack.rest("apigateway", Method::GET, &path, None).await;
    let settings = &stage["methodSettings"]["*/*"];
    let missing = unique("probe");
    let responses = join_all((0..100).map(|_| caller.look_up(&missing))).await;
    let throttled = responses.iter().filter(|response| response.status == 429).count();
    let (rate, burst) = (&settings["throttlingRateLimit"], &settings["throttlingBurstLimit"]);
    seen(
        "throttling",
        format!("{rate} a second, burst {burst}; {throttled} of 100 concurrent requests got 429"),
    );
}

#[tokio::test]
async fn expiry_and_backups_as_deployed() {
    let stack = Stack::running();
    let mut shown = Vec::new();
    for (what, table) in
        [("messages", &stack.at.messages_table), ("connections", &stack.at.connections_table)]
    {
        let expiry = stack.dynamodb.describe_time_to_live().table_name(table).send().await;
        let expiry = expiry.expect("the table has it").time_to_live_description;
        let expiry = expiry.and_then(|description| description.time_to_live_status);
        let backups = stack.dynamodb.describe_continuous_backups().table_name(table).send().await;
        let backups = backups.expect("the table has it").continuous_backups_description;
        let recovery = backups.and_then(|description| description.point_in_time_recovery_description);
        let recovery = recovery.and_then(|description| description.point_in_time_recovery_status);
        let [expiry, recovery] =
            [expiry.map(|status| status.to_string()), recovery.map(|status| status.to_string())]
                .map(|status| status.unwrap_or_else(|| "unknown".to_owned()));
        shown.push(format!("{what}: time to live {expiry}, point-in-time recovery {recovery}"));
    }
    seen("time to live and recovery", shown.join("; "));
}

#[tokio::test]
#[ignore = "needs the traffic of the others: `cargo xtask verify` runs it after them"]
async fn after_traffic_batches_have_a_size() {
    let stack = Stack::running();
    let path = format!("/2015-03-31/event-source-mappings/{}", stack.resource("QueueConsumerFunctionQueued"));
    let source = stack.rest("lambda", Method::GET, &path, None).await;
    let entries = stack.entries("BatchSize").await;
    let (size, window) = (&source["BatchSize"], &source["MaximumBatchingWindowInSeconds"]);
    let sizes = entries.iter().filter_map(|entry| entry.json["BatchSize"].as_u64());
    // A test invokes the consumer with more.
    let largest = sizes.filter(|records| Some(*records) <= size.as_u64()).max().unwrap_or_default();
    seen("batches", format!("of up to {largest} records, with a limit of {size} and a window of {window} s"));
}

#[tokio::test]
#[ignore = "needs the traffic of the others: `cargo xtask verify` runs it after them"]
async fn after_traffic_alarms_have_a_state() {
    let stack = Stack::running();
    let names: Vec<_> = stack
        .at
        .resources
        .iter()
        .filter(|(name, _)| name.ends_with("Alarm"))
        .map(|(_, alarm)| alarm)
        .collect();
    let target = "GraniteServiceVersion20100801.DescribeAlarms";
    let described = stack.json_rpc("monitoring", target, &json!({ "AlarmNames": names })).await;
    let mut states = BTreeMap::<&str, usize>::new();
    for alarm in described["MetricAlarms"].as_array().expect("alarms") {
        *states.entry(alarm["StateValue"].as_str().expect("a state")).or_default() += 1;
    }
    let shown: Vec<_> = states.iter().map(|(state, number)| format!("{number} {state}")).collect();
    seen("alarms", format!("{} of {} alarms", shown.join(", "), names.len()));
}

#[tokio::test]
#[ignore = "needs the traffic of the others: `cargo xtask verify` runs it after them"]
async fn after_traffic_access_logs_have_lines() {
    let stack = Stack::running();
    if !stack.at.resources.contains_key("AccessLogGroup") {
        return seen("access logs", "cannot be seen here: the parameter AccessLogs is off");
    }
    let entries = stack.entries("responded").await;
    let lines: Vec<_> = entries.iter().filter(|entry| entry.function == "Access").collect();
    let with_tokens = lines.iter().filter(|entry| entry.line.contains("eyJ")).count();
    seen("access logs", format!("{} lines, {with_tokens} with a token", lines.len()));
}
