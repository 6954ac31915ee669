//! From SQS records to messages: each record is parsed by itself, keeps its name and loses nothing.
//!
//! libFuzzer reports every panic, also those that the consumer confines to their record.

#![no_main]

use base64::{Engine, engine::general_purpose::STANDARD};
use intake::{
    message::{MessageId, Owner, Payload, Receipt, Via},
    state::{Content, Status},
};
use jiff::Timestamp;
use libfuzzer_sys::{
    arbitrary::{self, Arbitrary, Unstructured},
    fuzz_target,
};
use queue_consumer::{
    Batch,
    delivery::{ParsedRecord, read},
};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

/// Checks that the content is this body: all of it, or as much as can be kept of an invalid one.
fn assert_kept(content: &Content, body: &str) {
    match (content, Payload::parse(body)) {
        (Content::Valid(payload), Ok(_)) => assert_eq!(payload.as_str(), body),
        (Content::Invalid { text, reason }, Err(error)) => {
            assert!(body.starts_with(text.as_str()));
            assert!(text.len() > Payload::MAX_BYTES - 4 || text == body, "only what is too long is cut");
            assert!(text.len() <= Payload::MAX_BYTES);
            assert_eq!(*reason, error.to_string());
        }
        _ => panic!("a body is rejected exactly if it is not a payload"),
    }
}

/// Parses a record of any shape: it needs a name, and keeps it. Returns whether it has one.
fn any_record(record: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct Named {
        #[serde(rename = "messageId")]
        message_id: String,
    }
    #[derive(Deserialize)]
    struct WithBody {
        body: Option<String>,
    }
    let named = serde_json::from_str::<Named>(record.get()).ok();
    let name = named.map(|named| named.message_id).filter(|name| !name.is_empty());
    let parsed = read(record).ok();
    assert_eq!(parsed.as_ref().map(ParsedRecord::record_id), name.as_deref());
    if let Some(ParsedRecord::Message(delivery)) = parsed
        && let Ok(WithBody { body }) = serde_json::from_str(record.get())
        && record.get().starts_with('{')
    {
        assert_kept(&delivery.incoming.content, &body.unwrap_or_default());
    }
    name.is_some()
}

/// A record as SQS writes it, with anything that a client may send.
#[derive(Arbitrary, Debug)]
struct Record<'a> {
    message_id: Text<'a>,
    attributes: [Attribute<'a>; 4],
    body: Body<'a>,
    receive_count: Option<u32>,
    sent: Option<i64>,
}

/// The names of a record's attributes.
const NAMES: [&str; 4] = ["owner", "id", "receipt", "received_at"];

#[derive(Arbitrary, Debug)]
enum Text<'a> {
    Any(&'a str),
    Uuid(u128),
    Number(i64),
}

#[derive(Arbitrary, Debug)]
enum Attribute<'a> {
    Text(Text<'a>),
    OfType(&'a str, &'a str),
    Binary(&'a [u8]),
    Absent,
}

#[derive(Arbitrary, Debug)]
enum Body<'a> {
    Text(&'a str),
    Object(&'a str),
}

impl Text<'_> {
    fn text(&self) -> String {
        match self {
            Self::Any(text) => (*text).to_owned(),
            Self::Uuid(bits) => {
                let digits = format!("{bits:032x}");
                let groups = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
                groups.join("-")
            }
            Self::Number(number) => number.to_string(),
        }
    }
}

impl Attribute<'_> {
    fn json(&self) -> Option<Value> {
        match self {
            Self::Text(text) => Some(json!({ "stringValue": text.text(), "dataType": "String" })),
            Self::OfType(kind, text) => Some(json!({ "stringValue": text, "dataType": kind })),
            Self::Binary(bytes) => {
                Some(json!({ "binaryValue": STANDARD.encode(bytes), "dataType": "Binary" }))
            }
            Self::Absent => None,
        }
    }

    /// The text that the consumer has to see.
    fn text(&self) -> Option<String> {
        let json = self.json()?;
        if json["dataType"] == "String" { json["stringValue"].as_str().map(str::to_owned) } else { None }
    }
}

