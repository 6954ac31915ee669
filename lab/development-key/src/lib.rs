//! Development tokens, signed with a key pair that this machine makes for itself on first use.
//!
//! The local stack is deployed with the public half as its issuer's key set. No other stack trusts it.

use std::{
    fs::{self, OpenOptions},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
    process,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    digest,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use serde_json::{Value, json};
use thiserror::Error;

/// The issuer that the local stack trusts.
pub const ISSUER: &str = "https://issuer.intake.invalid";
/// The audience that the local stack expects.
pub const AUDIENCE: &str = "intake";

/// Why there is no key.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("cannot {verb} {}: {source}", path.display())]
    File {
        /// Read or write.
        verb: &'static str,
        /// The file of the key.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{} is not an ES256 key: remove it to get a new one", .0.display())]
    NotAKey(PathBuf),
    /// The operating system has no random numbers.
    #[error("cannot make a key: the operating system has no random numbers")]
    NoRandomNumbers,
}

/// An ES256 key pair for development.
pub struct DevelopmentKey {
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

impl DevelopmentKey {
    /// The key pair in the file (PKCS#8), which is made first if there is none. Only its owner can read it.
    ///
    /// # Errors
    /// If the file cannot be read or written, or holds something else.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        let random = SystemRandom::new();
        let document = match fs::read(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                create(path, &random)?;
                fs::read(path)
            }
            read => read,
        };
        let unreadable = |source| KeyError::File { verb: "read", path: path.to_owned(), source };
        let document = document.map_err(unreadable)?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &document, &random)
            .map_err(|_| KeyError::NotAKey(path.to_owned()))?;
        Ok(Self { pair, random })
    }

    /// The public key as a JSON Web Key Set.
    pub fn jwks(&self) -> String {
        let (x, y) = self.coordinates();
        json!({"keys": [{
            "kty": "EC",
            "crv": "P-256",
            "alg": "ES256",
            "use": "sig",
            "kid": self.key_id(),
            "x": x,
            "y": y,
        }]})
        .to_string()
    }

    /// The name of the key in tokens and key sets: its thumbprint (RFC 7638).
    pub fn key_id(&self) -> String {
        let (x, y) = self.coordinates();
        let members = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, members.as_bytes()))
    }

    /// A token that names `owner`, and expires after `lifetime`.
    pub fn mint(&self, issuer: &str, audience: &str, owner: &str, lifetime: Duration) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.sign(
            &json!({"alg": "ES256", "typ": "JWT", "kid": self.key_id()}),
            &json!({
                "iss": issuer,
                "aud": audience,
                "sub": owner,
                "iat": now.as_secs(),
                "exp": now.saturating_add(lifetime).as_secs(),
            }),
        )
    }

    /// Signs any header and claims with ES256, whatever they contain.
    ///
    /// # Panics
    /// If the operating system has no random numbers.
    #[expect(clippy::expect_used, reason = "no caller could do anything about it")]
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let signature =
            self.pair.sign(&self.random, signed.as_bytes()).expect("signing needs random numbers");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The coordinates of the public point, as key sets have them.
    fn coordinates(&self) -> (String, String) {
        // An uncompressed point: a marker byte and two numbers of equal length.
        let point = self.pair.public_key().as_ref().get(1..).unwrap_or_default();
        let (x, y) = point.split_at(point.len() / 2);
        (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y))
    }
}

/// Makes a key in a new file. If another process is faster, its key stays.
fn create(path: &Path, random: &SystemRandom) -> Result<(), KeyError> {
    use std::os::unix::fs::OpenOptionsExt;

    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, random)
        .map_err(|_| KeyError::NoRandomNumbers)?;
    let unwritable = |source| KeyError::File { verb: "write", path: path.to_owned(), source };
    fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).map_err(unwritable)?;
    // Written under another name first: the file appears complete or not at all.
    let draft = path.with_extension(format!("{}.draft", process::id()));
    let publish = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(document.as_ref())?;
        match fs::hard_link(&draft, path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    };
    let published = publish();
    let _ = fs::remove_file(&draft);
    published.map_err(unwritable)
}

#[cfg(test)]
mod tests {
    use std::env;

    use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    use super::*;

    /// A folder of one test, removed when the test ends.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            Self(env::temp_dir().join(format!("development-key-{}-{name}", process::id())))
        }

        fn key(&self) -> PathBuf {
            self.0.join("key.p8")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn decode(part: &str) -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    }

    #[test]
    fn a_key_is_made_once_and_readable_by_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;

        let folder = Folder::new("once");
        let first = DevelopmentKey::load_or_create(&folder.key()).unwrap();
        let second = DevelopmentKey::load_or_create(&folder.key()).unwrap();
        assert_eq!(first.jwks(), second.jwks());
        assert_eq!(fs::metadata(folder.key()).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1, "no draft is left behind");
    }

    #[test]
    fn a_file_that_is_no_key_is_an_error() {
        let folder = Folder::new("no-key");
        fs::create_dir_all(&folder.0).unwrap();
        fs::write(folder.key(), "something else").unwrap();
        let failure = DevelopmentKey::load_or_create(&folder.key()).err().unwrap().to_string();
        assert!(failure.contains("is not an ES256 key"), "{failure}");
    }

    #[test]
    fn the_key_set_verifies_a_token_and_the_token_has_its_claims() {
        let folder = Folder::new("token");
        let key = DevelopmentKey::load_or_create(&folder.key()).unwrap();
        let token = key.mint("issuer", "audience", "alice", Duration::from_secs(60));

        let (signed, signature) = token.rsplit_once('.').unwrap();
        let (header, claims) = signed.split_once('.').unwrap();
        let (header, claims) = (decode(header), decode(claims));
        let set: Value = serde_json::from_str(&key.jwks()).unwrap();
        let public = &set["keys"][0];
        assert_eq!(header["alg"], "ES256");
        assert_eq!(header["kid"], public["kid"]);
        assert_eq!(claims["iss"], "issuer");
        assert_eq!(claims["aud"], "audience");
        assert_eq!(claims["sub"], "alice");
        assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 60);

        let mut point = vec![4];
        for coordinate in ["x", "y"] {
            point.extend(URL_SAFE_NO_PAD.decode(public[coordinate].as_str().unwrap()).unwrap());
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
            .verify(signed.as_bytes(), &signature)
            .unwrap();
    }
}
