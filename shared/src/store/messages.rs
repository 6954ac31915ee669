//! The table of messages: one item per owner and id.

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    Client,
    error::SdkError,
    operation::put_item::PutItemError,
    types::{
        AttributeValue, BatchStatementErrorCodeEnum, BatchStatementRequest,
        ReturnValuesOnConditionCheckFailure,
    },
};
use jiff::{SignedDuration, Timestamp};

use super::StoreError;
use crate::{
    message::{Key, Receipt, Via},
    state::{Incoming, RECORD_CONDITION, Record, Status, Transition, transition},
};

/// A key that no message has: they all hold a `#`.
const NOBODYS: &str = "-";

/// The table of messages.
#[derive(Clone, Debug)]
pub struct Messages {
    client: Client,
    table: String,
    retention: Option<SignedDuration>,
}

/// What an arrival did to the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It is written.
    Written,
    /// An earlier delivery of this very message wrote it: its response got lost.
    Redelivered,
    /// A message that is stored under its key stays: it has the same payload, or this one is invalid.
    Duplicate,
    /// Another payload is stored under this key, and stays.
    Conflict,
}

/// What inserting did for one message of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It is written.
    Written,
    /// Its key is taken. What that means, [`Messages::record`] finds out.
    KeyTaken,
}

impl Messages {
    /// The most statements in one `BatchExecuteStatement`.
    pub const BATCH_LIMIT: usize = 25;

    /// How long messages are kept, given a number of days: 0 is for ever.
    pub fn retention(days: u16) -> Option<SignedDuration> {
        (days > 0).then(|| SignedDuration::from_hours(24 * i64::from(days)))
    }

    /// The table with this name. Items expire `retention` after they are written, if there is one.
    pub fn new(client: Client, table: impl Into<String>, retention: Option<SignedDuration>) -> Self {
        Self { client, table: table.into(), retention }
    }

    /// A write whose condition never holds, for [`warm_up`](crate::aws::warm_up): it goes all the way and
    /// changes nothing.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be written.
    pub async fn probe_write(&self) -> Result<(), StoreError> {
        let is_refused = |error: &SdkError<PutItemError>| {
            error.as_service_error().is_some_and(PutItemError::is_conditional_check_failed_exception)
        };
        let written = self
            .client
            .put_item()
            .table_name(&self.table)
            .item("pk", text(NOBODYS))
            .condition_expression("attribute_exists(pk) AND attribute_not_exists(pk)")
            .send()
            .await;
        match written {
            Err(error) if is_refused(&error) => Ok(()),
            written => written.map(|_| ()).map_err(StoreError::from_sdk),
        }
    }

    /// Takes an arrival to the state that [`transition`] says, in one conditional write.
    ///
    /// # Errors
    /// [`StoreError`]; whether the write took effect is then unknown, and repeating it is safe.
    pub async fn record(&self, arrival: &Incoming) -> Result<Recorded, StoreError> {
        let written = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(self.item(arrival)))
            .condition_expression(RECORD_CONDITION)
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":stored", text(Status::Stored.as_str()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let error = match written {
            Ok(_) => return Ok(Recorded::Written),
            Err(error) => error,
        };
        let failed = error.as_service_error().and_then(|error| match error {
            PutItemError::ConditionalCheckFailedException(failed) => failed.item(),
            _ => None,
        });
        match failed {
            Some(item) => settle(&record_of(item)?, arrival),
            None => Err(StoreError::from_sdk(error)),
        }
    }

    /// Stores up to [`Messages::BATCH_LIMIT`] valid messages with different keys in one request. There is
    /// an answer for each, in their order.
    ///
    /// # Errors
    /// [`StoreError`] if the request as a whole failed; whether any of it took effect is then unknown,
    /// and repeating it is safe.
    pub async fn insert(
        &self,
        arrivals: &[&Incoming],
    ) -> Result<Vec<Result<Inserted, StoreError>>, StoreError> {
        let statements =
            arrivals.iter().map(|arrival| self.insert_statement(arrival)).collect::<Result<Vec<_>, _>>()?;
        let answer = self
            .client
            .batch_execute_statement()
            .set_statements(Some(statements))
            .send()
            .await
            .map_err(StoreError::from_sdk)?;
        let outcomes: Vec<_> = answer
            .responses()
            .iter()
            .map(|response| match response.error().map(|error| error.code()) {
                None => Ok(Inserted::Written),
                Some(Some(BatchStatementErrorCodeEnum::DuplicateItem)) => Ok(Inserted::KeyTaken),
                Some(Some(code)) => Err(StoreError::from_statement(code)),
                Some(None) => Err(StoreError::Unavailable { code: "no code".to_owned(), source: None }),
            })
            .collect();
        if outcomes.len() == arrivals.len() {
            Ok(outcomes)
        } else {
            let code = format!("{} answers to {} statements", outcomes.len(), arrivals.len());
            Err(StoreError::Unavailable { code, source: None })
        }
    }

