//! Storing a set of messages: 25 in a request where possible, in rounds until time is up.

use std::{collections::HashSet, panic::AssertUnwindSafe};

use futures_util::{FutureExt, StreamExt, stream};
use intake_domain::state::{Content, Effect, Incoming, NotStored};
use tokio::time::Instant;

use crate::{
    rounds::rounds,
    tables::{Messages, TableError},
    telemetry::with_causes,
};

/// How many requests are sent at once. Each needs an HTTP connection of its own, and four keep a batch of 100 (the
/// template's `BatchSize`) moving: more would open connections, which cost more processor time than they save.
pub(crate) const MAX_CONCURRENT_REQUESTS: usize = 4;

/// How many bytes of payload are in requests at once, unless a single request has more. A request holds its
/// payloads three times: as they were sent, as parameters, and written out. With the event itself, whose limit is
/// 6 MB ("Lambda quotas"), that stays far below the function's memory.
const MAX_CONCURRENT_BYTES: usize = 1024 * 1024;

/// Stores messages in rounds until each has an effect or time is up. The results are in the order of the messages.
pub async fn store(
    messages: &Messages,
    incoming: &[&Incoming],
    until: Instant,
) -> Vec<Result<Effect, NotStored>> {
    // A message with an illegal id is never written. Every other is open before the first round.
    let first =
        |incoming: &&Incoming| if incoming.key().is_some() { OPEN } else { Err(NotStored::Permanent) };
    let mut results: Vec<_> = incoming.iter().map(first).collect();
    if !results.contains(&OPEN) {
        return results;
    }
    // The result of every request is kept as soon as it is there, so that a round can be cut off anywhere.
    let stored = rounds(until, async || {
        round(messages, incoming, &mut results).await;
        results.contains(&OPEN)
    });
    if !stored.await {
        tracing::warn!("time is up before everything is stored");
    }
    results
}

/// The result of a message that the next round tries again: whether it is stored is not known yet.
const OPEN: Result<Effect, NotStored> = Err(NotStored::Transient);

/// Tries once to store everything that is open.
async fn round(messages: &Messages, incoming: &[&Incoming], results: &mut [Result<Effect, NotStored>]) {
    let (inserts, mut singles) = plan(incoming, results);

    let bytes =
        |chunk: &[usize]| chunk.iter().map(|&index| incoming[index].content.text().len()).sum::<usize>();
    let largest = inserts.chunks(Messages::BATCH_LIMIT).map(bytes).max().unwrap_or_default();
    let concurrency = (MAX_CONCURRENT_BYTES / largest.max(1)).clamp(1, MAX_CONCURRENT_REQUESTS);
    let mut inserting = stream::iter(inserts.chunks(Messages::BATCH_LIMIT))
        .map(|chunk| async move {
            let batch: Vec<_> = chunk.iter().map(|&index| incoming[index]).collect();
            // A panic, which the standard library has logged by then, affects this request only. It would come again.
            let inserted = AssertUnwindSafe(messages.insert(&batch)).catch_unwind().await;
            (chunk, inserted)
        })
        .buffer_unordered(concurrency);
    while let Some((chunk, inserted)) = inserting.next().await {
        match inserted {
            Ok(Ok(inserted)) => {
                for (&index, result) in chunk.iter().zip(inserted) {
                    match result {
                        Ok(Some(effect)) => results[index] = Ok(effect),
                        // Its key is taken, perhaps by an earlier delivery of itself: a single write finds out.
                        Ok(None) => singles.push(index),
                        Err(error) => results[index] = Err(not_stored(&error)),
                    }
                }
            }
            // They stay open.
            Ok(Err(error)) if error.is_transient() => {
                tracing::warn!(error = with_causes(&error), messages = chunk.len(), "not stored yet");
            }
            // Perhaps because of one message: the others can be stored one by one.
            Ok(Err(error)) => {
                tracing::error!(
                    error = with_causes(&error),
                    messages = chunk.len(),
                    "a request for several messages was denied"
                );
                singles.extend(chunk);
            }
            Err(_) => chunk.iter().for_each(|&index| results[index] = Err(NotStored::Permanent)),
        }
    }

    let mut writing = stream::iter(singles)
        .map(|index| async move {
            (index, AssertUnwindSafe(messages.write(incoming[index])).catch_unwind().await)
        })
        .buffer_unordered(MAX_CONCURRENT_REQUESTS);
    while let Some((index, written)) = writing.next().await {
        results[index] = match written {
            Ok(Ok(effect)) => Ok(effect),
            Ok(Err(error)) => Err(not_stored(&error)),
            Err(_) => Err(NotStored::Permanent),
        };
    }
}

/// Divides what is open into what a batch insert accepts, which is valid messages with different keys, and
/// what has to be written one by one: DynamoDB denies a whole batch in which two statements have one key, and an insert
/// cannot replace a rejected or failed message.
fn plan(incoming: &[&Incoming], results: &[Result<Effect, NotStored>]) -> (Vec<usize>, Vec<usize>) {
    let mut keys = HashSet::new();
    (0..incoming.len()).filter(|&index| results[index] == OPEN).partition(|&index| {
        matches!(incoming[index].content, Content::Valid(_)) && keys.insert(incoming[index].key())
    })
}

fn not_stored(error: &TableError) -> NotStored {
    if error.is_transient() {
        tracing::warn!(error = with_causes(error), "not stored yet");
        NotStored::Transient
    } else {
        tracing::error!(error = with_causes(error), "the database denied a message");
        NotStored::Permanent
    }
}
