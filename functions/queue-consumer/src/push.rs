//! Telling owners over their sockets. Nothing that goes wrong here is a failure of a message: what became
//! of it can always be looked up.

use std::{collections::BTreeMap, time::Duration};

use aws_sdk_apigatewaymanagement::{
    Client, Config,
    config::{BehaviorVersion, StalledStreamProtectionConfig},
    error::SdkError,
    operation::post_to_connection::PostToConnectionError,
    primitives::Blob,
};
use futures_util::{StreamExt, stream};
use intake::{
    aws::{self, Aws},
    message::Owner,
    notification::{Event, frames},
    store::connections::Connections,
    telemetry::{CorrelationId, with_causes},
};
use tokio::{
    join,
    time::{Instant, timeout_at},
};

/// A push is small and its receiver close: an attempt that takes longer will not succeed.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(1);

/// How many owners, and how many sockets of one owner, are told at once.
const MAX_CONCURRENT_REQUESTS: usize = 4;

/// Tells owners over their sockets.
#[derive(Clone, Debug)]
pub struct Push {
    client: Client,
    connections: Connections,
}

/// Something that an owner is to be told.
#[derive(Clone, Debug)]
pub struct Notification {
    /// Whom to tell.
    pub owner: Owner,
    /// What to tell.
    pub event: Event,
    /// What the log knows the message by; none if the gateway has not sent it.
    pub correlation_id: Option<CorrelationId>,
}

/// What became of the pushes of a batch, counted by connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PushSummary {
    /// Got everything.
    pub pushed: usize,
    /// Are gone, and forgotten now.
    pub gone: usize,
    /// Did not get everything.
    pub failed: usize,
}

impl PushSummary {
    fn and(self, other: Self) -> Self {
        Self {
            pushed: self.pushed + other.pushed,
            gone: self.gone + other.gone,
            failed: self.failed + other.failed,
        }
    }
}

impl Push {
    /// Pushes through the WebSocket API whose `@connections` are at `endpoint`.
    pub fn new(aws: &Aws, endpoint: &str, connections: Connections) -> Self {
        let config = Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(aws.region())
            .credentials_provider(aws.credentials())
            .http_client(aws.http_client())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .timeout_config(aws::timeouts(ATTEMPT_TIMEOUT))
            .retry_config(aws::retries())
            .endpoint_url(endpoint);
        Self { client: Client::from_conf(config.build()), connections }
    }

    /// Opens connections to the tables and to the sockets while the function starts: two of each, because a
    /// batch of more than one owner uses several at once, and seldom more.
    pub async fn warm_up(&self) {
        let once = async || {
            join!(aws::warm_up(self.connections.probe_read()), aws::warm_up(self.probe()));
        };
        join!(once(), once());
    }

    /// There is no such connection, and that is a good answer.
    async fn probe(&self) -> Result<(), SdkError<PostToConnectionError>> {
        let post = self.client.post_to_connection().connection_id("-").data(Blob::new("[]"));
        match post.send().await {
            Err(error) if error.as_service_error().is_none() => Err(error),
            _ => Ok(()),
        }
    }

    /// Tells each owner its events, in their order and with as few frames as they fit in.
    pub async fn notify(&self, notices: &[Notification], until: Instant) -> PushSummary {
        let mut by_owner = BTreeMap::<&Owner, Vec<&Notification>>::new();
        for notice in notices {
            by_owner.entry(&notice.owner).or_default().push(notice);
        }
        let mut told = PushSummary::default();
        let mut telling = stream::iter(&by_owner)
            .map(|(owner, notices)| async move {
                let told = self.tell_owner(owner, notices).await;
                log(notices, told);
                told
            })
            .buffer_unordered(MAX_CONCURRENT_REQUESTS);
        loop {
            match timeout_at(until, telling.next()).await {
                Ok(Some(one)) => told = told.and(one),
                Ok(None) => return told,
                Err(_) => {
                    tracing::warn!("time is up before everybody is told");
                    return told.and(PushSummary { failed: 1, ..PushSummary::default() });
                }
            }
        }
    }

    async fn tell_owner(&self, owner: &Owner, notices: &[&Notification]) -> PushSummary {
        let failed = PushSummary { failed: 1, ..PushSummary::default() };
        let frames = match frames(notices.iter().map(|notice| &notice.event)) {
            Ok(frames) => frames,
            Err(error) => {
                tracing::error!(error = with_causes(&error), "events cannot be written");
                return failed;
            }
        };
        let connections = match self.connections.of(owner).await {
            Ok(connections) => connections,
            Err(error) => {
                tracing::warn!(error = with_causes(&error), "an owner's connections cannot be read");
                return failed;
            }
        };
        stream::iter(&connections)
            .map(|connection_id| self.tell_connection(owner, connection_id, &frames))
            .buffer_unordered(MAX_CONCURRENT_REQUESTS)
            .fold(PushSummary::default(), |told, one| async move { told.and(one) })
            .await
    }

    async fn tell_connection(&self, owner: &Owner, connection_id: &str, frames: &[String]) -> PushSummary {
        for frame in frames {
            let post = self.client.post_to_connection().connection_id(connection_id);
            let Err(error) = post.data(Blob::new(frame.as_bytes())).send().await else {
                continue;
            };
            if error.as_service_error().is_some_and(|error| error.is_gone_exception()) {
                tracing::info!(connection_id, "the connection is gone");
                if let Err(error) = self.connections.remove(owner, connection_id).await {
                    tracing::warn!(error = with_causes(&error), connection_id, "it was not forgotten");
                }
                return PushSummary { gone: 1, ..PushSummary::default() };
            }
            tracing::warn!(error = with_causes(&error), connection_id, "a push failed");
            return PushSummary { failed: 1, ..PushSummary::default() };
        }
        PushSummary { pushed: 1, ..PushSummary::default() }
    }
}

/// A line for each event, unless there was nobody to tell it to.
fn log(notices: &[&Notification], told: PushSummary) {
    if told == PushSummary::default() {
        return;
    }
    let PushSummary { pushed, gone, failed: push_failed } = told;
    for Notification { event, correlation_id, .. } in notices {
        let correlation_id = correlation_id.as_ref().map(CorrelationId::as_str);
        let (receipt, outcome) = (event.receipt(), event.kind().as_str());
        tracing::info!(correlation_id, receipt, outcome, pushed, gone, push_failed, "told");
    }
}
