//! What JSON texts mean, as far as two of them have to be told apart.
//!
//! `serde_json::Value` will not do: it turns numbers into floats (or, with `arbitrary_precision`, loses how they
//! were written), keeps the last of two equal names, does not read half a surrogate pair, and stops at 128 levels.

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

/// Whether two texts are the same JSON. Both have to be JSON without repeated names, and no deeper than the stack
/// allows for: each level is a call.
///
/// The time it takes grows with the length of the texts alone, however deep they nest: no client may keep the
/// function busy.
pub(super) fn same(left: &str, right: &str) -> bool {
    match (Json::read(left), Json::read(right)) {
        (Some(left), Some(right)) => left == right,
        _ => false,
    }
}

/// The first name that an object of a JSON text has twice, as a JSON Pointer (RFC 6901), at most `max_bytes` long. None
/// if there is none.
///
/// Every message pays for this, so it only looks at brackets, commas and strings. It keeps the names of open objects, and
/// compares those of one object when that closes: neither many names nor deep nesting make it slow.
pub(super) fn repeated_name(text: &str, max_bytes: usize) -> Option<String> {
    /// An array or object that is open.
    struct Open {
        /// How many names were kept before.
        names_before: usize,
        /// The index of the element that is being read; none in an object.
        index: Option<usize>,
    }
    let (bytes, mut at) = (text.as_bytes(), 0);
    let (mut open, mut names) = (Vec::<Open>::new(), Vec::<Cow<'_, [u8]>>::new());
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'{' => open.push(Open { names_before: names.len(), index: None }),
            b'[' => open.push(Open { names_before: names.len(), index: Some(0) }),
            b',' => {
                if let Some(Open { index: Some(index), .. }) = open.last_mut() {
                    *index += 1;
                }
            }
            b'"' => {
                let (inside, has_escapes) = string_at(bytes, at)?;
                at += inside.len() + 1;
                let is_space = |byte: &u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t');
                let mut next = at;
                while bytes.get(next).is_some_and(is_space) {
                    next += 1;
                }
                // In an object, what a colon follows is a name.
                if bytes.get(next) == Some(&b':') {
                    names.push(if has_escapes { unescaped(inside)? } else { Cow::Borrowed(inside) });
                }
            }
            b']' => _ = open.pop(),
            b'}' => {
                let closed = open.pop()?;
                if let Some(name) = twice(&mut names[closed.names_before..]) {
                    let path = open.iter().enumerate().map(|(depth, outer)| match outer.index {
                        Some(index) => Cow::Owned(index.to_string().into_bytes()),
                        // The last name that was kept before the next one opened is the one that it is under.
                        None => {
                            let inner = open.get(depth + 1).unwrap_or(&closed);
                            names[inner.names_before - 1].clone()
                        }
                    });
                    return Some(pointer(path.chain([name]), max_bytes));
                }
                names.truncate(closed.names_before);
            }
            // White space, a colon, or a part of a number, a boolean or null.
            _ => {}
        }
    }
    None
}

/// A name that is there twice.
fn twice<'a>(names: &mut [Cow<'a, [u8]>]) -> Option<Cow<'a, [u8]>> {
    /// Up to this many, comparing each with each is quicker than sorting.
    const FEW: usize = 8;
    if names.len() > FEW {
        names.sort_unstable();
        return names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0].clone());
    }
    let (_, repeated) = names.iter().enumerate().find(|(index, name)| names[..*index].contains(name))?;
    Some(repeated.clone())
}

/// The string that begins behind a quotation mark, up to the next one, as it is written; and whether it has escapes.
fn string_at(bytes: &[u8], start: usize) -> Option<(&[u8], bool)> {
    let (mut end, mut has_escapes) = (start, false);
    loop {
        end += bytes.get(end..)?.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        if bytes[end] == b'"' {
            return Some((&bytes[start..end], has_escapes));
        }
        has_escapes = true;
        end += 2;
    }
}

/// A string without its escapes.
fn unescaped(inside: &[u8]) -> Option<Cow<'static, [u8]>> {
    let written = [b"\"", inside, b"\""].concat();
    Some(Cow::Owned(serde_json::from_slice::<Unescaped>(&written).ok()?.0))
}

/// A JSON Pointer with these parts, or its beginning.
fn pointer<'a>(parts: impl Iterator<Item = Cow<'a, [u8]>>, max_bytes: usize) -> String {
    let mut pointer = String::new();
    for part in parts {
        let part = String::from_utf8_lossy(&part).replace('~', "~0").replace('/', "~1");
        pointer.push('/');
        pointer.push_str(&part);
        if pointer.len() > max_bytes {
            return format!("{}…", super::super::truncated(&pointer, max_bytes));
        }
    }
    pointer
}

impl<'a> Json<'a> {
    /// None for what is not JSON, as far as that is noticed.
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
                    *left = left.trim_ascii_start();
                    let name = string(left)?;
                    let _colon = cut(left, 1)?;
                    members.insert(name, Self::next(left)?);
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
            b'"' => string(left).map(Self::Text),
            _ => literal(left).map(Self::Literal),
        }
    }
}

/// Cuts off a string, and returns it without its escapes.
fn string<'a>(left: &mut &'a str) -> Option<Cow<'a, [u8]>> {
    let (inside, has_escapes) = string_at(left.as_bytes(), 1)?;
    cut(left, inside.len() + 2)?;
    if has_escapes { unescaped(inside) } else { Some(Cow::Borrowed(inside)) }
}

/// Cuts off a number, a boolean or null.
fn literal<'a>(left: &mut &'a str) -> Option<&'a str> {
    let ends = |byte: u8| matches!(byte, b',' | b']' | b'}') || byte.is_ascii_whitespace();
    let end = left.bytes().position(ends).unwrap_or(left.len());
    cut(left, end)
}

/// Cuts off the opening bracket, or the comma or closing bracket behind an element. Whether another element follows.
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
