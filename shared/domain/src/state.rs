//! The states of a message and every way from one to the next: the one place that decides. The platform repeats one
//! rule of it as a condition of its writes: a stored message is never replaced.
//!
//! | current state | incoming | effect | outcome of the request |
//! |---|---|---|---|
//! | none, `rejected` or `failed` | a valid message | written | `stored` |
//! | | an invalid message | written | `rejected` |
//! | | a message whose last delivery failed | written | `failed` |
//! | `stored` | the same payload | none: redelivered, or a duplicate | `stored` |
//! | | another payload | none: conflict | `conflict` |
//! | | an invalid message | none: conflict | `rejected` |
//!
//! A message whose last delivery failed is compared with the stored one like any other valid message: if the same
//! payload is stored, the message is stored, whatever happened to the last attempt.
//!
//! An item whose time to live is over counts as none, whether the database has deleted it yet or not.
//!
//! A stored message never changes, and every other may be replaced, however often and in whichever order deliveries
//! arrive. That is why a client may repeat a request, and why SQS may deliver a message twice.

use jiff::Timestamp;
use serde::Serializer;

use crate::message::{InvalidMessageId, Key, MessageId, Owner, Payload, Via, id_text};

/// What a message, or a request by its receipt, ended as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

/// What a client gets to know of its request: in a response, a look-up and a notification alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What the request ended as.
    pub status: Status,
    /// How many deliveries it took, if that is known.
    pub attempts: Option<u32>,
    /// When the API, or the queue behind it, received the request.
    pub received_at: Timestamp,
    /// When this message, or the identical one before it, was stored; none if it was not.
    pub stored_at: Option<Timestamp>,
    /// Why it was not stored, for the client to read; none if it was.
    pub reason: Option<String>,
}

/// The current state of a message: what the table has under its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The outcome of the request that wrote it.
    pub outcome: Outcome,
    /// The text that was sent.
    pub text: String,
    /// How it was sent, and in which request.
    pub via: Via,
}

/// A message on its way into the table.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// The identity that it belongs to.
    pub owner: Owner,
    /// The id that the client gave it.
    pub id: Result<MessageId, InvalidMessageId>,
    /// How it was sent, and in which request.
    pub via: Via,
    /// Which delivery this is, from 1; none if the queue does not say.
    pub attempts: Option<u32>,
    /// When the API, or the queue behind it, received it.
    pub received_at: Timestamp,
    /// What was sent.
    pub content: Content,
}

/// The content of an incoming message. It decides the status that the message is written with.
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
    /// A valid message that could not be stored on its last delivery: to become `failed`.
    Failed {
        /// The payload that was sent.
        payload: Payload,
        /// Why it failed, for the client to read.
        reason: &'static str,
    },
}

impl Content {
    /// The status that it is written with.
    pub fn status(&self) -> Status {
        match self {
            Self::Valid(_) => Status::Stored,
            Self::Invalid { .. } => Status::Rejected,
            Self::Failed { .. } => Status::Failed,
        }
    }

    /// The text that was sent.
    pub fn text(&self) -> &str {
        match self {
            Self::Valid(payload) | Self::Failed { payload, .. } => payload.as_str(),
            Self::Invalid { text, .. } => text,
        }
    }

    /// Why it is not stored.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Valid(_) => None,
            Self::Invalid { reason, .. } => Some(reason),
            Self::Failed { reason, .. } => Some(reason),
        }
    }
}

/// What storing an incoming message did to the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It was written, at this time.
    Written(Timestamp),
    /// The table did not change: an earlier delivery of this request stored the message, at this time, and the response
    /// to that got lost.
    Redelivered(Timestamp),
    /// The table did not change: another request stored the same payload before, at this time.
    Duplicate(Timestamp),
    /// The table did not change: a stored message with another payload stands in the way.
    Conflict,
}

/// Why a message is not known to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotStored {
    /// The database is throttled or unavailable, or time was up. Whether an attempt took effect is unknown.
    Transient,
    /// The database denies the message, has an item under its key that Intake cannot read, or the id is illegal: trying
    /// again at once will not help.
    Permanent,
}

/// The reason of a conflict, for the client to read.
pub const CONFLICT: &str =
    "Another message is stored under this id, and stays. Send this one under an id of its own.";

