//! Verifying tokens: JSON Web Tokens (RFC 7519) in their compact form (RFC 7515).
//!
//! The parts of this that are easy to get wrong are in ring (signatures) and serde (a member that occurs twice is an
//! error). What is left is written out here, because the claims that identity providers really send, and the names of
//! algorithms that they really use, are more than the libraries for such tokens know.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use intake_domain::message::Owner;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    error::{Denial, VerificationError},
    key::Algorithm,
    key_source::KeySource,
};

/// The identity that a token proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The owner of what its bearer sends.
    pub owner: Owner,
    /// Until when the token is valid, in seconds since 1970: its `exp` and the leeway.
    pub valid_until: i64,
}

/// A token in its parts. Nothing in it is proven yet.
#[derive(Debug)]
pub struct SignedToken<'a> {
    algorithm: Algorithm,
    key_id: Option<String>,
    message: &'a str,
    claims: &'a str,
    signature: Vec<u8>,
}

/// The header (RFC 7515, section 4.1). Keys and addresses of keys in it are not used: they are the caller's own.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    #[serde(default, deserialize_with = "is_there")]
    crit: bool,
}

/// The claims that are read. Any of them may be missing, or have any form.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Claims {
    iss: Value,
    aud: Option<Value>,
    client_id: Value,
    scope: Value,
    scp: Value,
    exp: Value,
    nbf: Option<Value>,
    sub: Value,
}

impl<'a> SignedToken<'a> {
    /// The longest token that is verified, in bytes. API Gateway accepts 10,240 bytes of headers.
    pub const MAX_BYTES: usize = 8 * 1024;

    /// Takes a token apart.
    ///
    /// # Errors
    /// [`Denial`] if it can never be valid, whatever the keys of the issuer are.
    pub fn parse(token: &'a str) -> Result<Self, Denial> {
        if token.len() > Self::MAX_BYTES {
            return Err(Denial::TooLong);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(Denial::Malformed)?;
        let (header, claims) = message.split_once('.').ok_or(Denial::Malformed)?;
        if claims.contains('.') {
            return Err(Denial::Malformed);
        }
        let header: Header = json(header)?;
        // RFC 7515, section 4.1.11: what is critical and not understood makes the token invalid.
        if header.crit {
            return Err(Denial::Critical);
        }
        Ok(Self {
            algorithm: Algorithm::named(&header.alg).ok_or(Denial::WrongAlgorithm)?,
            key_id: header.kid,
            message,
            claims,
            signature: URL_SAFE_NO_PAD.decode(signature).map_err(|_| Denial::Malformed)?,
        })
    }

    /// The algorithm that it says it is signed with.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The key that it says it is signed with.
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    pub(crate) fn message(&self) -> &[u8] {
        self.message.as_bytes()
    }

    pub(crate) fn signature(&self) -> &[u8] {
        &self.signature
    }
}

/// Verifies tokens of some issuers for some audiences.
#[derive(Debug)]
pub struct TokenVerifier {
    issuers: Vec<String>,
    audiences: Vec<String>,
    scope: Option<String>,
}

impl TokenVerifier {
    /// How far the clocks of issuer and function may be apart: `exp` passes that much later, `nbf` is reached that much
    /// earlier.
    pub const LEEWAY: Duration = Duration::from_secs(60);

    /// Accepts tokens of exactly one of these issuers whose audience is, or holds, one of these, and that have this
    /// scope, if there is one.
    pub fn new(issuers: &[&str], audiences: &[&str], scope: Option<&str>) -> Self {
        let owned = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect();
        Self { issuers: owned(issuers), audiences: owned(audiences), scope: scope.map(str::to_owned) }
    }

