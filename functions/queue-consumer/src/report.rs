//! The report of a batch: the response to Lambda, the notifications, and what is logged and counted.

use std::collections::HashSet;

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse};
use intake::{
    metrics::{Metric, Metrics},
    notification::Event,
    state::{Note, Recorded, Status},
    telemetry::CorrelationId,
};

use jiff::Timestamp;

use crate::{
    delivery::{Delivery, IllegalId, Unattributed},
    push::{Notification, PushSummary},
    storing::Progress,
};

/// A request whose outcome is certain.
#[derive(Debug)]
pub struct Settlement {
    record_id: String,
    correlation_id: Option<CorrelationId>,
    note: Note,
    /// Whether the outcome has to be written under the receipt, because the record of the message does not hold it.
    needs_note: bool,
    is_duplicate: bool,
}

impl Settlement {
    /// The settlement of a recorded delivery.
    pub fn of(delivery: Delivery, recorded: Recorded) -> Self {
        let Delivery { record_id, receipt, correlation_id, incoming } = delivery;
        let outcome = incoming.outcome(recorded);
        // A redriven message has a note that says `failed`, and may outlive the record.
        let is_redriven = !record_id.eq_ignore_ascii_case(receipt.as_str());
        let needs_note = is_redriven || incoming.needs_note(recorded);
        let note = Note { owner: incoming.key.owner, receipt, id: incoming.key.id.to_string(), outcome };
        let is_duplicate =
            matches!(recorded, Recorded::Duplicate(_)) && note.outcome.status == Status::Stored;
        Self { record_id, correlation_id, note, needs_note, is_duplicate }
    }

    /// The settlement of a delivery that is exhausted. If the database rejects even the record of its failure, as it
    /// does if an item of another program has its key, the outcome is only noted.
    ///
    /// # Errors
    /// The delivery, if the database was throttled or unavailable: its outcome is open.
    pub fn of_exhausted(delivery: Delivery, progress: Progress) -> Result<Self, Box<Delivery>> {
        match progress {
            Progress::Recorded(recorded) => Ok(Self::of(delivery, recorded)),
            Progress::Rejected => Ok(Self::of(delivery, Recorded::Written(Timestamp::now()))),
            Progress::Open => Err(Box::new(delivery)),
        }
    }

    /// The settlement of a message with an illegal id.
    pub fn of_illegal_id(illegal: IllegalId) -> Self {
        let IllegalId { record_id, note, correlation_id } = illegal;
        Self { record_id, correlation_id, note, needs_note: true, is_duplicate: false }
    }

    /// The note to write before the delivery is acknowledged, if one is needed.
    pub fn note(&self) -> Option<&Note> {
        self.needs_note.then_some(&self.note)
    }

    /// The notification of the owner.
    pub fn notification(self) -> Notification {
        let Note { owner, receipt, id, outcome } = &self.note;
        let event = Event::new(id, receipt, outcome);
        Notification { owner: owner.clone(), event, correlation_id: self.correlation_id }
    }

    /// The queue's name for the record.
    pub fn record_id(&self) -> &str {
        &self.record_id
    }

    /// What the request ended as.
    pub fn status(&self) -> Status {
        self.note.outcome.status
    }

    /// Logs the outcome: a failure as an error.
    pub fn log(&self) {
        let Note { receipt, id: message_id, outcome, .. } = &self.note;
        let (correlation_id, receipt) = (self.correlation_id(), receipt.as_str());
        let (attempt, outcome) = (outcome.attempts, self.word());
        if self.status() == Status::Failed {
            tracing::error!(
                correlation_id,
                message_id,
                receipt,
                attempt,
                outcome,
                "failed: in the dead-letter queue"
            );
        } else {
            tracing::info!(correlation_id, message_id, receipt, attempt, outcome, "settled");
        }
    }

    fn word(&self) -> &'static str {
        if self.is_duplicate { "duplicate" } else { self.status().as_str() }
    }

    fn correlation_id(&self) -> Option<&str> {
        self.correlation_id.as_ref().map(CorrelationId::as_str)
    }
}

/// The report of a batch.
#[derive(Debug)]
pub(crate) struct BatchReport {
    failures: Vec<String>,
    notifications: Vec<Notification>,
    metrics: Metrics,
}

impl BatchReport {
    pub(crate) fn of(records: usize) -> Self {
        let mut metrics = Metrics::default();
        metrics.count(Metric::BatchSize, records);
        Self { failures: Vec::new(), notifications: Vec::new(), metrics }
    }

