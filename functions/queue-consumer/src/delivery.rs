//! From an SQS record to a message.

use std::{fmt, panic::catch_unwind};

use aws_lambda_events::sqs::{SqsMessage, SqsMessageAttribute};
use intake::{
    message::{Key, MessageId, Owner, Payload, Receipt, Via},
    notification::{MAX_SUBJECT_BYTES, truncated},
    state::{Content, Incoming, Note, Outcome, Status},
    telemetry::CorrelationId,
};
use jiff::Timestamp;
use lambda_runtime::Error;
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

/// A record that was parsed by itself.
#[derive(Clone, Debug)]
pub enum ParsedRecord {
    /// A message with an owner and a legal id.
    Message(Delivery),
    /// A message with an owner, but an illegal id: no message can have that, so only its outcome is noted.
    IllegalId(IllegalId),
    /// A record without an id, a valid owner or a valid receipt. Its outcome belongs to no client; an operator finds it
    /// in the dead-letter queue.
    Unattributed(Unattributed),
}

/// One delivery of a message.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The queue's name for the record, also in the response to Lambda.
    pub record_id: String,
    /// The receipt that the client got: the record id, unless the message was redriven.
    pub receipt: Receipt,
    /// Joins the log lines of the message; none if the gateway sent none.
    pub correlation_id: Option<CorrelationId>,
    /// The message.
    pub incoming: Incoming,
}

/// A message with an illegal id.
#[derive(Clone, Debug)]
pub struct IllegalId {
    /// The queue's name for the record, also in the response to Lambda.
    pub record_id: String,
    /// Its outcome, which is certain: it is rejected.
    pub note: Note,
    /// Joins the log lines of the message; none if the gateway sent none.
    pub correlation_id: Option<CorrelationId>,
}

/// A record without an id, a valid owner or a valid receipt.
#[derive(Clone, Debug)]
pub struct Unattributed {
    /// The queue's name for the record.
    pub record_id: String,
    /// What is wrong with it.
    pub reason: &'static str,
    /// Which delivery this is, from 1; none if the record does not say.
    pub attempts: Option<u32>,
}

impl ParsedRecord {
    /// The queue's name for the record.
    pub fn record_id(&self) -> &str {
        match self {
            Self::Message(delivery) => &delivery.record_id,
            Self::IllegalId(illegal) => &illegal.record_id,
            Self::Unattributed(unattributed) => &unattributed.record_id,
        }
    }
}

impl Delivery {
    /// The same message after its last delivery has failed.
    #[must_use]
    pub fn exhausted(mut self) -> Self {
        if let Content::Valid(payload) = self.incoming.content {
            let reason = "The message was not confirmed as stored in any of its deliveries: the database was \
                          throttled or unavailable. It is in the dead-letter queue.";
            self.incoming.content = Content::Exhausted { payload, reason: reason.to_owned() };
        }
        self
    }
}

/// Parses the records of a batch one by one, each as soon as it is cut out of the event: a batch can have
/// megabytes, which should not be in memory more often than needed.
pub(crate) fn parse_each<'de, D: Deserializer<'de>>(records: D) -> Result<Vec<ParsedRecord>, D::Error> {
    struct Records;

    impl<'de> Visitor<'de> for Records {
        type Value = Vec<ParsedRecord>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of records")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut records: A) -> Result<Self::Value, A::Error> {
            let mut all = Vec::new();
            while let Some(record) = records.next_element::<Box<RawValue>>()? {
                all.push(read(&record).map_err(A::Error::custom)?);
            }
            Ok(all)
        }
    }

    records.deserialize_seq(Records)
}

/// Reads a record by itself: whatever is wrong with it, even a panic, does not affect the others.
///
/// # Errors
/// If it has no message id: the response to Lambda could not name the record, so the batch fails as a whole.
pub fn read(record: &RawValue) -> Result<ParsedRecord, Error> {
    isolated(record, parse)
}

fn isolated(record: &RawValue, parse: fn(SqsMessage) -> ParsedRecord) -> Result<ParsedRecord, Error> {
    #[derive(Deserialize)]
    struct Named {
        #[serde(rename = "messageId")]
        message_id: String,
    }
    let reason = match catch_unwind(|| serde_json::from_str(record.get()).map(parse)) {
        Ok(Ok(parsed)) if !parsed.record_id().is_empty() => return Ok(parsed),
        Ok(_) => "it does not have the form of an SQS record",
        Err(_) => "parsing it failed with a panic",
    };
    let Named { message_id } = serde_json::from_str(record.get())?;
    if message_id.is_empty() {
        return Err("a record has an empty message id".into());
    }
    Ok(ParsedRecord::Unattributed(Unattributed { record_id: message_id, reason, attempts: None }))
}

