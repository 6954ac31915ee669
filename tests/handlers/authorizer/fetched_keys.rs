//! Keys that are fetched from the issuer: when, how often, and from whom.

use std::{
    net::TcpListener,
    time::{Duration, Instant, SystemTime},
};

use authorizer::{
    error::{Denial, VerificationError},
    key_source::KeySource,
};
use serde_json::{Value, json};
use ureq::tls::RootCerts;

use super::{
    key_server::{KeyServer, Response},
    signing::{self, OWNER, SigningKey, changed, jwks, seconds, verifier},
};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// Claims that are accepted whenever a test says that it is.
fn claims() -> Value {
    changed(signing::claims(), &json!({ "nbf": null, "exp": seconds() + 24 * 60 * 60 }))
}

/// The start of a test's time. The test passes later times to the key source instead of waiting for them.
fn start() -> SystemTime {
    SystemTime::now()
}

async fn verify(token: &str, keys: &KeySource, now: SystemTime) -> Result<String, VerificationError> {
    let caller = verifier().verify(token, keys, now).await?;
    Ok(caller.owner.as_str().to_owned())
}

fn unknown(id: &str) -> Result<String, VerificationError> {
    Err(VerificationError::Denied(Denial::UnknownKey(id.to_owned())))
}

fn accepted() -> Result<String, VerificationError> {
    Ok(OWNER.to_owned())
}

/// A key, a token signed with it, and the set with only this key.
fn issuer(id: &str) -> (String, Response) {
    let key = SigningKey::p256();
    let token = key.token(id, &claims());
    (token, Response::KeySet(jwks(&[key.jwk(id)])))
}

