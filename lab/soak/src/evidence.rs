//! What the account is made from: everything that was seen from outside.

use std::collections::{HashMap, HashSet};

use aws_sdk_sqs::types::Message;
use e2e::stack::{Entry, Found, Outcome, Text};

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
}

/// A message with a `202`.
#[derive(Clone, Debug)]
pub(crate) struct Accepted {
    pub(crate) sent: Sent,
    /// Where to look up its outcome.
    pub(crate) status_path: String,
    /// The last response from there.
    pub(crate) found: Option<Found>,
}

/// Everything that was seen.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    /// The messages with a `202`, by its receipt.
    pub(crate) accepted: HashMap<String, Accepted>,
    /// Those without one. Each may be in the queue or not.
    pub(crate) unconfirmed: Vec<Sent>,
    /// Responses to look-ups before the last one in their order, each with the owner who looked up.
    pub(crate) earlier: Vec<(String, Found)>,
    /// What arrived at the sockets, each with their owner; a repeated event is here once.
    pub(crate) notifications: HashSet<(String, Outcome)>,
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
    /// The messages with this key that a receipt may belong to. One without a `202` may be queued under any receipt
    /// that no other message has.
    pub(crate) fn with_receipt(&self, key: &Key, receipt: &str) -> impl Iterator<Item = &Sent> {
        let accepted = self.accepted.get(receipt);
        let unconfirmed = self.unconfirmed.iter().filter(move |_| accepted.is_none());
        let all = accepted.map(|accepted| &accepted.sent).into_iter().chain(unconfirmed);
        all.filter(move |sent| sent.key == *key)
    }

    /// Reads what a function has logged about a last delivery.
    pub(crate) fn read(&mut self, Entry { function, json, .. }: &Entry, max_receive_count: u64) {
        let Some(receipt) = json["receipt"].as_str() else { return };
        if function.contains("DeadLetterRecorder") && json["outcome"] == "failed" {
            self.recovered.insert(receipt.to_owned());
        }
        if function.contains("QueueConsumer") && json["attempt"].as_u64() >= Some(max_receive_count) {
            self.ended.insert(receipt.to_owned());
        }
    }
}

/// The receipt of a dead letter, and its message and body.
pub(crate) fn letter(message: &Message) -> (String, (Key, Text)) {
    let attribute = |name: &str| message.message_attributes()?.get(name)?.string_value();
    let [owner, id] = ["owner", "id"].map(|name| attribute(name).unwrap_or_default().to_owned());
    let body = Text(message.body().unwrap_or_default().to_owned());
    (message.message_id().unwrap_or_default().to_owned(), ((owner, id), body))
}
