//! From SQS records to messages: each record is read by itself, keeps its name and loses nothing.
//!
//! libFuzzer takes every panic for a finding, those too that the consumer confines to their record.

#![no_main]

use base64::{Engine, engine::general_purpose::STANDARD};
use intake::{
    message::{MessageId, Owner, Payload, Receipt, Via},
    state::Content,
};
use jiff::Timestamp;
use libfuzzer_sys::{
    arbitrary::{self, Arbitrary, Unstructured},
    fuzz_target,
};
use queue_consumer::{
    Batch,
    delivery::{Delivery, ParsedRecord, IllegalId, Unattributed, read},
};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

/// What a record is called.
#[derive(Deserialize)]
struct Named {
    #[serde(rename = "messageId")]
    message_id: String,
}

/// What a record says.
#[derive(Deserialize)]
struct Saying {
    body: Option<String>,
}

fn name_of(record: &RawValue) -> Option<String> {
    let Named { message_id } = serde_json::from_str(record.get()).ok()?;
    (!message_id.is_empty()).then_some(message_id)
}

fn name(found: &ParsedRecord) -> &str {
    match found {
        ParsedRecord::Message(Delivery { receipt, .. }) | ParsedRecord::IllegalId(IllegalId { receipt, .. }) => {
            receipt.as_str()
        }
        ParsedRecord::Unattributed(Unattributed { message_id, .. }) => message_id,
    }
}

/// Whether what was found is this body: all of it, or as much as can be kept of an invalid one.
fn assert_kept(content: &Content, body: &str) {
    match (content, Payload::parse(body)) {
        (Content::Valid(payload), Ok(_)) => assert_eq!(payload.as_str(), body),
        (Content::Invalid { text, reason }, Err(error)) => {
            assert!(body.starts_with(text.as_str()));
            assert!(text.len() > Payload::MAX_BYTES - 4 || text == body, "only what is too long is cut");
            assert!(text.len() <= Payload::MAX_BYTES);
            assert_eq!(*reason, error.to_string());
        }
        _ => panic!("a body is rejected exactly if it is no payload"),
    }
}

/// All of them, unless one has no name.
fn read_all(records: &[Box<RawValue>]) -> Option<Vec<ParsedRecord>> {
    records.iter().map(|record| read(record).ok()).collect()
}

/// A batch, before its records are read.
#[derive(Deserialize)]
struct Unread {
    #[serde(rename = "Records")]
    records: Vec<Box<RawValue>>,
}

/// Reads records of any shape.
fn any_records(records: Vec<Box<RawValue>>) {
    let names: Option<Vec<String>> = records.iter().map(|record| name_of(record)).collect();
    let (Some(found), Some(names)) = (read_all(&records), &names) else {
        assert!(names.is_none() || names.is_some_and(|names| names.is_empty()), "it can be named");
        return;
    };
    assert_eq!(found.len(), names.len());
    for ((found, known), text) in found.iter().zip(names).zip(&records) {
        assert_eq!(name(found), known);
        if let ParsedRecord::Message(delivery) = found
            && let Ok(Saying { body }) = serde_json::from_str(text.get())
            && text.get().starts_with('{')
        {
            assert_kept(&delivery.arrival.content, &body.unwrap_or_default());
        }
    }
}

/// A record as SQS writes it, with whatever its sender put in.
#[derive(Arbitrary, Debug)]
struct Record<'a> {
    name: Name<'a>,
    owner: Attribute<'a>,
    id: Attribute<'a>,
    body: Option<Body<'a>>,
    receive_count: Option<u32>,
    sent: Option<i64>,
    system_attribute: Option<(&'a str, &'a str)>,
    attribute: Option<(&'a str, Attribute<'a>)>,
    no_attributes_at_all: bool,
}

#[derive(Arbitrary, Debug)]
enum Name<'a> {
    Uuid(u128),
    Any(&'a str),
}

#[derive(Arbitrary, Debug)]
enum Attribute<'a> {
    Text(&'a str),
    Repeated(char, u16),
    OfType(&'a str, &'a str),
    Binary(&'a [u8]),
    Absent,
}

#[derive(Arbitrary, Debug)]
enum Body<'a> {
    Text(&'a str),
    Object(&'a str),
    Nested(u16),
    /// As long as the longest payload, and so much longer or shorter. This takes as long as hundreds of
    /// others, so only one in 16 is.
    Long(u8, i8, char),
}

impl Name<'_> {
    fn text(&self) -> String {
        match self {
            Self::Uuid(bits) => {
                let digits = format!("{bits:032x}");
                let groups = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
                groups.join("-")
            }
            Self::Any(text) => (*text).to_owned(),
        }
    }
}

impl Attribute<'_> {
    fn json(&self) -> Option<Value> {
        match self {
            Self::Text(text) => Some(json!({ "stringValue": text, "dataType": "String" })),
            Self::Repeated(one, times) => {
                let text = one.to_string().repeat(usize::from(times % 300));
                Some(json!({ "stringValue": text, "dataType": "String" }))
            }
            Self::OfType(kind, text) => Some(json!({ "stringValue": text, "dataType": kind })),
            Self::Binary(bytes) => {
                Some(json!({ "binaryValue": STANDARD.encode(bytes), "dataType": "Binary" }))
            }
            Self::Absent => None,
        }
    }

    /// The text that the consumer is to see.
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
            Self::Nested(levels) => {
                let levels = usize::from(*levels % 2048);
                format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels))
            }
            Self::Long(chance, more, filler) => {
                let around = r#"{"a":""}"#.len();
                let longest = if chance % 16 == 0 { Payload::MAX_BYTES } else { 512 };
                let bytes = (longest - around).saturating_add_signed(isize::from(*more));
                let filler = if matches!(filler, '"' | '\\' | '\0'..='\x1f') { 'x' } else { *filler };
                let whole = filler.to_string().repeat(bytes / filler.len_utf8());
                format!("{{\"a\":\"{whole}{}\"}}", "x".repeat(bytes - whole.len()))
            }
        }
    }
}

