//! What the account is made from: everything that was seen from outside.

use std::collections::{HashMap, HashSet};

use aws_sdk_sqs::types::Message;
use e2e::stack::{Entry, Found, Text};

/// Owner and id of a message.
pub(crate) type Key = (String, String);

/// A message that a client sent.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) key: Key,
    /// The body, byte for byte.
    pub(crate) body: Text,
    /// Whether it is a message that has to be stored. The others have to be rejected.
    pub(crate) valid: bool,
    /// Whether it was sent after the faults, while every socket of its owner was open.
    pub(crate) after_faults: bool,
    /// What was found under its receipt in the end.
    pub(crate) found: Option<Found>,
}

/// What an owner got to know of a request.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    pub(crate) owner: String,
    /// Or the response to a look-up.
    pub(crate) is_notification: bool,
    pub(crate) found: Found,
}

/// Everything that was seen.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    /// The messages with a `202`, by its receipt.
    pub(crate) accepted: HashMap<String, Sent>,
    /// Those without one. Each may be in the queue or not.
    pub(crate) unconfirmed: Vec<Sent>,
    /// What the owners got to know before the end, in its order.
    pub(crate) statements: Vec<Statement>,
    pub(crate) random_kills: usize,
    pub(crate) forced_kills: usize,
    /// The table in the end.
    pub(crate) items: HashMap<Key, Found>,
    /// The dead-letter queue in the end, by receipt.
    pub(crate) letters: HashMap<String, (Key, Text)>,
    /// The receipts of what the dead-letter recorder recorded as failed.
    pub(crate) recovered: HashSet<String>,
    /// Those of last deliveries at whose end the consumer was still alive.
    pub(crate) ended: HashSet<String>,
}

impl Evidence {
    /// Reads a dead letter.
    pub(crate) fn read_letter(&mut self, message: &Message) {
        let attribute = |name: &str| message.message_attributes()?.get(name)?.string_value();
        let [owner, id] = ["owner", "id"].map(|name| attribute(name).unwrap_or_default().to_owned());
        let [receipt, body] =
            [message.message_id(), message.body()].map(|it| it.unwrap_or_default().to_owned());
        self.letters.insert(receipt, ((owner, id), Text(body)));
    }

    /// Reads what a function has logged about a last delivery.
    pub(crate) fn read_log(&mut self, Entry { function, json, .. }: &Entry, max_receive_count: u64) {
        let Some(receipt) = json["receipt"].as_str() else { return };
        if function.contains("DeadLetterRecorder") && json["outcome"] == "failed" {
            self.recovered.insert(receipt.to_owned());
        }
        if function.contains("QueueConsumer") && json["attempt"].as_u64() >= Some(max_receive_count) {
            self.ended.insert(receipt.to_owned());
        }
    }
}
