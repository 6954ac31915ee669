//! One message of a record on its way: a record has one, or as many as a bulk. A [`Delivery`] is [`Decided`] when its
//! outcome is certain. It is [`Unsettled`] until a look-up finds that outcome.

use intake_domain::{
    message::{Owner, Receipt},
    state::{Content, Effect, Incoming, NotStored, Outcome, Status},
};

use crate::telemetry::CorrelationId;

/// A request through the queue, as everything that happens to it names it: the response to Lambda, the outcome under
/// its receipt, the notification, the log.
#[derive(Clone, Debug)]
pub struct QueuedRequest {
    /// What SQS calls the record. The response to Lambda names it if it fails.
    pub record_id: String,
    /// The identity that the message belongs to.
    pub owner: Owner,
    /// The text of the message's id, legal or not.
    pub id: String,
    /// The receipt that the client got: it is made of the record id, unless the message was redriven.
    pub receipt: Receipt,
    /// Which message of its record it is, from 0.
    pub index: usize,
    /// How many messages its record has.
    pub record_size: usize,
    /// Joins the log lines of the message; none if the gateway sent none.
    pub correlation_id: Option<CorrelationId>,
}

/// One delivery of a message.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The request that queued it.
    pub request: QueuedRequest,
    /// The message.
    pub incoming: Incoming,
}

/// A delivery whose outcome is certain. It is settled once a look-up finds the outcome, too.
#[derive(Clone, Debug)]
pub struct Decided {
    /// The request that queued it.
    pub request: QueuedRequest,
    /// What the request ended as.
    pub outcome: Outcome,
    /// Whether another request had stored the same payload before.
    pub is_duplicate: bool,
    /// Whether the message in the table holds the outcome.
    pub is_held: bool,
    /// Whether the outcome has to be kept under the receipt.
    pub needs_keeping: bool,
}

/// A delivery whose outcome is open, or cannot be looked up yet.
#[derive(Clone, Debug)]
pub struct Unsettled {
    /// The request that queued it.
    pub request: QueuedRequest,
    /// Which delivery of the message it was, from 1; none if the queue does not say.
    pub attempts: Option<u32>,
}

impl Delivery {
    /// The same message after its last delivery has failed. An invalid message stays what it is: it is rejected.
    #[must_use]
    pub fn failed(mut self) -> Self {
        if let Content::Valid(payload) = self.incoming.content {
            // Whether the database denied it, was unavailable or never asked makes no difference to the client.
            let reason = "The message was not confirmed as stored in any of its deliveries. It goes to the dead-letter \
                          queue, from where an operator can return it.";
            self.incoming.content = Content::Failed { payload, reason };
        }
        self
    }

    /// What storing it came to.
    ///
    /// # Errors
    /// The delivery, if it was not stored. It is boxed because it is large, and the exception.
    pub fn decide(self, stored: Result<Effect, NotStored>) -> Result<Decided, Box<Self>> {
        match stored {
            Ok(effect) => {
                let outcome = self.incoming.outcome(effect);
                Ok(self.decided(outcome, Some(effect)))
            }
            // It is rejected, whatever the database does.
            Err(_) if self.incoming.id.is_err() => self.decide_unwritable(),
            Err(_) => Err(Box::new(self)),
        }
    }

    /// Decides a delivery that cannot be written.
    ///
    /// # Errors
    /// The delivery, if it is a valid message that has not failed: it has no outcome.
    pub fn decide_unwritable(self) -> Result<Decided, Box<Self>> {
        match self.incoming.outcome_if_unwritable() {
            Some(outcome) => Ok(self.decided(outcome, None)),
            None => Err(Box::new(self)),
        }
    }

    fn decided(self, outcome: Outcome, effect: Option<Effect>) -> Decided {
        let Self { request, incoming } = self;
        let is_held = effect.is_some_and(|effect| incoming.is_held_by_message(effect));
        // A redriven message already has `failed` under its receipt. The new outcome replaces it, because otherwise
        // `failed` would show again when the message expires. A client reads the outcomes of a bulk in one place,
        // whatever its messages hold. The receipts of both are other texts than the record's id.
        let is_receipt_of_record = request.record_id.eq_ignore_ascii_case(request.receipt.as_str());
        let is_duplicate = matches!(effect, Some(Effect::Duplicate(_)));
        let needs_keeping = !is_receipt_of_record || !is_held;
        Decided { request, outcome, is_duplicate, is_held, needs_keeping }
    }
}

impl Decided {
    /// Logs the outcome: a failure as an error.
    pub fn log(&self) {
        let QueuedRequest { id: message_id, receipt, correlation_id, .. } = &self.request;
        let (correlation_id, receipt) = (correlation_id.as_deref(), receipt.as_str());
        let attempt = self.outcome.attempts;
        let outcome = if self.is_duplicate { "duplicate" } else { self.outcome.status.as_str() };
        if self.outcome.status == Status::Failed {
            tracing::error!(
                correlation_id,
                message_id,
                receipt,
                attempt,
                outcome,
                "failed: to the dead-letter queue"
            );
        } else {
            tracing::info!(correlation_id, message_id, receipt, attempt, outcome, "settled");
        }
    }
}

impl From<Delivery> for Unsettled {
    fn from(delivery: Delivery) -> Self {
        Self { request: delivery.request, attempts: delivery.incoming.attempts }
    }
}

impl From<Decided> for Unsettled {
    fn from(decided: Decided) -> Self {
        Self { request: decided.request, attempts: decided.outcome.attempts }
    }
}
