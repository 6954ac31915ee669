//! Where the keys come from, and when they are fetched again.

use std::time::{Duration, SystemTime};

use intake_platform::{
    metrics::{Metric, Metrics},
    telemetry,
};
use thiserror::Error;
use tokio::{
    sync::Mutex,
    task::{JoinError, spawn_blocking},
};
use ureq::{
    Agent, Proxy,
    http::{Uri, uri::Scheme},
    tls::{RootCerts, TlsConfig},
};

use crate::{error::VerificationError, key_set::KeySet, token::SignedToken};

/// The keys that tokens are verified with: configured, or fetched from the issuer.
pub struct KeySource(Source);

enum Source {
    Inline(KeySet),
    Remote(Box<RemoteKeys>),
}

impl KeySource {
    /// The least time between two fetches while keys are known, whether the first succeeded or not. Any caller can send a
    /// token with an invented key id; this is how often that reaches the issuer, per process.
    pub const FETCH_INTERVAL: Duration = Duration::from_secs(60);

    /// The longest time until the first repetition of a failed fetch while no keys are known, and nobody can be let in.
    /// It doubles with each failure, up to [`Self::FETCH_INTERVAL`]. Half of it is random, so that many processes that
    /// started together do not ask an issuer in trouble all at once.
    pub const FIRST_RETRY: Duration = Duration::from_secs(1);

    /// The age at which fetched keys are fetched again in any case, so that a key that the issuer withdraws stops
    /// working here. A tenth of it is random, for the same reason.
    pub const FRESH_FOR: Duration = Duration::from_secs(60 * 60);

    /// The age at which fetched keys are dropped if they could not be fetched again. Until then callers do not suffer
    /// from an unavailable issuer; from then on a withdrawn key is the greater danger: an attacker who has one must
    /// not be able to keep it valid by cutting the function off from the issuer.
    pub const USABLE_FOR: Duration = Duration::from_secs(6 * 60 * 60);

    /// The longest time for a fetch, redirects included.
    pub const FETCH_TIMEOUT: Duration = Duration::from_secs(3);

    /// The largest key set that is fetched, in bytes. Large issuers have some 20 KB.
    pub const MAX_BYTES: u64 = 256 * 1024;

    /// These keys, forever. None if the text is not a key set, or has no key that can be used.
    pub fn inline(jwks: &str) -> Option<Self> {
        let keys = KeySet::parse(jwks).ok().filter(|keys| keys.usable() > 0)?;
        Some(Self(Source::Inline(keys)))
    }

    /// The keys at an `https` address, whose certificate must lead to one of Mozilla's roots.
    /// A proxy that the environment names is used. None if it is not such an address.
    pub fn remote(url: &str) -> Option<Self> {
        Self::remote_with(url, RootCerts::WebPki, Proxy::try_from_env())
    }

    /// The keys at an `https` address whose certificate must lead to one of these roots.
    /// None if it is not such an address.
    pub fn remote_with(url: &str, roots: RootCerts, proxy: Option<Proxy>) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let encrypted = uri.scheme() == Some(&Scheme::HTTPS);
        if !encrypted || uri.host().is_none_or(str::is_empty) {
            return None;
        }
        let agent = Agent::config_builder()
            // This holds for every redirect, too.
            .https_only(true)
            .max_redirects(3)
            .timeout_global(Some(Self::FETCH_TIMEOUT))
            // A connection kept for a minute or an hour would be dead at the next fetch.
            .max_idle_connections(0)
            .proxy(proxy)
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .user_agent("intake")
            .build()
            .new_agent();
        Some(Self(Source::Remote(Box::new(RemoteKeys { uri, agent, known: Mutex::default() }))))
    }

    /// Fetches the keys if they have to be fetched and never were. A failure is only logged: the first token repeats it.
    pub async fn warm_up(&self, now: SystemTime) {
        if let Source::Remote(remote) = &self.0 {
            let mut known = remote.known.lock().await;
            if known.attempted_at.is_none() {
                remote.fetch(&mut known, now).await;
            }
        }
    }

    /// Verifies the signature of a token, after a fetch of the keys if one is needed and due.
    ///
    /// # Errors
    /// [`VerificationError::Denied`] if none of the issuer's keys has signed it, [`VerificationError::KeysUnavailable`]
    /// if its keys are not known.
    pub async fn verify(&self, token: &SignedToken<'_>, now: SystemTime) -> Result<(), VerificationError> {
        match &self.0 {
            Source::Inline(keys) => Ok(keys.verify(token)?),
            Source::Remote(remote) => remote.verify(token, now).await,
        }
    }
}