/// Parses a record.
pub fn parse(record: SqsMessage) -> ParsedRecord {
    let record_id = record.message_id.unwrap_or_default();
    let number = |name: &str| record.attributes.get(name)?.parse::<i64>().ok();
    let attempts = number("ApproximateReceiveCount").and_then(|count| count.try_into().ok());
    let unattributed =
        |record_id, reason| ParsedRecord::Unattributed(Unattributed { record_id, reason, attempts });
    let text = |name: &str| record.message_attributes.get(name).and_then(text_of);
    // A redriven message has a new record id and keeps the receipt that its client got.
    let receipt = text("receipt").and_then(|receipt| Receipt::parse(receipt).ok());
    let Some(receipt) = receipt.or_else(|| Receipt::parse(&record_id).ok()) else {
        return unattributed(record_id, "its message id is not a UUID");
    };
    let Some(Ok(owner)) = text("owner").map(Owner::parse) else {
        return unattributed(record_id, "it has no valid attribute 'owner'");
    };
    let Some(id) = text("id") else {
        return unattributed(record_id, "it has no attribute 'id'");
    };
    let correlation_id = text("correlation_id").and_then(CorrelationId::parse);
    // A redriven message keeps the time when it was accepted, too.
    let received_at = text("received_at").and_then(|time| time.parse().ok());
    let received_at = received_at
        .or_else(|| number("SentTimestamp"))
        .and_then(|time| Timestamp::from_millisecond(time).ok())
        .unwrap_or_else(Timestamp::now);
    match MessageId::parse(id) {
        Ok(id) => ParsedRecord::Message(Delivery {
            record_id,
            receipt: receipt.clone(),
            correlation_id,
            incoming: Incoming {
                key: Key { id, owner },
                via: Via::Queue,
                attempts,
                received_at,
                receipt: Some(receipt),
                content: content(record.body.as_deref().unwrap_or_default()),
            },
        }),
        Err(error) => {
            let (status, reason) = (Status::Rejected, Some(error.to_string()));
            let outcome = Outcome { status, attempts, received_at, stored_at: None, reason };
            let id = truncated(id, MAX_SUBJECT_BYTES).to_owned();
            let note = Note { owner, receipt, id, outcome };
            ParsedRecord::IllegalId(IllegalId { record_id, note, correlation_id })
        }
    }
}

/// The value of an attribute of the type that the gateway sends.
fn text_of(attribute: &SqsMessageAttribute) -> Option<&str> {
    let is_text = attribute.data_type.as_deref() == Some("String");
    attribute.string_value.as_deref().filter(|_| is_text)
}

fn content(body: &str) -> Content {
    match Payload::parse(body) {
        Ok(payload) => Content::Valid(payload),
        Err(error) => {
            // What is longer than a payload does not fit into an item either.
            let text = truncated(body, Payload::MAX_BYTES).to_owned();
            Content::Invalid { text, reason: error.to_string() }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).expect("JSON")
    }

    #[test]
    fn a_panic_affects_one_record_only() {
        let record = record(r#"{"messageId":"5fea7756-0ea4-451a-a703-a558b933e274"}"#);
        let parsed = isolated(&record, |_| panic!("on purpose")).expect("it has a message id");
        assert!(matches!(parsed, ParsedRecord::Unattributed(record) if record.reason.contains("panic")));
    }

    #[test]
    fn a_message_needs_no_correlation_id() {
        let attribute = |kind: &str, value: &str| json!({ "dataType": kind, "stringValue": value });
        for (sent, expected) in [
            (Some(attribute("String", "UfLxKHlvDoEFe2g=")), Some("UfLxKHlvDoEFe2g=")),
            (Some(attribute("String", "not {one}")), None),
            (Some(attribute("String", "")), None),
            (Some(attribute("Number", "42")), None),
            (None, None),
        ] {
            let mut message = json!({
                "messageId": "5fea7756-0ea4-451a-a703-a558b933e274",
                "body": "{}",
                "attributes": {},
                "messageAttributes": { "id": attribute("String", "m"), "owner": attribute("String", "bob") },
            });
            if let Some(sent) = sent {
                message["messageAttributes"]["correlation_id"] = sent;
            }
            let parsed = read(&record(&message.to_string())).expect("it has a message id");
            let ParsedRecord::Message(delivery) = parsed else { panic!("{message} is {parsed:?}") };
            assert_eq!(delivery.correlation_id.as_ref().map(CorrelationId::as_str), expected, "{message}");
        }
    }

    #[test]
    fn a_record_of_another_shape_is_unattributed() {
        for json in [
            r#"{"messageId":"a","messageAttributes":[]}"#,
            r#"{"messageId":"a","body":{"not":"text"}}"#,
            r#"{"messageId":"a","messageAttributes":{"id":{"dataType":1}}}"#,
        ] {
            let parsed = read(&record(json)).expect("it has a message id");
            assert!(matches!(parsed, ParsedRecord::Unattributed(_)), "{json}");
        }
    }

    #[test]
    fn a_record_without_a_message_id_fails_the_batch() {
        for json in [r#"{"messageId":""}"#, "{}", "null", r#"{"messageId":null}"#] {
            assert!(read(&record(json)).is_err(), "{json}");
        }
    }
}
