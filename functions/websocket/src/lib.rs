//! The WebSocket API: keeps the table of connections. Clients send nothing but pings, which keep an idle socket open.
//!
//! The story of a socket:
//!
//! 1. `$connect`: the authorizer has found out the owner. The connection is added to the table, from which a push learns
//!    where an owner listens, and an owner's oldest connections beyond the limit are closed.
//! 2. `$default`: a ping gets its pong. API Gateway closes a socket on which nothing passes for ten minutes.
//! 3. `$disconnect`: the connection is removed. API Gateway does not promise to call it, so that connections expire, too,
//!    and a push that finds one gone removes it.
//!
//! A client that passes its token as a subprotocol also offers the subprotocol [`SUBPROTOCOL`], which is selected: a
//! browser closes a socket for which none of those it offered was.
//!
//! A socket may stay open after the token that opened it has expired, since API Gateway asks for none again. Then
//! nothing is pushed to it any more, and the response to a ping says so.

use std::{collections::HashMap, time::Duration};

use aws_sdk_apigatewaymanagement::{Client, operation::delete_connection::DeleteConnectionError};
use futures_util::{StreamExt, stream};
use intake_domain::message::Owner;
use intake_platform::{
    aws::Aws,
    metrics::{Metric, Metrics},
    tables::{Connections, connections::Connection},
    telemetry::with_causes,
};
use jiff::Timestamp;
use lambda_runtime::Error;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The subprotocol that a client offers beside `bearer.<token>`.
pub const SUBPROTOCOL: &str = "intake";

/// The header with the subprotocols that a client offers, and with the one that is selected (RFC 6455, section 11.3.4).
const SUBPROTOCOL_HEADER: &str = "Sec-WebSocket-Protocol";

/// The used part of a WebSocket event ("Integration request for WebSocket APIs").
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SocketEvent {
    request_context: RequestContext,
    /// On `$connect` only: every value of every header.
    #[serde(default)]
    multi_value_headers: HashMap<String, Vec<String>>,
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

/// The response to API Gateway. On `$connect` the status decides whether the socket opens, and a header selects the
/// subprotocol ("Set up a $connect route that requires a WebSocket subprotocol"); on `$default` the body goes to the
/// client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Response {
    status_code: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<HashMap<&'static str, &'static str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
}

/// How many connections are closed at once at most.
const MAX_CONCURRENT_CLOSES: usize = 10;

/// How long an attempt at closing a connection may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The function, with what it needs for every event.
#[derive(Clone, Debug)]
pub struct WebSocket {
    connections: Connections,
    max_connections: usize,
    aws: Aws,
    endpoint: String,
}

impl WebSocket {
    /// A function that keeps this table, with at most `max_connections` of each owner, and closes others through the
    /// WebSocket API whose `@connections` are at `endpoint`.
    pub fn new(
        connections: Connections,
        max_connections: usize,
        aws: Aws,
        endpoint: impl Into<String>,
    ) -> Self {
        Self { connections, max_connections, aws, endpoint: endpoint.into() }
    }

    /// Handles one event.
    ///
    /// # Errors
    /// If the authorizer has said neither who connects nor until when, which is a fault of the stack.
    pub async fn handle(&self, event: SocketEvent) -> Result<Response, Error> {
        let connection_id = event.request_context.connection_id.as_str();
        // A client chooses the route of its frames, which may have any name, but not the event's type.
        let event_type = event.request_context.event_type.as_str();
        let mut metrics = Metrics::default();
        let response = match event_type {
            "CONNECT" => {
                let valid_until =
                    valid_until(&event).ok_or("the authorizer does not say until when the token is valid")?;
                let response = self.connect(&owner(&event)?, connection_id, valid_until).await;
                Response { headers: selected_subprotocol(&event), ..response }
            }
            "DISCONNECT" => self.disconnect(&owner(&event)?, connection_id).await,
            _ => respond_to(event.body.as_deref(), valid_until(&event)),
        };
        match (event_type, response.status_code) {
            ("CONNECT", 200) => metrics.count(Metric::Connected, 1),
            ("CONNECT", _) => metrics.count(Metric::ConnectFailed, 1),
            ("DISCONNECT", _) => metrics.count(Metric::Disconnected, 1),
            _ => {}
        }
        metrics.write();
        tracing::info!(event_type, connection_id, status = response.status_code, "handled");
        Ok(response)
    }

