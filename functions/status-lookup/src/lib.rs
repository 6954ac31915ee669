//! `GET /messages/{id}`: the state of a message; with `?receipt=…`, the outcome of that one request.

use intake::{
    message::{MessageId, Receipt, Via},
    metrics::Metrics,
    notification::{optional_to_the_millisecond, truncated},
    problem::Problem,
    rest::{Caller, Responses, store_problem},
    state::{Note, Outcome, Record, Status},
    store::{Messages, Outcomes, outcomes::Found},
};
use jiff::Timestamp;
use lambda_http::{Body, Error, Request, RequestExt, Response, http::StatusCode};
use serde::Serialize;
use serde_json::value::RawValue;

/// The function, with what it needs for every request.
#[derive(Clone, Debug)]
pub struct StatusLookup {
    messages: Messages,
    outcomes: Outcomes,
    responses: Responses,
}

/// The body of a response.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct MessageStatus<'a> {
    id: &'a str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    via: Option<Via>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_to_the_millisecond")]
    received_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_to_the_millisecond")]
    stored_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    /// The message as it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a RawValue>,
    /// What was sent instead of a valid message, as text: it need not be JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
}

/// What a look-up found.
enum LookedUp {
    Record(Record),
    Note(Note),
    /// A receipt has no outcome. `queued` is written nowhere: it is the status of every such receipt.
    Queued(Receipt),
}

impl StatusLookup {
    /// A function that reads messages and outcomes from these.
    pub fn new(messages: Messages, outcomes: Outcomes, responses: Responses) -> Self {
        Self { messages, outcomes, responses }
    }

    /// Handles one request.
    ///
    /// # Errors
    /// Only when a response cannot be built: a request that fails gets a problem.
    pub async fn handle(&self, request: Request) -> Result<Response<Body>, Error> {
        // There is nothing to count but a cold start.
        Metrics::default().write();
        let caller = Caller::of(&request);
        match self.look_up(&caller, &request).await {
            Ok(looked_up) => {
                let id = shown_id(&caller);
                let status = match &looked_up {
                    LookedUp::Record(record) => recorded(id, record)?,
                    LookedUp::Note(note) => noted(note),
                    LookedUp::Queued(receipt) => queued(id, receipt),
                };
                tracing::info!(
                    correlation_id = caller.correlation_id(),
                    message_id = status.id,
                    receipt = status.receipt,
                    outcome = status.status,
                    "found"
                );
                self.responses.json(StatusCode::OK, &status)
            }
            Err(problem) => {
                let Problem { status, kind, .. } = problem;
                tracing::info!(correlation_id = caller.correlation_id(), status, problem = kind, "not found");
                self.responses.problem(&problem)
            }
        }
    }

    async fn look_up(&self, caller: &Caller, request: &Request) -> Result<LookedUp, Problem> {
        let query = request.query_string_parameters();
        let receipt = query
            .first("receipt")
            .map(Receipt::parse)
            .transpose()
            .map_err(|error| Problem::invalid_receipt(error.to_string()))?;
        match receipt {
            Some(receipt) => self.by_receipt(caller, receipt).await,
            None => self.by_id(caller).await,
        }
    }

    async fn by_id(&self, caller: &Caller) -> Result<LookedUp, Problem> {
        let found = self.messages.find(&caller.key()?).await.map_err(|error| store_problem(&error))?;
        found.map(LookedUp::Record).ok_or_else(|| {
            Problem::not_found(
                "You have no message with this id. If it was queued a moment ago, ask with its receipt.",
            )
        })
    }

    /// The id may be illegal: then only a note can hold the outcome.
    async fn by_receipt(&self, caller: &Caller, receipt: Receipt) -> Result<LookedUp, Problem> {
        let (owner, key) = (caller.owner()?, caller.key().ok());
        let found = self.outcomes.find(key.as_ref(), owner, &receipt).await;
        match found.map_err(|error| store_problem(&error))? {
            Found { record: Some(record), .. } => Ok(LookedUp::Record(record)),
            // An illegal id is noted as the queue delivered it, which need not be how the path has it.
            Found { note: Some(note), .. } if MessageId::parse(&*note.id).is_ok() && note.id != caller.id => {
                Err(Problem::not_found("This receipt belongs to another of your messages."))
            }
            Found { note: Some(note), .. } => Ok(LookedUp::Note(note)),
            Found { .. } => Ok(LookedUp::Queued(receipt)),
        }
    }
}

/// The id in the path; of an illegal one, which may have any length, the beginning.
fn shown_id(caller: &Caller) -> &str {
    truncated(&caller.id, intake::notification::MAX_SUBJECT_BYTES)
}

fn recorded<'a>(id: &'a str, record: &'a Record) -> Result<MessageStatus<'a>, Error> {
    let is_message = record.status != Status::Rejected;
    let payload = is_message.then(|| serde_json::from_str(&record.text)).transpose()?;
    Ok(MessageStatus {
        id,
        status: record.status.as_str(),
        via: Some(record.via),
        attempts: record.attempts,
        received_at: Some(record.received_at),
        stored_at: record.stored_at,
        receipt: record.receipt.as_ref().map(Receipt::as_str),
        reason: record.reason.as_deref(),
        payload,
        text: (!is_message).then_some(&record.text),
    })
}

fn noted(note: &Note) -> MessageStatus<'_> {
    let Outcome { status, attempts, received_at, stored_at, reason } = &note.outcome;
    MessageStatus {
        id: &note.id,
        status: status.as_str(),
        via: Some(Via::Queue),
        attempts: *attempts,
        received_at: Some(*received_at),
        stored_at: *stored_at,
        receipt: Some(note.receipt.as_str()),
        reason: reason.as_deref(),
        payload: None,
        text: None,
    }
}

fn queued<'a>(id: &'a str, receipt: &'a Receipt) -> MessageStatus<'a> {
    MessageStatus {
        id,
        status: "queued",
        via: None,
        attempts: None,
        received_at: None,
        stored_at: None,
        receipt: Some(receipt.as_str()),
        reason: None,
        payload: None,
        text: None,
    }
}
