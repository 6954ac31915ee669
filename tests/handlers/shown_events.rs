//! The events that the documentation shows are those of the tests, so that they stay correct.

use std::{fs, path::Path};

use intake_platform::rest::Responses;
use serde_json::json;

use crate::fixtures::{
    consumer::TestConsumer,
    database::Database,
    events::{read, request},
};

fn responses() -> Responses {
    Responses::new("*").expect("an origin")
}

#[tokio::test]
async fn every_event_for_the_rest_functions_has_the_result_it_is_named_after() {
    let database = Database::start().await;
    let insert = sync_insert::SyncInsert::new(database.messages(), responses());
    let look_up = status_lookup::StatusLookup::new(database.messages(), database.outcomes(), responses());
    for (event, expected) in [
        (include_str!("../../events/sync-insert.json"), 201),
        (include_str!("../../events/sync-insert-bulk.json"), 200),
        (include_str!("../../events/sync-insert-not-json.json"), 400),
        (include_str!("../../events/sync-insert-illegal-id.json"), 400),
    ] {
        let response = insert.handle(request(&read(event))).await.expect("a response");
        assert_eq!(response.status().as_u16(), expected);
    }
    for (event, expected) in [
        (include_str!("../../events/status-lookup.json"), "stored"),
        (include_str!("../../events/status-lookup-queued.json"), "queued"),
        (include_str!("../../events/status-lookup-bulk.json"), "queued"),
    ] {
        let response = look_up.handle(request(&read(event))).await.expect("a response");
        let body: serde_json::Value = serde_json::from_slice(response.body()).expect("JSON");
        assert_eq!(body["status"], expected);
    }
}

#[tokio::test]
async fn every_event_for_the_consumer_has_the_result_it_is_named_after() {
    let consumer = TestConsumer::start().await;
    assert!(consumer.consume_event(include_str!("../../events/queue-consumer.json")).await.is_empty());
    assert!(consumer.consume_event(include_str!("../../events/queue-consumer-bulk.json")).await.is_empty());
    let statuses = [("order-21", "stored"), ("order-22", "stored"), ("order-23", "rejected")];
    for (id, status) in statuses {
        assert_eq!(consumer.status("alice", id).await, status);
    }
    let bad_records = include_str!("../../events/queue-consumer-bad-records.json");
    let without_attributes = "5fea7756-0ea4-451a-a703-a558b933e276".to_owned();
    assert_eq!(consumer.consume_event(bad_records).await, [without_attributes].into());
    assert_eq!(consumer.status("alice", "order-14").await, "rejected");
    let last_delivery = include_str!("../../events/queue-consumer-last-delivery.json");
    assert!(consumer.consume_event(last_delivery).await.is_empty());
}

#[test]
fn the_event_for_the_dead_letter_recorder_is_a_scheduled_one() {
    assert_eq!(
        read(include_str!("../../events/dead-letter-recorder.json"))["detail-type"],
        "Scheduled Event"
    );
}

#[test]
fn every_event_file_is_used_by_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut tests = String::new();
    for folder in ["tests/handlers", "tests/src"] {
        sources(&root.join(folder), &mut tests);
    }
    let mut unused = Vec::new();
    for file in fs::read_dir(root.join("events")).expect("the folder") {
        let name = file.expect("a file").file_name().into_string().expect("text");
        if !tests.contains(&format!("events/{name}")) {
            unused.push(name);
        }
    }
    assert_eq!(json!(unused), json!([]));
}

fn sources(folder: &Path, text: &mut String) {
    for file in fs::read_dir(folder).expect("the folder") {
        let path = file.expect("a file").path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(path).expect("text"));
        }
    }
}
