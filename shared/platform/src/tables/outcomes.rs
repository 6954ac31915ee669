//! Outcomes under their receipts: what each request through the queue ended as.
//!
//! The item of a message holds the outcome of the receipt that it names. Every other outcome (of a duplicate, a
//! conflict, a rejected or a failed message) is kept under its receipt, in the same table, for a limited time. The outcomes
//! of a bulk are kept together, in one item under its receipt.

use std::{borrow::Cow, collections::HashMap};

use aws_sdk_dynamodb::{
    Client,
    types::{PutRequest, WriteRequest},
};
use intake_domain::{
    message::{Key, Owner, Receipt},
    state::{Message, Outcome, Status, milliseconds},
};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    TableError,
    item::{
        Item, add_outcome, batch_get, is_live, message_key, message_of, number, outcome_of, receipt_key,
        required_text, text, time,
    },
};
use crate::delivery::{Decided, QueuedRequest};

/// The outcomes in the table of messages.
#[derive(Clone, Debug)]
pub struct Outcomes {
    client: Client,
    table: String,
}

/// What a look-up by receipt finds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The message, if it names the receipt. It holds the outcome, whatever is under the receipt.
    pub message: Option<Message>,
    /// What is kept under the receipt: one outcome, or those of all messages of a bulk, in its order.
    pub under_receipt: Option<Vec<UnderReceipt>>,
}

/// An outcome under its receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnderReceipt {
    /// The text of the message's id, legal or not.
    pub id: String,
    /// What the request ended as.
    pub outcome: Outcome,
}

impl Outcomes {
    /// The limit of items in one `BatchWriteItem`.
    pub const BATCH_LIMIT: usize = 25;

    /// The outcomes in the table with this name.
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { client, table: table.into() }
    }

    /// Keeps outcomes under up to [`Outcomes::BATCH_LIMIT`] different receipts, for `retention`: under each the outcomes of
    /// all messages of its record. They replace earlier ones under that receipt, so that no condition is needed, and
    /// `BatchWriteItem` will do.
    ///
    /// # Errors
    /// [`TableError`] if not all of them are known to be written; repeating it is safe.
    pub async fn keep(&self, records: &[&[Decided]], retention: SignedDuration) -> Result<(), TableError> {
        let expires_at = Timestamp::now().checked_add(retention).unwrap_or(Timestamp::MAX);
        let put = |record: &&[Decided]| {
            let put = PutRequest::builder().set_item(Some(item(record, expires_at)?)).build();
            put.map(|put| WriteRequest::builder().put_request(put).build()).map_err(TableError::not_built)
        };
        let requests = records.iter().map(put).collect::<Result<_, _>>()?;
        let response = self
            .client
            .batch_write_item()
            .request_items(&self.table, requests)
            .send()
            .await
            .map_err(TableError::from_sdk)?;
        // "BatchWriteItem": what is throttled is returned in a successful response.
        match response.unprocessed_items().and_then(|tables| tables.get(&self.table)).map_or(0, Vec::len) {
            0 => Ok(()),
            left => Err(TableError::transient(format!("{left} of {} items unprocessed", records.len()))),
        }
    }

    /// What holds the outcome of an owner's receipt: the message with `key`, if it names the receipt, and what is
    /// kept under the receipt. Neither, if the outcome is still open. Both are read in one request.
    ///
    /// # Errors
    /// [`TableError`] if the table cannot be read.
    pub async fn find(
        &self,
        key: Option<Key<'_>>,
        owner: &Owner,
        receipt: &Receipt,
    ) -> Result<Found, TableError> {
        let (message_pk, receipt_pk) = (key.map(message_key), receipt_key(owner, receipt));
        let keys = message_pk.iter().chain([&receipt_pk]);
        // A client that was just notified of an outcome has to find it.
        let response = batch_get(&self.client, &self.table, keys, true).await?;
        // "BatchGetItem": what is throttled is returned in a successful response.
        if response.unprocessed_keys().is_some_and(|tables| !tables.is_empty()) {
            return Err(TableError::transient("unprocessed keys"));
        }
        let items = response.responses().and_then(|tables| tables.get(&self.table));
        let item_of = |key: &String| {
            let has_key = |item: &&Item| item.get("pk").and_then(|pk| pk.as_s().ok()) == Some(key);
            items.into_iter().flatten().filter(is_live).find(has_key)
        };
        let message = message_pk.as_ref().and_then(item_of).map(message_of).transpose();
        let under_receipt = item_of(&receipt_pk).map(|item| under_receipt_of(item, receipt)).transpose()?;
        // An unreadable item under the key does not matter if the receipt has an outcome.
        let message = if under_receipt.is_some() { message.unwrap_or_default() } else { message? };
        Ok(Found { message: message.filter(|found| found.via.receipt() == Some(receipt)), under_receipt })
    }
}

