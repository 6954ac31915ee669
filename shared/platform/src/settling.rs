//! Settling deliveries: storing them, and making every outcome findable. Consumer and dead-letter recorder have this in
//! common.

use std::collections::{BTreeMap, HashMap};

use futures_util::{StreamExt, stream};
use intake_domain::{
    message::Receipt,
    state::{Effect, NotStored},
};
use jiff::SignedDuration;
use tokio::time::{Instant, timeout_at};

use crate::{
    configuration::{ConfigurationError, number, required},
    delivery::{Decided, Delivery, Unsettled},
    rounds::Pauses,
    schedule::Schedule,
    storing::{MAX_CONCURRENT_REQUESTS, Persistence, store},
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

    /// Stores deliveries until `until` at the latest. The results are in the order of the deliveries.
    pub async fn store(
        &self,
        deliveries: &[Delivery],
        persistence: Persistence,
        until: Instant,
    ) -> Vec<Result<Effect, NotStored>> {
        let incoming: Vec<_> = deliveries.iter().map(|delivery| &delivery.incoming).collect();
        store(&self.messages, &incoming, persistence, until).await
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
        let stored = self.store(&failed, Persistence::UntilTimeIsUp, schedule.writing_failures).await;
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

        let records = self.keep(decided, schedule.keeping_outcomes).await;
        let mut settled = Vec::new();
        for Record { decided, is_whole, keeping } in records {
            for one in decided {
                // Of a record that is not whole, some messages are still open. It will be delivered again, but what a
                // message holds can be looked up already.
                let is_settled = keeping == Keeping::Done || !one.needs_keeping || (!is_whole && one.is_held);
                if is_settled { settled.push(one) } else { unsettled.push(Unsettled::from(one)) }
            }
        }
        (settled, unsettled)
    }

    /// Keeps the outcomes of every record that is whole and needs it, in rounds until all are written or time is up.
    async fn keep(&self, decided: Vec<Decided>, until: Instant) -> Vec<Record> {
        let mut records = records_of(decided);
        if !records.iter().any(Record::is_open) {
            return records;
        }
        let keeping = async {
            let mut pauses = Pauses::new();
            loop {
                self.round(&mut records).await;
                if !records.iter().any(Record::is_open) {
                    break;
                }
                pauses.wait().await;
            }
        };
        if timeout_at(until, keeping).await.is_err() {
            tracing::warn!("time is up before every outcome can be looked up");
        }
        records
    }

    /// Tries once to write the outcomes of every record that is open.
    async fn round(&self, records: &mut [Record]) {
        let open: Vec<usize> = (0..records.len()).filter(|&index| records[index].is_open()).collect();
        let outcomes: Vec<_> = open.iter().map(|&index| records[index].decided.as_slice()).collect();
        let mut writing =
            stream::iter(open.chunks(Outcomes::BATCH_LIMIT).zip(outcomes.chunks(Outcomes::BATCH_LIMIT)))
                .map(|(indices, chunk)| async move {
                    (indices, self.outcomes.keep(chunk, self.receipt_retention).await)
                })
                .buffer_unordered(MAX_CONCURRENT_REQUESTS);
        let mut results = Vec::new();
        while let Some((indices, result)) = writing.next().await {
            if let Err(error) = &result {
                let records = indices.len();
                tracing::warn!(error = with_causes(error), records, "outcomes not written");
            }
            let keeping = match result {
                Ok(()) => Keeping::Done,
                Err(error) if error.is_transient() => Keeping::Open,
                Err(_) => Keeping::Denied,
            };
            results.push((indices, keeping));
        }
        drop(writing);
        for (indices, keeping) in results {
            indices.iter().for_each(|&index| records[index].keeping = keeping);
        }
    }
}

/// The decided messages of one record, in their order.
struct Record {
    decided: Vec<Decided>,
    /// Whether these are all messages of the record. What is kept under a receipt is complete.
    is_whole: bool,
    keeping: Keeping,
}

/// How far a record's outcomes are on their way to their receipt.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keeping {
    /// To be written.
    Open,
    Done,
    /// The database denies them: trying again at once will not help.
    Denied,
}

impl Record {
    fn is_open(&self) -> bool {
        self.is_whole && self.keeping == Keeping::Open && self.decided.iter().any(|one| one.needs_keeping)
    }
}

/// Parts what belongs to records of which every message is decided from the rest.
pub fn split_whole(decided: Vec<Decided>) -> (Vec<Decided>, Vec<Decided>) {
    let (whole, partial): (Vec<_>, Vec<_>) =
        records_of(decided).into_iter().partition(|record| record.is_whole);
    let decided = |records: Vec<Record>| records.into_iter().flat_map(|record| record.decided).collect();
    (decided(whole), decided(partial))
}

/// Groups what is decided by receipt. A record may be in a batch twice: what is there twice is dropped, because one
/// outcome is enough, and a request must not have one key twice.
fn records_of(decided: Vec<Decided>) -> Vec<Record> {
    let mut by_receipt = HashMap::<Receipt, usize>::new();
    let mut records = Vec::<BTreeMap<usize, Decided>>::new();
    for one in decided {
        let next = records.len();
        let index = *by_receipt.entry(one.request.receipt.clone()).or_insert(next);
        if index == next {
            records.push(BTreeMap::new());
        }
        records[index].entry(one.request.index).or_insert(one);
    }
    let record = |decided: BTreeMap<usize, Decided>| {
        let decided: Vec<_> = decided.into_values().collect();
        let is_whole = decided.first().is_some_and(|one| one.request.record_size == decided.len());
        Record { decided, is_whole, keeping: Keeping::Open }
    };
    records.into_iter().map(record).collect()
}
