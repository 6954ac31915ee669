//! The consumer's handler, with a database and an endpoint for pushes of its own.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use intake::store::Messages;
use queue_consumer::{Batch, Consumer, push::Push};
use serde_json::Value;

use crate::{database::Database, events::batch, pushes::Pushes};

/// The `maxReceiveCount` of the queue that there would be.
pub const MAX_RECEIVE_COUNT: u32 = 5;

/// How long an attempt at storing messages may take.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);

/// More time than any batch needs once nothing fails any more.
pub const AMPLE_TIME: Duration = Duration::from_secs(60);

/// A consumer of one test. `alice` has the connection `alice-1`, and `bob` has `bob-1`.
#[derive(Debug)]
pub struct TestConsumer {
    /// Its tables.
    pub database: Database,
    /// The endpoint that it pushes to.
    pub pushes: Pushes,
    function: Consumer,
}

impl TestConsumer {
    /// A consumer with empty tables, but for the two connections.
    pub async fn start() -> Self {
        let (database, pushes) = (Database::start().await, Pushes::start().await);
        let function = consumer(database.messages_within(ATTEMPT_TIMEOUT), &database, &pushes);
        let started = Self { database, pushes, function };
        for owner in ["alice", "bob"] {
            started.connect(owner, &format!("{owner}-1")).await;
        }
        // What the test itself does is not counted.
        let _ = started.database.faults.taken_all();
        started
    }

    /// The same, but it reaches the table of messages through another client.
    #[must_use]
    pub fn through(self, messages: Messages) -> Self {
        let function = consumer(messages, &self.database, &self.pushes);
        Self { function, ..self }
    }

    /// The same, but it has no time for notifications.
    #[must_use]
    pub fn without_time_for_notifications(self) -> Self {
        let Self { database, pushes, .. } = self;
        let push = Push::new(database.aws(), &pushes.url(), database.connections(), Duration::ZERO);
        let messages = database.messages_within(ATTEMPT_TIMEOUT);
        let notes = database.notes_within(ATTEMPT_TIMEOUT);
        Self { function: Consumer::new(messages, notes, push, MAX_RECEIVE_COUNT), database, pushes }
    }

    /// Handles a batch with ample time, and returns the message ids of the batch item failures.
    pub async fn consume(&self, records: &[Value]) -> BTreeSet<String> {
        self.consume_within(AMPLE_TIME, records).await
    }

    /// Handles a batch with so much time until the deadline.
    pub async fn consume_within(&self, time: Duration, records: &[Value]) -> BTreeSet<String> {
        self.consume_until(SystemTime::now() + time, records).await
    }

    /// Handles a batch with a deadline.
    pub async fn consume_until(&self, deadline: SystemTime, records: &[Value]) -> BTreeSet<String> {
        self.handle(batch(records), deadline).await
    }

    /// Handles an event, written as JSON, with ample time.
    pub async fn consume_event(&self, event: &str) -> BTreeSet<String> {
        let batch = serde_json::from_str(event).expect("a batch");
        self.handle(batch, SystemTime::now() + AMPLE_TIME).await
    }

    async fn handle(&self, batch: Batch, deadline: SystemTime) -> BTreeSet<String> {
        let failures = self.function.handle(batch, deadline).await.batch_item_failures;
        let count = failures.len();
        let failures: BTreeSet<_> = failures.into_iter().map(|failure| failure.item_identifier).collect();
        assert_eq!(failures.len(), count, "no failure is reported twice");
        failures
    }

    /// Adds a connection of an owner, opened long ago.
    pub async fn connect(&self, owner: &str, connection_id: &str) {
        self.database.add_old_connections(owner, &[connection_id.to_owned()]).await;
    }

    /// The recorded connections of an owner.
    pub async fn connections(&self, owner: &str) -> Vec<String> {
        self.database.connections_of(owner).await
    }

    /// The status of a message; the empty text if nothing is recorded.
    pub async fn status(&self, owner: &str, id: &str) -> String {
        self.database.text(owner, id, "status").await
    }
}

fn consumer(messages: Messages, database: &Database, pushes: &Pushes) -> Consumer {
    let push = Push::new(database.aws(), &pushes.url(), database.connections(), AMPLE_TIME);
    Consumer::new(messages, database.notes_within(ATTEMPT_TIMEOUT), push, MAX_RECEIVE_COUNT)
}
