//! The gateway's own responses, and what a browser needs in every response.

use e2e::stack::{Response, Stack, unique};
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
        (Method::PUT, "/messages"),
        (Method::PUT, "/messages/"),
        (Method::PUT, "/messages/a/b"),
        (Method::PUT, "/queue"),
        (Method::PUT, "/queue/"),
        (Method::PUT, "/queue/a/b"),
    ];
    for (method, path) in routes {
        for request in [caller.request(method.clone(), path), stack.request(method.clone(), path)] {
            let response = Response::to(request).await;
            assert_eq!(response.status, 404, "{method} {path}: {response:?}");
            response.assert_problem(404, "route-not-found");
        }
    }
}

#[tokio::test]
async fn a_preflight_gets_the_allowed_methods_and_headers() {
    let stack = Stack::running();
    let id = unique("m");
    for (path, methods) in [(format!("/messages/{id}"), "GET,PUT"), (format!("/queue/{id}"), "PUT")] {
        let preflight = stack
            .request(Method::OPTIONS, &path)
            .header("origin", "https://app.example.com")
            .header("access-control-request-method", "PUT")
            // Tracing libraries in browsers add headers of their own to every request.
            .header("access-control-request-headers", "authorization,content-type,traceparent,sentry-trace");
        let response = Response::to(preflight).await;

        assert_eq!(response.status, 200, "{response:?}");
        assert_eq!(response.header("access-control-allow-origin"), "*");
        assert_eq!(response.header("access-control-allow-methods"), methods);
        // The star stands for every header but this one.
        assert_eq!(response.header("access-control-allow-headers"), "Authorization,*");
        assert_eq!(response.header("access-control-max-age"), "7200");
        // With any origin, every browser would reject it, and no client needs it.
        assert_eq!(response.header("access-control-allow-credentials"), "");
        assert_guarded(&response);
    }
}

#[tokio::test]
async fn every_response_is_readable_by_a_browser_and_never_cached() {
    let stack = Stack::running();
    let caller = stack.caller();
    let (id, body) = (unique("m"), r#"{"a":1}"#);
    let responses = [
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
        (401, Response::to(stack.request(Method::GET, &format!("/messages/{id}"))).await),
        (401, Response::to(stack.request(Method::PUT, &format!("/queue/{id}"))).await),
        (413, caller.put(&id, format!(r#"{{"a":"{}"}}"#, "x".repeat(300 * 1024))).await),
        (413, caller.queue(&id, format!(r#"{{"a":"{}"}}"#, "x".repeat(1100 * 1024))).await),
        (415, caller.send_as(&format!("/queue/{id}"), "text/plain", body).await),
    ];
    for (status, response) in &responses {
        assert_eq!(response.status, *status, "{response:?}");
        assert_eq!(response.header("access-control-allow-origin"), "*", "{response:?}");
        assert_eq!(response.header("access-control-allow-credentials"), "", "{response:?}");
        // A script sees the correlation id, by which an operator finds the request, only if it is exposed.
        let exposed = response.header("access-control-expose-headers");
        assert!(exposed.contains("x-amz-apigw-id"), "{response:?}");
        assert!(!response.header("x-amz-apigw-id").is_empty(), "{response:?}");
        assert_guarded(response);
    }
}

#[track_caller]
fn assert_guarded(response: &Response) {
    assert_eq!(response.header("cache-control"), "no-store", "{response:?}");
    assert_eq!(response.header("strict-transport-security"), "max-age=31536000", "{response:?}");
    assert_eq!(response.header("x-content-type-options"), "nosniff", "{response:?}");
}

#[tokio::test]
async fn no_error_shows_internals() {
    let stack = Stack::running();
    let caller = stack.caller();
    let (id, missing) = (unique("m"), unique("m"));
    caller.put(&id, r#"{"a":1}"#).await;
    let responses = [
        caller.put(&id, r#"{"a":2}"#).await,
        caller.put(&id, "no JSON").await,
        caller.put("a.b", r#"{"a":1}"#).await,
        caller.queue(&id, "no JSON").await,
        caller.look_up(&missing).await,
        caller.get(&format!("/messages/{missing}?receipt=x")).await,
        caller.get("/nothing").await,
        Response::to(stack.request(Method::GET, &format!("/messages/{id}"))).await,
    ];
    let internals = [
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
    for response in responses {
        let shown = response.text.to_lowercase();
        for internal in internals {
            assert!(!shown.contains(&internal.to_lowercase()), "{internal}: {response:?}");
        }
    }
}
