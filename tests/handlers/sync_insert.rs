use e2e::contract;
use fault_proxy::Fault;
use futures_util::future::join_all;
use intake_domain::{
    message::{MessageId, Owner, Payload, Receipt, Via},
    state::{Content, Incoming},
};
use intake_platform::{
    rest::{Caller, Responses},
    tables::Messages,
};
use jiff::Timestamp;
use lambda_http::http::{HeaderMap, Method};
use serde_json::{Value, json};
use sync_insert::SyncInsert;

use crate::fixtures::{
    database::{Database, MESSAGES, RETENTION_DAYS},
    events::{put, receipt, request},
};

fn function(database: &Database) -> SyncInsert {
    SyncInsert::new(database.messages(), Responses::new("*").expect("an origin"))
}

struct Response {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

async fn send(database: &Database, event: &Value) -> Response {
    let (head, body) = function(database).handle(request(event)).await.expect("a response").into_parts();
    let (path, text) = (event["path"].as_str().expect("text"), String::from_utf8_lossy(&body));
    contract::check_response(&Method::PUT, path, head.status.as_u16(), &head.headers, &text);
    let body = serde_json::from_slice(&body).expect("JSON");
    Response { status: head.status.as_u16(), headers: head.headers, body }
}

fn assert_problem(response: &Response, status: u16, slug: &str) {
    assert_eq!(response.status, status, "{}", response.body);
    assert_eq!(response.headers["access-control-allow-origin"], "*");
    assert_eq!(response.body["type"], format!("urn:intake:problem:{slug}"));
    assert_eq!(response.body["status"], status);
    assert!(!response.body["title"].as_str().unwrap_or_default().is_empty());
    assert!(!response.body["detail"].as_str().unwrap_or_default().is_empty());
}

#[tokio::test]
async fn a_message_is_stored_and_the_response_says_where_it_is() {
    let database = Database::start().await;
    let response = send(&database, &put("alice", "m-1", r#"{"a":1}"#)).await;
    assert_eq!(response.status, 201);
    assert_eq!(response.body, json!({ "id": "m-1", "status": "stored", "statusPath": "/messages/m-1" }));
    assert_eq!(response.headers["content-type"], "application/json");
    assert_eq!(database.text("alice", "m-1", "status").await, "stored");
    assert_eq!(database.text("alice", "m-1", "via").await, "sync");
    assert_eq!(database.text("alice", "m-1", "payload").await, r#"{"a":1}"#);
    assert!(database.text("alice", "m-1", "stored_at").await.parse::<Timestamp>().is_ok());
    assert_eq!(database.faults.take_requests_of("PutItem"), 1, "one request is enough");
}

#[test]
fn the_gateways_extended_request_id_is_the_correlation_id() {
    let mut event = put("alice", "m-1", r#"{"a":1}"#);
    event["requestContext"]["extendedRequestId"] = json!("Jt2lVHzXIAMEa2A=");
    assert_eq!(Caller::of(&request(&event)).correlation_id.as_deref(), Some("Jt2lVHzXIAMEa2A="));
}

#[tokio::test]
async fn a_message_expires_after_the_retention() {
    let database = Database::start().await;
    let expected = Timestamp::now().as_second() + 24 * 3_600 * i64::from(RETENTION_DAYS);
    assert_eq!(send(&database, &put("alice", "m-1", r#"{"a":1}"#)).await.status, 201);
    let item = database.item("alice", "m-1").await.expect("stored");
    let expires_at: i64 = item["expires_at"].as_n().expect("a number").parse().expect("whole");
    assert!((expected..=expected + 60).contains(&expires_at), "{expires_at}");
    assert_eq!(Messages::retention(0), None, "no days are forever");
}

#[tokio::test]
async fn the_same_message_again_changes_nothing() {
    let database = Database::start().await;
    send(&database, &put("alice", "m-1", r#"{"a":1,"b":2}"#)).await;
    let stored = database.item("alice", "m-1").await;
    for same in [r#"{"a":1,"b":2}"#, r#"{ "b": 2, "a": 1 }"#] {
        let response = send(&database, &put("alice", "m-1", same)).await;
        assert_eq!(response.status, 200);
        assert_eq!(response.body, json!({ "id": "m-1", "status": "stored", "statusPath": "/messages/m-1" }));
    }
    assert_eq!(database.item("alice", "m-1").await, stored);
}

#[tokio::test]
async fn another_payload_under_the_same_id_is_a_conflict_and_changes_nothing() {
    let database = Database::start().await;
    send(&database, &put("alice", "m-1", r#"{"a":1}"#)).await;
    let stored = database.item("alice", "m-1").await;
    let response = send(&database, &put("alice", "m-1", r#"{"a":2}"#)).await;
    assert_problem(&response, 409, "conflict");
    assert_eq!(database.item("alice", "m-1").await, stored);
}

#[tokio::test]
async fn one_of_several_concurrent_requests_stores() {
    let database = Database::start().await;
    let same = put("alice", "same", r#"{"a":1}"#);
    let mut statuses: Vec<_> = join_all([&same; 6].map(|event| send(&database, event)))
        .await
        .iter()
        .map(|response| response.status)
        .collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 201]);

    let different: Vec<_> =
        (0..6).map(|number| put("alice", "different", &format!("{{\"a\":{number}}}"))).collect();
    let responses = join_all(different.iter().map(|event| send(&database, event))).await;
    let stored: Vec<_> = (0..6).filter(|&number| responses[number].status == 201).collect();
    assert_eq!(stored.len(), 1, "{stored:?}");
    assert!(responses.iter().all(|response| matches!(response.status, 201 | 409)));
    let payload = database.text("alice", "different", "payload").await;
    assert_eq!(payload, format!("{{\"a\":{}}}", stored[0]));
}

#[tokio::test]
async fn two_owners_may_use_the_same_id() {
    let database = Database::start().await;
    assert_eq!(send(&database, &put("alice", "m-1", r#"{"of":"alice"}"#)).await.status, 201);
    assert_eq!(send(&database, &put("bob", "m-1", r#"{"of":"bob"}"#)).await.status, 201);
    assert_eq!(database.text("alice", "m-1", "payload").await, r#"{"of":"alice"}"#);
    assert_eq!(database.text("bob", "m-1", "payload").await, r#"{"of":"bob"}"#);
}

#[tokio::test]
async fn a_rejected_or_failed_id_can_be_stored() {
    let database = Database::start().await;
    let payload = Payload::parse(r#"{"a":1}"#).expect("valid");
    for (id, content) in [
        ("m-1", Content::Invalid { text: "[]".into(), reason: "not an object".into() }),
        ("m-2", Content::Failed { payload, reason: "throttled" }),
    ] {
        let incoming = Incoming {
            owner: Owner::parse("alice").expect("legal"),
            id: MessageId::parse(id),
            via: Via::Queue(Receipt::parse(&receipt(1)).expect("a receipt")),
            attempts: Some(5),
            received_at: Timestamp::now(),
            content,
        };
        database.messages().write(&incoming).await.expect("written");
        assert_eq!(send(&database, &put("alice", id, r#"{"a":1}"#)).await.status, 201);
        assert_eq!(database.text("alice", id, "status").await, "stored");
        assert_eq!(database.text("alice", id, "reason").await, "", "the reason is gone");
    }
}

#[tokio::test]
async fn an_illegal_id_is_rejected_and_nothing_is_written() {
    let database = Database::start().await;
    for id in ["", "a b", "a#b", "ä", "a\0b", "../x", &"x".repeat(65)] {
        assert_problem(&send(&database, &put("alice", id, r#"{"a":1}"#)).await, 400, "invalid-id");
    }
    assert_eq!(database.count(MESSAGES).await, 0);
}

#[tokio::test]
async fn an_invalid_body_is_rejected_and_nothing_is_written() {
    let database = Database::start().await;
    for body in ["", " ", "[]", "1", "null", "\"text\"", "{", "hello", "{\"a\":1}x", "{\"a\":\"\u{fffd}\"}"] {
        assert_problem(&send(&database, &put("alice", "m-1", body)).await, 400, "invalid-body");
    }
    let mut no_body = put("alice", "m-1", "");
    no_body["body"] = Value::Null;
    assert_problem(&send(&database, &no_body).await, 400, "invalid-body");
    let mut not_text = put("alice", "m-1", "/v8=");
    not_text["isBase64Encoded"] = json!(true);
    assert_problem(&send(&database, &not_text).await, 400, "invalid-body");
    let too_large = format!("{{\"a\":\"{}\"}}", "x".repeat(256 * 1024));
    assert_problem(&send(&database, &put("alice", "m-1", &too_large)).await, 413, "payload-too-large");
    assert_eq!(database.count(MESSAGES).await, 0);
}

async fn with_header(database: &Database, id: &str, name: &str, values: &[&str]) -> Response {
    let mut event = put("alice", id, r#"{"a":1}"#);
    for headers in ["headers", "multiValueHeaders"] {
        event[headers].as_object_mut().expect("headers").remove("Content-Type");
    }
    if let Some(last) = values.last() {
        event["headers"][name] = json!(last);
        event["multiValueHeaders"][name] = json!(values);
    }
    send(database, &event).await
}

#[tokio::test]
async fn json_in_utf_8_is_accepted_in_every_spelling() {
    let database = Database::start().await;
    let spellings = [
        "application/json",
        "Application/JSON",
        "application/json;",
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        "application/json ; charset = \"Utf-8\"",
        "application/json; profile=\"https://example.com/order\"; charset=utf-8; v=1",
    ];
    for (number, spelling) in spellings.into_iter().enumerate() {
        let response = with_header(&database, &format!("m-{number}"), "Content-Type", &[spelling]).await;
        assert_eq!(response.status, 201, "{spelling}");
    }
    assert_eq!(with_header(&database, "none", "Content-Type", &[]).await.status, 201);
}

#[tokio::test]
async fn a_body_of_another_content_type_is_rejected_and_nothing_is_written() {
    let database = Database::start().await;
    for other in [
        "text/plain",
        "text/json",
        "application/xml",
        "application/x-www-form-urlencoded",
        "application/jsonp",
        "application/vnd.api+json",
        "",
        "json",
        "; charset=utf-8",
        "application/json; charset=utf-16",
        "application/json; charset=utf-8; charset=latin1",
        "application/json; charset=",
        "application/json, text/plain",
    ] {
        let response = with_header(&database, "m-1", "Content-Type", &[other]).await;
        assert_problem(&response, 415, "unsupported-media-type");
    }
    // Of several lines the last counts, here and in the gateway's template.
    let two = with_header(&database, "m-1", "Content-Type", &["application/json", "text/plain"]).await;
    assert_problem(&two, 415, "unsupported-media-type");
    for encoding in ["gzip", "identity", ""] {
        let response = with_header(&database, "m-1", "Content-Encoding", &[encoding]).await;
        assert_problem(&response, 415, "unsupported-media-type");
    }
    assert_eq!(database.count(MESSAGES).await, 0);
}

#[tokio::test]
async fn a_payload_is_stored_exactly_as_it_was_sent() {
    let database = Database::start().await;
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(500), "]".repeat(500));
    let bodies = [
        r#"{"quotes":"\"'`","form":"a&b=c%20+d","emoji":"😀🇩🇪","nul":"\u0000"}"#,
        r#"{ "number": 1234567890123456789, "big": 123456789012345678901234567890.5e-7, "one": 1.0 }"#,
        &deep,
    ];
    for (place, body) in bodies.iter().enumerate() {
        let id = format!("m-{place}");
        assert_eq!(send(&database, &put("alice", &id, body)).await.status, 201);
        assert_eq!(database.text("alice", &id, "payload").await, *body);
    }
}

#[tokio::test]
async fn a_request_without_an_owner_is_an_internal_error() {
    let database = Database::start().await;
    let mut event = put("alice", "m-1", r#"{"a":1}"#);
    event["requestContext"].as_object_mut().expect("a context").remove("authorizer");
    event["headers"]["owner"] = json!("alice");
    assert_problem(&send(&database, &event).await, 500, "internal");
    assert_eq!(database.count(MESSAGES).await, 0);
}

#[tokio::test]
async fn a_throttled_or_unavailable_database_is_a_503_with_retry_after() {
    let database = Database::start().await;
    for fault in [Fault::Throttle, Fault::ServerError, Fault::CutBefore, Fault::Hang] {
        database.faults.always(fault);
        let response = send(&database, &put("alice", "m-1", r#"{"a":1}"#)).await;
        assert_problem(&response, 503, "unavailable");
        assert_eq!(response.headers["retry-after"], "1");
        assert_eq!(database.count(MESSAGES).await, 0, "{fault:?}");
    }
    database.faults.always(Fault::None);
    assert_eq!(send(&database, &put("alice", "m-1", r#"{"a":1}"#)).await.status, 201);
}

#[tokio::test]
async fn a_database_that_rejects_is_an_internal_error_without_details() {
    let database = Database::start().await;
    database.faults.always(Fault::Reject);
    let response = send(&database, &put("alice", "m-1", r#"{"a":1}"#)).await;
    assert_problem(&response, 500, "internal");
    assert!(!response.body.to_string().contains("Validation"), "{}", response.body);
}

#[tokio::test]
async fn a_short_fault_is_not_seen_by_the_caller() {
    let database = Database::start().await;
    for (place, fault) in [Fault::Throttle, Fault::ServerError, Fault::CutBefore].into_iter().enumerate() {
        database.faults.next([fault, fault]);
        let response = send(&database, &put("alice", &format!("m-{place}"), r#"{"a":1}"#)).await;
        assert_eq!(response.status, 201, "{fault:?}");
    }
}

#[tokio::test]
async fn a_write_whose_response_was_lost_is_stored_and_no_conflict() {
    let database = Database::start().await;
    database.faults.next([Fault::CutAfter]);
    let response = send(&database, &put("alice", "m-1", r#"{"a":1}"#)).await;
    assert_eq!(response.status, 200, "the second attempt found what the first one stored");
    assert_eq!(database.text("alice", "m-1", "payload").await, r#"{"a":1}"#);
}

#[tokio::test]
async fn whatever_a_proxy_says_of_the_host_a_request_is_served() {
    let database = Database::start().await;
    let hostile = [
        ("Host", "host:99999"),
        ("Host", "xn--zz"),
        ("Host", ""),
        ("Host", "[::1"),
        ("Host", "a b"),
        ("X-Forwarded-Proto", "https,http"),
        ("X-Forwarded-Proto", ""),
        ("X-Forwarded-Proto", "1http"),
        ("X-Forwarded-Proto", ":"),
        ("X-Forwarded-Host", "%%%"),
        ("X-Forwarded-Port", "-1"),
        ("X-Forwarded-For", "unknown, _hidden, [2001:db8::1]:4711"),
        ("Forwarded", "for=_x;proto=;host=\"\""),
        ("X-Original-URL", "//"),
        ("X-Amzn-Trace-Id", "Root=;;=,"),
        ("Via", ","),
        ("Connection", "close, x"),
        ("Content-Length", "-1"),
    ];
    for (number, (name, value)) in hostile.iter().enumerate() {
        let mut event = put("alice", &format!("m-{number}"), "{\"a\":1}");
        for (headers, value) in [("headers", json!(value)), ("multiValueHeaders", json!([value]))] {
            event[headers][name] = value;
        }
        assert_eq!(send(&database, &event).await.status, 201, "{name}: {value}");
    }
}
