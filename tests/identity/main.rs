//! Tokens that a certified OpenID Connect provider issues to its clients, and the authorizer verifies:
//! `cargo xtask test --step identity`, which installs the provider.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "this crate is nothing but tests")]

mod provider;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use authorizer::{
    error::{Denial, VerificationError},
    key_source::KeySource,
    token::TokenVerifier,
};

use crate::provider::{Provider, part};

const AUDIENCE: &str = "intake";
const RESOURCE: &str = "urn:intake:ES256";
const SCOPE: &str = "messages.write";
const SECOND: Duration = Duration::from_secs(1);

type Outcome = Result<String, VerificationError>;

/// The owner that a token proves.
async fn verify(verifier: &TokenVerifier, token: &str, keys: &KeySource, now: SystemTime) -> Outcome {
    let identity = verifier.verify(token, keys, now).await?;
    Ok(identity.owner.as_str().to_owned())
}

fn owner(name: &str) -> Outcome {
    Ok(name.to_owned())
}

fn denied(denial: Denial) -> Outcome {
    Err(VerificationError::Denied(denial))
}

#[tokio::test]
async fn an_access_token_of_a_machine_is_accepted_with_every_algorithm() {
    let provider = Provider::start(true);
    let keys = provider.keys();
    let verifier = TokenVerifier::new(&[provider.issuer()], &[AUDIENCE], Some(SCOPE));
    for algorithm in ["ES256", "RS256", "EdDSA"] {
        let token = provider.machine_token(&format!("urn:{AUDIENCE}:{algorithm}"), SCOPE);
        assert_eq!(part(&token, 0)["alg"], algorithm);
        assert_eq!(verify(&verifier, &token, &keys, SystemTime::now()).await, owner("machine"));
    }
}

#[tokio::test]
async fn a_token_for_another_api_or_scope_or_of_another_issuer_or_time_is_denied() {
    let provider = Provider::start(true);
    let (keys, now) = (provider.keys(), SystemTime::now());
    let verifier = TokenVerifier::new(&[provider.issuer()], &[AUDIENCE], Some(SCOPE));
    let token = provider.machine_token(RESOURCE, &format!("messages.read {SCOPE}"));
    assert_eq!(verify(&verifier, &token, &keys, now).await, owner("machine"));

    let for_another_api = provider.machine_token("urn:another:ES256", SCOPE);
    assert_eq!(verify(&verifier, &for_another_api, &keys, now).await, denied(Denial::OtherAudience));
    let with_another_scope = provider.machine_token(RESOURCE, "messages.read");
    assert_eq!(verify(&verifier, &with_another_scope, &keys, now).await, denied(Denial::NoScope));

    let with_slash = format!("{}/", provider.issuer());
    let misspelt = TokenVerifier::new(&[&with_slash], &[AUDIENCE], Some(SCOPE));
    assert_eq!(verify(&misspelt, &token, &keys, now).await, denied(Denial::OtherIssuer));
    let of_another = Provider::start(true).machine_token(RESOURCE, SCOPE);
    assert_eq!(verify(&verifier, &of_another, &keys, now).await, denied(unknown_key(&of_another)));

    let expires = part(&token, 1)["exp"].as_u64().expect("a time");
    let end = UNIX_EPOCH + Duration::from_secs(expires) + TokenVerifier::LEEWAY;
    assert_eq!(verify(&verifier, &token, &keys, end).await, owner("machine"));
    assert_eq!(verify(&verifier, &token, &keys, end + SECOND).await, denied(Denial::Expired));
}

#[tokio::test]
async fn the_tokens_of_a_user_who_signs_in_are_accepted_where_they_are_meant_for() {
    let provider = Provider::start(true);
    let (keys, now) = (provider.keys(), SystemTime::now());
    let api = TokenVerifier::new(&[provider.issuer()], &[AUDIENCE], Some(SCOPE));
    let web = TokenVerifier::new(&[provider.issuer()], &["web"], None);

    let tokens = provider.user_tokens("jane@example.com", Some(RESOURCE));
    assert_eq!(verify(&api, &tokens.access, &keys, now).await, owner("jane@example.com"));
    assert_eq!(verify(&web, &tokens.access, &keys, now).await, denied(Denial::OtherAudience));
    assert_eq!(verify(&web, &tokens.id, &keys, now).await, owner("jane@example.com"));
    assert_eq!(verify(&api, &tokens.id, &keys, now).await, denied(Denial::OtherAudience));

    let tokens = provider.user_tokens("jane@example.com", None);
    // It is opaque: the client has not said for which API it wants one.
    assert_eq!(verify(&api, &tokens.access, &keys, now).await, denied(Denial::Malformed));
}

#[tokio::test]
async fn a_new_key_is_accepted_and_the_old_one_denied_as_soon_as_a_fetch_is_due() {
    keys_change(true, unknown_key).await;
}

#[tokio::test]
async fn keys_change_in_the_same_way_for_tokens_without_kid() {
    keys_change(false, |_| Denial::WrongSignature).await;
}

/// Changes the keys of a provider. `denial` is that of a token whose key is not known.
async fn keys_change(named: bool, denial: fn(&str) -> Denial) {
    let mut provider = Provider::start(named);
    let (keys, start) = (provider.keys(), SystemTime::now());
    let verifier = TokenVerifier::new(&[provider.issuer()], &[AUDIENCE], Some(SCOPE));
    let old = provider.machine_token(RESOURCE, SCOPE);
    assert_eq!(part(&old, 0).get("kid").is_some(), named);
    assert_eq!(verify(&verifier, &old, &keys, start).await, owner("machine"));

    provider.change_keys();
    let new = provider.machine_token(RESOURCE, SCOPE);
    let due = start + KeySource::FETCH_INTERVAL;
    assert_eq!(verify(&verifier, &new, &keys, due - SECOND).await, denied(denial(&new)));
    assert_eq!(verify(&verifier, &old, &keys, due - SECOND).await, owner("machine"));
    assert_eq!(verify(&verifier, &new, &keys, due).await, owner("machine"));
    assert_eq!(verify(&verifier, &old, &keys, due).await, denied(denial(&old)));
}

fn unknown_key(token: &str) -> Denial {
    Denial::UnknownKey(part(token, 0)["kid"].as_str().expect("a name").to_owned())
}
