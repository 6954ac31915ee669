//! The proxy with a limited capacity, from outside: what DynamoDB responds above it, and the controls over HTTP.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "these are tests")]

use std::{convert::Infallible, net::SocketAddr};

use fault_proxy::{Capacity, FaultProxy};
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// A database that echoes the statements it gets: each response names the item that it is for.
async fn database() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), service_fn(echo)));
        }
    });
    address
}

async fn echo(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let request: Value = serde_json::from_slice(&body).unwrap();
    let responses = request["Statements"].as_array().into_iter().flatten();
    let responses: Vec<_> = responses.map(|one| json!({ "Item": { "pk": one["Parameters"][0] } })).collect();
    Ok(Response::new(Full::new(Bytes::from(json!({ "Responses": responses }).to_string()))))
}

struct Client {
    proxy: FaultProxy,
    http: reqwest::Client,
}

impl Client {
    async fn before(database: SocketAddr) -> Self {
        let proxy = FaultProxy::before(database).await;
        Self { proxy, http: reqwest::Client::builder().no_proxy().build().unwrap() }
    }

    async fn call(&self, operation: &str, request: &Value) -> (StatusCode, Value) {
        let target = format!("DynamoDB_20120810.{operation}");
        self.send(Method::POST, "/", request.to_string(), &target).await
    }

    async fn send(&self, method: Method, path: &str, body: String, target: &str) -> (StatusCode, Value) {
        let url = format!("{}{path}", self.proxy.url());
        let request = self.http.request(method, url).header("x-amz-target", target).body(body);
        let response = request.send().await.unwrap();
        let status = response.status();
        (status, serde_json::from_str(&response.text().await.unwrap()).unwrap_or_default())
    }

    async fn control(&self, method: Method, path: &str, body: &Value) -> (StatusCode, Value) {
        self.send(method, &format!("/_faults{path}"), body.to_string(), "").await
    }

    /// How many of so many writes are not throttled.
    async fn stored(&self, writes: usize) -> usize {
        let mut stored = 0;
        for _ in 0..writes {
            let (status, body) = self.call("PutItem", &put()).await;
            if status.is_success() {
                stored += 1;
            } else {
                assert_eq!(status, StatusCode::BAD_REQUEST);
                let kind = body["__type"].as_str().unwrap();
                assert!(kind.ends_with("#ProvisionedThroughputExceededException"), "{kind}");
            }
        }
        stored
    }
}

fn put() -> Value {
    json!({ "TableName": "messages", "Item": { "pk": { "S": "a" } },
            "ConditionExpression": "attribute_not_exists(pk)" })
}

fn inserts(count: usize) -> Value {
    let insert = |number: usize| {
        json!({ "Statement": "INSERT INTO \"messages\" VALUE {'pk': ?}",
                "Parameters": [{ "S": number.to_string() }] })
    };
    json!({ "Statements": (0..count).map(insert).collect::<Vec<_>>() })
}

/// "DynamoDB provisioned capacity mode". So slow that no unit comes back during the test.
#[tokio::test]
async fn a_request_above_the_capacity_is_throttled() {
    let client = Client::before(database().await).await;
    client.proxy.limit(Some(Capacity {
        write_units: 0.003,
        burst_seconds: 999.0,
        ..Capacity::of("messages", 1.0)
    }));
    assert_eq!(client.stored(10).await, 3);
    let usage = client.proxy.take_usage();
    assert_eq!((usage.write_units, usage.throttled_requests), (3.0, 7));
    client.proxy.limit(None);
    assert_eq!(client.stored(10).await, 10);
}

/// "BatchStatementError": a `200`, in which each statement has its own response, in the order of the statements.
#[tokio::test]
async fn single_statements_above_the_capacity_are_throttled_inside_a_200() {
    let client = Client::before(database().await).await;
    client.proxy.limit(Some(Capacity {
        write_units: 0.004,
        burst_seconds: 999.0,
        ..Capacity::of("messages", 1.0)
    }));
    for (stored, throttled) in [(4, 6), (0, 10)] {
        let (status, body) = client.call("BatchExecuteStatement", &inserts(10)).await;
        assert_eq!(status, StatusCode::OK);
        let responses = body["Responses"].as_array().unwrap();
        assert_eq!(responses.len(), 10);
        for (place, response) in responses.iter().enumerate() {
            if place < stored {
                assert_eq!(response["Item"]["pk"]["S"], place.to_string());
            } else {
                assert_eq!(response["Error"]["Code"], "ProvisionedThroughputExceeded", "{place}");
            }
        }
        let usage = client.proxy.take_usage();
        assert_eq!((usage.write_units, usage.throttled_statements), (stored as f64, throttled));
    }
}

#[tokio::test]
async fn the_capacity_is_switched_over_http_while_the_proxy_runs() {
    let client = Client::before(database().await).await;
    let capacity =
        json!({ "table": "messages", "writeUnits": 0.001, "readUnits": 1.0, "burstSeconds": 999.0 });
    assert_eq!(client.control(Method::PUT, "/capacity", &capacity).await.0, StatusCode::NO_CONTENT);
    assert_eq!(client.stored(5).await, 1);
    let (_, seen) = client.control(Method::GET, "", &Value::Null).await;
    assert_eq!(seen["capacity"], capacity);
    assert_eq!(seen["usage"]["requests"]["PutItem"], 5, "the controls are no requests to the database");
    assert_eq!(client.control(Method::DELETE, "/capacity", &Value::Null).await.0, StatusCode::NO_CONTENT);
    assert_eq!(client.stored(5).await, 5);

    let fault = json!({ "fault": "throttle" });
    assert_eq!(client.control(Method::PUT, "/fault", &fault).await.0, StatusCode::NO_CONTENT);
    assert_eq!(client.stored(5).await, 0);
    assert_eq!(client.control(Method::DELETE, "/fault", &Value::Null).await.0, StatusCode::NO_CONTENT);
    assert_eq!(client.stored(5).await, 5);
}

#[tokio::test]
async fn a_wrong_control_is_rejected_and_changes_nothing() {
    let client = Client::before(database().await).await;
    for (path, body) in [
        ("/capacity", json!({ "writeUnits": 0, "readUnits": 1 })),
        ("/capacity", json!({ "writeUnits": -1, "readUnits": 1 })),
        ("/capacity", json!({ "writeUnits": 1 })),
        ("/capacity", json!({ "writeUnits": 1, "readUnits": 1, "units": 1 })),
        ("/fault", json!({ "fault": "fire" })),
        ("/fault", Value::Null),
    ] {
        let (status, error) = client.control(Method::PUT, path, &body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path} {body}");
        assert!(error["error"].is_string(), "{path} {body}");
    }
    assert_eq!(client.control(Method::PUT, "/other", &Value::Null).await.0, StatusCode::NOT_FOUND);
    assert_eq!(client.stored(5).await, 5);
}
