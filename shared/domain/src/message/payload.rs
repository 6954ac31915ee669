//! What a client sends: a JSON object, checked and compared without being taken apart.

use std::fmt;

use serde_json::value::RawValue;
use thiserror::Error;

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
    /// An object without members, which API Gateway makes of a request without a body.
    #[error("the message has no members: send a JSON object with at least one")]
    NoMembers,
    /// The team's schema does not allow it.
    #[error("the message does not fit the schema: {faults}")]
    Schema {
        /// What is wrong where: a JSON Pointer and a sentence for each of the first few faults.
        faults: String,
    },
    /// An object has one name twice.
    #[error("an object of the message has a name twice, and readers differ in which value counts: {pointer}")]
    RepeatedName {
        /// The name, as a JSON Pointer.
        pointer: String,
    },
    /// It begins with U+FEFF, as some programs write text files.
    #[error("the message begins with a byte order mark (U+FEFF), which is no part of JSON: send it without")]
    ByteOrderMark,
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

    /// How much of a JSON Pointer a reason holds, in bytes: a name may be as long as a payload.
    const MAX_POINTER_BYTES: usize = 256;

    /// Parses a payload.
    ///
    /// # Errors
    /// [`InvalidPayload`], with the reason for the client.
    pub fn parse(text: impl Into<String>) -> Result<Self, InvalidPayload> {
        let text = text.into();
        Self::check(&text)?;
        #[cfg(message_schema)]
        schema::check(&text, &schema::OF_MESSAGES)?;
        Ok(Self(text))
    }

    /// The same for a text that is known to be JSON, because it was cut out of one.
    ///
    /// # Errors
    /// [`InvalidPayload`], with the reason for the client.
    pub fn of_json(json: &RawValue) -> Result<Self, InvalidPayload> {
        Self::check_json(json)?;
        #[cfg(message_schema)]
        schema::check(json.get(), &schema::OF_MESSAGES)?;
        Ok(Self(json.get().to_owned()))
    }

    fn check(text: &str) -> Result<(), InvalidPayload> {
        if text.trim_ascii().is_empty() {
            return Err(InvalidPayload::Empty);
        }
        Self::check_size(text)?;
        if text.starts_with('\u{feff}') {
            return Err(InvalidPayload::ByteOrderMark);
        }
        let json: &RawValue = serde_json::from_str(text)
            .map_err(|error| InvalidPayload::NotJson { line: error.line(), column: error.column() })?;
        Self::check_json(json)
    }

    fn check_size(text: &str) -> Result<(), InvalidPayload> {
        let bytes = text.len();
        if bytes > Self::MAX_BYTES { Err(InvalidPayload::TooLarge { bytes }) } else { Ok(()) }
    }

    fn check_json(json: &RawValue) -> Result<(), InvalidPayload> {
        let text = json.get();
        Self::check_size(text)?;
        if !text.starts_with('{') {
            return Err(InvalidPayload::NotObject);
        }
        // API Gateway has replaced the invalid bytes by now ("Working with binary media types for REST APIs").
        if text.contains(char::REPLACEMENT_CHARACTER) {
            return Err(InvalidPayload::NotUtf8);
        }
        // Few texts have that many brackets at all, and counting them is quicker than following them.
        if opening_brackets(text) > Self::MAX_DEPTH && depth(text) > Self::MAX_DEPTH {
            return Err(InvalidPayload::TooDeep);
        }
        if text[1..].trim_ascii_start().starts_with('}') {
            return Err(InvalidPayload::NoMembers);
        }
        match json::repeated_name(text, Self::MAX_POINTER_BYTES) {
            Some(pointer) => Err(InvalidPayload::RepeatedName { pointer }),
            None => Ok(()),
        }
    }

    /// The payload as it was sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether both are the same JSON: white space, key order and escapes make no difference. Numbers are compared
    /// as written, since `1.0` and `1` are not the same to every reader.
    pub fn is_same_as(&self, other: &str) -> bool {
        self.0 == other || (Self::check(other).is_ok() && json::same(&self.0, other))
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

mod json;
#[cfg(any(message_schema, test))]
mod schema;
#[cfg(test)]
mod tests;
