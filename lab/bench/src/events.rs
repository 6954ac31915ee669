//! The events that functions are measured with: those in `events/`, with new messages each time.

use hyper::body::Bytes;
use serde_json::{Value, json};

use crate::{
    Failure,
    contestants::Function,
    endpoints::{CONNECTION, CONNECTIONS, Endpoints, MESSAGES},
};

/// The owners of the messages. Each has one connection.
pub(crate) const OWNERS: [&str; 2] = ["alice", "bob"];

/// The events of one process.
pub(crate) struct Events {
    function: Function,
    batch: usize,
    payload_bytes: usize,
    template: Value,
    made: usize,
}

impl Events {
    /// Events of a function, each with `batch` messages of `payload_bytes`.
    ///
    /// # Errors
    /// If a template is not JSON.
    pub(crate) fn new(
        function: Function,
        batch: usize,
        payload_bytes: usize,
        token: &str,
    ) -> Result<Self, Failure> {
        let mut template: Value = serde_json::from_str(match function {
            Function::SyncInsert => include_str!("../../../events/sync-insert.json"),
            Function::QueueConsumer => include_str!("../../../events/queue-consumer.json"),
            Function::StatusLookup => include_str!("../../../events/status-lookup.json"),
            Function::Websocket => include_str!("../../../events/websocket-connect.json"),
            Function::Authorizer => include_str!("../../../events/authorizer-rest.json"),
        })?;
        if function == Function::Authorizer {
            let header = format!("Bearer {token}");
            template["multiValueHeaders"]["Authorization"] = json!([header]);
            template["headers"]["Authorization"] = json!(header);
        }
        Ok(Self { function, batch, payload_bytes, template, made: 0 })
    }

    /// Puts the items that the events need into the tables.
    pub(crate) fn prepare(&self, endpoints: &Endpoints) -> Result<(), Failure> {
        match self.function {
            Function::QueueConsumer => {
                for owner in OWNERS {
                    let item = json!({
                        "owner": { "S": owner },
                        "connection_id": { "S": format!("{CONNECTION}{owner}=") },
                        "expires_at": { "N": "9999999999" },
                    });
                    endpoints.put_item(CONNECTIONS, &item)?;
                }
                Ok(())
            }
            Function::StatusLookup => {
                let time = "2026-11-22T12:00:00.000Z";
                let item = json!({
                    "pk": { "S": "looked-up#alice" },
                    "status": { "S": "stored" },
                    "payload": { "S": payload(0, self.payload_bytes) },
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

    /// The next event.
    pub(crate) fn make(&mut self) -> Bytes {
        let first = self.made;
        self.made += self.batch;
        let mut event = self.template.clone();
        match self.function {
            Function::SyncInsert => {
                let id = id(first);
                about(&mut event, &id);
                event["body"] = json!(payload(first, self.payload_bytes));
            }
            Function::StatusLookup => about(&mut event, "looked-up"),
            Function::Websocket => {
                event["requestContext"]["connectionId"] = json!(format!("{first:011}="));
            }
            Function::Authorizer => {}
            Function::QueueConsumer => {
                let record = event["Records"][0].take();
                let records = (first..first + self.batch).map(|number| {
                    let mut record = record.clone();
                    record["messageId"] = json!(id(number));
                    record["body"] = json!(payload(number, self.payload_bytes));
                    let attributes = &mut record["messageAttributes"];
                    attributes["id"]["stringValue"] = json!(id(number));
                    attributes["owner"]["stringValue"] = json!(OWNERS[number % OWNERS.len()]);
                    record
                });
                event["Records"] = records.collect();
            }
        }
        Bytes::from(event.to_string())
    }

    /// Checks that a response reports success.
    ///
    /// # Errors
    /// With the response, if it does not.
    pub(crate) fn check(&self, response: &[u8]) -> Result<(), Failure> {
        let value: Value = serde_json::from_slice(response)?;
        let success = match self.function {
            Function::SyncInsert => value["statusCode"] == 201,
            Function::StatusLookup | Function::Websocket => value["statusCode"] == 200,
            Function::QueueConsumer => value["batchItemFailures"].as_array().is_some_and(Vec::is_empty),
            Function::Authorizer => value["policyDocument"]["Statement"][0]["Effect"] == "Allow",
        };
        if success { Ok(()) } else { Err(format!("its response is {value}").into()) }
    }
}

fn about(event: &mut Value, id: &str) {
    event["path"] = json!(format!("/messages/{id}"));
    event["pathParameters"]["id"] = json!(id);
    event["requestContext"]["path"] = json!(format!("/v1/messages/{id}"));
    event["requestContext"]["authorizer"]["principalId"] = json!("alice");
}

/// A UUID, as most clients would choose.
fn id(number: usize) -> String {
    format!("5fea7756-0ea4-451a-a703-{number:012}")
}

/// A JSON object of exactly `bytes` bytes: an order with as many items as fit.
fn payload(number: usize, bytes: usize) -> String {
    const END: &str = r#"],"note":""}"#;
    let mut text = format!(r#"{{"order":{number},"currency":"EUR","items":["#);
    let mut separator = "";
    for item in 0.. {
        let item = format!(
            r#"{separator}{{"sku":"A-{item:06}","quantity":{},"price":"{}.90","gift":false}}"#,
            item % 7 + 1,
            item % 90 + 10
        );
        if text.len() + item.len() + END.len() > bytes {
            break;
        }
        text.push_str(&item);
        separator = ",";
    }
    let rest = bytes.saturating_sub(text.len() + END.len());
    text.push_str(r#"],"note":""#);
    text.extend(std::iter::repeat_n('.', rest));
    text.push_str(r#""}"#);
    text
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
    fn every_message_is_new() {
        let mut events = Events::new(Function::QueueConsumer, 3, 100, "").expect("a template");
        let mut ids = std::collections::HashSet::new();
        for _ in 0..2 {
            let event: Value = serde_json::from_slice(&events.make()).expect("JSON");
            for record in event["Records"].as_array().expect("records") {
                let id = record["messageAttributes"]["id"]["stringValue"].as_str().expect("text");
                assert!(ids.insert(id.to_owned()));
            }
        }
        assert_eq!(ids.len(), 6);
    }

    #[test]
    fn a_response_with_a_failure_is_an_error() {
        let events = Events::new(Function::QueueConsumer, 1, 100, "").expect("a template");
        assert!(events.check(br#"{"batchItemFailures":[]}"#).is_ok());
        for wrong in [r#"{"batchItemFailures":[{"itemIdentifier":"a"}]}"#, "{}", "null", ""] {
            assert!(events.check(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