struct RemoteKeys {
    uri: Uri,
    agent: Agent,
    /// Locked during a fetch, so that other callers wait for its result instead of starting another.
    known: Mutex<Known>,
}

/// What is known of the keys.
#[derive(Default)]
struct Known {
    keys: Option<Fetched>,
    attempted_at: Option<SystemTime>,
    /// How long after the last attempt the next may be made.
    pause: Duration,
    /// How many attempts in a row have failed.
    failures: u32,
}

struct Fetched {
    keys: KeySet,
    at: SystemTime,
    fresh_for: Duration,
}

impl Known {
    /// The keys, unless they are too old to be used.
    fn usable(&self, now: SystemTime) -> Option<&Fetched> {
        self.keys.as_ref().filter(|fetched| apart(now, fetched.at) < KeySource::USABLE_FOR)
    }

    fn is_fetch_due(&self, now: SystemTime) -> bool {
        self.attempted_at.is_none_or(|at| apart(now, at) >= self.pause)
    }
}

#[derive(Debug, Error)]
enum FetchError {
    #[error("no usable response")]
    Request(#[from] ureq::Error),
    #[error("the response is not a JSON Web Key Set")]
    NotAKeySet(#[from] serde_json::Error),
    #[error("the fetch was aborted")]
    Aborted(#[from] JoinError),
}

impl RemoteKeys {
    async fn verify(&self, token: &SignedToken<'_>, now: SystemTime) -> Result<(), VerificationError> {
        let mut known = self.known.lock().await;
        let is_fresh = |fetched: &Fetched| apart(now, fetched.at) < fetched.fresh_for;
        if !known.usable(now).is_some_and(is_fresh) && known.is_fetch_due(now) {
            self.fetch(&mut known, now).await;
        }
        let fetched = known.usable(now).ok_or(VerificationError::KeysUnavailable)?;
        let Err(denial) = fetched.keys.verify(token) else { return Ok(()) };
        // The issuer may have a new key, or another one under a name that is known.
        if !known.is_fetch_due(now) {
            return Err(denial.into());
        }
        self.fetch(&mut known, now).await;
        let fetched = known.usable(now).ok_or(VerificationError::KeysUnavailable)?;
        Ok(fetched.keys.verify(token)?)
    }

    /// Fetches the keys; keeps the current ones if that fails.
    async fn fetch(&self, known: &mut Known, now: SystemTime) {
        known.attempted_at = Some(now);
        known.pause = KeySource::FETCH_INTERVAL;
        match self.request().await {
            // A set without keys counts: an issuer that withdraws all of its keys must be believed.
            Ok(keys) => {
                tracing::info!(usable = keys.usable(), skipped = keys.skipped(), "fetched the issuer's keys");
                let fresh_for = KeySource::FRESH_FOR.mul_f64(1.0 - 0.1 * fastrand::f64());
                known.keys = Some(Fetched { keys, at: now, fresh_for });
                known.failures = 0;
            }
            Err(error) => {
                let error = telemetry::with_causes(&error);
                tracing::error!(error, "could not fetch the issuer's keys");
                // Written here and not with the token's: tokens are verified with known keys for hours, and at a start
                // there is none.
                let mut metrics = Metrics::default();
                metrics.count(Metric::KeyFetchFailed, 1);
                metrics.write();
                if known.usable(now).is_none() {
                    let doubled = KeySource::FIRST_RETRY * 2_u32.saturating_pow(known.failures.min(16));
                    known.pause = known.pause.min(doubled).mul_f64(1.0 - 0.5 * fastrand::f64());
                }
                known.failures = known.failures.saturating_add(1);
            }
        }
    }

    async fn request(&self) -> Result<KeySet, FetchError> {
        let (agent, uri) = (self.agent.clone(), self.uri.clone());
        let body = spawn_blocking(move || {
            agent.get(uri).call()?.body_mut().with_config().limit(KeySource::MAX_BYTES).read_to_string()
        })
        .await??;
        Ok(KeySet::parse(&body)?)
    }
}

/// How far two times are apart, whichever is the later: the clock may be set back, and callers who waited for a
/// fetch read the clock before the fetch did.
fn apart(one: SystemTime, other: SystemTime) -> Duration {
    one.duration_since(other).unwrap_or_else(|error| error.duration())
}
