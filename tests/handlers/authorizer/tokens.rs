//! Which tokens are accepted, and why the others are rejected.

use authorizer::{
    error::Denial,
    key_source::KeySource,
    token::{SignedToken, TokenVerifier},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::signing::{
    AUDIENCE, ISSUER, OWNER, SigningKey, Trusted, base64, changed, claims, hs256, jwks, seconds, unsigned,
    verify, verify_with, with,
};

fn kinds() -> [Trusted; 3] {
    [SigningKey::rsa(), SigningKey::p256(), SigningKey::ed25519()].map(Trusted::new)
}

fn header(algorithm: &str) -> Value {
    json!({ "typ": "JWT", "alg": algorithm, "kid": Trusted::KEY_ID })
}

/// The result of a properly signed token with these claims.
fn result(claims: &Value) -> Result<String, Denial> {
    let issuer = Trusted::new(SigningKey::ed25519());
    issuer.verify(&issuer.token(claims))
}

#[test]
fn a_valid_token_of_each_algorithm_proves_its_owner() {
    for issuer in kinds() {
        let result = issuer.verify(&issuer.token(&claims()));
        assert_eq!(result.as_deref(), Ok(OWNER), "{}", issuer.key.algorithm());
    }
}

#[test]
fn a_token_signed_with_another_key_of_the_same_id_is_rejected() {
    for (trusted, other) in
        [(SigningKey::p256(), SigningKey::p256()), (SigningKey::ed25519(), SigningKey::ed25519())]
    {
        let token = other.token(Trusted::KEY_ID, &claims());
        let result = Trusted::new(trusted).verify(&token);
        assert_eq!(result, Err(Denial::WrongSignature), "{}", other.algorithm());
    }

    // For RSA it is the trusted key that is another: the same modulus with its last digit changed.
    let key = SigningKey::rsa();
    let mut other = key.jwk(Trusted::KEY_ID);
    let modulus = other["n"].as_str().expect("a modulus");
    other["n"] = modulus.replace("uXpoQ", "uXpow").into();
    let keys = KeySource::inline(&jwks(&[other])).expect("a key set");
    let result = verify(&key.token(Trusted::KEY_ID, &claims()), &keys);
    assert_eq!(result, Err(Denial::WrongSignature));
}

#[test]
fn a_changed_token_is_rejected() {
    for issuer in kinds() {
        let token = issuer.token(&claims());
        let parts: Vec<&str> = token.split('.').collect();
        let other = base64(with("sub", "other".into()).to_string());
        let forged = format!("{}.{other}.{}", parts[0], parts[2]);
        assert_eq!(issuer.verify(&forged), Err(Denial::WrongSignature));
    }
}

#[test]
fn an_unsigned_token_is_rejected_however_it_spells_none() {
    for issuer in kinds() {
        for none in ["none", "None", "NONE", "nOnE", "none ", ""] {
            let message = unsigned(&header(none), &claims());
            let signed = issuer.key.sign(&header(none), &claims());
            assert_eq!(issuer.verify(&message), Err(Denial::Malformed), "{none:?}");
            for token in [format!("{message}."), signed] {
                assert_eq!(issuer.verify(&token), Err(Denial::WrongAlgorithm), "{none:?}");
            }
        }
        for header in [
            json!({ "typ": "JWT", "kid": Trusted::KEY_ID }),
            json!({ "alg": null, "kid": Trusted::KEY_ID }),
            json!({ "alg": ["RS256"], "kid": Trusted::KEY_ID }),
        ] {
            let token = issuer.key.sign(&header, &claims());
            assert_eq!(issuer.verify(&token), Err(Denial::Malformed), "{header}");
        }
    }
}

#[test]
fn a_valid_token_without_its_signature_is_rejected() {
    for issuer in kinds() {
        let message = unsigned(&header(issuer.key.algorithm()), &claims());
        assert_eq!(issuer.verify(&format!("{message}.")), Err(Denial::WrongSignature));
    }
}

#[test]
fn a_public_key_is_no_shared_secret() {
    for issuer in kinds() {
        let jwk = issuer.key.jwk(Trusted::KEY_ID);
        let raw = issuer.key.public().to_vec();
        let text = ["n", "x", "y"].map(|part| jwk[part].as_str().unwrap_or_default().into());
        let secrets: Vec<Vec<u8>> =
            [pem(&issuer.key), pem(&issuer.key).trim_end().to_owned(), jwk.to_string(), jwks(&[jwk])]
                .map(String::into_bytes)
                .into_iter()
                .chain(text)
                .chain([der(&issuer.key), raw, Trusted::KEY_ID.into(), Vec::new()])
                .collect();
        for secret in secrets {
            for algorithm in ["HS256", "HS384", "HS512"] {
                let token = hs256(&header(algorithm), &claims(), &secret);
                assert_eq!(issuer.verify(&token), Err(Denial::WrongAlgorithm));
            }
            // The same signature under the name of the key's own algorithm.
            let token = hs256(&header(issuer.key.algorithm()), &claims(), &secret);
            assert_eq!(issuer.verify(&token), Err(Denial::WrongSignature));
        }
    }
}

/// The public key as issuers publish it for other libraries (SubjectPublicKeyInfo, RFC 5280).
fn der(key: &SigningKey) -> Vec<u8> {
    let prefix: &[u8] = match key {
        SigningKey::Rsa(..) => &[
            0x30, 0x82, 0x01, 0x22, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01,
            0x01, 0x05, 0x00, 0x03, 0x82, 0x01, 0x0f, 0x00,
        ],
        SigningKey::P256(_) => &[
            0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
            0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
        ],
        SigningKey::Ed25519(_) => &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00],
    };
    [prefix, key.public()].concat()
}

