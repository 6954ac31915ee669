//! Why a token is denied, or cannot be verified.

use lambda_runtime::Diagnostic;
use thiserror::Error;

/// Why a token is denied. The texts are fixed, for the log; of a token's content they hold nothing but the name of
/// an unknown key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Denial {
    /// There is no token where the API has it.
    #[error("no token")]
    NoToken,
    /// The header is not `Bearer <token>`.
    #[error("not a bearer token")]
    NotBearer,
    /// More than one token was sent.
    #[error("several tokens")]
    SeveralTokens,
    /// The token is longer than [`TokenVerifier::MAX_BYTES`].
    #[error("token too long")]
    TooLong,
    /// Not the compact form of a signed JSON Web Token, or of an unknown algorithm.
    #[error("malformed token or unknown algorithm")]
    Malformed,
    /// The token lists extensions that have to be understood (`crit`), and none is.
    #[error("critical extension")]
    Critical,
    /// An algorithm that is never accepted, or not the one of the key.
    #[error("algorithm not allowed")]
    WrongAlgorithm,
    /// The token names no key, and there is not exactly one that it could mean.
    #[error("no key id")]
    NoKeyId,
    /// The issuer has no such key. The name is cut to 64 characters.
    #[error("unknown key {0:?}")]
    UnknownKey(String),
    /// The signature is not that of the key.
    #[error("wrong signature")]
    WrongSignature,
    /// `exp` has passed.
    #[error("expired")]
    Expired,
    /// `nbf` is still to come.
    #[error("not yet valid")]
    NotYetValid,
    /// `iss` is another.
    #[error("other issuer")]
    OtherIssuer,
    /// `aud` does not hold ours.
    #[error("other audience")]
    OtherAudience,
    /// `exp`, `iss`, `aud` or `sub` is missing, or one of them or `nbf` is not what it should be.
    #[error("missing or malformed claim")]
    MissingClaim,
    /// `sub` is not 1 to 255 printable ASCII characters.
    #[error("subject cannot be an owner")]
    NotAnOwner,
}

impl Denial {
    pub(crate) fn unknown_key(id: &str) -> Self {
        Self::UnknownKey(id.chars().take(64).collect())
    }
}

/// Why a token is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum VerificationError {
    /// The token is denied.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// There are no keys to verify the token with: nothing is known about it.
    #[error("no keys")]
    KeysUnavailable,
}

/// The error that the function returns to API Gateway instead of a policy.
///
/// API Gateway reads nothing but the message. The reason is in the log, not in here: the caller gets no hint of what
/// was wrong with a token. For each of these the runtime writes an ERROR line of its own, with the name of the
/// variant; ours, with the reason, comes before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AuthorizerError {
    /// The token does not prove who the caller is. A REST API responds with `401` for exactly this message,
    /// and with `500` for every other one.
    #[error("Unauthorized")]
    Unauthorized,
    /// The token could not be verified: it may be valid, and the caller should try again.
    #[error("the authorizer failed")]
    Failed,
}

impl From<AuthorizerError> for Diagnostic {
    fn from(error: AuthorizerError) -> Self {
        let error_type = match error {
            AuthorizerError::Unauthorized => "Unauthorized",
            AuthorizerError::Failed => "AuthorizerFailed",
        };
        Self { error_type: error_type.to_owned(), error_message: error.to_string() }
    }
}
