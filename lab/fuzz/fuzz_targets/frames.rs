//! What owners are told: no frame is too long, and no event is missing, whatever clients call their messages.

#![no_main]

use intake::{
    message::Receipt,
    notification::{Event, EventType, MAX_FRAME_BYTES, frames, truncated},
};
use jiff::Timestamp;
use libfuzzer_sys::{
    arbitrary::{self, Arbitrary},
    fuzz_target,
};
use serde_json::value::RawValue;

/// Reasons are this program's own sentences; the longest has some 150 bytes.
const MAX_REASON_BYTES: usize = 1024;

/// An event and how often it comes in a row, so that few bytes make several frames.
#[derive(Arbitrary, Debug)]
struct Told<'a> {
    kind: u8,
    subject: &'a str,
    receipt: u128,
    reason: Option<&'a str>,
    time: i64,
    times: u8,
}

fn event(told: &Told) -> Event {
    let kind = match told.kind % 4 {
        0 => EventType::Stored,
        1 => EventType::Rejected,
        2 => EventType::Failed,
        _ => EventType::Conflict,
    };
    let digits = format!("{:032x}", told.receipt);
    let uuid = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-");
    let receipt = Receipt::parse(uuid).expect("a UUID");
    let reason = told.reason.map(|reason| truncated(reason, MAX_REASON_BYTES).to_owned());
    let time = Timestamp::from_millisecond(told.time).unwrap_or(Timestamp::UNIX_EPOCH);
    let event = Event::new(kind, told.subject, &receipt, reason.clone(), time);

    let written = serde_json::to_value(&event).expect("JSON");
    let subject = written["subject"].as_str().expect("a subject");
    assert!(told.subject.starts_with(subject));
    assert!(subject.len() > 252 || subject == told.subject, "only what is too long is cut");
    assert_eq!(written["data"]["reason"].as_str(), reason.as_deref());
    assert_eq!(written["data"]["receipt"], receipt.as_str());
    assert_eq!(written["id"], event.id());
    event
}

fuzz_target!(|told: Vec<Told>| {
    let events: Vec<Event> = told
        .iter()
        .flat_map(|told| std::iter::repeat_n(event(told), usize::from(told.times)))
        // Enough for a dozen frames.
        .take(2_000)
        .collect();
    let frames = frames(&events).expect("JSON");

    let mut left = events.iter().peekable();
    for frame in &frames {
        assert!(frame.len() <= MAX_FRAME_BYTES);
        // As text: a `Value` would take two spellings of one number or string for the same.
        let array: Vec<&RawValue> = serde_json::from_str(frame).expect("a JSON array");
        assert!(!array.is_empty());
        for told in array {
            let event = left.next().expect("an event that was to be told");
            assert_eq!(told.get(), serde_json::to_string(event).expect("JSON"));
        }
        if let Some(next) = left.peek() {
            let next = serde_json::to_string(next).expect("JSON");
            assert!(frame.len() + ",".len() + next.len() > MAX_FRAME_BYTES, "it would have fitted");
        }
    }
    assert!(left.next().is_none(), "every event is told");
});
