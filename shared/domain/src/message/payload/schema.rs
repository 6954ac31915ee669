//! The team's schema of messages: `message.schema.json` at the top of the repository, compiled in.
//!
//! It is checked here, and so however a message arrives. What API Gateway checks before the queue is an early response,
//! on which nothing relies: it knows less of JSON Schema, and for some content types checks nothing.

use jsonschema::Validator;
use serde_json::Value;

use super::InvalidPayload;
use crate::message::truncated;

/// How many faults a client is shown at once.
const MAX_FAULTS: usize = 3;

/// How long all of that may be, in bytes: a name in a message may be as long as the message.
const MAX_BYTES: usize = 1024;

/// The schema. The build has checked that it is one.
#[cfg(message_schema)]
pub(super) static OF_MESSAGES: std::sync::LazyLock<Option<Validator>> =
    std::sync::LazyLock::new(|| validator(include_str!("../../../../../message.schema.json")));

/// A validator with the formats of JSON Schema 2020-12.
pub(super) fn validator(schema: &str) -> Option<Validator> {
    let schema: Value = serde_json::from_str(schema).ok()?;
    let options =
        jsonschema::options().with_draft(jsonschema::Draft::Draft202012).should_validate_formats(true);
    options.build(&schema).ok()
}

/// Checks a payload.
///
/// # Errors
/// [`InvalidPayload::Schema`] with the first few faults; also if the payload cannot be read for the check, or there is no
/// validator: what cannot be checked is not valid.
pub(super) fn check(payload: &str, validator: &Option<Validator>) -> Result<(), InvalidPayload> {
    let fault = |faults: String| Err(InvalidPayload::Schema { faults });
    let Some(validator) = validator else { return fault("it cannot be read".to_owned()) };
    // More than 127 levels, or half a surrogate pair in an escape.
    let value: Value = match serde_json::from_str(payload) {
        Ok(value) => value,
        Err(error) => return fault(format!("the message cannot be checked: {error}")),
    };
    let mut faults = String::new();
    for error in validator.iter_errors(&value).take(MAX_FAULTS) {
        let (path, separator) =
            (error.instance_path().as_str().to_owned(), if faults.is_empty() { "" } else { "; " });
        let path = if path.is_empty() { "the message".to_owned() } else { path };
        // Without the value, which may be long, and has no place in a reason.
        faults.push_str(&format!("{separator}{path}: {}", error.masked()));
    }
    if faults.is_empty() {
        return Ok(());
    }
    fault(truncated(&faults, MAX_BYTES).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: &str = r##"{
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "required": ["order", "items"],
        "properties": {
            "order": { "type": "integer", "minimum": 1 },
            "email": { "type": "string", "format": "email" },
            "code": { "type": "string", "pattern": "^[A-Z]{3}$" },
            "items": { "type": "array", "minItems": 1, "items": { "$ref": "#/$defs/item" } }
        },
        "if": { "required": ["gift"] },
        "then": { "required": ["email"] },
        "$defs": { "item": { "type": "object", "required": ["article"],
                             "properties": { "article": { "type": "string", "minLength": 2 } } } }
    }"##;

    fn fault(payload: &str) -> Option<String> {
        match check(payload, &validator(ORDER)) {
            Ok(()) => None,
            Err(error) => Some(error.to_string()),
        }
    }

    #[test]
    fn what_fits_is_accepted() {
        assert_eq!(fault(r#"{"order":1,"items":[{"article":"tea"}]}"#), None);
        assert_eq!(
            fault(r#"{"order":1,"items":[{"article":"tea"}],"gift":1,"email":"a@example.com"}"#),
            None
        );
    }

    #[test]
    fn a_fault_names_the_member_and_not_its_value() {
        for (payload, place, secret) in [
            (r#"{"order":0,"items":[{"article":"tea"}]}"#, "/order: ", "value is not"),
            (r#"{"order":1,"items":[{"article":"tea"},{"article":"x"}]}"#, "/items/1/article: ", "\"x\""),
            (r#"{"order":1,"items":[]}"#, "/items: ", "[]"),
            (r#"{"order":1,"items":[{"article":"tea"}],"code":"secret"}"#, "/code: ", "secret"),
            (r#"{"order":1,"items":[{"article":"tea"}],"email":"secret"}"#, "/email: ", "secret"),
            (r#"{"order":1,"items":[{"article":"tea"}],"gift":true}"#, "the message: ", "gift"),
            (r#"{"order":1}"#, "the message: ", "order\":1"),
        ] {
            let fault = fault(payload).expect(payload);
            assert!(fault.starts_with("the message does not fit the schema: "), "{fault}");
            assert!(fault.contains(place), "{payload}: {fault}");
            assert!(!fault.contains(secret), "{payload}: {fault}");
        }
    }

    #[test]
    fn of_many_faults_the_first_few_are_named() {
        let items = vec![r#"{"article":1}"#; 100].join(",");
        let fault = fault(&format!(r#"{{"order":1,"items":[{items}]}}"#)).expect("a hundred");
        assert_eq!(fault.matches("/article").count(), MAX_FAULTS, "{fault}");
    }

    #[test]
    fn what_cannot_be_checked_is_not_valid() {
        let deep = format!(r#"{{"order":1,"items":{}{}}}"#, "[".repeat(200), "]".repeat(200));
        assert!(fault(&deep).is_some_and(|fault| fault.contains("cannot be checked")));
        assert!(fault(r#"{"order":1,"items":[{"article":"\ud800x"}]}"#).is_some());
        assert!(check(r#"{"a":1}"#, &None).is_err());
    }
}
