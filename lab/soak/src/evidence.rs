//! What the account is made from: everything that was seen from outside.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    ops::Deref,
};

use aws_sdk_sqs::types::Message;
use e2e::stack::{Item, text};
use intake_domain::message::truncated;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

/// Owner and id of a message.
pub(crate) type Key = (String, String);

/// A text of up to 256 KiB. Findings show its beginning.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Text(pub(crate) String);

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", truncated(self, 80))
    }
}

/// A message that a client sent.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) key: Key,
    /// The body, byte for byte.
    pub(crate) body: Text,
    /// Whether it is a message that has to be stored. The others have to be rejected.
    pub(crate) valid: bool,
    /// What the `202` says. Without one, the message may be in the queue or not.
    pub(crate) accepted: Option<Accepted>,
    /// Whether it was sent after the faults, while every socket of its owner was open.
    pub(crate) after_faults: bool,
}

/// What a `202` says.
#[derive(Clone, Debug)]
pub(crate) struct Accepted {
    pub(crate) receipt: String,
    /// Where to look up the outcome.
    pub(crate) status_path: String,
}

impl Sent {
    pub(crate) fn receipt(&self) -> Option<&str> {
        self.accepted.as_ref().map(|accepted| accepted.receipt.as_str())
    }
}

/// What is said of a request, by a look-up or by a notification.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Outcome {
    /// The id of the message: in a notification, the subject of the event.
    #[serde(default)]
    pub(crate) id: String,
    /// In a notification, the last word of the event's type.
    #[serde(default)]
    pub(crate) status: String,
    pub(crate) receipt: String,
    pub(crate) received_at: Option<String>,
    pub(crate) stored_at: Option<String>,
    pub(crate) reason: Option<String>,
}

/// The response to a look-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LookUp {
    pub(crate) outcome: Outcome,
    /// The payload, or the text of a rejected message.
    pub(crate) content: Option<Text>,
}

impl LookUp {
    pub(crate) fn parse(json: &str) -> serde_json::Result<Self> {
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
}

/// An event that arrived at a socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Notification {
    /// The owner of the socket.
    pub(crate) owner: String,
    pub(crate) event_id: String,
    pub(crate) outcome: Outcome,
}

impl Notification {
    pub(crate) fn of(owner: &str, event: &Value) -> Self {
        let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        let outcome = Outcome::deserialize(&event["data"]).expect("the data of an event");
        let status = text("type").trim_start_matches("intake.message.").to_owned();
        let outcome = Outcome { id: text("subject"), status, ..outcome };
        Self { owner: owner.to_owned(), event_id: text("id"), outcome }
    }
}

/// The record of a message in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) status: String,
    /// The receipt that it names.
    pub(crate) receipt: String,
    pub(crate) content: Text,
    pub(crate) stored_at: Option<String>,
}

impl Record {
    /// The record in an item; none if the item is a note.
    pub(crate) fn of(item: &Item) -> Option<(Key, Self)> {
        let (id, owner) = text(item, "pk").split_once('#').expect("an id and an owner");
        let record = || Self {
            status: text(item, "status").to_owned(),
            receipt: text(item, "receipt").to_owned(),
            content: Text(text(item, "payload").to_owned()),
            stored_at: item.contains_key("stored_at").then(|| text(item, "stored_at").to_owned()),
        };
        (!id.is_empty()).then(|| ((owner.to_owned(), id.to_owned()), record()))
    }
}

/// A record in the dead-letter queue.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    pub(crate) receipt: String,
    pub(crate) key: Key,
    pub(crate) body: Text,
}

impl Letter {
    pub(crate) fn of(message: &Message) -> Self {
        let attribute = |name: &str| {
            let value = message.message_attributes()?.get(name)?.string_value()?;
            Some(value.to_owned())
        };
        Self {
            receipt: message.message_id().unwrap_or_default().to_owned(),
            key: (attribute("owner").unwrap_or_default(), attribute("id").unwrap_or_default()),
            body: Text(message.body().unwrap_or_default().to_owned()),
        }
    }
}

/// What the functions logged about last deliveries, by receipt.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// The dead-letter recorder recorded these as failed.
    pub(crate) recovered: HashSet<String>,
    /// The consumer was still alive at the end of their last delivery.
    pub(crate) ended: HashSet<String>,
}

impl Log {
    /// Reads lines of a function's name, a tab and a JSON object.
    pub(crate) fn read(log: &str, max_receive_count: u32) -> Self {
        let mut read = Self::default();
        for (function, line) in log.lines().filter_map(|line| line.split_once('\t')) {
            let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
            let Some(receipt) = line["receipt"].as_str() else { continue };
            if function.contains("DeadLetterRecorder") && line["outcome"] == "failed" {
                read.recovered.insert(receipt.to_owned());
            }
            if function.contains("QueueConsumer")
                && line["attempt"].as_u64().is_some_and(|attempt| attempt >= u64::from(max_receive_count))
            {
                read.ended.insert(receipt.to_owned());
            }
        }
        read
    }
}

/// Everything that was seen.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    /// What the clients sent.
    pub(crate) sent: Vec<Sent>,
    /// What arrived at their sockets; a repeated event is here once.
    pub(crate) notifications: HashSet<Notification>,
    /// Responses to look-ups during the flood in their order, each with the owner who looked up.
    pub(crate) earlier: Vec<(String, LookUp)>,
    /// The last response for every receipt.
    pub(crate) outcomes: HashMap<String, LookUp>,
    /// The table in the end.
    pub(crate) records: HashMap<Key, Record>,
    /// The dead-letter queue in the end.
    pub(crate) letters: Vec<Letter>,
    /// The functions' log in the end.
    pub(crate) log: Log,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_up_keeps_a_payload_as_it_was_sent() {
        let json = r#"{"id":"a","status":"stored","receipt":"1","storedAt":"now","payload":{"a": 1.0,"b":"\ud800"}}"#;
        let found = LookUp::parse(json).unwrap();
        assert_eq!(found.content, Some(Text(r#"{"a": 1.0,"b":"\ud800"}"#.to_owned())));
        assert_eq!(found.outcome.stored_at.as_deref(), Some("now"));
    }

    #[test]
    fn the_log_shows_who_recorded_a_failure_and_which_last_deliveries_ended() {
        let log = "intake-DeadLetterRecorderFunction\t{\"receipt\":\"1\",\"attempt\":3,\"outcome\":\"failed\"}\n\
                   intake-DeadLetterRecorderFunction\t{\"receipt\":\"2\",\"outcome\":\"stored\"}\n\
                   intake-QueueConsumerFunction\t{\"receipt\":\"3\",\"attempt\":3}\n\
                   intake-QueueConsumerFunction\t{\"receipt\":\"4\",\"attempt\":2}\n\
                   intake-QueueConsumerFunction\tno JSON\n";
        let Log { recovered, ended } = Log::read(log, 3);
        assert_eq!(recovered, HashSet::from(["1".to_owned()]));
        assert_eq!(ended, HashSet::from(["3".to_owned()]));
    }
}
