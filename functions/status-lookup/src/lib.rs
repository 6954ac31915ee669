//! `GET /messages/{id}`: what became of a message.

use intake::{
    message::{Key, Receipt, Via},
    metrics::Metrics,
    problem::Problem,
    rest::{Responses, correlation_id, key, store_problem},
    state::{Record, Status},
    store::messages::Messages,
    telemetry::CorrelationId,
};
use jiff::Timestamp;
use lambda_http::{Body, Error, Request, RequestExt, Response, http::StatusCode};
use serde::Serialize;
use serde_json::value::RawValue;

/// The function, with what it needs for every request.
#[derive(Clone, Debug)]
pub struct StatusLookup {
    messages: Messages,
    answers: Responses,
}

/// A message's state, as it is answered.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct MessageStatus<'a> {
    id: &'a str,
    /// `queued` is written nowhere: it is what a receipt proves while no outcome is recorded.
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    via: Option<Via>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    received_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stored_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    /// The message as it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a RawValue>,
    /// What came instead of a valid message, as text: it need not be JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
}

impl StatusLookup {
    /// A function that looks into this table.
    pub fn new(messages: Messages, answers: Responses) -> Self {
        Self { messages, answers }
    }

    /// Responses one request.
    ///
    /// # Errors
    /// Only when an answer cannot be built: whatever is wrong with a request has an answer.
    pub async fn handle(&self, request: Request) -> Result<Response<Body>, Error> {
        // There is nothing to count, except for the first time.
        Metrics::default().write();
        let correlation_id = correlation_id(&request);
        let correlation_id = correlation_id.as_ref().map(CorrelationId::as_str);
        match self.look_up(&request).await {
            Ok((key, found, receipt)) => {
                let status = match &found {
                    Some(record) => recorded(&key, record)?,
                    None => queued(&key, receipt.as_ref()),
                };
                tracing::info!(
                    correlation_id,
                    message_id = key.id.as_str(),
                    receipt = status.receipt,
                    outcome = status.status,
                    "found"
                );
                self.answers.json(StatusCode::OK, &status)
            }
            Err(problem) => {
                let Problem { status, kind, .. } = problem;
                tracing::info!(correlation_id, status, problem = kind, "not found");
                self.answers.problem(&problem)
            }
        }
    }

    /// What is recorded; nothing, if the message is still queued.
    async fn look_up(&self, request: &Request) -> Result<(Key, Option<Record>, Option<Receipt>), Problem> {
        let key = key(request)?;
        let query = request.query_string_parameters();
        let receipt = query
            .first("receipt")
            .map(Receipt::parse)
            .transpose()
            .map_err(|error| Problem::invalid_receipt(error.to_string()))?;
        let found = self.messages.find(&key).await.map_err(|error| store_problem(&error))?;
        match (found, receipt) {
            // The outcome of an earlier attempt under this id: what this receipt stands for is not settled.
            (Some(record), Some(receipt))
                if record.status != Status::Stored && record.receipt.as_ref() != Some(&receipt) =>
            {
                Ok((key, None, Some(receipt)))
            }
            (Some(record), receipt) => Ok((key, Some(record), receipt)),
            (None, Some(receipt)) => Ok((key, None, Some(receipt))),
            (None, None) => Err(Problem::not_found(
                "You have no message with this id. If it was queued a moment ago, ask with its receipt.",
            )),
        }
    }
}

fn recorded<'a>(key: &'a Key, record: &'a Record) -> Result<MessageStatus<'a>, Error> {
    let is_message = record.status != Status::Rejected;
    let payload = is_message.then(|| serde_json::from_str(&record.text)).transpose()?;
    Ok(MessageStatus {
        id: key.id.as_str(),
        status: record.status.as_str(),
        via: Some(record.via),
        attempts: Some(record.attempts),
        received_at: Some(record.received_at),
        stored_at: record.stored_at,
        receipt: record.receipt.as_ref().map(Receipt::as_str),
        reason: record.reason.as_deref(),
        payload,
        text: (!is_message).then_some(&record.text),
    })
}

fn queued<'a>(key: &'a Key, receipt: Option<&'a Receipt>) -> MessageStatus<'a> {
    MessageStatus {
        id: key.id.as_str(),
        status: "queued",
        via: None,
        attempts: None,
        received_at: None,
        stored_at: None,
        receipt: receipt.map(Receipt::as_str),
        reason: None,
        payload: None,
        text: None,
    }
}
