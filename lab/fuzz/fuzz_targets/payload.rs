//! Payloads: a text is one exactly if the rules say so, and two are the same only if they are the same JSON.

#![no_main]

use std::str;

use intake_domain::message::{InvalidPayload, Payload};
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value, value::RawValue};

fn payload(text: &str) -> Option<Payload> {
    // What `Value` accepts is JSON. It accepts less than a payload may hold: 127 levels, whole surrogate pairs.
    let is_object = serde_json::from_str::<Map<String, Value>>(text).is_ok();
    match Payload::parse(text) {
        Ok(payload) => {
            assert!(text.len() <= Payload::MAX_BYTES);
            assert_eq!(payload.as_str(), text);
            let json: &RawValue = serde_json::from_str(text).expect("JSON");
            assert!(json.get().starts_with('{'));
            assert!(payload.is_same_as(text));
            Some(payload)
        }
        Err(error) => {
            // `Value` keeps the last of two equal names.
            let is_left_out = matches!(
                error,
                InvalidPayload::TooLarge { .. }
                    | InvalidPayload::NotUtf8
                    | InvalidPayload::RepeatedName { .. }
            );
            assert!(!is_object || is_left_out, "{error}");
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
});
