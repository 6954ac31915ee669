//! The functions' log, made readable.

use std::{io::Read, path::Path};

use anyhow::Result;
use fs_err::File;
use serde_json::{Map, Value};

/// Follows the file that the emulator copies the functions' output to.
pub(crate) struct FunctionLog {
    file: File,
    /// The beginning of a line that is not complete yet.
    rest: Vec<u8>,
}

impl FunctionLog {
    /// Starts at the beginning of the file.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Ok(Self { file: File::open(path)?, rest: Vec::new() })
    }

    /// The lines since the last call, made readable.
    pub(crate) fn read(&mut self) -> Result<Vec<String>> {
        self.file.read_to_end(&mut self.rest)?;
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return Ok(Vec::new()) };
        let complete: Vec<u8> = self.rest.drain(..=end).collect();
        Ok(String::from_utf8_lossy(&complete).lines().map(readable).collect())
    }
}

/// `function<tab>line` as one readable line.
fn readable(line: &str) -> String {
    let (function, text) = line.split_once('\t').unwrap_or(("", line));
    let function = short_name(function);
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(fields)) => format!("{function:<15} {}", entry(fields)),
        _ => format!("{function:<15} {text}"),
    }
}

/// The package's name from the deployed function's: `intake-SyncInsertFunction-1A2B` is `sync-insert`.
fn short_name(function: &str) -> String {
    let logical = function.split('-').find_map(|part| part.strip_suffix("Function")).unwrap_or(function);
    let mut name = String::new();
    for letter in logical.chars() {
        // "WebSocket" is one word in the package's name.
        if letter.is_ascii_uppercase() && !name.is_empty() && !name.ends_with("web") {
            name.push('-');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

/// A log entry: time, level, message, then the other fields.
fn entry(mut fields: Map<String, Value>) -> String {
    let mut take = |name: &str| fields.remove(name).as_ref().map(plain).unwrap_or_default();
    let (timestamp, level, message) = (take("timestamp"), take("level"), take("message"));
    // How CloudWatch is to count the metrics in this line.
    take("_aws");
    // The fields of the invocation that an entry belongs to are useful, its name is not.
    if let Some(Value::Object(mut span)) = fields.remove("span") {
        span.remove("name");
        fields.extend(span);
    }
    // The date is today's: the time is enough, to the millisecond.
    let time = timestamp.split_once('T').map_or("", |(_, time)| time.get(..12).unwrap_or(time));
    let fields: String = fields.iter().map(|(name, value)| format!(" {name}={}", plain(value))).collect();
    format!("{time} {level:<5} {message}{fields}").trim().to_owned()
}

/// A text without its quotes, anything else as JSON.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_one_line_that_begins_with_the_function() {
        let line = concat!(
            "intake-SyncInsertFunction-1A2B\t",
            r#"{"timestamp":"2026-01-02T03:04:05.678901Z","level":"INFO","message":"stored","attempts":1,"#,
            r#""span":{"message_id":"m-1","name":"request"}}"#
        );
        assert_eq!(readable(line), "sync-insert     03:04:05.678 INFO  stored attempts=1 message_id=m-1");
    }

    #[test]
    fn a_line_that_is_no_entry_is_shown_as_it_is() {
        assert_eq!(readable("intake-AuthorizerFunction-X\tplain text"), "authorizer      plain text");
        assert_eq!(readable("odd"), "                odd");
    }

    #[test]
    fn functions_have_the_names_of_their_packages() {
        for (deployed, package) in [
            ("intake-AuthorizerFunction-1", "authorizer"),
            ("intake-QueueConsumerFunction-1", "queue-consumer"),
            ("intake-StatusLookupFunction-1", "status-lookup"),
            ("intake-WebSocketFunction-1", "websocket"),
            ("something", "something"),
        ] {
            assert_eq!(short_name(deployed), package);
        }
    }
}
