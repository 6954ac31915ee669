//! The table of open sockets: who is connected, and how to reach them.

use std::time::Duration;

use aws_sdk_dynamodb::{Client, types::AttributeValue};
use jiff::Timestamp;

use super::StoreError;
use crate::message::Owner;

/// How long a connection is kept: API Gateway closes a WebSocket after two hours at most ("Quotas for
/// configuring and running a WebSocket API"), and does not promise to say so.
const LONGEST_LIFE: Duration = Duration::from_secs(2 * 60 * 60 + 5 * 60);

/// Who is never connected, by a connection that API Gateway never makes.
const NOBODY: &str = "-";
const NO_CONNECTION: &str = "-";

/// The table of connections.
#[derive(Clone, Debug)]
pub struct Connections {
    client: Client,
    table: String,
}

impl Connections {
    /// The table with this name.
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { client, table: table.into() }
    }

    /// Notes that an owner is connected with a token that is good until `valid_until`, in seconds since 1970. From
    /// then on the connection is not used any more, whether or not its socket is open.
    ///
    /// # Errors
    /// [`StoreError`] if that could not be written.
    pub async fn add(&self, owner: &Owner, connection_id: &str, valid_until: i64) -> Result<(), StoreError> {
        let longest = Timestamp::now().as_second() + LONGEST_LIFE.as_secs().cast_signed();
        let expires_at = longest.min(valid_until);
        self.client
            .put_item()
            .table_name(&self.table)
            .item("owner", AttributeValue::S(owner.as_str().to_owned()))
            .item("connection_id", AttributeValue::S(connection_id.to_owned()))
            .item("expires_at", AttributeValue::N(expires_at.to_string()))
            .send()
            .await
            .map(|_| ())
            .map_err(StoreError::from_sdk)
    }

    /// Forgets a connection that never was, for [`warm_up`](crate::aws::warm_up).
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be written.
    pub async fn probe_write(&self) -> Result<(), StoreError> {
        self.delete(NOBODY, NO_CONNECTION).await
    }

    /// Looks for nobody's connections, for [`warm_up`](crate::aws::warm_up).
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be read.
    pub async fn probe_read(&self) -> Result<(), StoreError> {
        self.query(NOBODY).await.map(|_| ())
    }

    /// Forgets a connection; one that is not there is fine.
    ///
    /// # Errors
    /// [`StoreError`] if that could not be written.
    pub async fn remove(&self, owner: &Owner, connection_id: &str) -> Result<(), StoreError> {
        self.delete(owner.as_str(), connection_id).await
    }

    async fn delete(&self, owner: &str, connection_id: &str) -> Result<(), StoreError> {
        self.client
            .delete_item()
            .table_name(&self.table)
            .key("owner", AttributeValue::S(owner.to_owned()))
            .key("connection_id", AttributeValue::S(connection_id.to_owned()))
            .send()
            .await
            .map(|_| ())
            .map_err(StoreError::from_sdk)
    }

    /// The ids of all connections of an owner that can still be open, and whose tokens are still good. DynamoDB removes expired items
    /// only within days ("Using time to live"), so they are left out here.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be read.
    pub async fn of(&self, owner: &Owner) -> Result<Vec<String>, StoreError> {
        self.query(owner.as_str()).await
    }

    async fn query(&self, owner: &str) -> Result<Vec<String>, StoreError> {
        let now = Timestamp::now().as_second();
        let mut pages = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("#owner = :owner")
            .filter_expression("expires_at > :now")
            .projection_expression("connection_id")
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_values(":owner", AttributeValue::S(owner.to_owned()))
            .expression_attribute_values(":now", AttributeValue::N(now.to_string()))
            // A client that has just connected is not to miss what it connected for.
            .consistent_read(true)
            .into_paginator()
            .send();
        let mut ids = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(StoreError::from_sdk)?;
            ids.extend(
                page.items().iter().filter_map(|item| item.get("connection_id")?.as_s().ok().cloned()),
            );
        }
        Ok(ids)
    }
}