impl Incoming {
    /// What the message is found by; none if its id is illegal, because no message can have that.
    pub fn key(&self) -> Option<Key<'_>> {
        let id = self.id.as_ref().ok()?;
        Some(Key { owner: &self.owner, id })
    }

    /// The text of its id, legal or not.
    pub fn id_text(&self) -> &str {
        id_text(&self.id)
    }

    /// The effect of a message in whose way the current one under its key stands. None if it has to be written.
    pub fn effect_without_write(&self, current: &Message) -> Option<Effect> {
        // Only what is stored stands in the way, and that has a time.
        let stored_at = current.outcome.stored_at.filter(|_| current.outcome.status == Status::Stored)?;
        Some(match &self.content {
            Content::Valid(payload) | Content::Failed { payload, .. }
                if payload.is_same_as(&current.text) =>
            {
                // The client sees no difference; but the item of the message holds the outcome of one request only.
                let is_same_request = self.via.receipt().is_some() && self.via == current.via;
                if is_same_request { Effect::Redelivered(stored_at) } else { Effect::Duplicate(stored_at) }
            }
            _ => Effect::Conflict,
        })
    }

    /// The outcome of the request, once storing it had this effect.
    pub fn outcome(&self, effect: Effect) -> Outcome {
        let (status, stored_at, reason) = match (&self.content, effect) {
            (Content::Invalid { reason, .. }, _) => (Status::Rejected, None, Some(reason.clone())),
            (Content::Failed { reason, .. }, Effect::Written(_)) => {
                (Status::Failed, None, Some((*reason).to_owned()))
            }
            (_, Effect::Conflict) => (Status::Conflict, None, Some(CONFLICT.to_owned())),
            (_, Effect::Written(at) | Effect::Redelivered(at) | Effect::Duplicate(at)) => {
                (Status::Stored, Some(at), None)
            }
        };
        Outcome { status, attempts: self.attempts, received_at: self.received_at, stored_at, reason }
    }

    /// The outcome of a message that cannot be written: its id is illegal, or the database denies it. An invalid one is
    /// rejected, and one whose last delivery failed has failed, all the same. A valid one has no outcome.
    pub fn outcome_if_unwritable(&self) -> Option<Outcome> {
        let reason = self.content.reason()?.to_owned();
        let (attempts, received_at) = (self.attempts, self.received_at);
        Some(Outcome {
            status: self.content.status(),
            attempts,
            received_at,
            stored_at: None,
            reason: Some(reason),
        })
    }

    /// Whether the message under its key holds the outcome of this request, and goes on holding it. Otherwise, because
    /// it is of another request or may be replaced, the outcome has to be kept under the receipt.
    pub fn is_held_by_message(&self, effect: Effect) -> bool {
        match effect {
            Effect::Written(_) => matches!(self.content, Content::Valid(_)),
            Effect::Redelivered(_) => true,
            Effect::Duplicate(_) | Effect::Conflict => false,
        }
    }
}

/// A time as every item, response and event has it: RFC 3339 with milliseconds, always three digits, so that texts sort
/// like times.
pub fn milliseconds(time: Timestamp) -> String {
    format!("{time:.3}")
}

/// Serializes a time like [`milliseconds`].
///
/// # Errors
/// Those of the serializer.
pub fn to_the_millisecond<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{time:.3}"))
}

