//! A deployed stack, from outside: its APIs as a client has them, and its queues, tables, functions and logs as an
//! operator has them.

mod caller;
mod operator;
mod socket;

use std::{env, fmt::Display, fs, path::PathBuf, time::Duration};

use aws_credential_types::Credentials;
use aws_sdk_sqs::config::{BehaviorVersion, Region};
use development_key::DevelopmentKey;
use intake::aws::{AMAZON_ROOTS, Aws};
use serde::Deserialize;
use tokio::{
    sync::OnceCell,
    time::{Instant, sleep},
};
use uuid::Uuid;

pub use self::{
    caller::{Caller, Queued, Response},
    operator::{Item, Record, number, processes_with, text},
    socket::Socket,
};

/// How long a condition may take to come true. It is far longer than any takes, even on a busy machine, so that
/// only a test that waits in vain reaches it.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// How long an attempt at a request to DynamoDB may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);

/// Waits until `attempt` succeeds, and returns its result.
///
/// # Panics
/// If that takes too long, with what was awaited and the last error of `attempt`.
pub async fn eventually<T, E: Display>(awaited: &str, mut attempt: impl AsyncFnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + MAX_WAIT;
    loop {
        match attempt().await {
            Ok(result) => return result,
            Err(seen) if Instant::now() > deadline => {
                panic!("waited {} s for {awaited}; last seen: {seen}", MAX_WAIT.as_secs())
            }
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

/// A text that no other test uses.
pub fn unique(prefix: &str) -> String {
    format!("{prefix}-{}", Uuid::new_v4())
}

/// Where a stack is, as `cargo xtask` writes it down when it starts one.
#[derive(Clone, Debug, Deserialize)]
pub struct Description {
    /// The address of the emulator's AWS services.
    pub endpoint: String,
    /// Its region.
    pub region: String,
    /// The address of the HTTP API, without a slash at its end.
    pub http_url: String,
    /// The address of the WebSocket API.
    pub websocket_url: String,
    /// The queue between `PUT /queue/{id}` and the consumer.
    pub queue_url: String,
    /// Its dead-letter queue.
    pub dead_letter_queue_url: String,
    /// The role that redrives from there.
    pub redrive_role: String,
    /// The table of messages.
    pub messages_table: String,
    /// The table of connections.
    pub connections_table: String,
    /// The issuer that the authorizer trusts.
    pub token_issuer: String,
    /// The audience that the authorizer expects.
    pub token_audience: String,
    /// The file with the key that the authorizer trusts.
    pub key_file: PathBuf,
    /// The emulator's log.
    pub log: PathBuf,
    /// The functions' log, if there is a file of it.
    #[serde(default)]
    pub function_log: Option<PathBuf>,
}

/// A deployed stack. Every test makes its own, since network connections belong to a test's runtime.
pub struct Stack {
    /// Where everything is.
    pub at: Description,
    /// The key that the authorizer trusts.
    pub key: DevelopmentKey,
    /// For requests that no [`Caller`] would make.
    pub http: reqwest::Client,
    /// A client of the queues, with all permissions that the account itself has.
    pub sqs: aws_sdk_sqs::Client,
    path: PathBuf,
    redrive_sqs: OnceCell<aws_sdk_sqs::Client>,
    dynamodb: aws_sdk_dynamodb::Client,
}

impl Stack {
    /// The stack that the environment variable `INTAKE_STACK` names.
    ///
    /// # Panics
    /// If there is none.
    pub fn running() -> Self {
        let path = env::var("INTAKE_STACK").unwrap_or_else(|_| {
            panic!(
                "INTAKE_STACK is not set: it names the file that says where a running stack is. \
                 `cargo xtask test` starts one for these tests."
            )
        });
        let text = fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("INTAKE_STACK names {path}, which cannot be read: {error}"));
        let at: Description = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{path} does not say where a stack is: {error}"));

        // To the emulator these are the credentials of the account itself.
        let credentials = Credentials::new("test", "test", None, None, "tests");
        let region = Region::new(at.region.clone());
        let endpoint = Some(at.endpoint.clone());
        let aws = Aws::new(region.clone(), credentials.clone(), endpoint, AMAZON_ROOTS.to_vec())
            .expect("the roots are ours");
        let sqs = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(region)
            .credentials_provider(credentials)
            .http_client(aws.http_client())
            .endpoint_url(&at.endpoint)
            .build();
        Self {
            key: DevelopmentKey::load_or_create(&at.key_file).unwrap_or_else(|error| panic!("{error}")),
            // If this machine has a proxy, the stack is not behind it.
            http: reqwest::Client::builder().no_proxy().build().expect("a client"),
            sqs: aws_sdk_sqs::Client::from_conf(sqs),
            dynamodb: aws.dynamodb(ATTEMPT_TIMEOUT),
            path: path.into(),
            redrive_sqs: OnceCell::new(),
            at,
        }
    }
}