fn pem(key: &SigningKey) -> String {
    let der = STANDARD.encode(der(key));
    let lines: Vec<&str> =
        der.as_bytes().chunks(64).map(|line| str::from_utf8(line).expect("ASCII")).collect();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
}

#[test]
fn a_key_verifies_no_algorithm_but_its_own() {
    for issuer in kinds() {
        for algorithm in [
            "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA", "ES256K",
            "ES512", "Ed448", "rs256", "RS256 ", "A256KW", "dir",
        ] {
            if algorithm == issuer.key.algorithm() {
                continue;
            }
            let token = issuer.key.sign(&header(algorithm), &claims());
            assert_eq!(
                issuer.verify(&token),
                Err(Denial::WrongAlgorithm),
                "{algorithm} with a key for {}",
                issuer.key.algorithm()
            );
        }
    }
}

#[test]
fn ed25519_has_two_names_in_tokens_and_key_sets() {
    let key = SigningKey::ed25519();
    for of_the_key in [json!(null), json!("EdDSA"), json!("Ed25519")] {
        let jwk = changed(key.jwk(Trusted::KEY_ID), &json!({ "alg": of_the_key }));
        let keys = KeySource::inline(&jwks(&[jwk])).expect("a key set");
        for of_the_token in ["EdDSA", "Ed25519"] {
            let token = key.sign(&header(of_the_token), &claims());
            assert_eq!(verify(&token, &keys).as_deref(), Ok(OWNER), "{of_the_token} with {of_the_key}");
        }
    }
}

#[test]
fn a_key_in_the_header_is_not_used() {
    let issuer = Trusted::new(SigningKey::p256());
    let other = SigningKey::p256();
    let mut header = header("ES256");
    header["jwk"] = other.jwk(Trusted::KEY_ID);
    header["jku"] = "https://other.example/jwks.json".into();
    header["x5u"] = "https://other.example/certificate.pem".into();
    let token = other.sign(&header, &claims());
    assert_eq!(issuer.verify(&token), Err(Denial::WrongSignature));
}

#[test]
fn an_extension_that_must_be_understood_is_rejected() {
    let issuer = Trusted::new(SigningKey::ed25519());
    for critical in [json!(["b64"]), json!(["exp", "urn:example:more"]), json!([])] {
        let mut header = header("EdDSA");
        header["crit"] = critical;
        header["b64"] = true.into();
        let token = issuer.key.sign(&header, &claims());
        assert_eq!(issuer.verify(&token), Err(Denial::Critical), "{header}");
    }
}

#[test]
fn an_unknown_key_is_named_in_the_reason() {
    let issuer = Trusted::new(SigningKey::ed25519());
    let unknown = |id: &str| issuer.verify(&issuer.key.token(id, &claims()));
    assert_eq!(unknown("key-2"), Err(Denial::UnknownKey("key-2".into())));
    assert_eq!(unknown("KEY-1"), Err(Denial::UnknownKey("KEY-1".into())));
    assert_eq!(unknown(""), Err(Denial::UnknownKey(String::new())));
    assert_eq!(unknown(&"é".repeat(1000)), Err(Denial::UnknownKey("é".repeat(64))));
    let reason = unknown("line\nbreak\u{1b}[31m").expect_err("it is unknown").to_string();
    assert!(!reason.contains(char::is_control), "{reason}");
}

