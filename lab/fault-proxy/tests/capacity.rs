//! The proxy with a limited capacity, from outside: what DynamoDB responds above it.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "these are tests")]

use axum::{Json, Router, body::Bytes};
use fault_proxy::{Capacity, FaultProxy};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// A proxy before a database that echoes the statements it gets: each response names the item that it is for.
async fn proxy() -> FaultProxy {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let database = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, Router::new().fallback(echo)).await });
    FaultProxy::before(database).await
}

async fn echo(request: Bytes) -> Json<Value> {
    let request: Value = serde_json::from_slice(&request).unwrap();
    let statements = request["Statements"].as_array().into_iter().flatten();
    let responses: Vec<_> = statements.map(|one| json!({ "Item": { "pk": one["Parameters"][0] } })).collect();
    Json(json!({ "Responses": responses }))
}

/// The status and the body of a response.
async fn call(proxy: &FaultProxy, operation: &str, request: &Value) -> (u16, Value) {
    let target = format!("DynamoDB_20120810.{operation}");
    let call = fault_proxy::http_client().post(proxy.url()).header("x-amz-target", target);
    let response = call.body(request.to_string()).send().await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_str(&response.text().await.unwrap()).unwrap())
}

/// So little that no unit is added during a test: what is larger than the bucket passes once, when it is full.
fn one_unit() -> Option<Capacity> {
    Some(Capacity::of("messages", 0.001))
}

/// "DynamoDB provisioned capacity mode".
#[tokio::test]
async fn a_request_above_the_capacity_is_throttled() {
    let proxy = proxy().await;
    let put = json!({ "TableName": "messages", "Item": { "pk": { "S": "a" } } });
    proxy.limit(one_unit());
    assert_eq!(call(&proxy, "PutItem", &put).await.0, 200);
    let (status, body) = call(&proxy, "PutItem", &put).await;
    assert_eq!(status, 400);
    let kind = body["__type"].as_str().unwrap();
    assert!(kind.ends_with("#ProvisionedThroughputExceededException"), "{kind}");
    let usage = proxy.take_usage();
    assert_eq!((usage.write_units, usage.throttled_requests), (1.0, 1));
    proxy.limit(None);
    assert_eq!(call(&proxy, "PutItem", &put).await.0, 200);
}

/// "BatchStatementError": a `200`, in which each statement has its own response, in the order of the statements.
#[tokio::test]
async fn single_statements_above_the_capacity_are_throttled_inside_a_200() {
    let proxy = proxy().await;
    // Between those for the table with a limit, two are for another.
    let insert = |(index, table): (usize, &str)| {
        json!({ "Statement": format!("INSERT INTO \"{table}\" VALUE {{'pk': ?}}"),
                "Parameters": [{ "S": index.to_string() }] })
    };
    let tables = ["messages", "others", "messages", "others", "messages"];
    let request = json!({ "Statements": tables.into_iter().enumerate().map(insert).collect::<Vec<_>>() });
    proxy.limit(one_unit());
    for passed in [[true, true, false, true, false], [false, true, false, true, false]] {
        let (status, body) = call(&proxy, "BatchExecuteStatement", &request).await;
        assert_eq!(status, 200);
        let responses = body["Responses"].as_array().unwrap();
        assert_eq!(responses.len(), passed.len());
        for (index, (response, passed)) in responses.iter().zip(passed).enumerate() {
            if passed {
                assert_eq!(response["Item"]["pk"]["S"], index.to_string());
            } else {
                assert_eq!(response["Error"]["Code"], "ProvisionedThroughputExceeded", "{index}");
            }
        }
        let usage = proxy.take_usage();
        let stored = passed.into_iter().filter(|passed| *passed).count();
        assert_eq!((usage.write_units, usage.throttled_statements), (stored as f64, 5 - stored));
    }
}
