//! Notifying owners over their sockets. Nothing that goes wrong here fails a message: every outcome can be looked up.

use std::{
    collections::{BTreeMap, HashSet},
    ops::AddAssign,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_sdk_apigatewaymanagement::{
    Client, error::SdkError, operation::post_to_connection::PostToConnectionError, primitives::Blob,
};
use futures_util::{StreamExt, stream};
use intake_domain::{event::Event, message::Owner};
use tokio::{join, time::timeout_at};

use crate::{
    aws::{self, Aws},
    configuration::{ConfigurationError, required},
    delivery::{Decided, QueuedRequest},
    metrics::{Metric, Metrics},
    schedule::Schedule,
    tables::{Connections, connections::Connection},
    telemetry::with_causes,
};

/// How long the notifications of a batch may take, however much time is left: a consumer that notifies stores nothing.
const BUDGET: Duration = Duration::from_secs(3);

/// A push is small and API Gateway is near: an attempt that takes longer will not succeed.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(1);

/// More requests at once would open more HTTP connections than they save time.
const MAX_CONCURRENT_PUSHES: usize = 4;

/// How many connections of an owner one batch is pushed to at most: as many as the template's parameter
/// `MaxConnectionsPerOwner` allows.
const MAX_CONNECTIONS: usize = 1000;

/// How many gone connections a process remembers.
const MAX_REMEMBERED: usize = 10_000;

/// Notifies owners over their sockets.
#[derive(Clone, Debug)]
pub struct Push {
    client: Client,
    connections: Connections,
    /// Connections that turned out to be gone. Removing one may fail: without this, every batch would try it again.
    gone: Arc<Mutex<HashSet<String>>>,
    budget: Duration,
}

/// The results of the pushes of a batch, counted by connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PushSummary {
    /// Got every notification.
    pub pushed: usize,
    /// Turned out to be gone.
    pub gone: usize,
    /// Did not get every notification: connections, or owners whose connections could not be read.
    pub failed: usize,
    /// Were not tried, because time was up: connections, or owners whose connections are not known.
    pub skipped: usize,
}

impl AddAssign for PushSummary {
    fn add_assign(&mut self, more: Self) {
        self.pushed += more.pushed;
        self.gone += more.gone;
        self.failed += more.failed;
        self.skipped += more.skipped;
    }
}

impl PushSummary {
    /// Adds the summary to metrics.
    pub fn count(self, metrics: &mut Metrics) {
        metrics.count(Metric::Pushed, self.pushed);
        metrics.count(Metric::Gone, self.gone);
        metrics.count(Metric::PushFailed, self.failed);
        metrics.count(Metric::PushSkipped, self.skipped);
    }
}

/// The notifications of one owner, and the connections to push them to.
struct Recipient<'a> {
    owner: &'a Owner,
    settled: &'a [&'a Decided],
    frames: Vec<String>,
    connections: Vec<Connection>,
}

/// The result of one push.
#[derive(Clone, Copy, Debug)]
enum Pushed {
    Done,
    Gone,
    Failed,
}

impl Push {
    /// Reads `CONNECTIONS_TABLE` and `WEBSOCKET_ENDPOINT`.
    ///
    /// # Errors
    /// [`ConfigurationError`] that names the variable.
    pub fn from_env(aws: &Aws, database: aws_sdk_dynamodb::Client) -> Result<Self, ConfigurationError> {
        let connections = Connections::new(database, required("CONNECTIONS_TABLE")?);
        Ok(Self::new(aws, &required("WEBSOCKET_ENDPOINT")?, connections, BUDGET))
    }

    /// Pushes through the WebSocket API whose `@connections` are at `endpoint`, for at most `budget` a batch.
    pub fn new(aws: &Aws, endpoint: &str, connections: Connections, budget: Duration) -> Self {
        let client = aws.sockets(endpoint, ATTEMPT_TIMEOUT);
        Self { client, connections, gone: Arc::default(), budget }
    }

    /// Opens two HTTP connections to DynamoDB and two to API Gateway while the function starts: a batch for several owners
    /// uses both at once, and seldom more. The tables use those to DynamoDB, too.
    pub async fn warm_up(&self) {
        let once = async || {
            join!(aws::warm_up(self.connections.probe_read()), aws::warm_up(self.probe()));
        };
        join!(once(), once());
    }

