//! A public key of the issuer, and the one algorithm that it verifies.
//!
//! The cryptography is ring's, which is in the program for TLS anyway.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde::Deserialize;
use serde_json::Value;

/// The algorithms that tokens may be signed with (RFC 7518; RFC 8037 and RFC 9864 for Ed25519). Algorithms with a shared
/// secret are not among them: whoever could verify could sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256, and a key of 2048 to 8192 bits.
    Rs256,
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// Ed25519, under its own name or the older one of its family, `EdDSA`.
    Ed25519,
}

impl Algorithm {
    /// The algorithm with this name, in tokens and key sets.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            "EdDSA" | "Ed25519" => Some(Self::Ed25519),
            _ => None,
        }
    }
}

/// A public key.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) id: Option<String>,
    public: Public,
}

#[derive(Debug)]
enum Public {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// A point in the uncompressed form of SEC 1, section 2.3.3.
    P256(Vec<u8>),
    Ed25519([u8; 32]),
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
    /// Reads a JSON Web Key. None if it is of another type, on another curve, for another use, too small or broken.
    pub(crate) fn read(json: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(json).ok()?;
        let public = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => {
                let (n, e) = (number(jwk.n?)?, number(jwk.e?)?);
                (2048..=8192).contains(&bits(&n)).then_some(Public::Rsa { n, e })?
            }
            ("EC", Some("P-256")) => {
                Public::P256([&[4][..], &coordinate(jwk.x?)?, &coordinate(jwk.y?)?].concat())
            }
            ("OKP", Some("Ed25519")) => Public::Ed25519(coordinate(jwk.x?)?),
            _ => return None,
        };
        let key = Self { id: jwk.kid, public };
        let is_for_signatures = jwk.alg.is_none_or(|alg| Algorithm::named(&alg) == Some(key.algorithm()))
            && jwk.r#use.is_none_or(|purpose| purpose == "sig")
            && jwk.key_ops.is_none_or(|operations| operations.iter().any(|one| one == "verify"));
        is_for_signatures.then_some(key)
    }

    /// The only algorithm that this key verifies. A token does not choose.
    pub(crate) fn algorithm(&self) -> Algorithm {
        match self.public {
            Public::Rsa { .. } => Algorithm::Rs256,
            Public::P256(_) => Algorithm::Es256,
            Public::Ed25519(_) => Algorithm::Ed25519,
        }
    }

    /// Whether this key has signed a message.
    pub(crate) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let verified = match &self.public {
            Public::Rsa { n, e } => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            }
            Public::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            Public::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key).verify(message, signature),
        };
        verified.is_ok()
    }
}

/// A number without the leading zeros that some issuers write and ring does not accept.
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
