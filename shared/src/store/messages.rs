//! The table of messages: one item per owner and id.

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    Client,
    error::SdkError,
    operation::put_item::PutItemError,
    types::{BatchStatementErrorCodeEnum, BatchStatementRequest, ReturnValuesOnConditionCheckFailure},
};
use jiff::{SignedDuration, Timestamp};

use super::{
    StoreError,
    item::{Item, milliseconds, number, record_of, text},
};
use crate::{
    message::Key,
    state::{Incoming, RECORD_CONDITION, Record, Recorded, Status, Transition, transition},
};

/// A key that neither a message nor a note has: all of these hold a `#`.
const PROBE_KEY: &str = "-";

/// The table of messages.
#[derive(Clone, Debug)]
pub struct Messages {
    client: Client,
    table: String,
    retention: Option<SignedDuration>,
}

/// What inserting did for one message of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It is stored, at this time.
    Stored(Timestamp),
    /// Its key is taken. [`Messages::record`] finds out what that means.
    KeyTaken,
}

impl Messages {
    /// The limit of statements in one `BatchExecuteStatement`.
    pub const BATCH_LIMIT: usize = 25;

    /// How long messages are kept, given a number of days: 0 means forever.
    pub fn retention(days: u16) -> Option<SignedDuration> {
        (days > 0).then(|| SignedDuration::from_hours(24 * i64::from(days)))
    }

    /// The table with this name. Items expire `retention` after they are written, if there is one.
    pub fn new(client: Client, table: impl Into<String>, retention: Option<SignedDuration>) -> Self {
        Self { client, table: table.into(), retention }
    }

    /// A probe for [`warm_up`](crate::aws::warm_up): a write whose condition never holds.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be written.
    pub async fn probe_write(&self) -> Result<(), StoreError> {
        let written = self
            .client
            .put_item()
            .table_name(&self.table)
            .item("pk", text(PROBE_KEY))
            .condition_expression("attribute_exists(pk) AND attribute_not_exists(pk)")
            .send()
            .await;
        let is_condition_failure = |error: &SdkError<PutItemError>| {
            error.as_service_error().is_some_and(PutItemError::is_conditional_check_failed_exception)
        };
        match written {
            Err(error) if is_condition_failure(&error) => Ok(()),
            written => written.map(|_| ()).map_err(StoreError::from_sdk),
        }
    }

    /// A probe for [`warm_up`](crate::aws::warm_up): a read of a key that nothing has.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be read.
    pub async fn probe_read(&self) -> Result<(), StoreError> {
        let read = self.client.get_item().table_name(&self.table).key("pk", text(PROBE_KEY)).send().await;
        read.map(|_| ()).map_err(StoreError::from_sdk)
    }

    /// Records an incoming message as [`transition`] decides, in one conditional write.
    ///
    /// # Errors
    /// [`StoreError`]; whether the write took effect is then unknown, and repeating it is safe.
    pub async fn record(&self, incoming: &Incoming) -> Result<Recorded, StoreError> {
        let now = Timestamp::now();
        let written = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(self.item(incoming, now)))
            .condition_expression(RECORD_CONDITION)
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":stored", text(Status::Stored.as_str()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let error = match written {
            Ok(_) => return Ok(Recorded::Written(now)),
            Err(error) => error,
        };
        let current = error.as_service_error().and_then(|error| match error {
            PutItemError::ConditionalCheckFailedException(failed) => failed.item(),
            _ => None,
        });
        match current {
            Some(item) => unchanged(&record_of(item)?, incoming),
            None => Err(StoreError::from_sdk(error)),
        }
    }