    /// Verifies a token that arrived at a time: its signature first, then its claims. Until the signature is verified,
    /// no claim is even read.
    ///
    /// # Errors
    /// [`VerificationError`] says why the token was not accepted.
    pub async fn verify(
        &self,
        token: &str,
        keys: &KeySource,
        now: SystemTime,
    ) -> Result<Identity, VerificationError> {
        let token = SignedToken::parse(token)?;
        keys.verify(&token, now).await?;
        Ok(self.identity(&json(token.claims)?, now)?)
    }

    fn identity(&self, claims: &Claims, now: SystemTime) -> Result<Identity, Denial> {
        let is_one_of = |all: &[String], value: &Value| all.iter().any(|one| value == one.as_str());

        // Exactly one issuer, no array: RFC 7519, section 4.1.1.
        if !is_one_of(&self.issuers, &claims.iss) {
            return Err(claim_or("iss", &claims.iss, Denial::OtherIssuer));
        }
        // An access token of Cognito says for whom it is in `client_id`, and has no `aud`. A token with another
        // `aud` is for another API, whichever client has asked for it.
        let is_for_us = match &claims.aud {
            Some(Value::Array(several)) => several.iter().any(|one| is_one_of(&self.audiences, one)),
            Some(one) => is_one_of(&self.audiences, one),
            None => is_one_of(&self.audiences, &claims.client_id),
        };
        if !is_for_us {
            let audience = claims.aud.as_ref().unwrap_or(&claims.client_id);
            return Err(claim_or("aud", audience, Denial::OtherAudience));
        }
        if let Some(scope) = &self.scope
            && !has_scope(&claims.scope, scope)
            && !has_scope(&claims.scp, scope)
        {
            return Err(Denial::NoScope);
        }

        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let leeway = Self::LEEWAY.as_secs_f64();
        let expires = time(&claims.exp).ok_or_else(|| claim("exp", &claims.exp))?;
        if expires + leeway < now {
            return Err(Denial::Expired);
        }
        if let Some(not_before) = &claims.nbf
            && time(not_before).ok_or_else(|| claim("nbf", not_before))? > now + leeway
        {
            return Err(Denial::NotYetValid);
        }

        let subject = claims.sub.as_str().ok_or_else(|| claim("sub", &claims.sub))?;
        let owner = Owner::parse(subject).map_err(|_| Denial::NotAnOwner)?;
        // A time that is too large for the clock saturates.
        Ok(Identity { owner, valid_until: (expires + leeway) as i64 })
    }
}

/// A part of a token, which is JSON in base64url.
fn json<T: for<'de> Deserialize<'de>>(part: &str) -> Result<T, Denial> {
    let text = URL_SAFE_NO_PAD.decode(part).map_err(|_| Denial::Malformed)?;
    serde_json::from_slice(&text).map_err(|_| Denial::Malformed)
}

/// Whether a member is there, even as null.
fn is_there<'de, D: serde::Deserializer<'de>>(member: D) -> Result<bool, D::Error> {
    serde::de::IgnoredAny::deserialize(member).map(|_| true)
}

/// A time in seconds since 1970, which may have a fraction (RFC 7519, section 2).
fn time(claim: &Value) -> Option<f64> {
    claim.as_f64().filter(|seconds| (0.0..=u64::MAX as f64).contains(seconds))
}

/// Whether a scope is among those of a token: in a list, or in a text with spaces between them (RFC 8693, section 4.2).
fn has_scope(scopes: &Value, wanted: &str) -> bool {
    match scopes {
        Value::String(text) => text.split(' ').any(|one| one == wanted),
        Value::Array(list) => list.iter().any(|one| one == wanted),
        _ => false,
    }
}

/// The denial for a claim of the right form but another value, unless it has not even the form.
fn claim_or(name: &'static str, value: &Value, other: Denial) -> Denial {
    if value.is_string() || value.is_array() { other } else { claim(name, value) }
}

/// The denial for a claim that is missing, or has another form than it should.
fn claim(name: &'static str, value: &Value) -> Denial {
    if value.is_null() { Denial::MissingClaim(name) } else { Denial::MalformedClaim(name) }
}
