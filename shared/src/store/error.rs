//! Why a table could not be read or written.

use aws_sdk_dynamodb::{
    error::{ProvideErrorMetadata, SdkError},
    types::BatchStatementErrorCodeEnum,
};
use thiserror::Error;

/// Why the table could not be read or written. Nothing is known about whether a write took effect:
/// writing again is safe.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The database has no capacity left for now, or did not answer in time, or with an error of its own.
    #[error("the database is throttling or away ({code})")]
    Unavailable {
        /// The error code of DynamoDB, or what went wrong on the way there.
        code: String,
        /// What the client library says, if there is more.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The database refuses the request: trying again will not help.
    #[error("the database refuses the request ({code})")]
    Refused {
        /// The error code of DynamoDB.
        code: String,
        /// What the client library says, if there is more.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// What is in the table was not written by this program.
    #[error("the item in the table cannot be read: {0}")]
    Unreadable(&'static str),
}

impl StoreError {
    /// Whether trying again may help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    pub(super) fn from_sdk<E>(error: SdkError<E>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let (code, transient) = match &error {
            SdkError::ServiceError(service) => {
                let code = service.err().code().unwrap_or("no code");
                let status = service.raw().status().as_u16();
                (code.to_owned(), status >= 500 || is_throttling(code))
            }
            SdkError::TimeoutError(_) => ("timeout".to_owned(), true),
            SdkError::DispatchFailure(_) => ("no connection".to_owned(), true),
            SdkError::ResponseError(_) => ("unreadable answer".to_owned(), true),
            _ => ("request not built".to_owned(), false),
        };
        let source = Some(Box::new(error) as Box<dyn std::error::Error + Send + Sync>);
        if transient { Self::Unavailable { code, source } } else { Self::Refused { code, source } }
    }

    pub(super) fn from_statement(code: &BatchStatementErrorCodeEnum) -> Self {
        let transient = code == &BatchStatementErrorCodeEnum::InternalServerError
            || code == &BatchStatementErrorCodeEnum::TransactionConflict
            || is_throttling(code.as_str());
        let code = code.as_str().to_owned();
        if transient {
            Self::Unavailable { code, source: None }
        } else {
            Self::Refused { code, source: None }
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
