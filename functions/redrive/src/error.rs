//! Why SQS did not do something, in one line for the operator.

use aws_sdk_sqs::error::{BuildError, ProvideErrorMetadata, SdkError};
use intake_platform::telemetry::with_causes;
use thiserror::Error;

/// An error, and how far it goes.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum SqsError {
    /// Nothing else would succeed either.
    #[error("{0}")]
    Fatal(String),
    /// SQS rejects this message. It may accept others.
    #[error("{0}")]
    OneMessage(String),
}

/// Error codes of SQS that are about the message in the request.
const ABOUT_A_MESSAGE: [&str; 3] =
    ["InvalidMessageContents", "InvalidParameterValue", "ReceiptHandleIsInvalid"];

/// The longest text of an error in the report.
const MAX_CHARACTERS: usize = 300;

impl SqsError {
    /// What an operation on a queue failed with.
    pub(crate) fn of<E, R>(operation: &str, queue: &str, error: &SdkError<E, R>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        R: std::fmt::Debug + 'static,
    {
        let cause = match error.code() {
            Some(code) => format!("{code}: {}", error.message().unwrap_or_default()),
            None => with_causes(error),
        };
        let name = queue.rsplit('/').next().unwrap_or(queue);
        let text: String = format!("{operation} on {name}: {cause}").chars().take(MAX_CHARACTERS).collect();
        // With or without a namespace, depending on the protocol.
        let is_about_one = |code: &str| ABOUT_A_MESSAGE.iter().any(|known| code.ends_with(known));
        if error.code().is_some_and(is_about_one) { Self::OneMessage(text) } else { Self::Fatal(text) }
    }

    /// Whether others may succeed.
    pub(crate) fn is_about_one_message(&self) -> bool {
        matches!(self, Self::OneMessage(_))
    }
}

impl From<BuildError> for SqsError {
    fn from(error: BuildError) -> Self {
        Self::OneMessage(error.to_string())
    }
}