#[test]
fn a_token_without_a_key_id_is_tried_with_every_fitting_key() {
    let key = SigningKey::ed25519();
    let token = key.sign(&json!({ "alg": "EdDSA" }), &claims());
    let others = [SigningKey::rsa().jwk("r"), SigningKey::p256().jwk("p")];
    let result = |jwks_of: &[Value]| {
        let keys = KeySource::inline(&jwks(&[others.as_slice(), jwks_of].concat())).expect("a key set");
        verify(&token, &keys)
    };
    let other = |id: &str| SigningKey::ed25519().jwk(id);
    let unnamed = changed(key.jwk("e"), &json!({ "kid": null }));

    for fitting in [vec![key.jwk("e")], vec![unnamed], vec![other("f"), key.jwk("e"), other("g")]] {
        assert_eq!(result(&fitting).as_deref(), Ok(OWNER), "{fitting:?}");
    }
    assert_eq!(result(&[other("f"), other("g")]), Err(Denial::WrongSignature));
    assert_eq!(result(&[]), Err(Denial::WrongAlgorithm));

    // The work that a token may cause has a limit.
    let mut many: Vec<_> = (0..7).map(|number| other(&number.to_string())).collect();
    many.push(key.jwk("e"));
    assert_eq!(result(&many).as_deref(), Ok(OWNER));
    many.insert(0, other("one more"));
    assert_eq!(result(&many), Err(Denial::WrongSignature));
}

#[test]
fn two_keys_of_one_kind_may_share_an_id() {
    let [one, two] = [SigningKey::p256(), SigningKey::p256()];
    let keys = KeySource::inline(&jwks(&[one.jwk("same"), two.jwk("same")])).expect("a key set");
    for key in [one, two] {
        assert_eq!(verify(&key.token("same", &claims()), &keys).as_deref(), Ok(OWNER));
    }
    let other = SigningKey::p256().token("same", &claims());
    assert_eq!(verify(&other, &keys), Err(Denial::WrongSignature));
}

#[test]
fn a_token_is_accepted_from_nbf_to_exp_give_or_take_a_minute() {
    // Ten seconds to either side, because the clock goes on while the test runs.
    let (leeway, slack) = (TokenVerifier::LEEWAY.as_secs(), 10);
    let now = seconds();
    for exp in [now + 3600, now, now - leeway + slack] {
        assert!(result(&with("exp", exp.into())).is_ok(), "{exp}");
    }
    for exp in [now - leeway - slack, now - 3600, 0] {
        assert_eq!(result(&with("exp", exp.into())), Err(Denial::Expired));
    }
    for nbf in [0, now, now + leeway - slack] {
        assert!(result(&with("nbf", nbf.into())).is_ok(), "{nbf}");
    }
    for nbf in [now + leeway + slack, now + 3600, u64::MAX] {
        assert_eq!(result(&with("nbf", nbf.into())), Err(Denial::NotYetValid));
    }
    // RFC 7519, section 2: a NumericDate may have a fraction. `nbf` may be missing.
    let fraction = f64::from(u32::try_from(now).expect("before 2106")) + 3600.5;
    assert!(result(&with("exp", fraction.into())).is_ok());
    assert!(result(&with("nbf", Value::Null)).is_ok());
}

#[test]
fn the_time_of_issue_does_not_matter() {
    // RFC 7519, section 4.1.6: `iat` tells a token's age. When it counts, `nbf` and `exp` say.
    let now = seconds();
    for iat in [0, now, now + TokenVerifier::LEEWAY.as_secs(), now + 3600] {
        assert!(result(&with("iat", iat.into())).is_ok(), "{iat}");
    }
}

#[test]
fn a_time_that_is_no_number_is_rejected() {
    let text = (seconds() + 3600).to_string();
    for odd in [json!(text), json!(true), json!([]), json!({}), json!(-1), json!(1e300)] {
        for claim in ["exp", "nbf"] {
            let result = self::result(&with(claim, odd.clone()));
            assert_eq!(result, Err(Denial::MalformedClaim(claim)), "{claim} {odd}");
        }
    }
}

