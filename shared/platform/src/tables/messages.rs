//! The table of messages: one item per owner and id, the current state of that message.

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    Client,
    error::SdkError,
    operation::put_item::PutItemError,
    types::{BatchStatementErrorCodeEnum, BatchStatementRequest, ReturnValuesOnConditionCheckFailure},
};
use intake_domain::{
    message::Key,
    state::{Effect, Incoming, Message, Status},
};
use jiff::{SignedDuration, Timestamp};

use super::{
    TableError,
    item::{Item, add_outcome, batch_get, is_live, message_key, message_of, number, text},
};

/// The rule of [`intake_domain::state`] that DynamoDB checks: a stored message is never replaced before its time to live
/// is over. Check and write are then one step, so that of two requests at the same time one sees what the other wrote.
/// `status` is one of DynamoDB's reserved words, and stands behind a placeholder.
const WRITE_CONDITION: &str = "attribute_not_exists(pk) OR #status <> :stored OR expires_at <= :now";

/// A key that neither a message nor a receipt has: all of these hold a `#`.
const PROBE_KEY: &str = "-";

/// The table of messages.
#[derive(Clone, Debug)]
pub struct Messages {
    client: Client,
    table: String,
    retention: Option<SignedDuration>,
}

impl Messages {
    /// The limit of statements in one `BatchExecuteStatement`.
    pub const BATCH_LIMIT: usize = 25;

