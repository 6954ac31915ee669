//! One message of a record on its way: a [`Delivery`] that is to be stored becomes [`Settled`], or stays [`Unsettled`].

use intake_domain::{
    message::{Owner, Receipt},
    state::{Content, Effect, Incoming, Outcome, Status},
};

use crate::{storing::NotStored, telemetry::CorrelationId};

/// One delivery of a message.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The queue's name for the record, also in the response to Lambda.
    pub record_id: String,
    /// The receipt that the client got: the record id, unless the message was redriven.
    pub receipt: Receipt,
    /// Joins the log lines of the message; none if the gateway sent none.
    pub correlation_id: Option<CorrelationId>,
    /// The message.
    pub incoming: Incoming,
}

/// A delivery whose outcome is certain.
#[derive(Clone, Debug)]
pub struct Settled {
    /// The queue's name for the record, also in the response to Lambda.
    pub record_id: String,
    /// The identity that the message belongs to.
    pub owner: Owner,
    /// The id as the client sent it, which need not be a legal one.
    pub id: String,
    /// The receipt that the client got.
    pub receipt: Receipt,
    /// Joins the log lines of the message; none if the gateway sent none.
    pub correlation_id: Option<CorrelationId>,
    /// What the request ended as.
    pub outcome: Outcome,
    /// Whether another request had stored the same payload before.
    pub is_duplicate: bool,
    /// Whether the outcome has to be kept under the receipt, because the message does not hold it.
    pub is_kept_under_receipt: bool,
}

/// A delivery whose outcome is open, or cannot be looked up yet.
#[derive(Clone, Debug)]
pub struct Unsettled {
    /// The queue's name for the record, also in the response to Lambda.
    pub record_id: String,
    /// The id as the client sent it.
    pub id: String,
    /// The receipt that the client got.
    pub receipt: Receipt,
    /// Joins the log lines of the message; none if the gateway sent none.
    pub correlation_id: Option<CorrelationId>,
    /// Which delivery of the message it was, from 1; none if the queue does not say.
    pub attempts: Option<u32>,
}

impl Delivery {
    /// The same message after its last delivery has failed.
    #[must_use]
    pub fn failed(mut self) -> Self {
        if let Content::Valid(payload) = self.incoming.content {
            let reason = "The message was not confirmed as stored in any of its deliveries: the database was \
                          throttled or unavailable. It is in the dead-letter queue.";
            self.incoming.content = Content::Failed { payload, reason };
        }
        self
    }

    /// What storing it came to.
    ///
    /// # Errors
    /// The delivery, if its outcome is open, because it was not stored: it is worth another delivery.
    pub fn settle(self, stored: Result<Effect, NotStored>) -> Result<Settled, Box<Self>> {
        match stored {
            Ok(effect) => {
                let outcome = self.incoming.outcome(effect);
                Ok(self.settled(outcome, Some(effect)))
            }
            // It is rejected, whatever the database does.
            Err(_) if self.incoming.id.is_err() => self.settle_without_effect(),
            Err(_) => Err(Box::new(self)),
        }
    }

    /// What it came to although the database denies it for good, also as a rejected or failed one.
    ///
    /// # Errors
    /// The delivery, if it is a valid message that has not failed: it has no outcome.
    pub fn settle_without_effect(self) -> Result<Settled, Box<Self>> {
        match self.incoming.outcome_without_effect() {
            Some(outcome) => Ok(self.settled(outcome, None)),
            None => Err(Box::new(self)),
        }
    }

    fn settled(self, outcome: Outcome, effect: Option<Effect>) -> Settled {
        let is_held = effect.is_some_and(|effect| self.incoming.is_held_by_message(effect));
        // Under the receipt of a redriven message stands `failed`, which may outlive the message: it is replaced.
        let is_redriven = !self.record_id.eq_ignore_ascii_case(self.receipt.as_str());
        let is_duplicate = matches!(effect, Some(Effect::Duplicate(_))) && outcome.status == Status::Stored;
        Settled {
            id: self.incoming.id_as_sent().to_owned(),
            record_id: self.record_id,
            owner: self.incoming.owner,
            receipt: self.receipt,
            correlation_id: self.correlation_id,
            outcome,
            is_duplicate,
            is_kept_under_receipt: is_redriven || !is_held,
        }
    }
}

impl Settled {
    /// Logs the outcome: a failure as an error.
    pub fn log(&self) {
        let correlation_id = self.correlation_id.as_ref().map(CorrelationId::as_str);
        let (message_id, receipt) = (self.id.as_str(), self.receipt.as_str());
        let attempt = self.outcome.attempts;
        let outcome = if self.is_duplicate { "duplicate" } else { self.outcome.status.as_str() };
        if self.outcome.status == Status::Failed {
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
}

impl From<Delivery> for Unsettled {
    fn from(delivery: Delivery) -> Self {
        Self {
            id: delivery.incoming.id_as_sent().to_owned(),
            attempts: delivery.incoming.attempts,
            record_id: delivery.record_id,
            receipt: delivery.receipt,
            correlation_id: delivery.correlation_id,
        }
    }
}

impl From<Settled> for Unsettled {
    fn from(settled: Settled) -> Self {
        let Settled { record_id, id, receipt, correlation_id, outcome, .. } = settled;
        Self { record_id, id, receipt, correlation_id, attempts: outcome.attempts }
    }
}

/// Whether a delivery with this receive count is the last one before SQS moves the record to the dead-letter queue.
/// `max_receive_count` is that of the queue. Without a receive count this is not known: SQS counts for itself.
pub fn is_last(attempts: Option<u32>, max_receive_count: u32) -> bool {
    attempts.is_some_and(|attempts| attempts >= max_receive_count)
}
