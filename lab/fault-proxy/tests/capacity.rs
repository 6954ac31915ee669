//! The proxy with a limited capacity, from outside: what DynamoDB responds above it.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "these are tests")]

use std::{convert::Infallible, net::SocketAddr};

use fault_proxy::{Capacity, FaultProxy};
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response, StatusCode,
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
        let http = fault_proxy::http_client();
        Self { proxy: FaultProxy::before(database).await, http }
    }

    async fn call(&self, operation: &str, request: &Value) -> (StatusCode, Value) {
        let target = format!("DynamoDB_20120810.{operation}");
        let call = self.http.post(self.proxy.url()).header("x-amz-target", target);
        let response = call.body(request.to_string()).send().await.unwrap();
        let status = response.status();
        (status, serde_json::from_str(&response.text().await.unwrap()).unwrap_or_default())
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

/// "DynamoDB provisioned capacity mode". So slow that no unit is added during the test.
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
