//! Checks the team's schema of messages when the functions are built, and finds out whether it has to be linked.
#![allow(
    clippy::panic,
    clippy::print_stdout,
    reason = "a build script talks to Cargo, and fails with a panic"
)]

use std::{fs, path::PathBuf};

use jsonschema::Draft;
use serde_json::{Map, Value};

/// Keywords that say nothing about what is valid.
const ANNOTATIONS: [&str; 6] = ["$schema", "$id", "$comment", "title", "description", "examples"];

fn main() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../message.schema.json");
    println!("cargo::rerun-if-changed={}", path.display());
    println!("cargo::rustc-check-cfg=cfg(message_schema)");

    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("message.schema.json: {error}"));
    let schema: Map<String, Value> = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("message.schema.json is no JSON object: {error}"));
    let mut rules = schema.clone();
    rules.retain(|keyword, _| !ANNOTATIONS.contains(&keyword.as_str()));
    // Every payload is an object: a schema that says nothing else costs nothing.
    rules.retain(|keyword, value| !(keyword == "type" && value == "object"));
    if rules.is_empty() {
        return;
    }
    let built = jsonschema::options()
        .with_draft(Draft::Draft202012)
        .should_validate_formats(true)
        .should_ignore_unknown_formats(false)
        .build(&Value::Object(schema));
    if let Err(error) = built {
        panic!(
            "message.schema.json is no JSON Schema (2020-12): at {:?}: {error}",
            error.instance_path().as_str()
        );
    }
    println!("cargo::rustc-cfg=message_schema");
}
