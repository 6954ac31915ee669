//! The WebSocket API: notes who connects and forgets who leaves. What clients say is answered, but means
//! nothing except for a ping, which keeps an idle socket open.
//!
//! A socket may stay open for longer than the token was good that opened it, since nobody asks for one again. Then
//! nothing is pushed to it any more, and a ping is answered with that.

use intake::{
    message::Owner,
    metrics::{Metric, Metrics},
    store::connections::Connections,
    telemetry::with_causes,
};
use jiff::Timestamp;
use lambda_runtime::Error;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What is used of a WebSocket event ("Integration request for WebSocket APIs").
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    request_context: RequestContext,
    #[serde(default)]
    body: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestContext {
    event_type: String,
    connection_id: String,
    #[serde(default)]
    authorizer: Option<Authorizer>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Authorizer {
    principal_id: String,
    /// In seconds since 1970, as text.
    #[serde(default)]
    valid_until: Option<String>,
}

/// What API Gateway is answered. On `$connect` the status decides whether the socket opens; on `$default`
/// the body goes to the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Response {
    status_code: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
}

/// The function, with what it needs for every event.
#[derive(Clone, Debug)]
pub struct WebSocket {
    connections: Connections,
}

impl WebSocket {
    /// A function that keeps this table.
    pub fn new(connections: Connections) -> Self {
        Self { connections }
    }

    /// Responses one event.
    ///
    /// # Errors
    /// If the event does not say whose connection it is about.
    pub async fn handle(&self, event: Event) -> Result<Response, Error> {
        let connection_id = event.request_context.connection_id.as_str();
        // A client chooses the route of its frames, which may be called anything, but not the event's type.
        let event_type = event.request_context.event_type.as_str();
        let mut metrics = Metrics::default();
        let answer = match event_type {
            "CONNECT" => {
                let valid_until = valid_until(&event).ok_or("the authorizer does not say for how long")?;
                self.connect(&owner(&event)?, connection_id, valid_until).await
            }
            "DISCONNECT" => self.disconnect(&owner(&event)?, connection_id).await,
            _ => said(event.body.as_deref(), valid_until(&event)),
        };
        match (event_type, answer.status_code) {
            ("CONNECT", 200) => metrics.count(Metric::Connected, 1),
            ("DISCONNECT", _) => metrics.count(Metric::Disconnected, 1),
            _ => {}
        }
        metrics.write();
        tracing::info!(event_type, connection_id, status = answer.status_code, "answered");
        Ok(answer)
    }

    async fn connect(&self, owner: &Owner, connection_id: &str, valid_until: i64) -> Response {
        match self.connections.add(owner, connection_id, valid_until).await {
            Ok(()) => Response { status_code: 200, body: None },
            // An open socket that nobody knows of would stay silent for ever: better none.
            Err(error) => {
                tracing::error!(error = with_causes(&error), connection_id, "the connection was not noted");
                Response { status_code: 503, body: None }
            }
        }
    }

    async fn disconnect(&self, owner: &Owner, connection_id: &str) -> Response {
        // It is gone either way. What stays in the table expires, or goes when a push finds it gone.
        if let Err(error) = self.connections.remove(owner, connection_id).await {
            tracing::warn!(error = with_causes(&error), connection_id, "the connection was not forgotten");
        }
        Response { status_code: 200, body: None }
    }
}

fn owner(event: &Event) -> Result<Owner, Error> {
    let authorizer = event.request_context.authorizer.as_ref();
    let authorizer = authorizer.ok_or("there is no owner: is the authorizer attached to $connect?")?;
    Ok(Owner::parse(authorizer.principal_id.as_str())?)
}

/// Until when the token is good that opened the socket, in seconds since 1970.
fn valid_until(event: &Event) -> Option<i64> {
    event.request_context.authorizer.as_ref()?.valid_until.as_ref()?.parse().ok()
}

/// The answer to what a client said.
fn said(frame: Option<&str>, valid_until: Option<i64>) -> Response {
    let frame: Value = serde_json::from_str(frame.unwrap_or_default()).unwrap_or_default();
    let body = if valid_until.is_some_and(|end| end <= Timestamp::now().as_second()) {
        json!({ "type": "error", "reason": "the token has expired: connect again, with a new one" })
    } else if frame["action"] == "ping" {
        json!({ "type": "pong" })
    } else {
        json!({ "type": "error", "reason": r#"the only frame taken is {"action":"ping"}"# })
    };
    Response { status_code: 200, body: Some(body.to_string()) }
}
