//! Verifies tokens: a JSON Web Token in, an owner out.
//!
//! A Lambda authorizer is a function that API Gateway asks before it lets a request through. It returns a policy, which
//! API Gateway applies and, for the REST API, keeps for the next requests with the same token. One authorizer of type
//! REQUEST serves both APIs. The story of a request:
//!
//! 1. The token is read. HTTP callers send `Authorization: Bearer <token>`; WebSocket callers, whose browsers cannot set
//!    that header, offer the subprotocol `bearer.<token>` or connect with `?token=<token>`. Each API's token is read from
//!    its own places and nowhere else.
//! 2. The signature is verified with the issuer's public keys. They are fetched if they are not known or not fresh, or if
//!    none of them has signed the token.
//! 3. Issuer, audience, scope and times are checked. The claim `sub` is the owner.
//! 4. The policy allows everything in this stage, and carries the owner to the functions and the queue.
//!
//! A caller who is denied learns nothing but that: the reason is in the log.

use std::time::SystemTime;

use intake_platform::metrics::{Metric, Metrics};
use lambda_runtime::LambdaEvent;

pub mod configuration;
pub mod error;
pub mod key;
pub mod key_set;
pub mod key_source;
pub mod policy;
pub mod request;
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
    /// An authorizer that verifies with `tokens` and `keys`.
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
        let correlation_id = correlation_id.as_deref();
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

        match verified {
            Ok(identity) => {
                tracing::info!(correlation_id, connection_id, %api, "allowed");
                Ok(Policy::allow(&identity, resource))
            }
            Err(VerificationError::Denied(reason)) => {
                tracing::info!(correlation_id, connection_id, %api, %reason, "denied");
                match api {
                    // A `401` tells the caller to get another token. API Gateway makes one of exactly this error; a
                    // policy that denies would be a `403`, which says that no token helps.
                    Api::Rest => Err(AuthorizerError::Unauthorized),
                    // For the WebSocket API every error counts as a fault of the function, and raises the alarm. So a
                    // policy denies, with `403`.
                    Api::WebSocket => Ok(Policy::deny(resource)),
                }
            }
            // Neither allowed nor denied: the token may be valid, and the caller should try again.
            Err(VerificationError::KeysUnavailable) => {
                tracing::error!(correlation_id, connection_id, %api, "no keys to verify the token with");
                Err(AuthorizerError::Failed)
            }
        }
    }
}
