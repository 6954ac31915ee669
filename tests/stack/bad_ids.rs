//! Ids that are none, by both ways in.

use e2e::stack::{Stack, unique};
use futures_util::future::join_all;
use serde_json::json;

const BODY: &str = r#"{"a":1}"#;

/// What is wrong, as it stands in a path, each in front of a legal rest that makes it one of a kind.
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
async fn a_request_with_an_illegal_id_is_refused() {
    let stack = Stack::running();
    let caller = stack.caller();
    for illegal in ILLEGAL {
        let id = unique(illegal);
        caller.put(&id, BODY).await.assert_problem(400, "invalid-id");
        caller.look_up(&id).await.assert_problem(400, "invalid-id");
    }
}

#[tokio::test]
async fn a_queued_message_with_an_illegal_id_is_rejected_on_the_socket_and_by_the_look_up() {
    let stack = Stack::running();
    let caller = stack.caller();
    let mut socket = caller.connect().await;
    let mut taken = Vec::new();
    for illegal in ILLEGAL {
        let answer = caller.queue(&unique(illegal), BODY).await;
        if answer.status != 202 {
            answer.assert_problem(400, "invalid-id");
            continue;
        }
        let queued = answer.json();
        let text = |member: &str| queued[member].as_str().expect("text").to_owned();
        taken.push((text("id"), text("receipt"), text("statusPath")));
    }

    let mut told = Vec::new();
    while told.len() < taken.len() {
        let event = socket.next_event().await;
        assert_eq!(event["type"], "intake.message.rejected", "{event}");
        assert!(event["data"]["reason"].as_str().is_some_and(|text| text.contains("A-Z")), "{event}");
        let receipt = event["data"]["receipt"].as_str().expect("a receipt").to_owned();
        if !told.iter().any(|(_, known)| *known == receipt) {
            told.push((event["subject"].as_str().expect("a subject").to_owned(), receipt));
        }
    }
    let mut expected: Vec<_> = taken.iter().map(|(id, receipt, _)| (id.clone(), receipt.clone())).collect();
    expected.sort_unstable();
    told.sort_unstable();
    assert_eq!(told, expected);

    for (id, _, status_path) in &taken {
        caller.get(status_path).await.assert_problem(400, "invalid-id");
        assert_eq!(caller.item(id).await, None, "nothing is written");
    }
}

#[tokio::test]
async fn an_id_of_64_characters_is_legal_and_one_of_65_is_not() {
    let stack = Stack::running();
    let caller = stack.caller();
    let mut socket = caller.connect().await;
    let longest = |prefix: &str| format!("{:_<64}", unique(prefix));
    let (mine, queued) = (longest("Az09-_m"), longest("Az09-_q"));

    assert_eq!(caller.put(&mine, BODY).await.status, 201);
    caller.queued(&queued, BODY).await;
    socket.told("stored", &queued).await;

    let (mine, queued) = (format!("{mine}x"), format!("{queued}x"));
    caller.put(&mine, BODY).await.assert_problem(400, "invalid-id");
    caller.look_up(&mine).await.assert_problem(400, "invalid-id");
    let answer = caller.queue(&queued, BODY).await;
    if answer.status == 202 {
        let event = socket.told("rejected", &queued).await;
        assert_eq!(event["data"]["receipt"], answer.json()["receipt"]);
        let status_path = answer.json()["statusPath"].as_str().expect("a path").to_owned();
        caller.get(&status_path).await.assert_problem(400, "invalid-id");
    } else {
        answer.assert_problem(400, "invalid-id");
    }
}

#[tokio::test]
async fn a_very_long_id_is_refused_or_rejected_in_brief() {
    let stack = Stack::running();
    let caller = stack.caller();
    let mut socket = caller.connect().await;
    let id = "x".repeat(4000);

    caller.put(&id, BODY).await.assert_problem(400, "invalid-id");
    let answer = caller.queue(&id, BODY).await;
    if answer.status == 202 {
        let event = socket.next_event().await;
        assert_eq!(event["type"], "intake.message.rejected", "{event}");
        let subject = event["subject"].as_str().expect("a subject");
        assert!(subject.len() < 1000 && id.starts_with(subject), "{event}");
    } else {
        answer.assert_problem(400, "invalid-id");
    }
}

#[tokio::test]
async fn an_illegal_id_in_a_record_put_there_by_hand_is_rejected_and_not_tried_again() {
    let stack = Stack::running();
    let caller = stack.caller();
    let mut socket = caller.connect().await;
    for id in ["a b", "a&b=c", "a%20b", "ä", "😀", "a#b", "#", "../x", "a\"b", "a\nb"] {
        let receipt = stack.send(caller.record(id, BODY)).await;
        let event = socket.told("rejected", id).await;
        assert_eq!(event["data"]["receipt"], json!(receipt));
        assert_eq!(caller.item(id).await, None, "nothing is written");
    }
    // It was settled: nothing of it is told again before what comes now.
    let id = unique("q");
    caller.queued(&id, BODY).await;
    socket.told("stored", &id).await;
}

/// The emulator's reading of the authorizer's policy ends at a line break: there it answers 403.
#[tokio::test]
async fn an_id_with_a_line_break_is_refused() {
    let stack = Stack::running();
    let caller = stack.caller();
    for illegal in ["%0A", "%0D%0A"] {
        let id = unique(illegal);
        for answer in [caller.put(&id, BODY).await, caller.look_up(&id).await] {
            assert!([400, 403].contains(&answer.status), "{answer:?}");
        }
        let answer = caller.queue(&id, BODY).await;
        assert!([202, 400, 403].contains(&answer.status), "{answer:?}");
    }
}

#[tokio::test]
async fn a_path_without_an_id_is_no_route() {
    let stack = Stack::running();
    let caller = stack.caller();
    let paths = ["/messages/", "/messages", "/queue/", "/queue", "/messages/a/b", "/queue/a/b"];
    for answer in join_all(paths.map(|path| caller.send(path, BODY))).await {
        answer.assert_problem(404, "route-not-found");
    }
}
