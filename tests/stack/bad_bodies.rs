//! Bodies that are no message, by both ways in.

use e2e::stack::{Answer, Caller, Stack, text, unique};
use reqwest::Method;
use serde_json::json;

/// The longest payload, in bytes.
const LONGEST: usize = 256 * 1024;

#[tokio::test]
async fn what_is_no_json_object_is_refused_by_both_ways_before_anything_is_written() {
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
            let answer = caller.send(&path, body).await;
            assert_eq!(answer.status, 400, "{path}: {shown:?}: {answer:?}");
            answer.assert_problem(400, "invalid-body");
        }
        caller.look_up(&id).await.assert_problem(404, "not-found");
        assert_eq!(caller.item(&id).await, None, "{shown:?}");
    }
}

/// What the gateway's idea of JSON may let pass, the functions do not.
#[tokio::test]
async fn what_only_some_readers_take_for_json_is_never_stored() {
    let stack = Stack::running();
    let caller = stack.caller();
    let too_deep = format!("{{\"a\":{}{}}}", "[".repeat(1000), "]".repeat(1000));
    for body in ["{\"a\":NaN}", "{\"a\":Infinity}", "{\"a\":-Infinity}", &too_deep] {
        let id = unique("odd");
        caller.put(&id, body.to_owned()).await.assert_problem(400, "invalid-body");
        assert_eq!(caller.item(&id).await, None, "{body}");

        let answer = caller.queue(&id, body.to_owned()).await;
        if answer.status == 202 {
            assert_eq!(caller.becomes(&id, "rejected").await["text"], json!(body));
        } else {
            answer.assert_problem(400, "invalid-body");
        }
    }
}

#[tokio::test]
async fn a_payload_of_256_kib_is_stored_by_both_ways() {
    let stack = Stack::running();
    let caller = stack.caller();
    let body = payload_of(LONGEST);
    let (mine, queued) = (unique("m"), unique("q"));

    let answer = caller.put(&mine, body.clone()).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert!(caller.look_up(&mine).await.payload() == body, "it comes back as it was sent");
    let queued = caller.queued(&queued, &body).await;
    assert!(caller.outcome(&queued).await.payload() == body, "it comes back as it was sent");
}

#[tokio::test]
async fn a_longer_payload_is_too_large_for_a_request() {
    let stack = Stack::running();
    let caller = stack.caller();
    for bytes in [LONGEST + 1, 300 * 1024, 2 * 1024 * 1024] {
        let id = unique("m");
        caller.put(&id, payload_of(bytes)).await.assert_problem(413, "payload-too-large");
        assert_eq!(caller.item(&id).await, None, "{bytes} bytes");
    }
}

#[tokio::test]
async fn a_longer_payload_is_rejected_by_the_queue_way() {
    let stack = Stack::running();
    let caller = stack.caller();
    for bytes in [LONGEST + 1, 300 * 1024, 1000 * 1024] {
        let body = payload_of(bytes);
        let id = unique("q");
        let answer = caller.queue(&id, body.clone()).await;
        if answer.status != 202 {
            answer.assert_problem(413, "payload-too-large");
            continue;
        }
        let found = caller.becomes(&id, "rejected").await;
        let reason = found["reason"].as_str().expect("a reason");
        assert!(reason.contains(&bytes.to_string()) && reason.contains("256 KiB"), "{reason}");
        let kept = found["text"].as_str().expect("the beginning of what came");
        assert!(!kept.is_empty() && body.starts_with(kept), "{} bytes are kept", kept.len());
        assert_eq!(found["receipt"], answer.json()["receipt"]);
    }
}

#[tokio::test]
async fn what_is_too_long_for_the_queue_is_refused() {
    let stack = Stack::running();
    let caller = stack.caller();
    let id = unique("q");
    for bytes in [1024 * 1024 + 1, 2 * 1024 * 1024] {
        caller.queue(&id, payload_of(bytes)).await.assert_problem(413, "payload-too-large");
    }
    assert_eq!(caller.item(&id).await, None);
}

