//! An outcome as an event for the owner of the message: CloudEvents 1.0, in JSON.

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    message::Receipt,
    state::{Outcome, Status, optional_to_the_millisecond, to_the_millisecond},
};

/// One CloudEvent about one request: it says what the look-up by its receipt says.
///
/// `id` consists of the receipt and the status, and of the message's id in between if the receipt stands for many:
/// notified twice of one outcome, a client sees the same `source` and `id`, which CloudEvents 1.0 defines as a duplicate.
#[derive(Clone, Debug, Serialize)]
pub struct Event<'a> {
    specversion: &'static str,
    id: String,
    source: &'static str,
    #[serde(rename = "type")]
    event_type: &'static str,
    subject: &'a str,
    #[serde(serialize_with = "to_the_millisecond")]
    time: Timestamp,
    datacontenttype: &'static str,
    data: Data<'a>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    receipt: &'a str,
    #[serde(serialize_with = "to_the_millisecond")]
    received_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_to_the_millisecond")]
    stored_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

impl<'a> Event<'a> {
    /// The event about a request: `subject` is the id of the message, legal or not.
    pub fn new(subject: &'a str, receipt: &'a Receipt, outcome: &'a Outcome) -> Self {
        let Outcome { status, received_at, stored_at, .. } = *outcome;
        let (of_request, status_text) = (receipt.as_str(), status.as_str());
        Self {
            specversion: "1.0",
            id: if receipt.is_bulk() {
                format!("{of_request}:{subject}:{status_text}")
            } else {
                format!("{of_request}:{status_text}")
            },
            source: "/intake",
            event_type: match status {
                Status::Stored => "intake.message.stored",
                Status::Rejected => "intake.message.rejected",
                Status::Conflict => "intake.message.conflict",
                Status::Failed => "intake.message.failed",
            },
            // A body that is no bulk has no message that could be named. An event's subject is never empty.
            subject: if subject.is_empty() { of_request } else { subject },
            // When it was stored. The time of another outcome is not kept: a repeated event has a later one.
            time: stored_at.unwrap_or_else(Timestamp::now),
            datacontenttype: "application/json",
            data: Data {
                receipt: receipt.as_str(),
                received_at,
                stored_at,
                reason: outcome.reason.as_deref(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
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
        let (receipt, outcome_of_a_stored) = (receipt(), outcome(Status::Stored, Some(stored_at), None));
        let event = Event::new("m-1", &receipt, &outcome_of_a_stored);
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
        let bulk = Receipt::of_bulk(receipt.as_str()).expect("a receipt");
        let event = serde_json::to_value(Event::new("m-1", &bulk, &outcome_of_a_stored)).expect("serializes");
        assert_eq!(event["id"], "bulk-5fea7756-0ea4-451a-a703-a558b933e274:m-1:stored");
        let outcome_of_a_rejected = outcome(Status::Rejected, None, Some("not an object".to_owned()));
        let event = Event::new("m-1", &receipt, &outcome_of_a_rejected);
        assert_eq!(
            serde_json::to_value(&event).expect("serializes")["data"],
            serde_json::json!({
                "receipt": "5fea7756-0ea4-451a-a703-a558b933e274",
                "receivedAt": "2027-01-15T08:00:00.000Z",
                "reason": "not an object",
            })
        );
    }
}
