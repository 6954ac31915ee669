//! Keys that are fetched from the issuer: when, how often, and from whom.

use std::{
    net::TcpListener,
    time::{Duration, Instant, SystemTime},
};

use authorizer::{
    key_source::KeySource,
    token::{Denial, Refusal, TokenVerifier},
};
use serde_json::json;
use ureq::tls::RootCerts;

use super::{
    key_server::{Answer, KeyServer},
    signing::{AUDIENCE, ISSUER, OWNER, SigningKey, claims, jwks},
};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// The start of a test's time. What follows is told to the key source, not waited for.
fn start() -> SystemTime {
    SystemTime::now()
}

async fn verify(token: &str, keys: &KeySource, now: SystemTime) -> Result<String, Denial> {
    let caller = TokenVerifier::new(ISSUER, AUDIENCE).verify(token, keys, now).await?;
    Ok(caller.owner.as_str().to_owned())
}

fn unknown(id: &str) -> Result<String, Denial> {
    Err(Denial::Refused(Refusal::UnknownKey(id.to_owned())))
}

fn accepted() -> Result<String, Denial> {
    Ok(OWNER.to_owned())
}

/// A key, a token signed with it, and the set with only this key.
fn issuer(id: &str) -> (String, Answer) {
    let key = SigningKey::p256();
    let token = key.token(id, &claims());
    (token, Answer::KeySet(jwks(&[key.jwk(id)])))
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
async fn a_new_key_is_fetched_when_its_first_token_comes_but_once_a_minute_at_most() {
    let (old_token, old_set) = issuer("old");
    let (new_token, new_set) = issuer("new");
    let server = KeyServer::start(old_set);
    let (keys, start) = (server.keys(), start());
    assert_eq!(verify(&old_token, &keys, start).await, accepted());

    server.answer(new_set);
    let early = start + KeySource::FETCH_INTERVAL - SECOND;
    assert_eq!(verify(&new_token, &keys, early).await, unknown("new"));
    assert_eq!(server.requests(), 1);

    let later = start + KeySource::FETCH_INTERVAL;
    assert_eq!(verify(&new_token, &keys, later).await, accepted());
    assert_eq!(verify(&old_token, &keys, later).await, unknown("old"));
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn invented_key_ids_reach_the_issuer_once_a_minute() {
    let (token, set) = issuer("one");
    let server = KeyServer::start(set);
    let (keys, start) = (server.keys(), start());
    assert_eq!(verify(&token, &keys, start).await, accepted());
    let stranger = SigningKey::p256();
    // From the first to the tenth minute, ten tokens a minute.
    for step in 10..100 {
        let id = format!("invented-{step}");
        let now = start + step * KeySource::FETCH_INTERVAL / 10;
        let token = stranger.token(&id, &claims());
        assert_eq!(verify(&token, &keys, now).await, unknown(&id));
    }
    assert_eq!(server.requests(), 1 + 9);
}

#[tokio::test]
async fn a_token_that_can_never_be_good_fetches_nothing() {
    let (token, set) = issuer("one");
    let server = KeyServer::start(set);
    let keys = server.keys();
    let stranger = SigningKey::p256();
    for header in [
        json!({ "alg": "HS256", "kid": "x" }),
        json!({ "alg": "none", "kid": "x" }),
        json!({ "alg": "ES256", "kid": "x", "crit": ["b64"] }),
    ] {
        let token = stranger.sign(&header, &claims());
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
    server.answer(Answer::KeySet(jwks(&[])));
    let fresh = start + KeySource::FRESH_FOR - SECOND;
    assert_eq!(verify(&token, &keys, fresh).await, accepted());
    assert_eq!(server.requests(), 1);
    let old = start + KeySource::FRESH_FOR;
    assert_eq!(verify(&token, &keys, old).await, unknown("withdrawn"));
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn keys_outlive_an_issuer_that_is_away_but_not_for_ever() {
    let (token, set) = issuer("one");
    let server = KeyServer::start(set.clone());
    let (keys, start) = (server.keys(), start());
    assert_eq!(verify(&token, &keys, start).await, accepted());

    server.answer(Answer::Status(503));
    let old = start + KeySource::FRESH_FOR;
    assert_eq!(verify(&token, &keys, old).await, accepted());
    assert_eq!(verify(&token, &keys, old + 59 * SECOND).await, accepted());
    assert_eq!(server.requests(), 2, "a fetch that fails counts, too");
    assert_eq!(verify(&token, &keys, old + 60 * SECOND).await, accepted());
    assert_eq!(server.requests(), 3);

    let last = start + KeySource::USABLE_FOR - SECOND;
    assert_eq!(verify(&token, &keys, last).await, accepted());
    let end = start + KeySource::USABLE_FOR;
    assert_eq!(verify(&token, &keys, end).await, Err(Denial::KeysUnavailable));

    server.answer(set);
    let back = end + KeySource::FETCH_INTERVAL;
    assert_eq!(verify(&token, &keys, back).await, accepted());
}

#[tokio::test]
async fn a_fetch_that_fails_is_tried_again_a_minute_later() {
    let (token, set) = issuer("one");
    let server = KeyServer::start(Answer::Status(500));
    let (keys, start) = (server.keys(), start());
    keys.warm_up(start).await;
    for seconds in 0..60 {
        let now = start + seconds * SECOND;
        assert_eq!(verify(&token, &keys, now).await, Err(Denial::KeysUnavailable));
    }
    assert_eq!(server.requests(), 1);
    server.answer(set);
    let later = start + KeySource::FETCH_INTERVAL;
    assert_eq!(verify(&token, &keys, later).await, accepted());
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn an_unknown_key_is_refused_while_the_issuer_is_away() {
    let (token, set) = issuer("one");
    let (other_token, _) = issuer("two");
    let server = KeyServer::start(set);
    let (keys, start) = (server.keys(), start());
    assert_eq!(verify(&token, &keys, start).await, accepted());
    server.answer(Answer::Status(503));
    let later = start + KeySource::FETCH_INTERVAL;
    assert_eq!(verify(&other_token, &keys, later).await, unknown("two"));
    assert_eq!(verify(&token, &keys, later).await, accepted());
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn a_clock_that_is_set_back_stops_no_fetch() {
    let (old_token, old_set) = issuer("old");
    let (new_token, new_set) = issuer("new");
    let server = KeyServer::start(old_set);
    let (keys, start) = (server.keys(), start());
    assert_eq!(verify(&old_token, &keys, start).await, accepted());
    server.answer(new_set);
    assert_eq!(verify(&new_token, &keys, start - HOUR).await, accepted());
}

#[tokio::test]
async fn those_who_come_during_a_fetch_share_it() {
    let key = SigningKey::p256();
    let token = key.token("one", &claims());
    let server = KeyServer::start(Answer::Slowly(jwks(&[key.jwk("one")])));
    let keys = std::sync::Arc::new(server.keys());
    let start = start();
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..20_u64 {
        let (token, keys) = (token.clone(), keys.clone());
        // Some looked at the clock before the one who fetches did.
        let now = start - Duration::from_millis(caller);
        callers.spawn(async move { verify(&token, &keys, now).await });
    }
    for verdict in callers.join_all().await {
        assert_eq!(verdict, accepted());
    }
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn a_server_whose_certificate_is_not_trusted_is_not_believed() {
    let (token, set) = issuer("one");
    let server = KeyServer::start(set.clone());
    let stranger = KeyServer::start(set.clone());
    for roots in [stranger.roots(), RootCerts::WebPki] {
        let keys = KeySource::remote_with(&server.url(), roots, None).expect("an https address");
        let verdict = verify(&token, &keys, start()).await;
        assert_eq!(verdict, Err(Denial::KeysUnavailable));
    }
    assert_eq!(server.requests(), 0);

    let named_otherwise = KeyServer::start_as("issuer.example", set);
    let verdict = verify(&token, &named_otherwise.keys(), start()).await;
    assert_eq!(verdict, Err(Denial::KeysUnavailable));
    assert_eq!(named_otherwise.requests(), 0);

    assert_eq!(verify(&token, &server.keys(), start()).await, accepted());
}

#[tokio::test]
async fn a_redirect_is_followed_but_never_out_of_https() {
    let (token, set) = issuer("one");
    let Answer::KeySet(set) = set else {
        panic!("an issuer answers its keys");
    };
    let server = KeyServer::start(Answer::Moved(set));
    assert_eq!(verify(&token, &server.keys(), start()).await, accepted());

    let plain = TcpListener::bind("127.0.0.1:0").expect("a free port");
    plain.set_nonblocking(true).expect("a socket");
    let address = plain.local_addr().expect("the port");
    let server = KeyServer::start(Answer::Redirect(format!("http://{address}/")));
    let verdict = verify(&token, &server.keys(), start()).await;
    assert_eq!(verdict, Err(Denial::KeysUnavailable));
    assert!(plain.accept().is_err(), "nobody may have come");

    let circle = KeyServer::start(Answer::Redirect("/again".to_owned()));
    let verdict = verify(&token, &circle.keys(), start()).await;
    assert_eq!(verdict, Err(Denial::KeysUnavailable));
    assert!(circle.requests() <= 5);
}

#[tokio::test]
async fn an_answer_that_is_no_key_set_counts_as_none() {
    let (token, set) = issuer("one");
    let Answer::KeySet(set) = set else {
        panic!("an issuer answers its keys");
    };
    let limit = usize::try_from(KeySource::MAX_BYTES).expect("a size");
    let padded = |length: usize| format!("{}{set}", " ".repeat(length - set.len()));
    for (answer, verdict) in [
        (Answer::KeySet("<html>Maintenance</html>".to_owned()), false),
        (Answer::KeySet("{}".to_owned()), false),
        (Answer::KeySet(String::new()), false),
        (Answer::Status(204), false),
        (Answer::Status(404), false),
        (Answer::KeySet(padded(limit)), true),
        (Answer::KeySet(padded(limit + 1)), false),
    ] {
        let server = KeyServer::start(answer);
        let outcome = verify(&token, &server.keys(), start()).await;
        let expected = if verdict { accepted() } else { Err(Denial::KeysUnavailable) };
        assert_eq!(outcome, expected);
        assert_eq!(server.requests(), 1);
    }
}

#[tokio::test]
async fn nobody_waits_for_ever() {
    let (token, _) = issuer("one");
    let server = KeyServer::start(Answer::Silence);
    let began = Instant::now();
    let verdict = verify(&token, &server.keys(), start()).await;
    assert_eq!(verdict, Err(Denial::KeysUnavailable));
    assert!(began.elapsed() < KeySource::FETCH_TIMEOUT + 2 * SECOND);

    let gone = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("https://{}/", gone.local_addr().expect("the port"));
    drop(gone);
    let keys = KeySource::remote_with(&url, server.roots(), None).expect("an https address");
    let verdict = verify(&token, &keys, start()).await;
    assert_eq!(verdict, Err(Denial::KeysUnavailable));
}

#[test]
fn an_address_without_https_is_not_taken() {
    for url in ["http://127.0.0.1:1/", "HTTP://issuer.example/", "ftp://issuer.example/"] {
        assert!(KeySource::remote(url).is_none(), "{url}");
    }
    assert!(KeySource::remote("HTTPS://issuer.example/").is_some());
}
