//! Why a token is denied, or cannot be verified.

use lambda_runtime::Diagnostic;
use thiserror::Error;

/// Why a token is denied. The texts are fixed, for the log: they name what is wrong, and of a token's content hold
/// nothing but the name of an unknown key.
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
    /// A client offers its token as a subprotocol, and not the one that could be selected.
    #[error("the subprotocol intake is not offered beside bearer.<token>")]
    NoSubprotocol,
    /// The token is longer than [`SignedToken::MAX_BYTES`](crate::token::SignedToken::MAX_BYTES).
    #[error("token too long")]
    TooLong,
    /// Not the compact form of a signed JSON Web Token, or a claim that is read occurs twice.
    #[error("malformed token")]
    Malformed,
    /// The token lists extensions that have to be understood (`crit`), and none is.
    #[error("critical extension")]
    Critical,
    /// An algorithm that is never accepted, or one that no key of the issuer is for.
    #[error("algorithm not allowed")]
    WrongAlgorithm,
    /// The issuer has no such key. The name is cut to 64 characters.
    #[error("unknown key {0:?}")]
    UnknownKey(String),
    /// None of the keys that it could be has signed it.
    #[error("wrong signature")]
    WrongSignature,
    /// A claim that has to be there is not.
    #[error("{0}: missing")]
    MissingClaim(&'static str),
    /// A claim has another form than it should.
    #[error("{0}: malformed")]
    MalformedClaim(&'static str),
    /// `iss` is not one of the accepted issuers.
    #[error("iss: not an accepted issuer")]
    OtherIssuer,
    /// `aud` does not hold an accepted audience, nor is `client_id` one where there is no `aud`.
    #[error("aud: not an accepted audience, nor client_id without aud")]
    OtherAudience,
    /// Neither `scope` nor `scp` has the scope that is wanted.
    #[error("scope: missing in scope and scp")]
    NoScope,
    /// `exp` has passed.
    #[error("exp: expired")]
    Expired,
    /// `nbf` is still to come.
    #[error("nbf: not yet valid")]
    NotYetValid,
    /// `sub` is not 1 to 255 printable ASCII characters.
    #[error("sub: not 1 to 255 printable ASCII characters")]
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
