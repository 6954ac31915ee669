//! Illegal ids, on both paths.

use e2e::stack::{Outcome, Stack, unique};

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
async fn an_illegal_id_is_rejected_at_once_on_both_paths() {
    let stack = Stack::running();
    let caller = stack.caller();
    for illegal in ILLEGAL {
        let id = unique(illegal);
        caller.put(&id, BODY).await.assert_problem(400, "invalid-id");
        caller.queue(&id, BODY).await.assert_problem(400, "invalid-id");
        caller.look_up(&id).await.assert_problem(400, "invalid-id");
        // The id comes before the body: whatever that is, it does not reach the queue.
        caller
            .send_as(&format!("/queue/{id}"), "application/json; charset=latin1", BODY)
            .await
            .assert_problem(400, "invalid-id");
    }
}

#[tokio::test]
async fn an_id_has_at_most_64_characters() {
    let stack = Stack::running();
    let caller = stack.caller();
    for (length, status) in [(64, 202), (65, 400), (4_000, 400)] {
        let id = format!("{:x<length$}", unique("long"));
        assert_eq!(caller.queue(&id, BODY).await.status, status, "{length}");
    }
}

#[tokio::test]
async fn a_record_with_an_illegal_id_is_rejected_by_its_receipt_and_notified() {
    let stack = Stack::running();
    let caller = stack.caller();
    let mut socket = caller.connect().await;
    // The gateway lets none pass. Whoever may send to the queue can.
    let receipt = stack.send(caller.record("no legal id!", BODY)).await;

    let outcome = socket.next_outcome().await;
    assert_eq!((&*outcome.id, &*outcome.receipt), ("no legal id!", &*receipt));
    assert_rejected(&outcome);
    let found = caller.get(&format!("/messages/no%20legal%20id!?receipt={receipt}")).await.found().outcome;
    assert_rejected(&found);
    assert_eq!(caller.item("no legal id!").await, None, "nothing is written");
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
        assert!([400, 403].contains(&response.status), "{response:?}");
    }
}
