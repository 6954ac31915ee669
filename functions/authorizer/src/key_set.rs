//! The issuer's public keys: a JSON Web Key Set (RFC 7517).

use serde::Deserialize;
use serde_json::Value;

use crate::{error::Denial, key::Key, token::SignedToken};

/// How many keys a token is tried with at most. An issuer has two at a time, or three.
const MAX_TRIED: usize = 8;

/// The keys of a set that a token may be signed with.
#[derive(Debug)]
pub struct KeySet {
    keys: Vec<Key>,
    skipped: usize,
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

    /// Verifies the signature of a token, with every key that may have made it: those with the `kid` of the token, or
    /// all if it has none. An issuer may have keys without `kid`, or two with the same one for a while.
    ///
    /// # Errors
    /// [`Denial`] if none of them has.
    pub fn verify(&self, token: &SignedToken<'_>) -> Result<(), Denial> {
        let is_named = |key: &&Key| token.key_id().is_none() || key.id.as_deref() == token.key_id();
        let mut fitting = self
            .keys
            .iter()
            .filter(is_named)
            // A token that could choose the algorithm of a key could choose one that anybody can sign with.
            .filter(|key| key.algorithm() == token.algorithm())
            .take(MAX_TRIED)
            .peekable();
        if fitting.peek().is_some() {
            let is_signed = fitting.any(|key| key.has_signed(token.message(), token.signature()));
            return is_signed.then_some(()).ok_or(Denial::WrongSignature);
        }
        match token.key_id() {
            Some(id) if !self.keys.iter().any(|key| is_named(&key)) => Err(Denial::unknown_key(id)),
            _ => Err(Denial::WrongAlgorithm),
        }
    }
}
