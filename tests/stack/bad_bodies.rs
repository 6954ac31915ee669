//! Bodies that are no message, on both paths.

use e2e::stack::{Response, Stack, unique};
use reqwest::Method;
use serde_json::json;

/// The longest payload, in bytes.
const MAX_BYTES: usize = 256 * 1024;

const BODY: &str = r#"{"a":1}"#;

#[tokio::test]
async fn a_body_that_is_no_json_object_is_rejected_on_both_paths_and_nothing_is_written() {
    let stack = Stack::running();
    let caller = stack.caller();
    let bodies: [&[u8]; 29] = [
        b"",
        b" ",
        b"\n",
        b"no JSON",
        b"{",
        b"{\"a\":",
        b"{\"a\":1,}",
        b"{\"a\":1} {\"b\":2}",
        b"{\"a\":1}x",
        b"{'a':1}",
        b"{a:1}",
        b"{\"a\":01}",
        b"{\"a\":\"\\x\"}",
        b"{\"a\":\"line\nbreak\"}",
        b"{\"a\":\"\0\"}",
        b"a=1&b=2",
        b"<a>1</a>",
        b"[]",
        b"[{\"a\":1}]",
        b"\"text\"",
        b"{}",
        b" { } ",
        b"12",
        b"-0.5",
        b"null",
        b"true",
        b"false",
        // No UTF-8: a byte that never occurs, and a character cut in two.
        b"{\"a\":\"\xff\"}",
        b"{\"a\":\"\xc3\"}",
    ];
    for body in bodies {
        let id = unique("bad");
        let shown = String::from_utf8_lossy(body);
        for path in [format!("/messages/{id}"), format!("/queue/{id}")] {
            let response = caller.send(&path, body).await;
            assert_eq!(response.status, 400, "{path}: {shown:?}: {response:?}");
            response.assert_problem(400, "invalid-body");
        }
        caller.look_up(&id).await.assert_problem(404, "not-found");
        assert_eq!(caller.item(&id).await, None, "{shown:?}");
    }
}

/// The gateway may accept some of these as JSON; the functions do not.
#[tokio::test]
async fn a_body_that_only_some_parsers_accept_is_never_stored() {
    let stack = Stack::running();
    let caller = stack.caller();
    let too_deep = format!("{{\"a\":{}{}}}", "[".repeat(1000), "]".repeat(1000));
    for body in ["{\"a\":NaN}", "{\"a\":Infinity}", "{\"a\":-Infinity}", &too_deep] {
        let id = unique("odd");
        caller.put(&id, body.to_owned()).await.assert_problem(400, "invalid-body");
        assert_eq!(caller.item(&id).await, None, "{body}");

        let response = caller.queue(&id, body.to_owned()).await;
        if response.status == 202 {
            assert_eq!(caller.becomes(&id, "rejected").await["text"], json!(body));
        } else {
            response.assert_problem(400, "invalid-body");
        }
    }
}

#[tokio::test]
async fn a_payload_of_256_kib_is_stored_on_both_paths() {
    let stack = Stack::running();
    let caller = stack.caller();
    let body = payload_of(MAX_BYTES);
    let (sync, queued) = (unique("m"), unique("q"));

    let response = caller.put(&sync, body.clone()).await;
    assert_eq!(response.status, 201, "{response:?}");
    assert!(caller.look_up(&sync).await.payload() == body, "it is returned as it was sent");
    let queued = caller.queued(&queued, &body).await;
    assert!(caller.outcome(&queued).await.payload() == body, "it is returned as it was sent");
}

