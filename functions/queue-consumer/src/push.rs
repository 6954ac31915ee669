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
    connections::Connections,
    message::Owner,
    notification::{Event, frames},
    telemetry::{CorrelationId, chain},
};
use tokio::{
    join,
    time::{Instant, timeout_at},
};

/// A push is small and its receiver close: an attempt that takes longer will not succeed.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(1);

/// How many owners, and how many sockets of one owner, are told at once.
const SIDE_BY_SIDE: usize = 4;

/// Tells owners over their sockets.
#[derive(Clone, Debug)]
pub struct Push {
    client: Client,
    connections: Connections,
}

/// Something that an owner is to be told.
#[derive(Clone, Debug)]
pub struct Notice {
    /// Whom to tell.
    pub owner: Owner,
    /// What to tell.
    pub event: Event,
    /// What the log knows the message by; none if the gateway has not sent it.
    pub correlation_id: Option<CorrelationId>,
}

/// What became of the pushes of a batch, counted by connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Got everything.
    pub pushed: usize,
    /// Are gone, and forgotten now.
    pub gone: usize,
    /// Did not get everything.
    pub failed: usize,
}

impl Told {
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
            join!(aws::warm_up(self.connections.read_nothing()), aws::warm_up(self.tell_nobody()));
        };
        join!(once(), once());
    }

    /// There is no such connection, and that is a good answer.
    async fn tell_nobody(&self) -> Result<(), SdkError<PostToConnectionError>> {
        let post = self.client.post_to_connection().connection_id("-").data(Blob::new("[]"));
        match post.send().await {
            Err(error) if error.as_service_error().is_none() => Err(error),
            _ => Ok(()),
        }
    }

    /// Tells each owner its events, in their order and with as few frames as they fit in.
    pub async fn tell(&self, notices: &[Notice], until: Instant) -> Told {
        let mut by_owner = BTreeMap::<&Owner, Vec<&Notice>>::new();
        for notice in notices {
            by_owner.entry(&notice.owner).or_default().push(notice);
        }
        let mut told = Told::default();
        let mut telling = stream::iter(&by_owner)
            .map(|(owner, notices)| async move {
                let told = self.tell_owner(owner, notices).await;
                log(notices, told);
                told
            })
            .buffer_unordered(SIDE_BY_SIDE);
        loop {
            match timeout_at(until, telling.next()).await {
                Ok(Some(one)) => told = told.and(one),
                Ok(None) => return told,
                Err(_) => {
                    tracing::warn!("time is up before everybody is told");
                    return told.and(Told { failed: 1, ..Told::default() });
                }
            }
        }
    }

    async fn tell_owner(&self, owner: &Owner, notices: &[&Notice]) -> Told {
        let failed = Told { failed: 1, ..Told::default() };
        let frames = match frames(notices.iter().map(|notice| &notice.event)) {
            Ok(frames) => frames,
            Err(error) => {
                tracing::error!(error = chain(&error), "events cannot be written");
                return failed;
            }
        };
        let connections = match self.connections.of(owner).await {
            Ok(connections) => connections,
            Err(error) => {
                tracing::warn!(error = chain(&error), "an owner's connections cannot be read");
                return failed;
            }
        };
        stream::iter(&connections)
            .map(|connection_id| self.tell_connection(owner, connection_id, &frames))
            .buffer_unordered(SIDE_BY_SIDE)
            .fold(Told::default(), |told, one| async move { told.and(one) })
            .await
    }

    async fn tell_connection(&self, owner: &Owner, connection_id: &str, frames: &[String]) -> Told {
        for frame in frames {
            let post = self.client.post_to_connection().connection_id(connection_id);
            let Err(error) = post.data(Blob::new(frame.as_bytes())).send().await else {
                continue;
            };
            if error.as_service_error().is_some_and(|error| error.is_gone_exception()) {
                tracing::info!(connection_id, "the connection is gone");
                if let Err(error) = self.connections.remove(owner, connection_id).await {
                    tracing::warn!(error = chain(&error), connection_id, "it was not forgotten");
                }
                return Told { gone: 1, ..Told::default() };
            }
            tracing::warn!(error = chain(&error), connection_id, "a push failed");
            return Told { failed: 1, ..Told::default() };
        }
        Told { pushed: 1, ..Told::default() }
    }
}

/// A line for each event, unless there was nobody to tell it to.
fn log(notices: &[&Notice], told: Told) {
    if told == Told::default() {
        return;
    }
    let Told { pushed, gone, failed: push_failed } = told;
    for Notice { event, correlation_id, .. } in notices {
        let correlation_id = correlation_id.as_ref().map(CorrelationId::as_str);
        let (receipt, outcome) = (event.receipt(), event.kind().as_str());
        tracing::info!(correlation_id, receipt, outcome, pushed, gone, push_failed, "told");
    }
}
