//! Why something could not be done, in one line for the operator.

use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use thiserror::Error;

/// An error, and how far it goes.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RedriveError {
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

impl RedriveError {
    /// What an operation on a queue failed with.
    pub(crate) fn of<E, R>(operation: &str, queue: &str, error: &SdkError<E, R>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        R: std::fmt::Debug + 'static,
    {
        let Some(code) = error.code() else {
            return Self::Fatal(format!("{operation} on {queue}: {}", last_cause(error)));
        };
        let message = error.message().unwrap_or_default().replace(['\r', '\n'], " ");
        let text = format!("{operation} on {queue}: {code}: {message}");
        // With or without a namespace, depending on the protocol.
        if ABOUT_A_MESSAGE.iter().any(|known| code.ends_with(known)) {
            Self::OneMessage(text)
        } else {
            Self::Fatal(text)
        }
    }
}

/// The innermost cause of an error: those around it only say that there is one.
pub(crate) fn last_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    // The list of credential providers that were tried follows on lines of its own.
    cause.to_string().lines().next().unwrap_or_default().trim_end_matches(" Attempted:").to_owned()
}
