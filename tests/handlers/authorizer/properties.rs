//! What holds for any token and any key set.

use std::sync::LazyLock;

use authorizer::key_set::KeySet;
use proptest::{prelude::*, sample::Index};
use serde_json::{Value, json};

use super::signing::{SigningKey, Trusted, claims};

static ISSUER: LazyLock<Trusted> = LazyLock::new(|| Trusted::new(SigningKey::ed25519()));
static TOKEN: LazyLock<String> = LazyLock::new(|| ISSUER.token(&claims()));

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,40}".prop_map(Value::from),
        prop::sample::select(vec![
            "RSA",
            "EC",
            "OKP",
            "oct",
            "P-256",
            "Ed25519",
            "sig",
            "verify",
            "AQAB",
            "EdDSA",
            "RS256",
            "ES256",
            "HS256",
            "none",
            "key-1",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            members(inner).prop_map(Value::from),
        ]
    })
}

/// An object with the names that matter, and some others.
fn members(value: impl Strategy<Value = Value>) -> impl Strategy<Value = serde_json::Map<String, Value>> {
    let names = vec![
        "alg", "kid", "crit", "typ", "jwk", "iss", "aud", "sub", "exp", "nbf", "keys", "kty", "use",
        "key_ops", "crv", "n", "e", "x", "y", "other",
    ];
    prop::collection::hash_map(prop::sample::select(names), value, 0..10)
        .prop_map(|map| map.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

proptest! {
    #[test]
    fn no_text_is_a_token(text in "\\PC*") {
        prop_assert!(ISSUER.verify(&text).is_err());
    }

    #[test]
    fn no_three_parts_are_a_token(text in "[A-Za-z0-9_-]{0,80}\\.[A-Za-z0-9_-]{0,80}\\.[A-Za-z0-9_-]{86}") {
        prop_assert!(ISSUER.verify(&text).is_err());
    }

    #[test]
    fn a_token_with_one_character_changed_is_rejected(at in any::<Index>(), by in any::<char>()) {
        let mut characters: Vec<char> = TOKEN.chars().collect();
        let at = at.index(characters.len());
        prop_assume!(characters[at] != by);
        characters[at] = by;
        let changed: String = characters.into_iter().collect();
        prop_assert!(ISSUER.verify(&changed).is_err());
    }

    #[test]
    fn a_truncated_token_is_rejected(at in any::<Index>()) {
        let at = at.index(TOKEN.len());
        prop_assert!(ISSUER.verify(&TOKEN[..at]).is_err());
        prop_assert!(ISSUER.verify(&TOKEN[at..]).is_err() || at == 0);
    }

    #[test]
    fn a_token_signed_with_another_key_is_rejected_whatever_it_says(
        header in members(value()),
        claims in value(),
    ) {
        let mut header = Value::from(header);
        let other = SigningKey::ed25519();
        prop_assert!(ISSUER.verify(&other.sign(&header, &claims)).is_err());
        header["alg"] = "EdDSA".into();
        header["kid"] = Trusted::KEY_ID.into();
        prop_assert!(ISSUER.verify(&other.sign(&header, &claims)).is_err());
    }

    #[test]
    fn no_token_of_the_issuer_causes_a_panic(header in members(value()), claims in members(value())) {
        let mut header = Value::from(header);
        header["alg"] = "EdDSA".into();
        header["kid"] = Trusted::KEY_ID.into();
        // It may be valid, in theory.
        let _result = ISSUER.verify(&ISSUER.key.sign(&header, &claims.into()));
    }

    #[test]
    fn no_entry_of_a_key_set_affects_the_others(odd in prop::collection::vec(value(), 0..6)) {
        let count = odd.len();
        let mut keys = odd;
        keys.push(ISSUER.key.jwk("good"));
        let set = KeySet::parse(&json!({ "keys": keys }).to_string());
        let set = set.expect("the form of the set is right");
        prop_assert!(set.usable() >= 1);
        prop_assert_eq!(set.usable() + set.skipped(), count + 1);
    }

    #[test]
    fn no_text_is_a_key_set(text in "\\PC*") {
        prop_assert!(KeySet::parse(&text).is_err());
    }
}
