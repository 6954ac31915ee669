//! `PUT /messages/{id}`: the response is the outcome.

use e2e::stack::{Stack, number, text, unique};
use jiff::Timestamp;
use serde_json::json;

#[tokio::test]
async fn a_message_is_stored_when_the_response_says_so() {
    let stack = Stack::running();
    let caller = stack.caller();
    let id = unique("m");

    let response = caller.put(&id, r#"{"order":4711}"#).await;

    assert_eq!(response.status, 201, "{response:?}");
    let status_path = format!("/messages/{id}");
    assert_eq!(response.json(), json!({ "id": id, "status": "stored", "statusPath": status_path }));
    assert_eq!(response.header("content-type"), "application/json");
    assert_eq!(caller.get(&status_path).await.message_status(), "stored");
    let item = caller.item(&id).await.expect("it is in the table");
    assert_eq!(text(&item, "status"), "stored");
    assert_eq!(text(&item, "payload"), r#"{"order":4711}"#);
    assert_eq!(text(&item, "via"), "sync");
    assert_eq!(number(&item, "attempts"), 1);
    let time = |name| text(&item, name).parse::<Timestamp>().expect("RFC 3339");
    assert!(time("received_at") <= time("stored_at"), "{item:?}");
    for absent in ["receipt", "reason"] {
        assert!(!item.contains_key(absent), "{absent}: {item:?}");
    }
    assert_eq!(item.contains_key("expires_at"), stack.at.messages_expire, "{item:?}");
}

#[tokio::test]
async fn a_stored_message_can_be_looked_up() {
    let stack = Stack::running();
    let caller = stack.caller();
    let id = unique("m");
    caller.put(&id, r#"{"order":4711}"#).await;

    let response = caller.look_up(&id).await;

    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(response.header("content-type"), "application/json");
    let mut found = response.json();
    let mut time = |name: &str| {
        let time = found.as_object_mut().and_then(|found| found.remove(name)).unwrap_or_default();
        time.as_str().and_then(|time| time.parse::<Timestamp>().ok())
    };
    let (received, stored) = (time("receivedAt"), time("storedAt"));
    assert!(received.is_some() && received <= stored, "{response:?}");
    let rest = json!({
        "id": id, "status": "stored", "via": "sync", "attempts": 1, "payload": { "order": 4711 },
    });
    assert_eq!(found, rest);
}
