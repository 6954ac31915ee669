//! Noting the outcomes that no record of a message holds, so that a look-up by receipt finds them.

use std::collections::HashSet;

use futures_util::{StreamExt, stream};
use intake::{state::Note, store::Outcomes, telemetry::with_causes};
use jiff::SignedDuration;
use tokio::time::Instant;

use crate::{rounds::rounds, storing::MAX_CONCURRENT_REQUESTS};

/// The notes of a consumer, with how long they are kept.
#[derive(Clone, Debug)]
pub struct Notes {
    outcomes: Outcomes,
    retention: SignedDuration,
}

impl Notes {
    /// Notes that are kept for `retention`.
    pub fn new(outcomes: Outcomes, retention: SignedDuration) -> Self {
        Self { outcomes, retention }
    }

    /// Writes notes in rounds until all are written or time is up. The results, in the order of the notes, say which
    /// are written.
    pub async fn write(&self, notes: &[&Note], until: Instant) -> Vec<bool> {
        let mut written = vec![false; notes.len()];
        if notes.is_empty() {
            return written;
        }
        let all = rounds(until, async || {
            self.round(notes, &mut written).await;
            written.contains(&false)
        });
        if all.await.is_err() {
            tracing::warn!("time is up before every outcome is noted");
        }
        written
    }

    /// Tries once to write every note that is not written.
    async fn round(&self, notes: &[&Note], written: &mut [bool]) {
        // A request must not have one key twice, as it would if a record were in the batch twice.
        let mut keys = HashSet::new();
        let open: Vec<usize> = (0..notes.len())
            .filter(|&place| !written[place] && keys.insert((&notes[place].owner, &notes[place].receipt)))
            .collect();
        let mut writing = stream::iter(open.chunks(Outcomes::BATCH_LIMIT))
            .map(|chunk| async move {
                let batch: Vec<_> = chunk.iter().map(|&place| notes[place]).collect();
                (chunk, self.outcomes.note(&batch, self.retention).await)
            })
            .buffer_unordered(MAX_CONCURRENT_REQUESTS);
        while let Some((chunk, result)) = writing.next().await {
            match result {
                Ok(()) => chunk.iter().for_each(|&place| written[place] = true),
                Err(error) => {
                    tracing::warn!(error = with_causes(&error), notes = chunk.len(), "not noted yet");
                }
            }
        }
    }
}