#[test]
fn another_issuer_is_rejected() {
    for iss in [
        json!("https://issuer.example"),
        json!("https://ISSUER.example/"),
        json!("https://issuer.example/ "),
        json!("https://issuer.example/tenant"),
        json!(""),
        json!([ISSUER]),
        json!([ISSUER, "https://other.example/"]),
    ] {
        let result = self::result(&with("iss", iss.clone()));
        assert_eq!(result, Err(Denial::OtherIssuer), "{iss}");
    }
}

#[test]
fn the_audience_may_be_one_of_several() {
    for aud in [json!(AUDIENCE), json!([AUDIENCE]), json!(["https://issuer.example/userinfo", AUDIENCE])] {
        assert!(result(&with("aud", aud.clone())).is_ok(), "{aud}");
    }
    for aud in [
        json!("another"),
        json!("intake2"),
        json!("Intake"),
        json!(""),
        json!([]),
        json!(["another", "intake2"]),
    ] {
        let result = self::result(&with("aud", aud.clone()));
        assert_eq!(result, Err(Denial::OtherAudience), "{aud}");
    }
}

/// The result of a properly signed token with these claims, for these issuers, audiences and scope.
fn result_for(
    issuers: &[&str],
    audiences: &[&str],
    scope: Option<&str>,
    claims: &Value,
) -> Result<String, Denial> {
    let issuer = Trusted::new(SigningKey::ed25519());
    let verifier = TokenVerifier::new(issuers, audiences, scope);
    verify_with(&verifier, &issuer.token(claims), &issuer.keys)
}

#[test]
fn issuers_and_audiences_are_lists() {
    let issuers = [ISSUER, "accounts.example"];
    let audiences = ["web", "mobile"];
    for iss in issuers {
        for aud in [json!("web"), json!("mobile"), json!(["other", "mobile"])] {
            let claims = changed(claims(), &json!({ "iss": iss, "aud": aud }));
            assert_eq!(result_for(&issuers, &audiences, None, &claims).as_deref(), Ok(OWNER), "{claims}");
        }
    }
    let other = |claim: &str, value: Value| {
        result_for(
            &issuers,
            &audiences,
            None,
            &changed(changed(claims(), &json!({ "aud": "web" })), &json!({ claim: value })),
        )
    };
    for iss in ["", "accounts", "accounts.example/", "https://issuer.example/,accounts.example"] {
        assert_eq!(other("iss", iss.into()), Err(Denial::OtherIssuer), "{iss}");
    }
    for aud in ["", "web,mobile", "we", "webs", " web"] {
        assert_eq!(other("aud", aud.into()), Err(Denial::OtherAudience), "{aud}");
    }
}

#[test]
fn without_aud_the_client_id_is_the_audience() {
    let with = |aud: Value, client_id: Value| {
        result(&changed(changed(claims(), &json!({ "aud": aud })), &json!({ "client_id": client_id })))
    };
    assert_eq!(with(json!(null), json!(AUDIENCE)).as_deref(), Ok(OWNER));
    assert_eq!(with(json!(null), json!("another")), Err(Denial::OtherAudience));
    assert_eq!(with(json!(null), json!([AUDIENCE])), Err(Denial::OtherAudience));
    assert_eq!(with(json!(null), json!(null)), Err(Denial::MissingClaim("aud")));
    // It never makes up for an audience that is another's.
    for aud in [json!("another"), json!([]), json!(""), json!(["another"])] {
        assert_eq!(with(aud.clone(), json!(AUDIENCE)), Err(Denial::OtherAudience), "{aud}");
    }
    assert_eq!(with(json!(AUDIENCE), json!("another")).as_deref(), Ok(OWNER));
}

