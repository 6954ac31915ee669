//! Logs: one JSON object a line on standard output, as Lambda's JSON log format wants it.
//!
//! Fields say which request, message and receipt a line is about. Payloads and tokens are never logged.

use std::{error::Error, process::ExitCode};

use tracing_subscriber::filter::LevelFilter;

use crate::configuration;

/// Runs a function with logging, and logs why it stopped if it did.
pub async fn logged(running: impl Future<Output = Result<(), Box<dyn Error + Send + Sync>>>) -> ExitCode {
    init();
    match running.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = chain(&*error), "stopped");
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
}

/// An error with all its causes in one line, for the log: what an error shows by itself leaves them out.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
