//! The states of a message and every way from one to the next: the one place that decides.
//!
//! ```text
//! there is             and comes            then
//! nothing              anything             it is recorded
//! rejected or failed   anything             it is recorded
//! stored               the same payload     nothing changes
//! stored               another payload      conflict; what is stored stays
//! stored               something invalid    nothing changes
//! ```
//!
//! A message whose deliveries are exhausted is compared with what is stored like any other valid one:
//! what is there tells what became of it, better than that the last attempt failed.
//!
//! So a message can only get better, and whatever is stored stays as it is, however often and in
//! whichever order deliveries come.

use jiff::Timestamp;
use serde::Serialize;

use crate::message::{Key, Payload, Receipt, Via};

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is in the table as it was sent.
    Stored,
    /// It is no valid message and is not tried again.
    Rejected,
    /// It was delivered as often as allowed without success, and is in the dead-letter queue.
    Failed,
}

impl Status {
    /// As it is written in the table and in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
        }
    }
}

/// What came in, and what it would become if nothing were there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A valid message: to be stored.
    Valid(Payload),
    /// An invalid one: to be rejected.
    Invalid {
        /// What came.
        text: String,
        /// Why it is rejected, for the client to read.
        reason: String,
    },
    /// A valid one that could not be stored on its last delivery.
    Exhausted {
        /// What came.
        payload: Payload,
        /// Why it failed, for the client to read.
        reason: String,
    },
}

impl Content {
    /// The state it leads to if it is recorded.
    pub fn status(&self) -> Status {
        match self {
            Self::Valid(_) => Status::Stored,
            Self::Invalid { .. } => Status::Rejected,
            Self::Exhausted { .. } => Status::Failed,
        }
    }

    /// The text that came.
    pub fn text(&self) -> &str {
        match self {
            Self::Valid(payload) | Self::Exhausted { payload, .. } => payload.as_str(),
            Self::Invalid { text, .. } => text,
        }
    }

    /// Why it is not to be stored.
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
    /// What it is found by.
    pub key: Key,
    /// Which way it came.
    pub via: Via,
    /// Which delivery this is, from 1.
    pub attempts: u32,
    /// When it was accepted.
    pub received_at: Timestamp,
    /// The queue's name for it; none if it came in a request.
    pub receipt: Option<Receipt>,
    /// What came.
    pub content: Content,
}

/// What the table has about a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What became of it.
    pub status: Status,
    /// The text that came.
    pub text: String,
    /// Which way it came.
    pub via: Via,
    /// How many deliveries it took.
    pub attempts: u32,
    /// When it was accepted.
    pub received_at: Timestamp,
    /// When it was stored, if it was.
    pub stored_at: Option<Timestamp>,
    /// The queue's name for it; none if it came in a request.
    pub receipt: Option<Receipt>,
    /// Why it was not stored, if it was not.
    pub reason: Option<String>,
}

/// What an arrival does to the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// It is recorded, in the place of what was there.
    Record,
    /// It changes nothing: what is stored already is the same, or better.
    Unchanged,
    /// Another payload is stored under its key, and stays.
    Conflict,
}

/// Decides what becomes of what comes, given what is there.
pub fn transition(existing: Option<(Status, &str)>, arriving: &Content) -> Transition {
    match (existing, arriving) {
        (None | Some((Status::Rejected | Status::Failed, _)), _) => Transition::Record,
        (Some((Status::Stored, stored)), Content::Valid(payload) | Content::Exhausted { payload, .. }) => {
            if payload.is_same_as(stored) {
                Transition::Unchanged
            } else {
                Transition::Conflict
            }
        }
        (Some((Status::Stored, _)), Content::Invalid { .. }) => Transition::Unchanged,
    }
}

/// [`transition`]'s `Record` as a DynamoDB condition, so that looking and writing are one step.
/// `#status` is the attribute with the status, `:stored` the text of [`Status::Stored`].
pub const RECORD_CONDITION: &str = "attribute_not_exists(pk) OR #status <> :stored";

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
    fn whatever_comes_first_is_recorded() {
        for content in [valid("{}"), invalid(), exhausted("{}")] {
            assert_eq!(transition(None, &content), Transition::Record);
        }
    }

    #[test]
    fn what_was_not_stored_may_be_recorded_anew() {
        for there in [Status::Rejected, Status::Failed] {
            for content in [valid("{}"), invalid(), exhausted("{}")] {
                assert_eq!(transition(Some((there, "{}")), &content), Transition::Record);
            }
        }
    }

    #[test]
    fn what_is_stored_stays() {
        let stored = Some((Status::Stored, r#"{"a":1,"b":2}"#));
        assert_eq!(transition(stored, &valid(r#"{"b":2, "a":1}"#)), Transition::Unchanged);
        assert_eq!(transition(stored, &valid(r#"{"a":1}"#)), Transition::Conflict);
        assert_eq!(transition(stored, &invalid()), Transition::Unchanged);
        assert_eq!(transition(stored, &exhausted(r#"{"b":2, "a":1}"#)), Transition::Unchanged);
        assert_eq!(transition(stored, &exhausted("{}")), Transition::Conflict);
    }
}
