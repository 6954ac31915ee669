//! The Lambda Runtime API, as far as runtimes use it ("Using the Lambda runtime API").

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{StatusCode, Uri},
    response::{IntoResponse, Response},
};
use tokio::sync::{
    mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    oneshot,
};

/// The paths of the calls end with these.
pub(crate) const NEXT: &str = "/invocation/next";
pub(crate) const RESPONSE: &str = "/response";

/// The deadline of an invocation. Long enough for an instrumented function.
const TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// A call of the function.
pub(crate) struct Call {
    pub(crate) path: String,
    pub(crate) body: Bytes,
    /// Takes the body of the reply, for which the function waits.
    pub(crate) reply: oneshot::Sender<Bytes>,
}

/// The Runtime API, and the calls that it gets.
pub(crate) fn router() -> (Router, UnboundedReceiver<Call>) {
    let (sender, calls) = unbounded_channel();
    (Router::new().fallback(hand_over).with_state(sender), calls)
}

async fn hand_over(
    State(calls): State<UnboundedSender<Call>>,
    uri: Uri,
    body: Bytes,
) -> Result<Response, StatusCode> {
    let path = uri.path().to_owned();
    let is_for_event = path.ends_with(NEXT);
    let (reply, replied) = oneshot::channel();
    calls.send(Call { path, body, reply }).map_err(|_| StatusCode::GONE)?;
    let body = replied.await.map_err(|_| StatusCode::GONE)?;
    let json = [("content-type", "application/json")];
    if !is_for_event {
        return Ok((StatusCode::ACCEPTED, json, body).into_response());
    }
    let deadline = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + TIMEOUT;
    let headers = [
        ("lambda-runtime-aws-request-id", "8476a536-e9f4-11e8-9739-2dfe598c3fcd"),
        ("lambda-runtime-deadline-ms", &deadline.as_millis().to_string()),
        ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:123456789012:function:bench"),
        ("lambda-runtime-trace-id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0"),
    ];
    Ok((json, headers, body).into_response())
}