    /// Pushes to a connection that does not exist: the error response will do, because only a connection to API Gateway
    /// is wanted.
    async fn probe(&self) -> Result<(), SdkError<PostToConnectionError>> {
        let post = self.client.post_to_connection().connection_id("-").data(Blob::new("[]"));
        match post.send().await {
            Err(error) if error.as_service_error().is_none() => Err(error),
            _ => Ok(()),
        }
    }

    /// Pushes to each owner the events of what is settled, in their order and in as few frames as they fit in. One
    /// connection of each owner comes before the second of any, so that no owner's sockets use up the time of
    /// another's. What is there twice, because its record was in the batch twice, is pushed once.
    pub async fn notify(&self, settled: &[Decided], schedule: Schedule) -> PushSummary {
        let until = schedule.notifying(self.budget);
        let mut known = HashSet::new();
        let mut by_owner = BTreeMap::<&Owner, Vec<&Decided>>::new();
        for one in settled {
            if known.insert((&one.request.receipt, one.request.index, one.outcome.status)) {
                by_owner.entry(&one.request.owner).or_default().push(one);
            }
        }
        let mut summary = PushSummary::default();

        let mut recipients = Vec::with_capacity(by_owner.len());
        let mut finding = stream::iter(&by_owner)
            .map(|(owner, settled)| self.recipient(owner, settled))
            .buffer_unordered(MAX_CONCURRENT_PUSHES);
        let mut found = 0;
        while let Ok(Some(recipient)) = timeout_at(until, finding.next()).await {
            found += 1;
            match recipient {
                Some(recipient) => recipients.push(recipient),
                None => summary.failed += 1,
            }
        }
        summary.skipped += by_owner.len() - found;

        let turns = in_turns(&recipients);
        let mut results = vec![PushSummary::default(); recipients.len()];
        let mut pushing = stream::iter(&turns)
            .map(|&(index, connection)| {
                let recipient = &recipients[index];
                async move { (index, self.push(recipient.owner, &recipient.frames, connection).await) }
            })
            .buffer_unordered(MAX_CONCURRENT_PUSHES);
        while let Ok(Some((index, pushed))) = timeout_at(until, pushing.next()).await {
            let result = &mut results[index];
            match pushed {
                Pushed::Done => result.pushed += 1,
                Pushed::Gone => result.gone += 1,
                Pushed::Failed => result.failed += 1,
            }
        }
        for (recipient, mut result) in recipients.iter().zip(results) {
            result.skipped = recipient.connections.len() - result.pushed - result.gone - result.failed;
            log(recipient.settled, result);
            summary += result;
        }
        if summary.skipped > 0 {
            tracing::warn!(push_skipped = summary.skipped, "time is up before all sockets are notified");
        }
        summary
    }

    /// What to push to an owner, and where; none if that cannot be found out.
    async fn recipient<'a>(&self, owner: &'a Owner, settled: &'a [&'a Decided]) -> Option<Recipient<'a>> {
        let events =
            settled.iter().map(|one| Event::new(&one.request.id, &one.request.receipt, &one.outcome));
        let frames = frames(events)
            .inspect_err(|error| tracing::error!(error = with_causes(error), "events cannot be written"));
        let connections = self.connections.authorized(owner, MAX_CONNECTIONS).await.inspect_err(|error| {
            tracing::warn!(error = with_causes(error), "connections cannot be read");
        });
        let mut connections = connections.ok()?;
        let gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        connections.retain(|connection| !gone.contains(&connection.id));
        // In another order each time: if time does not suffice for all, no connection is always left out.
        fastrand::shuffle(&mut connections);
        Some(Recipient { owner, settled, frames: frames.ok()?, connections })
    }

    /// Pushes frames to one connection, and removes it if it is gone.
    async fn push(&self, owner: &Owner, frames: &[String], connection: &Connection) -> Pushed {
        let id = connection.id.as_str();
        for frame in frames {
            let post = self.client.post_to_connection().connection_id(id).data(Blob::new(frame.as_bytes()));
            let Err(error) = post.send().await else {
                continue;
            };
            if !error.as_service_error().is_some_and(PostToConnectionError::is_gone_exception) {
                tracing::warn!(error = with_causes(&error), connection_id = id, "a push failed");
                return Pushed::Failed;
            }
            // It misses this notification, and the client looks up.
            if connection.may_be_opening() {
                tracing::info!(connection_id = id, "the connection is not open yet, or gone already");
                return Pushed::Failed;
            }
            tracing::info!(connection_id = id, "the connection is gone");
            self.remember_gone(id);
            if let Err(error) = self.connections.remove(owner, id).await {
                tracing::warn!(error = with_causes(&error), connection_id = id, "it was not removed");
            }
            return Pushed::Gone;
        }
        Pushed::Done
    }

    fn remember_gone(&self, connection_id: &str) {
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        if gone.len() == MAX_REMEMBERED {
            gone.clear();
        }
        gone.insert(connection_id.to_owned());
    }
}

