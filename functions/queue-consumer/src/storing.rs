//! Storing a batch: 25 messages a request, as often as time allows.

use std::{collections::HashSet, panic::AssertUnwindSafe};

use futures_util::{FutureExt, StreamExt, stream};
use intake::{
    state::{Content, Recorded},
    store::{Messages, StoreError, messages::Inserted},
    telemetry::with_causes,
};
use tokio::time::Instant;

use crate::{delivery::Delivery, rounds::rounds};

/// More requests at once would open more connections than they save time.
pub(crate) const MAX_CONCURRENT_REQUESTS: usize = 4;

/// How many bytes of payload are in requests at once, unless a single request has more. A request holds its
/// payloads three times: as they were sent, as parameters, and written out.
const MAX_CONCURRENT_BYTES: usize = 1024 * 1024;

/// How far the work on one message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Not recorded; whether earlier attempts took effect is unknown.
    Open,
    /// Recorded.
    Recorded(Recorded),
    /// The database rejects it: trying again in this invocation will not help.
    Rejected,
}

/// Records deliveries in rounds until none is open or time is up. The results are in the order of the deliveries.
pub async fn store(messages: &Messages, deliveries: &[Delivery], until: Instant) -> Vec<Progress> {
    if deliveries.is_empty() {
        return Vec::new();
    }
    let mut progress = vec![Progress::Open; deliveries.len()];
    // The result of every request is kept as soon as it is there, so that a round can be cut off anywhere.
    let stored = rounds(until, async || {
        round(messages, deliveries, &mut progress).await;
        progress.contains(&Progress::Open)
    });
    if stored.await.is_err() {
        tracing::warn!("time is up before everything is stored");
    }
    progress
}

/// Tries once to record everything that is open.
async fn round(messages: &Messages, deliveries: &[Delivery], progress: &mut [Progress]) {
    let (inserts, mut singles) = plan(deliveries, progress);

    let bytes = |chunk: &[usize]| {
        chunk.iter().map(|&place| deliveries[place].incoming.content.text().len()).sum::<usize>()
    };
    let largest = inserts.chunks(Messages::BATCH_LIMIT).map(bytes).max().unwrap_or_default();
    let concurrency = (MAX_CONCURRENT_BYTES / largest.max(1)).clamp(1, MAX_CONCURRENT_REQUESTS);
    let mut inserting = stream::iter(inserts.chunks(Messages::BATCH_LIMIT))
        .map(|chunk| async move {
            let batch: Vec<_> = chunk.iter().map(|&place| &deliveries[place].incoming).collect();
            // A panic, too, affects this request only.
            let inserted = AssertUnwindSafe(messages.insert(&batch)).catch_unwind().await;
            (chunk, inserted)
        })
        .buffer_unordered(concurrency);
    while let Some((chunk, inserted)) = inserting.next().await {
        match inserted {
            Ok(Ok(results)) => {
                for (&place, result) in chunk.iter().zip(results) {
                    match result {
                        Ok(Inserted::Stored(at)) => {
                            progress[place] = Progress::Recorded(Recorded::Written(at));
                        }
                        Ok(Inserted::KeyTaken) => singles.push(place),
                        Err(error) => progress[place] = after(&error),
                    }
                }
            }
            Ok(Err(error)) if error.is_transient() => {
                tracing::warn!(error = with_causes(&error), messages = chunk.len(), "not stored yet");
            }
            // Perhaps because of one message: the others can be stored one by one.
            Ok(Err(error)) => {
                tracing::error!(error = with_causes(&error), messages = chunk.len(), "a batch was rejected");
                singles.extend(chunk);
            }
            Err(_) => chunk.iter().for_each(|&place| progress[place] = Progress::Rejected),
        }
    }

    let mut recording = stream::iter(singles)
        .map(|place| async move {
            let recording = messages.record(&deliveries[place].incoming);
            (place, AssertUnwindSafe(recording).catch_unwind().await)
        })
        .buffer_unordered(MAX_CONCURRENT_REQUESTS);
    while let Some((place, recorded)) = recording.next().await {
        progress[place] = match recorded {
            Ok(Ok(recorded)) => Progress::Recorded(recorded),
            Ok(Err(error)) => after(&error),
            Err(_) => Progress::Rejected,
        };
    }
}

/// Divides what is open into what a batch insert accepts, which is valid messages with different keys, and
/// what has to be recorded one by one.
fn plan(deliveries: &[Delivery], progress: &[Progress]) -> (Vec<usize>, Vec<usize>) {
    let mut keys = HashSet::new();
    (0..deliveries.len()).filter(|&place| progress[place] == Progress::Open).partition(|&place| {
        let incoming = &deliveries[place].incoming;
        matches!(incoming.content, Content::Valid(_)) && keys.insert(&incoming.key)
    })
}

fn after(error: &StoreError) -> Progress {
    if error.is_transient() {
        tracing::warn!(error = with_causes(error), "not stored yet");
        Progress::Open
    } else {
        tracing::error!(error = with_causes(error), "the database rejected a message");
        Progress::Rejected
    }
}