#[tokio::test]
async fn what_the_queue_cannot_carry_is_refused_and_told_how_to_write_it() {
    let stack = Stack::running();
    let caller = stack.caller();
    for character in ['\u{fffe}', '\u{ffff}'] {
        let (raw, escaped) =
            (format!("{{\"a\":\"{character}\"}}"), format!("{{\"a\":\"\\u{:04x}\"}}", u32::from(character)));
        let answer = caller.queue(&unique("q"), raw.clone()).await;
        answer.assert_problem(413, "payload-too-large");
        assert!(
            answer.json()["detail"].as_str().is_some_and(|detail| detail.contains("escape")),
            "{answer:?}"
        );

        let queued = caller.queued(&unique("q"), &escaped).await;
        assert_eq!(caller.outcome(&queued).await.payload(), escaped);
        let id = unique("m");
        assert_eq!(caller.put(&id, raw.clone()).await.status, 201);
        assert_eq!(caller.look_up(&id).await.payload(), raw);
    }
}

#[tokio::test]
async fn another_content_type_is_not_supported() {
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
            let answer = send_as(&caller, &path, content_type).await;
            answer.assert_problem(415, "unsupported-media-type");
        }
        assert_eq!(caller.item(&id).await, None, "{content_type}");
    }
}

#[tokio::test]
async fn json_may_be_declared_with_a_charset_in_any_case_or_not_at_all() {
    let stack = Stack::running();
    let caller = stack.caller();
    for content_type in
        ["application/json; charset=utf-8", "application/json;charset=UTF-8", "Application/JSON"]
    {
        let (mine, queued) = (unique("m"), unique("q"));
        let answer = send_as(&caller, &format!("/messages/{mine}"), content_type).await;
        assert_eq!(answer.status, 201, "{content_type}: {answer:?}");
        let answer = send_as(&caller, &format!("/queue/{queued}"), content_type).await;
        assert_eq!(answer.status, 202, "{content_type}: {answer:?}");
        caller.becomes(&queued, "stored").await;
    }
    for (way, status) in [("messages", 201), ("queue", 202)] {
        let id = unique("undeclared");
        let undeclared = caller.request(Method::PUT, &format!("/{way}/{id}")).body(r#"{"a":1}"#);
        let answer = Answer::to(undeclared).await;
        assert_eq!(answer.status, status, "{answer:?}");
        caller.becomes(&id, "stored").await;
    }
}

/// What comes past the gateway's checks, because it is put into the queue by hand.
#[tokio::test]
async fn a_record_whose_body_is_no_message_is_recorded_as_rejected() {
    let stack = Stack::running();
    let caller = stack.caller();
    let mut socket = caller.connect().await;
    for body in [
        "no JSON",
        "{\"a\":",
        "[]",
        "null",
        "\"text\"",
        " ",
        "{\"a\":1}{\"b\":2}",
        "\u{feff}{\"a\":1}",
        "a=1&MessageAttribute.2.Value.StringValue=bob&MessageBody={}",
        "<SendMessage><MessageBody>{}</MessageBody></SendMessage>",
        &format!("{{\"a\":{}{}}}", "[".repeat(1000), "]".repeat(1000)),
        &format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000)),
        &"[".repeat(5000),
        &"{\"a\":".repeat(5000),
        &"x".repeat(300 * 1024),
    ] {
        let id = unique("bad");
        let receipt = stack.send(caller.record(&id, body)).await;
        let event = socket.told("rejected", &id).await;
        assert_eq!(event["data"]["receipt"], json!(receipt));
        let found = caller.look_up(&id).await.json();
        assert_eq!(found["status"], "rejected", "{found}");
        assert_eq!(found["reason"], event["data"]["reason"]);
        assert!(found.get("payload").is_none(), "{found}");
        let item = caller.item(&id).await.expect("it is recorded");
        assert!(body.starts_with(text(&item, "payload")), "what came is kept");
        assert_eq!(found["text"].as_str(), Some(text(&item, "payload")));
    }
}

/// A JSON object of so many bytes.
fn payload_of(bytes: usize) -> String {
    let frame = r#"{"filler":""}"#;
    format!(r#"{{"filler":"{}"}}"#, "x".repeat(bytes - frame.len()))
}

async fn send_as(caller: &Caller<'_>, path: &str, content_type: &str) -> Answer {
    let request = caller.request(Method::PUT, path).header("content-type", content_type);
    Answer::to(request.body(r#"{"a":1}"#)).await
}
