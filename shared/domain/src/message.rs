//! The parts of a message, as types that can only hold valid values: whoever has one need not check it again.

use std::fmt;

use serde::Serialize;
use thiserror::Error;

mod payload;

pub use payload::{InvalidPayload, Payload};

/// The name a client gives its message: 1 to 64 of `A-Z a-z 0-9 _ -`.
///
/// It makes a request safe to repeat. Ids are scoped by owner: two owners may use the same one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct MessageId(String);

/// Why a text is not a message id. The beginning of the text is kept: API Gateway lets no illegal id into the queue, but
/// whoever may send there can, and the owner has to get to know that the message is rejected, and under which name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("a message id is 1 to {} characters out of A-Z, a-z, 0-9, '_' and '-'", MessageId::MAX_CHARS)]
pub struct InvalidMessageId {
    text: String,
}

impl InvalidMessageId {
    /// How much of the text is kept, in bytes: a legal id has at most 64, an illegal one may have any length.
    pub const MAX_BYTES: usize = 256;

    /// The beginning of the text.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl MessageId {
    /// The longest id, in characters.
    pub const MAX_CHARS: usize = 64;

    /// Parses a message id.
    ///
    /// # Errors
    /// [`InvalidMessageId`] if it is empty, too long or holds another character.
    pub fn parse(text: impl Into<String>) -> Result<Self, InvalidMessageId> {
        let text = text.into();
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if (1..=Self::MAX_CHARS).contains(&text.len()) && text.bytes().all(legal) {
            Ok(Self(text))
        } else {
            Err(InvalidMessageId { text: truncated(&text, InvalidMessageId::MAX_BYTES).to_owned() })
        }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text of an id, legal or not.
pub fn id_text(id: &Result<MessageId, InvalidMessageId>) -> &str {
    match id {
        Ok(id) => id.as_str(),
        Err(invalid) => invalid.text(),
    }
}

/// The beginning of a text, at most so many bytes, cut between characters.
pub fn truncated(text: &str, max_bytes: usize) -> &str {
    &text[..text.floor_char_boundary(max_bytes)]
}

/// The identity that a message belongs to: the `sub` of a verified token, 1 to 255 printable ASCII characters
/// (OpenID Connect Core 1.0, section 2, has the same upper limit).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner(String);

/// Why a text is not an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("an owner is 1 to {} printable ASCII characters", Owner::MAX_CHARS)]
pub struct InvalidOwner;

impl Owner {
    /// The longest owner, in characters.
    pub const MAX_CHARS: usize = 255;

    /// Parses an owner.
    ///
    /// # Errors
    /// [`InvalidOwner`] if it is empty, too long or holds another character.
    pub fn parse(text: impl Into<String>) -> Result<Self, InvalidOwner> {
        let text = text.into();
        let printable = |byte: u8| (b' '..=b'~').contains(&byte);
        if (1..=Self::MAX_CHARS).contains(&text.len()) && text.bytes().all(printable) {
            Ok(Self(text))
        } else {
            Err(InvalidOwner)
        }
    }

    /// The owner as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a client gets with a `202`: the id that SQS gave the record, a UUID in lower case; with `bulk-` in front if the
/// request had many messages. It stands for that one request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Receipt(String);

/// Why a text is not a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a receipt is what the response to a queued request calls so: a UUID, or bulk- and a UUID")]
pub struct InvalidReceipt;

impl Receipt {
    /// What the receipt of a request with many messages begins with.
    const BULK: &str = "bulk-";

    /// Parses a receipt.
    ///
    /// # Errors
    /// [`InvalidReceipt`] if it does not have the form of a UUID (8-4-4-4-12 hexadecimal digits), with or without
    /// `bulk-` in front.
    pub fn parse(text: &str) -> Result<Self, InvalidReceipt> {
        let (prefix, uuid) = text.strip_prefix(Self::BULK).map_or(("", text), |uuid| (Self::BULK, uuid));
        let groups = [8, 4, 4, 4, 12];
        let mut parts = uuid.split('-');
        let is_group = |part: &str, length: usize| {
            part.len() == length && part.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        let all = groups.into_iter().all(|length| parts.next().is_some_and(|part| is_group(part, length)));
        if all && parts.next().is_none() {
            Ok(Self(format!("{prefix}{}", uuid.to_ascii_lowercase())))
        } else {
            Err(InvalidReceipt)
        }
    }

    /// The receipt of a request with many messages, whose record has this id.
    ///
    /// # Errors
    /// [`InvalidReceipt`] if the record id is not a UUID.
    pub fn of_bulk(record_id: &str) -> Result<Self, InvalidReceipt> {
        Self::parse(&format!("{}{record_id}", Self::BULK))
    }

    /// Whether it stands for a request with many messages.
    pub fn is_bulk(&self) -> bool {
        self.0.starts_with(Self::BULK)
    }

    /// The receipt as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How a message was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Via {
    /// In a synchronous request.
    Sync,
    /// Through the queue, in the request with this receipt.
    Queue(Receipt),
}

impl Via {
    /// The word for it in the table and in responses.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Queue(_) => "queue",
        }
    }

    /// The receipt of the request that brought the message; none if its response already had the outcome.
    pub fn receipt(&self) -> Option<&Receipt> {
        match self {
            Self::Sync => None,
            Self::Queue(receipt) => Some(receipt),
        }
    }
}

/// What a message is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key<'a> {
    /// The identity that it belongs to.
    pub owner: &'a Owner,
    /// The client's name for it.
    pub id: &'a MessageId,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_id_is_one_to_64_url_safe_characters() {
        for good in ["a", "0", "_", "-", "A-b_9", &"x".repeat(64)] {
            assert!(MessageId::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "a#b", "a/b", "ä", "a\0", "a\n", "%61", &"x".repeat(65)] {
            let invalid = MessageId::parse(bad).expect_err(bad);
            assert_eq!(invalid.text(), bad, "it is kept");
        }
    }

    #[test]
    fn an_owner_is_one_to_255_printable_characters() {
        for good in ["alice", "auth0|5f7c", "CN=Jane Doe, O=Acme", "a#b", &"x".repeat(255)] {
            assert!(Owner::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "a\nb", "a\0", "käthe", "\u{7f}", &"x".repeat(256)] {
            assert_eq!(Owner::parse(bad), Err(InvalidOwner), "{bad:?}");
        }
    }

    #[test]
    fn a_receipt_is_a_uuid() {
        let receipt = Receipt::parse("5FEA7756-0ea4-451a-a703-a558b933e274").expect("a receipt in any case");
        assert_eq!(receipt.as_str(), "5fea7756-0ea4-451a-a703-a558b933e274");
        assert!(!receipt.is_bulk());
        let bulk = Receipt::parse("bulk-5FEA7756-0ea4-451a-a703-a558b933e274").expect("a bulk's receipt");
        assert_eq!(bulk.as_str(), "bulk-5fea7756-0ea4-451a-a703-a558b933e274");
        assert!(bulk.is_bulk());
        assert_eq!(Receipt::of_bulk(receipt.as_str()), Ok(bulk.clone()));
        assert_eq!(Receipt::of_bulk(bulk.as_str()), Err(InvalidReceipt), "one prefix is enough");
        for bad in [
            "",
            "5fea7756",
            "5fea7756-0ea4-451a-a703-a558b933e27",
            "BULK-5fea7756-0ea4-451a-a703-a558b933e274",
            "5fea7756-0ea4-451a-a703-a558b933e274-",
            "5fea7756-0ea4-451a-a703-a558b933e27g",
            "5fea77560ea4451aa703a558b933e274",
        ] {
            assert_eq!(Receipt::parse(bad), Err(InvalidReceipt), "{bad:?}");
        }
    }

    #[test]
    fn of_an_illegal_id_the_beginning_is_kept() {
        let invalid = MessageId::parse("ä".repeat(200)).expect_err("too long");
        assert_eq!(invalid.text(), "ä".repeat(128));
        let invalid = MessageId::parse(format!("a{}", "ä".repeat(200))).expect_err("too long");
        assert_eq!(invalid.text().len(), 255, "cut between characters");
    }

    proptest! {
        #[test]
        fn parsing_any_text_does_not_panic(text in any::<String>()) {
            let _ = MessageId::parse(text.clone());
            let _ = Owner::parse(text.clone());
            let _ = Receipt::parse(&text);
        }
    }
}
