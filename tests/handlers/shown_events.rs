//! The events that the README shows are those of the tests, so that they cannot rot.

use std::{fs, path::Path};

use e2e::{
    database::Database,
    events::{read, request},
    pushes::Pushes,
};
use intake::rest::Responses;
use serde_json::json;

use crate::queue_consumer::{consume, consumer};

fn answers() -> Responses {
    Responses::new("*").expect("an origin")
}

#[tokio::test]
async fn every_event_for_the_rest_functions_gets_the_answer_it_is_named_after() {
    let database = Database::start().await;
    let insert = sync_insert::SyncInsert::new(database.messages(), answers());
    let look_up = status_lookup::StatusLookup::new(database.messages(), answers());
    for (event, status) in [
        (include_str!("../../events/sync-insert.json"), 201),
        (include_str!("../../events/sync-insert-not-json.json"), 400),
        (include_str!("../../events/sync-insert-illegal-id.json"), 400),
    ] {
        let answer = insert.handle(request(&read(event))).await.expect("an answer");
        assert_eq!(answer.status().as_u16(), status);
    }
    for (event, said) in [
        (include_str!("../../events/status-lookup.json"), "stored"),
        (include_str!("../../events/status-lookup-queued.json"), "queued"),
    ] {
        let answer = look_up.handle(request(&read(event))).await.expect("an answer");
        let body: serde_json::Value = serde_json::from_slice(answer.body()).expect("JSON");
        assert_eq!(body["status"], said);
    }
}

#[tokio::test]
async fn every_event_for_the_consumer_gets_the_answer_it_is_named_after() {
    let (database, pushes) = (Database::start().await, Pushes::start().await);
    let consumer = consumer(&database, &pushes);
    let failures = consume(&consumer, read(include_str!("../../events/queue-consumer.json"))).await;
    assert!(failures.is_empty());
    let failures =
        consume(&consumer, read(include_str!("../../events/queue-consumer-bad-records.json"))).await;
    assert_eq!(failures, ["5fea7756-0ea4-451a-a703-a558b933e276"], "the record without attributes");
    assert_eq!(database.text("alice", "order-14", "status").await, "rejected");
    let last = read(include_str!("../../events/queue-consumer-last-delivery.json"));
    assert!(consume(&consumer, last).await.is_empty());
}

#[test]
fn every_event_file_is_used_by_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut tests = String::new();
    for folder in ["tests/handlers", "tests/src", "functions/authorizer"] {
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
