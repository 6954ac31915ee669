//! Payloads: a text is one exactly if the rules say so, and two are the same exactly if they are the same JSON.

#![no_main]

use std::{fmt::Write, str};

use intake::message::{InvalidPayload, Payload};
use libfuzzer_sys::{
    arbitrary::{Arbitrary, Result, Unstructured},
    fuzz_target,
};
use serde_json::{Map, Value, value::RawValue};

fn payload(text: &str) -> Option<Payload> {
    // What `Value` accepts is JSON. It accepts less than a payload may hold: 127 levels, whole surrogate pairs.
    let object = serde_json::from_str::<Map<String, Value>>(text).is_ok();
    match Payload::parse(text) {
        Ok(payload) => {
            assert!(text.len() <= Payload::MAX_BYTES);
            assert_eq!(payload.as_str(), text);
            assert_eq!(format!("{payload:?}"), format!("Payload({} bytes)", text.len()));
            let json: &RawValue = serde_json::from_str(text).expect("JSON");
            assert!(json.get().starts_with('{'));
            assert!(payload.is_same_as(text));
            Some(payload)
        }
        Err(error) => {
            assert!(!object || text.len() > Payload::MAX_BYTES, "{error}");
            match error {
                InvalidPayload::TooLarge { bytes } => assert_eq!(bytes, text.len()),
                InvalidPayload::NotJson { line, .. } => assert!(line <= text.split('\n').count()),
                InvalidPayload::Empty | InvalidPayload::TooDeep | InvalidPayload::NotObject => {}
            }
            None
        }
    }
}

/// What has to hold for any two payloads.
fn compare(left: &Payload, right: &Payload) {
    let same = left.is_same_as(right.as_str());
    assert_eq!(same, right.is_same_as(left.as_str()));
    let [one, other] = [left, right].map(|payload| serde_json::from_str::<Value>(payload.as_str()).ok());
    // Not the other way round: to `Value`, 1.0 and 1.00 are the same.
    if let (true, Some(one), Some(other)) = (same, one, other) {
        assert_eq!(one, other);
    }
}

/// Writes a JSON value in two ways that mean the same.
fn write_twice(
    choices: &mut Unstructured,
    levels: usize,
    left: &mut String,
    right: &mut String,
) -> Result<()> {
    const SCALARS: [&str; 11] = [
        "null",
        "true",
        "false",
        "0",
        "-0",
        "1.10",
        "1e5",
        "9007199254740993",
        "-12345678901234567890123",
        r#""\ud800""#,
        r#""\u0000""#,
    ];
    match if levels == 0 { choices.int_in_range(0..=1)? } else { choices.int_in_range(0..=4)? } {
        0 => {
            let scalar = choices.choose(&SCALARS)?;
            left.push_str(scalar);
            right.push_str(scalar);
        }
        1 => string_twice(<&str>::arbitrary(choices)?, left, right),
        2 => {
            left.push('[');
            right.push_str("[ ");
            for place in 0..choices.int_in_range(0..=4)? {
                if place > 0 {
                    left.push(',');
                    right.push_str(" ,\n");
                }
                write_twice(choices, levels - 1, left, right)?;
            }
            left.push(']');
            right.push_str("\t]");
        }
        3 => {
            let mut members = Vec::new();
            for place in 0..choices.int_in_range(0..=4)? {
                let (mut one, mut other) = (String::new(), String::new());
                // No name twice: such an object is the same only as the identical text.
                string_twice(&format!("{place}{}", <&str>::arbitrary(choices)?), &mut one, &mut other);
                one.push(':');
                other.push_str(" :\r\n ");
                write_twice(choices, levels - 1, &mut one, &mut other)?;
                members.push((one, other));
            }
            let (in_order, mut backwards): (Vec<_>, Vec<_>) = members.into_iter().unzip();
            backwards.reverse();
            let _infallible = write!(left, "{{{}}}", in_order.join(","));
            let _infallible = write!(right, "{{ {} }}", backwards.join(" , "));
        }
        _ => {
            let deep = if choices.ratio(1, 4)? { choices.int_in_range(1..=900)? } else { 2 };
            for text in [&mut *left, &mut *right] {
                text.push_str(&"[".repeat(deep));
            }
            write_twice(choices, 0, left, right)?;
            for text in [left, right] {
                text.push_str(&"]".repeat(deep));
            }
        }
    }
    Ok(())
}

/// A string as it is usually written, and with everything escaped.
fn string_twice(text: &str, left: &mut String, right: &mut String) {
    left.push_str(&serde_json::to_string(text).expect("JSON"));
    right.push('"');
    for unit in text.encode_utf16() {
        let _infallible = write!(right, "\\u{unit:04X}");
    }
    right.push('"');
}

/// Two layouts of one value are the same payload, and one with a change is another.
fn layouts(choices: &mut Unstructured) -> Result<()> {
    let (mut left, mut right) = (String::new(), String::new());
    write_twice(choices, 4, &mut left, &mut right)?;
    let of = |value: &str, more: &str| Payload::parse(format!("{{\"value\":{value}{more}}}"));
    // Escapes can make one too long, and levels too deep.
    let (Ok(one), Ok(other)) = (of(&left, ""), of(&right, "")) else {
        return Ok(());
    };
    assert!(one.is_same_as(other.as_str()) && other.is_same_as(one.as_str()));
    for changed in
        [of(&left, ",\"more\":1"), of(&format!("[{left}]"), ""), of(&format!("{{\"a\":{left}}}"), "")]
    {
        if let Ok(changed) = changed {
            assert!(!changed.is_same_as(other.as_str()) && !other.is_same_as(changed.as_str()));
        }
    }
    Ok(())
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = str::from_utf8(bytes) {
        payload(text);
        // Two payloads, one on each line.
        if let Some((one, other)) = text.split_once('\n')
            && let (Some(one), Some(other)) = (payload(one), payload(other))
        {
            compare(&one, &other);
        }
    }
    // Payloads made from the bytes. That they do not suffice is no finding.
    let _enough = layouts(&mut Unstructured::new(bytes));
});
