//! Who is calling: a JSON Web Token in, an owner out.
//!
//! One Lambda authorizer of type REQUEST serves both APIs. HTTP callers send
//! `Authorization: Bearer <token>`; WebSocket callers, whose browsers cannot set headers, connect with
//! `?token=<token>`. Each API's token is looked for in its own place and nowhere else.

use std::time::SystemTime;

use intake::{
    metrics::{Metric, Metrics},
    telemetry::CorrelationId,
};
use lambda_runtime::{Diagnostic, LambdaEvent};
use thiserror::Error;

pub mod configuration;
pub mod key_set;
pub mod key_source;
pub mod policy;
pub mod request;
mod signature;
pub mod token;

use key_source::KeySource;
use policy::{Answer, Resource};
use request::{Api, Request};
use token::{Denial, TokenVerifier};

/// Why the function answers an error instead of a policy.
///
/// API Gateway reads nothing but the message. What happened is in the log, not in here: the caller
/// gets no hint of what was wrong with a token. For each of these the runtime writes an ERROR line of its
/// own, with the name of the variant; ours, with the reason, comes before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Failure {
    /// The token does not prove who is calling. A REST API answers `401` for exactly this message,
    /// and `500` for every other one.
    #[error("Unauthorized")]
    Unauthorized,
    /// The token could not be judged: it may well be good, and the caller should try again.
    #[error("the authorizer failed")]
    Failed,
}

impl From<Failure> for Diagnostic {
    fn from(failure: Failure) -> Self {
        let error_type = match failure {
            Failure::Unauthorized => "Unauthorized",
            Failure::Failed => "AuthorizerFailed",
        };
        Self { error_type: error_type.to_owned(), error_message: failure.to_string() }
    }
}

/// The authorizer, built once for the life of the process.
pub struct Authorizer {
    tokens: TokenVerifier,
    keys: KeySource,
}

impl Authorizer {
    /// An authorizer of tokens that satisfy `tokens` and are signed with one of `keys`.
    pub fn new(tokens: TokenVerifier, keys: KeySource) -> Self {
        Self { tokens, keys }
    }

    /// Fetches the keys if they have to be fetched. For the start of the process, when no caller
    /// waits and Lambda gives it a full processor.
    pub async fn warm_up(&self) {
        self.keys.warm_up(SystemTime::now()).await;
    }

    /// Responses who is calling.
    ///
    /// A refused WebSocket caller gets a policy that denies (`403`), because an error there would
    /// count as a fault of the function.
    ///
    /// # Errors
    /// [`Failure::Unauthorized`] for a refused HTTP caller. [`Failure::Failed`] if no keys are to be
    /// had, or if the event is not one of an API.
    pub async fn handle(&self, event: LambdaEvent<Request>) -> Result<Answer, Failure> {
        let request = event.payload;
        let api = request.api();
        let Some(resource) = Resource::whole_stage(request.method_arn()) else {
            tracing::error!("the event names no method of an API");
            return Err(Failure::Failed);
        };

        let verdict = match request.token() {
            Ok(token) => {
                let now = SystemTime::now();
                self.tokens.verify(token, &self.keys, now).await
            }
            Err(refusal) => Err(refusal.into()),
        };

        let correlation_id = request.correlation_id();
        let correlation_id = correlation_id.as_ref().map(CorrelationId::as_str);
        let connection_id = request.connection_id();
        let mut metrics = Metrics::default();
        metrics.count(
            match &verdict {
                Ok(_) => Metric::Allowed,
                Err(Denial::Refused(_)) => Metric::Denied,
                Err(Denial::KeysUnavailable) => Metric::Unverified,
            },
            1,
        );
        metrics.write();

        match (verdict, api) {
            (Ok(caller), _) => {
                tracing::info!(correlation_id, connection_id, %api, "allowed");
                Ok(Answer::allow(&caller, resource))
            }
            (Err(Denial::Refused(reason)), api) => {
                tracing::info!(correlation_id, connection_id, %api, %reason, "refused");
                match api {
                    Api::Rest => Err(Failure::Unauthorized),
                    Api::WebSocket => Ok(Answer::deny(resource)),
                }
            }
            (Err(Denial::KeysUnavailable), _) => {
                tracing::error!(correlation_id, connection_id, %api, "no keys to check the token with");
                Err(Failure::Failed)
            }
        }
    }
}
