//! `POST /messages`: many messages in one request.

use std::time::UNIX_EPOCH;

use intake_domain::{
    bulk::{self, InvalidBulk},
    message::{Owner, Payload, Via},
    state::{CONFLICT, Content, Effect, Incoming, NotStored, Status},
};
use intake_platform::{
    metrics::{Metric, Metrics},
    problem::Problem,
    rest::Caller,
    schedule::Schedule,
    storing::{Persistence, store},
};
use jiff::Timestamp;
use lambda_http::{Body, Error, Request, RequestExt, Response, http::StatusCode};
use serde::Serialize;

use crate::{SyncInsert, count_effect, count_failed, is_json, text};

/// The body of a response: the outcomes, in the order of the request.
#[derive(Debug, Serialize)]
struct Outcomes<'a> {
    outcomes: Vec<Outcome<'a>>,
}

/// What became of one message.
#[derive(Debug, Serialize)]
struct Outcome<'a> {
    id: &'a str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

/// The status of a message that is not known to be stored. It is no status of a message, only of this attempt.
const UNAVAILABLE: &str = "unavailable";

/// Why, for the client to read.
const UNCONFIRMED: &str = "It was not confirmed as stored. Send it again: that is safe.";

impl SyncInsert {
    /// Handles a request with many messages.
    pub(crate) async fn handle_bulk(
        &self,
        caller: &Caller,
        request: &Request,
        received_at: Timestamp,
    ) -> Result<Response<Body>, Error> {
        let messages = match messages_of(caller, request, received_at) {
            Ok(messages) => messages,
            Err(problem) => {
                Metrics::default().write();
                return self.responses.problem(caller, &problem);
            }
        };

        // Invalid ones are not written: their caller is there to be told.
        let valid: Vec<_> = messages.iter().filter(|one| is_valid(one)).collect();
        // A request without a context, and so without a deadline, is one of a test: Lambda always sends it.
        let deadline = request.lambda_context_ref().map_or(UNIX_EPOCH, |context| context.deadline());
        let schedule = Schedule::until(deadline);
        let mut stored =
            store(&self.messages, &valid, Persistence::UntilTimeIsUp, schedule.storing).await.into_iter();
        let results: Vec<_> =
            messages.iter().map(|one| if is_valid(one) { stored.next() } else { None }).collect();

        count(&results, received_at).write();
        log(caller, &messages, &results);
        // Where nothing is confirmed, there is nothing to read in a list: the whole request has to be repeated.
        if results.iter().all(|result| matches!(result, Some(Err(_)))) {
            let is_transient = results.contains(&Some(Err(NotStored::Transient)));
            let detail = "No message was confirmed as stored. Send the same request again: that is safe.";
            let problem = if is_transient { Problem::unavailable(detail) } else { Problem::internal() };
            return self.responses.problem(caller, &problem);
        }
        let outcomes: Vec<_> =
            messages.iter().zip(&results).map(|(message, result)| outcome(message, *result)).collect();
        let all_stored = outcomes.iter().all(|outcome| outcome.status == Status::Stored.as_str());
        let status = if all_stored { StatusCode::OK } else { StatusCode::MULTI_STATUS };
        self.responses.json(status, &Outcomes { outcomes })
    }
}

/// The messages of a request.
fn messages_of(caller: &Caller, request: &Request, received_at: Timestamp) -> Result<Vec<Incoming>, Problem> {
    let owner = caller.owner()?;
    if !is_json(request.headers()) {
        return Err(Problem::unsupported_media_type());
    }
    let messages = bulk::cut(text(request.body())?).map_err(|error| match error {
        InvalidBulk::TooLarge { .. } => Problem::payload_too_large(error.to_string()),
        _ => Problem::invalid_body(error.to_string()),
    })?;
    Ok(messages.into_iter().map(|one| incoming(one, owner, received_at)).collect())
}

fn incoming(message: bulk::BulkMessage<'_>, owner: &Owner, received_at: Timestamp) -> Incoming {
    let invalid = |reason: String| Content::Invalid { text: String::new(), reason };
    let content = match &message.id {
        Ok(_) => {
            Payload::of_json(message.payload).map_or_else(|error| invalid(error.to_string()), Content::Valid)
        }
        Err(error) => invalid(error.to_string()),
    };
    let (owner, id) = (owner.clone(), message.id);
    Incoming { owner, id, via: Via::Sync, attempts: Some(1), received_at, content }
}

fn is_valid(incoming: &Incoming) -> bool {
    matches!(incoming.content, Content::Valid(_))
}

/// The outcome of a message; without a result it is invalid.
fn outcome(incoming: &Incoming, result: Option<Result<Effect, NotStored>>) -> Outcome<'_> {
    let (status, reason) = match result {
        None => (Status::Rejected.as_str(), incoming.content.reason()),
        Some(Ok(Effect::Conflict)) => (Status::Conflict.as_str(), Some(CONFLICT)),
        Some(Ok(_)) => (Status::Stored.as_str(), None),
        Some(Err(_)) => (UNAVAILABLE, Some(UNCONFIRMED)),
    };
    Outcome { id: incoming.id_text(), status, reason }
}

/// What a request adds to the metrics, which count messages.
fn count(results: &[Option<Result<Effect, NotStored>>], received_at: Timestamp) -> Metrics {
    let mut metrics = Metrics::default();
    for result in results {
        match result {
            Some(Ok(effect)) => count_effect(&mut metrics, *effect, received_at),
            Some(Err(_)) => count_failed(&mut metrics),
            None => metrics.count(Metric::Rejected, 1),
        }
    }
    metrics
}

/// A line for the bulk, and one for each message that is not stored.
fn log(caller: &Caller, messages: &[Incoming], results: &[Option<Result<Effect, NotStored>>]) {
    let correlation_id = caller.correlation_id.as_deref();
    let mut stored = 0;
    for (message, result) in messages.iter().zip(results) {
        let Outcome { id: message_id, status: outcome, .. } = outcome(message, *result);
        if outcome == Status::Stored.as_str() {
            stored += 1;
        } else {
            tracing::info!(correlation_id, message_id, outcome, "settled");
        }
    }
    tracing::info!(correlation_id, stored, others = messages.len() - stored, "bulk settled");
}
