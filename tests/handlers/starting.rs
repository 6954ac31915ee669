//! What the functions do before the first event.

use fault_proxy::Fault;
use intake_platform::aws::warm_up;

use crate::fixtures::database::{CONNECTIONS, Database, MESSAGES};

#[tokio::test]
async fn probes_reach_the_tables_and_change_nothing() {
    let database = Database::start().await;
    let (messages, connections) = (database.messages(), database.connections());
    messages.probe_write().await.expect("the table can be written");
    messages.probe_read().await.expect("the table can be read");
    connections.probe_write().await.expect("the table can be written");
    connections.probe_read().await.expect("the table can be read");
    assert_eq!(database.faults.take_request_count(), 4);
    assert_eq!((database.count(MESSAGES).await, database.count(CONNECTIONS).await), (0, 0));
}

#[tokio::test]
async fn a_function_starts_although_the_database_is_unavailable() {
    for fault in [Fault::Throttle, Fault::CutBefore, Fault::Hang] {
        let database = Database::start().await;
        database.faults.always(fault);
        database.messages().probe_write().await.expect_err("the table cannot be written");
        warm_up(database.messages().probe_write()).await;
    }
}
