//! `PUT /messages/{id}`: stores a message, and answers only when that took effect.

use intake::{
    message::{InvalidPayload, Payload, Via},
    metrics::{Metric, Metrics},
    problem::Problem,
    rest::{Responses, correlation_id, key, path, store_problem},
    state::{Content, Incoming, Status},
    store::messages::{Messages, Recorded},
    telemetry::CorrelationId,
};
use jiff::Timestamp;
use lambda_http::{
    Body, Error, Request, Response,
    http::{StatusCode, header::CONTENT_TYPE},
};
use serde_json::json;

/// The function, with what it needs for every request.
#[derive(Clone, Debug)]
pub struct SyncInsert {
    messages: Messages,
    answers: Responses,
}

impl SyncInsert {
    /// A function that stores into this table.
    pub fn new(messages: Messages, answers: Responses) -> Self {
        Self { messages, answers }
    }

    /// Responses one request.
    ///
    /// # Errors
    /// Only when an answer cannot be built: whatever is wrong with a request has an answer.
    pub async fn handle(&self, request: Request) -> Result<Response<Body>, Error> {
        let received_at = Timestamp::now();
        let correlation_id = correlation_id(&request);
        let correlation_id = correlation_id.as_ref().map(CorrelationId::as_str);
        let stored = self.store(&request, received_at, correlation_id).await;
        count(&stored, received_at).write();
        match stored {
            Ok((status, id)) => {
                let body = json!({ "id": id, "status": Status::Stored });
                self.answers.json_at(status, path(&request), &body)
            }
            Err(problem) => {
                let Problem { status, kind, .. } = problem;
                tracing::info!(correlation_id, status, problem = kind, "not stored");
                self.answers.problem(&problem)
            }
        }
    }

    async fn store(
        &self,
        request: &Request,
        received_at: Timestamp,
        correlation_id: Option<&str>,
    ) -> Result<(StatusCode, String), Problem> {
        let key = key(request)?;
        if !is_json(request) {
            return Err(Problem::unsupported_media_type("Send the message as application/json, in UTF-8."));
        }
        let payload = payload(request.body())?;
        let id = key.id.to_string();
        let arrival = Incoming {
            key,
            via: Via::Sync,
            attempts: 1,
            received_at,
            receipt: None,
            content: Content::Valid(payload),
        };
        let recorded = self.messages.record(&arrival).await.map_err(|error| store_problem(&error))?;
        let outcome = match recorded {
            Recorded::Written => "stored",
            Recorded::Redelivered | Recorded::Duplicate => "duplicate",
            Recorded::Conflict => "conflict",
        };
        tracing::info!(correlation_id, message_id = id, outcome, "settled");
        match recorded {
            Recorded::Written => Ok((StatusCode::CREATED, id)),
            Recorded::Redelivered | Recorded::Duplicate => Ok((StatusCode::OK, id)),
            Recorded::Conflict => Err(Problem::conflict(
                "Another message is stored under this id, and stays. Send this one under an id of its own.",
            )),
        }
    }
}

/// What a request adds to the metrics.
fn count(stored: &Result<(StatusCode, String), Problem>, received_at: Timestamp) -> Metrics {
    let mut metrics = Metrics::default();
    let outcome = match stored {
        Ok((StatusCode::CREATED, _)) => Metric::Stored,
        Ok(_) => Metric::Duplicate,
        Err(problem) if problem.status == StatusCode::CONFLICT => Metric::Conflict,
        Err(problem) if problem.status >= 500 => Metric::Failed,
        Err(_) => Metric::Rejected,
    };
    metrics.count(outcome, 1);
    if outcome != Metric::Rejected {
        metrics.count(Metric::Accepted, 1);
    }
    if outcome == Metric::Stored {
        metrics.stored_since(received_at);
    }
    metrics
}

/// Whether the body is declared as JSON, or not at all: API Gateway takes an undeclared one as JSON, too.
fn is_json(request: &Request) -> bool {
    let Some(declared) = request.headers().get(CONTENT_TYPE) else {
        return true;
    };
    let media_type = declared.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("application/json")
}

fn payload(body: &Body) -> Result<Payload, Problem> {
    let text = match body {
        Body::Text(text) => text.as_str(),
        Body::Binary(bytes) => {
            str::from_utf8(bytes).map_err(|_| Problem::invalid_body("the message is not UTF-8 text"))?
        }
        _ => "",
    };
    Payload::parse(text).map_err(|error| match error {
        InvalidPayload::TooLarge { .. } => Problem::payload_too_large(error.to_string()),
        _ => Problem::invalid_body(error.to_string()),
    })
}