    /// What is recorded about a message.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be read.
    pub async fn find(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        let found = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("pk", text(key.partition_key()))
            // A client that was just told an outcome has to find it.
            .consistent_read(true)
            .send()
            .await
            .map_err(StoreError::from_sdk)?;
        found.item().map(record_of).transpose()
    }

    /// A look at nobody's message, for [`warm_up`](crate::aws::warm_up).
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be read.
    pub async fn probe_read(&self) -> Result<(), StoreError> {
        let found = self.client.get_item().table_name(&self.table).key("pk", text(NOBODYS)).send().await;
        found.map(|_| ()).map_err(StoreError::from_sdk)
    }

    fn insert_statement(&self, arrival: &Incoming) -> Result<BatchStatementRequest, StoreError> {
        let (names, values): (Vec<_>, Vec<_>) = self.item(arrival).into_iter().unzip();
        let names: Vec<_> = names.iter().map(|name| format!("'{name}': ?")).collect();
        BatchStatementRequest::builder()
            .statement(format!("INSERT INTO \"{}\" VALUE {{{}}}", self.table, names.join(", ")))
            .set_parameters(Some(values))
            .build()
            .map_err(|error| StoreError::Refused {
                code: "statement not built".to_owned(),
                source: Some(Box::new(error)),
            })
    }

    fn item(&self, arrival: &Incoming) -> HashMap<String, AttributeValue> {
        let now = Timestamp::now();
        let status = arrival.content.status();
        let mut item = HashMap::from([
            ("pk".to_owned(), text(arrival.key.partition_key())),
            ("status".to_owned(), text(status.as_str())),
            ("payload".to_owned(), text(arrival.content.text())),
            ("via".to_owned(), text(arrival.via.as_str())),
            ("attempts".to_owned(), number(arrival.attempts)),
            ("received_at".to_owned(), text(written(arrival.received_at))),
        ]);
        if status == Status::Stored {
            item.insert("stored_at".to_owned(), text(written(now)));
        }
        if let Some(reason) = arrival.content.reason() {
            item.insert("reason".to_owned(), text(reason));
        }
        if let Some(receipt) = &arrival.receipt {
            item.insert("receipt".to_owned(), text(receipt.as_str()));
        }
        if let Some(expires_at) = self.retention.and_then(|kept| now.checked_add(kept).ok()) {
            item.insert("expires_at".to_owned(), number(expires_at.as_second()));
        }
        item
    }
}

/// What an arrival that was not written means, given what was there.
fn settle(existing: &Record, arrival: &Incoming) -> Result<Recorded, StoreError> {
    let own = arrival.receipt.is_some() && existing.receipt == arrival.receipt;
    match transition(Some((existing.status, &existing.text)), &arrival.content) {
        Transition::Unchanged if own => Ok(Recorded::Redelivered),
        Transition::Unchanged => Ok(Recorded::Duplicate),
        Transition::Conflict => Ok(Recorded::Conflict),
        // The condition and the state table disagree: say so instead of dropping the message.
        Transition::Record => Err(StoreError::Refused {
            code: "a write was refused that the state table allows".to_owned(),
            source: None,
        }),
    }
}

fn record_of(item: &HashMap<String, AttributeValue>) -> Result<Record, StoreError> {
    let text = |name: &'static str| item.get(name).and_then(|value| value.as_s().ok());
    let needed = |name: &'static str| text(name).ok_or(StoreError::Unreadable(name));
    let time = |name: &'static str, text: &String| {
        text.parse::<Timestamp>().map_err(|_| StoreError::Unreadable(name))
    };
    Ok(Record {
        status: match needed("status")?.as_str() {
            "stored" => Status::Stored,
            "rejected" => Status::Rejected,
            "failed" => Status::Failed,
            _ => return Err(StoreError::Unreadable("status")),
        },
        text: needed("payload")?.clone(),
        via: match needed("via")?.as_str() {
            "sync" => Via::Sync,
            "queue" => Via::Queue,
            _ => return Err(StoreError::Unreadable("via")),
        },
        attempts: item
            .get("attempts")
            .and_then(|value| value.as_n().ok())
            .and_then(|number| number.parse().ok())
            .ok_or(StoreError::Unreadable("attempts"))?,
        received_at: time("received_at", needed("received_at")?)?,
        stored_at: text("stored_at").map(|text| time("stored_at", text)).transpose()?,
        receipt: text("receipt")
            .map(|text| Receipt::parse(text.clone()).map_err(|_| StoreError::Unreadable("receipt")))
            .transpose()?,
        reason: text("reason").cloned(),
    })
}

/// RFC 3339 with milliseconds, always as many, so that texts sort like times.
fn written(time: Timestamp) -> String {
    format!("{time:.3}")
}

fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

fn number(value: impl Into<i64>) -> AttributeValue {
    AttributeValue::N(value.into().to_string())
}