    /// Stores up to [`Messages::BATCH_LIMIT`] valid messages with different keys in one request. The results are
    /// in the order of the messages.
    ///
    /// # Errors
    /// [`StoreError`] if the request as a whole failed; whether any of it took effect is then unknown,
    /// and repeating it is safe.
    pub async fn insert(&self, batch: &[&Incoming]) -> Result<Vec<Result<Inserted, StoreError>>, StoreError> {
        let now = Timestamp::now();
        let statements =
            batch.iter().map(|incoming| self.insert_statement(incoming, now)).collect::<Result<_, _>>()?;
        let response = self
            .client
            .batch_execute_statement()
            .set_statements(Some(statements))
            .send()
            .await
            .map_err(StoreError::from_sdk)?;
        let results: Vec<_> = response
            .responses()
            .iter()
            .map(|response| match response.error().map(|error| error.code()) {
                None => Ok(Inserted::Stored(now)),
                Some(Some(BatchStatementErrorCodeEnum::DuplicateItem)) => Ok(Inserted::KeyTaken),
                Some(Some(code)) => Err(StoreError::from_statement(code)),
                Some(None) => Err(StoreError::unavailable("no code")),
            })
            .collect();
        if results.len() == batch.len() {
            Ok(results)
        } else {
            let code = format!("{} responses to {} statements", results.len(), batch.len());
            Err(StoreError::unavailable(code))
        }
    }

    /// The record of a message.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be read.
    pub async fn find(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        let found = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("pk", text(key.partition_key()))
            // A client that was just notified of an outcome has to find it.
            .consistent_read(true)
            .send()
            .await
            .map_err(StoreError::from_sdk)?;
        found.item().map(record_of).transpose()
    }

    fn insert_statement(
        &self,
        incoming: &Incoming,
        now: Timestamp,
    ) -> Result<BatchStatementRequest, StoreError> {
        let (names, values): (Vec<_>, Vec<_>) = self.item(incoming, now).into_iter().unzip();
        let names: Vec<_> = names.iter().map(|name| format!("'{name}': ?")).collect();
        BatchStatementRequest::builder()
            .statement(format!("INSERT INTO \"{}\" VALUE {{{}}}", self.table, names.join(", ")))
            .set_parameters(Some(values))
            .build()
            .map_err(StoreError::not_built)
    }

    fn item(&self, incoming: &Incoming, now: Timestamp) -> Item {
        let status = incoming.content.status();
        let mut item = HashMap::from([
            ("pk".to_owned(), text(incoming.key.partition_key())),
            ("status".to_owned(), text(status.as_str())),
            ("payload".to_owned(), text(incoming.content.text())),
            ("via".to_owned(), text(incoming.via.as_str())),
            ("received_at".to_owned(), text(milliseconds(incoming.received_at))),
        ]);
        if let Some(attempts) = incoming.attempts {
            item.insert("attempts".to_owned(), number(attempts));
        }
        if status == Status::Stored {
            item.insert("stored_at".to_owned(), text(milliseconds(now)));
        }
        if let Some(reason) = incoming.content.reason() {
            item.insert("reason".to_owned(), text(reason));
        }
        if let Some(receipt) = &incoming.receipt {
            item.insert("receipt".to_owned(), text(receipt.as_str()));
        }
        if let Some(expires_at) = self.retention.and_then(|kept| now.checked_add(kept).ok()) {
            item.insert("expires_at".to_owned(), number(expires_at.as_second()));
        }
        item
    }
}

/// What it means that an incoming message was not written, given the current record.
fn unchanged(current: &Record, incoming: &Incoming) -> Result<Recorded, StoreError> {
    let stored_at = || current.stored_at.ok_or(StoreError::Unreadable("stored_at"));
    let is_redelivery = incoming.receipt.is_some() && current.receipt == incoming.receipt;
    match transition(Some((current.status, &current.text)), &incoming.content) {
        Transition::Duplicate if is_redelivery => Ok(Recorded::Redelivered(stored_at()?)),
        Transition::Duplicate => Ok(Recorded::Duplicate(stored_at()?)),
        Transition::Conflict => Ok(Recorded::Conflict),
        // The condition and the state table disagree: report it instead of dropping the message.
        Transition::Record => Err(StoreError::Rejected {
            code: "a write failed its condition that the state table allows".to_owned(),
            source: None,
        }),
    }
}
