//! What an issuer does: keys, and tokens signed with them.

use std::time::{SystemTime, UNIX_EPOCH};

use authorizer::{
    error::{Denial, VerificationError},
    key_source::KeySource,
    token::TokenVerifier,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    hmac,
    rand::SystemRandom,
    rsa::{KeyPairComponents, PublicKeyComponents},
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
use serde_json::{Value, json};

pub(crate) const ISSUER: &str = "https://issuer.example/";
pub(crate) const AUDIENCE: &str = "intake";
pub(crate) const OWNER: &str = "auth0|5f7c8ec7c33c6c004bbafe82";

/// A private key of an issuer, made for the test that uses it.
pub(crate) enum SigningKey {
    Rsa(RsaKeyPair, Value),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl SigningKey {
    /// The example key of RFC 7515, appendix A.2, which is public. ring makes no RSA keys, and making one here would
    /// take longer than all other tests.
    pub(crate) fn rsa() -> Self {
        let jwk: Value = serde_json::from_str(include_str!("rfc7515-a2.json")).expect("JSON");
        let part = |name: &str| {
            let text = jwk[name].as_str().expect("a part of the key");
            URL_SAFE_NO_PAD.decode(text).expect("base64url")
        };
        let pair = RsaKeyPair::from_components(&KeyPairComponents {
            public_key: PublicKeyComponents { n: part("n"), e: part("e") },
            d: part("d"),
            p: part("p"),
            q: part("q"),
            dP: part("dp"),
            dQ: part("dq"),
            qInv: part("qi"),
        })
        .expect("an RSA key");
        let public = json!({ "kty": "RSA", "n": jwk["n"], "e": jwk["e"] });
        Self::Rsa(pair, public)
    }

    pub(crate) fn p256() -> Self {
        let random = SystemRandom::new();
        let document =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a new key");
        Self::P256(
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random)
                .expect("a P-256 key"),
        )
    }

    pub(crate) fn ed25519() -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a new key");
        Self::Ed25519(Ed25519KeyPair::from_pkcs8(document.as_ref()).expect("an Ed25519 key"))
    }

    /// The `alg` of what this key signs.
    pub(crate) fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(..) => "RS256",
            Self::P256(_) => "ES256",
            Self::Ed25519(_) => "EdDSA",
        }
    }

    /// The public half, as raw bytes (RSA: PKCS #1).
    pub(crate) fn public(&self) -> &[u8] {
        match self {
            Self::Rsa(pair, _) => pair.public_key().as_ref(),
            Self::P256(pair) => pair.public_key().as_ref(),
            Self::Ed25519(pair) => pair.public_key().as_ref(),
        }
    }

    /// The public half as a JSON Web Key, without `alg` and `use`.
    pub(crate) fn jwk(&self, id: &str) -> Value {
        let mut jwk = match self {
            Self::Rsa(_, public) => public.clone(),
            Self::P256(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({ "kty": "EC", "crv": "P-256", "x": base64(x), "y": base64(y) })
            }
            Self::Ed25519(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": base64(pair.public_key()) })
            }
        };
        jwk["kid"] = id.into();
        jwk
    }

    fn signature(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(pair, _) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).expect("a signature");
                signature
            }
            Self::P256(pair) => {
                let signature = pair.sign(&random, message).expect("a signature");
                signature.as_ref().to_vec()
            }
            Self::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    /// A token with any header and claims, signed with this key whatever the header says.
    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_text(&header.to_string(), &claims.to_string())
    }

    /// A token of any two texts.
    pub(crate) fn sign_text(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", base64(header), base64(claims));
        let signature = base64(self.signature(message.as_bytes()));
        format!("{message}.{signature}")
    }

    /// A token as an issuer writes it.
    pub(crate) fn token(&self, id: &str, claims: &Value) -> String {
        let header = json!({ "typ": "JWT", "alg": self.algorithm(), "kid": id });
        self.sign(&header, claims)
    }
}

/// Header and claims, without a signature.
pub(crate) fn unsigned(header: &Value, claims: &Value) -> String {
    format!("{}.{}", base64(header.to_string()), base64(claims.to_string()))
}

/// A token of algorithm HS256.
pub(crate) fn hs256(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let message = unsigned(header, claims);
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let signature = base64(hmac::sign(&key, message.as_bytes()));
    format!("{message}.{signature}")
}

pub(crate) fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Seconds since 1970.
pub(crate) fn seconds() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("a clock after 1970").as_secs()
}

/// Claims that are accepted for the next hour.
pub(crate) fn claims() -> Value {
    json!({
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": OWNER,
        "iat": seconds(),
        "nbf": seconds(),
        "exp": seconds() + 3600,
        "scope": "messages",
    })
}

/// The claims with one of them changed, or without it if the new value is null.
#[expect(clippy::needless_pass_by_value, reason = "the value is written where it is passed")]
pub(crate) fn with(name: &str, value: Value) -> Value {
    changed(claims(), &json!({ name: value }))
}

/// An object with other members; null removes one.
pub(crate) fn changed(mut object: Value, members: &Value) -> Value {
    let (Value::Object(all), Value::Object(members)) = (&mut object, members) else {
        panic!("{object} and {members} have to be objects");
    };
    all.extend(members.clone());
    all.retain(|_, value| !value.is_null());
    object
}

pub(crate) fn jwks(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

/// An issuer with one key, and the verifier that trusts it.
pub(crate) struct Trusted {
    pub(crate) key: SigningKey,
    pub(crate) keys: KeySource,
}

impl Trusted {
    pub(crate) const KEY_ID: &str = "key-1";

    pub(crate) fn new(key: SigningKey) -> Self {
        let jwks = jwks(&[key.jwk(Self::KEY_ID)]);
        let keys = KeySource::inline(&jwks).expect("a key set");
        Self { key, keys }
    }

    /// A token of this issuer with these claims.
    pub(crate) fn token(&self, claims: &Value) -> String {
        self.key.token(Self::KEY_ID, claims)
    }

    /// The owner that a token proves.
    pub(crate) fn verify(&self, token: &str) -> Result<String, Denial> {
        verify(token, &self.keys)
    }
}

/// A verifier of the one issuer and audience, without a scope.
pub(crate) fn verifier() -> TokenVerifier {
    TokenVerifier::new(&[ISSUER], &[AUDIENCE], None)
}

/// The owner that a token proves, by inline keys.
pub(crate) fn verify(token: &str, keys: &KeySource) -> Result<String, Denial> {
    verify_with(&verifier(), token, keys)
}

/// The owner that a token proves to this verifier, by inline keys.
pub(crate) fn verify_with(verifier: &TokenVerifier, token: &str, keys: &KeySource) -> Result<String, Denial> {
    let result = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime")
        .block_on(verifier.verify(token, keys, SystemTime::now()));
    match result {
        Ok(caller) => Ok(caller.owner.as_str().to_owned()),
        Err(VerificationError::Denied(denial)) => Err(denial),
        Err(VerificationError::KeysUnavailable) => panic!("inline keys are always available"),
    }
}
