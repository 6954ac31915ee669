//! The events that functions are measured with: those in `events/`, with new messages each time.

use axum::body::Bytes;
use serde_json::{Value, json};

use crate::{
    Failure,
    cases::{Case, Function},
    endpoints::{CONNECTION, CONNECTIONS, Endpoints, MESSAGES},
};

/// The owners of the messages. Each has one connection.
pub(crate) const OWNERS: [&str; 2] = ["alice", "bob"];

/// The events of one process: this many, each with the messages of the case.
pub(crate) fn events(case: &Case, count: usize, token: &str) -> Result<Vec<Bytes>, Failure> {
    let template: Value = serde_json::from_str(match case.function {
        Function::SyncInsert if case.bulk > 1 => include_str!("../../../events/sync-insert-bulk.json"),
        Function::QueueConsumer if case.bulk > 1 => include_str!("../../../events/queue-consumer-bulk.json"),
        Function::SyncInsert => include_str!("../../../events/sync-insert.json"),
        Function::QueueConsumer => include_str!("../../../events/queue-consumer.json"),
        Function::StatusLookup => include_str!("../../../events/status-lookup.json"),
        Function::Websocket => include_str!("../../../events/websocket-connect.json"),
        Function::Authorizer => include_str!("../../../events/authorizer-rest.json"),
    })?;
    let event = |index: usize| {
        let first = index * case.messages();
        let mut event = template.clone();
        match case.function {
            Function::SyncInsert if case.bulk > 1 => {
                event["requestContext"]["authorizer"]["principalId"] = json!(OWNERS[0]);
                event["body"] = json!(bulk(first, case));
            }
            Function::SyncInsert => {
                address(&mut event, &id(first));
                event["body"] = json!(payload(first, case.bytes));
            }
            Function::StatusLookup => address(&mut event, "looked-up"),
            Function::Websocket => {
                event["requestContext"]["connectionId"] = json!(format!("{first:011}="));
            }
            Function::Authorizer => {
                let header = format!("Bearer {token}");
                event["multiValueHeaders"]["Authorization"] = json!([header]);
                event["headers"]["Authorization"] = json!(header);
            }
            Function::QueueConsumer => {
                let record = |number| record(&template["Records"][0], first + number * case.bulk, case);
                event["Records"] = (0..case.batch).map(record).collect();
            }
        }
        Bytes::from(event.to_string())
    };
    Ok((0..count).map(event).collect())
}

/// Puts the items that the events need into the tables.
pub(crate) fn prepare(case: &Case, endpoints: &Endpoints) -> Result<(), Failure> {
    match case.function {
        Function::QueueConsumer => OWNERS.iter().try_for_each(|owner| {
            let item = json!({
                "owner": { "S": owner },
                "connection_id": { "S": format!("{CONNECTION}{owner}=") },
                "expires_at": { "N": "9999999999" },
                "valid_until": { "N": "9999999999" },
            });
            endpoints.put_item(CONNECTIONS, &item)
        }),
        Function::StatusLookup => {
            let time = "2026-11-22T12:00:00.000Z";
            let item = json!({
                "pk": { "S": "looked-up#alice" },
                "status": { "S": "stored" },
                "payload": { "S": payload(0, case.bytes) },
                "via": { "S": "sync" },
                "attempts": { "N": "1" },
                "received_at": { "S": time },
                "stored_at": { "S": time },
            });
            endpoints.put_item(MESSAGES, &item)
        }
        Function::SyncInsert | Function::Websocket | Function::Authorizer => Ok(()),
    }
}

/// Checks that a response reports success.
pub(crate) fn check(function: Function, response: &[u8]) -> Result<(), Failure> {
    let value: Value = serde_json::from_slice(response)?;
    let success = match function {
        // A bulk that is stored is a 200, as one message is that was stored before: each is new here.
        Function::SyncInsert => value["statusCode"] == 201 || value["statusCode"] == 200,
        Function::StatusLookup | Function::Websocket => value["statusCode"] == 200,
        Function::QueueConsumer => value["batchItemFailures"].as_array().is_some_and(Vec::is_empty),
        Function::Authorizer => value["policyDocument"]["Statement"][0]["Effect"] == "Allow",
    };
    if success { Ok(()) } else { Err(format!("its response is {value}").into()) }
}

/// Makes a request one about the message with this id.
fn address(event: &mut Value, id: &str) {
    event["path"] = json!(format!("/messages/{id}"));
    event["pathParameters"]["id"] = json!(id);
    event["requestContext"]["path"] = json!(format!("/v1/messages/{id}"));
    event["requestContext"]["authorizer"]["principalId"] = json!(OWNERS[0]);
}

fn record(template: &Value, number: usize, case: &Case) -> Value {
    let mut record = template.clone();
    record["messageId"] = json!(id(number));
    let is_bulk = case.bulk > 1;
    record["body"] = json!(if is_bulk { bulk(number, case) } else { payload(number, case.bytes) });
    let attributes = &mut record["messageAttributes"];
    if !is_bulk {
        attributes["id"]["stringValue"] = json!(id(number));
    }
    attributes["owner"]["stringValue"] = json!(OWNERS[(number / case.bulk) % OWNERS.len()]);
    record
}

/// The body of a request with many messages.
fn bulk(first: usize, case: &Case) -> String {
    let message = |number| format!(r#"{{"id":"{}","payload":{}}}"#, id(number), payload(number, case.bytes));
    let messages: Vec<_> = (first..first + case.bulk).map(message).collect();
    format!(r#"{{"messages":[{}]}}"#, messages.join(","))
}

/// A UUID, as most clients would choose.
fn id(number: usize) -> String {
    format!("5fea7756-0ea4-451a-a703-{number:012}")
}

/// A JSON object of exactly `bytes` bytes: an order with as many items as fit.
fn payload(number: usize, bytes: usize) -> String {
    let order = |items: &str, note: &str| {
        format!(r#"{{"order":{number},"currency":"EUR","items":[{items}],"note":"{note}"}}"#)
    };
    // All are of the same length.
    let item = |index: usize| {
        let (quantity, price) = (index % 7 + 1, index % 90 + 10);
        format!(r#"{{"sku":"A-{index:06}","quantity":{quantity},"price":"{price}.90","gift":false}}"#)
    };
    let room = bytes.saturating_sub(order("", "").len());
    let fitting = (room + 1) / (item(0).len() + 1);
    let items = (0..fitting).map(item).collect::<Vec<_>>().join(",");
    order(&items, &".".repeat(room - items.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_an_object_of_the_size_asked_for() {
        for bytes in [100, 1024, 100 * 1024] {
            let text = payload(7, bytes);
            assert_eq!(text.len(), bytes);
            let value: Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(value["order"], 7);
        }
    }

    #[test]
    fn a_response_with_a_failure_is_an_error() {
        let check = |response: &str| check(Function::QueueConsumer, response.as_bytes());
        assert!(check(r#"{"batchItemFailures":[]}"#).is_ok());
        for wrong in [r#"{"batchItemFailures":[{"itemIdentifier":"a"}]}"#, "{}", "null", ""] {
            assert!(check(wrong).is_err(), "{wrong}");
        }
    }
}
