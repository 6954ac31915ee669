//! The proxy's controls over HTTP, for another process on this machine.
//!
//! - `GET /_faults` responds with the capacity, and with what was consumed since the last time that it was taken.
//! - `PUT /_faults/capacity` with `{"table": "…", "writeUnits": 50, "readUnits": 50, "burstSeconds": 0}` limits the
//!   database from now on; `DELETE` removes the limit.
//! - `PUT /_faults/fault` with `{"fault": "throttle"}` makes this happen to every request: `throttle`,
//!   `throttle-statements`, `server-error`, `refuse`, `cut-before`, `cut-after`, `hang`, or `delay` with
//!   `"milliseconds"`. `DELETE` ends it.
//!
//! A script of a web page cannot use them: a browser asks before it sends a `PUT` to another origin, and the proxy does
//! not allow it.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use hyper::{Method, Response, StatusCode, body::Bytes, http::request::Parts};
use serde::Deserialize;
use serde_json::json;

use crate::{Buckets, Capacity, Fault, State, json_response};

/// The paths that begin with this are the proxy's own: DynamoDB has only `/`.
pub const PATH: &str = "/_faults";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Switch {
    fault: String,
    #[serde(default)]
    milliseconds: u64,
}

impl Switch {
    fn fault(&self) -> Option<Fault> {
        Some(match self.fault.as_str() {
            "none" => Fault::None,
            "throttle" => Fault::Throttle,
            "throttle-statements" => Fault::ThrottleStatements,
            "server-error" => Fault::ServerError,
            "refuse" => Fault::Refuse,
            "cut-before" => Fault::CutBefore,
            "cut-after" => Fault::CutAfter,
            "hang" => Fault::Hang,
            "delay" => Fault::Delay(Duration::from_millis(self.milliseconds)),
            _ => return None,
        })
    }
}

pub(crate) fn respond(head: &Parts, body: &Bytes, state: &Mutex<State>) -> Response<Bytes> {
    let mut state = state.lock().expect("not poisoned");
    match (&head.method, head.uri.path().strip_prefix(PATH).unwrap_or_default()) {
        (&Method::GET, "") => {
            let capacity = state.buckets.as_ref().map(|buckets| &buckets.capacity);
            json_response(StatusCode::OK, &json!({ "capacity": capacity, "usage": state.usage }))
        }
        (&Method::PUT, "/capacity") => match serde_json::from_slice::<Capacity>(body) {
            Ok(capacity) if capacity.is_valid() => {
                state.buckets = Some(Buckets::of(capacity, Instant::now()));
                done()
            }
            Ok(_) => wrong("units are above 0, seconds at least 0"),
            Err(error) => wrong(&error.to_string()),
        },
        (&Method::DELETE, "/capacity") => {
            state.buckets = None;
            done()
        }
        (&Method::PUT, "/fault") => match serde_json::from_slice::<Switch>(body) {
            Ok(switch) => match switch.fault() {
                Some(fault) => switch_to(&mut state, fault),
                None => wrong("there is no such fault"),
            },
            Err(error) => wrong(&error.to_string()),
        },
        (&Method::DELETE, "/fault") => switch_to(&mut state, Fault::None),
        _ => json_response(StatusCode::NOT_FOUND, &json!({ "error": "there is no such control" })),
    }
}

fn switch_to(state: &mut State, fault: Fault) -> Response<Bytes> {
    state.next.clear();
    state.then = fault;
    state.share = 1.0;
    done()
}

fn done() -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

fn wrong(error: &str) -> Response<Bytes> {
    json_response(StatusCode::BAD_REQUEST, &json!({ "error": error }))
}
