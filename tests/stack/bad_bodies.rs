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
    let bodies: [&[u8]; 22] = [
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
        b"12",
        b"-0.5",
        b"null",
        b"true",
        b"false",
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

/// API Gateway makes an empty object of a request without a body, and passes that into the queue.
#[tokio::test]
async fn an_object_without_members_or_no_body_is_never_stored() {
    let stack = Stack::running();
    let caller = stack.caller();
    for body in ["", " ", "\n", "{}", " { } "] {
        let id = unique("empty");
        caller.put(&id, body).await.assert_problem(400, "invalid-body");
        assert_eq!(caller.item(&id).await, None, "{body:?}");
        if let Some(queued) = caller.queue(&id, body).await.queued_unless(400, "invalid-body") {
            assert_eq!(caller.outcome(&queued).await.message_status(), "rejected", "{body:?}");
        }
    }
}

/// A gateway without binary media types puts U+FFFD for what is not UTF-8. Then what was sent is lost.
#[tokio::test]
async fn a_body_that_is_not_utf_8_is_never_stored() {
    let stack = Stack::running();
    let caller = stack.caller();
    // A byte that never occurs, a character cut in two, Latin-1, and what the gateway makes of them.
    let bodies: [&[u8]; 4] = [
        b"{\"a\":\"\xff\"}",
        b"{\"a\":\"\xc3\"}",
        b"{\"name\":\"M\xfcller\"}",
        "{\"a\":\"\u{fffd}\"}".as_bytes(),
    ];
    for body in bodies {
        let id = unique("bad");
        caller.put(&id, body).await.assert_problem(400, "invalid-body");
        assert_eq!(caller.item(&id).await, None);

        if caller.queue(&id, body).await.queued_unless(400, "invalid-body").is_some() {
            let reason = caller.becomes(&id, "rejected").await["reason"].clone();
            assert!(reason.as_str().is_some_and(|reason| reason.contains("UTF-8")), "{reason}");
        }
    }
    let (id, escaped) = (unique("m"), r#"{"a":"\ufffd"}"#);
    assert_eq!(caller.put(&id, escaped).await.status, 201);
    assert_eq!(caller.look_up(&id).await.payload(), escaped);
    let queued = caller.queued(&unique("q"), escaped).await;
    assert_eq!(caller.outcome(&queued).await.payload(), escaped);
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

        if caller.queue(&id, body.to_owned()).await.queued_unless(400, "invalid-body").is_some() {
            assert_eq!(caller.becomes(&id, "rejected").await["text"], json!(body));
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
    // The gateway counts characters: it lets more bytes into the queue if they are fewer characters.
    let (id, body) = (unique("q"), payload_of(MAX_BYTES + 1).replacen("xx", "ä", 1));
    let queued = caller.queued(&id, &body).await;
    let found = caller.becomes(&id, "rejected").await;
    let reason = found["reason"].as_str().expect("a reason");
    assert!(reason.contains("262145") && reason.contains("256 KiB"), "{reason}");
    let kept = found["text"].as_str().expect("the beginning of the received text");
    assert!(!kept.is_empty() && body.starts_with(kept), "{} bytes are kept", kept.len());
    assert_eq!(found["receipt"], queued.receipt);

    // Over a message's limit, over that of the queue, and over what SQS reads.
    let id = unique("q");
    for bytes in [MAX_BYTES + 1, 300 * 1024, 1024 * 1024 + 1, 4 * 1024 * 1024] {
        let response = caller.queue(&id, payload_of(bytes)).await;
        response.assert_problem(413, "payload-too-large");
        assert_eq!(response.header("retry-after"), "", "sending it again will not help");
    }
    assert_eq!(caller.item(&id).await, None);
}

/// As many bytes as a payload may have, and as many in its encoding as they can.
#[tokio::test]
async fn the_longest_encoding_of_the_longest_payload_is_accepted_with_the_longest_owner() {
    let stack = Stack::running();
    let caller = stack.caller_named(&format!("{:€<255}", unique("")).replace('€', "%"));
    let frame = r#"{"filler":""}"#;
    let body = format!(r#"{{"filler":"{}"}}"#, "%".repeat(MAX_BYTES - frame.len()));
    let id = format!("{:x<64}", unique("q"));
    let queued = caller.queued(&id, &body).await;
    assert!(caller.outcome(&queued).await.payload() == body, "it is returned as it was sent");
}

#[tokio::test]
async fn a_character_that_the_queue_does_not_accept_is_rejected_with_the_way_to_write_it() {
    let stack = Stack::running();
    let caller = stack.caller();
    for character in ['\u{fffe}', '\u{ffff}'] {
        let (raw, escaped) =
            (format!("{{\"a\":\"{character}\"}}"), format!("{{\"a\":\"\\u{:04x}\"}}", u32::from(character)));
        let response = caller.queue(&unique("q"), raw.clone()).await;
        response.assert_problem(400, "invalid-body");
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
async fn json_in_utf_8_is_accepted_on_both_paths_in_the_spellings_of_clients() {
    let stack = Stack::running();
    let caller = stack.caller();
    for content_type in [
        // .NET, OkHttp, Dart, PowerShell.
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        "application/json; charset=\"utf-8\"",
        "application/json; profile=orders; charset=utf-8",
        "application/json;",
    ] {
        for (path, status) in [("messages", 201), ("queue", 202)] {
            let id = unique("type");
            let response = caller.send_as(&format!("/{path}/{id}"), content_type, BODY).await;
            assert_eq!(response.status, status, "{content_type}: {response:?}");
            caller.becomes(&id, "stored").await;
            // What the gateway does not check is rejected by the functions.
            let id = unique("type");
            let response = caller.send_as(&format!("/{path}/{id}"), content_type, "[]").await;
            match response.queued_unless(400, "invalid-body") {
                Some(queued) => assert_eq!(caller.outcome(&queued).await.message_status(), "rejected"),
                None => assert_eq!(caller.item(&id).await, None, "{content_type}"),
            }
        }
    }
}

#[tokio::test]
async fn another_content_type_is_rejected_on_both_paths() {
    let stack = Stack::running();
    let caller = stack.caller();
    let id = unique("type");
    for path in [format!("/messages/{id}"), format!("/queue/{id}")] {
        for content_type in [
            "text/plain",
            "application/xml",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/jsonp",
            "application/octet-stream",
            "application/json; charset=latin1",
            "application/json; charset=utf-8; charset=utf-16",
        ] {
            let response = caller.send_as(&path, content_type, BODY).await;
            response.assert_problem(415, "unsupported-media-type");
            // The gateway may check it, and reject it, or not.
            let response = caller.send_as(&path, content_type, "{}").await;
            assert!([400, 415].contains(&response.status), "{content_type}: {response:?}");
        }
        let compressed = caller.request(Method::PUT, &path).header("content-encoding", "gzip").body(BODY);
        Response::to(compressed).await.assert_problem(415, "unsupported-media-type");
        // A parameter that looks like a content type is none.
        let path = format!("{path}?Content-Type=application/json&content-type=application/json");
        caller.send_as(&path, "text/plain", BODY).await.assert_problem(415, "unsupported-media-type");
    }
    assert_eq!(caller.item(&id).await, None);
}

#[tokio::test]
async fn a_missing_content_type_is_json() {
    let stack = Stack::running();
    let caller = stack.caller();
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
