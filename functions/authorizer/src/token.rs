//! Verifying tokens.

use std::time::SystemTime;

use intake_domain::message::Owner;
use jsonwebtoken::{
    Algorithm, Validation, decode, decode_header,
    errors::{Error as TokenError, ErrorKind},
};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    error::{Denial, VerificationError},
    key_source::KeySource,
    signature,
};

/// The identity that a token proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The owner of what its bearer sends.
    pub owner: Owner,
    /// Until when the token is valid, in seconds since 1970: its `exp` and the leeway.
    pub valid_until: i64,
}

/// Verifies tokens of one issuer for one audience.
#[derive(Debug)]
pub struct TokenVerifier {
    validation: Validation,
    issuer: String,
}

impl TokenVerifier {
    /// The longest token that is verified, in bytes. API Gateway accepts 10,240 bytes of headers.
    pub const MAX_BYTES: usize = 8 * 1024;

    /// How far the clocks of issuer and function may be apart, in seconds: `exp` passes that much later, `nbf` is
    /// reached that much earlier.
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

    /// Verifies a token: its signature first, then its claims. `now` is when the token arrived, and
    /// decides whether keys are fetched again; the claims are compared with the clock of the machine.
    ///
    /// # Errors
    /// [`VerificationError`] says why the token was not accepted.
    pub async fn verify(
        &self,
        token: &str,
        keys: &KeySource,
        now: SystemTime,
    ) -> Result<Identity, VerificationError> {
        if token.len() > Self::MAX_BYTES {
            return Err(Denial::TooLong.into());
        }
        let header = decode_header(token).map_err(|_| Denial::Malformed)?;
        // Before any key is selected: a token that can never be valid must not cause a fetch.
        if !matches!(header.alg, Algorithm::RS256 | Algorithm::ES256 | Algorithm::EdDSA) {
            return Err(Denial::WrongAlgorithm.into());
        }
        // RFC 7515, section 4.1.11: what is critical and not understood makes the token invalid.
        if header.crit.is_some() {
            return Err(Denial::Critical.into());
        }
        // The key is chosen by what the token claims of itself, and then decides: it verifies with its own algorithm
        // only. A token that could choose the algorithm could choose one that anybody can sign with.
        let key = keys.key(header.kid.as_deref(), header.alg, now).await?;

        let mut validation = self.validation.clone();
        validation.algorithms = vec![header.alg];
        let claims = decode::<Claims>(token, &key, &validation).map_err(|error| denial(&error))?.claims;
        // The library also accepts an array of issuers; RFC 7519, section 4.1.1, does not.
        if claims.iss.as_str() != Some(&self.issuer) {
            return Err(Denial::OtherIssuer.into());
        }
        let subject = claims.sub.as_str().ok_or(Denial::MissingClaim)?;
        let owner = Owner::parse(subject).map_err(|_| Denial::NotAnOwner)?;
        // It may be a fraction (RFC 7519, section 2). A number that is too large for the clock saturates.
        let expires = claims.exp.as_f64().ok_or(Denial::MissingClaim)? as i64;
        Ok(Identity { owner, valid_until: expires.saturating_add(Self::LEEWAY_SECONDS.cast_signed()) })
    }
}

/// The claims that are read besides those that the library checks.
#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    iss: Value,
    #[serde(default)]
    sub: Value,
    #[serde(default)]
    exp: Value,
}

fn denial(error: &TokenError) -> Denial {
    match error.kind() {
        ErrorKind::InvalidSignature => Denial::WrongSignature,
        ErrorKind::ExpiredSignature => Denial::Expired,
        ErrorKind::ImmatureSignature => Denial::NotYetValid,
        ErrorKind::InvalidIssuer => Denial::OtherIssuer,
        ErrorKind::InvalidAudience => Denial::OtherAudience,
        ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidClaimFormat(_) => Denial::MissingClaim,
        _ => Denial::Malformed,
    }
}