    async fn connect(&self, owner: &Owner, connection_id: &str, valid_until: i64) -> Response {
        // An open socket that is not in the table would stay silent: better none.
        if let Err(error) = self.connections.add(owner, connection_id, valid_until).await {
            tracing::error!(error = with_causes(&error), connection_id, "the connection was not added");
            return Response { status_code: 503, ..Response::default() };
        }
        self.make_room(owner, connection_id).await;
        Response { status_code: 200, ..Response::default() }
    }

    /// Closes an owner's oldest connections beyond the limit. The oldest, because a client that lost its network has
    /// left sockets behind that API Gateway may take two hours to notice, and must be able to connect again. If a
    /// step fails, the owner's next connection repeats it.
    async fn make_room(&self, owner: &Owner, newest: &str) {
        // Up to twice the limit, because several clients may have connected at the same time.
        let mut connections = match self.connections.open(owner, 2 * self.max_connections).await {
            Ok(connections) => connections,
            Err(error) => {
                tracing::warn!(error = with_causes(&error), "the connections were not counted");
                return;
            }
        };
        let excess = connections.len().saturating_sub(self.max_connections);
        if excess == 0 {
            return;
        }
        connections.retain(|connection| connection.id != newest);
        connections.sort_by_key(|connection| connection.opened_at);
        // Built when it is needed, which is seldom: every start would pay for it.
        let client = self.aws.sockets(&self.endpoint, CLOSE_TIMEOUT);
        let oldest = stream::iter(connections.iter().take(excess));
        oldest
            .for_each_concurrent(MAX_CONCURRENT_CLOSES, |connection| self.close(&client, owner, connection))
            .await;
    }

    async fn close(&self, client: &Client, owner: &Owner, connection: &Connection) {
        let connection_id = connection.id.as_str();
        let closed = client.delete_connection().connection_id(connection_id).send().await;
        if let Err(error) = closed {
            let is_gone = error.as_service_error().is_some_and(DeleteConnectionError::is_gone_exception);
            if !is_gone || connection.may_be_opening() {
                tracing::warn!(error = with_causes(&error), connection_id, "the connection was not closed");
                return;
            }
        }
        tracing::info!(connection_id, "closed in favour of a newer connection");
        if let Err(error) = self.connections.remove(owner, connection_id).await {
            tracing::warn!(error = with_causes(&error), connection_id, "the connection was not removed");
        }
    }

    async fn disconnect(&self, owner: &Owner, connection_id: &str) -> Response {
        // It is closed either way. What stays in the table expires, or is removed when a push finds it gone.
        if let Err(error) = self.connections.remove(owner, connection_id).await {
            tracing::warn!(error = with_causes(&error), connection_id, "the connection was not removed");
        }
        Response { status_code: 200, ..Response::default() }
    }
}

/// The header that selects our subprotocol, if the client offers it.
fn selected_subprotocol(event: &SocketEvent) -> Option<HashMap<&'static str, &'static str>> {
    let headers = event.multi_value_headers.iter();
    let lists = headers
        .filter(|(name, _)| name.eq_ignore_ascii_case(SUBPROTOCOL_HEADER))
        .flat_map(|(_, lists)| lists);
    let mut offered = lists.flat_map(|list| list.split(','));
    offered
        .any(|one| one.trim_matches([' ', '\t']) == SUBPROTOCOL)
        .then(|| HashMap::from([(SUBPROTOCOL_HEADER, SUBPROTOCOL)]))
}

fn owner(event: &SocketEvent) -> Result<Owner, Error> {
    let authorizer = event.request_context.authorizer.as_ref();
    let authorizer = authorizer.ok_or("there is no owner: is the authorizer attached to $connect?")?;
    Ok(Owner::parse(authorizer.principal_id.as_str())?)
}

/// Until when the token is valid that opened the socket, in seconds since 1970.
fn valid_until(event: &SocketEvent) -> Option<i64> {
    event.request_context.authorizer.as_ref()?.valid_until.as_ref()?.parse().ok()
}

/// The response to a client's frame.
fn respond_to(frame: Option<&str>, valid_until: Option<i64>) -> Response {
    let frame: Value = serde_json::from_str(frame.unwrap_or_default()).unwrap_or_default();
    let body = if valid_until.is_some_and(|end| end <= Timestamp::now().as_second()) {
        json!({ "type": "error", "reason": "the token has expired: connect again, with a new one" })
    } else if frame["action"] == "ping" {
        json!({ "type": "pong" })
    } else {
        json!({ "type": "error", "reason": r#"the only frame accepted is {"action":"ping"}"# })
    };
    Response { status_code: 200, headers: None, body: Some(body.to_string()) }
}
