//! Illegal ids, on both paths.

use e2e::stack::{Stack, unique};
use serde_json::json;

const BODY: &str = r#"{"a":1}"#;

/// Illegal characters as they are in a path. Legal ones that make the id unique follow each.
const ILLEGAL: [&str; 21] = [
    "%20",
    "%26",
    "%3D",
    "%25",
    "%2B",
    "+",
    "%22",
    "%27",
    "%5C",
    "%3C",
    "%7B%7D",
    "%23",
    "%3F",
    "%3B",
    ".",
    "~",
    "!",
    "%C3%A4",
    "%F0%9F%98%80",
    "%00",
    "%2525",
];

#[tokio::test]
async fn an_illegal_id_is_rejected_on_the_sync_path() {
    let stack = Stack::running();
    let caller = stack.caller();
    for illegal in ILLEGAL {
        let id = unique(illegal);
        caller.put(&id, BODY).await.assert_problem(400, "invalid-id");
        caller.look_up(&id).await.assert_problem(400, "invalid-id");
    }
}

#[tokio::test]
async fn a_queued_message_with_an_illegal_id_is_rejected_by_its_receipt_and_notified() {
    let stack = Stack::running();
    let caller = stack.caller();
    let mut socket = caller.connect().await;
    let mut accepted = Vec::new();
    for illegal in ILLEGAL {
        let response = caller.queue(&unique(illegal), BODY).await;
        if response.status != 202 {
            response.assert_problem(400, "invalid-id");
            continue;
        }
        let queued = response.json();
        let text = |member: &str| queued[member].as_str().expect("text").to_owned();
        accepted.push((text("id"), text("receipt"), text("statusPath")));
    }

    let mut notified = Vec::new();
    while notified.len() < accepted.len() {
        let event = socket.next_event().await;
        assert_eq!(event["type"], "intake.message.rejected", "{event}");
        assert!(event["data"]["reason"].as_str().is_some_and(|text| text.contains("A-Z")), "{event}");
        let receipt = event["data"]["receipt"].as_str().expect("a receipt").to_owned();
        if !notified.iter().any(|(_, known)| *known == receipt) {
            notified.push((event["subject"].as_str().expect("a subject").to_owned(), receipt));
        }
    }
    let mut expected: Vec<_> =
        accepted.iter().map(|(id, receipt, _)| (id.clone(), receipt.clone())).collect();
    expected.sort_unstable();
    notified.sort_unstable();
    assert_eq!(notified, expected);

    for (id, receipt, status_path) in &accepted {
        let found = caller.get(status_path).await.json();
        assert_eq!((&found["status"], &found["receipt"]), (&json!("rejected"), &json!(receipt)), "{found}");
        assert!(found["reason"].as_str().is_some_and(|reason| reason.contains("A-Z")), "{found}");
        assert_eq!(caller.item(id).await, None, "nothing is written");
    }
}

#[tokio::test]
async fn a_very_long_id_is_rejected_and_truncated_in_the_notification() {
    let stack = Stack::running();
    let caller = stack.caller();
    let mut socket = caller.connect().await;
    let id = "x".repeat(4000);

    caller.put(&id, BODY).await.assert_problem(400, "invalid-id");
    let response = caller.queue(&id, BODY).await;
    if response.status == 202 {
        let event = socket.next_event().await;
        assert_eq!(event["type"], "intake.message.rejected", "{event}");
        let subject = event["subject"].as_str().expect("a subject");
        assert!(subject.len() < 1000 && id.starts_with(subject), "{event}");
    } else {
        response.assert_problem(400, "invalid-id");
    }
}

/// The emulator compares the path with the authorizer's policy up to a line break only, and then responds with 403.
#[tokio::test]
async fn an_id_with_a_line_break_is_rejected() {
    let stack = Stack::running();
    let caller = stack.caller();
    for illegal in ["%0A", "%0D%0A"] {
        let id = unique(illegal);
        for response in [caller.put(&id, BODY).await, caller.look_up(&id).await] {
            assert!([400, 403].contains(&response.status), "{response:?}");
        }
        let response = caller.queue(&id, BODY).await;
        assert!([202, 400, 403].contains(&response.status), "{response:?}");
    }
}
