//! From SQS records to messages: each record is parsed by itself, keeps its name and loses nothing.
//!
//! libFuzzer reports every panic, also those that the consumer confines to their record.

#![no_main]

use intake_domain::{message::Payload, state::Content};
use intake_platform::record::parse_isolated;
use libfuzzer_sys::fuzz_target;
use queue_consumer::Batch;
use serde::Deserialize;
use serde_json::value::RawValue;

/// The record's name, if it has one.
#[derive(Deserialize)]
struct Named {
    #[serde(rename = "messageId")]
    message_id: String,
}

#[derive(Deserialize)]
struct WithBody {
    body: Option<String>,
}

#[derive(Deserialize)]
struct Unread {
    #[serde(rename = "Records")]
    records: Vec<Box<RawValue>>,
}

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

/// Reads a record of any shape, and returns whether it has a name.
fn has_name(record: &RawValue) -> bool {
    let parsed = parse_isolated(record).ok();
    // SQS sends objects. serde also reads an array, by the positions of the fields.
    if record.get().starts_with('{') {
        let named = serde_json::from_str::<Named>(record.get()).ok();
        let name = named.map(|named| named.message_id).filter(|name| !name.is_empty());
        let record_id = parsed.as_ref().map(|parsed| parsed.record_id.as_str());
        assert_eq!(record_id, name.as_deref());
        let deliveries = parsed.as_ref().and_then(|parsed| parsed.deliveries.as_ref().ok());
        if let (Some(deliveries), Ok(WithBody { body })) = (deliveries, serde_json::from_str(record.get())) {
            assert_ne!(deliveries.len(), 0, "at least one");
            let mut body = body.unwrap_or_default();
            // Of a message with an illegal id the content is not kept.
            for delivery in deliveries.iter().filter(|delivery| delivery.incoming.id.is_ok()) {
                if !delivery.request.receipt.is_bulk() {
                    assert_kept(&delivery.incoming.content, &body);
                    continue;
                }
                // Payloads are cut out of a bulk byte for byte, in their order.
                let text = delivery.incoming.content.text();
                let (_, rest) = body.split_once(text).expect("it is in the bulk");
                body = rest.to_owned();
            }
        }
    }
    parsed.is_some()
}

fuzz_target!(|bytes: &[u8]| {
    // A batch, as Lambda passes it on:
    if let Ok(Unread { records }) = serde_json::from_slice(bytes) {
        let batch = serde_json::from_slice::<Batch>(bytes).ok().map(|batch| batch.records.len());
        let named = records.iter().filter(|record| has_name(record)).count();
        let expected = (named == records.len()).then_some(named);
        assert_eq!(batch, expected, "one record without a name fails the batch");
    }
    // The same bytes as one record:
    if let Ok(record) = serde_json::from_slice::<Box<RawValue>>(bytes) {
        has_name(&record);
    }
});
