//! The events in `events/`, as they are, and with what a test changes of them.

use serde_json::{Value, json};

/// A request to `PUT /messages/{id}` by an owner.
pub fn put(owner: &str, id: &str, body: &str) -> Value {
    let mut event = read(include_str!("../../events/sync-insert.json"));
    address(&mut event, owner, id);
    event["body"] = json!(body);
    event
}

/// A request to `GET /messages/{id}` by an owner, with a receipt if there is one.
pub fn get(owner: &str, id: &str, receipt: Option<&str>) -> Value {
    let mut event = read(include_str!("../../events/status-lookup.json"));
    address(&mut event, owner, id);
    if let Some(receipt) = receipt {
        event["queryStringParameters"] = json!({ "receipt": receipt });
        event["multiValueQueryStringParameters"] = json!({ "receipt": [receipt] });
    }
    event
}

/// A request to `POST /messages` by an owner.
pub fn post(owner: &str, body: &str) -> Value {
    let mut event = read(include_str!("../../events/sync-insert-bulk.json"));
    event["requestContext"]["authorizer"]["principalId"] = json!(owner);
    event["body"] = json!(body);
    event
}

/// A request to `GET /receipts/{receipt}` by an owner.
pub fn get_bulk(owner: &str, receipt: &str) -> Value {
    let mut event = read(include_str!("../../events/status-lookup-bulk.json"));
    event["path"] = json!(format!("/receipts/{receipt}"));
    event["pathParameters"]["receipt"] = json!(receipt);
    event["requestContext"]["authorizer"]["principalId"] = json!(owner);
    event
}

/// The body of a bulk: ids and payloads, each as the text that it is.
pub fn bulk(messages: &[(&str, &str)]) -> String {
    let message = |(id, payload): &(&str, &str)| format!("{{\"id\":{},\"payload\":{payload}}}", json!(id));
    format!("{{\"messages\":[{}]}}", messages.iter().map(message).collect::<Vec<_>>().join(","))
}

/// An SQS record with many messages of an owner, delivered for the first time. Its receipt is `bulk-` and that of a
/// record with this number.
pub fn bulk_record(number: usize, owner: &str, body: &str) -> Value {
    let mut record = record(number, owner, "", body);
    let attributes = record["messageAttributes"].as_object_mut().expect("attributes");
    attributes.remove("id");
    attributes.insert("bulk".to_owned(), json!({ "dataType": "String", "stringValue": "true" }));
    record
}

/// The receipt of a record with many messages with this number.
pub fn bulk_receipt(number: usize) -> String {
    format!("bulk-{}", receipt(number))
}

fn address(event: &mut Value, owner: &str, id: &str) {
    event["path"] = json!(format!("/messages/{id}"));
    event["pathParameters"]["id"] = json!(id);
    event["requestContext"]["path"] = json!(format!("/v1/messages/{id}"));
    event["requestContext"]["authorizer"]["principalId"] = json!(owner);
}

/// An SQS record: a message of an owner, delivered for the first time. Its receipt is made of `number`.
pub fn record(number: usize, owner: &str, id: &str, body: &str) -> Value {
    let batch = read(include_str!("../../events/queue-consumer.json"));
    let mut record = batch["Records"][0].clone();
    record["messageId"] = json!(receipt(number));
    record["body"] = json!(body);
    record["messageAttributes"]["id"]["stringValue"] = json!(id);
    record["messageAttributes"]["owner"]["stringValue"] = json!(owner);
    record
}

/// The receipt of a record with this number.
pub fn receipt(number: usize) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

/// The same record, delivered for the `count`th time.
pub fn delivered(mut record: Value, count: u32) -> Value {
    record["attributes"]["ApproximateReceiveCount"] = json!(count.to_string());
    record
}

/// The text of an event file as JSON.
pub fn read(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}
