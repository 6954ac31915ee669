//! Records in the queue that the gateway has not put there.

use e2e::stack::{Record, Stack, eventually, text, unique};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::redelivery::delivery;

const BODY: &str = r#"{"a":1}"#;

/// Records that name nobody: there is nobody to tell, and no place to write to.
fn nobodys() -> Vec<(&'static str, Record)> {
    let id = || unique("nobodys");
    let owner = || unique("owner");
    let by_id = || Record::bare(BODY).with("id", "String", &id());
    let by_owner = || Record::bare(BODY).with("owner", "String", &owner());
    vec![
        ("no attributes", Record::bare(BODY)),
        ("no attributes and no JSON", Record::bare("no JSON")),
        ("no owner", by_id()),
        ("no id", by_owner()),
        ("other names", Record::bare(BODY).with("Id", "String", &id()).with("Owner", "String", &owner())),
        ("an owner that is a number", by_id().with("owner", "Number", "42")),
        ("an owner of bytes", by_id().with_bytes("owner", b"bob")),
        ("an owner of a type of its own", by_id().with("owner", "String.uuid", &owner())),
        ("an owner that is no ASCII", by_id().with("owner", "String", "bøb")),
        ("an owner with a line break", by_id().with("owner", "String", "bob\nalice")),
        ("an owner that is too long", by_id().with("owner", "String", &"o".repeat(256))),
        ("an id that is a number", by_owner().with("id", "Number", "42")),
        ("an id of bytes", by_owner().with_bytes("id", b"id")),
        (
            "id and owner in the body",
            Record::bare(&json!({ "id": id(), "owner": owner(), "payload": {} }).to_string()),
        ),
        (
            "an event of S3",
            Record::bare(r#"{"Records":[{"eventSource":"aws:s3","s3":{"object":{"key":"k"}}}]}"#),
        ),
        (
            "a notification of SNS",
            Record::bare(r#"{"Type":"Notification","Message":"{}","MessageAttributes":{}}"#).with(
                "TopicArn",
                "String",
                "arn:aws:sns:us-east-1:000000000000:topic",
            ),
        ),
    ]
}

#[tokio::test]
async fn a_record_that_names_nobody_becomes_a_dead_letter_and_its_neighbours_are_stored() {
    let stack = Stack::running();
    let caller = stack.caller();
    let mut sent = Vec::new();
    let mut neighbours = Vec::new();
    for (what, record) in nobodys() {
        let (before, after) = (unique("before"), unique("after"));
        let batch = [caller.record(&before, BODY), record, caller.record(&after, BODY)];
        let receipts = stack.send_batch_to(&stack.at.queue_url, batch).await;
        sent.push((what, receipts[1].clone()));
        neighbours.extend([before, after]);
    }

    for id in neighbours {
        caller.becomes(&id, "stored").await;
    }
    for (what, message_id) in sent {
        eventually(&format!("the record with {what} in the dead-letter queue"), async || {
            let letters = stack.dead_letters().await;
            let dead = letters.iter().any(|letter| letter.message_id() == Some(message_id.as_str()));
            if dead { Ok(()) } else { Err(format!("{} dead letters", letters.len())) }
        })
        .await;
    }
}

#[tokio::test]
async fn more_attributes_than_two_do_no_harm() {
    let stack = Stack::running();
    let caller = stack.caller();
    let id = unique("q");
    let record = caller.record(&id, BODY).with("trace", "String", "x").with("count", "Number", "1");
    let record = record.with_bytes("bytes", b"\0\xff").with("principalId", "String", "bob");

    stack.send(record).await;

    assert_eq!(caller.becomes(&id, "stored").await["payload"], json!({ "a": 1 }));
}

#[tokio::test]
async fn in_a_batch_every_record_has_its_own_outcome() {
    let stack = Stack::running();
    let (alice, bob) = (stack.caller(), stack.caller());
    let (mut of_alice, mut of_bob) = (alice.connect().await, bob.connect().await);
    let [stored, rejected, taken, his] = ["stored", "rejected", "taken", "his"].map(unique);
    alice.put(&taken, r#"{"first":true}"#).await;
    let poison = Record::bare(BODY);
    let batch = [
        alice.record(&stored, BODY),
        poison.clone(),
        alice.record(&rejected, "no JSON"),
        alice.record("no id", BODY),
        bob.record(&his, BODY),
        poison,
        alice.record(&taken, r#"{"first":false}"#),
        alice.record(&stored, BODY),
    ];

    let receipts = stack.send_batch_to(&stack.at.queue_url, batch).await;

    let mut told = Vec::new();
    for _ in 0..4 {
        let event = of_alice.next_event().await;
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        told.push((text(&event["type"]), text(&event["subject"])));
    }
    told.sort_unstable();
    let kind = |kind: &str, subject: &str| (format!("intake.message.{kind}"), subject.to_owned());
    let mut expected = [
        kind("stored", &stored),
        kind("rejected", &rejected),
        kind("rejected", "no id"),
        kind("conflict", &taken),
    ];
    expected.sort_unstable();
    assert_eq!(told, expected);
    of_bob.told("stored", &his).await;
    assert_eq!(alice.look_up(&stored).await.json()["status"], "stored");
    assert_eq!(alice.look_up(&rejected).await.json()["status"], "rejected");
    assert_eq!(alice.look_up(&taken).await.json()["payload"], json!({ "first": true }));
    assert_eq!(bob.look_up(&his).await.json()["status"], "stored");
    for poison in [&receipts[1], &receipts[5]] {
        stack.dead_letter(poison).await;
    }
    let letters = stack.dead_letters().await;
    let dead = |receipt: &String| letters.iter().any(|letter| letter.message_id() == Some(receipt));
    let settled = [0, 2, 3, 4, 6, 7].map(|place| dead(&receipts[place]));
    assert_eq!(settled, [false; 6], "what has an outcome is no dead letter");
}

/// What no queue hands out, so that it has to be given to the function itself.
#[tokio::test]
async fn a_record_of_another_form_is_a_batch_item_failure_and_its_neighbours_are_stored() {
    let stack = Stack::running();
    let caller = stack.caller();
    let receipt = || Uuid::new_v4().to_string();
    let with = |pointer: &str, value: Value| {
        let mut record = delivery(&caller.name, &unique("odd"), BODY);
        *record.pointer_mut(pointer).expect("it is there") = value;
        record
    };
    let odd = [
        with("/body", json!({ "not": "text" })),
        with("/body", json!(["not", "text"])),
        // Made to be half of a character below: no text at all.
        with("/body", json!("half")),
        with("/messageAttributes/owner/stringValue", json!("half")),
        with("/messageAttributes", json!("none")),
        with("/messageAttributes", json!([])),
        with("/messageAttributes/owner", json!("bob")),
        with("/messageAttributes/owner/stringValue", json!(null)),
        with("/messageAttributes/owner/dataType", json!(7)),
        with("/attributes", json!(7)),
        json!({ "messageId": receipt() }),
        json!({ "messageId": receipt(), "Sns": { "Message": "{}" } }),
    ];
    for record in odd {
        let neighbours = [unique("before"), unique("after")];
        let neighbour = |id: &str| delivery(&caller.name, id, BODY);
        let event = json!({ "Records": [neighbour(&neighbours[0]), record, neighbour(&neighbours[1])] });

        let event = event.to_string().replace("\"half\"", r#""\ud800""#);
        let answer = stack.invoke("QueueConsumerFunction", &event).await;

        let failures = json!({ "batchItemFailures": [{ "itemIdentifier": record["messageId"] }] });
        assert_eq!(answer, failures, "{record}");
        for id in neighbours {
            let item = caller.item(&id).await.expect("the neighbours are stored");
            assert_eq!(text(&item, "status"), "stored");
        }
    }
}