impl Body<'_> {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => (*text).to_owned(),
            Self::Object(text) => json!({ "text": text }).to_string(),
        }
    }
}

impl Record<'_> {
    fn json(&self) -> Box<RawValue> {
        let mut record = json!({
            "messageId": self.message_id.text(),
            "receiptHandle": "AQEBzbVv8mDZ1Qz4tI0B5Jr3mC9kXw==",
            "body": self.body.text(),
            "attributes": {},
            "messageAttributes": {},
            "eventSource": "aws:sqs",
        });
        let numbers =
            [("ApproximateReceiveCount", self.receive_count.map(i64::from)), ("SentTimestamp", self.sent)];
        for (name, number) in numbers {
            if let Some(number) = number {
                record["attributes"][name] = number.to_string().into();
            }
        }
        for (name, attribute) in NAMES.iter().zip(&self.attributes) {
            if let Some(json) = attribute.json() {
                record["messageAttributes"][name] = json;
            }
        }
        RawValue::from_string(record.to_string()).expect("JSON")
    }

    /// Checks that it was parsed as it has to be.
    fn assert_is(&self, parsed: &ParsedRecord) {
        let name = self.message_id.text();
        let [owner, id, receipt, received_at] = [0, 1, 2, 3].map(|place| self.attributes[place].text());
        let owner = owner.and_then(|text| Owner::parse(text).ok());
        let receipt = receipt.and_then(|text| Receipt::parse(&text).ok());
        let receipt = receipt.or_else(|| Receipt::parse(&name).ok());
        let received_at = received_at.and_then(|text| text.parse().ok()).or(self.sent);
        let received_at = received_at.and_then(|time| Timestamp::from_millisecond(time).ok());
        assert_eq!(parsed.record_id(), name);
        let (Some(receipt), Some(owner), Some(id)) = (receipt, owner, id) else {
            assert!(matches!(parsed, ParsedRecord::Unattributed(_)), "{parsed:?}");
            return;
        };
        match (MessageId::parse(id.as_str()), parsed) {
            (Ok(id), ParsedRecord::Message(delivery)) => {
                let incoming = &delivery.incoming;
                assert_eq!((&delivery.receipt, incoming.receipt.as_ref()), (&receipt, Some(&receipt)));
                assert_eq!((&incoming.key.id, &incoming.key.owner), (&id, &owner));
                assert_eq!((incoming.via, incoming.attempts), (Via::Queue, self.receive_count));
                assert!(received_at.is_none_or(|time| time == incoming.received_at));
                assert_kept(&incoming.content, &self.body.text());
            }
            (Err(error), ParsedRecord::IllegalId(illegal)) => {
                let (note, outcome) = (&illegal.note, &illegal.note.outcome);
                assert_eq!((&note.receipt, &note.owner), (&receipt, &owner));
                assert!(id.starts_with(&note.id));
                assert_eq!((outcome.status, outcome.attempts), (Status::Rejected, self.receive_count));
                assert_eq!(outcome.reason, Some(error.to_string()));
                assert!(received_at.is_none_or(|time| time == outcome.received_at));
            }
            (id, parsed) => panic!("{id:?} and {parsed:?}"),
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    // The same bytes in three readings. A batch, as Lambda passes it on:
    #[derive(Deserialize)]
    struct Unread {
        #[serde(rename = "Records")]
        records: Vec<Box<RawValue>>,
    }
    if let Ok(Unread { records }) = serde_json::from_slice(bytes) {
        let batch = serde_json::from_slice::<Batch>(bytes).ok().map(|batch| batch.records.len());
        let named = records.iter().filter(|record| any_record(record)).count();
        assert_eq!(
            batch,
            (named == records.len()).then_some(named),
            "one record without a name fails the batch"
        );
    }
    // One record:
    if let Ok(record) = serde_json::from_slice::<Box<RawValue>>(bytes) {
        any_record(&record);
    }
    // Records made from the bytes:
    if let Ok(records) = Vec::<Record>::arbitrary(&mut Unstructured::new(bytes)) {
        for record in records {
            match read(&record.json()) {
                Ok(parsed) => record.assert_is(&parsed),
                Err(_) => assert!(record.message_id.text().is_empty()),
            }
        }
    }
});
