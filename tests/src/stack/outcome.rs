//! What the stack says of a request: in the response to a look-up, in a notification, and in the table.

use std::fmt;

use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::{Item, text};

/// A payload, or a text that was to be one: up to 256 KiB, of which `Debug` shows the beginning.
#[derive(Clone, PartialEq, Eq)]
pub struct Text(pub String);

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0.chars().take(80).collect::<String>())
    }
}

/// What is said of a request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// The id of the message.
    pub id: String,
    /// Such as `stored`.
    pub status: String,
    /// The receipt; empty on the synchronous path.
    #[serde(default)]
    pub receipt: String,
    /// When the message was received.
    pub received_at: Option<String>,
    /// When it was stored, now or before.
    pub stored_at: Option<String>,
    /// Why it was not stored.
    pub reason: Option<String>,
}

impl Outcome {
    /// What an event says, whose id must agree with its type and data.
    pub fn of_event(event: &Value) -> Self {
        let mut data = event["data"].clone();
        data["id"] = event["subject"].clone();
        data["status"] = json!(event["type"].as_str().and_then(|kind| kind.strip_prefix("intake.message.")));
        let outcome = Self::deserialize(data).unwrap_or_else(|error| panic!("no outcome ({error}): {event}"));
        // The receipt of a bulk stands for many messages: the id tells their events apart.
        let of_message =
            if outcome.receipt.starts_with("bulk-") { format!(":{}", outcome.id) } else { String::new() };
        assert_eq!(event["id"], format!("{}{of_message}:{}", outcome.receipt, outcome.status), "{event}");
        outcome
    }
}

/// The response to a look-up, or the item of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What it says.
    pub outcome: Outcome,
    /// The payload, byte for byte, or the text of a rejected message.
    pub content: Option<Text>,
}

impl Found {
    /// Reads the response to a look-up.
    ///
    /// # Errors
    /// If the text is none.
    pub fn parse(json: &str) -> serde_json::Result<Self> {
        #[derive(Deserialize)]
        struct Content {
            // Its text, because a payload need not be what Rust can hold: half a surrogate pair is not.
            payload: Option<Box<RawValue>>,
            text: Option<String>,
        }
        let Content { payload, text } = serde_json::from_str(json)?;
        let content = payload.map(|payload| payload.get().to_owned()).or(text).map(Text);
        Ok(Self { outcome: serde_json::from_str(json)?, content })
    }

    /// Reads an item, and returns the owner and the id of its message, too. None if it only keeps an outcome under a
    /// receipt.
    pub fn of_item(item: &Item) -> Option<((String, String), Self)> {
        let (id, owner) = text(item, "pk").split_once('#').filter(|(id, _)| !id.is_empty())?;
        let member = |name| item.contains_key(name).then(|| text(item, name).to_owned());
        let outcome = Outcome {
            id: id.to_owned(),
            status: text(item, "status").to_owned(),
            receipt: member("receipt").unwrap_or_default(),
            received_at: member("received_at"),
            stored_at: member("stored_at"),
            reason: member("reason"),
        };
        let found = Self { outcome, content: member("payload").map(Text) };
        Some(((owner.to_owned(), id.to_owned()), found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_up_keeps_a_payload_as_it_was_sent() {
        let json = r#"{"id":"a","status":"stored","receipt":"1","storedAt":"now","payload":{"a": 1.0,"b":"\ud800"}}"#;
        let found = Found::parse(json).unwrap();
        assert_eq!(found.content, Some(Text(r#"{"a": 1.0,"b":"\ud800"}"#.to_owned())));
        assert_eq!(found.outcome.stored_at.as_deref(), Some("now"));
    }

    #[test]
    #[should_panic(expected = "1:stored")]
    fn the_id_of_an_event_names_its_receipt() {
        Outcome::of_event(&json!({
            "id": "2:stored", "type": "intake.message.stored", "subject": "a", "data": { "receipt": "1" },
        }));
    }
}
