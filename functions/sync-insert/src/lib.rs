//! `PUT /messages/{id}` stores a message, and `POST /messages` up to a hundred; each responds with success only after
//! that took effect.
//!
//! The story of a request:
//!
//! 1. API Gateway has asked the authorizer who the caller is. The owner comes from there, the id from the path.
//! 2. Content type and body are checked. The body is kept as the text that was sent.
//! 3. One conditional write stores it, unless something is stored under its id already.
//! 4. The response says which it was: `201` stored now, `200` the same payload was stored before, `409` another one is.
//!
//! Of many messages (`bulk.rs`), each is checked by itself and the valid ones are stored 25 in a request, as
//! the consumer of the queue does. The response has the outcome of each: `200` if all are stored, `207` if not.
//!
//! The caller may repeat a request whenever it has no response: the id makes that safe. That is why no failure has to be
//! undone here, and why a `503` says "send it again" although the write may have taken effect.

mod bulk;

use intake_domain::{
    message::{InvalidPayload, Payload, Via},
    state::{CONFLICT, Content, Effect, Incoming, Status},
};
use intake_platform::{
    metrics::{Metric, Metrics},
    problem::Problem,
    rest::{Caller, Responses, table_problem},
    tables::Messages,
};
use jiff::Timestamp;
use lambda_http::{
    Body, Error, Request, Response,
    http::{
        HeaderMap, HeaderValue, Method, StatusCode,
        header::{CONTENT_ENCODING, CONTENT_TYPE},
    },
};
use serde::Serialize;

/// The function, with what it needs for every request.
#[derive(Clone, Debug)]
pub struct SyncInsert {
    messages: Messages,
    responses: Responses,
}

/// The body of a response to a message that is stored.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Stored<'a> {
    id: &'a str,
    status: &'static str,
    /// Where to look the message up, relative to the address of the API.
    status_path: String,
}

impl SyncInsert {
    /// A function that stores into this table.
    pub fn new(messages: Messages, responses: Responses) -> Self {
        Self { messages, responses }
    }

    /// Handles one request.
    ///
    /// # Errors
    /// Only when a response cannot be built: a request that fails gets a problem.
    pub async fn handle(&self, request: Request) -> Result<Response<Body>, Error> {
        let received_at = Timestamp::now();
        let caller = Caller::of(&request);
        // The one path of this function without an id.
        if request.method() == Method::POST {
            return self.handle_bulk(&caller, &request, received_at).await;
        }
        let stored = self.store(&caller, &request, received_at).await;
        count(&stored, received_at).write();
        match stored {
            Ok(Effect::Written(_)) => self.stored(&caller, StatusCode::CREATED),
            // The same request again, or another one with the same payload: its caller sees no difference.
            Ok(Effect::Redelivered(_) | Effect::Duplicate(_)) => self.stored(&caller, StatusCode::OK),
            Ok(Effect::Conflict) => self.responses.problem(&caller, &Problem::conflict(CONFLICT)),
            Err(problem) => self.responses.problem(&caller, &problem),
        }
    }

    /// Checks and stores the message of a request.
    async fn store(
        &self,
        caller: &Caller,
        request: &Request,
        received_at: Timestamp,
    ) -> Result<Effect, Problem> {
        // The id first: it is the cheaper check.
        let key = caller.key()?;
        if !is_json(request.headers()) {
            return Err(Problem::unsupported_media_type());
        }
        let incoming = Incoming {
            owner: key.owner.clone(),
            id: Ok(key.id.clone()),
            via: Via::Sync,
            attempts: Some(1),
            received_at,
            content: Content::Valid(payload(request.body())?),
        };
        let unconfirmed =
            "The message was not confirmed as stored. Send the same request again: that is safe.";
        let effect =
            self.messages.write(&incoming).await.map_err(|error| table_problem(&error, unconfirmed))?;
        let outcome = match effect {
            Effect::Written(_) => "stored",
            Effect::Redelivered(_) | Effect::Duplicate(_) => "duplicate",
            Effect::Conflict => "conflict",
        };
        let (correlation_id, message_id) = (caller.correlation_id.as_deref(), caller.id_text());
        tracing::info!(correlation_id, message_id, outcome, "settled");
        Ok(effect)
    }

    fn stored(&self, caller: &Caller, status: StatusCode) -> Result<Response<Body>, Error> {
        let id = caller.id_text();
        let body = Stored { id, status: Status::Stored.as_str(), status_path: format!("/messages/{id}") };
        self.responses.json(status, &body)
    }
}

/// What a request adds to the metrics.
fn count(stored: &Result<Effect, Problem>, received_at: Timestamp) -> Metrics {
    let mut metrics = Metrics::default();
    match stored {
        Ok(effect) => count_effect(&mut metrics, *effect, received_at),
        Err(problem) if problem.status >= 500 => count_failed(&mut metrics),
        Err(_) => metrics.count(Metric::Rejected, 1),
    }
    metrics
}

/// What a message adds to them whose storing had this effect.
fn count_effect(metrics: &mut Metrics, effect: Effect, received_at: Timestamp) {
    let outcome = match effect {
        Effect::Written(stored_at) => {
            metrics.time_to_stored(received_at, stored_at);
            Metric::Stored
        }
        Effect::Redelivered(_) | Effect::Duplicate(_) => Metric::Duplicate,
        Effect::Conflict => Metric::Conflict,
    };
    metrics.count(outcome, 1);
    metrics.count(Metric::Accepted, 1);
}

/// What a message adds to them that is not known to be stored.
fn count_failed(metrics: &mut Metrics) {
    metrics.count(Metric::Failed, 1);
    metrics.count(Metric::Accepted, 1);
}

/// Whether the body is declared as JSON in UTF-8, or not at all, which is the same. Clients write that in many ways:
/// `application/json; charset=utf-8` is the default of .NET and of Android's libraries.
fn is_json(headers: &HeaderMap) -> bool {
    let is_json = |declared: &HeaderValue| declared.to_str().is_ok_and(is_json_in_utf8);
    headers.get(CONTENT_TYPE).is_none_or(is_json) && !headers.contains_key(CONTENT_ENCODING)
}

/// Whether a media type (RFC 9110, section 8.3.1) is that of JSON, with any parameters but another charset.
fn is_json_in_utf8(media_type: &str) -> bool {
    let mut parts = media_type.split(';').map(str::trim);
    let is_json = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("application/json"));
    is_json
        && parts.filter_map(|parameter| parameter.split_once('=')).all(|(name, value)| {
            let charset = value.trim().trim_matches('"');
            !name.trim().eq_ignore_ascii_case("charset") || charset.eq_ignore_ascii_case("utf-8")
        })
}

/// The body as text.
fn text(body: &Body) -> Result<&str, Problem> {
    match body {
        Body::Text(text) => Ok(text),
        Body::Binary(bytes) => {
            str::from_utf8(bytes).map_err(|_| Problem::invalid_body("the message is not UTF-8 text"))
        }
        _ => Ok(""),
    }
}

/// The payload, kept as text: as a JSON value it would lose the order of its keys and the digits of large numbers.
fn payload(body: &Body) -> Result<Payload, Problem> {
    Payload::parse(text(body)?).map_err(|error| match error {
        InvalidPayload::TooLarge { .. } => Problem::payload_too_large(error.to_string()),
        _ => Problem::invalid_body(error.to_string()),
    })
}
