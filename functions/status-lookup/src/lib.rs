//! `GET /messages/{id}`: the state of a message; with `?receipt=…`, the outcome of that one request.
//! `GET /receipts/{receipt}`: the outcomes of all messages of a bulk.
//!
//! The story of a request:
//!
//! 1. Without a receipt, the item of the message is read: its current state, whichever request brought it there.
//! 2. With a receipt, the item of the message and what is kept under the receipt are read in one request. The message
//!    holds the outcome if it names the receipt.
//! 3. Of a bulk, what is kept under the receipt has the outcome of each of its messages.
//! 4. A receipt with neither is `queued`: that status is written nowhere, because writing it would couple the way into
//!    the queue to the database.

use intake_domain::{
    message::{MessageId, Receipt},
    state::{Message, Outcome, Status, optional_to_the_millisecond},
};
use intake_platform::{
    metrics::Metrics,
    problem::Problem,
    rest::{Caller, Responses, table_problem},
    tables::{
        Messages, Outcomes,
        outcomes::{Found, UnderReceipt},
    },
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
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct MessageStatus<'a> {
    id: &'a str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    via: Option<&'static str>,
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

/// The body of a response about a bulk.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BulkStatus<'a> {
    receipt: &'a str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_to_the_millisecond")]
    received_at: Option<Timestamp>,
    outcomes: Vec<MessageStatus<'a>>,
}

/// The detail of a response when the table is unavailable.
const UNREADABLE: &str = "The message could not be looked up. Send the same request again.";

/// What a look-up found.
enum LookedUp {
    /// The message under the id; with a receipt, only if it names that receipt.
    Message(Message),
    /// What is kept under the receipt.
    UnderReceipt(Receipt, UnderReceipt),
    /// A receipt without an outcome here: it is open, or the message with another id holds it, or the receipt was never
    /// given, belongs to another owner or is too old.
    /// So nobody finds out by asking whether there is such a request.
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
        if let Some(receipt) = request.path_parameters().first("receipt") {
            return self.handle_bulk(&caller, receipt).await;
        }
        match self.look_up(&caller, &request).await {
            Ok(looked_up) => {
                let id = caller.id_text();
                let status = match &looked_up {
                    LookedUp::Message(message) => of_message(id, message)?,
                    LookedUp::UnderReceipt(receipt, found) => of_receipt(Some(receipt), found),
                    LookedUp::Queued(receipt) => queued(id, receipt),
                };
                tracing::info!(
                    correlation_id = caller.correlation_id.as_deref(),
                    message_id = status.id,
                    receipt = status.receipt,
                    outcome = status.status,
                    "looked up"
                );
                self.responses.json(StatusCode::OK, &status)
            }
            Err(problem) => self.responses.problem(&caller, &problem),
        }
    }

    /// Handles a request about a bulk.
    async fn handle_bulk(&self, caller: &Caller, receipt: &str) -> Result<Response<Body>, Error> {
        let (receipt, kept) = match self.by_bulk(caller, receipt).await {
            Ok(found) => found,
            Err(problem) => return self.responses.problem(caller, &problem),
        };
        let of_message = |one| MessageStatus { received_at: None, ..of_receipt(None, one) };
        let status = BulkStatus {
            receipt: receipt.as_str(),
            status: if kept.is_empty() { "queued" } else { "settled" },
            received_at: kept.first().map(|one| one.outcome.received_at),
            outcomes: kept.iter().map(of_message).collect(),
        };
        tracing::info!(
            correlation_id = caller.correlation_id.as_deref(),
            receipt = status.receipt,
            outcome = status.status,
            "looked up"
        );
        self.responses.json(StatusCode::OK, &status)
    }

    /// A bulk's receipt, and what is kept under it: nothing, if a message of it is open.
    async fn by_bulk(&self, caller: &Caller, receipt: &str) -> Result<(Receipt, Vec<UnderReceipt>), Problem> {
        let receipt = Receipt::parse(receipt).ok().filter(Receipt::is_bulk).ok_or_else(|| {
            Problem::invalid_receipt(
                "Here are the receipts of POST /queue, which begin with bulk-. Look up any other one as \
                 /messages/{id}?receipt=….",
            )
        })?;
        let found = self.outcomes.find(None, caller.owner()?, &receipt).await;
        let found = found.map_err(|error| table_problem(&error, UNREADABLE))?;
        Ok((receipt, found.under_receipt.unwrap_or_default()))
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
        let found =
            self.messages.find(caller.key()?).await.map_err(|error| table_problem(&error, UNREADABLE))?;
        found.map(LookedUp::Message).ok_or_else(|| {
            Problem::not_found(
                "You have no message with this id. If it was queued a moment ago, ask with its receipt.",
            )
        })
    }

    /// The id may be illegal: then only the receipt can have the outcome.
    async fn by_receipt(&self, caller: &Caller, receipt: Receipt) -> Result<LookedUp, Problem> {
        let (owner, key) = (caller.owner()?, caller.key().ok());
        let found = self.outcomes.find(key, owner, &receipt).await;
        match found.map_err(|error| table_problem(&error, UNREADABLE))? {
            // While a bulk has no outcomes yet, another message of it may replace this one, unless it is stored.
            Found { message: Some(message), under_receipt }
                if !receipt.is_bulk()
                    || message.outcome.status == Status::Stored
                    || under_receipt.is_some() =>
            {
                Ok(LookedUp::Message(message))
            }
            Found { under_receipt: Some(kept), .. } => {
                // An illegal id is kept as the queue delivered it, which need not be how the path has it.
                let is_single = !receipt.is_bulk();
                let is_this = |one: &UnderReceipt| {
                    one.id == caller.id_text() || (is_single && MessageId::parse(&*one.id).is_err())
                };
                // Of several messages of a bulk with this id the one that is stored, or else the last, as the message in
                // the table would have it.
                let these = kept.into_iter().filter(is_this);
                let one = these.max_by_key(|one| one.outcome.status == Status::Stored);
                one.map(|one| LookedUp::UnderReceipt(receipt, one))
                    .ok_or_else(|| Problem::not_found("This receipt belongs to another of your messages."))
            }
            Found { .. } => Ok(LookedUp::Queued(receipt)),
        }
    }
}

