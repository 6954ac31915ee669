//! Notifications to clients over their sockets: CloudEvents 1.0 in JSON batches.

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::{
    message::Receipt,
    state::{Outcome, Status},
};

/// One CloudEvent about one request: it says what the look-up by its receipt says.
///
/// `id` consists of the receipt and the status: notified twice of one outcome, a client sees the same `source` and
/// `id`, which CloudEvents 1.0 defines as a duplicate.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    specversion: &'static str,
    id: String,
    source: &'static str,
    #[serde(rename = "type")]
    event_type: &'static str,
    subject: String,
    #[serde(serialize_with = "to_the_millisecond")]
    time: Timestamp,
    datacontenttype: &'static str,
    data: Data,
    #[serde(skip)]
    status: Status,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    receipt: String,
    #[serde(serialize_with = "to_the_millisecond")]
    received_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_to_the_millisecond")]
    stored_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl Event {
    /// The event about a request: `subject` is the message's id as the client sent it, which need not be a legal one.
    pub fn new(subject: &str, receipt: &Receipt, outcome: &Outcome) -> Self {
        let Outcome { status, received_at, stored_at, .. } = *outcome;
        Self {
            specversion: "1.0",
            id: format!("{}:{}", receipt.as_str(), status.as_str()),
            source: "/intake",
            event_type: match status {
                Status::Stored => "intake.message.stored",
                Status::Rejected => "intake.message.rejected",
                Status::Conflict => "intake.message.conflict",
                Status::Failed => "intake.message.failed",
            },
            subject: truncated(subject, MAX_SUBJECT_BYTES).to_owned(),
            time: stored_at.unwrap_or_else(Timestamp::now),
            datacontenttype: "application/json",
            data: Data {
                receipt: receipt.as_str().to_owned(),
                received_at,
                stored_at,
                reason: outcome.reason.clone(),
            },
            status,
        }
    }

    /// The receipt of the request.
    pub fn receipt(&self) -> &str {
        &self.data.receipt
    }

    /// What the request ended as.
    pub fn status(&self) -> Status {
        self.status
    }

    /// The id of this event; a repeated event has the same one.
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// The longest subject, in bytes: a legal id has 64, an illegal one may have any length.
pub const MAX_SUBJECT_BYTES: usize = 256;

/// The limit of a frame, in bytes ("Quotas for configuring and running a WebSocket API in API Gateway":
/// a frame has at most 32 KB).
pub const MAX_FRAME_BYTES: usize = 32 * 1024;

/// Packs events into as few frames as they fit in, in their order. Each is a JSON array.
///
/// # Errors
/// When an event cannot be written as JSON, which does not happen with these fields.
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

/// Serializes a time as the table has it: RFC 3339 with three digits of a second.
///
/// # Errors
/// Those of the serializer.
pub fn to_the_millisecond<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{time:.3}"))
}

/// The same for a time that may be missing.
///
/// # Errors
/// Those of the serializer.
pub fn optional_to_the_millisecond<S: Serializer>(
    time: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => to_the_millisecond(time, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn receipt() -> Receipt {
        Receipt::parse("5fea7756-0ea4-451a-a703-a558b933e274").expect("a receipt")
    }

    fn outcome(status: Status, stored_at: Option<Timestamp>, reason: Option<String>) -> Outcome {
        let received_at = Timestamp::from_second(1_800_000_000).expect("in range");
        Outcome { status, attempts: Some(1), received_at, stored_at, reason }
    }

    #[test]
    fn an_event_is_a_cloud_event() {
        let stored_at = Timestamp::from_millisecond(1_800_000_001_500).expect("in range");
        let event = Event::new("m-1", &receipt(), &outcome(Status::Stored, Some(stored_at), None));
        assert_eq!(
            serde_json::to_value(&event).expect("serializes"),
            serde_json::json!({
                "specversion": "1.0",
                "id": "5fea7756-0ea4-451a-a703-a558b933e274:stored",
                "source": "/intake",
                "type": "intake.message.stored",
                "subject": "m-1",
                "time": "2027-01-15T08:00:01.500Z",
                "datacontenttype": "application/json",
                "data": {
                    "receipt": "5fea7756-0ea4-451a-a703-a558b933e274",
                    "receivedAt": "2027-01-15T08:00:00.000Z",
                    "storedAt": "2027-01-15T08:00:01.500Z",
                },
            })
        );
        let reason = Some("not an object".to_owned());
        let event = Event::new("m-1", &receipt(), &outcome(Status::Rejected, None, reason));
        assert_eq!(
            serde_json::to_value(&event).expect("serializes")["data"],
            serde_json::json!({
                "receipt": "5fea7756-0ea4-451a-a703-a558b933e274",
                "receivedAt": "2027-01-15T08:00:00.000Z",
                "reason": "not an object",
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
                    Event::new(subject, &receipt(), &outcome(Status::Failed, None, reason))
                })
                .collect();
            let frames = frames(&events).expect("serializes");
            let mut received = Vec::new();
            for frame in &frames {
                prop_assert!(frame.len() <= MAX_FRAME_BYTES);
                let array: Vec<serde_json::Value> = serde_json::from_str(frame).expect("an array");
                received.extend(array);
            }
            let sent: Vec<_> = events
                .iter()
                .map(|event| serde_json::to_value(event).expect("serializes"))
                .collect();
            prop_assert_eq!(received, sent);
        }
    }
}