/// All connections of all recipients, each with its recipient's index: the first of each, then the second of each,
/// and so on.
fn in_turns<'a>(recipients: &'a [Recipient<'_>]) -> Vec<(usize, &'a Connection)> {
    let longest = recipients.iter().map(|recipient| recipient.connections.len()).max().unwrap_or_default();
    let turn = |turn: usize| {
        let all = recipients.iter().enumerate();
        all.filter_map(move |(index, recipient)| Some((index, recipient.connections.get(turn)?)))
    };
    (0..longest).flat_map(turn).collect()
}

/// A line for each request, unless its owner has no connection.
fn log(settled: &[&Decided], summary: PushSummary) {
    if summary == PushSummary::default() {
        return;
    }
    let PushSummary { pushed, gone, failed: push_failed, skipped: push_skipped } = summary;
    // The messages of a bulk are next to each other.
    for request in settled.chunk_by(|one, next| one.request.receipt == next.request.receipt) {
        let Decided { request: QueuedRequest { correlation_id, receipt, .. }, outcome, .. } = request[0];
        let correlation_id = correlation_id.as_deref();
        // Those of a bulk may have different ones.
        let outcome = (!receipt.is_bulk()).then(|| outcome.status.as_str());
        let receipt = receipt.as_str();
        tracing::info!(correlation_id, receipt, outcome, pushed, gone, push_failed, push_skipped, "notified");
    }
}

/// The limit of a frame, in bytes ("Quotas for configuring and running a WebSocket API in API Gateway":
/// a frame has at most 32 KB).
const MAX_FRAME_BYTES: usize = 32 * 1024;

/// Packs events into as few frames as they fit in, in their order. Each frame is a JSON array. An event has a few hundred
/// bytes: its longest parts, id and reason, are bounded. Serializing these fields does not fail.
fn frames<'a>(events: impl Iterator<Item = Event<'a>>) -> serde_json::Result<Vec<String>> {
    let mut frames: Vec<String> = Vec::new();
    for event in events {
        let event = serde_json::to_string(&event)?;
        match frames.last_mut() {
            Some(frame) if frame.len() + event.len() + ",]".len() <= MAX_FRAME_BYTES => {
                frame.push(',');
                frame.push_str(&event);
            }
            _ => frames.push(format!("[{event}")),
        }
    }
    for frame in &mut frames {
        frame.push(']');
    }
    Ok(frames)
}

#[cfg(test)]
mod tests {
    use intake_domain::{
        message::Receipt,
        state::{Outcome, Status},
    };
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_events_make_no_frames() {
        assert!(frames(std::iter::empty()).expect("serializes").is_empty());
    }

    proptest! {
        #[test]
        fn frames_hold_every_event_in_order_and_are_never_too_long(
            subjects in prop::collection::vec(any::<String>(), 0..300),
            reason_bytes in 0..600_usize,
        ) {
            let receipt = Receipt::parse("5fea7756-0ea4-451a-a703-a558b933e274").expect("a receipt");
            let outcome = Outcome {
                status: Status::Failed,
                attempts: Some(1),
                received_at: Timestamp::UNIX_EPOCH,
                stored_at: None,
                reason: Some("r".repeat(reason_bytes)),
            };
            let events: Vec<_> =
                subjects.iter().map(|subject| Event::new(subject, &receipt, &outcome)).collect();
            let frames = frames(events.iter().cloned()).expect("serializes");
            let mut received = Vec::new();
            for frame in &frames {
                prop_assert!(frame.len() <= MAX_FRAME_BYTES);
                let array: Vec<serde_json::Value> = serde_json::from_str(frame).expect("an array");
                received.extend(array);
            }
            let sent: Vec<_> = events
                .iter()
                .map(|event| serde_json::to_value(event).expect("serializes"))
                .collect();
            prop_assert_eq!(received, sent);
        }
    }
}
