//! Illegal ids, on both paths.

use std::collections::BTreeMap;

use e2e::stack::{Outcome, Queued, Stack, unique};

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
        accepted.extend(response.queued_unless(400, "invalid-id"));
    }

    let expected: BTreeMap<_, _> = accepted.iter().map(|it| (it.receipt.clone(), it.id.clone())).collect();
    let mut notified = BTreeMap::new();
    while notified.len() < expected.len() {
        let outcome = socket.next_outcome().await;
        assert_rejected(&outcome);
        notified.insert(outcome.receipt, outcome.id);
    }
    assert_eq!(notified, expected);

    for Queued { id, receipt, status_path, .. } in &accepted {
        let found = caller.get(status_path).await.found().outcome;
        assert_eq!(found.receipt, *receipt);
        assert_rejected(&found);
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
    if caller.queue(&id, BODY).await.queued_unless(400, "invalid-id").is_some() {
        let outcome = socket.next_outcome().await;
        assert_rejected(&outcome);
        assert!(outcome.id.len() < 1000 && id.starts_with(&outcome.id), "{outcome:?}");
    }
}

fn assert_rejected(outcome: &Outcome) {
    assert_eq!(outcome.status, "rejected", "{outcome:?}");
    assert!(outcome.reason.as_ref().is_some_and(|reason| reason.contains("A-Z")), "{outcome:?}");
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
