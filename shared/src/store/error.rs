//! Why a table could not be read or written.

use std::error::Error;

use aws_sdk_dynamodb::{
    error::{ProvideErrorMetadata, SdkError},
    types::BatchStatementErrorCodeEnum,
};
use thiserror::Error;

/// Why the table could not be read or written. Whether a write took effect is unknown: writing again is safe.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The database throttles, does not respond in time, or has an error of its own.
    #[error("the database is throttled or unavailable ({code})")]
    Unavailable {
        /// The error code of DynamoDB, or what went wrong on the way there.
        code: String,
        /// The error of the SDK, if there is one.
        #[source]
        source: Option<Box<dyn Error + Send + Sync>>,
    },
    /// The database rejects the request: trying again will not help.
    #[error("the database rejects the request ({code})")]
    Rejected {
        /// The error code of DynamoDB.
        code: String,
        /// The error of the SDK, if there is one.
        #[source]
        source: Option<Box<dyn Error + Send + Sync>>,
    },
    /// An item in the table was not written by Intake.
    #[error("the item in the table cannot be read: {0}")]
    Unreadable(&'static str),
}

impl StoreError {
    /// Whether trying again may help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    pub(super) fn unavailable(code: impl Into<String>) -> Self {
        Self::Unavailable { code: code.into(), source: None }
    }

    /// A request that the SDK could not build.
    pub(super) fn not_built(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Rejected { code: "request not built".to_owned(), source: Some(Box::new(error)) }
    }

    pub(super) fn from_sdk<E>(error: SdkError<E>) -> Self
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let (code, transient) = match &error {
            SdkError::ServiceError(service) => {
                let code = service.err().code().unwrap_or("no code");
                let status = service.raw().status().as_u16();
                (code.to_owned(), status >= 500 || is_throttling(code))
            }
            SdkError::TimeoutError(_) => ("timeout".to_owned(), true),
            SdkError::DispatchFailure(_) => ("no connection".to_owned(), true),
            SdkError::ResponseError(_) => ("unreadable response".to_owned(), true),
            _ => ("request not built".to_owned(), false),
        };
        let source = Some(Box::new(error) as Box<dyn Error + Send + Sync>);
        if transient { Self::Unavailable { code, source } } else { Self::Rejected { code, source } }
    }

    pub(super) fn from_statement(code: &BatchStatementErrorCodeEnum) -> Self {
        let transient = code == &BatchStatementErrorCodeEnum::InternalServerError
            || code == &BatchStatementErrorCodeEnum::TransactionConflict
            || is_throttling(code.as_str());
        let code = code.as_str().to_owned();
        if transient {
            Self::Unavailable { code, source: None }
        } else {
            Self::Rejected { code, source: None }
        }
    }
}

/// The codes that DynamoDB throttles with, as an error of a request or of one statement in a batch
/// ("Error handling with DynamoDB", "BatchStatementError").
fn is_throttling(code: &str) -> bool {
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
