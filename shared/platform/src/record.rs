//! From an SQS record to its deliveries: one, or one for each message of a bulk.
//!
//! `aws_lambda_events` has a type for a whole batch. It is not used here, because a batch is then parsed as a whole, and
//! one record that it cannot parse would fail the others with it, again and again, until all of them are dead letters.

use std::{fmt, panic::catch_unwind};

use aws_lambda_events::sqs::{SqsMessage, SqsMessageAttribute};
use intake_domain::{
    bulk,
    message::{
        InvalidMessageId, InvalidPayload, MessageId, Owner, Payload, Receipt, Via, id_text, truncated,
    },
    state::{Content, Incoming},
};
use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{
    delivery::{Delivery, QueuedRequest},
    telemetry::CorrelationId,
};

/// What was parsed of a record.
#[derive(Clone, Debug)]
pub struct ParsedRecord {
    /// What SQS calls it.
    pub record_id: String,
    /// With which this delivery of it is hidden, or acknowledged; none if the record could not be parsed.
    pub receipt_handle: Option<String>,
    /// Which delivery this is, from 1; none if the record does not say.
    pub attempts: Option<u32>,
    /// At least one.
    pub deliveries: Result<Vec<Delivery>, Unattributed>,
}

/// A record that names no request, and what is wrong with it: it has no `id` and is no bulk, it has no valid owner or no
/// valid receipt, or cannot be parsed. It has no outcome, because there is no client to notify; an operator finds it in
/// the dead-letter queue.
#[derive(Clone, Copy, Debug)]
pub struct Unattributed(pub &'static str);

/// Parses the records of a batch one by one, each as soon as it is cut out of the event: a batch can have
/// megabytes, which should not be in memory more often than needed.
///
/// # Errors
/// If a record has no record id (`messageId`): the response to Lambda could not name it, so the batch fails as a whole.
pub fn parse_each<'de, D: Deserializer<'de>>(records: D) -> Result<Vec<ParsedRecord>, D::Error> {
    struct Records;

    impl<'de> Visitor<'de> for Records {
        type Value = Vec<ParsedRecord>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of records")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut records: A) -> Result<Self::Value, A::Error> {
            let mut all = Vec::new();
            while let Some(record) = records.next_element::<Box<RawValue>>()? {
                all.push(parse_isolated(&record).map_err(serde::de::Error::custom)?);
            }
            Ok(all)
        }
    }

    records.deserialize_seq(Records)
}

/// Reads a record by itself: whatever is wrong with it, even a panic, does not affect the others.
///
/// # Errors
/// If it has no record id.
pub fn parse_isolated(record: &RawValue) -> serde_json::Result<ParsedRecord> {
    isolated(record, parse)
}

fn isolated(record: &RawValue, parse: fn(SqsMessage) -> ParsedRecord) -> serde_json::Result<ParsedRecord> {
    #[derive(Deserialize)]
    struct Named {
        #[serde(rename = "messageId")]
        message_id: String,
    }
    // A panic unwinds up to here, because the release profile does not abort.
    let reason = match catch_unwind(|| serde_json::from_str(record.get()).map(parse)) {
        Ok(Ok(parsed)) if !parsed.record_id.is_empty() => return Ok(parsed),
        Ok(_) => "it does not have the form of an SQS record",
        Err(_) => "parsing it failed with a panic",
    };
    // Lambda wants to know which record failed: the name is the least that has to be there.
    let Named { message_id } = serde_json::from_str(record.get())?;
    if message_id.is_empty() {
        return Err(serde::de::Error::custom("a record has an empty messageId"));
    }
    let deliveries = Err(Unattributed(reason));
    Ok(ParsedRecord { record_id: message_id, receipt_handle: None, attempts: None, deliveries })
}

/// Parses a record.
///
/// API Gateway sends to the queue itself; no function sees a message before. What is known about it is in the attributes
/// of its record, which the templates of API Gateway set (`openapi.yaml`): `id` from the path, or `bulk` if the body has
/// many messages, each with its id; `owner` from the authorizer; `correlation_id`. A redrive, with which an operator
/// returns a dead letter to the queue, adds `receipt` and `received_at`, since SQS then gives the record a new id and
/// time, and counts its deliveries anew.
pub fn parse(mut record: SqsMessage) -> ParsedRecord {
    let record_id = record.message_id.take().unwrap_or_default();
    let receipt_handle = record.receipt_handle.take();
    let attempts = number(&record, "ApproximateReceiveCount").and_then(|count| count.try_into().ok());
    let deliveries = deliveries(&record_id, attempts, &record);
    ParsedRecord { record_id, receipt_handle, attempts, deliveries }
}

