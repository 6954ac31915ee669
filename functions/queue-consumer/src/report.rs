//! What a batch came to: the answer to SQS, the events for the owners, and what is logged and counted.

use std::collections::HashSet;

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse};
use intake::{
    metrics::{Metric, Metrics},
    notification::{Event, EventType},
    state::Content,
    store::messages::Recorded,
    telemetry::CorrelationId,
};
use jiff::Timestamp;

use crate::{
    delivery::{Delivery, IllegalId, Unattributed},
    push::{Notification, PushSummary},
};

#[derive(Debug)]
pub(crate) struct BatchReport {
    failures: Vec<String>,
    notices: Vec<Notification>,
    metrics: Metrics,
}

impl BatchReport {
    pub(crate) fn of(records: usize) -> Self {
        let mut metrics = Metrics::default();
        metrics.count(Metric::BatchSize, records);
        Self { failures: Vec::new(), notices: Vec::new(), metrics }
    }

    /// The outcome is in the table, or a better one was there.
    pub(crate) fn settled(&mut self, delivery: &Delivery, recorded: Recorded) {
        let (metric, outcome) = match (&delivery.arrival.content, recorded) {
            (Content::Invalid { reason, .. }, _) => {
                self.tell(EventType::Rejected, delivery, Some(reason.clone()));
                (Metric::Rejected, "rejected")
            }
            (Content::Exhausted { .. }, Recorded::Written) => return self.failed(delivery),
            (_, Recorded::Conflict) => {
                let reason = "Another message is stored under this id, and stays.".to_owned();
                self.tell(EventType::Conflict, delivery, Some(reason));
                (Metric::Conflict, "conflict")
            }
            // Out of this very delivery: whether the owner was told before is not known, so told again.
            (_, Recorded::Written | Recorded::Redelivered) => {
                self.metrics.stored_since(delivery.arrival.received_at);
                self.tell(EventType::Stored, delivery, None);
                (Metric::Stored, "stored")
            }
            (_, Recorded::Duplicate) => (Metric::Duplicate, "duplicate"),
        };
        self.delivered(delivery.arrival.attempts);
        self.metrics.count(metric, 1);
        tracing::info!(
            correlation_id = delivery.correlation_id.as_ref().map(CorrelationId::as_str),
            message_id = delivery.arrival.key.id.as_str(),
            receipt = delivery.receipt.as_str(),
            attempt = delivery.arrival.attempts,
            outcome,
            "settled"
        );
    }

    /// It is to be delivered again.
    pub(crate) fn retry(&mut self, delivery: &Delivery) {
        tracing::warn!(
            correlation_id = delivery.correlation_id.as_ref().map(CorrelationId::as_str),
            message_id = delivery.arrival.key.id.as_str(),
            receipt = delivery.receipt.as_str(),
            attempt = delivery.arrival.attempts,
            "not settled: to be delivered again"
        );
        self.delivered(delivery.arrival.attempts);
        self.metrics.count(Metric::Retried, 1);
        self.failures.push(delivery.receipt.as_str().to_owned());
    }

    /// It was the last delivery. SQS moves the message to the dead-letter queue because it is reported.
    pub(crate) fn failed(&mut self, delivery: &Delivery) {
        tracing::error!(
            correlation_id = delivery.correlation_id.as_ref().map(CorrelationId::as_str),
            message_id = delivery.arrival.key.id.as_str(),
            receipt = delivery.receipt.as_str(),
            attempt = delivery.arrival.attempts,
            outcome = "failed",
            "the last delivery failed: the message goes to the dead-letter queue"
        );
        self.delivered(delivery.arrival.attempts);
        self.metrics.count(Metric::Failed, 1);
        self.failures.push(delivery.receipt.as_str().to_owned());
        let kind = match delivery.arrival.content {
            Content::Invalid { .. } => EventType::Rejected,
            Content::Valid(_) | Content::Exhausted { .. } => EventType::Failed,
        };
        self.tell(kind, delivery, delivery.arrival.content.reason().map(ToOwned::to_owned));
    }

    /// There is nothing to record, since nobody could look it up: telling the owner is all there is.
    pub(crate) fn illegal_id(&mut self, illegal: &IllegalId) {
        let IllegalId { receipt, owner, id, reason, correlation_id, attempts } = illegal;
        tracing::info!(
            correlation_id = correlation_id.as_ref().map(CorrelationId::as_str),
            receipt = receipt.as_str(),
            attempt = attempts,
            outcome = "rejected",
            "its id is illegal"
        );
        self.delivered(*attempts);
        self.metrics.count(Metric::Rejected, 1);
        self.notices.push(Notification {
            owner: owner.clone(),
            event: Event::new(EventType::Rejected, id, receipt, Some(reason.clone()), Timestamp::now()),
            correlation_id: correlation_id.clone(),
        });
    }

    /// Nobody can be told: the record ends in the dead-letter queue, for an operator to see.
    pub(crate) fn nobodys(&mut self, record: Unattributed, max_receive_count: u32) {
        let Unattributed { message_id, reason, attempts } = record;
        tracing::error!(receipt = message_id, attempt = attempts, reason, "a record is nobody's");
        self.delivered(attempts);
        let last = attempts >= max_receive_count;
        self.metrics.count(if last { Metric::Failed } else { Metric::Retried }, 1);
        self.failures.push(message_id);
    }

    /// What to tell, and whom; each event once, even if its record was in the batch twice.
    pub(crate) fn take_notices(&mut self) -> Vec<Notification> {
        let mut known = HashSet::new();
        let mut notices = std::mem::take(&mut self.notices);
        notices.retain(|notice| known.insert(notice.event.id().to_owned()));
        notices
    }

    pub(crate) fn answer(mut self, told: PushSummary) -> SqsBatchResponse {
        let PushSummary { pushed, gone, failed } = told;
        self.metrics.count(Metric::Pushed, pushed);
        self.metrics.count(Metric::Gone, gone);
        self.metrics.count(Metric::PushFailed, failed);
        self.metrics.write();
        let item = |message_id| {
            let mut failure = BatchItemFailure::default();
            failure.item_identifier = message_id;
            failure
        };
        let mut answer = SqsBatchResponse::default();
        answer.batch_item_failures = self.failures.into_iter().map(item).collect();
        answer
    }

    /// No function is on the way in, so that a message is counted as accepted when it is delivered first.
    fn delivered(&mut self, attempts: u32) {
        self.metrics.count(Metric::Accepted, usize::from(attempts == 1));
    }

    fn tell(&mut self, kind: EventType, delivery: &Delivery, reason: Option<String>) {
        let id = delivery.arrival.key.id.as_str();
        let event = Event::new(kind, id, &delivery.receipt, reason, Timestamp::now());
        let owner = delivery.arrival.key.owner.clone();
        self.notices.push(Notification { owner, event, correlation_id: delivery.correlation_id.clone() });
    }
}
