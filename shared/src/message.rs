//! The parts of a message, as types that can only hold valid values.

use std::fmt;

use serde::Serialize;
use serde_json::value::RawValue;
use thiserror::Error;

/// The name a client gives its message: 1 to 64 of `A-Z a-z 0-9 _ -`.
///
/// It makes a request safe to repeat. Ids are scoped by owner: two owners may use the same one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct MessageId(String);

/// Why a text is not a message id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a message id is 1 to {} characters out of A-Z, a-z, 0-9, '_' and '-'", MessageId::MAX_CHARS)]
pub struct InvalidMessageId;

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
            Err(InvalidMessageId)
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

/// What a client gets with a `202`: the SQS message id of what it sent, a UUID in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Receipt(String);

/// Why a text is not a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a receipt is the UUID in the response to the request that queued the message")]
pub struct InvalidReceipt;

impl Receipt {
    /// Parses a receipt.
    ///
    /// # Errors
    /// [`InvalidReceipt`] if it does not have the form of a UUID (8-4-4-4-12 hexadecimal digits).
    pub fn parse(text: &str) -> Result<Self, InvalidReceipt> {
        let groups = [8, 4, 4, 4, 12];
        let mut parts = text.split('-');
        let is_group = |part: &str, length: usize| {
            part.len() == length && part.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        let all = groups.into_iter().all(|length| parts.next().is_some_and(|part| is_group(part, length)));
        if all && parts.next().is_none() { Ok(Self(text.to_ascii_lowercase())) } else { Err(InvalidReceipt) }
    }

    /// The receipt as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a client sends: a JSON object of at most [`Payload::MAX_BYTES`], kept as the text that was sent, so that
/// numbers of any size, key order and white space survive.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload(String);

/// Why a text is not a payload.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidPayload {
    /// Nothing was sent.
    #[error("the message is empty: send a JSON object")]
    Empty,
    /// More than [`Payload::MAX_BYTES`] were sent.
    #[error("the message has {bytes} bytes; at most {} (256 KiB) are accepted", Payload::MAX_BYTES)]
    TooLarge {
        /// How many were sent.
        bytes: usize,
    },
    /// Brackets nest deeper than [`Payload::MAX_DEPTH`].
    #[error("the message nests deeper than {} levels", Payload::MAX_DEPTH)]
    TooDeep,
    /// Not a JSON text (RFC 8259).
    #[error("the message is not JSON: line {line}, column {column}")]
    NotJson {
        /// Where reading it failed, from 1.
        line: usize,
        /// Where in the line, from 1.
        column: usize,
    },
    /// A JSON text, but an array, a string, a number, a boolean or null.
    #[error("the message is JSON, but not an object")]
    NotObject,
    /// It has the character that API Gateway puts in the place of bytes that are not UTF-8.
    #[error(
        "the message holds U+FFFD, which stands for bytes that are not UTF-8: send it in UTF-8, and this character, \
         if you mean it, as the JSON escape \\ufffd"
    )]
    NotUtf8,
}

impl Payload {
    /// The longest payload, in bytes of UTF-8: what fits into a DynamoDB item (400 KB, "Quotas in
    /// Amazon DynamoDB") beside everything else that is kept.
    pub const MAX_BYTES: usize = 256 * 1024;

    /// The deepest nesting of arrays and objects, the same that API Gateway's body validation accepts.
    pub const MAX_DEPTH: usize = 1000;

    /// Parses a payload.
    ///
    /// # Errors
    /// [`InvalidPayload`], with the reason for the client.
    pub fn parse(text: impl Into<String>) -> Result<Self, InvalidPayload> {
        let text = text.into();
        Self::check(&text)?;
        Ok(Self(text))
    }

    fn check(text: &str) -> Result<(), InvalidPayload> {
        if text.trim_ascii().is_empty() {
            return Err(InvalidPayload::Empty);
        }
        if text.len() > Self::MAX_BYTES {
            return Err(InvalidPayload::TooLarge { bytes: text.len() });
        }
        let json: &RawValue = serde_json::from_str(text)
            .map_err(|error| InvalidPayload::NotJson { line: error.line(), column: error.column() })?;
        if !json.get().starts_with('{') {
            return Err(InvalidPayload::NotObject);
        }
        // What the client sent is lost by then ("Working with binary media types for REST APIs").
        if text.contains(char::REPLACEMENT_CHARACTER) {
            return Err(InvalidPayload::NotUtf8);
        }
        // Few texts have that many brackets at all, and counting them is quicker than following them.
        if opening_brackets(text) > Self::MAX_DEPTH && depth(text) > Self::MAX_DEPTH {
            return Err(InvalidPayload::TooDeep);
        }
        Ok(())
    }

    /// The payload as it was sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether both are the same JSON: white space, key order and escapes make no difference. Numbers are compared
    /// as written, since `1.0` and `1` are not the same to every reader. Where an object has one name twice, only
    /// the identical text is the same, since readers differ in which value counts (RFC 8259, section 4).
    pub fn is_same_as(&self, other: &str) -> bool {
        self.0 == other || (Self::check(other).is_ok() && comparison::same(&self.0, other))
    }
}

/// Never the content: payloads have no place in logs.
impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.0.len())
    }
}

/// How many brackets a text opens, those in strings among them: it cannot nest deeper.
fn opening_brackets(text: &str) -> usize {
    text.bytes().filter(|byte| matches!(byte, b'{' | b'[')).count()
}

/// How deep the brackets of a JSON text nest.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// How a message was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// In a synchronous request.
    Sync,
    /// Through the queue.
    Queue,
}

impl Via {
    /// The word for it in the table and in responses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Queue => "queue",
        }
    }
}

/// What a message is found by: its id and its owner.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The client's name for the message.
    pub id: MessageId,
    /// The identity that it belongs to.
    pub owner: Owner,
}

impl Key {
    /// The partition key: id, `#`, owner. An id never holds a `#`, so no two keys are written alike.
    pub fn partition_key(&self) -> String {
        format!("{}#{}", self.id.0, self.owner.0)
    }
}

mod comparison;
#[cfg(test)]
mod tests;
