//! What a client says on its socket: always answered, and only a ping is taken for a ping.

#![no_main]

use std::{cell::LazyCell, str};

use aws_sdk_dynamodb::{
    Client, Config,
    config::{BehaviorVersion, Region},
};
use fuzz::at_once;
use intake::store::connections::Connections;
use libfuzzer_sys::{
    arbitrary::{Arbitrary, Unstructured},
    fuzz_target,
};
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};
use websocket::{Event, WebSocket};

thread_local! {
    /// It has no HTTP client: nothing leaves the process.
    static FUNCTION: LazyCell<WebSocket> = LazyCell::new(|| {
        let config = Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::from_static("nowhere-1"));
        WebSocket::new(Connections::new(Client::from_conf(config.build()), "connections"))
    });
}

/// The type of an event, to leave those alone that go to the database.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Typed {
    request_context: Context,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Context {
    event_type: String,
}

/// What the function makes of an event: the answer's body.
fn answer(event: Event) -> Value {
    let answer = FUNCTION.with(|function| at_once(function.handle(event))).expect("an answer");
    let answer = serde_json::to_value(&answer).expect("JSON");
    assert_eq!(answer["statusCode"], 200);
    serde_json::from_str(answer["body"].as_str().expect("a body")).expect("JSON")
}

/// Says something on a socket. Whether it was taken for a ping.
fn is_ping(frame: &Value) -> bool {
    let event = json!({
        "requestContext": { "eventType": "MESSAGE", "connectionId": "Uf3k2cBHliACE4Q=" },
        "body": frame,
    });
    let body = answer(serde_json::from_value(event).expect("an event"));
    if body == json!({ "type": "pong" }) {
        return true;
    }
    let reason = r#"the only frame taken is {"action":"ping"}"#;
    assert_eq!(body, json!({ "type": "error", "reason": reason }));
    false
}

fuzz_target!(|bytes: &[u8]| {
    // The same bytes in three readings. An event, as API Gateway would write it:
    if let Ok(event) = serde_json::from_slice::<Event>(bytes) {
        let typed = serde_json::from_slice::<Typed>(bytes);
        if typed.is_ok_and(|typed| !typed.request_context.event_type.ends_with("CONNECT")) {
            answer(event);
        }
    }

    // The frame itself:
    if let Ok(frame) = str::from_utf8(bytes) {
        let may_ping = match serde_json::from_str::<Value>(frame) {
            // With the same name twice, which of the two counts is anybody's guess.
            Ok(said) => said.get("action").is_some_and(|action| action == "ping"),
            // Beside a ping may stand what `Value` does not hold: deep nesting, half a surrogate pair.
            Err(_) => {
                frame.trim_ascii_start().starts_with('{') && serde_json::from_str::<&RawValue>(frame).is_ok()
            }
        };
        assert!(may_ping | !is_ping(&frame.into()), "only a ping is taken for one");
    }

    // What a frame may be made of:
    let mut choices = Unstructured::new(bytes);
    if let Ok((action, others)) = <(Option<&str>, Vec<(&str, &str)>)>::arbitrary(&mut choices) {
        let mut frame: Map<String, Value> =
            others.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        let action = action.unwrap_or("ping");
        frame.insert("action".to_owned(), action.into());
        assert_eq!(is_ping(&Value::Object(frame).to_string().into()), action == "ping");
    }
    is_ping(&Value::Null);
});
