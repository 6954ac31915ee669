//! The issuer's public keys: a JSON Web Key Set (RFC 7517).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

use crate::error::Denial;

/// The keys of a set that a token may be signed with.
#[derive(Debug)]
pub struct KeySet {
    keys: Vec<Key>,
    skipped: usize,
}

#[derive(Debug)]
struct Key {
    id: Option<String>,
    /// The only algorithm that this key verifies. A token does not choose.
    algorithm: Algorithm,
    public: DecodingKey,
}

impl KeySet {
    /// Reads a key set. Keys of other types, on other curves, for other uses, too small or broken are
    /// left out: an issuer may add any key without locking its users out.
    ///
    /// # Errors
    /// If the text is not JSON, or not an object with an array `keys`.
    pub fn parse(json: &str) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Document {
            keys: Vec<Value>,
        }
        let document: Document = serde_json::from_str(json)?;
        let total = document.keys.len();
        let keys: Vec<Key> = document.keys.into_iter().filter_map(Key::read).collect();
        let skipped = total - keys.len();
        Ok(Self { keys, skipped })
    }

    /// How many keys can be used.
    pub fn usable(&self) -> usize {
        self.keys.len()
    }

    /// How many keys were left out.
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// The key for a token's `kid` and `alg`.
    ///
    /// A token without `kid` is verified with the one key of the set that is for its algorithm. If there are several,
    /// the token is denied.
    ///
    /// # Errors
    /// [`Denial`] if there is no such key.
    pub fn select(&self, id: Option<&str>, algorithm: Algorithm) -> Result<&DecodingKey, Denial> {
        let mut fitting = self
            .keys
            .iter()
            .filter(|key| key.algorithm == algorithm && (id.is_none() || key.id.as_deref() == id));
        match (fitting.next(), id) {
            (Some(key), Some(_)) => Ok(&key.public),
            (Some(key), None) if fitting.next().is_none() => Ok(&key.public),
            (_, None) => Err(Denial::NoKeyId),
            (None, Some(id)) if self.keys.iter().any(|key| key.id.as_deref() == Some(id)) => {
                Err(Denial::WrongAlgorithm)
            }
            (None, Some(id)) => Err(Denial::unknown_key(id)),
        }
    }
}

/// A JSON Web Key as it was written. Unknown members do not matter.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    r#use: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Key {
    fn read(json: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(json).ok()?;
        let (algorithm, name, public) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => {
                let n = number(jwk.n?)?;
                let e = number(jwk.e?)?;
                let key = (2048..=8192)
                    .contains(&bits(&n))
                    .then(|| DecodingKey::from_rsa_raw_components(&n, &e))?;
                (Algorithm::RS256, "RS256", key)
            }
            ("EC", Some("P-256")) => {
                // The uncompressed form of SEC 1, section 2.3.3.
                let point = [&[4][..], &coordinate(jwk.x?)?, &coordinate(jwk.y?)?].concat();
                (Algorithm::ES256, "ES256", DecodingKey::from_ec_der(&point))
            }
            ("OKP", Some("Ed25519")) => {
                let key = DecodingKey::from_ed_der(&coordinate(jwk.x?)?);
                (Algorithm::EdDSA, "EdDSA", key)
            }
            _ => return None,
        };
        let is_for_signatures = jwk.alg.is_none_or(|alg| alg == name)
            && jwk.r#use.is_none_or(|purpose| purpose == "sig")
            && jwk.key_ops.is_none_or(|operations| operations.iter().any(|one| one == "verify"));
        is_for_signatures.then_some(Self { id: jwk.kid, algorithm, public })
    }
}

/// A number without the leading zeros that some issuers write and ring rejects.
fn number(text: String) -> Option<Vec<u8>> {
    let mut bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.drain(..zeros);
    (!bytes.is_empty()).then_some(bytes)
}

fn bits(number: &[u8]) -> usize {
    let leading = number.first().map_or(0, |byte| byte.leading_zeros());
    number.len() * 8 - leading as usize
}

fn coordinate(text: String) -> Option<[u8; 32]> {
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}
