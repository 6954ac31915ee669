//! Storing a set of messages: 25 in a request where possible, in rounds until time is up.

use std::{collections::HashMap, panic::AssertUnwindSafe};

use futures_util::{FutureExt, StreamExt, stream};
use intake_domain::{
    message::{Receipt, id_text},
    state::{Content, Effect, Incoming, NotStored},
};
use tokio::time::{Instant, timeout_at};

use crate::{
    rounds::Pauses,
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

/// How long to go on with what is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// One round: whatever is throttled stays open.
    Once,
    /// In rounds, until each message has an effect or time is up.
    UntilTimeIsUp,
}

/// Stores messages until `until` at the latest. The results are in the order of the messages.
pub async fn store(
    messages: &Messages,
    incoming: &[&Incoming],
    persistence: Persistence,
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
    let storing = async {
        let mut pauses = Pauses::new();
        loop {
            while round(messages, incoming, &mut results).await {}
            if persistence == Persistence::Once || !results.contains(&OPEN) {
                break;
            }
            pauses.wait().await;
        }
    };
    // What is open when time is up is no news: the caller knows, and reports it.
    let _ = timeout_at(until, storing).await;
    results
}

/// The result of a message that the next round tries again: whether it is stored is not known yet.
const OPEN: Result<Effect, NotStored> = Err(NotStored::Transient);

/// Tries once to store everything that is open; of several messages with one key only the first, so that they are stored
/// in their order. Returns whether another one of them has its turn now.
async fn round(
    messages: &Messages,
    incoming: &[&Incoming],
    results: &mut [Result<Effect, NotStored>],
) -> bool {
    let Plan { redelivered, mut inserts, mut singles, waiting } = plan(incoming, results);

    // A write that is denied because the message is stored costs as much as one that takes effect.
    for index in read(messages, incoming, &redelivered, results).await {
        if matches!(incoming[index].content, Content::Valid(_)) { &mut inserts } else { &mut singles }
            .push(index);
    }

    let mut taken = Vec::new();
    let concurrency = concurrency(incoming, &inserts, Messages::BATCH_LIMIT);
    // Futures are collected before they are streamed: the compiler cannot see that a stream which makes them is `Send`.
    let inserting: Vec<_> = inserts
        .chunks(Messages::BATCH_LIMIT)
        .map(|chunk| async move {
            let batch: Vec<_> = chunk.iter().map(|&index| incoming[index]).collect();
            // A panic, which the standard library has logged by then, affects this request only. It would come again.
            let inserted = AssertUnwindSafe(messages.insert(&batch)).catch_unwind().await;
            (chunk, inserted)
        })
        .collect();
    let mut inserting = stream::iter(inserting).buffer_unordered(concurrency);
    while let Some((chunk, inserted)) = inserting.next().await {
        match inserted {
            Ok(Ok(inserted)) => {
                for (&index, result) in chunk.iter().zip(inserted) {
                    match result {
                        Ok(Some(effect)) => results[index] = Ok(effect),
                        Ok(None) => taken.push(index),
                        Err(error) => results[index] = Err(not_stored(incoming[index], &error)),
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
    drop(inserting);

    // The key is taken, most often by a stored message. If not, a single write replaces what is there.
    singles.extend(read(messages, incoming, &taken, results).await);
    let writing: Vec<_> = singles
        .into_iter()
        .map(|index| async move {
            (index, AssertUnwindSafe(messages.write(incoming[index])).catch_unwind().await)
        })
        .collect();
    let mut writing = stream::iter(writing).buffer_unordered(MAX_CONCURRENT_REQUESTS);
    while let Some((index, written)) = writing.next().await {
        results[index] = match written {
            Ok(Ok(effect)) => Ok(effect),
            Ok(Err(error)) => Err(not_stored(incoming[index], &error)),
            Err(_) => Err(NotStored::Permanent),
        };
    }

    let mut has_turn = false;
    for (index, before) in waiting {
        match results[before] {
            Ok(_) => has_turn = true,
            Err(NotStored::Transient) => {}
            // It would be denied, too; and it must not be stored before the one that it follows.
            Err(NotStored::Permanent) => results[index] = Err(NotStored::Permanent),
        }
    }
    has_turn
}

/// What a round does with the messages that are open.
#[derive(Default)]
struct Plan {
    /// Perhaps an earlier delivery has stored them.
    redelivered: Vec<usize>,
    /// Valid messages: a batch insert accepts them.
    inserts: Vec<usize>,
    /// To be written one by one: an insert cannot replace a rejected or failed message.
    singles: Vec<usize>,
    /// Messages behind another one with the same key, and the index of that one.
    waiting: Vec<(usize, usize)>,
}

fn plan(incoming: &[&Incoming], results: &[Result<Effect, NotStored>]) -> Plan {
    let mut plan = Plan::default();
    let mut first_of = HashMap::new();
    for index in (0..incoming.len()).filter(|&index| results[index] == OPEN) {
        let one = incoming[index];
        let first = *first_of.entry(one.key()).or_insert(index);
        if first != index {
            plan.waiting.push((index, first));
        } else if one.attempts > Some(1) {
            plan.redelivered.push(index);
        } else if matches!(one.content, Content::Valid(_)) {
            plan.inserts.push(index);
        } else {
            plan.singles.push(index);
        }
    }
    plan
}

/// Reads the messages in whose place one may be stored, and returns those where none is, or that could not be read: a
/// write finds out.
async fn read(
    messages: &Messages,
    incoming: &[&Incoming],
    indices: &[usize],
    results: &mut [Result<Effect, NotStored>],
) -> Vec<usize> {
    let largest = indices.iter().map(|&index| incoming[index].content.text().len()).max().unwrap_or_default();
    // What is there is most often as long as what comes.
    let chunk_size = (MAX_CONCURRENT_BYTES / largest.max(1)).clamp(1, Messages::READ_LIMIT);
    let mut unknown = Vec::new();
    for chunk in indices.chunks(chunk_size) {
        let batch: Vec<_> = chunk.iter().map(|&index| incoming[index]).collect();
        let read = messages.read(&batch).await.unwrap_or_else(|error| {
            tracing::warn!(error = with_causes(&error), messages = batch.len(), "not read");
            vec![None; batch.len()]
        });
        for (&index, effect) in chunk.iter().zip(read) {
            match effect {
                Some(effect) => results[index] = Ok(effect),
                None => unknown.push(index),
            }
        }
    }
    unknown
}

/// How many requests with so many messages each may be sent at once.
fn concurrency(incoming: &[&Incoming], indices: &[usize], chunk_size: usize) -> usize {
    let bytes =
        |chunk: &[usize]| chunk.iter().map(|&index| incoming[index].content.text().len()).sum::<usize>();
    let largest = indices.chunks(chunk_size).map(bytes).max().unwrap_or_default();
    (MAX_CONCURRENT_BYTES / largest.max(1)).clamp(1, MAX_CONCURRENT_REQUESTS)
}

fn not_stored(incoming: &Incoming, error: &TableError) -> NotStored {
    let (message_id, receipt) = (id_text(&incoming.id), incoming.via.receipt().map(Receipt::as_str));
    let (is_transient, error) = (error.is_transient(), with_causes(error));
    if is_transient {
        tracing::warn!(message_id, receipt, error, "not stored yet");
        NotStored::Transient
    } else {
        tracing::error!(message_id, receipt, error, "the database denied a message");
        NotStored::Permanent
    }
}
