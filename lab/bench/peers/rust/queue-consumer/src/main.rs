//! The consumer of the queue as the examples of the AWS SDK and of lambda_runtime write it: record by record.

use std::{
    collections::HashMap,
    env,
    time::{SystemTime, UNIX_EPOCH},
};

use aws_config::BehaviorVersion;
use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use aws_sdk_apigatewaymanagement::{config::Builder as PushConfig, primitives::Blob};
use aws_sdk_dynamodb::types::AttributeValue;
use lambda_runtime::{Error, LambdaEvent, run, service_fn, tracing};
use serde_json::{Value, json};

struct Clients {
    dynamodb: aws_sdk_dynamodb::Client,
    push: aws_sdk_apigatewaymanagement::Client,
    messages: String,
    connections: String,
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let push = PushConfig::from(&config).endpoint_url(env::var("WEBSOCKET_ENDPOINT")?).build();
    let clients = Clients {
        dynamodb: aws_sdk_dynamodb::Client::new(&config),
        push: aws_sdk_apigatewaymanagement::Client::from_conf(push),
        messages: env::var("MESSAGES_TABLE")?,
        connections: env::var("CONNECTIONS_TABLE")?,
    };
    run(service_fn(|event: LambdaEvent<SqsEvent>| clients.handle(event.payload))).await
}

impl Clients {
    async fn handle(&self, event: SqsEvent) -> Result<SqsBatchResponse, Error> {
        let mut response = SqsBatchResponse::default();
        let mut events: HashMap<String, Vec<Value>> = HashMap::new();
        for record in event.records {
            match self.store(&record).await {
                Ok((owner, event)) => events.entry(owner).or_default().push(event),
                Err(error) => {
                    tracing::error!(%error, "a record failed");
                    let mut failure = BatchItemFailure::default();
                    failure.item_identifier = record.message_id.unwrap_or_default();
                    response.batch_item_failures.push(failure);
                }
            }
        }
        for (owner, events) in events {
            if let Err(error) = self.notify(&owner, &events).await {
                tracing::error!(%error, "a push failed");
            }
        }
        Ok(response)
    }

    async fn store(&self, record: &SqsMessage) -> Result<(String, Value), Error> {
        let attribute = |name: &str| {
            let attribute = record.message_attributes.get(name)?;
            attribute.string_value.clone()
        };
        let owner = attribute("owner").ok_or("no owner")?;
        let id = attribute("id").filter(|id| is_legal(id)).ok_or("no legal id")?;
        let receipt = record.message_id.clone().ok_or("no message id")?;
        let payload = record.body.clone().unwrap_or_default();
        if !serde_json::from_str::<Value>(&payload)?.is_object() {
            return Err("the body is not a JSON object".into());
        }
        let number = |name: &str| record.attributes.get(name).cloned().unwrap_or_default();
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis().to_string();
        let result = self
            .dynamodb
            .put_item()
            .table_name(&self.messages)
            .item("pk", AttributeValue::S(format!("{id}#{owner}")))
            .item("status", AttributeValue::S("stored".into()))
            .item("payload", AttributeValue::S(payload))
            .item("via", AttributeValue::S("queue".into()))
            .item("attempts", AttributeValue::N(number("ApproximateReceiveCount")))
            .item("received_at", AttributeValue::N(number("SentTimestamp")))
            .item("stored_at", AttributeValue::N(now.clone()))
            .item("receipt", AttributeValue::S(receipt.clone()))
            .condition_expression("attribute_not_exists(pk)")
            .send()
            .await;
        if let Err(error) = result {
            // It was delivered before, and is stored.
            if !error.as_service_error().is_some_and(|error| error.is_conditional_check_failed_exception()) {
                return Err(error.into());
            }
        }
        tracing::info!(message_id = id, receipt, "stored");
        let event = json!({
            "specversion": "1.0",
            "id": format!("{receipt}:stored"),
            "source": "/intake",
            "type": "intake.message.stored",
            "subject": id,
            "time": now,
            "datacontenttype": "application/json",
            "data": { "receipt": receipt },
        });
        Ok((owner, event))
    }

    async fn notify(&self, owner: &str, events: &[Value]) -> Result<(), Error> {
        let connections = self
            .dynamodb
            .query()
            .table_name(&self.connections)
            .key_condition_expression("#owner = :owner")
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_values(":owner", AttributeValue::S(owner.into()))
            .send()
            .await?;
        let frame = serde_json::to_vec(events)?;
        for connection in connections.items() {
            let Some(Ok(connection_id)) = connection.get("connection_id").map(AttributeValue::as_s) else {
                continue;
            };
            self.push
                .post_to_connection()
                .connection_id(connection_id)
                .data(Blob::new(frame.clone()))
                .send()
                .await?;
        }
        Ok(())
    }
}

fn is_legal(id: &str) -> bool {
    (1..=64).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}
