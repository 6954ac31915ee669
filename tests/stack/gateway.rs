//! What the gateway answers by itself, and what a browser needs to see of every answer.

use e2e::stack::{Answer, Stack, unique};
use reqwest::Method;

#[tokio::test]
async fn an_unknown_route_is_a_problem() {
    let stack = Stack::running();
    let caller = stack.caller();
    let routes = [
        (Method::GET, "/"),
        (Method::GET, "/nothing"),
        (Method::PUT, "/nothing/here"),
        (Method::GET, "/message/x"),
        (Method::GET, "/queue/x"),
        (Method::POST, "/messages/x"),
        (Method::DELETE, "/messages/x"),
        (Method::PATCH, "/queue/x"),
        (Method::POST, "/queue/x"),
    ];
    for (method, path) in routes {
        for request in [caller.request(method.clone(), path), stack.request(method.clone(), path)] {
            let answer = Answer::to(request).await;
            assert_eq!(answer.status, 404, "{method} {path}: {answer:?}");
            answer.assert_problem(404, "route-not-found");
        }
    }
}

#[tokio::test]
async fn a_browser_may_ask_what_it_may_send() {
    let stack = Stack::running();
    let id = unique("m");
    for (path, methods) in [(format!("/messages/{id}"), "GET,PUT"), (format!("/queue/{id}"), "PUT")] {
        let preflight = stack
            .request(Method::OPTIONS, &path)
            .header("origin", "https://app.example.com")
            .header("access-control-request-method", "PUT")
            .header("access-control-request-headers", "authorization,content-type");
        let answer = Answer::to(preflight).await;

        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), "*");
        assert_eq!(answer.header("access-control-allow-methods"), methods);
        let headers = answer.header("access-control-allow-headers").to_lowercase();
        assert!(headers.contains("authorization") && headers.contains("content-type"), "{answer:?}");
        assert_eq!(answer.header("access-control-max-age"), "7200");
        // Together with any origin it would be refused by every browser, and is not needed.
        assert_eq!(answer.header("access-control-allow-credentials"), "");
    }
}

#[tokio::test]
async fn a_browser_may_read_every_answer() {
    let stack = Stack::running();
    let caller = stack.caller();
    let (id, body) = (unique("m"), r#"{"a":1}"#);
    let plain = caller.request(Method::PUT, &format!("/queue/{id}")).header("content-type", "text/plain");
    let answers = [
        (201, caller.put(&id, body).await),
        (200, caller.put(&id, body).await),
        (200, caller.look_up(&id).await),
        (202, caller.queue(&id, body).await),
        (409, caller.put(&id, r#"{"a":2}"#).await),
        (400, caller.put(&id, "[]").await),
        (400, caller.queue(&id, "[]").await),
        (400, caller.look_up("a.b").await),
        (404, caller.look_up(&unique("m")).await),
        (404, caller.get("/nothing").await),
        (401, Answer::to(stack.request(Method::GET, &format!("/messages/{id}"))).await),
        (413, caller.put(&id, format!(r#"{{"a":"{}"}}"#, "x".repeat(300 * 1024))).await),
        (413, caller.queue(&id, format!(r#"{{"a":"{}"}}"#, "x".repeat(1100 * 1024))).await),
        (415, Answer::to(plain.body(body)).await),
    ];
    for (status, answer) in &answers {
        assert_eq!(answer.status, *status, "{answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), "*", "{answer:?}");
        assert_eq!(answer.header("access-control-allow-credentials"), "", "{answer:?}");
        assert_guarded(answer);
    }
    // Where the message is, is in a header that a script sees only if it is exposed.
    assert!(answers[0].1.header("access-control-expose-headers").contains("Location"), "{:?}", answers[0]);
}

#[tokio::test]
async fn no_answer_may_be_kept_or_taken_for_something_else() {
    let stack = Stack::running();
    let caller = stack.caller();
    let id = unique("m");
    for path in [format!("/messages/{id}"), format!("/queue/{id}")] {
        assert_guarded(&caller.send(&path, r#"{"a":1}"#).await);
        assert_guarded(&caller.send(&path, "[]").await);
        assert_guarded(&Answer::to(stack.request(Method::PUT, &path)).await);
        assert_guarded(&Answer::to(stack.request(Method::OPTIONS, &path)).await);
    }
    assert_guarded(&caller.get("/nothing").await);
}

#[track_caller]
fn assert_guarded(answer: &Answer) {
    assert_eq!(answer.header("cache-control"), "no-store", "{answer:?}");
    assert_eq!(answer.header("strict-transport-security"), "max-age=31536000", "{answer:?}");
    assert_eq!(answer.header("x-content-type-options"), "nosniff", "{answer:?}");
}

#[tokio::test]
async fn no_error_shows_what_is_inside() {
    let stack = Stack::running();
    let caller = stack.caller();
    let (id, missing) = (unique("m"), unique("m"));
    caller.put(&id, r#"{"a":1}"#).await;
    let answers = [
        caller.put(&id, r#"{"a":2}"#).await,
        caller.put(&id, "no JSON").await,
        caller.put("a.b", r#"{"a":1}"#).await,
        caller.queue(&id, "no JSON").await,
        caller.look_up(&missing).await,
        caller.get(&format!("/messages/{missing}?receipt=x")).await,
        caller.get("/nothing").await,
        Answer::to(stack.request(Method::GET, &format!("/messages/{id}"))).await,
    ];
    let inside = [
        stack.at.messages_table.as_str(),
        "dynamodb",
        "sqs",
        "lambda",
        "arn:",
        "exception",
        "panicked",
        "serde",
        "stack trace",
        caller.name.as_str(),
        caller.token.as_str(),
    ];
    for answer in answers {
        let shown = answer.text.to_lowercase();
        for inside in inside {
            assert!(!shown.contains(&inside.to_lowercase()), "{inside}: {answer:?}");
        }
    }
}
