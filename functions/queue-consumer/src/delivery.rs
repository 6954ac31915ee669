//! From an SQS record to a message.

use std::{fmt, panic::catch_unwind};

use aws_lambda_events::sqs::{SqsMessage, SqsMessageAttribute};
use intake::{
    message::{Key, MessageId, Owner, Payload, Receipt, Via},
    notification::truncated,
    state::{Content, Incoming},
    telemetry::CorrelationId,
};
use jiff::Timestamp;
use lambda_runtime::Error;
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

/// What a record turns out to be.
#[derive(Clone, Debug)]
pub enum ParsedRecord {
    /// A message with an owner and a legal id.
    Message(Delivery),
    /// A message that cannot be recorded, since nobody could look it up; its owner can be told.
    IllegalId(IllegalId),
    /// A record that names no owner, or no receipt: nobody can be told, but an operator can look at it.
    Unattributed(Unattributed),
}

/// One delivery of a message.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The queue's name for the message, also in the answer to SQS.
    pub receipt: Receipt,
    /// What the log knows the message by; none if the gateway has not sent it.
    pub correlation_id: Option<CorrelationId>,
    /// What was delivered.
    pub arrival: Incoming,
}

/// A message with an illegal id.
#[derive(Clone, Debug)]
pub struct IllegalId {
    /// The queue's name for the message.
    pub receipt: Receipt,
    /// Whose it is.
    pub owner: Owner,
    /// What its client calls it.
    pub id: String,
    /// Why that is no id.
    pub reason: String,
    /// What the log knows the message by; none if the gateway has not sent it.
    pub correlation_id: Option<CorrelationId>,
    /// Which delivery this is, from 1.
    pub attempts: u32,
}

/// A record that is nobody's message.
#[derive(Clone, Debug)]
pub struct Unattributed {
    /// The queue's name for the record.
    pub message_id: String,
    /// What is wrong with it.
    pub reason: &'static str,
    /// Which delivery this is, from 1; 0 if it does not say.
    pub attempts: u32,
}

impl ParsedRecord {
    /// The queue's name for it.
    fn message_id(&self) -> &str {
        match self {
            Self::Message(delivery) => delivery.receipt.as_str(),
            Self::IllegalId(illegal) => illegal.receipt.as_str(),
            Self::Unattributed(nobodys) => &nobodys.message_id,
        }
    }
}

impl Delivery {
    /// The same message, given up.
    pub(crate) fn exhausted(mut self) -> Self {
        if let Content::Valid(payload) = self.arrival.content {
            let reason = format!(
                "The message was not confirmed as stored in {} deliveries: the database was throttling or away. \
                 It is in the dead-letter queue.",
                self.arrival.attempts
            );
            self.arrival.content = Content::Exhausted { payload, reason };
        }
        self
    }
}

/// Reads the records of a batch one by one, each as soon as it is cut out of the event: a batch can have
/// megabytes, which are not to be there more often than needed.
pub(crate) fn read_each<'de, D: Deserializer<'de>>(records: D) -> Result<Vec<ParsedRecord>, D::Error> {
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

/// Reads a record by itself: whatever is wrong with it, be it a panic, is its own matter.
///
/// # Errors
/// If it has no message id. SQS takes an answer that names it wrongly for a success of the whole batch or a
/// failure of it, depending on the mistake: so the batch fails as a whole.
pub fn read(record: &RawValue) -> Result<ParsedRecord, Error> {
    isolated(record, found)
}

fn isolated(record: &RawValue, read: fn(SqsMessage) -> ParsedRecord) -> Result<ParsedRecord, Error> {
    #[derive(Deserialize)]
    struct Named {
        #[serde(rename = "messageId")]
        message_id: String,
    }
    let reason = match catch_unwind(|| serde_json::from_str(record.get()).map(read)) {
        Ok(Ok(found)) if !found.message_id().is_empty() => return Ok(found),
        Ok(_) => "it does not have the form of an SQS record",
        Err(_) => "reading it failed with a panic",
    };
    let Named { message_id } = serde_json::from_str(record.get())?;
    if message_id.is_empty() {
        return Err("a record has an empty message id".into());
    }
    Ok(ParsedRecord::Unattributed(Unattributed { message_id, reason, attempts: 0 }))
}

fn found(record: SqsMessage) -> ParsedRecord {
    let message_id = record.message_id.unwrap_or_default();
    let number = |name: &str| record.attributes.get(name)?.parse::<i64>().ok();
    let attempts = number("ApproximateReceiveCount").and_then(|count| count.try_into().ok());
    let nobodys = |message_id, reason| {
        ParsedRecord::Unattributed(Unattributed {
            message_id,
            reason,
            attempts: attempts.unwrap_or_default(),
        })
    };
    let attempts = attempts.unwrap_or(1);
    let text = |name: &str| record.message_attributes.get(name).and_then(text_of);
    let Ok(receipt) = Receipt::parse(message_id.as_str()) else {
        return nobodys(message_id, "its message id is no UUID");
    };
    let Some(Ok(owner)) = text("owner").map(Owner::parse) else {
        return nobodys(message_id, "it has no valid attribute 'owner'");
    };
    let Some(id) = text("id") else {
        return nobodys(message_id, "it has no attribute 'id'");
    };
    // A message without one is a message all the same.
    let correlation_id = text("correlation_id").and_then(CorrelationId::parse);
    let id = match MessageId::parse(id) {
        Ok(id) => id,
        Err(error) => {
            let (id, reason) = (id.to_owned(), error.to_string());
            return ParsedRecord::IllegalId(IllegalId {
                receipt,
                owner,
                id,
                reason,
                correlation_id,
                attempts,
            });
        }
    };
    let sent = number("SentTimestamp").and_then(|sent| Timestamp::from_millisecond(sent).ok());
    ParsedRecord::Message(Delivery {
        receipt: receipt.clone(),
        correlation_id,
        arrival: Incoming {
            key: Key { id, owner },
            via: Via::Queue,
            attempts,
            received_at: sent.unwrap_or_else(Timestamp::now),
            receipt: Some(receipt),
            content: content(record.body.as_deref().unwrap_or_default()),
        },
    })
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
    fn a_panic_is_one_records_matter() {
        let record = record(r#"{"messageId":"5fea7756-0ea4-451a-a703-a558b933e274"}"#);
        let found = isolated(&record, |_| panic!("on purpose")).expect("it has a name");
        assert!(matches!(found, ParsedRecord::Unattributed(nobodys) if nobodys.reason.contains("panic")));
    }

    #[test]
    fn a_message_without_a_usable_correlation_id_is_a_message_all_the_same() {
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
            let found = read(&record(&message.to_string())).expect("it has a name");
            let ParsedRecord::Message(delivery) = found else { panic!("{message} is {found:?}") };
            assert_eq!(delivery.correlation_id.as_ref().map(CorrelationId::as_str), expected, "{message}");
        }
    }

    #[test]
    fn a_record_of_another_shape_is_nobodys() {
        for json in [
            r#"{"messageId":"a","messageAttributes":[]}"#,
            r#"{"messageId":"a","body":{"not":"text"}}"#,
            r#"{"messageId":"a","messageAttributes":{"id":{"dataType":1}}}"#,
        ] {
            let found = read(&record(json)).expect("it has a name");
            assert!(matches!(found, ParsedRecord::Unattributed(_)), "{json}");
        }
    }

    #[test]
    fn a_record_that_cannot_be_named_fails_the_batch() {
        for json in [r#"{"messageId":""}"#, "{}", "null", r#"{"messageId":null}"#] {
            assert!(read(&record(json)).is_err(), "{json}");
        }
    }
}
