//! Settling deliveries: storing them, and making every outcome findable. Consumer and dead-letter recorder have this in
//! common.

use std::collections::HashSet;

use futures_util::{StreamExt, stream};
use intake_domain::state::{Effect, NotStored};
use jiff::SignedDuration;
use tokio::time::Instant;

use crate::{
    configuration::{ConfigurationError, number, required},
    delivery::{Decided, Delivery, Unsettled},
    rounds::rounds,
    schedule::Schedule,
    storing::{MAX_CONCURRENT_REQUESTS, store},
    tables::{Messages, Outcomes, TableError, outcomes::Found},
    telemetry::with_causes,
};

/// Settles deliveries in the table of messages.
#[derive(Clone, Debug)]
pub struct Settler {
    messages: Messages,
    outcomes: Outcomes,
    receipt_retention: SignedDuration,
}

impl Settler {
    /// Stores messages, and keeps outcomes under their receipts for `receipt_retention`.
    pub fn new(messages: Messages, outcomes: Outcomes, receipt_retention: SignedDuration) -> Self {
        Self { messages, outcomes, receipt_retention }
    }

    /// Reads `MESSAGES_TABLE`, `MESSAGE_RETENTION_DAYS` and `RECEIPT_RETENTION_DAYS`.
    ///
    /// # Errors
    /// [`ConfigurationError`] that names the variable.
    pub fn from_env(database: &aws_sdk_dynamodb::Client) -> Result<Self, ConfigurationError> {
        let table = required("MESSAGES_TABLE")?;
        let retention = Messages::retention(number("MESSAGE_RETENTION_DAYS")?);
        let receipt_days = number::<u16>("RECEIPT_RETENTION_DAYS")?;
        Ok(Self::new(
            Messages::new(database.clone(), &table, retention),
            Outcomes::new(database.clone(), table),
            SignedDuration::from_hours(24 * i64::from(receipt_days)),
        ))
    }

    /// Stores deliveries until `until`. The results are in the order of the deliveries.
    pub async fn store(&self, deliveries: &[Delivery], until: Instant) -> Vec<Result<Effect, NotStored>> {
        let incoming: Vec<_> = deliveries.iter().map(|delivery| &delivery.incoming).collect();
        store(&self.messages, &incoming, until).await
    }

    /// What a client's look-up of this delivery's receipt would find.
    ///
    /// # Errors
    /// [`TableError`] if the table cannot be read, or has an item there that Intake has not written.
    pub async fn find_outcome(&self, delivery: &Delivery) -> Result<Found, TableError> {
        let incoming = &delivery.incoming;
        self.outcomes.find(incoming.key(), &incoming.owner, &delivery.request.receipt).await
    }

    /// Writes what could not be stored on its last delivery as failed. Then it keeps, under its receipt, each outcome that
    /// no message holds. Returns what is settled, because a look-up finds its outcome; and what is not,
    /// because its failure or its outcome could not be written.
    pub async fn settle(
        &self,
        mut decided: Vec<Decided>,
        failed: Vec<Delivery>,
        schedule: Schedule,
    ) -> (Vec<Decided>, Vec<Unsettled>) {
        // It may turn out now that one of these is stored, by a write whose response got lost.
        let stored = self.store(&failed, schedule.writing_failures).await;
        let mut unsettled = Vec::new();
        for (delivery, stored) in failed.into_iter().zip(stored) {
            // What the database denies has failed, and its receipt says so. After a transient error that would be a
            // guess: an attempt may have taken effect, and a receipt must not say `failed` of a stored message.
            let last = delivery.decide(stored).or_else(|delivery| match stored {
                Err(NotStored::Permanent) => delivery.decide_unwritable(),
                _ => Err(delivery),
            });
            match last {
                Ok(one) => decided.push(one),
                Err(delivery) => unsettled.push(Unsettled::from(*delivery)),
            }
        }

        let to_keep: Vec<_> = decided.iter().filter(|one| one.needs_keeping).collect();
        let mut kept = self.keep(&to_keep, schedule.keeping_outcomes).await.into_iter();
        let (settled, not_kept): (Vec<_>, Vec<_>) =
            decided.into_iter().partition(|one| !one.needs_keeping || kept.next() == Some(true));
        unsettled.extend(not_kept.into_iter().map(Unsettled::from));
        (settled, unsettled)
    }

    /// Writes outcomes in rounds until all are written or time is up. The results, in the order of the outcomes, say
    /// which are written.
    async fn keep(&self, decided: &[&Decided], until: Instant) -> Vec<bool> {
        let mut written = vec![false; decided.len()];
        if decided.is_empty() {
            return written;
        }
        let all = rounds(until, async || {
            self.round(decided, &mut written).await;
            written.contains(&false)
        });
        if !all.await {
            tracing::warn!("time is up before every outcome can be looked up");
        }
        written
    }

    /// Tries once to write every outcome that is not written.
    async fn round(&self, decided: &[&Decided], written: &mut [bool]) {
        // A request must not have one key twice, as it would if a record were in the batch twice.
        let mut keys = HashSet::new();
        let mut is_new = |index: usize| keys.insert(&decided[index].request.receipt);
        let open: Vec<usize> = (0..decided.len()).filter(|&index| !written[index] && is_new(index)).collect();
        let mut writing = stream::iter(open.chunks(Outcomes::BATCH_LIMIT))
            .map(|chunk| async move {
                let batch: Vec<_> = chunk.iter().map(|&index| decided[index]).collect();
                (chunk, self.outcomes.keep(&batch, self.receipt_retention).await)
            })
            .buffer_unordered(MAX_CONCURRENT_REQUESTS);
        while let Some((chunk, result)) = writing.next().await {
            match result {
                Ok(()) => chunk.iter().for_each(|&index| written[index] = true),
                Err(error) => {
                    let outcomes = chunk.len();
                    tracing::warn!(error = with_causes(&error), outcomes, "outcomes not written yet");
                }
            }
        }
    }
}
