//! Which keys of a set are used.

use authorizer::{error::Denial, key_set::KeySet, key_source::KeySource};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::signing::{OWNER, SigningKey, Trusted, base64, changed, claims, jwks, verify};

fn usable(jwk: &Value) -> bool {
    let keys = KeySet::parse(&jwks(std::slice::from_ref(jwk))).expect("a key set");
    assert_eq!(keys.usable() + keys.skipped(), 1);
    keys.usable() == 1
}

#[test]
fn keys_of_other_kinds_are_skipped() {
    let [rsa, p256, ed25519] = [SigningKey::rsa(), SigningKey::p256(), SigningKey::ed25519()];
    let set = json!({
        "issuer": "https://issuer.example/",
        "keys": [
            null,
            7,
            "key",
            [],
            {},
            { "kty": 7, "kid": "a" },
            { "kty": "oct", "kid": "b", "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T" },
            { "kty": "AKP", "kid": "c", "alg": "ML-DSA-44", "pub": "AAAA" },
            { "kty": "EC", "kid": "d", "crv": "P-521", "x": "AAAA", "y": "AAAA" },
            { "kty": "EC", "kid": "e", "crv": "secp256k1", "x": "AAAA", "y": "AAAA" },
            { "kty": "EC", "kid": "f", "x": "AAAA", "y": "AAAA" },
            { "kty": "OKP", "kid": "g", "crv": "X25519", "x": "AAAA" },
            { "kty": "OKP", "kid": "h", "crv": "Ed448", "x": "AAAA" },
            { "kty": "RSA", "kid": "i" },
            changed(rsa.jwk("rsa"), &json!({ "x5c": ["MIIC", 7], "x5t": "abc", "issuer": {} })),
            changed(p256.jwk("p256"), &json!({ "ext": true, "key_ops": ["verify"] })),
            changed(ed25519.jwk("ed25519"), &json!({ "use": "sig", "alg": "EdDSA" })),
        ],
    });
    let parsed = KeySet::parse(&set.to_string()).expect("a key set");
    assert_eq!((parsed.usable(), parsed.skipped()), (3, 14));

    let keys = KeySource::inline(&set.to_string()).expect("keys");
    for (key, id) in [(rsa, "rsa"), (p256, "p256"), (ed25519, "ed25519")] {
        assert_eq!(verify(&key.token(id, &claims()), &keys).as_deref(), Ok(OWNER));
    }
}

#[test]
fn a_key_is_used_for_its_purpose_only() {
    for key in [SigningKey::rsa(), SigningKey::p256(), SigningKey::ed25519()] {
        let jwk = key.jwk("key");
        let own = key.algorithm();
        for fine in [
            json!({}),
            json!({ "alg": own }),
            json!({ "use": "sig" }),
            json!({ "alg": own, "use": "sig", "key_ops": ["verify"] }),
            json!({ "key_ops": ["sign", "verify"] }),
            json!({ "kid": null }),
        ] {
            assert!(usable(&changed(jwk.clone(), &fine)), "{own} {fine}");
        }
        for (member, value) in [
            ("alg", json!("HS256")),
            ("alg", json!("RS512")),
            ("alg", json!("PS256")),
            ("alg", json!("ES384")),
            ("alg", json!("none")),
            ("alg", json!("")),
            ("alg", json!(7)),
            ("use", json!("enc")),
            ("use", json!("tls")),
            ("key_ops", json!(["encrypt"])),
            ("key_ops", json!(["sign"])),
            ("key_ops", json!([])),
            ("kid", json!(7)),
            ("kty", json!("oct")),
            ("kty", json!("rsa")),
        ] {
            let odd = changed(jwk.clone(), &json!({ member: value }));
            assert!(!usable(&odd), "{own} {member} {value}");
        }
    }
}

#[test]
fn an_rsa_key_has_2048_to_8192_bits() {
    let key = SigningKey::rsa();
    let jwk = key.jwk("key");
    let modulus = URL_SAFE_NO_PAD.decode(jwk["n"].as_str().expect("a modulus")).expect("base64url");
    let with = |modulus: &[u8]| changed(jwk.clone(), &json!({ "n": base64(modulus) }));

    assert!(usable(&with(&modulus)));
    let mut one_bit_less = modulus.clone();
    one_bit_less[0] &= 0x7f;
    assert!(!usable(&with(&one_bit_less)));
    assert!(!usable(&with(&modulus[..128])));
    assert!(!usable(&with(&[])));
    assert!(usable(&with(&[0xff; 1024])));
    assert!(!usable(&with(&[0xff; 1025])));
    assert!(!usable(&changed(jwk.clone(), &json!({ "n": "not base64!" }))));
    assert!(!usable(&changed(jwk.clone(), &json!({ "e": "" }))));
}

#[test]
fn leading_zeros_of_an_rsa_key_do_not_matter() {
    let key = SigningKey::rsa();
    let mut jwk = key.jwk(Trusted::KEY_ID);
    for part in ["n", "e"] {
        let bytes =
            URL_SAFE_NO_PAD.decode(jwk[part].as_str().expect("a part of the key")).expect("base64url");
        jwk[part] = base64([&[0, 0], bytes.as_slice()].concat()).into();
    }
    let keys = KeySource::inline(&jwks(&[jwk])).expect("keys");
    let token = key.token(Trusted::KEY_ID, &claims());
    assert_eq!(verify(&token, &keys).as_deref(), Ok(OWNER));
}

#[test]
fn coordinates_have_their_full_length() {
    for key in [SigningKey::p256(), SigningKey::ed25519()] {
        let jwk = key.jwk("key");
        for x in [
            json!(null),
            json!(7),
            json!(""),
            json!("AAAA"),
            json!(base64([1; 31])),
            json!(base64([1; 33])),
            json!(format!("{}=", jwk["x"].as_str().expect("a coordinate"))),
        ] {
            assert!(!usable(&changed(jwk.clone(), &json!({ "x": x }))), "{x}");
        }
    }
    assert!(!usable(&changed(SigningKey::p256().jwk("key"), &json!({ "y": null }))));
}

#[test]
fn a_point_that_is_not_on_the_curve_verifies_nothing() {
    let key = SigningKey::p256();
    let off = changed(key.jwk("key"), &json!({ "y": base64([7; 32]) }));
    let keys = KeySource::inline(&jwks(&[off])).expect("the form is right");
    let result = verify(&key.token("key", &claims()), &keys);
    assert_eq!(result, Err(Denial::WrongSignature));
}

#[test]
fn two_keys_may_share_an_id_if_their_kinds_differ() {
    let [rsa, p256] = [SigningKey::rsa(), SigningKey::p256()];
    let set = jwks(&[rsa.jwk("shared"), p256.jwk("shared")]);
    let keys = KeySource::inline(&set).expect("keys");
    for key in [rsa, p256] {
        let result = verify(&key.token("shared", &claims()), &keys);
        assert_eq!(result.as_deref(), Ok(OWNER), "{}", key.algorithm());
    }
}

#[test]
fn a_text_of_another_form_is_no_key_set() {
    for text in ["", "null", "[]", "{}", "{\"keys\":{}}", "{\"keys\":null}", "<html>"] {
        assert!(KeySet::parse(text).is_err(), "{text}");
    }
    assert!(KeySet::parse("{\"keys\":[]}").is_ok());
}