    /// The outcome can be looked up.
    pub(crate) fn settled(&mut self, settlement: Settlement) {
        let outcome = &settlement.note.outcome;
        let metric = match outcome.status {
            Status::Stored if settlement.is_duplicate => Metric::Duplicate,
            Status::Stored => Metric::Stored,
            Status::Rejected => Metric::Rejected,
            Status::Conflict => Metric::Conflict,
            Status::Failed => Metric::Failed,
        };
        settlement.log();
        if outcome.status == Status::Failed {
            // SQS moves the message to the dead-letter queue because it is reported.
            self.failures.push(settlement.record_id.clone());
        }
        if let (Metric::Stored, Some(stored_at)) = (metric, outcome.stored_at) {
            self.metrics.time_to_stored(outcome.received_at, stored_at);
        }
        self.delivered(outcome.attempts);
        self.metrics.count(metric, 1);
        self.notifications.push(settlement.notification());
    }

    /// SQS has to deliver the message again.
    pub(crate) fn retry(&mut self, delivery: &Delivery) {
        tracing::warn!(
            correlation_id = delivery.correlation_id.as_ref().map(CorrelationId::as_str),
            message_id = delivery.incoming.key.id.as_str(),
            receipt = delivery.receipt.as_str(),
            attempt = delivery.incoming.attempts,
            "not settled: to be redelivered"
        );
        self.delivered(delivery.incoming.attempts);
        self.metrics.count(Metric::Retried, 1);
        self.failures.push(delivery.record_id.clone());
    }

    /// The outcome is certain, but cannot be looked up: SQS has to deliver the message again. After the last delivery
    /// the dead-letter recorder notes it.
    pub(crate) fn not_noted(&mut self, settlement: &Settlement) {
        let Note { receipt, id, outcome, .. } = &settlement.note;
        tracing::warn!(
            correlation_id = settlement.correlation_id(),
            message_id = id.as_str(),
            receipt = receipt.as_str(),
            attempt = outcome.attempts,
            "not noted: to be redelivered"
        );
        self.delivered(outcome.attempts);
        self.metrics.count(Metric::Retried, 1);
        self.failures.push(settlement.record_id.clone());
    }

    /// The last delivery failed, and so did recording that. The dead-letter recorder makes up for it.
    pub(crate) fn unrecorded(&mut self, delivery: &Delivery) {
        tracing::error!(
            correlation_id = delivery.correlation_id.as_ref().map(CorrelationId::as_str),
            message_id = delivery.incoming.key.id.as_str(),
            receipt = delivery.receipt.as_str(),
            attempt = delivery.incoming.attempts,
            "the last delivery failed, which is not recorded yet: the message goes to the dead-letter queue"
        );
        self.delivered(delivery.incoming.attempts);
        self.failures.push(delivery.record_id.clone());
    }

    /// The record ends in the dead-letter queue, for an operator to see: no client can look it up.
    pub(crate) fn unattributed(&mut self, record: Unattributed, max_receive_count: u32) {
        let Unattributed { record_id, reason, attempts } = record;
        tracing::error!(receipt = record_id, attempt = attempts, reason, "unattributed record");
        self.delivered(attempts);
        let is_last = attempts.is_some_and(|attempts| attempts >= max_receive_count);
        self.metrics.count(if is_last { Metric::Failed } else { Metric::Retried }, 1);
        self.failures.push(record_id);
    }

    /// The notifications, each once, even if its record was in the batch twice.
    pub(crate) fn take_notifications(&mut self) -> Vec<Notification> {
        let mut known = HashSet::new();
        let mut notifications = std::mem::take(&mut self.notifications);
        notifications.retain(|notification| known.insert(notification.event.id().to_owned()));
        notifications
    }

    pub(crate) fn response(mut self, pushed: PushSummary) -> SqsBatchResponse {
        pushed.count(&mut self.metrics);
        self.metrics.write();
        let item = |record_id| {
            let mut failure = BatchItemFailure::default();
            failure.item_identifier = record_id;
            failure
        };
        let mut response = SqsBatchResponse::default();
        response.batch_item_failures = self.failures.into_iter().map(item).collect();
        response
    }

    /// No function runs before the queue: a message is counted as accepted in its first delivery.
    fn delivered(&mut self, attempts: Option<u32>) {
        self.metrics.count(Metric::Accepted, usize::from(attempts == Some(1)));
    }
}