fn of_message<'a>(id: &'a str, message: &'a Message) -> Result<MessageStatus<'a>, Error> {
    let Message { outcome, text, via } = message;
    // What was rejected need not be JSON, and is shown as the text that it is.
    let is_payload = outcome.status != Status::Rejected;
    let payload = is_payload.then(|| serde_json::from_str(text)).transpose()?;
    Ok(MessageStatus {
        via: Some(via.as_str()),
        receipt: via.receipt().map(Receipt::as_str),
        payload,
        text: (!is_payload).then_some(text),
        ..of_outcome(id, outcome)
    })
}

fn of_receipt<'a>(receipt: Option<&'a Receipt>, found: &'a UnderReceipt) -> MessageStatus<'a> {
    let (via, receipt) = (receipt.map(|_| "queue"), receipt.map(Receipt::as_str));
    MessageStatus { via, receipt, ..of_outcome(&found.id, &found.outcome) }
}

fn of_outcome<'a>(id: &'a str, outcome: &'a Outcome) -> MessageStatus<'a> {
    let Outcome { status, attempts, received_at, stored_at, reason } = outcome;
    MessageStatus {
        id,
        status: status.as_str(),
        attempts: *attempts,
        received_at: Some(*received_at),
        stored_at: *stored_at,
        reason: reason.as_deref(),
        ..MessageStatus::default()
    }
}

fn queued<'a>(id: &'a str, receipt: &'a Receipt) -> MessageStatus<'a> {
    MessageStatus { id, status: "queued", receipt: Some(receipt.as_str()), ..MessageStatus::default() }
}