fn item(record: &[Decided], expires_at: Timestamp) -> Result<Item, TableError> {
    let Some(first) = record.first() else { return Err(TableError::permanent("no outcome")) };
    let QueuedRequest { owner, id, receipt, .. } = &first.request;
    let mut item = HashMap::from([
        ("pk".to_owned(), text(receipt_key(owner, receipt))),
        ("expires_at".to_owned(), number(expires_at.as_second())),
    ]);
    if receipt.is_bulk() {
        let outcomes: Vec<_> = record.iter().map(Kept::of).collect();
        let outcomes = serde_json::to_string(&outcomes).map_err(TableError::not_built)?;
        item.insert("received_at".to_owned(), text(milliseconds(first.outcome.received_at)));
        item.insert("outcomes".to_owned(), text(outcomes));
    } else {
        item.insert("id".to_owned(), text(id.as_str()));
        add_outcome(&mut item, &first.outcome);
    }
    Ok(item)
}

/// One outcome in the item of a bulk. It is written as an array, and its time as a number: DynamoDB charges by the size
/// of an item, and a bulk has up to a hundred of these.
#[derive(Serialize, Deserialize)]
struct Kept<'a>(
    /// The text of the id, legal or not.
    #[serde(borrow)]
    Cow<'a, str>,
    /// The status.
    #[serde(borrow)]
    Cow<'a, str>,
    /// The deliveries it took.
    Option<u32>,
    /// When the message was stored, in milliseconds since 1970.
    Option<i64>,
    /// Why it was not.
    #[serde(borrow)]
    Option<Cow<'a, str>>,
);

impl<'a> Kept<'a> {
    fn of(decided: &'a Decided) -> Self {
        let Outcome { status, attempts, stored_at, reason, .. } = &decided.outcome;
        let stored_at = stored_at.map(Timestamp::as_millisecond);
        let reason = reason.as_deref().map(Cow::Borrowed);
        Self(Cow::Borrowed(&decided.request.id), Cow::Borrowed(status.as_str()), *attempts, stored_at, reason)
    }

    fn under_receipt(self, received_at: Timestamp) -> Option<UnderReceipt> {
        let Self(id, status, attempts, stored_at, reason) = self;
        let stored_at = stored_at.map(Timestamp::from_millisecond).transpose().ok()?;
        let (status, reason) = (Status::parse(&status)?, reason.map(Cow::into_owned));
        let outcome = Outcome { status, attempts, received_at, stored_at, reason };
        Some(UnderReceipt { id: id.into_owned(), outcome })
    }
}

fn under_receipt_of(item: &Item, receipt: &Receipt) -> Result<Vec<UnderReceipt>, TableError> {
    if !receipt.is_bulk() {
        return Ok(vec![UnderReceipt { id: required_text(item, "id")?.clone(), outcome: outcome_of(item)? }]);
    }
    let received_at = time(item, "received_at")?.ok_or(TableError::Unreadable("received_at"))?;
    let unreadable = || TableError::Unreadable("outcomes");
    let kept: Vec<Kept<'_>> =
        serde_json::from_str(required_text(item, "outcomes")?).map_err(|_| unreadable())?;
    kept.into_iter().map(|one| one.under_receipt(received_at).ok_or_else(unreadable)).collect()
}
