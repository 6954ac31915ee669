//! `PUT /messages/{id}`: the answer is the outcome.

use e2e::stack::{Stack, number, text, unique};
use futures_util::future::join_all;
use jiff::Timestamp;
use serde_json::{Value, json};

#[tokio::test]
async fn a_message_is_stored_when_the_answer_says_so() {
    let stack = Stack::running();
    let caller = stack.caller();
    let id = unique("m");

    let answer = caller.put(&id, r#"{"order":4711}"#).await;

    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.json(), json!({ "id": id, "status": "stored" }));
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("location"), format!("/v1/messages/{id}"));
    let item = caller.item(&id).await.expect("it is in the table");
    assert_eq!(text(&item, "status"), "stored");
    assert_eq!(text(&item, "payload"), r#"{"order":4711}"#);
    assert_eq!(text(&item, "via"), "sync");
    assert_eq!(number(&item, "attempts"), 1);
    let time = |name| text(&item, name).parse::<Timestamp>().expect("RFC 3339");
    assert!(time("received_at") <= time("stored_at"), "{item:?}");
    for absent in ["receipt", "reason", "expires_at"] {
        assert!(!item.contains_key(absent), "{absent}: {item:?}");
    }
}

#[tokio::test]
async fn what_is_stored_can_be_looked_up() {
    let stack = Stack::running();
    let caller = stack.caller();
    let id = unique("m");
    caller.put(&id, r#"{"order":4711}"#).await;

    let answer = caller.look_up(&id).await;

    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/json");
    let mut found = answer.json();
    let mut time = |name: &str| {
        let time = found.as_object_mut().and_then(|found| found.remove(name)).unwrap_or_default();
        time.as_str().and_then(|time| time.parse::<Timestamp>().ok())
    };
    let (received, stored) = (time("receivedAt"), time("storedAt"));
    assert!(received.is_some() && received <= stored, "{answer:?}");
    let rest = json!({
        "id": id, "status": "stored", "via": "sync", "attempts": 1, "payload": { "order": 4711 },
    });
    assert_eq!(found, rest);
}

#[tokio::test]
async fn a_repeated_message_changes_nothing() {
    let stack = Stack::running();
    let caller = stack.caller();
    let id = unique("m");
    let first = caller.put(&id, r#"{"a":1,"b":{"c":"é","d":[1,2]}}"#).await;
    assert_eq!(first.status, 201, "{first:?}");
    let before = caller.item(&id).await;

    for again in
        [r#"{"a":1,"b":{"c":"é","d":[1,2]}}"#, "{ \"b\": {\"d\": [1, 2],\n\"c\": \"\\u00e9\"}, \"a\": 1 }"]
    {
        let answer = caller.put(&id, again).await;
        assert_eq!(answer.status, 200, "{again}: {answer:?}");
        assert_eq!(answer.json(), json!({ "id": id, "status": "stored" }));
        assert_eq!(answer.header("location"), format!("/v1/messages/{id}"));
    }
    assert_eq!(caller.item(&id).await, before);
}

#[tokio::test]
async fn another_payload_under_the_same_id_is_a_conflict() {
    let stack = Stack::running();
    let caller = stack.caller();
    let id = unique("m");
    caller.put(&id, r#"{"a":1,"b":[1,2]}"#).await;
    let before = caller.item(&id).await;

    for other in [
        r#"{"a":2,"b":[1,2]}"#,
        r#"{"a":1,"b":[2,1]}"#,
        r#"{"a":1}"#,
        r#"{"a":1,"b":[1,2],"c":null}"#,
        r#"{"a":"1","b":[1,2]}"#,
    ] {
        caller.put(&id, other).await.assert_problem(409, "conflict");
    }
    assert_eq!(caller.item(&id).await, before);
}

#[tokio::test]
async fn of_requests_at_the_same_time_one_stores() {
    let stack = Stack::running();
    let caller = stack.caller();
    let (same, different) = (unique("same"), unique("different"));

    let sent = join_all((0..6).map(|_| caller.put(&same, r#"{"a":1}"#))).await;
    let mut statuses: Vec<_> = sent.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 201]);

    let bodies: Vec<_> = (0..6).map(|number| format!(r#"{{"a":{number}}}"#)).collect();
    let sent = join_all(bodies.iter().map(|body| caller.put(&different, body.clone()))).await;
    let stored: Vec<_> = (0..6).filter(|&place| sent[place].status == 201).collect();
    assert_eq!(stored.len(), 1, "{sent:?}");
    assert!(sent.iter().all(|answer| [201, 409].contains(&answer.status)), "{sent:?}");
    let found: Value = caller.look_up(&different).await.json();
    assert_eq!(found["payload"], json!({ "a": stored[0] }));
}

#[tokio::test]
async fn an_id_that_nobody_sent_is_not_found() {
    let stack = Stack::running();
    stack.caller().look_up(&unique("m")).await.assert_problem(404, "not-found");
}
