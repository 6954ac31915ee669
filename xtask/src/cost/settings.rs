//! What is deployed, from `template.yaml` and `openapi.yaml`, so that a bill is that of the real settings.

use std::fs;

use crate::{failure::Failure, workspace};

/// The settings that a bill depends on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    /// The processor, as Lambda calls it.
    pub(super) architecture: String,
    /// Memory in MB.
    pub(super) sync_insert: f64,
    pub(super) queue_consumer: f64,
    pub(super) status_lookup: f64,
    pub(super) websocket: f64,
    pub(super) authorizer: f64,
    /// How many batches are consumed concurrently at most.
    pub(super) consumers: f64,
    /// How long Lambda waits for a batch of more than 10 to fill, in seconds.
    pub(super) window: f64,
    /// How long API Gateway remembers what the authorizer said of a token, in seconds.
    pub(super) authorizer_ttl: f64,
}

impl Settings {
    /// The settings of this checkout.
    pub(super) fn load() -> Result<Self, Failure> {
        let read = |name: &str| {
            let path = workspace::root().join(name);
            fs::read_to_string(&path).map_err(|error| Failure::file("read", &path, &error))
        };
        let (template, api) = (read("template.yaml")?, read("openapi.yaml")?);
        let lacks = |what: &str| Failure::new(format!("template.yaml or openapi.yaml has no {what}"));
        let parameter = |name: &str| {
            value(&template, &["Parameters", name, "Default"])
                .ok_or_else(|| lacks(&format!("{name}: Default")))
        };
        let number = |name: &str| parameter(name)?.parse().map_err(|_| lacks(&format!("number {name}")));
        let memory = |function: &str| {
            value(&template, &["Resources", function, "Properties", "MemorySize"])
                .or_else(|| value(&template, &["Globals", "Function", "MemorySize"]))
                .and_then(|memory| memory.parse().ok())
                .ok_or_else(|| lacks(&format!("MemorySize of {function}")))
        };
        Ok(Self {
            architecture: parameter("Architecture")?.to_owned(),
            sync_insert: memory("SyncInsertFunction")?,
            queue_consumer: memory("QueueConsumerFunction")?,
            status_lookup: memory("StatusLookupFunction")?,
            websocket: memory("WebSocketFunction")?,
            authorizer: memory("AuthorizerFunction")?,
            consumers: number("ConsumerMaximumConcurrency")?,
            window: number("BatchWindowSeconds")?,
            authorizer_ttl: api
                .lines()
                .find_map(|line| line.trim().strip_prefix("authorizerResultTtlInSeconds:"))
                .and_then(|ttl| ttl.trim().parse().ok())
                .ok_or_else(|| lacks("authorizerResultTtlInSeconds"))?,
        })
    }
}

/// The value under a path of keys. It knows as much YAML as the template has there: a key a line, two spaces
/// for each level.
fn value<'a>(text: &'a str, path: &[&str]) -> Option<&'a str> {
    let mut lines = text.lines();
    for (depth, key) in path.iter().enumerate() {
        let indent = 2 * depth;
        let found = lines.by_ref().find_map(|line| {
            let content = line.trim_start();
            let level = line.len() - content.len();
            let nothing = content.is_empty() || content.starts_with('#');
            match content.strip_prefix(key).and_then(|rest| rest.strip_prefix(':')) {
                Some(rest) if level == indent => Some(Some(rest.trim())),
                // The block that it would be in has ended.
                _ if level < indent && !nothing => Some(None),
                _ => None,
            }
        })?;
        let rest = found?;
        if depth + 1 == path.len() {
            return (!rest.is_empty()).then_some(rest);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_in_its_own_block_only() {
        let text =
            "A:\n  B:\n    # C: 0\n    C: 1\n\n    Deep:\n      D: 2\n  E:\n    D: 3\nF:\n  B:\n    X: 4\n";
        assert_eq!(value(text, &["A", "B", "C"]), Some("1"));
        assert_eq!(value(text, &["A", "E", "D"]), Some("3"));
        assert_eq!(value(text, &["F", "B", "X"]), Some("4"));
        assert_eq!(value(text, &["A", "B", "D"]), None, "it is deeper, and in the next block");
        assert_eq!(value(text, &["A", "E", "X"]), None, "it is in a later block");
        assert_eq!(value(text, &["A", "B"]), None, "it has no value of its own");
    }

    #[test]
    fn the_settings_are_those_of_the_template() {
        let settings = Settings::load().unwrap();
        assert_eq!(settings.architecture, "arm64");
        assert!(settings.queue_consumer >= settings.sync_insert && settings.sync_insert >= 128.0);
        assert!(settings.consumers >= 2.0 && settings.window >= 1.0 && settings.authorizer_ttl > 0.0);
    }
}
