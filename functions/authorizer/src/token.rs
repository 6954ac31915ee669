//! What makes a token good.

use std::time::SystemTime;

use intake::message::Owner;
use jsonwebtoken::{
    Algorithm, Validation, decode, decode_header,
    errors::{Error as TokenError, ErrorKind},
};
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use crate::{key_source::KeySource, signature};

/// Why a caller is not let in. The texts are fixed, for the log; of a token's content they hold
/// nothing but the name of an unknown key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
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
    /// Not the compact form of a signed JSON Web Token, or of an algorithm that nobody knows.
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

impl Refusal {
    pub(crate) fn unknown_key(id: &str) -> Self {
        Self::UnknownKey(id.chars().take(64).collect())
    }
}

/// Why a token was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Denial {
    /// The token is not good.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Nothing is known about the token: there are no keys to check it with.
    #[error("no keys")]
    KeysUnavailable,
}

/// Whom a token lets in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Who it is.
    pub owner: Owner,
    /// Until when the token is good, in seconds since 1970: its `exp` and the leeway.
    pub valid_until: i64,
}

/// What tokens have to say: which issuer, which audience, and when.
#[derive(Debug)]
pub struct TokenVerifier {
    validation: Validation,
    issuer: String,
}

impl TokenVerifier {
    /// The longest token that is looked at, in bytes. API Gateway takes 10,240 bytes of headers.
    pub const MAX_BYTES: usize = 8 * 1024;

    /// How far the clocks of issuer and function may be apart, in seconds: `exp` is over that much
    /// later, `nbf` reached that much earlier.
    pub const LEEWAY_SECONDS: u64 = 60;

    /// Accepts tokens of exactly this issuer whose audience is, or holds, this one.
    pub fn new(issuer: &str, audience: &str) -> Self {
        signature::use_ring();
        let mut validation = Validation {
            // Set for each token, to the one algorithm that its key is for.
            algorithms: Vec::new(),
            leeway: Self::LEEWAY_SECONDS,
            validate_nbf: true,
            ..Validation::default()
        };
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        Self { validation, issuer: issuer.to_owned() }
    }

    /// Verifies a token: its signature first, then its claims. `now` is when the token came, and
    /// decides whether keys are fetched again; the claims are held against the clock of the machine.
    ///
    /// # Errors
    /// [`Denial`] says why the token was not accepted.
    pub async fn verify(&self, token: &str, keys: &KeySource, now: SystemTime) -> Result<Caller, Denial> {
        if token.len() > Self::MAX_BYTES {
            return Err(Refusal::TooLong.into());
        }
        let header = decode_header(token).map_err(|_| Refusal::Malformed)?;
        // Before any key is looked for: a token that can never be good must not make us fetch.
        if !matches!(header.alg, Algorithm::RS256 | Algorithm::ES256 | Algorithm::EdDSA) {
            return Err(Refusal::WrongAlgorithm.into());
        }
        // RFC 7515, section 4.1.11: what is critical and not understood makes the token invalid.
        if header.crit.is_some() {
            return Err(Refusal::Critical.into());
        }
        let key = keys.key(header.kid.as_deref(), header.alg, now).await?;

        let mut validation = self.validation.clone();
        validation.algorithms = vec![header.alg];
        let claims = decode::<Claims>(token, &key, &validation).map_err(|error| refusal(&error))?.claims;
        // The library also takes an issuer out of an array; RFC 7519, section 4.1.1, knows no such.
        if claims.iss.as_str() != Some(&self.issuer) {
            return Err(Refusal::OtherIssuer.into());
        }
        let subject = claims.sub.as_str().ok_or(Refusal::MissingClaim)?;
        let owner = Owner::parse(subject).map_err(|_| Refusal::NotAnOwner)?;
        // It may be a fraction (RFC 7519, section 2). A number that is too large for the clock saturates.
        let expires = claims.exp.as_f64().ok_or(Refusal::MissingClaim)? as i64;
        Ok(Caller { owner, valid_until: expires.saturating_add(Self::LEEWAY_SECONDS.cast_signed()) })
    }
}

/// The claims that are looked at besides those that the library checks by itself.
#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    iss: Value,
    #[serde(default)]
    sub: Value,
    #[serde(default)]
    exp: Value,
}

fn refusal(error: &TokenError) -> Refusal {
    match error.kind() {
        ErrorKind::InvalidAlgorithm => Refusal::WrongAlgorithm,
        ErrorKind::InvalidSignature => Refusal::WrongSignature,
        ErrorKind::ExpiredSignature => Refusal::Expired,
        ErrorKind::ImmatureSignature => Refusal::NotYetValid,
        ErrorKind::InvalidIssuer => Refusal::OtherIssuer,
        ErrorKind::InvalidAudience => Refusal::OtherAudience,
        ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidClaimFormat(_) => Refusal::MissingClaim,
        _ => Refusal::Malformed,
    }
}
