//! What the logs hold after all other tests.

use std::{collections::HashSet, fs, path::Path};

use e2e::stack::{Stack, text};

/// How many bytes of a payload are searched for: if a part of it is logged, then its beginning.
const SEARCHED_BYTES: usize = 64;

/// Shorter payloads occur in any text.
const MIN_BYTES: usize = 7;

#[tokio::test]
#[ignore = "searches what the others have logged: `cargo xtask test` runs it after them"]
async fn no_log_has_a_token_or_a_payload_in_it() {
    let stack = Stack::running();
    let log = stack.function_log();
    assert!(log.matches("\"settled\"").count() > 100, "the others have to run before it");
    let mut payloads = HashSet::new();
    for item in stack.items().await {
        // A test may have written an item without a payload.
        let Some(payload) = item.get("payload").map(|_| text(&item, "payload")) else { continue };
        let end = (0..=SEARCHED_BYTES.min(payload.len())).rev().find(|end| payload.is_char_boundary(*end));
        let beginning = &payload[..end.unwrap_or_default()];
        if beginning.len() >= MIN_BYTES {
            let quoted = serde_json::to_string(beginning).expect("a text");
            payloads.insert(quoted.trim_matches('"').to_owned());
            payloads.insert(beginning.to_owned());
        }
    }
    assert!(payloads.len() > 50, "{} payloads to search for", payloads.len());

    let folder = stack.emulator().log.parent().expect("a folder");
    let entries = fs::read_dir(folder).expect("the logs are there");
    let logs = entries.map(|entry| entry.expect("an entry").path());
    for path in logs.filter(|path| path.extension().is_some_and(|extension| extension == "log")) {
        let log = read(&path);
        if let Some(token) = token(&log) {
            panic!("{} has a token: {token}…", path.display());
        }
        for payload in &payloads {
            if let Some(line) = log.lines().find(|line| line.contains(payload)) {
                panic!("{} has the payload {payload}: {line}", path.display());
            }
        }
    }
}

/// The beginning of a JSON Web Token: a JSON object in base64, and another one.
fn token(log: &str) -> Option<&str> {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    log.match_indices("eyJ").find_map(|(start, _)| {
        let rest = &log[start..];
        let header = rest.bytes().take_while(|byte| is_part(*byte)).count();
        rest[header..].starts_with(".eyJ").then(|| &rest[..header])
    })
}

fn read(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn a_token_is_found() {
    assert_eq!(token("?token=eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJib2IifQ.c2ln"), Some("eyJhbGciOiJFUzI1NiJ9"));
    assert_eq!(token("eyJ eyJhbGciOiJFUzI1NiJ9 key.eyJ"), None);
}