    /// The limit of keys in one `BatchGetItem`.
    pub const READ_LIMIT: usize = 100;

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
    /// [`TableError`] if the table cannot be written.
    pub async fn probe_write(&self) -> Result<(), TableError> {
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
            written => written.map(|_| ()).map_err(TableError::from_sdk),
        }
    }

    /// A probe for [`warm_up`](crate::aws::warm_up): a read of a key that nothing has.
    ///
    /// # Errors
    /// [`TableError`] if the table cannot be read.
    pub async fn probe_read(&self) -> Result<(), TableError> {
        let read = self.client.get_item().table_name(&self.table).key("pk", text(PROBE_KEY)).send().await;
        read.map(|_| ()).map_err(TableError::from_sdk)
    }

    /// Writes an incoming message unless a stored one stands under its key, in one conditional write. The SDK tries it
    /// three times: if the first attempt takes effect and its response is lost, the second finds the message stored, as
    /// a duplicate if it came without a receipt.
    ///
    /// # Errors
    /// [`TableError`]; whether the write took effect is then unknown, and repeating it is safe.
    pub async fn write(&self, incoming: &Incoming) -> Result<Effect, TableError> {
        let now = Timestamp::now();
        let written = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(self.item(incoming, now)?))
            .condition_expression(WRITE_CONDITION)
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":stored", text(Status::Stored.as_str()))
            .expression_attribute_values(":now", number(now.as_second()))
            // If the condition fails, the stored message comes back with the error: no second request to find it.
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let error = match written {
            Ok(_) => return Ok(Effect::Written(now)),
            Err(error) => error,
        };
        let current = error.as_service_error().and_then(|error| match error {
            PutItemError::ConditionalCheckFailedException(failed) => failed.item(),
            _ => None,
        });
        let Some(current) = current else { return Err(TableError::from_sdk(error)) };
        // The condition failed, so that a stored message must be there. If not, this is a bug: it is reported, and the
        // message is not dropped.
        let effect = incoming.effect_without_write(&message_of(current)?);
        effect.ok_or_else(|| TableError::permanent("the condition failed, but no stored message is there"))
    }

    /// Stores up to [`Messages::BATCH_LIMIT`] valid messages with different keys in one request. The results are
    /// in the order of the messages: none where the key is taken, and [`Messages::write`] finds out what that means.
    ///
    /// It uses PartiQL, because `INSERT` is the one write that is both conditional (it fails if the key exists) and
    /// goes in a batch with a result for each item: `BatchWriteItem` has no conditions, and `TransactWriteItems`
    /// cancels all for one that fails and costs double. One request for 25 messages takes a fifth of the processor
    /// time of 25 `PutItem`.
    ///
    /// # Errors
    /// [`TableError`] if the request as a whole failed; whether any of it took effect is then unknown,
    /// and repeating it is safe.
    pub async fn insert(
        &self,
        batch: &[&Incoming],
    ) -> Result<Vec<Result<Option<Effect>, TableError>>, TableError> {
        let now = Timestamp::now();
        let statements =
            batch.iter().map(|incoming| self.insert_statement(incoming, now)).collect::<Result<_, _>>()?;
        let response = self
            .client
            .batch_execute_statement()
            .set_statements(Some(statements))
            .send()
            .await
            .map_err(TableError::from_sdk)?;
        let results: Vec<_> = response
            .responses()
            .iter()
            .map(|response| match response.error().map(|error| error.code()) {
                None => Ok(Some(Effect::Written(now))),
                // Unlike `PutItem`, a statement that fails does not return the old item.
                Some(Some(BatchStatementErrorCodeEnum::DuplicateItem)) => Ok(None),
                Some(Some(code)) => Err(TableError::from_statement(code)),
                Some(None) => Err(TableError::transient("no code")),
            })
            .collect();
        if results.len() == batch.len() {
            Ok(results)
        } else {
            let code = format!("{} responses to {} statements", results.len(), batch.len());
            Err(TableError::transient(code))
        }
    }

    /// What stored messages mean for up to [`Messages::READ_LIMIT`] incoming ones with different keys, in their order:
    /// none where no stored message is known. The read is not consistent, which is half as dear: a stored message never
    /// changes, so one that is found is there; and of one that is not, a write finds out.
    ///
    /// # Errors
    /// [`TableError`] if the table cannot be read.
    pub async fn read(&self, incoming: &[&Incoming]) -> Result<Vec<Option<Effect>>, TableError> {
        let keys: Vec<_> = incoming.iter().map(|one| one.key().map(message_key)).collect();
        let response = batch_get(&self.client, &self.table, keys.iter().flatten(), false).await?;
        let items = response.responses().and_then(|tables| tables.get(&self.table)).into_iter().flatten();
        let items = items.filter(is_live);
        let by_key: HashMap<_, _> =
            items.filter_map(|item| Some((item.get("pk")?.as_s().ok()?, item))).collect();
        let effect = |(incoming, key): (&&Incoming, &Option<String>)| {
            let current = message_of(by_key.get(key.as_ref()?)?).ok()?;
            incoming.effect_without_write(&current)
        };
        Ok(incoming.iter().zip(&keys).map(effect).collect())
    }

    /// The current state of a message.
    ///
    /// # Errors
    /// [`TableError`] if the table cannot be read.
    pub async fn find(&self, key: Key<'_>) -> Result<Option<Message>, TableError> {
        let found = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("pk", text(message_key(key)))
            // A client that was just notified of an outcome has to find it.
            .consistent_read(true)
            .send()
            .await
            .map_err(TableError::from_sdk)?;
        found.item().filter(is_live).map(message_of).transpose()
    }

    fn insert_statement(
        &self,
        incoming: &Incoming,
        now: Timestamp,
    ) -> Result<BatchStatementRequest, TableError> {
        let mut statement = format!("INSERT INTO \"{}\" VALUE {{", self.table);
        let mut parameters = Vec::new();
        // What clients sent goes into parameters, never into the text of a statement. `VALUE ?` with a whole item is
        // not accepted, so the attributes are named one by one.
        for (name, value) in self.item(incoming, now)? {
            let separator = if parameters.is_empty() { "'" } else { ", '" };
            [separator, &name, "': ?"].into_iter().for_each(|part| statement.push_str(part));
            parameters.push(value);
        }
        statement.push('}');
        let request = BatchStatementRequest::builder().statement(statement).set_parameters(Some(parameters));
        request.build().map_err(TableError::not_built)
    }

    /// The item that an incoming message becomes.
    fn item(&self, incoming: &Incoming, now: Timestamp) -> Result<Item, TableError> {
        let key = incoming.key().ok_or_else(|| TableError::permanent("an illegal id"))?;
        let mut item = HashMap::from([
            ("pk".to_owned(), text(message_key(key))),
            ("payload".to_owned(), text(incoming.content.text())),
            ("via".to_owned(), text(incoming.via.as_str())),
        ]);
        add_outcome(&mut item, &incoming.outcome(Effect::Written(now)));
        if let Some(receipt) = incoming.via.receipt() {
            item.insert("receipt".to_owned(), text(receipt.as_str()));
        }
        if let Some(expires_at) = self.retention.and_then(|kept| now.checked_add(kept).ok()) {
            item.insert("expires_at".to_owned(), number(expires_at.as_second()));
        }
        Ok(item)
    }
}
