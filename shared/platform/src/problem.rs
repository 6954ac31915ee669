//! Errors as a caller of the REST API sees them: `application/problem+json` (RFC 9457).
//!
//! | problem | status | what the caller does | what is logged |
//! |---|---|---|---|
//! | `invalid-id`, `invalid-body`, `invalid-receipt` | 400 | corrects the request | an INFO line with the type |
//! | `not-found` | 404 | asks with the receipt, or later | the same |
//! | `conflict` | 409 | sends it under an id of its own | the same |
//! | `payload-too-large`, `unsupported-media-type` | 413, 415 | changes the body or its type | the same |
//! | `internal` | 500 | repeats it, and tells the operator if it stays | an ERROR line with all causes |
//! | `unavailable` | 503 | repeats it after `Retry-After` | a WARN line with all causes |
//!
//! A `detail` never has the text of an error from below: such texts name tables, hosts and libraries, which are no
//! business of a caller. Errors become problems at the edge, in [`rest`](crate::rest), which logs the cause once; the
//! response has an INFO line of its own, as every response with a problem.
//! API Gateway's own errors (`401`, `403`, `429` and others) have the same form; they are in `openapi.yaml`.

use serde::Serialize;

/// A problem, and the HTTP status of its response. `detail` tells the caller what to do, and nothing about
/// internals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What kind of problem it is, as a URN that does not change.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The kind in words.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong with this request, and what to do about it.
    pub detail: String,
}

impl Problem {
    /// The media type of a problem.
    pub const CONTENT_TYPE: &'static str = "application/problem+json";

    fn new(kind: &'static str, title: &'static str, status: u16, detail: impl Into<String>) -> Self {
        Self { kind, title, status, detail: detail.into() }
    }

    /// 400: the id in the path is illegal.
    pub fn invalid_id(detail: impl Into<String>) -> Self {
        Self::new("urn:intake:problem:invalid-id", "Invalid message id", 400, detail)
    }

    /// 400: the body is not a valid message.
    pub fn invalid_body(detail: impl Into<String>) -> Self {
        Self::new("urn:intake:problem:invalid-body", "Invalid message", 400, detail)
    }

    /// 400: the receipt is not a UUID.
    pub fn invalid_receipt(detail: impl Into<String>) -> Self {
        Self::new("urn:intake:problem:invalid-receipt", "Invalid receipt", 400, detail)
    }

    /// 404: the caller has no such message or request.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new("urn:intake:problem:not-found", "Not found", 404, detail)
    }

    /// 409: another payload is stored under this id.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new("urn:intake:problem:conflict", "Conflict", 409, detail)
    }

    /// 413: the body is too long.
    pub fn payload_too_large(detail: impl Into<String>) -> Self {
        Self::new("urn:intake:problem:payload-too-large", "Message too large", 413, detail)
    }

    /// 415: the body is not declared as JSON in UTF-8, or is compressed.
    pub fn unsupported_media_type() -> Self {
        let detail =
            "Send the message in UTF-8 as Content-Type: application/json, without a Content-Encoding.";
        Self::new("urn:intake:problem:unsupported-media-type", "Unsupported media type", 415, detail)
    }

    /// 500: a fault of Intake; the log has it.
    pub fn internal() -> Self {
        Self::new(
            "urn:intake:problem:internal",
            "Internal error",
            500,
            "The request could not be handled. It is logged; sending it again is safe.",
        )
    }

    /// 503: the database is throttled or unavailable. The response has `Retry-After`.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new("urn:intake:problem:unavailable", "Temporarily unavailable", 503, detail)
    }
}
