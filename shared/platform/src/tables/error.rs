//! Why a table could not be read or written.
//!
//! | error | cause | what the functions do | who sees it |
//! |---|---|---|---|
//! | [`TableError::Transient`] | throttled, unavailable, no response in time, another write of the same item at the same moment | try again within the time left; then `503`, or SQS redelivers | the caller: "send it again"; a WARN line |
//! | [`TableError::Permanent`] | the database denies the request: a missing permission or table, an item that is too large | no retry within the request: `500`; through the queue SQS redelivers, because a permission or a table may come back | an ERROR line with the code |
//! | [`TableError::Unreadable`] | an item that Intake has not written | as a permanent error | an ERROR line with the attribute |
//!
//! Each is logged once, where it ends a request or a round, with all its causes: the `Display` of an error leaves out
//! its source.

use std::error::Error;

use aws_sdk_dynamodb::{
    error::{ProvideErrorMetadata, SdkError},
    types::BatchStatementErrorCodeEnum,
};
use thiserror::Error;

/// Why the table could not be read or written. After a transient error it is unknown whether a write took effect: writing
/// again is safe.
#[derive(Debug, Error)]
pub enum TableError {
    /// The database throttles, does not respond in time, or has an error of its own.
    #[error("the database is throttled or unavailable ({code})")]
    Transient {
        /// The error code of DynamoDB, or what went wrong on the way there.
        code: String,
        /// The error of the SDK, if there is one.
        #[source]
        source: Option<Box<dyn Error + Send + Sync>>,
    },
    /// The database denies the request: trying again will not help.
    #[error("the database denies the request ({code})")]
    Permanent {
        /// The error code of DynamoDB, or why the request could not be sent.
        code: String,
        /// The error of the SDK, if there is one.
        #[source]
        source: Option<Box<dyn Error + Send + Sync>>,
    },
    /// An item in the table was not written by Intake.
    #[error("the item in the table cannot be read: {0}")]
    Unreadable(&'static str),
}

impl TableError {
    /// Whether trying again may help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Transient { .. })
    }

    pub(super) fn transient(code: impl Into<String>) -> Self {
        Self::Transient { code: code.into(), source: None }
    }

    pub(super) fn permanent(code: impl Into<String>) -> Self {
        Self::Permanent { code: code.into(), source: None }
    }

    /// A request that the SDK could not build.
    pub(super) fn not_built(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Permanent { code: "request not built".to_owned(), source: Some(Box::new(error)) }
    }

    pub(super) fn from_sdk<E>(error: SdkError<E>) -> Self
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let (code, is_transient) = match &error {
            SdkError::ServiceError(service) => {
                let code = service.err().code().unwrap_or("no code");
                let status = service.raw().status().as_u16();
                (code.to_owned(), status >= 500 || is_transient_code(code))
            }
            SdkError::TimeoutError(_) => ("timeout".to_owned(), true),
            SdkError::DispatchFailure(_) => ("no connection".to_owned(), true),
            SdkError::ResponseError(_) => ("unreadable response".to_owned(), true),
            _ => ("request not built".to_owned(), false),
        };
        let source = Some(Box::new(error) as Box<dyn Error + Send + Sync>);
        if is_transient { Self::Transient { code, source } } else { Self::Permanent { code, source } }
    }

    /// The error of one statement in a batch. It comes in a successful response, so that the SDK neither retries nor returns it.
    pub(super) fn from_statement(code: &BatchStatementErrorCodeEnum) -> Self {
        let is_transient = code == &BatchStatementErrorCodeEnum::InternalServerError
            || code == &BatchStatementErrorCodeEnum::TransactionConflict
            || is_transient_code(code.as_str());
        if is_transient { Self::transient(code.as_str()) } else { Self::permanent(code.as_str()) }
    }
}

/// The codes that DynamoDB throttles with, or that another write of the same item causes, as an error of a request or of
/// one statement in a batch ("Error handling with DynamoDB", "BatchStatementError").
fn is_transient_code(code: &str) -> bool {
    matches!(
        code,
        "ProvisionedThroughputExceededException"
            | "ProvisionedThroughputExceeded"
            | "RequestLimitExceeded"
            | "ThrottlingException"
            | "ThrottlingError"
            | "TransactionConflictException"
    )
}
