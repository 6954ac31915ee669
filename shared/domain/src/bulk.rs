//! A request with many messages: `{"messages":[{"id":"…","payload":{…}},…]}`, cut up without being taken apart.
//!
//! Only its frame is checked here. Each message in it is valid or not by itself: an illegal id or an invalid payload
//! affects no other message.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::value::RawValue;
use thiserror::Error;

use crate::message::{InvalidMessageId, MessageId};

/// The most messages of a bulk: as many as can be read or written in few requests to the table.
pub const MAX_MESSAGES: usize = 100;

/// The longest bulk, in bytes of UTF-8: what fits into an SQS message (1 MiB, "Amazon SQS message quotas") beside its
/// attributes.
pub const MAX_BYTES: usize = 1_000_000;

/// Why a text is no bulk.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidBulk {
    /// More than [`MAX_BYTES`] were sent.
    #[error("the bulk has {bytes} bytes; at most {MAX_BYTES} are accepted")]
    TooLarge {
        /// How many were sent.
        bytes: usize,
    },
    /// No message, or more than [`MAX_MESSAGES`].
    #[error("the bulk has {count} messages; 1 to {MAX_MESSAGES} are accepted")]
    Count {
        /// How many were sent.
        count: usize,
    },
    /// It does not have the form of a bulk.
    #[error("the body is not a bulk, {{\"messages\":[{{\"id\":\"…\",\"payload\":{{…}}}}]}}: {place}")]
    NotBulk {
        /// Where it differs.
        place: String,
    },
}

/// One message of a bulk.
#[derive(Debug)]
pub struct BulkMessage<'a> {
    /// The id that the client gave it.
    pub id: Result<MessageId, InvalidMessageId>,
    /// Its payload as it was sent, byte for byte. It is JSON, but need not be a valid payload.
    pub payload: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Frame<'a> {
    #[serde(borrow)]
    messages: Messages<'a>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Element<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    payload: &'a RawValue,
}

/// Cuts a bulk into its messages, in their order. The text is read once: nothing has to check again that a payload is
/// JSON.
///
/// # Errors
/// [`InvalidBulk`] if the whole is no bulk, with the reason for the client.
pub fn cut(text: &str) -> Result<Vec<BulkMessage<'_>>, InvalidBulk> {
    if text.len() > MAX_BYTES {
        return Err(InvalidBulk::TooLarge { bytes: text.len() });
    }
    if text.starts_with('\u{feff}') {
        let place = "the body: it begins with a byte order mark (U+FEFF): send it without".to_owned();
        return Err(InvalidBulk::NotBulk { place });
    }
    let Object(Frame { messages: Messages(messages) }) =
        serde_json::from_str(text).map_err(|error| InvalidBulk::NotBulk { place: without_values(&error) })?;
    if !(1..=MAX_MESSAGES).contains(&messages.len()) {
        return Err(InvalidBulk::Count { count: messages.len() });
    }
    Ok(messages)
}

/// What has to be an object: a type with named members could be read from an array as well, which is no bulk.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(AN_OBJECT)
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members))
            }
        }

        deserializer.deserialize_map(Members(PhantomData)).map(Self)
    }
}

const AN_OBJECT: &str = "an object";

/// The messages of a bulk. An error says which one it is about.
struct Messages<'a>(Vec<BulkMessage<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Messages<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = Messages<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of messages")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut messages = Vec::new();
                let at = |index, error| A::Error::custom(format_args!("{PLACE}{index}: {error}"));
                while let Some(Object(Element { id, payload })) =
                    list.next_element().map_err(|error| at(messages.len(), error))?
                {
                    messages.push(BulkMessage { id: MessageId::parse(id), payload });
                }
                Ok(Messages(messages))
            }
        }

        deserializer.deserialize_seq(List)
    }
}

const PLACE: &str = "/messages/";

