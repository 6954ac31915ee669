//! The states of a message and every way from one to the next: the one place that decides.
//!
//! | current state | incoming | result |
//! |---|---|---|
//! | none | anything | recorded |
//! | `rejected` or `failed` | anything | recorded in its place |
//! | `stored` | the same payload | duplicate: unchanged |
//! | `stored` | another payload, or an invalid message | conflict: unchanged |
//!
//! A message whose last delivery failed is compared with the stored one like any other valid message: if the same
//! payload is stored, the message is stored, whatever happened to the last attempt.
//!
//! So a message only ever gets better, and a stored message never changes, however often and in whichever order
//! deliveries arrive.

use jiff::Timestamp;
use serde::Serialize;

use crate::message::{Key, Owner, Payload, Receipt, Via};

/// What a message, or a request by its receipt, ended as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is in the table as it was sent.
    Stored,
    /// It is not a valid message and is not tried again.
    Rejected,
    /// Another payload is stored under its id. No message has this status, only a request.
    Conflict,
    /// Every delivery failed; it is in the dead-letter queue.
    Failed,
}

impl Status {
    /// The word for it in the table, in responses and in events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Rejected => "rejected",
            Self::Conflict => "conflict",
            Self::Failed => "failed",
        }
    }

    /// The status with this word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Stored, Self::Rejected, Self::Conflict, Self::Failed]
            .into_iter()
            .find(|status| status.as_str() == text)
    }
}

/// The content of an incoming message, and so its status if nothing is recorded yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A valid message: to be stored.
    Valid(Payload),
    /// An invalid message: to be rejected.
    Invalid {
        /// The text that was sent.
        text: String,
        /// Why it is rejected, for the client to read.
        reason: String,
    },
    /// A valid message that could not be stored on its last delivery.
    Exhausted {
        /// The payload that was sent.
        payload: Payload,
        /// Why it failed, for the client to read.
        reason: String,
    },
}

impl Content {
    /// The status of its record, if it is recorded.
    pub fn status(&self) -> Status {
        match self {
            Self::Valid(_) => Status::Stored,
            Self::Invalid { .. } => Status::Rejected,
            Self::Exhausted { .. } => Status::Failed,
        }
    }

    /// The text that was sent.
    pub fn text(&self) -> &str {
        match self {
            Self::Valid(payload) | Self::Exhausted { payload, .. } => payload.as_str(),
            Self::Invalid { text, .. } => text,
        }
    }

    /// Why it is not stored.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Valid(_) => None,
            Self::Invalid { reason, .. } | Self::Exhausted { reason, .. } => Some(reason),
        }
    }
}

/// A message on its way into the table.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// Id and owner.
    pub key: Key,
    /// How it was sent.
    pub via: Via,
    /// Which delivery this is, from 1; none if the queue does not say.
    pub attempts: Option<u32>,
    /// When it was accepted.
    pub received_at: Timestamp,
    /// The receipt that its client got with the `202`; none if it was sent in a synchronous request.
    pub receipt: Option<Receipt>,
    /// What was sent.
    pub content: Content,
}

/// The record of a message in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What the message ended as.
    pub status: Status,
    /// The text that was sent.
    pub text: String,
    /// How it was sent.
    pub via: Via,
    /// How many deliveries it took, if that is known.
    pub attempts: Option<u32>,
    /// When it was accepted.
    pub received_at: Timestamp,
    /// When it was stored, if it was.
    pub stored_at: Option<Timestamp>,
    /// The receipt that its client got; none if it was sent in a synchronous request.
    pub receipt: Option<Receipt>,
    /// Why it was not stored, if it was not.
    pub reason: Option<String>,
}

/// What an incoming message does to the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// It is recorded, in place of whatever was there.
    Record,
    /// The same payload is stored already: nothing changes.
    Duplicate,
    /// Another message is stored under its key: nothing changes.
    Conflict,
}

/// Decides what an incoming message does, given the status and the text of the current record.
pub fn transition(current: Option<(Status, &str)>, incoming: &Content) -> Transition {
    match (current, incoming) {
        (Some((Status::Stored, stored)), Content::Valid(payload) | Content::Exhausted { payload, .. })
            if payload.is_same_as(stored) =>
        {
            Transition::Duplicate
        }
        (Some((Status::Stored, _)), _) => Transition::Conflict,
        _ => Transition::Record,
    }
}

/// [`transition`]'s `Record` as a DynamoDB condition, so that the check and the write are one step.
/// `#status` is the attribute with the status, `:stored` the text of [`Status::Stored`].
pub const RECORD_CONDITION: &str = "attribute_not_exists(pk) OR #status <> :stored";

/// The result of recording an incoming message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It was written, at this time.
    Written(Timestamp),
    /// An earlier delivery of this very message stored it, at this time; the response to that got lost.
    Redelivered(Timestamp),
    /// Another message with the same payload was stored before, at this time.
    Duplicate(Timestamp),
    /// Another message is stored under its key.
    Conflict,
}

