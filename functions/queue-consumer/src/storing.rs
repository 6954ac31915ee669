//! Storing a batch: 25 messages a request, as often as time allows.

use std::{collections::HashSet, panic::AssertUnwindSafe, time::Duration};

use futures_util::{FutureExt, StreamExt, stream};
use intake::{
    state::Content,
    store::{
        StoreError,
        messages::{Inserted, Messages, Recorded},
    },
    telemetry::with_causes,
};
use tokio::time::{Instant, sleep, timeout_at};

use crate::delivery::Delivery;

/// How many requests are under way at once. More would open more connections than they save time.
const MAX_CONCURRENT_REQUESTS: usize = 4;

/// How many bytes of payload are under way at once, unless a single request has more. A request holds its
/// payloads three times over: as they came, as parameters, and written out.
const MAX_CONCURRENT_BYTES: usize = 1024 * 1024;

/// The first pause after a round that left something open, doubled each time. A pause is a random part
/// of this, so that consumers that were throttled together do not come back together.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause: throttled tables recover within seconds.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How far one message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Not settled; what was tried so far may or may not have taken effect.
    Open,
    /// Settled.
    Recorded(Recorded),
    /// Trying again in this invocation is no use.
    Refused,
}

/// Records what was delivered, in rounds until everything is settled or time is up. There is an outcome
/// for each, in their order; none for what is not settled.
pub(crate) async fn store(
    messages: &Messages,
    deliveries: &[Delivery],
    until: Instant,
) -> Vec<Option<Recorded>> {
    if deliveries.is_empty() {
        return Vec::new();
    }
    let mut progress = vec![Progress::Open; deliveries.len()];
    let mut longest_pause = FIRST_PAUSE;
    // Every request's outcome is noted as it comes, so that a round can be cut off anywhere.
    let rounds = async {
        loop {
            round(messages, deliveries, &mut progress).await;
            if !progress.contains(&Progress::Open) {
                break;
            }
            sleep(longest_pause.mul_f64(fastrand::f64())).await;
            longest_pause = LONGEST_PAUSE.min(longest_pause * 2);
        }
    };
    if timeout_at(until, rounds).await.is_err() {
        tracing::warn!("time is up before everything is stored");
    }
    let outcome = |progress: &Progress| match progress {
        Progress::Recorded(recorded) => Some(*recorded),
        Progress::Open | Progress::Refused => None,
    };
    progress.iter().map(outcome).collect()
}

/// Tries once to settle whatever is open.
async fn round(messages: &Messages, deliveries: &[Delivery], progress: &mut [Progress]) {
    let (inserts, mut singles) = plan(deliveries, progress);

    let bytes = |chunk: &[usize]| {
        chunk.iter().map(|&place| deliveries[place].arrival.content.text().len()).sum::<usize>()
    };
    let largest = inserts.chunks(Messages::BATCH_LIMIT).map(bytes).max().unwrap_or_default();
    let side_by_side = (MAX_CONCURRENT_BYTES / largest.max(1)).clamp(1, MAX_CONCURRENT_REQUESTS);
    let mut inserting = stream::iter(inserts.chunks(Messages::BATCH_LIMIT))
        .map(|chunk| async move {
            let arrivals: Vec<_> = chunk.iter().map(|&place| &deliveries[place].arrival).collect();
            // A panic, too, is the matter of this request alone.
            let inserted = AssertUnwindSafe(messages.insert(&arrivals)).catch_unwind().await;
            (chunk, inserted)
        })
        .buffer_unordered(side_by_side);
    while let Some((chunk, inserted)) = inserting.next().await {
        match inserted {
            Ok(Ok(outcomes)) => {
                for (&place, outcome) in chunk.iter().zip(outcomes) {
                    match outcome {
                        Ok(Inserted::Written) => progress[place] = Progress::Recorded(Recorded::Written),
                        Ok(Inserted::KeyTaken) => singles.push(place),
                        Err(error) => progress[place] = after(&error),
                    }
                }
            }
            Ok(Err(error)) if error.is_transient() => {
                tracing::warn!(error = with_causes(&error), messages = chunk.len(), "not stored yet");
            }
            // Perhaps one message is the reason. Each by itself, the others can be stored.
            Ok(Err(error)) => {
                tracing::error!(error = with_causes(&error), messages = chunk.len(), "a batch was refused");
                singles.extend(chunk);
            }
            Err(_) => chunk.iter().for_each(|&place| progress[place] = Progress::Refused),
        }
    }

    let mut recording = stream::iter(singles)
        .map(|place| async move {
            let recording = messages.record(&deliveries[place].arrival);
            (place, AssertUnwindSafe(recording).catch_unwind().await)
        })
        .buffer_unordered(MAX_CONCURRENT_REQUESTS);
    while let Some((place, recorded)) = recording.next().await {
        progress[place] = match recorded {
            Ok(Ok(recorded)) => Progress::Recorded(recorded),
            Ok(Err(error)) => after(&error),
            Err(_) => Progress::Refused,
        };
    }
}

/// What is open, divided into what a batch insert can take, which is valid messages with different keys,
/// and what has to be recorded one by one.
fn plan(deliveries: &[Delivery], progress: &[Progress]) -> (Vec<usize>, Vec<usize>) {
    let mut keys = HashSet::new();
    (0..deliveries.len()).filter(|&place| progress[place] == Progress::Open).partition(|&place| {
        let arrival = &deliveries[place].arrival;
        matches!(arrival.content, Content::Valid(_)) && keys.insert(&arrival.key)
    })
}

fn after(error: &StoreError) -> Progress {
    if error.is_transient() {
        tracing::warn!(error = with_causes(error), "not stored yet");
        Progress::Open
    } else {
        tracing::error!(error = with_causes(error), "a message was refused");
        Progress::Refused
    }
}