impl Record<'_> {
    fn json(&self) -> Box<RawValue> {
        let mut record = json!({
            "messageId": self.name.text(),
            "receiptHandle": "AQEBzbVv8mDZ1Qz4tI0B5Jr3mC9kXw==",
            "body": self.body.as_ref().map(Body::text),
            "attributes": {},
            "messageAttributes": {},
            "eventSource": "aws:sqs",
        });
        if self.no_attributes_at_all {
            record["attributes"] = Value::Null;
        } else {
            if let Some((name, value)) = self.system_attribute {
                record["attributes"][name] = value.into();
            }
            for (name, value) in
                [("ApproximateReceiveCount", self.receive_count.map(i64::from)), ("SentTimestamp", self.sent)]
            {
                if let Some(value) = value {
                    record["attributes"][name] = value.to_string().into();
                }
            }
        }
        if let Some((name, attribute)) = &self.attribute
            && let Some(attribute) = attribute.json()
        {
            record["messageAttributes"][*name] = attribute;
        }
        for (name, attribute) in [("owner", &self.owner), ("id", &self.id)] {
            match attribute.json() {
                Some(json) => record["messageAttributes"][name] = json,
                None => {
                    record["messageAttributes"].as_object_mut().expect("an object").remove(name);
                }
            }
        }
        RawValue::from_string(record.to_string()).expect("JSON")
    }

    /// Whether this is what is to be found in it.
    fn assert_is(&self, found: &ParsedRecord) {
        let name = self.name.text();
        let owner = self.owner.text().and_then(|text| Owner::parse(text).ok());
        match (Receipt::parse(name.as_str()), owner, self.id.text(), found) {
            (Ok(receipt), Some(owner), Some(id), found) => match (MessageId::parse(id.as_str()), found) {
                (Ok(id), ParsedRecord::Message(delivery)) => {
                    assert_eq!(delivery.receipt, receipt);
                    let arrival = &delivery.arrival;
                    assert_eq!(arrival.receipt.as_ref(), Some(&receipt));
                    assert_eq!((&arrival.key.id, &arrival.key.owner), (&id, &owner));
                    assert_eq!(arrival.via, Via::Queue);
                    self.assert_numbers(delivery);
                    let body = self.body.as_ref().map(Body::text).unwrap_or_default();
                    assert_kept(&arrival.content, &body);
                }
                (Err(error), ParsedRecord::IllegalId(illegal)) => {
                    assert_eq!((&illegal.receipt, &illegal.owner), (&receipt, &owner));
                    assert_eq!((&illegal.id, &illegal.reason), (&id, &error.to_string()));
                }
                (legal, found) => panic!("{legal:?} and {found:?}"),
            },
            (.., ParsedRecord::Unattributed(nobodys)) => assert_eq!(nobodys.message_id, name),
            (.., found) => panic!("{found:?}"),
        }
    }

    fn assert_numbers(&self, delivery: &Delivery) {
        if self.no_attributes_at_all {
            assert_eq!(delivery.arrival.attempts, 1);
            return;
        }
        if let Some(count) = self.receive_count {
            assert_eq!(delivery.arrival.attempts, count);
        }
        if let Some(sent) = self.sent.and_then(|sent| Timestamp::from_millisecond(sent).ok()) {
            assert_eq!(delivery.arrival.received_at, sent);
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    // The same bytes in three readings. A batch, as Lambda would hand it on:
    if let Ok(Unread { records }) = serde_json::from_slice(bytes) {
        let batch = serde_json::from_slice::<Batch>(bytes).ok().map(|batch| batch.records.len());
        assert_eq!(batch, read_all(&records).map(|found| found.len()));
        any_records(records);
    }
    // One record:
    if let Ok(record) = serde_json::from_slice::<Box<RawValue>>(bytes) {
        any_records(vec![record]);
    }
    // What records may be made of:
    if let Ok(records) = Vec::<Record>::arbitrary(&mut Unstructured::new(bytes)) {
        let all: Vec<_> = records.iter().map(Record::json).collect();
        match read_all(&all) {
            Some(found) => {
                assert_eq!(found.len(), records.len());
                records.iter().zip(&found).for_each(|(record, found)| record.assert_is(found));
            }
            None => assert!(records.iter().any(|record| record.name.text().is_empty())),
        }
    }
});
