//! Why something could not be done, in one line for the person who asked for it.

use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use thiserror::Error;

/// A failure as a person should read it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Problem {
    /// SQS knows no such queue.
    #[error("there is no queue {0} in this account and region")]
    NoQueue(String),
    /// The caller may not do this.
    #[error("access denied to {operation} on {queue}: {message}")]
    Denied {
        /// The operation of SQS.
        operation: &'static str,
        /// The queue's address.
        queue: String,
        /// What SQS says about it.
        message: String,
    },
    /// There are no credentials, or SQS does not accept them.
    #[error("no valid AWS credentials: {0}")]
    Credentials(String),
    /// There was no answer.
    #[error("SQS cannot be reached: {0}")]
    Unreachable(String),
    /// SQS refuses for another reason.
    #[error("SQS refuses {operation}: {code}: {message}")]
    Refused {
        /// The operation of SQS.
        operation: &'static str,
        /// The kind of error.
        code: String,
        /// What SQS says about it.
        message: String,
    },
    /// What was asked for makes no sense.
    #[error("{0}")]
    Unfit(String),
}

impl Problem {
    /// What an operation on a queue failed with.
    pub(crate) fn of<E, R>(operation: &'static str, queue: &str, error: &SdkError<E, R>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        R: std::fmt::Debug + 'static,
    {
        let message = || {
            let message = error.message().unwrap_or("it gives no reason");
            message.trim().trim_end_matches('.').replace(['\r', '\n'], " ")
        };
        let code = match error {
            SdkError::ServiceError(_) => error.code().unwrap_or("unknown error"),
            _ => return Self::Unreachable(last_cause(error)),
        };
        // With or without the namespace, depending on the protocol.
        match code.rsplit(['.', '#']).next().unwrap_or(code) {
            "NonExistentQueue" | "QueueDoesNotExist" | "InvalidAddress" => Self::NoQueue(queue.to_owned()),
            "AccessDenied" | "AccessDeniedException" => {
                Self::Denied { operation, queue: queue.to_owned(), message: message() }
            }
            "ExpiredToken"
            | "ExpiredTokenException"
            | "IncompleteSignature"
            | "InvalidClientTokenId"
            | "InvalidSecurity"
            | "MissingAuthenticationToken"
            | "SignatureDoesNotMatch"
            | "UnrecognizedClientException" => Self::Credentials(message()),
            _ => Self::Refused { operation, code: code.to_owned(), message: message() },
        }
    }

    /// Whether SQS found fault with the contents of a request, so that another request may pass.
    pub(crate) fn is_about_contents(&self) -> bool {
        let Self::Refused { code, .. } = self else { return false };
        let kinds = ["BatchRequestTooLong", "InvalidMessageContents", "InvalidParameterValue"];
        kinds.iter().any(|kind| code.ends_with(kind))
    }
}

/// The innermost of an error's causes: those around it only say that there is one.
pub(crate) fn last_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_faults_of_the_contents_are_worth_another_request() {
        let refused = |code: &str| Problem::Refused {
            operation: "SendMessageBatch",
            code: code.to_owned(),
            message: String::new(),
        };
        assert!(refused("AWS.SimpleQueueService.BatchRequestTooLong").is_about_contents());
        assert!(refused("InvalidMessageContents").is_about_contents());
        assert!(!refused("ThrottlingException").is_about_contents());
        assert!(!Problem::NoQueue("q".to_owned()).is_about_contents());
    }

    #[test]
    fn the_innermost_cause_is_told() {
        #[derive(Debug, Error)]
        #[error("outside")]
        struct Outside(#[source] std::io::Error);
        assert_eq!(last_cause(&Outside(std::io::Error::other("inside"))), "inside");
    }
}
