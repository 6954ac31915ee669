//! `cargo xtask schema`: brings the part of `message.schema.json` that API Gateway understands into `openapi.yaml`.
//!
//! Only the functions check all of it. What the gateway checks is an early response to most invalid messages, before
//! they are in the queue; so a keyword may be missing there, but none may say more than in the schema.

use anyhow::{Context, Result};
use fs_err as fs;
use serde_json::{Map, Value, json};

use crate::{step, workspace};

/// The lines of `openapi.yaml` between which the schema stands.
const BEFORE: &str = "    Message:\n";
const AFTER: &str = "\n    Stored:\n";

/// Writes the schema of messages into openapi.yaml.
///
/// message.schema.json says what a message has to be. The functions are built with it and check all of it; openapi.yaml
/// has the part that API Gateway understands. Run this after a change of message.schema.json.
#[derive(clap::Args, Debug)]
pub(crate) struct SchemaArguments {}

pub(crate) fn schema() -> Result<()> {
    let path = workspace::root().join("openapi.yaml");
    let (before, after) = (fs::read_to_string(&path)?, updated()?);
    if before == after {
        step::say("openapi.yaml has the schema of messages already.");
    } else {
        fs::write(path, after)?;
        step::say("openapi.yaml: components.schemas.Message follows message.schema.json.");
    }
    Ok(())
}

/// `openapi.yaml` as it has to be.
fn updated() -> Result<String> {
    let root = workspace::root();
    let schema = fs::read_to_string(root.join("message.schema.json"))?;
    let schema: Map<String, Value> =
        serde_json::from_str(&schema).context("message.schema.json is no JSON object")?;
    let contract = fs::read_to_string(root.join("openapi.yaml"))?;
    let (before, rest) = contract.split_once(BEFORE).context("openapi.yaml has no schema Message")?;
    let (_, after) = rest.split_once(AFTER).context("openapi.yaml has no schema Stored after Message")?;

    let mut for_the_gateway = json!({ "type": "object" });
    // The same as nothing, but for generators of clients: some take an object without members for one that has none.
    if schema.get("additionalProperties") != Some(&Value::Bool(false)) {
        for_the_gateway["additionalProperties"] = json!({});
    }
    for name in ["title", "description"] {
        for_the_gateway[name] = schema.get(name).cloned().unwrap_or_default();
    }
    for_the_gateway.as_object_mut().context("an object")?.retain(|_, value| !value.is_null());
    merge(&mut for_the_gateway, gateway_part(&Value::Object(schema)));
    // JSON is YAML.
    let text = serde_json::to_string_pretty(&for_the_gateway)?.replace('\n', "\n      ");
    Ok(format!("{before}{BEFORE}      {text}\n{AFTER}{after}"))
}

fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}

/// What API Gateway, which knows JSON Schema draft 4, may check of a schema of 2020-12. CloudFormation may hand numbers
/// on as texts, so that no keyword with a number is taken over.
fn gateway_part(schema: &Value) -> Value {
    let mut part = Map::new();
    // Beside a reference, draft 4 ignores everything; and what it refers to may have keywords with numbers.
    let Some(schema) = schema.as_object().filter(|schema| !schema.contains_key("$ref")) else {
        return json!({});
    };
    for (keyword, value) in schema {
        let kept = match (keyword.as_str(), value) {
            ("type", Value::String(name)) => json!(type_of_draft_4(name)),
            ("type", Value::Array(names)) => {
                names.iter().filter_map(Value::as_str).map(type_of_draft_4).collect::<Vec<_>>().into()
            }
            // Draft 4 wants at least one element.
            ("required", Value::Array(names)) if !names.is_empty() => value.clone(),
            ("enum", Value::Array(values)) if !values.is_empty() && !has_number(value) => value.clone(),
            ("pattern", Value::String(_)) => value.clone(),
            ("properties", Value::Object(members)) => {
                members.iter().map(|(name, member)| (name.clone(), gateway_part(member))).collect()
            }
            ("items", Value::Object(_)) => gateway_part(value),
            _ => continue,
        };
        part.insert(keyword.clone(), kept);
    }
    Value::Object(part)
}

/// In draft 4, 1.0 is no integer.
fn type_of_draft_4(name: &str) -> &str {
    if name == "integer" { "number" } else { name }
}

fn has_number(value: &Value) -> bool {
    match value {
        Value::Number(_) => true,
        Value::Array(values) => values.iter().any(has_number),
        Value::Object(members) => members.values().any(has_number),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_has_the_schema_of_messages() {
        let contract = fs::read_to_string(workspace::root().join("openapi.yaml")).expect("it is there");
        assert!(contract == updated().expect("it can be made"), "run `cargo xtask schema`");
    }

    #[test]
    fn the_gateway_checks_what_it_understands_and_nothing_with_a_number() {
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "required": ["order"],
            "minProperties": 1,
            "additionalProperties": false,
            "properties": {
                "order": { "type": "integer", "minimum": 1 },
                "code": { "type": ["string", "null"], "pattern": "^[A-Z]{3}$", "minLength": 3, "format": "email" },
                "kind": { "enum": ["a", "b"] },
                "size": { "enum": [1, 2] },
                "items": { "type": "array", "minItems": 1, "items": { "$ref": "#/$defs/item", "type": "object" } },
                "any": true,
            },
            "if": { "required": ["gift"] },
            "then": { "required": ["email"] },
            "$defs": { "item": { "type": "object" } },
        });
        let expected = json!({
            "type": "object",
            "required": ["order"],
            "properties": {
                "order": { "type": "number" },
                "code": { "type": ["string", "null"], "pattern": "^[A-Z]{3}$" },
                "kind": { "enum": ["a", "b"] },
                "size": {},
                "items": { "type": "array", "items": {} },
                "any": {},
            },
        });
        let part = gateway_part(&schema);
        assert_eq!(part, expected);
        assert!(!has_number(&part));
        assert_eq!(gateway_part(&json!({ "required": [], "enum": [] })), json!({}));
    }
}
