//! The contracts, as checks: every response is compared with `openapi.yaml`, and every frame with `asyncapi.yaml`.
//! The clients in [`crate::stack`] do that themselves, so that no test can forget it.

use std::{collections::BTreeMap, sync::LazyLock};

use jsonschema::{Draft, ValidationError, error::ValidationErrorKind};
use reqwest::{
    Method,
    header::{CONTENT_TYPE, HeaderMap},
};
use serde_json::{Value, json, value::RawValue};

/// API Gateway reads the schemas as JSON Schema draft 4.
static HTTP: LazyLock<Contract> =
    LazyLock::new(|| Contract::read(include_str!("../../openapi.yaml"), Draft::Draft4));

/// A schema of AsyncAPI 3.0 is one of JSON Schema draft 7.
static WEBSOCKET: LazyLock<Contract> =
    LazyLock::new(|| Contract::read(include_str!("../../asyncapi.yaml"), Draft::Draft7));

/// Checks that `openapi.yaml` documents a response of the HTTP API. `path` is relative to the address of the API.
///
/// # Panics
/// If it deviates, with what does.
pub fn check_response(method: &Method, path: &str, status: u16, headers: &HeaderMap, body: &str) {
    if let Err(deviation) = HTTP.check_response(method, path, status, headers, body) {
        panic!(
            "{method} {path}: the response deviates from openapi.yaml: {deviation}\n\
             {status} {headers:?}\n{body:.1000}"
        );
    }
}

/// Checks that `asyncapi.yaml` documents a frame that a client receives.
///
/// # Panics
/// If it deviates, with what does.
pub fn check_frame(frame: &str) {
    if let Err(deviation) = WEBSOCKET.check_frame(frame) {
        panic!("the frame deviates from asyncapi.yaml: {deviation}\n{frame:.1000}");
    }
}

struct Contract {
    document: Value,
    draft: Draft,
}

impl Contract {
    fn read(text: &str, draft: Draft) -> Self {
        let mut document = serde_saphyr::from_str(text).expect("a contract is YAML");
        close(&mut document);
        Self { document, draft }
    }

    fn check_response(
        &self,
        method: &Method,
        path: &str,
        status: u16,
        headers: &HeaderMap,
        body: &str,
    ) -> Result<(), String> {
        let code = status.to_string();
        let documented = match self.operation(method, path) {
            Some(operation) => operation["responses"].get(&code).cloned(),
            None => self.gateway_error(&code),
        };
        let documented = documented.ok_or_else(|| format!("the status {status} is not documented"))?;
        let missing = |name: &&String| !headers.contains_key(name.as_str());
        if let Some(name) = documented["headers"].as_object().and_then(|named| named.keys().find(missing)) {
            return Err(format!("the header {name} is missing"));
        }
        let Some(content) = documented["content"].as_object() else {
            // To a preflight the emulator responds with an empty object instead of nothing.
            return if ["", "{}"].contains(&body) { Ok(()) } else { Err("no body is documented".to_owned()) };
        };
        let content_type = headers.get(CONTENT_TYPE).map_or("", |value| value.to_str().unwrap_or_default());
        let content = content
            .get(content_type)
            .ok_or_else(|| format!("the content type {content_type:?} is not documented"))?;
        self.validate(&content["schema"], &members(body)?)
    }

    /// The operation under a method and path, if there is one.
    fn operation(&self, method: &Method, path: &str) -> Option<&Value> {
        let path: Vec<_> = path.split('?').next()?.split('/').collect();
        let is_template = |template: &str| {
            let template: Vec<_> = template.split('/').collect();
            let is_segment = |(template, segment): (&&str, &&str)| {
                template == segment || (template.starts_with('{') && !segment.is_empty())
            };
            template.len() == path.len() && template.iter().zip(&path).all(is_segment)
        };
        let (_, item) = self.document["paths"].as_object()?.iter().find(|(path, _)| is_template(path))?;
        item.get(method.as_str().to_lowercase())
    }

    /// The response of the gateway itself to a request that leads to no operation.
    fn gateway_error(&self, code: &str) -> Option<Value> {
        let mut errors = self.document["x-amazon-apigateway-gateway-responses"].as_object()?.values();
        errors.find(|error| error["statusCode"] == code)?;
        let schema = json!({ "$ref": "#/components/schemas/Problem" });
        Some(json!({ "content": { "application/problem+json": { "schema": schema } } }))
    }

    fn check_frame(&self, frame: &str) -> Result<(), String> {
        let frame = serde_json::from_str(frame).map_err(|error| format!("it is no JSON: {error}"))?;
        let mut deviations = Vec::new();
        for message in self.sent_messages() {
            let name = message.rsplit('/').next().unwrap_or_default();
            match self.validate(&self.resolve(message)["payload"], &frame) {
                Ok(()) => return Ok(()),
                Err(deviation) => deviations.push(format!("as {name}: {deviation}")),
            }
        }
        Err(deviations.join(", "))
    }

    /// References to the messages that clients receive.
    fn sent_messages(&self) -> impl Iterator<Item = &str> {
        let operations = self.document["operations"].as_object().expect("operations");
        let messages = operations.values().flat_map(|operation| match operation["action"].as_str() {
            Some("send") => operation["messages"].as_array(),
            _ => operation["reply"]["messages"].as_array(),
        });
        messages.flatten().filter_map(|message| message["$ref"].as_str())
    }

    fn resolve(&self, reference: &str) -> &Value {
        let pointer = reference.trim_start_matches('#');
        self.document.pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere"))
    }

    fn validate(&self, schema: &Value, instance: &Value) -> Result<(), String> {
        // References lead to the components, so the validator needs them beside the schema.
        let root = json!({ "allOf": [schema], "components": self.document["components"] });
        let validator = jsonschema::options().with_draft(self.draft).build(&root);
        let validator = validator.unwrap_or_else(|error| panic!("{schema} is no schema: {error}"));
        let deviations: Vec<_> = validator.iter_errors(instance).map(|error| text(&error)).collect();
        if deviations.is_empty() { Ok(()) } else { Err(deviations.join("; ")) }
    }
}

/// Makes a member that a schema does not name a deviation, also where clients have to expect new ones.
fn close(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(close),
        Value::Object(members) => {
            if members.contains_key("properties") {
                members.entry("additionalProperties").or_insert(json!(false));
            }
            members.values_mut().for_each(close);
        }
        _ => {}
    }
}

/// A body of JSON. A payload may hold what a [`Value`] cannot, such as a lone surrogate or 500 levels: then an empty
/// value of the same type stands for it.
fn members(body: &str) -> Result<Value, String> {
    let members: BTreeMap<String, &RawValue> =
        serde_json::from_str(body).map_err(|error| format!("the body is no JSON object: {error}"))?;
    let value = |raw: &RawValue| {
        let empty = if raw.get().starts_with('{') { json!({}) } else { json!("") };
        serde_json::from_str(raw.get()).unwrap_or(empty)
    };
    Ok(members.into_iter().map(|(name, raw)| (name, value(raw))).collect())
}

/// What deviates, and where. Of several alternative schemas, the error is that of the closest match.
fn text(error: &ValidationError<'_>) -> String {
    match error.kind() {
        ValidationErrorKind::OneOfNotValid { context } => {
            let closest = context.iter().min_by_key(|errors| errors.len()).into_iter().flatten();
            closest.map(text).collect::<Vec<_>>().join("; ")
        }
        // Without the value itself, which may be a whole payload.
        _ => format!("{} {}", error.instance_path(), error.masked()).trim_start().to_owned(),
    }
}

#[cfg(test)]
mod tests;