/// What a request ended as: its look-up and its notification say the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What the request ended as.
    pub status: Status,
    /// How many deliveries it took, if that is known.
    pub attempts: Option<u32>,
    /// When the request was accepted.
    pub received_at: Timestamp,
    /// When this message, or the identical one before it, was stored; none if it was not.
    pub stored_at: Option<Timestamp>,
    /// Why it was not stored, for the client to read; none if it was.
    pub reason: Option<String>,
}

/// The reason of a conflict.
const CONFLICT: &str =
    "Another message is stored under this id, and stays. Send this one under an id of its own.";

impl Incoming {
    /// What the request ended as.
    pub fn outcome(&self, recorded: Recorded) -> Outcome {
        let (status, stored_at, reason) = match (&self.content, recorded) {
            (Content::Invalid { reason, .. }, _) => (Status::Rejected, None, Some(reason.clone())),
            (Content::Exhausted { reason, .. }, Recorded::Written(_)) => {
                (Status::Failed, None, Some(reason.clone()))
            }
            (_, Recorded::Conflict) => (Status::Conflict, None, Some(CONFLICT.to_owned())),
            (_, Recorded::Written(at) | Recorded::Redelivered(at) | Recorded::Duplicate(at)) => {
                (Status::Stored, Some(at), None)
            }
        };
        Outcome { status, attempts: self.attempts, received_at: self.received_at, stored_at, reason }
    }

    /// Whether the outcome has to be noted under the receipt, because the record of the message names another request
    /// or may be replaced.
    pub fn needs_note(&self, recorded: Recorded) -> bool {
        match recorded {
            Recorded::Written(_) => !matches!(self.content, Content::Valid(_)),
            Recorded::Redelivered(_) => false,
            Recorded::Duplicate(_) | Recorded::Conflict => true,
        }
    }
}

/// The outcome of a request, to be found by its receipt if no record holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The identity that the request belongs to.
    pub owner: Owner,
    /// The receipt that its client got.
    pub receipt: Receipt,
    /// The id as the client sent it, which need not be a legal one.
    pub id: String,
    /// What the request ended as.
    pub outcome: Outcome,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn valid(text: &str) -> Content {
        Content::Valid(Payload::parse(text).expect("a payload"))
    }

    fn invalid() -> Content {
        Content::Invalid { text: "[]".into(), reason: "not an object".into() }
    }

    fn exhausted(text: &str) -> Content {
        let payload = Payload::parse(text).expect("a payload");
        Content::Exhausted { payload, reason: "throttled".into() }
    }

    #[test]
    fn the_first_message_of_a_key_is_recorded() {
        for content in [valid("{}"), invalid(), exhausted("{}")] {
            assert_eq!(transition(None, &content), Transition::Record);
        }
    }

    #[test]
    fn a_rejected_or_failed_message_is_replaced() {
        for current in [Status::Rejected, Status::Failed] {
            for content in [valid("{}"), invalid(), exhausted("{}")] {
                assert_eq!(transition(Some((current, "{}")), &content), Transition::Record);
            }
        }
    }

    #[test]
    fn a_stored_message_never_changes() {
        let stored = Some((Status::Stored, r#"{"a":1,"b":2}"#));
        assert_eq!(transition(stored, &valid(r#"{"b":2, "a":1}"#)), Transition::Duplicate);
        assert_eq!(transition(stored, &valid(r#"{"a":1}"#)), Transition::Conflict);
        assert_eq!(transition(stored, &invalid()), Transition::Conflict);
        assert_eq!(transition(stored, &exhausted(r#"{"b":2, "a":1}"#)), Transition::Duplicate);
        assert_eq!(transition(stored, &exhausted("{}")), Transition::Conflict);
    }

    #[test]
    fn every_outcome_but_that_of_its_own_stored_message_is_noted() {
        let at = Timestamp::UNIX_EPOCH;
        let written = Recorded::Written(at);
        for (content, recorded, status, noted) in [
            (valid("{}"), written, Status::Stored, false),
            (valid("{}"), Recorded::Redelivered(at), Status::Stored, false),
            (valid("{}"), Recorded::Duplicate(at), Status::Stored, true),
            (valid("{}"), Recorded::Conflict, Status::Conflict, true),
            (invalid(), written, Status::Rejected, true),
            (invalid(), Recorded::Conflict, Status::Rejected, true),
            (exhausted("{}"), written, Status::Failed, true),
            (exhausted("{}"), Recorded::Redelivered(at), Status::Stored, false),
            (exhausted("{}"), Recorded::Duplicate(at), Status::Stored, true),
            (exhausted("{}"), Recorded::Conflict, Status::Conflict, true),
        ] {
            let key = Key {
                id: crate::message::MessageId::parse("m").expect("legal"),
                owner: Owner::parse("alice").expect("legal"),
            };
            let incoming =
                Incoming { key, via: Via::Queue, attempts: Some(1), received_at: at, receipt: None, content };
            let outcome = incoming.outcome(recorded);
            assert_eq!(outcome.status, status, "{incoming:?} {recorded:?}");
            assert_eq!(outcome.stored_at.is_some(), status == Status::Stored);
            assert_eq!(outcome.reason.is_none(), status == Status::Stored);
            assert_eq!(incoming.needs_note(recorded), noted, "{incoming:?} {recorded:?}");
        }
    }
}
