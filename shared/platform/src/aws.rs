//! The clients of AWS services: one HTTP client for all of them, built for a short cold start.
//!
//! Lambda starts a process when a request comes and none is idle, so that the time until it responds for the first time
//! counts; and between two requests it stops the process where it is ("freezes" it), however long that takes. So the
//! clients are small and are built once, and expect that their connections may be dead.
//!
//! Region, credentials and endpoints come from the variables that Lambda sets and that all AWS SDKs read
//! ("Using the Lambda environment variables", "Service-specific endpoints"). The usual other sources
//! (profiles, instance metadata) do not exist in a function and are left out.

use std::{error::Error, fs, time::Duration};

use aws_credential_types::Credentials;
use aws_sdk_dynamodb::config::{
    BehaviorVersion, Region, SharedCredentialsProvider, SharedHttpClient, StalledStreamProtectionConfig,
    retry::RetryConfig, timeout::TimeoutConfig,
};
use aws_smithy_http_client::{
    Connector, HttpClientError,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::http::{HttpConnectorSettings, SharedHttpConnector, http_client_fn};
use aws_types::SdkConfig;
use tokio::time;

use crate::{
    configuration::{ConfigurationError, optional, required},
    telemetry::with_causes,
};

/// The roots of Amazon Trust Services, which sign the certificates of all AWS endpoints
/// (<https://www.amazontrust.com/repository/>). Parsing five certificates is quicker than the 140 of an
/// operating system, at every cold start.
pub const AMAZON_ROOTS: &[u8] = include_bytes!("amazon-roots.pem");

/// The settings that every AWS client of a function shares.
#[derive(Clone, Debug)]
pub struct Aws {
    region: Region,
    credentials: Credentials,
    http_client: SharedHttpClient,
    dynamodb_endpoint: Option<String>,
}

impl Aws {
    /// Reads `AWS_REGION`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN` and, where
    /// they are set, `AWS_ENDPOINT_URL_DYNAMODB` or `AWS_ENDPOINT_URL`, and `AWS_CA_BUNDLE`. Lambda replaces
    /// an execution environment before its credentials expire, so that they are read once.
    ///
    /// # Errors
    /// [`ConfigurationError`] that names the variable.
    pub fn from_env() -> Result<Self, ConfigurationError> {
        let region = Region::new(required("AWS_REGION")?);
        let credentials = Credentials::new(
            required("AWS_ACCESS_KEY_ID")?,
            required("AWS_SECRET_ACCESS_KEY")?,
            optional("AWS_SESSION_TOKEN"),
            None,
            "environment",
        );
        let endpoint = endpoint("DYNAMODB");
        let invalid = |expected: &str| ConfigurationError::Invalid {
            name: "AWS_CA_BUNDLE".to_owned(),
            expected: expected.to_owned(),
        };
        let roots = match optional("AWS_CA_BUNDLE") {
            Some(path) => fs::read(path).map_err(|_| invalid("a file that can be read"))?,
            None => AMAZON_ROOTS.to_vec(),
        };
        Self::new(region, credentials, endpoint, roots).map_err(|_| invalid("a file of PEM certificates"))
    }

    /// Clients for a region, with these credentials, at DynamoDB's own endpoint unless another is given,
    /// trusting the certificate authorities in `roots` (PEM).
    ///
    /// # Errors
    /// If `roots` cannot be used.
    pub fn new(
        region: Region,
        credentials: Credentials,
        dynamodb_endpoint: Option<String>,
        roots: Vec<u8>,
    ) -> Result<Self, HttpClientError> {
        let tls = TlsContext::builder()
            .with_trust_store(TrustStore::empty().with_pem_certificate(roots))
            .build()?;
        // All clients share one connector, which has its own connect timeout. The SDK's own HTTP client would make one
        // more for each client, only to check that it can, and parse the certificates again.
        let connector = Connector::builder()
            .connector_settings(HttpConnectorSettings::builder().connect_timeout(CONNECT_TIMEOUT).build())
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .tls_context(tls)
            .build();
        let connector = SharedHttpConnector::new(connector);
        let http_client = http_client_fn(move |_, _| connector.clone());
        Ok(Self { region, credentials, http_client, dynamodb_endpoint })
    }

    /// A DynamoDB client whose attempts end after `attempt_timeout`.
    pub fn dynamodb(&self, attempt_timeout: Duration) -> aws_sdk_dynamodb::Client {
        aws_sdk_dynamodb::Client::new(&self.config(self.dynamodb_endpoint.clone(), attempt_timeout))
    }

    /// A client for the sockets of the WebSocket API whose `@connections` are at `endpoint`: API Gateway has a path of this
    /// name, under which a function pushes to a socket or closes it.
    pub fn sockets(&self, endpoint: &str, attempt_timeout: Duration) -> aws_sdk_apigatewaymanagement::Client {
        let config = self.config(Some(endpoint.to_owned()), attempt_timeout);
        aws_sdk_apigatewaymanagement::Client::new(&config)
    }

    /// What the client of any service is built from: at its own endpoint unless one is given, with attempts that end
    /// after `attempt_timeout`, of which there are three with jittered backoff from 50 ms up.
    pub fn config(&self, endpoint: Option<String>, attempt_timeout: Duration) -> SdkConfig {
        let retries = RetryConfig::standard()
            .with_max_attempts(3)
            .with_initial_backoff(Duration::from_millis(50))
            .with_max_backoff(Duration::from_secs(1));
        // The next attempt opens another connection, also after a frozen process woke up with a dead one.
        let timeouts = TimeoutConfig::builder().operation_attempt_timeout(attempt_timeout).build();
        let mut config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(self.region.clone())
            .credentials_provider(SharedCredentialsProvider::new(self.credentials.clone()))
            .http_client(self.http_client.clone())
            // Requests and responses are small, and each attempt has a timeout of its own.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .timeout_config(timeouts)
            .retry_config(retries);
        config.set_endpoint_url(endpoint);
        config.build()
    }
}

/// The endpoint that the environment names for a service, such as `DYNAMODB`: that of the local stack. None on AWS.
pub fn endpoint(service: &str) -> Option<String> {
    optional(&format!("AWS_ENDPOINT_URL_{service}")).or_else(|| optional("AWS_ENDPOINT_URL"))
}

/// How long a function waits for its connections while it starts. Lambda allows 10 seconds.
const WARM_UP_TIMEOUT: Duration = Duration::from_secs(1);

/// Makes a probe while the function starts, so that the first real request finds the connection open and all code
/// on its way used once. A function has more processor time while it starts than afterwards, and no caller waits
/// yet ("Understanding the Lambda execution environment lifecycle").
///
/// A failure is only logged: the first real request will meet it again, and is retried.
pub async fn warm_up<T, E: Error>(probe: impl Future<Output = Result<T, E>>) {
    match time::timeout(WARM_UP_TIMEOUT, probe).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::warn!(error = with_causes(&error), "not warmed up"),
        Err(_) => tracing::warn!(error = "no response in time", "not warmed up"),
    }
}

/// A connection that does not come up within a second will not come up: the next attempt opens another.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