#[tokio::test]
async fn a_payload_over_256_kib_is_rejected_on_the_queue_path() {
    let stack = Stack::running();
    let caller = stack.caller();
    for bytes in [MAX_BYTES + 1, 300 * 1024, 1000 * 1024] {
        let body = payload_of(bytes);
        let id = unique("q");
        let response = caller.queue(&id, body.clone()).await;
        if response.status != 202 {
            response.assert_problem(413, "payload-too-large");
            continue;
        }
        let found = caller.becomes(&id, "rejected").await;
        let reason = found["reason"].as_str().expect("a reason");
        assert!(reason.contains(&bytes.to_string()) && reason.contains("256 KiB"), "{reason}");
        let kept = found["text"].as_str().expect("the beginning of the received text");
        assert!(!kept.is_empty() && body.starts_with(kept), "{} bytes are kept", kept.len());
        assert_eq!(found["receipt"], response.json()["receipt"]);
    }
}

#[tokio::test]
async fn a_message_too_large_for_the_queue_is_rejected() {
    let stack = Stack::running();
    let caller = stack.caller();
    let id = unique("q");
    for bytes in [1024 * 1024 + 1, 2 * 1024 * 1024] {
        caller.queue(&id, payload_of(bytes)).await.assert_problem(413, "payload-too-large");
    }
    assert_eq!(caller.item(&id).await, None);
}

#[tokio::test]
async fn a_character_that_the_queue_does_not_accept_is_rejected_with_the_way_to_write_it() {
    let stack = Stack::running();
    let caller = stack.caller();
    for character in ['\u{fffe}', '\u{ffff}'] {
        let (raw, escaped) =
            (format!("{{\"a\":\"{character}\"}}"), format!("{{\"a\":\"\\u{:04x}\"}}", u32::from(character)));
        let response = caller.queue(&unique("q"), raw.clone()).await;
        response.assert_problem(413, "payload-too-large");
        assert!(
            response.json()["detail"].as_str().is_some_and(|detail| detail.contains("escape")),
            "{response:?}"
        );

        let queued = caller.queued(&unique("q"), &escaped).await;
        assert_eq!(caller.outcome(&queued).await.payload(), escaped);
        let id = unique("m");
        assert_eq!(caller.put(&id, raw.clone()).await.status, 201);
        assert_eq!(caller.look_up(&id).await.payload(), raw);
    }
}

#[tokio::test]
async fn another_content_type_is_rejected_on_both_paths() {
    let stack = Stack::running();
    let caller = stack.caller();
    for content_type in [
        "text/plain",
        "application/xml",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonp",
        "application/octet-stream",
    ] {
        let id = unique("type");
        for path in [format!("/messages/{id}"), format!("/queue/{id}")] {
            let response = caller.send_as(&path, content_type, BODY).await;
            response.assert_problem(415, "unsupported-media-type");
        }
        assert_eq!(caller.item(&id).await, None, "{content_type}");
    }
}

#[tokio::test]
async fn a_json_content_type_may_have_a_charset_and_any_case_or_be_missing() {
    let stack = Stack::running();
    let caller = stack.caller();
    for content_type in
        ["application/json; charset=utf-8", "application/json;charset=UTF-8", "Application/JSON"]
    {
        let (sync, queued) = (unique("m"), unique("q"));
        let response = caller.send_as(&format!("/messages/{sync}"), content_type, BODY).await;
        assert_eq!(response.status, 201, "{content_type}: {response:?}");
        let response = caller.send_as(&format!("/queue/{queued}"), content_type, BODY).await;
        assert_eq!(response.status, 202, "{content_type}: {response:?}");
        caller.becomes(&queued, "stored").await;
    }
    for (path, status) in [("messages", 201), ("queue", 202)] {
        let id = unique("undeclared");
        let undeclared = caller.request(Method::PUT, &format!("/{path}/{id}")).body(BODY);
        let response = Response::to(undeclared).await;
        assert_eq!(response.status, status, "{response:?}");
        caller.becomes(&id, "stored").await;
    }
}

/// A JSON object of so many bytes.
fn payload_of(bytes: usize) -> String {
    let frame = r#"{"filler":""}"#;
    format!(r#"{{"filler":"{}"}}"#, "x".repeat(bytes - frame.len()))
}