/// What is wrong and where, without what was sent: a name or a value may be long, or a secret.
fn without_values(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let (place, text) = match text.split_once(": ") {
        Some((place, text)) if place.starts_with(PLACE) => (place, text),
        _ => ("the body", &*text),
    };
    let known =
        ["missing field `id`", "missing field `payload`", "missing field `messages`", "duplicate field"];
    let what = match known.into_iter().find(|known| text.starts_with(known)) {
        Some(known) => known,
        None if text.starts_with("unknown field") => "unknown member",
        None if text.starts_with("invalid type") && text.contains(AN_OBJECT) => "it is not an object",
        None => "it is not valid",
    };
    let what = what.replace("field", "member").replace('`', "'");
    format!("{place}: {what} (line {}, column {})", error.line(), error.column())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reason(text: &str) -> String {
        cut(text).expect_err(text).to_string()
    }

    #[test]
    fn payloads_are_cut_out_byte_for_byte() {
        let payload = format!("{{ \"n\" : {}.0e+1, \"\\u0041\":\t\"\\ud800\" }}", "9".repeat(400));
        let text = format!(
            " {{\"messages\": [ {{\"payload\": {payload} ,\"id\":\"a\\u002d1\"}}, {{\"id\":\"b\",\"payload\":[]}}]}}\n"
        );
        let cut = cut(&text).expect("a bulk");
        assert_eq!(cut[0].id.as_ref().map(MessageId::as_str), Ok("a-1"));
        assert_eq!(cut[0].payload.get(), payload);
        assert_eq!(cut[1].payload.get(), "[]", "whether it is valid is decided message by message");
    }

    #[test]
    fn an_illegal_id_is_the_fault_of_its_message_alone() {
        let cut = cut(r#"{"messages":[{"id":"a b","payload":{}},{"id":"c","payload":1}]}"#).expect("a bulk");
        assert_eq!(cut[0].id.as_ref().expect_err("illegal").text(), "a b");
        assert!(cut[1].id.is_ok());
    }

    #[test]
    fn what_is_no_bulk_is_named() {
        for (text, expected) in [
            ("", "the body: it is not valid"),
            ("[]", "the body: it is not an object"),
            ("\u{feff}{}", "byte order mark"),
            ("{}", "missing member 'messages'"),
            ("{\"messages\":{}}", "it is not valid"),
            ("{\"messages\":[[\"a\",{}]]}", "/messages/0: it is not an object"),
            ("[[{\"id\":\"a\",\"payload\":{}}]]", "the body: it is not an object"),
            ("{\"messages\":[{\"id\":\"a\"}]}", "/messages/0: missing member 'payload'"),
            (
                "{\"messages\":[{\"id\":\"a\",\"payload\":{}},{\"payload\":{}}]}",
                "/messages/1: missing member 'id'",
            ),
            ("{\"messages\":[{\"id\":\"a\",\"payload\":{},\"secret\":1}]}", "/messages/0: unknown member"),
            ("{\"messages\":[],\"secret\":1}", "the body: unknown member"),
            ("{\"messages\":[{\"id\":\"a\",\"id\":\"a\",\"payload\":{}}]}", "/messages/0: duplicate member"),
            ("{\"messages\":[{\"id\":1,\"payload\":{}}]}", "/messages/0: it is not valid"),
            ("{\"messages\":[{\"id\":\"a\",\"payload\":{\"secret\"}}]}", "/messages/0: it is not valid"),
            (
                "{\"messages\":[{\"id\":\"a\",\n\"payload\":{}},\n7]}",
                "/messages/1: it is not an object (line 3, column 1)",
            ),
            ("{\"messages\":[{\"id\":\"a\",\"payload\":{}}]} x", "the body: it is not valid"),
        ] {
            let reason = reason(text);
            assert!(reason.contains(expected), "{text}: {reason}");
            assert!(!reason.contains("secret"), "{reason}");
        }
    }

    #[test]
    fn a_bulk_has_one_to_100_messages_and_at_most_1_000_000_bytes() {
        let of = |count: usize| {
            let messages = vec![r#"{"id":"a","payload":{"b":1}}"#; count].join(",");
            format!("{{\"messages\":[{messages}]}}")
        };
        assert_eq!(cut(&of(0)).expect_err("none"), InvalidBulk::Count { count: 0 });
        assert_eq!(cut(&of(1)).expect("one").len(), 1);
        assert_eq!(cut(&of(100)).expect("100").len(), 100);
        assert_eq!(cut(&of(101)).expect_err("101"), InvalidBulk::Count { count: 101 });
        let padded = |bytes: usize| format!("{}{}", of(1), " ".repeat(bytes - of(1).len()));
        assert!(cut(&padded(MAX_BYTES)).is_ok());
        assert_eq!(
            cut(&padded(MAX_BYTES + 1)).expect_err("long"),
            InvalidBulk::TooLarge { bytes: MAX_BYTES + 1 }
        );
    }

    proptest! {
        #[test]
        fn cutting_any_text_does_not_panic(text in any::<String>()) {
            let _ = cut(&text);
        }
    }
}
