//! Verifies tokens: a JSON Web Token in, an owner out.
//!
//! One Lambda authorizer of type REQUEST serves both APIs. HTTP callers send
//! `Authorization: Bearer <token>`; WebSocket callers, whose browsers cannot set that header, offer the subprotocol
//! `bearer.<token>` or connect with `?token=<token>`. Each API's token is read from its own places and nowhere else.

use std::time::SystemTime;

use intake_platform::{
    metrics::{Metric, Metrics},
    telemetry::CorrelationId,
};
use lambda_runtime::LambdaEvent;

pub mod configuration;
pub mod error;
pub mod key_set;
pub mod key_source;
pub mod policy;
pub mod request;
mod signature;
pub mod token;

use error::{AuthorizerError, VerificationError};
use key_source::KeySource;
use policy::{Policy, Resource};
use request::{Api, Request};
use token::TokenVerifier;

/// The authorizer, built once for the life of the process.
pub struct Authorizer {
    tokens: TokenVerifier,
    keys: KeySource,
}

impl Authorizer {
    /// An authorizer that verifies with `tokens` and one of `keys`.
    pub fn new(tokens: TokenVerifier, keys: KeySource) -> Self {
        Self { tokens, keys }
    }

    /// Fetches the keys if they have to be fetched. For the start of the process, when no caller
    /// waits and Lambda gives it a full processor.
    pub async fn warm_up(&self) {
        self.keys.warm_up(SystemTime::now()).await;
    }

    /// Returns the caller's identity, as a policy.
    ///
    /// A denied WebSocket caller gets a policy that denies (`403`), because an error there would
    /// count as a fault of the function.
    ///
    /// # Errors
    /// [`AuthorizerError::Unauthorized`] for a denied HTTP caller. [`AuthorizerError::Failed`] if there are no
    /// keys, or if the event is not one of an API.
    pub async fn handle(&self, event: LambdaEvent<Request>) -> Result<Policy, AuthorizerError> {
        let request = event.payload;
        let api = request.api();
        let Some(resource) = Resource::whole_stage(request.method_arn()) else {
            tracing::error!("the event names no method of an API");
            return Err(AuthorizerError::Failed);
        };

        let verified = match request.token() {
            Ok(token) => {
                let now = SystemTime::now();
                self.tokens.verify(token, &self.keys, now).await
            }
            Err(denial) => Err(denial.into()),
        };

        let correlation_id = request.correlation_id();
        let correlation_id = correlation_id.as_ref().map(CorrelationId::as_str);
        let connection_id = request.connection_id();
        let mut metrics = Metrics::default();
        metrics.count(
            match &verified {
                Ok(_) => Metric::Allowed,
                Err(VerificationError::Denied(_)) => Metric::Denied,
                Err(VerificationError::KeysUnavailable) => Metric::Unverified,
            },
            1,
        );
        metrics.write();

        match (verified, api) {
            (Ok(caller), _) => {
                tracing::info!(correlation_id, connection_id, %api, "allowed");
                Ok(Policy::allow(&caller, resource))
            }
            (Err(VerificationError::Denied(reason)), api) => {
                tracing::info!(correlation_id, connection_id, %api, %reason, "denied");
                match api {
                    Api::Rest => Err(AuthorizerError::Unauthorized),
                    Api::WebSocket => Ok(Policy::deny(resource)),
                }
            }
            (Err(VerificationError::KeysUnavailable), _) => {
                tracing::error!(correlation_id, connection_id, %api, "no keys to verify the token with");
                Err(AuthorizerError::Failed)
            }
        }
    }
}
