//! What a batch came to: the answer to SQS, the events for the owners and the line in the log.

use std::collections::HashSet;

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse};
use intake::{
    message::Owner,
    messages::Recorded,
    notification::{Event, EventType},
    state::Content,
};
use jiff::Timestamp;

use crate::{
    delivery::{Delivery, IllegalId, Nobodys},
    push::Told,
};

#[derive(Debug)]
pub(crate) struct Report {
    failures: Vec<String>,
    events: Vec<(Owner, Event)>,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    records: usize,
    stored: usize,
    unchanged: usize,
    conflicts: usize,
    rejected: usize,
    failed: usize,
    retried: usize,
}

impl Report {
    pub(crate) fn of(records: usize) -> Self {
        let counts = Counts { records, ..Counts::default() };
        Self { failures: Vec::new(), events: Vec::new(), counts }
    }

    /// The outcome is in the table, or a better one was there.
    pub(crate) fn settled(&mut self, delivery: &Delivery, recorded: Recorded) {
        let id = delivery.arrival.key.id.as_str();
        tracing::info!(message_id = id, receipt = delivery.receipt.as_str(), outcome = ?recorded, "settled");
        match (&delivery.arrival.content, recorded) {
            (Content::Invalid { reason, .. }, _) => {
                self.counts.rejected += 1;
                self.tell(EventType::Rejected, delivery, Some(reason.clone()));
            }
            (Content::Exhausted { .. }, Recorded::New) => self.failed(delivery),
            (_, Recorded::Conflict) => {
                self.counts.conflicts += 1;
                let reason = "Another message is stored under this id, and stays.".to_owned();
                self.tell(EventType::Conflict, delivery, Some(reason));
            }
            // Out of this very delivery: whether the owner was told before is not known, so told again.
            (_, Recorded::New | Recorded::Already) => {
                self.counts.stored += 1;
                self.tell(EventType::Stored, delivery, None);
            }
            (_, Recorded::Unchanged) => self.counts.unchanged += 1,
        }
    }

    /// It is to be delivered again.
    pub(crate) fn retry(&mut self, delivery: &Delivery) {
        self.counts.retried += 1;
        self.failures.push(delivery.receipt.as_str().to_owned());
    }

    /// It was the last delivery. SQS moves the message to the dead-letter queue because it is reported.
    pub(crate) fn failed(&mut self, delivery: &Delivery) {
        tracing::error!(
            message_id = delivery.arrival.key.id.as_str(),
            receipt = delivery.receipt.as_str(),
            "the last delivery failed: the message goes to the dead-letter queue"
        );
        self.counts.failed += 1;
        self.failures.push(delivery.receipt.as_str().to_owned());
        let kind = match delivery.arrival.content {
            Content::Invalid { .. } => EventType::Rejected,
            Content::Valid(_) | Content::Exhausted { .. } => EventType::Failed,
        };
        self.tell(kind, delivery, delivery.arrival.content.reason().map(ToOwned::to_owned));
    }

    /// There is nothing to record, since nobody could look it up: telling the owner is all there is.
    pub(crate) fn illegal_id(&mut self, illegal: &IllegalId) {
        tracing::info!(receipt = illegal.receipt.as_str(), "rejected: its id is illegal");
        self.counts.rejected += 1;
        let IllegalId { receipt, owner, id, reason } = illegal;
        let reason = Some(reason.clone());
        let event = Event::new(EventType::Rejected, id, receipt, reason, Timestamp::now());
        self.events.push((owner.clone(), event));
    }

    /// Nobody can be told: the record ends in the dead-letter queue, for an operator to see.
    pub(crate) fn nobodys(&mut self, record: Nobodys) {
        tracing::error!(receipt = record.message_id, reason = record.reason, "a record is nobody's");
        self.counts.failed += 1;
        self.failures.push(record.message_id);
    }

    /// What to tell, and whom; each event once, even if its record was in the batch twice.
    pub(crate) fn take_events(&mut self) -> Vec<(Owner, Event)> {
        let mut known = HashSet::new();
        let mut events = std::mem::take(&mut self.events);
        events.retain(|(_, event)| known.insert(event.id().to_owned()));
        events
    }

    pub(crate) fn answer(self, told: Told) -> SqsBatchResponse {
        let Counts { records, stored, unchanged, conflicts, rejected, failed, retried } = self.counts;
        let Told { pushed, gone, failed: push_failed } = told;
        tracing::info!(
            records,
            stored,
            unchanged,
            conflicts,
            rejected,
            failed,
            retried,
            pushed,
            gone,
            push_failed,
            "batch done"
        );
        let item = |message_id| {
            let mut failure = BatchItemFailure::default();
            failure.item_identifier = message_id;
            failure
        };
        let mut answer = SqsBatchResponse::default();
        answer.batch_item_failures = self.failures.into_iter().map(item).collect();
        answer
    }

    fn tell(&mut self, kind: EventType, delivery: &Delivery, reason: Option<String>) {
        let id = delivery.arrival.key.id.as_str();
        let event = Event::new(kind, id, &delivery.receipt, reason, Timestamp::now());
        self.events.push((delivery.arrival.key.owner.clone(), event));
    }
}
