//! Logs: one JSON object a line on standard output, as Lambda's JSON log format wants it.
//!
//! Fields say what a line is about; they have the same names in all functions:
//!
//! | field | |
//! |---|---|
//! | `correlation_id` | the HTTP request that brought the message: [`CorrelationId`] |
//! | `message_id` | the id that the client has given the message |
//! | `receipt` | the receipt that the client got with the `202` |
//! | `connection_id` | a socket |
//! | `outcome` | what the message ended as; also `duplicate`, and `queued` while it has none |
//! | `attempt` | which delivery of the message it is, from 1 |
//! | `pushed`, `gone`, `push_failed`, `push_skipped` | how many sockets were notified, were gone, failed, were left out |
//! | `status`, `problem` | the status of a response, and the type of its problem if it is one |
//! | `error`, `reason` | why something went wrong |
//! | `span.requestId` | the invocation, as Lambda names it in its own lines |
//!
//! Payloads and tokens are never logged. Lines of metrics are those of [`metrics`].

use std::{error::Error, ops::Deref, process::ExitCode};

use tracing_subscriber::filter::LevelFilter;

use crate::{configuration, metrics};

/// Runs a function with logging, and logs why it stopped if it did.
pub async fn logged(running: impl Future<Output = Result<(), Box<dyn Error + Send + Sync>>>) -> ExitCode {
    init();
    match running.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = with_causes(&*error), "stopped");
            ExitCode::FAILURE
        }
    }
}

/// Starts logging at the level that Lambda's `ApplicationLogLevel` sets (`AWS_LAMBDA_LOG_LEVEL`), or at
/// INFO. Never at TRACE: there the runtime logs whole events, with payloads and tokens.
fn init() {
    let level = configuration::optional("AWS_LAMBDA_LOG_LEVEL")
        .and_then(|level| level.parse().ok())
        .unwrap_or(LevelFilter::INFO)
        .min(LevelFilter::DEBUG);
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_max_level(level)
        .with_target(false)
        .init();
    if let Some(function) = configuration::optional("AWS_LAMBDA_FUNCTION_NAME") {
        metrics::enable(function, level.to_string().to_ascii_uppercase());
    }
}

/// Joins all that is logged about one message, from the HTTP request through the queue to the push.
///
/// It is the request's extended request id, which API Gateway makes, passes to the authorizer and the functions,
/// and returns in the header `x-amz-apigw-id`; the request id will not do, because a client can choose it
/// ("Variables for access logging for API Gateway"). `openapi.yaml` sends it along with a queued message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorrelationId(String);

impl CorrelationId {
    /// Longer than any that API Gateway makes.
    const MAX_BYTES: usize = 64;

    /// Accepts base64, which API Gateway makes, and nothing else: whoever can write to the queue chooses this text,
    /// and it goes into the log.
    pub fn parse(text: &str) -> Option<Self> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=-_".contains(&byte);
        let fits = (1..=Self::MAX_BYTES).contains(&text.len());
        (fits && text.bytes().all(legal)).then(|| Self(text.to_owned()))
    }
}

impl Deref for CorrelationId {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// An error with all its causes in one line, for the log: `Display` of an error leaves them out.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_api_gateway_makes_is_a_correlation_id() {
        for legal in ["UfLxKHlvDoEFe2g=", "a", "c0ffee00-1111-4222-8333-444455556666", "a+/_-="] {
            assert_eq!(CorrelationId::parse(legal).as_deref(), Some(legal));
        }
        let long = "a".repeat(65);
        for odd in ["", " ", "a b", "a\n", "eyJhbGciOiJFUzI1NiJ9.e30.c2ln", "{\"a\":1}", "é", &long] {
            assert_eq!(CorrelationId::parse(odd), None, "{odd:?}");
        }
    }
}
