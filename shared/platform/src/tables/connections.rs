//! The table of open sockets: which connections an owner has.

use std::time::Duration;

use aws_sdk_dynamodb::{Client, types::AttributeValue};
use intake_domain::message::Owner;
use jiff::Timestamp;

use super::{
    TableError,
    item::{Item, number, text},
};

/// How long a connection is kept: API Gateway closes a WebSocket after at most two hours ("Quotas for
/// configuring and running a WebSocket API"), and does not promise to report it.
const MAX_AGE: Duration = Duration::from_secs(2 * 60 * 60 + 5 * 60);

/// For how long after its item was written a connection may still be opening. Until `$connect` has returned, for
/// which API Gateway waits 29 seconds at most, `@connections` reports it as gone.
const OPENING: Duration = Duration::from_secs(30);

/// An owner and a connection for probes. API Gateway makes no such connection id.
const PROBE_OWNER: &str = "-";
const PROBE_CONNECTION: &str = "-";

/// DynamoDB deletes expired items only within days ("Using time to live"), so they are left out when they are read.
const OPEN: &str = "expires_at > :now";
const AUTHORIZED: &str = "expires_at > :now AND valid_until > :now";

/// The table of connections.
#[derive(Clone, Debug)]
pub struct Connections {
    client: Client,
    table: String,
}

/// An open socket, as far as the table knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// API Gateway's name for it.
    pub id: String,
    /// When it was opened, in milliseconds since 1970.
    pub opened_at: i64,
}

impl Connection {
    /// Whether it may still be opening: if API Gateway says that it is gone, that may not be so.
    pub fn may_be_opening(&self) -> bool {
        let age = Timestamp::now().as_millisecond().saturating_sub(self.opened_at);
        Duration::from_millis(u64::try_from(age).unwrap_or_default()) < OPENING
    }
}

impl Connections {
    /// The table with this name.
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { client, table: table.into() }
    }

    /// Adds a connection that was opened with a token that is valid until `valid_until`, in seconds since 1970. After
    /// that nothing is pushed to it any more; it counts as open for as long as its socket may be.
    ///
    /// # Errors
    /// [`TableError`] if the table cannot be written.
    pub async fn add(&self, owner: &Owner, connection_id: &str, valid_until: i64) -> Result<(), TableError> {
        let now = Timestamp::now();
        let expires_at = now.as_second() + MAX_AGE.as_secs().cast_signed();
        self.client
            .put_item()
            .table_name(&self.table)
            .item("owner", text(owner.as_str()))
            .item("connection_id", text(connection_id))
            .item("opened_at", number(now.as_millisecond()))
            .item("expires_at", number(expires_at))
            .item("valid_until", number(valid_until))
            .send()
            .await
            .map(|_| ())
            .map_err(TableError::from_sdk)
    }

    /// A probe for [`warm_up`](crate::aws::warm_up): deletes a connection that never was.
    ///
    /// # Errors
    /// [`TableError`] if the table cannot be written.
    pub async fn probe_write(&self) -> Result<(), TableError> {
        self.delete(PROBE_OWNER, PROBE_CONNECTION).await
    }

    /// A probe for [`warm_up`](crate::aws::warm_up): queries an owner without connections.
    ///
    /// # Errors
    /// [`TableError`] if the table cannot be read.
    pub async fn probe_read(&self) -> Result<(), TableError> {
        self.query(PROBE_OWNER, OPEN, 1).await.map(|_| ())
    }

    /// Removes a connection. It need not be there.
    ///
    /// # Errors
    /// [`TableError`] if the table cannot be written.
    pub async fn remove(&self, owner: &Owner, connection_id: &str) -> Result<(), TableError> {
        self.delete(owner.as_str(), connection_id).await
    }

    async fn delete(&self, owner: &str, connection_id: &str) -> Result<(), TableError> {
        self.client
            .delete_item()
            .table_name(&self.table)
            .key("owner", text(owner))
            .key("connection_id", text(connection_id))
            .send()
            .await
            .map(|_| ())
            .map_err(TableError::from_sdk)
    }

    /// Up to `limit` connections of an owner that may still be open.
    ///
    /// # Errors
    /// [`TableError`] if the table cannot be read.
    pub async fn open(&self, owner: &Owner, limit: usize) -> Result<Vec<Connection>, TableError> {
        self.query(owner.as_str(), OPEN, limit).await
    }

    /// Up to `limit` connections of an owner that may still be open and whose tokens are still valid.
    ///
    /// # Errors
    /// [`TableError`] if the table cannot be read.
    pub async fn authorized(&self, owner: &Owner, limit: usize) -> Result<Vec<Connection>, TableError> {
        self.query(owner.as_str(), AUTHORIZED, limit).await
    }

    async fn query(&self, owner: &str, filter: &str, limit: usize) -> Result<Vec<Connection>, TableError> {
        let mut pages = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("#owner = :owner")
            .filter_expression(filter)
            .projection_expression("connection_id, opened_at")
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_values(":owner", text(owner))
            .expression_attribute_values(":now", number(Timestamp::now().as_second()))
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            // A client that has just connected must not miss the notification that it connected for.
            .consistent_read(true)
            .into_paginator()
            .send();
        let mut connections = Vec::new();
        // DynamoDB limits what it reads, and filters afterwards: a page may have fewer, and another follow it.
        while connections.len() < limit {
            let Some(page) = pages.next().await else { break };
            let page = page.map_err(TableError::from_sdk)?;
            connections.extend(page.items().iter().filter_map(connection_of));
        }
        connections.truncate(limit);
        Ok(connections)
    }
}

fn connection_of(item: &Item) -> Option<Connection> {
    let id = item.get("connection_id")?.as_s().ok()?.clone();
    let opened_at = item.get("opened_at").and_then(|value: &AttributeValue| value.as_n().ok()?.parse().ok());
    Some(Connection { id, opened_at: opened_at.unwrap_or_default() })
}
