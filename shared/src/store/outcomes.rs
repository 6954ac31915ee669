//! Outcomes by receipt: what each request through the queue ended as.
//!
//! The record of a message holds the outcome of the receipt that it names. Every other outcome (a duplicate, a conflict,
//! a rejected or a failed message) is noted under its receipt, in the same table, for a limited time.

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    Client,
    types::{KeysAndAttributes, PutRequest, WriteRequest},
};
use jiff::{SignedDuration, Timestamp};

use super::{
    StoreError,
    item::{Item, note_item, note_key, note_of, record_of, text},
};
use crate::{
    message::{Key, Owner, Receipt},
    state::{Note, Record},
};

/// The notes in the table of messages.
#[derive(Clone, Debug)]
pub struct Outcomes {
    client: Client,
    table: String,
}

/// The outcome of a receipt, where it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The record of the message, if it names the receipt. It holds the outcome, whatever a note says.
    pub record: Option<Record>,
    /// The note.
    pub note: Option<Note>,
}

impl Outcomes {
    /// The limit of notes in one `BatchWriteItem`.
    pub const BATCH_LIMIT: usize = 25;

    /// The notes in the table with this name.
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { client, table: table.into() }
    }

    /// Writes up to [`Outcomes::BATCH_LIMIT`] notes with different receipts, to be kept for `retention`. A note
    /// replaces an earlier one of its receipt.
    ///
    /// # Errors
    /// [`StoreError`] if not all of them are known to be written; repeating it is safe.
    pub async fn note(&self, notes: &[&Note], retention: SignedDuration) -> Result<(), StoreError> {
        let expires_at = Timestamp::now().checked_add(retention).unwrap_or(Timestamp::MAX);
        let put = |note: &&Note| {
            let put = PutRequest::builder().set_item(Some(note_item(note, expires_at))).build();
            put.map(|put| WriteRequest::builder().put_request(put).build()).map_err(StoreError::not_built)
        };
        let requests = notes.iter().map(put).collect::<Result<_, _>>()?;
        let response = self
            .client
            .batch_write_item()
            .request_items(&self.table, requests)
            .send()
            .await
            .map_err(StoreError::from_sdk)?;
        // "BatchWriteItem": what is throttled is returned in a successful response.
        match response.unprocessed_items().and_then(|tables| tables.get(&self.table)).map_or(0, Vec::len) {
            0 => Ok(()),
            left => Err(StoreError::unavailable(format!("{left} of {} notes unprocessed", notes.len()))),
        }
    }

    /// What holds the outcome of an owner's receipt: the record of the message with `key`, if it names the receipt, and
    /// its note. Neither, if the outcome is still open. Both are read in one request.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be read.
    pub async fn find(
        &self,
        key: Option<&Key>,
        owner: &Owner,
        receipt: &Receipt,
    ) -> Result<Found, StoreError> {
        let (record_key, note_key) = (key.map(Key::partition_key), note_key(owner, receipt));
        let pk = |value: &String| HashMap::from([("pk".to_owned(), text(value.as_str()))]);
        let keys = record_key.iter().chain([&note_key]).map(pk).collect();
        // A client that was just notified of an outcome has to find it.
        let request = KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(true);
        let response = self
            .client
            .batch_get_item()
            .request_items(&self.table, request.build().map_err(StoreError::not_built)?)
            .send()
            .await
            .map_err(StoreError::from_sdk)?;
        // "BatchGetItem": what is throttled is returned in a successful response.
        if response.unprocessed_keys().is_some_and(|tables| !tables.is_empty()) {
            return Err(StoreError::unavailable("unprocessed keys"));
        }
        let items = response.responses().and_then(|tables| tables.get(&self.table));
        let item_of = |key: &String| {
            let has_key = |item: &&Item| item.get("pk").and_then(|pk| pk.as_s().ok()) == Some(key);
            items.into_iter().flatten().find(has_key)
        };
        let record = record_key.as_ref().and_then(item_of).map(record_of).transpose();
        let note = item_of(&note_key).map(|item| note_of(item, owner, receipt)).transpose()?;
        // An item of another program under the key does not matter to a receipt that has a note.
        let record = if note.is_some() { record.unwrap_or_default() } else { record? };
        Ok(Found { record: record.filter(|record| record.receipt.as_ref() == Some(receipt)), note })
    }
}
