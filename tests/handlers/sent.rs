//! Messages that a test sends through the queue, and the outcomes that they must have.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};

use crate::fixtures::{
    database::{Database, MESSAGES},
    events::{bulk, bulk_receipt, bulk_record, delivered, receipt, record},
    pushes::Pushes,
};

/// A message sent through the queue.
pub(crate) struct Sent {
    pub(crate) number: usize,
    /// The number of the bulk that it is in; none if it was sent alone.
    pub(crate) bulk: Option<usize>,
    pub(crate) owner: &'static str,
    pub(crate) id: String,
    pub(crate) body: String,
}

impl Sent {
    /// Messages of two owners, who use the same ids. Each has a payload that would not survive being parsed and
    /// written again.
    pub(crate) fn many(count: usize) -> Vec<Self> {
        let one = |number| Self {
            number,
            bulk: None,
            owner: if number % 2 == 0 { "alice" } else { "bob" },
            id: format!("m-{}", number / 2),
            body: format!("{{\"z\": {number}.50, \"a\":\"\\u00e9é😀&=%2B\",\"b\":1e2 }}"),
        };
        (0..count).map(one).collect()
    }

    /// The same with payloads of so many bytes, which differ.
    pub(crate) fn large(count: usize, bytes: usize) -> Vec<Self> {
        let mut sent = Self::many(count);
        for sent in &mut sent {
            sent.body = object_of(bytes).replacen("xxxx", &format!("{:04}", sent.number), 1);
        }
        sent
    }

    /// The same in bulks of so many, each of one owner. What remains was sent alone.
    pub(crate) fn in_bulks(mut sent: Vec<Self>, bulks: usize, size: usize) -> Vec<Self> {
        for (index, chunk) in sent.chunks_exact_mut(size).take(bulks).enumerate() {
            for one in chunk {
                one.bulk = Some(1_000_000 + index);
                one.owner = if index % 2 == 0 { "alice" } else { "bob" };
                one.id = format!("b-{}", one.number);
            }
        }
        sent
    }

    /// What a failure of its record is reported as.
    pub(crate) fn record_id(&self) -> String {
        receipt(self.bulk.unwrap_or(self.number))
    }

    pub(crate) fn receipt(&self) -> String {
        self.bulk.map_or_else(|| receipt(self.number), bulk_receipt)
    }

    /// What tells its notifications from others.
    fn request(&self) -> String {
        if self.bulk.is_some() { format!("{}:{}", self.receipt(), self.id) } else { self.receipt() }
    }

    /// Whether the table has exactly this message, stored.
    pub(crate) fn is_stored(&self, items: &Items) -> bool {
        self.is("stored", items)
    }

    /// Whether the table has exactly this message with this status.
    pub(crate) fn is(&self, status: &str, items: &Items) -> bool {
        let Some(item) = items.get(&self.key()) else { return false };
        let has = |name: &str, value: &str| item.get(name) == Some(&AttributeValue::S(value.to_owned()));
        has("status", status)
            && has("payload", &self.body)
            && has("receipt", &self.receipt())
            && has("via", "queue")
            && item.contains_key("reason") == (status != "stored")
    }

    pub(crate) fn key(&self) -> String {
        format!("{}#{}", self.id, self.owner)
    }
}

/// A JSON object of so many bytes.
pub(crate) fn object_of(bytes: usize) -> String {
    let frame = r#"{"a":""}"#;
    format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes - frame.len()))
}

/// All messages as records of one delivery.
pub(crate) fn records(sent: &[Sent], delivery: u32) -> Vec<Value> {
    let of_record = |messages: &[Sent]| {
        let Sent { number, bulk: in_bulk, owner, id, body } = &messages[0];
        let Some(bulk_number) = in_bulk else { return delivered(record(*number, owner, id, body), delivery) };
        let messages: Vec<_> = messages.iter().map(|sent| (&*sent.id, &*sent.body)).collect();
        delivered(bulk_record(*bulk_number, owner, &bulk(&messages)), delivery)
    };
    sent.chunk_by(|one, next| one.record_id() == next.record_id()).map(of_record).collect()
}

/// The records that failed, of one delivery.
pub(crate) fn records_of(failures: &BTreeSet<String>, sent: &[Sent], delivery: u32) -> Vec<Value> {
    let mut records = records(sent, delivery);
    records.retain(|record| failures.contains(record["messageId"].as_str().expect("text")));
    records
}

/// The records of messages, by their keys.
pub(crate) type Items = HashMap<String, HashMap<String, AttributeValue>>;

pub(crate) async fn items(database: &Database) -> Items {
    let items = database.items(MESSAGES).await.into_iter();
    let by_key = items.map(|item| (item["pk"].as_s().expect("text").clone(), item));
    // The others are outcomes under receipts.
    by_key.filter(|(key, _)| !key.starts_with('#')).collect()
}

/// Checks that the table has exactly these messages, stored, and returns its items.
pub(crate) async fn assert_stored(database: &Database, sent: &[Sent], context: &str) -> Items {
    let items = items(database).await;
    let missing: Vec<_> = sent.iter().filter(|sent| !sent.is_stored(&items)).map(Sent::key).collect();
    assert!(missing.is_empty(), "{context}: {missing:?} are not stored as they were sent");
    assert_eq!(items.len(), sent.len(), "{context}");
    items
}

/// The notifications that both owners have received: key of the message and last word of the event's type, each once.
///
/// # Panics
/// If one was delivered to the wrong owner.
pub(crate) fn notifications(pushes: &Pushes, sent: &[Sent]) -> BTreeSet<(String, String)> {
    let mut all = BTreeSet::new();
    let sent: HashMap<_, _> = sent.iter().map(|sent| (sent.request(), sent)).collect();
    for owner in ["alice", "bob"] {
        for event in pushes.events(&format!("{owner}-1")) {
            let (request, kind) = event["id"].as_str().and_then(|id| id.rsplit_once(':')).expect("an id");
            let sent = sent[request];
            assert_eq!((sent.owner, json!(sent.id)), (owner, event["subject"].clone()));
            assert_eq!(event["data"]["receipt"], sent.receipt());
            assert_eq!(event["type"], format!("intake.message.{kind}"));
            all.insert((sent.key(), kind.to_owned()));
        }
    }
    all
}

/// The same for messages that have no outcome but `stored`: their keys.
///
/// # Panics
/// If an owner was notified of another outcome.
pub(crate) fn notified_as_stored(pushes: &Pushes, sent: &[Sent]) -> BTreeSet<String> {
    let notifications = notifications(pushes, sent);
    let stored = |(key, kind): (String, String)| {
        assert_eq!(kind, "stored", "of {key}");
        key
    };
    notifications.into_iter().map(stored).collect()
}
