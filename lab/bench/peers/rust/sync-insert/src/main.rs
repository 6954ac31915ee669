//! `PUT /messages/{id}` and `POST /messages` as the examples of the AWS SDK and of lambda_http write it.

use std::{
    env,
    time::{SystemTime, UNIX_EPOCH},
};

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::{Client, types::AttributeValue};
use lambda_http::{
    Body, Error, Request, RequestExt, Response, http::Method, request::RequestContext, run, service_fn,
    tracing,
};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let client = Client::new(&config);
    let table = env::var("MESSAGES_TABLE")?;
    run(service_fn(|request| handle(&client, &table, request))).await
}

async fn handle(client: &Client, table: &str, request: Request) -> Result<Response<Body>, Error> {
    let Some(owner) = owner(&request) else {
        return respond(500, &json!({ "message": "no owner" }));
    };
    let Ok(payload) = str::from_utf8(request.body().as_ref()) else {
        return respond(400, &json!({ "message": "the body is not UTF-8" }));
    };
    let Some(body) = serde_json::from_str::<Value>(payload).ok().filter(Value::is_object) else {
        return respond(400, &json!({ "message": "the body is not a JSON object" }));
    };
    if request.method() == Method::POST {
        let mut outcomes = Vec::new();
        // One after the other.
        for message in body["messages"].as_array().into_iter().flatten() {
            let id = message["id"].as_str().unwrap_or_default();
            let stored =
                is_legal(id) && store(client, table, &owner, id, &message["payload"].to_string()).await?;
            outcomes.push(json!({ "id": id, "status": if stored { "stored" } else { "not stored" } }));
        }
        return respond(200, &json!({ "outcomes": outcomes }));
    }
    let parameters = request.path_parameters();
    let id = parameters.first("id").unwrap_or_default();
    if !is_legal(id) {
        return respond(400, &json!({ "message": "illegal id" }));
    }
    if !store(client, table, &owner, id, payload).await? {
        return respond(409, &json!({ "message": "there is a message with this id" }));
    }
    respond(201, &json!({ "id": id, "status": "stored" }))
}

/// Whether it was stored, or there was one with this id.
async fn store(client: &Client, table: &str, owner: &str, id: &str, payload: &str) -> Result<bool, Error> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis().to_string();
    let result = client
        .put_item()
        .table_name(table)
        .item("pk", AttributeValue::S(format!("{id}#{owner}")))
        .item("status", AttributeValue::S("stored".into()))
        .item("payload", AttributeValue::S(payload.into()))
        .item("via", AttributeValue::S("sync".into()))
        .item("attempts", AttributeValue::N("1".into()))
        .item("received_at", AttributeValue::N(now.clone()))
        .item("stored_at", AttributeValue::N(now))
        .condition_expression("attribute_not_exists(pk)")
        .send()
        .await;
    match result {
        Ok(_) => {
            tracing::info!(message_id = id, "stored");
            Ok(true)
        }
        Err(error)
            if error
                .as_service_error()
                .is_some_and(|error| error.is_conditional_check_failed_exception()) =>
        {
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

fn owner(request: &Request) -> Option<String> {
    match request.request_context() {
        RequestContext::ApiGatewayV1(context) => {
            context.authorizer.fields.get("principalId")?.as_str().map(str::to_owned)
        }
        _ => None,
    }
}

fn is_legal(id: &str) -> bool {
    (1..=64).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

fn respond(status: u16, body: &Value) -> Result<Response<Body>, Error> {
    Ok(Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(body.to_string().into())?)
}
