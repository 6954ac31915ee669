//! A DynamoDB endpoint in the test process, with both tables: real requests by the real SDK.

use std::{collections::HashMap, time::Duration};

use aws_credential_types::Credentials;
use aws_sdk_dynamodb::{
    Client,
    config::Region,
    types::{
        AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, PutRequest,
        ScalarAttributeType, WriteRequest,
    },
};
use dynoxide::{Database as Dynoxide, server::serve_on};
use intake::{
    aws::{AMAZON_ROOTS, Aws},
    message::Owner,
    store::{Connections, Messages, Outcomes},
};
use jiff::SignedDuration;
use queue_consumer::noting::Notes;
use tokio::net::TcpListener;

use fault_proxy::FaultProxy;

/// The name of the table of messages.
pub const MESSAGES: &str = "messages";
/// The name of the table of connections.
pub const CONNECTIONS: &str = "connections";
/// How long the functions keep messages.
pub const RETENTION_DAYS: u16 = 30;

/// A database of one test. The functions reach it through [`Database::faults`], the test itself directly.
#[derive(Debug)]
pub struct Database {
    /// What stands between the functions and the database.
    pub faults: FaultProxy,
    aws: Aws,
    direct: Client,
}

impl Database {
    /// An empty database.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(serve_on(listener, Dynoxide::memory().expect("in memory")));
        let faults = FaultProxy::before(address).await;
        let direct = aws_at(format!("http://{address}"), "direct").dynamodb(Duration::from_secs(10));
        let aws = aws_at(faults.url(), &format!("port-{}", address.port()));
        let database = Self { faults, aws, direct };
        database.create(MESSAGES, &[("pk", KeyType::Hash)]).await;
        database.create(CONNECTIONS, &[("owner", KeyType::Hash), ("connection_id", KeyType::Range)]).await;
        database
    }

    /// What the functions build their clients from.
    pub fn aws(&self) -> &Aws {
        &self.aws
    }

    /// The table of messages, as the functions see it. It keeps them for [`RETENTION_DAYS`].
    pub fn messages(&self) -> Messages {
        self.messages_within(Duration::from_secs(1))
    }

    /// The same, with attempts that may take this long.
    pub fn messages_within(&self, attempt_timeout: Duration) -> Messages {
        Messages::new(self.aws.dynamodb(attempt_timeout), MESSAGES, Messages::retention(RETENTION_DAYS))
    }

    /// The outcomes by receipt, as the functions see them.
    pub fn outcomes(&self) -> Outcomes {
        Outcomes::new(self.aws.dynamodb(Duration::from_secs(1)), MESSAGES)
    }

    /// The notes that the consumer writes, through a client with attempts that may take this long.
    pub fn notes_within(&self, attempt_timeout: Duration) -> Notes {
        let outcomes = Outcomes::new(self.aws.dynamodb(attempt_timeout), MESSAGES);
        Notes::new(outcomes, SignedDuration::from_hours(24))
    }

    /// The table of connections, as the functions see it.
    pub fn connections(&self) -> Connections {
        Connections::new(self.aws.dynamodb(Duration::from_secs(1)), CONNECTIONS)
    }

    /// Adds connections of an owner that were opened long ago, each named after the owner and a number from 0.
    pub async fn add_connections(&self, owner: &str, count: usize) {
        let ids: Vec<_> = (0..count).map(|number| format!("{owner}-{number}")).collect();
        self.add_old_connections(owner, &ids).await;
    }

    /// Adds connections of an owner that were opened long ago.
    pub async fn add_old_connections(&self, owner: &str, ids: &[String]) {
        let text = |value: &str| AttributeValue::S(value.to_owned());
        let put = |id: &String| {
            let put = PutRequest::builder()
                .item("owner", text(owner))
                .item("connection_id", text(id))
                .item("opened_at", AttributeValue::N("0".to_owned()))
                .item("expires_at", AttributeValue::N(i64::MAX.to_string()));
            WriteRequest::builder().put_request(put.build().expect("complete")).build()
        };
        for chunk in ids.chunks(25) {
            let requests = chunk.iter().map(put).collect();
            let write = self.direct.batch_write_item().request_items(CONNECTIONS, requests);
            write.send().await.expect("written");
        }
    }

    /// Writes an item that Intake has not written under the key of a message, as if it were stored.
    pub async fn add_foreign_item(&self, owner: &str, id: &str) {
        let put = self.direct.put_item().table_name(MESSAGES);
        let put = put.item("pk", AttributeValue::S(format!("{id}#{owner}")));
        put.item("status", AttributeValue::S("stored".to_owned())).send().await.expect("written");
    }

    /// The connections of an owner, as the functions see them.
    pub async fn connections_of(&self, owner: &str) -> Vec<String> {
        let owner = Owner::parse(owner).expect("legal");
        let connections = self.connections().of(&owner, 10_000).await.expect("read");
        connections.into_iter().map(|connection| connection.id).collect()
    }

    /// The item of a message, read past the faults.
    pub async fn item(&self, owner: &str, id: &str) -> Option<HashMap<String, AttributeValue>> {
        let key = AttributeValue::S(format!("{id}#{owner}"));
        let got = self.direct.get_item().table_name(MESSAGES).key("pk", key).send().await;
        got.expect("read").item
    }

    /// A text in the item of a message; the empty text if there is none.
    pub async fn text(&self, owner: &str, id: &str, attribute: &str) -> String {
        let item = self.item(owner, id).await.unwrap_or_default();
        item.get(attribute).and_then(|value| value.as_s().ok().cloned()).unwrap_or_default()
    }

    /// When a recorded connection expires, in seconds since 1970.
    pub async fn connection_expiry(&self, owner: &str, connection_id: &str) -> i64 {
        let got = self
            .direct
            .get_item()
            .table_name(CONNECTIONS)
            .key("owner", AttributeValue::S(owner.to_owned()))
            .key("connection_id", AttributeValue::S(connection_id.to_owned()))
            .send()
            .await;
        let item = got.expect("read").item.expect("it is recorded");
        item["expires_at"].as_n().expect("a number").parse().expect("whole")
    }

    /// How many items a table has.
    pub async fn count(&self, table: &str) -> usize {
        self.items(table).await.len()
    }

    /// All items of a table, read past the faults.
    pub async fn items(&self, table: &str) -> Vec<HashMap<String, AttributeValue>> {
        let mut pages = self.direct.scan().table_name(table).into_paginator().send();
        let mut items = Vec::new();
        while let Some(page) = pages.next().await {
            items.extend(page.expect("read").items.unwrap_or_default());
        }
        items
    }

    async fn create(&self, table: &str, keys: &[(&str, KeyType)]) {
        let mut create =
            self.direct.create_table().table_name(table).billing_mode(BillingMode::PayPerRequest);
        for (name, kind) in keys {
            let key = KeySchemaElement::builder().attribute_name(*name).key_type(kind.clone());
            let attribute = AttributeDefinition::builder().attribute_name(*name);
            create = create.key_schema(key.build().expect("complete")).attribute_definitions(
                attribute.attribute_type(ScalarAttributeType::S).build().expect("complete"),
            );
        }
        create.send().await.expect("created");
    }
}

/// What clients of an endpoint are built from.
///
/// All clients of a process for the same service and region draw their retries from one quota ("Retry behavior"
/// in the AWS SDKs and Tools Reference Guide). With a region of its own, no test uses up the quota of another.
pub fn aws_at(endpoint: String, region: &str) -> Aws {
    let credentials = Credentials::new("test", "test", None, None, "test");
    Aws::new(Region::new(region.to_owned()), credentials, Some(endpoint), AMAZON_ROOTS.to_vec())
        .expect("roots")
}