/// The same for a time that may be missing.
///
/// # Errors
/// Those of the serializer.
pub fn optional_to_the_millisecond<S: Serializer>(
    time: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => to_the_millisecond(time, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Receipt;

    const OWN: &str = "5fea7756-0ea4-451a-a703-a558b933e274";
    const OTHER: &str = "e2662650-0ea4-451a-a703-a558b933e274";

    fn queued(receipt: &str) -> Via {
        Via::Queue(Receipt::parse(receipt).expect("a receipt"))
    }

    fn incoming(content: Content) -> Incoming {
        Incoming {
            owner: Owner::parse("alice").expect("legal"),
            id: MessageId::parse("m"),
            via: queued(OWN),
            attempts: Some(1),
            received_at: Timestamp::UNIX_EPOCH,
            content,
        }
    }

    fn valid(text: &str) -> Content {
        Content::Valid(Payload::parse(text).expect("a payload"))
    }

    fn invalid() -> Content {
        Content::Invalid { text: "[]".into(), reason: "not an object".into() }
    }

    fn failed(text: &str) -> Content {
        Content::Failed { payload: Payload::parse(text).expect("a payload"), reason: "throttled" }
    }

    fn current(status: Status, text: &str, via: Via) -> Message {
        let stored_at = (status == Status::Stored).then_some(Timestamp::UNIX_EPOCH);
        let (attempts, received_at, reason) = (None, Timestamp::UNIX_EPOCH, None);
        let outcome = Outcome { status, attempts, received_at, stored_at, reason };
        Message { outcome, text: text.to_owned(), via }
    }

    #[test]
    fn a_rejected_or_failed_message_is_replaced() {
        for status in [Status::Rejected, Status::Failed] {
            for content in [valid(r#"{"c":1}"#), invalid(), failed(r#"{"c":1}"#)] {
                assert_eq!(
                    incoming(content).effect_without_write(&current(status, r#"{"c":1}"#, queued(OWN))),
                    None
                );
            }
        }
    }

    #[test]
    fn a_stored_message_never_changes() {
        let at = Timestamp::UNIX_EPOCH;
        let stored = |via| current(Status::Stored, r#"{"a":1,"b":2}"#, via);
        for (content, via, effect) in [
            (valid(r#"{"b":2, "a":1}"#), queued(OWN), Effect::Redelivered(at)),
            (valid(r#"{"b":2, "a":1}"#), queued(OTHER), Effect::Duplicate(at)),
            (valid(r#"{"b":2, "a":1}"#), Via::Sync, Effect::Duplicate(at)),
            (valid(r#"{"a":1}"#), queued(OWN), Effect::Conflict),
            (invalid(), queued(OWN), Effect::Conflict),
            (failed(r#"{"b":2, "a":1}"#), queued(OWN), Effect::Redelivered(at)),
            (failed(r#"{"b":2, "a":1}"#), queued(OTHER), Effect::Duplicate(at)),
            (failed(r#"{"c":1}"#), queued(OTHER), Effect::Conflict),
        ] {
            assert_eq!(
                incoming(content.clone()).effect_without_write(&stored(via)),
                Some(effect),
                "{content:?}"
            );
        }
    }

    #[test]
    fn synchronous_requests_without_receipts_are_not_the_same_request() {
        let synchronous = Incoming { via: Via::Sync, ..incoming(valid(r#"{"c":1}"#)) };
        let effect = synchronous.effect_without_write(&current(Status::Stored, r#"{"c":1}"#, Via::Sync));
        assert_eq!(effect, Some(Effect::Duplicate(Timestamp::UNIX_EPOCH)));
    }

    #[test]
    fn every_outcome_but_that_of_its_own_stored_message_is_kept_under_the_receipt() {
        let at = Timestamp::UNIX_EPOCH;
        let written = Effect::Written(at);
        for (content, effect, status, held) in [
            (valid(r#"{"c":1}"#), written, Status::Stored, true),
            (valid(r#"{"c":1}"#), Effect::Redelivered(at), Status::Stored, true),
            (valid(r#"{"c":1}"#), Effect::Duplicate(at), Status::Stored, false),
            (valid(r#"{"c":1}"#), Effect::Conflict, Status::Conflict, false),
            (invalid(), written, Status::Rejected, false),
            (invalid(), Effect::Conflict, Status::Rejected, false),
            (failed(r#"{"c":1}"#), written, Status::Failed, false),
            (failed(r#"{"c":1}"#), Effect::Redelivered(at), Status::Stored, true),
            (failed(r#"{"c":1}"#), Effect::Duplicate(at), Status::Stored, false),
            (failed(r#"{"c":1}"#), Effect::Conflict, Status::Conflict, false),
        ] {
            let incoming = incoming(content);
            let outcome = incoming.outcome(effect);
            assert_eq!(outcome.status, status, "{incoming:?} {effect:?}");
            assert_eq!(outcome.stored_at.is_some(), status == Status::Stored);
            assert_eq!(outcome.reason.is_none(), status == Status::Stored);
            assert_eq!(incoming.is_held_by_message(effect), held, "{incoming:?} {effect:?}");
        }
    }

    #[test]
    fn what_cannot_be_written_is_rejected_or_failed_but_never_stored() {
        let status = |content| incoming(content).outcome_if_unwritable().map(|outcome| outcome.status);
        assert_eq!(status(valid(r#"{"c":1}"#)), None);
        assert_eq!(status(invalid()), Some(Status::Rejected));
        assert_eq!(status(failed(r#"{"c":1}"#)), Some(Status::Failed));
    }
}
