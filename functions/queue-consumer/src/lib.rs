//! Stores batches of queued messages, reports each that was not stored, and tells the owners.
//!
//! A record is done when its outcome is in the table, or when nothing about it belongs there. Every other
//! record is a batch item failure: SQS delivers it again, and after the last time moves it to the
//! dead-letter queue ("Handling errors for an SQS event source in Lambda").

pub mod delivery;
pub mod push;
mod report;
mod schedule;
mod storing;

use std::time::SystemTime;

use aws_lambda_events::sqs::SqsBatchResponse;
use intake::store::messages::Messages;
use serde::Deserialize;

use crate::{
    delivery::{ParsedRecord, read_each},
    push::Push,
    report::BatchReport,
    schedule::Schedule,
    storing::store,
};

/// A batch as Lambda hands it on, each record read by itself, so that one that cannot be read leaves the
/// others alone. Only a record that cannot even be named in an answer makes the batch unreadable, and Lambda
/// delivers it again as a whole.
#[derive(Debug, Deserialize)]
pub struct Batch {
    /// What SQS delivered.
    #[serde(rename = "Records", deserialize_with = "read_each")]
    pub records: Vec<ParsedRecord>,
}

/// The function, with what it needs for every batch.
#[derive(Clone, Debug)]
pub struct Consumer {
    messages: Messages,
    push: Push,
    max_receive_count: u32,
}

impl Consumer {
    /// A function that stores into this table and tells who is connected. `max_receive_count` is that of
    /// the queue: a delivery that reaches it is the last one.
    pub fn new(messages: Messages, push: Push, max_receive_count: u32) -> Self {
        Self { messages, push, max_receive_count }
    }

    /// Handles one batch, and answers which records are to be delivered again. It is done before
    /// `deadline`, when Lambda would kill it: what is not settled by then is among them.
    pub async fn handle(&self, batch: Batch, deadline: SystemTime) -> SqsBatchResponse {
        let schedule = Schedule::until(deadline);
        let mut report = BatchReport::of(batch.records.len());

        let mut deliveries = Vec::with_capacity(batch.records.len());
        for found in batch.records {
            match found {
                ParsedRecord::Message(delivery) => deliveries.push(delivery),
                ParsedRecord::IllegalId(illegal) => report.illegal_id(&illegal),
                ParsedRecord::Unattributed(nobodys) => report.nobodys(nobodys, self.max_receive_count),
            }
        }

        let outcomes = store(&self.messages, &deliveries, schedule.storing).await;
        let mut exhausted = Vec::new();
        for (delivery, outcome) in deliveries.into_iter().zip(outcomes) {
            match outcome {
                Some(recorded) => report.settled(&delivery, recorded),
                None if delivery.arrival.attempts < self.max_receive_count => report.retry(&delivery),
                None => exhausted.push(delivery.exhausted()),
            }
        }

        // What could not be stored on its last delivery is recorded as failed; or else it turns out
        // now that it is stored, by a write whose answer was lost.
        let outcomes = store(&self.messages, &exhausted, schedule.giving_up).await;
        for (delivery, outcome) in exhausted.iter().zip(outcomes) {
            match outcome {
                Some(recorded) => report.settled(delivery, recorded),
                None => report.failed(delivery),
            }
        }

        let told = self.push.notify(&report.take_notices(), schedule.pushing).await;
        report.answer(told)
    }
}
