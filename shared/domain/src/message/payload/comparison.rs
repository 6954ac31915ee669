//! Whether two JSON texts mean the same.
//!
//! `serde_json::Value` will not do: it turns numbers into floats (or, with `arbitrary_precision`, loses how they
//! were written), keeps the last of two equal names, rejects half a surrogate pair, and stops at 128 levels.

use std::{borrow::Cow, collections::HashMap, fmt};

use serde::{Deserialize, Deserializer, de};

/// A JSON value, as far as it makes a difference.
#[derive(PartialEq)]
enum Json<'a> {
    Object(HashMap<Cow<'a, [u8]>, Json<'a>>),
    Array(Vec<Json<'a>>),
    /// A string without its escapes. It is not always Unicode: half a surrogate pair can be escaped.
    Text(Cow<'a, [u8]>),
    /// A number, a boolean or null, as written: no number is turned into a float.
    Literal(&'a str),
}

/// Whether two texts are the same JSON; not if an object has one name twice. Both have to be JSON, and no deeper
/// than the stack allows for: each level is a call.
///
/// The time it takes grows with the length of the texts alone, however deep they nest: no client may keep the
/// function busy.
pub(super) fn same(left: &str, right: &str) -> bool {
    match (Json::read(left), Json::read(right)) {
        (Some(left), Some(right)) => left == right,
        _ => false,
    }
}

impl<'a> Json<'a> {
    /// None if an object has one name twice, or for most of what is not JSON.
    fn read(mut text: &'a str) -> Option<Self> {
        Self::next(&mut text)
    }

    /// Cuts the next value off what is left of a text.
    fn next(left: &mut &'a str) -> Option<Self> {
        *left = left.trim_ascii_start();
        match left.bytes().next()? {
            b'{' => {
                let mut members = HashMap::new();
                while another(left, '}')? {
                    let Self::Text(name) = Self::next(left)? else { return None };
                    let _colon = cut(left, 1)?;
                    if members.insert(name, Self::next(left)?).is_some() {
                        return None;
                    }
                }
                Some(Self::Object(members))
            }
            b'[' => {
                let mut values = Vec::new();
                while another(left, ']')? {
                    values.push(Self::next(left)?);
                }
                Some(Self::Array(values))
            }
            b'"' => {
                let mut escaped = false;
                let inside = left.get(1..)?.bytes().position(|byte| {
                    let ends = byte == b'"' && !escaped;
                    escaped = byte == b'\\' && !escaped;
                    ends
                })?;
                let written = cut(left, inside + 2)?;
                let inside = written.get(1..=inside)?;
                Some(Self::Text(if inside.contains('\\') {
                    Cow::Owned(serde_json::from_str::<Unescaped>(written).ok()?.0)
                } else {
                    Cow::Borrowed(inside.as_bytes())
                }))
            }
            _ => {
                let ends = |byte: u8| matches!(byte, b',' | b']' | b'}') || byte.is_ascii_whitespace();
                let end = left.bytes().position(ends).unwrap_or(left.len());
                Some(Self::Literal(cut(left, end)?))
            }
        }
    }
}

/// Cuts off the next bracket or comma. Whether an element of the array or object follows it.
fn another(left: &mut &str, close: char) -> Option<bool> {
    if cut(left, 1)?.starts_with(close) {
        return Some(false);
    }
    let empty = left.trim_ascii_start().starts_with(close);
    if empty {
        cut(left, 1)?;
    }
    Some(!empty)
}

/// Cuts so many bytes off what is left, after white space.
fn cut<'a>(left: &mut &'a str, bytes: usize) -> Option<&'a str> {
    let (head, rest) = left.trim_ascii_start().split_at_checked(bytes)?;
    *left = rest;
    Some(head)
}

/// A string as the bytes that serde_json reads: it accepts half a surrogate pair there.
struct Unescaped(Vec<u8>);

impl<'de> Deserialize<'de> for Unescaped {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;

        impl de::Visitor<'_> for Bytes {
            type Value = Unescaped;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Unescaped, E> {
                Ok(Unescaped(bytes.to_owned()))
            }
        }

        deserializer.deserialize_bytes(Bytes)
    }
}
