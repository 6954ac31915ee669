//! Stores batches of queued messages, reports each that was not stored, and notifies the owners.
//!
//! A record is done when its outcome can be looked up: its message is recorded, or the outcome is noted under its
//! receipt. Every other record, and every one with the outcome `failed`, is a batch item failure: SQS delivers it again,
//! and after the last delivery moves it to the dead-letter queue ("Handling errors for an SQS event source in Lambda").

pub mod delivery;
pub mod noting;
pub mod push;
pub mod report;
mod rounds;
pub mod schedule;
pub mod storing;

use std::time::SystemTime;

use aws_lambda_events::sqs::SqsBatchResponse;
use intake::store::Messages;
use serde::Deserialize;

use crate::{
    delivery::{ParsedRecord, parse_each},
    noting::Notes,
    push::Push,
    report::{BatchReport, Settlement},
    schedule::Schedule,
    storing::{Progress, store},
};

/// A batch as Lambda passes it on. Each record is parsed by itself, so that one that cannot be parsed does not affect
/// the others. Only a record without a message id makes the batch unreadable, and Lambda delivers all of it again.
#[derive(Debug, Deserialize)]
pub struct Batch {
    /// What SQS delivered.
    #[serde(rename = "Records", deserialize_with = "parse_each")]
    pub records: Vec<ParsedRecord>,
}

/// The function, with what it needs for every batch.
#[derive(Clone, Debug)]
pub struct Consumer {
    messages: Messages,
    notes: Notes,
    push: Push,
    max_receive_count: u32,
}

impl Consumer {
    /// A function that stores and notes into these tables and pushes to these sockets. `max_receive_count` is that of
    /// the queue: a delivery that reaches it is the last one.
    pub fn new(messages: Messages, notes: Notes, push: Push, max_receive_count: u32) -> Self {
        Self { messages, notes, push, max_receive_count }
    }

    /// Handles one batch, and returns which records SQS has to deliver again. It ends before `deadline`, when Lambda
    /// would kill it: records that are not settled by then are among them.
    pub async fn handle(&self, batch: Batch, deadline: SystemTime) -> SqsBatchResponse {
        let schedule = Schedule::until(deadline);
        let mut report = BatchReport::of(batch.records.len());

        let mut deliveries = Vec::with_capacity(batch.records.len());
        let mut settlements = Vec::new();
        for record in batch.records {
            match record {
                ParsedRecord::Message(delivery) => deliveries.push(delivery),
                ParsedRecord::IllegalId(illegal) => settlements.push(Settlement::of_illegal_id(illegal)),
                ParsedRecord::Unattributed(record) => report.unattributed(record, self.max_receive_count),
            }
        }

        let stored = store(&self.messages, &deliveries, schedule.storing).await;
        let mut exhausted = Vec::new();
        for (delivery, progress) in deliveries.into_iter().zip(stored) {
            let is_last =
                delivery.incoming.attempts.is_some_and(|attempts| attempts >= self.max_receive_count);
            match progress {
                Progress::Recorded(recorded) => settlements.push(Settlement::of(delivery, recorded)),
                _ if is_last => exhausted.push(delivery.exhausted()),
                _ => report.retry(&delivery),
            }
        }

        // What could not be stored on its last delivery is recorded as failed; or it turns out now that it is
        // stored, by a write whose response got lost.
        let failed = store(&self.messages, &exhausted, schedule.recording_failures).await;
        for (delivery, progress) in exhausted.into_iter().zip(failed) {
            match Settlement::of_exhausted(delivery, progress) {
                Ok(settlement) => settlements.push(settlement),
                Err(delivery) => report.unrecorded(&delivery),
            }
        }

        // Before a delivery is acknowledged, its outcome can be looked up.
        let notes: Vec<_> = settlements.iter().filter_map(Settlement::note).collect();
        let mut noted = self.notes.write(&notes, schedule.noting).await.into_iter();
        for settlement in settlements {
            if settlement.note().is_none() || noted.next() == Some(true) {
                report.settled(settlement);
            } else {
                report.not_noted(&settlement);
            }
        }

        let pushed = self.push.notify(&report.take_notifications(), schedule).await;
        report.response(pushed)
    }
}
