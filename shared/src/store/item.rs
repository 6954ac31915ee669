//! Between records and the items of a table.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;

use super::StoreError;
use crate::{
    message::{Owner, Receipt, Via},
    state::{Note, Outcome, Record, Status},
};

pub(super) type Item = HashMap<String, AttributeValue>;

/// The key of a note. No message has such a key, because no message id begins with `#`.
pub(super) fn note_key(owner: &Owner, receipt: &Receipt) -> String {
    format!("#{}#{}", receipt.as_str(), owner.as_str())
}

pub(super) fn note_item(note: &Note, expires_at: Timestamp) -> Item {
    let Outcome { status, attempts, received_at, stored_at, reason } = &note.outcome;
    let mut item = HashMap::from([
        ("pk".to_owned(), text(note_key(&note.owner, &note.receipt))),
        ("id".to_owned(), text(note.id.as_str())),
        ("status".to_owned(), text(status.as_str())),
        ("received_at".to_owned(), text(milliseconds(*received_at))),
        ("expires_at".to_owned(), number(expires_at.as_second())),
    ]);
    if let Some(attempts) = attempts {
        item.insert("attempts".to_owned(), number(*attempts));
    }
    if let Some(stored_at) = stored_at {
        item.insert("stored_at".to_owned(), text(milliseconds(*stored_at)));
    }
    if let Some(reason) = reason {
        item.insert("reason".to_owned(), text(reason.as_str()));
    }
    item
}

pub(super) fn note_of(item: &Item, owner: &Owner, receipt: &Receipt) -> Result<Note, StoreError> {
    Ok(Note {
        owner: owner.clone(),
        receipt: receipt.clone(),
        id: required_text(item, "id")?.clone(),
        outcome: Outcome {
            status: status(item)?,
            attempts: attempts(item)?,
            received_at: time(item, "received_at")?.ok_or(StoreError::Unreadable("received_at"))?,
            stored_at: time(item, "stored_at")?,
            reason: optional_text(item, "reason").cloned(),
        },
    })
}

pub(super) fn record_of(item: &Item) -> Result<Record, StoreError> {
    Ok(Record {
        status: status(item)?,
        text: required_text(item, "payload")?.clone(),
        via: match required_text(item, "via")?.as_str() {
            "sync" => Via::Sync,
            "queue" => Via::Queue,
            _ => return Err(StoreError::Unreadable("via")),
        },
        attempts: attempts(item)?,
        received_at: time(item, "received_at")?.ok_or(StoreError::Unreadable("received_at"))?,
        stored_at: time(item, "stored_at")?,
        receipt: optional_text(item, "receipt")
            .map(|text| Receipt::parse(text).map_err(|_| StoreError::Unreadable("receipt")))
            .transpose()?,
        reason: optional_text(item, "reason").cloned(),
    })
}

fn status(item: &Item) -> Result<Status, StoreError> {
    Status::parse(required_text(item, "status")?).ok_or(StoreError::Unreadable("status"))
}

fn attempts(item: &Item) -> Result<Option<u32>, StoreError> {
    let unreadable = StoreError::Unreadable("attempts");
    let Some(attempts) = item.get("attempts") else { return Ok(None) };
    attempts.as_n().ok().and_then(|number| number.parse().ok()).map(Some).ok_or(unreadable)
}

fn time(item: &Item, name: &'static str) -> Result<Option<Timestamp>, StoreError> {
    optional_text(item, name).map(|text| text.parse().map_err(|_| StoreError::Unreadable(name))).transpose()
}

fn optional_text<'a>(item: &'a Item, name: &str) -> Option<&'a String> {
    item.get(name)?.as_s().ok()
}

fn required_text<'a>(item: &'a Item, name: &'static str) -> Result<&'a String, StoreError> {
    optional_text(item, name).ok_or(StoreError::Unreadable(name))
}

/// RFC 3339 with milliseconds, always three digits, so that texts sort like times.
pub(super) fn milliseconds(time: Timestamp) -> String {
    format!("{time:.3}")
}

pub(super) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub(super) fn number(value: impl Into<i64>) -> AttributeValue {
    AttributeValue::N(value.into().to_string())
}
