//! The report of a batch: the response to Lambda, and what is logged and counted.

use std::collections::{BTreeMap, BTreeSet};

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse};
use intake_domain::{message::Receipt, state::Status};
use intake_platform::{
    delivery::{Decided, QueuedRequest, Unsettled},
    metrics::{Metric, Metrics},
    push::PushSummary,
    record::Unattributed,
    telemetry::CorrelationId,
};

use crate::redelivery::Redelivery;

/// The report of a batch.
#[derive(Debug)]
pub(crate) struct BatchReport<'a> {
    redelivery: &'a Redelivery,
    /// The records of which a message is not settled, or failed.
    failures: BTreeSet<String>,
    /// What the messages of bulks ended as: a line for each message would cost more than storing it.
    bulks: BTreeMap<Receipt, Bulk>,
    metrics: Metrics,
}

impl<'a> BatchReport<'a> {
    pub(crate) fn of(records: usize, redelivery: &'a Redelivery) -> Self {
        let mut metrics = Metrics::default();
        metrics.count(Metric::BatchSize, records);
        Self { redelivery, failures: BTreeSet::new(), bulks: BTreeMap::new(), metrics }
    }

    /// The outcome can be looked up.
    pub(crate) fn settled(&mut self, settled: &Decided) {
        let outcome = &settled.outcome;
        let is_bulk = settled.request.receipt.is_bulk();
        if !is_bulk || outcome.status != Status::Stored {
            settled.log();
        }
        let metric = match outcome.status {
            Status::Stored if settled.is_duplicate => Metric::Duplicate,
            Status::Stored => Metric::Stored,
            Status::Rejected => Metric::Rejected,
            Status::Conflict => Metric::Conflict,
            Status::Failed => Metric::Failed,
        };
        if outcome.status == Status::Failed {
            // SQS moves the message to the dead-letter queue because it is reported.
            self.failures.insert(settled.request.record_id.clone());
        }
        self.delivered(outcome.attempts);
        let metrics = if is_bulk {
            let QueuedRequest { record_id, receipt, correlation_id, .. } = &settled.request;
            let bulk = self.bulks.entry(receipt.clone()).or_default();
            bulk.record_id.clone_from(record_id);
            bulk.correlation_id.clone_from(correlation_id);
            bulk.attempt = outcome.attempts;
            &mut bulk.metrics
        } else {
            &mut self.metrics
        };
        metrics.count(metric, 1);
        if let (Metric::Stored, Some(stored_at)) = (metric, outcome.stored_at) {
            metrics.time_to_stored(outcome.received_at, stored_at);
        }
    }

    /// The outcome is open, or cannot be looked up yet: SQS has to redeliver the message, or moves it to the
    /// dead-letter queue, where the dead-letter recorder makes up for what is missing.
    pub(crate) fn unsettled(&mut self, unsettled: Unsettled) {
        let Unsettled { request, attempts } = unsettled;
        let QueuedRequest { record_id, id: message_id, receipt, correlation_id, .. } = request;
        let (correlation_id, receipt, attempt) = (correlation_id.as_deref(), receipt.as_str(), attempts);
        self.delivered(attempts);
        // After the last delivery the dead-letter recorder counts it, if it becomes `failed`.
        if self.redelivery.is_last(attempts) {
            tracing::error!(
                correlation_id,
                message_id,
                receipt,
                attempt,
                "the last delivery failed, without an outcome yet: the message goes to the dead-letter queue"
            );
        } else {
            tracing::warn!(correlation_id, message_id, receipt, attempt, "not settled: to be redelivered");
            self.metrics.count(Metric::Retried, 1);
        }
        self.failures.insert(record_id);
    }

    /// The record ends in the dead-letter queue, for an operator to see: no client can look it up.
    pub(crate) fn unattributed(
        &mut self,
        record_id: &str,
        attempts: Option<u32>,
        Unattributed(reason): Unattributed,
    ) {
        // Its record id is what a receipt would be.
        tracing::error!(receipt = record_id, attempt = attempts, reason, "unattributed record");
        self.delivered(attempts);
        let is_last = self.redelivery.is_last(attempts);
        self.metrics.count(if is_last { Metric::Failed } else { Metric::Retried }, 1);
        self.failures.insert(record_id.to_owned());
    }

    /// Whether SQS has to keep a record.
    pub(crate) fn is_failure(&self, record_id: &str) -> bool {
        self.failures.contains(record_id)
    }

    pub(crate) fn response(mut self, pushed: PushSummary) -> SqsBatchResponse {
        for (receipt, bulk) in self.bulks {
            bulk.log(&receipt);
            // What is redelivered will be settled once more, as a whole: now, part of it would count twice.
            if !self.failures.contains(&bulk.record_id) || self.redelivery.is_last(bulk.attempt) {
                self.metrics.extend(bulk.metrics);
            }
        }
        pushed.count(&mut self.metrics);
        self.metrics.write();
        // These types may get more fields, and cannot be written out.
        let item = |record_id| {
            let mut failure = BatchItemFailure::default();
            failure.item_identifier = record_id;
            failure
        };
        let mut response = SqsBatchResponse::default();
        response.batch_item_failures = self.failures.into_iter().map(item).collect();
        response
    }

    /// No function sees a message before the queue: it is counted as accepted in its first delivery.
    fn delivered(&mut self, attempts: Option<u32>) {
        self.metrics.count(Metric::Accepted, usize::from(attempts == Some(1)));
    }
}

/// What of a bulk is settled in this delivery.
#[derive(Debug, Default)]
struct Bulk {
    record_id: String,
    correlation_id: Option<CorrelationId>,
    attempt: Option<u32>,
    metrics: Metrics,
}

impl Bulk {
    fn log(&self, receipt: &Receipt) {
        let count = |metric| self.metrics.counted(metric);
        tracing::info!(
            correlation_id = self.correlation_id.as_deref(),
            receipt = receipt.as_str(),
            attempt = self.attempt,
            stored = count(Metric::Stored),
            duplicate = count(Metric::Duplicate),
            rejected = count(Metric::Rejected),
            conflict = count(Metric::Conflict),
            failed = count(Metric::Failed),
            "bulk settled, as far as this delivery goes"
        );
    }
}