fn deliveries(
    record_id: &str,
    attempts: Option<u32>,
    record: &SqsMessage,
) -> Result<Vec<Delivery>, Unattributed> {
    let text = |name: &str| record.message_attributes.get(name).and_then(text_of);

    let is_bulk = text("bulk").is_some();
    let receipt = text("receipt").and_then(|receipt| Receipt::parse(receipt).ok());
    let receipt = receipt.filter(|receipt| receipt.is_bulk() == is_bulk);
    let of_record = || if is_bulk { Receipt::of_bulk(record_id) } else { Receipt::parse(record_id) };
    let Some(receipt) = receipt.or_else(|| of_record().ok()) else {
        return Err(Unattributed("its record id is not a UUID"));
    };
    let Some(Ok(owner)) = text("owner").map(Owner::parse) else {
        return Err(Unattributed("it has no valid attribute 'owner'"));
    };
    let body = record.body.as_deref().unwrap_or_default();
    let messages = match text("id") {
        _ if is_bulk => messages_of(body),
        Some(id) => vec![message(MessageId::parse(id), body, || Payload::parse(body))],
        None => return Err(Unattributed("it has no attribute 'id'")),
    };

    let correlation_id = text("correlation_id").and_then(CorrelationId::parse);
    let received_at = text("received_at").and_then(|time| time.parse().ok());
    let received_at = received_at
        .or_else(|| number(record, "SentTimestamp"))
        .and_then(|time| Timestamp::from_millisecond(time).ok())
        .unwrap_or_else(Timestamp::now);
    let record_size = messages.len();
    let delivery = |(index, (id, content)): (usize, (Result<MessageId, InvalidMessageId>, Content))| {
        let request = QueuedRequest {
            record_id: record_id.to_owned(),
            owner: owner.clone(),
            id: id_text(&id).to_owned(),
            receipt: receipt.clone(),
            index,
            record_size,
            correlation_id: correlation_id.clone(),
        };
        let (owner, via) = (owner.clone(), Via::Queue(receipt.clone()));
        Delivery { request, incoming: Incoming { owner, id, via, attempts, received_at, content } }
    };
    Ok(messages.into_iter().enumerate().map(delivery).collect())
}

/// The messages of a bulk. What is no bulk is one message, without an id, that is rejected.
fn messages_of(body: &str) -> Vec<(Result<MessageId, InvalidMessageId>, Content)> {
    match bulk::cut(body) {
        Ok(messages) => messages
            .into_iter()
            .map(|one| message(one.id, one.payload.get(), || Payload::of_json(one.payload)))
            .collect(),
        // Without the text: no item keeps it, because there is no message that it belongs to.
        Err(error) => {
            vec![(MessageId::parse(""), Content::Invalid { text: String::new(), reason: error.to_string() })]
        }
    }
}

/// A message with the content that its id and its text make.
fn message(
    id: Result<MessageId, InvalidMessageId>,
    text: &str,
    payload: impl FnOnce() -> Result<Payload, InvalidPayload>,
) -> (Result<MessageId, InvalidMessageId>, Content) {
    let content = match &id {
        Ok(_) => payload().map_or_else(
            |error| {
                // What is longer than a payload does not fit into an item either.
                let text = truncated(text, Payload::MAX_BYTES).to_owned();
                Content::Invalid { text, reason: error.to_string() }
            },
            Content::Valid,
        ),
        // No item can have its key: of such a message only the outcome is kept, under its receipt.
        Err(error) => Content::Invalid { text: String::new(), reason: error.to_string() },
    };
    (id, content)
}

/// A number that SQS adds to a record.
fn number(record: &SqsMessage, name: &str) -> Option<i64> {
    record.attributes.get(name)?.parse().ok()
}

/// The value of an attribute of the type that the gateway sends.
fn text_of(attribute: &SqsMessageAttribute) -> Option<&str> {
    let is_text = attribute.data_type.as_deref() == Some("String");
    attribute.string_value.as_deref().filter(|_| is_text)
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
        let parsed = isolated(&record, |_| panic!("on purpose")).expect("it has a record id");
        assert!(parsed.deliveries.is_err_and(|Unattributed(reason)| reason.contains("panic")));
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
            let parsed = parse_isolated(&record(&message.to_string())).expect("it has a record id");
            let deliveries = parsed.deliveries.unwrap_or_else(|reason| panic!("{message} is {reason:?}"));
            assert_eq!(deliveries[0].request.correlation_id.as_deref(), expected, "{message}");
        }
    }

    #[test]
    fn a_record_of_another_shape_is_unattributed() {
        for json in [
            r#"{"messageId":"a","messageAttributes":[]}"#,
            r#"{"messageId":"a","body":{"not":"text"}}"#,
            r#"{"messageId":"a","messageAttributes":{"id":{"dataType":1}}}"#,
        ] {
            let parsed = parse_isolated(&record(json)).expect("it has a record id");
            assert!(parsed.deliveries.is_err(), "{json}");
        }
    }

    #[test]
    fn a_record_without_a_record_id_fails_the_batch() {
        for json in [r#"{"messageId":""}"#, "{}", "null", r#"{"messageId":null}"#] {
            assert!(parse_isolated(&record(json)).is_err(), "{json}");
        }
    }
}