#[test]
fn a_scope_that_is_wanted_has_to_be_there() {
    let with = |wanted: Option<&str>, scopes: &Value| {
        result_for(&[ISSUER], &[AUDIENCE], wanted, &changed(with("scope", json!(null)), scopes))
    };
    let wanted = Some("messages.write");
    for scopes in [
        json!({ "scope": "messages.write" }),
        json!({ "scope": "openid messages.write profile" }),
        json!({ "scp": "messages.write" }),
        json!({ "scp": ["openid", "messages.write"] }),
        json!({ "scope": "openid", "scp": ["messages.write"] }),
    ] {
        assert_eq!(with(wanted, &scopes).as_deref(), Ok(OWNER), "{scopes}");
        assert_eq!(with(None, &scopes).as_deref(), Ok(OWNER), "{scopes}");
    }
    for scopes in [
        json!({}),
        json!({ "scope": "" }),
        json!({ "scope": "messages.write.all messages" }),
        json!({ "scope": "messages.writ" }),
        json!({ "scope": "MESSAGES.WRITE" }),
        json!({ "scope": "a,messages.write" }),
        json!({ "scope": { "messages.write": true } }),
        json!({ "scp": ["openid messages.write"] }),
        json!({ "scp": [["messages.write"]] }),
        json!({ "roles": ["messages.write"] }),
    ] {
        assert_eq!(with(wanted, &scopes), Err(Denial::NoScope), "{scopes}");
        assert_eq!(with(None, &scopes).as_deref(), Ok(OWNER), "{scopes}");
    }
}

#[test]
fn a_token_without_a_required_claim_is_rejected() {
    for claim in ["exp", "iss", "aud", "sub"] {
        let result = self::result(&with(claim, Value::Null));
        assert_eq!(result, Err(Denial::MissingClaim(claim)), "no {claim}");
        for odd in [json!(false), json!([7, OWNER]), json!({}), json!({ "a": "b" }), json!([[1]])] {
            let result = self::result(&with(claim, odd.clone()));
            let expected = match claim {
                "iss" if odd.is_array() => Denial::OtherIssuer,
                "aud" if odd.is_array() => Denial::OtherAudience,
                _ => Denial::MalformedClaim(claim),
            };
            assert_eq!(result, Err(expected), "{claim} {odd}");
        }
    }
}

#[test]
fn a_subject_is_an_owner_or_rejected() {
    for sub in ["a", "a b", "~", &"x".repeat(255), "a\"b\\c&d=e%f+g#h"] {
        assert_eq!(result(&with("sub", sub.into())).as_deref(), Ok(sub));
    }
    for sub in ["", &"x".repeat(256), "a\nb", "a\0b", "\u{7f}", "a\u{85}b", "jürgen", "🙂", "\u{202e}abc"]
    {
        let result = self::result(&with("sub", sub.into()));
        assert_eq!(result, Err(Denial::NotAnOwner), "{sub:?}");
    }
}

#[test]
fn a_claim_that_occurs_twice_is_rejected() {
    let issuer = Trusted::new(SigningKey::ed25519());
    let claims = claims().to_string();
    for extra in ["\"sub\":\"other\"", "\"exp\":1", "\"iss\":\"x\"", "\"aud\":\"x\""] {
        let twice = claims.replacen('{', &format!("{{{extra},"), 1);
        // Signed as text, since a JSON value cannot hold a member twice.
        let token = issuer.key.sign_text(&header("EdDSA").to_string(), &twice);
        assert_eq!(issuer.verify(&token), Err(Denial::Malformed), "{extra}");
    }
}

#[test]
fn a_token_of_another_form_is_rejected() {
    let issuer = Trusted::new(SigningKey::ed25519());
    let token = issuer.token(&claims());
    let parts: Vec<&str> = token.split('.').collect();
    for odd in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "put.a-token.here".to_owned(),
        format!("{}.{}", parts[0], parts[1]),
        format!("{token}."),
        format!("{token}.{}", parts[2]),
        format!(".{token}"),
        format!("Bearer {token}"),
        token.replace('.', " "),
        format!("{token}=="),
        format!("{token}\n"),
        format!("é.{}.{}", parts[1], parts[2]),
    ] {
        assert_eq!(issuer.verify(&odd), Err(Denial::Malformed), "{odd}");
    }
    for claims in ["", "null", "7", "\"sub\"", "{", "not json"] {
        let token = issuer.key.sign_text(&header("EdDSA").to_string(), claims);
        assert_eq!(issuer.verify(&token), Err(Denial::Malformed), "{claims}");
    }
}

#[test]
fn a_valid_token_over_the_maximum_length_is_rejected() {
    let issuer = Trusted::new(SigningKey::ed25519());
    let fill = |length: usize| issuer.token(&with("scope", "x".repeat(length).into()));
    let short = fill(5000);
    assert!(short.len() <= SignedToken::MAX_BYTES);
    assert!(issuer.verify(&short).is_ok());
    let long = fill(7000);
    assert!(long.len() > SignedToken::MAX_BYTES);
    assert_eq!(issuer.verify(&long), Err(Denial::TooLong));
}