#[tokio::test]
async fn keys_are_fetched_once_for_many_tokens() {
    let (token, set) = issuer("one");
    let server = KeyServer::start(set);
    let (keys, start) = (server.keys(), start());
    keys.warm_up(start).await;
    assert_eq!(server.requests(), 1);
    keys.warm_up(start + 2 * HOUR).await;
    for seconds in 0..100 {
        let now = start + seconds * SECOND;
        assert_eq!(verify(&token, &keys, now).await, accepted());
    }
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn the_first_token_fetches_the_keys_if_nothing_did_before() {
    let (token, set) = issuer("one");
    let server = KeyServer::start(set);
    assert_eq!(verify(&token, &server.keys(), start()).await, accepted());
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn a_new_key_is_fetched_at_its_first_token_but_at_most_once_a_minute() {
    let (old_token, old_set) = issuer("old");
    let (new_token, new_set) = issuer("new");
    let server = KeyServer::start(old_set);
    let (keys, start) = (server.keys(), start());
    assert_eq!(verify(&old_token, &keys, start).await, accepted());

    server.respond(new_set);
    let early = start + KeySource::FETCH_INTERVAL - SECOND;
    assert_eq!(verify(&new_token, &keys, early).await, unknown("new"));
    assert_eq!(server.requests(), 1);

    let later = start + KeySource::FETCH_INTERVAL;
    assert_eq!(verify(&new_token, &keys, later).await, accepted());
    assert_eq!(verify(&old_token, &keys, later).await, unknown("old"));
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn unknown_key_ids_reach_the_issuer_at_most_once_a_minute() {
    let (token, set) = issuer("one");
    let server = KeyServer::start(set);
    let (keys, start) = (server.keys(), start());
    assert_eq!(verify(&token, &keys, start).await, accepted());
    let other = SigningKey::p256();
    // From the first to the tenth minute, ten tokens a minute.
    for step in 10..100 {
        let id = format!("unknown-{step}");
        let now = start + step * KeySource::FETCH_INTERVAL / 10;
        let token = other.token(&id, &claims());
        assert_eq!(verify(&token, &keys, now).await, unknown(&id));
    }
    assert_eq!(server.requests(), 1 + 9);
}

#[tokio::test]
async fn a_token_that_can_never_be_valid_fetches_nothing() {
    let (token, set) = issuer("one");
    let server = KeyServer::start(set);
    let keys = server.keys();
    let other = SigningKey::p256();
    for header in [
        json!({ "alg": "HS256", "kid": "x" }),
        json!({ "alg": "none", "kid": "x" }),
        json!({ "alg": "ES256", "kid": "x", "crit": ["b64"] }),
    ] {
        let token = other.sign(&header, &claims());
        assert!(verify(&token, &keys, start()).await.is_err());
    }
    assert_eq!(server.requests(), 0);
    assert_eq!(verify(&token, &keys, start()).await, accepted());
}

#[tokio::test]
async fn a_withdrawn_key_stops_working_when_the_keys_are_no_longer_fresh() {
    let (token, set) = issuer("withdrawn");
    let server = KeyServer::start(set);
    let (keys, start) = (server.keys(), start());
    assert_eq!(verify(&token, &keys, start).await, accepted());
    server.respond(Response::KeySet(jwks(&[])));
    // A tenth of the time is random.
    let fresh = start + KeySource::FRESH_FOR * 9 / 10 - SECOND;
    assert_eq!(verify(&token, &keys, fresh).await, accepted());
    assert_eq!(server.requests(), 1);
    let old = start + KeySource::FRESH_FOR;
    assert_eq!(verify(&token, &keys, old).await, unknown("withdrawn"));
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn keys_outlive_an_unavailable_issuer_but_not_for_ever() {
    let (token, set) = issuer("one");
    let server = KeyServer::start(set.clone());
    let (keys, start) = (server.keys(), start());
    assert_eq!(verify(&token, &keys, start).await, accepted());

    server.respond(Response::Status(503));
    let old = start + KeySource::FRESH_FOR;
    assert_eq!(verify(&token, &keys, old).await, accepted());
    assert_eq!(verify(&token, &keys, old + 59 * SECOND).await, accepted());
    assert_eq!(server.requests(), 2, "a fetch that fails counts, too");
    assert_eq!(verify(&token, &keys, old + 60 * SECOND).await, accepted());
    assert_eq!(server.requests(), 3);

    let last = start + KeySource::USABLE_FOR - SECOND;
    assert_eq!(verify(&token, &keys, last).await, accepted());
    let end = start + KeySource::USABLE_FOR;
    assert_eq!(verify(&token, &keys, end).await, Err(VerificationError::KeysUnavailable));

    server.respond(set);
    let back = end + KeySource::FETCH_INTERVAL;
    assert_eq!(verify(&token, &keys, back).await, accepted());
}

#[tokio::test]
async fn while_no_keys_are_known_a_failed_fetch_is_repeated_within_seconds() {
    let (token, set) = issuer("one");
    let server = KeyServer::start(Response::Status(500));
    let (keys, start) = (server.keys(), start());
    keys.warm_up(start).await;
    // Ten callers a second. The first two fetches fail.
    for tenth in 0..=40 {
        if server.requests() == 2 {
            server.respond(set.clone());
        }
        let result = verify(&token, &keys, start + tenth * SECOND / 10).await;
        if server.requests() == 3 {
            assert_eq!(result, accepted());
            assert!(tenth >= 15, "half a second, then a second: {tenth}");
            return;
        }
        assert_eq!(result, Err(VerificationError::KeysUnavailable));
    }
    panic!("{} fetches in four seconds", server.requests());
}

#[tokio::test]
async fn an_issuer_in_trouble_is_asked_less_and_less_often() {
    let (token, _) = issuer("one");
    let server = KeyServer::start(Response::Status(500));
    let (keys, start) = (server.keys(), start());
    for second in 0..600 {
        let _unavailable = verify(&token, &keys, start + second * SECOND).await;
    }
    // After 1, 2, 4, … 60 seconds there would be 15 fetches in ten minutes; after half of each, 26.
    assert!((14..=27).contains(&server.requests()), "{}", server.requests());
}

#[tokio::test]
async fn a_key_that_is_replaced_under_its_name_is_fetched_but_at_most_once_a_minute() {
    let (old_token, old_set) = issuer("one");
    let (new_token, new_set) = issuer("one");
    let server = KeyServer::start(old_set);
    let (keys, start) = (server.keys(), start());
    let wrong = || Err(VerificationError::Denied(Denial::WrongSignature));
    assert_eq!(verify(&old_token, &keys, start).await, accepted());

    server.respond(new_set);
    let early = start + KeySource::FETCH_INTERVAL - SECOND;
    assert_eq!(verify(&new_token, &keys, early).await, wrong());
    assert_eq!(server.requests(), 1);
    let later = start + KeySource::FETCH_INTERVAL;
    assert_eq!(verify(&new_token, &keys, later).await, accepted());
    for second in 0..60 {
        assert_eq!(verify(&old_token, &keys, later + second * SECOND).await, wrong());
    }
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn an_unknown_key_is_rejected_while_the_issuer_is_unavailable() {
    let (token, set) = issuer("one");
    let (other_token, _) = issuer("two");
    let server = KeyServer::start(set);
    let (keys, start) = (server.keys(), start());
    assert_eq!(verify(&token, &keys, start).await, accepted());
    server.respond(Response::Status(503));
    let later = start + KeySource::FETCH_INTERVAL;
    assert_eq!(verify(&other_token, &keys, later).await, unknown("two"));
    assert_eq!(verify(&token, &keys, later).await, accepted());
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn a_clock_that_is_set_back_prevents_no_fetch() {
    let (old_token, old_set) = issuer("old");
    let (new_token, new_set) = issuer("new");
    let server = KeyServer::start(old_set);
    let (keys, start) = (server.keys(), start());
    assert_eq!(verify(&old_token, &keys, start).await, accepted());
    server.respond(new_set);
    assert_eq!(verify(&new_token, &keys, start - HOUR).await, accepted());
}

#[tokio::test]
async fn callers_that_arrive_during_a_fetch_share_it() {
    let key = SigningKey::p256();
    let token = key.token("one", &claims());
    let server = KeyServer::start(Response::Slowly(jwks(&[key.jwk("one")])));
    let keys = std::sync::Arc::new(server.keys());
    let start = start();
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..20_u64 {
        let (token, keys) = (token.clone(), keys.clone());
        // Some read the clock before the caller that fetches did.
        let now = start - Duration::from_millis(caller);
        callers.spawn(async move { verify(&token, &keys, now).await });
    }
    for result in callers.join_all().await {
        assert_eq!(result, accepted());
    }
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn a_server_whose_certificate_is_not_trusted_is_not_used() {
    let (token, set) = issuer("one");
    let server = KeyServer::start(set.clone());
    let other = KeyServer::start(set.clone());
    for roots in [other.roots(), RootCerts::WebPki] {
        let keys = KeySource::remote_with(&server.url(), roots, None).expect("an https address");
        let result = verify(&token, &keys, start()).await;
        assert_eq!(result, Err(VerificationError::KeysUnavailable));
    }
    assert_eq!(server.requests(), 0);

    let other_name = KeyServer::start_as("issuer.example", set);
    let result = verify(&token, &other_name.keys(), start()).await;
    assert_eq!(result, Err(VerificationError::KeysUnavailable));
    assert_eq!(other_name.requests(), 0);

    assert_eq!(verify(&token, &server.keys(), start()).await, accepted());
}

#[tokio::test]
async fn a_redirect_is_followed_but_never_out_of_https() {
    let (token, set) = issuer("one");
    let Response::KeySet(set) = set else {
        panic!("an issuer responds with its keys");
    };
    let server = KeyServer::start(Response::Moved(set));
    assert_eq!(verify(&token, &server.keys(), start()).await, accepted());

    let plain = TcpListener::bind("127.0.0.1:0").expect("a free port");
    plain.set_nonblocking(true).expect("a socket");
    let address = plain.local_addr().expect("the port");
    let server = KeyServer::start(Response::Redirect(format!("http://{address}/")));
    let result = verify(&token, &server.keys(), start()).await;
    assert_eq!(result, Err(VerificationError::KeysUnavailable));
    assert!(plain.accept().is_err(), "no request may leave https");

    let circle = KeyServer::start(Response::Redirect("/again".to_owned()));
    let result = verify(&token, &circle.keys(), start()).await;
    assert_eq!(result, Err(VerificationError::KeysUnavailable));
    assert!(circle.requests() <= 5);
}

#[tokio::test]
async fn a_response_that_is_no_key_set_counts_as_none() {
    let (token, set) = issuer("one");
    let Response::KeySet(set) = set else {
        panic!("an issuer responds with its keys");
    };
    let limit = usize::try_from(KeySource::MAX_BYTES).expect("a size");
    let padded = |length: usize| format!("{}{set}", " ".repeat(length - set.len()));
    for (response, accepts) in [
        (Response::KeySet("<html>Maintenance</html>".to_owned()), false),
        (Response::KeySet("{}".to_owned()), false),
        (Response::KeySet(String::new()), false),
        (Response::Status(204), false),
        (Response::Status(404), false),
        (Response::KeySet(padded(limit)), true),
        (Response::KeySet(padded(limit + 1)), false),
    ] {
        let server = KeyServer::start(response);
        let outcome = verify(&token, &server.keys(), start()).await;
        let expected = if accepts { accepted() } else { Err(VerificationError::KeysUnavailable) };
        assert_eq!(outcome, expected);
        assert_eq!(server.requests(), 1);
    }
}

#[tokio::test]
async fn no_caller_waits_for_ever() {
    let (token, _) = issuer("one");
    let server = KeyServer::start(Response::Silence);
    let began = Instant::now();
    let result = verify(&token, &server.keys(), start()).await;
    assert_eq!(result, Err(VerificationError::KeysUnavailable));
    assert!(began.elapsed() < KeySource::FETCH_TIMEOUT + 2 * SECOND);

    let gone = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("https://{}/", gone.local_addr().expect("the port"));
    drop(gone);
    let keys = KeySource::remote_with(&url, server.roots(), None).expect("an https address");
    let result = verify(&token, &keys, start()).await;
    assert_eq!(result, Err(VerificationError::KeysUnavailable));
}

#[test]
fn an_address_without_https_is_rejected() {
    for url in ["http://127.0.0.1:1/", "HTTP://issuer.example/", "ftp://issuer.example/"] {
        assert!(KeySource::remote(url).is_none(), "{url}");
    }
    assert!(KeySource::remote("HTTPS://issuer.example/").is_some());
}
