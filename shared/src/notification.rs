//! What clients are told over their sockets: CloudEvents 1.0 in JSON batches.

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::message::Receipt;

/// What a client is told about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum EventType {
    /// The message is stored.
    #[serde(rename = "intake.message.stored")]
    Stored,
    /// The message is invalid and was not stored.
    #[serde(rename = "intake.message.rejected")]
    Rejected,
    /// The message could not be stored however often it was tried.
    #[serde(rename = "intake.message.failed")]
    Failed,
    /// Another payload is stored under the id, and stays.
    #[serde(rename = "intake.message.conflict")]
    Conflict,
}

impl EventType {
    /// The last word of the event type.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
            Self::Conflict => "conflict",
        }
    }
}

/// One CloudEvent about one message.
///
/// `id` is made of the receipt and the outcome: told twice about the same delivery, a client sees the
/// same `source` and `id`, which CloudEvents 1.0 defines as a duplicate.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    specversion: &'static str,
    id: String,
    source: &'static str,
    #[serde(rename = "type")]
    kind: EventType,
    subject: String,
    #[serde(serialize_with = "to_the_millisecond")]
    time: Timestamp,
    datacontenttype: &'static str,
    data: Data,
}

#[derive(Clone, Debug, Serialize)]
struct Data {
    receipt: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl Event {
    /// An event about the message that its client calls `subject`. That is what the client sent, not
    /// always a legal id: an illegal one can only be told, not recorded.
    pub fn new(
        kind: EventType,
        subject: &str,
        receipt: &Receipt,
        reason: Option<String>,
        time: Timestamp,
    ) -> Self {
        Self {
            specversion: "1.0",
            id: format!("{}:{}", receipt.as_str(), kind.as_str()),
            source: "/intake",
            kind,
            subject: truncated(subject, MAX_SUBJECT_BYTES).to_owned(),
            time,
            datacontenttype: "application/json",
            data: Data { receipt: receipt.as_str().to_owned(), reason },
        }
    }

    /// What the queue knows the message by.
    pub fn receipt(&self) -> &str {
        &self.data.receipt
    }

    /// What it is about the message.
    pub fn kind(&self) -> EventType {
        self.kind
    }

    /// What makes it this event: told again, it has the same.
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// The longest subject told, in bytes: a legal id has 64, an illegal one may be anything.
const MAX_SUBJECT_BYTES: usize = 256;

/// The most bytes in one frame ("Quotas for configuring and running a WebSocket API in API Gateway":
/// a frame has at most 32 KB).
pub const MAX_FRAME_BYTES: usize = 32 * 1024;

/// Packs events into as few frames as they fit in, in their order. Each is a JSON array.
///
/// # Errors
/// When an event cannot be written as JSON, which none of its parts allows for.
pub fn frames<'a>(events: impl IntoIterator<Item = &'a Event>) -> serde_json::Result<Vec<String>> {
    let mut frames: Vec<String> = Vec::new();
    for event in events {
        let event = serde_json::to_string(event)?;
        match frames.last_mut() {
            Some(frame) if frame.len() + event.len() + ",]".len() <= MAX_FRAME_BYTES => {
                frame.push(',');
                frame.push_str(&event);
            }
            _ => frames.push(format!("[{event}")),
        }
    }
    for frame in &mut frames {
        frame.push(']');
    }
    Ok(frames)
}

/// The beginning of a text, at most so many bytes, cut between characters.
pub fn truncated(text: &str, max_bytes: usize) -> &str {
    &text[..text.floor_char_boundary(max_bytes)]
}

/// As precise as the times in the table.
fn to_the_millisecond<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{time:.3}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn receipt() -> Receipt {
        Receipt::parse("5fea7756-0ea4-451a-a703-a558b933e274").expect("a receipt")
    }

    #[test]
    fn an_event_is_a_cloud_event() {
        let time = Timestamp::from_second(1_800_000_000).expect("in range");
        let reason = Some("not an object".to_owned());
        let event = Event::new(EventType::Rejected, "m-1", &receipt(), reason, time);
        assert_eq!(
            serde_json::to_value(&event).expect("serializes"),
            serde_json::json!({
                "specversion": "1.0",
                "id": "5fea7756-0ea4-451a-a703-a558b933e274:rejected",
                "source": "/intake",
                "type": "intake.message.rejected",
                "subject": "m-1",
                "time": "2027-01-15T08:00:00.000Z",
                "datacontenttype": "application/json",
                "data": {
                    "receipt": "5fea7756-0ea4-451a-a703-a558b933e274",
                    "reason": "not an object",
                },
            })
        );
    }

    #[test]
    fn no_events_make_no_frames() {
        assert!(frames([]).expect("serializes").is_empty());
    }

    proptest! {
        #[test]
        fn frames_hold_every_event_in_order_and_are_never_too_long(
            subjects in prop::collection::vec(any::<String>(), 0..300),
            reason_bytes in 0..600_usize,
        ) {
            let events: Vec<Event> = subjects
                .iter()
                .map(|subject| {
                    let reason = Some("r".repeat(reason_bytes));
                    Event::new(EventType::Stored, subject, &receipt(), reason, Timestamp::UNIX_EPOCH)
                })
                .collect();
            let frames = frames(&events).expect("serializes");
            let mut told = Vec::new();
            for frame in &frames {
                prop_assert!(frame.len() <= MAX_FRAME_BYTES);
                let array: Vec<serde_json::Value> = serde_json::from_str(frame).expect("an array");
                told.extend(array);
            }
            let sent: Vec<_> = events
                .iter()
                .map(|event| serde_json::to_value(event).expect("serializes"))
                .collect();
            prop_assert_eq!(told, sent);
        }
    }
}
