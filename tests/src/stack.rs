//! A deployed stack, from outside: its APIs as a client has them, and its queues, tables, functions and logs as an
//! operator has them. Whether it is deployed on AWS or on this machine makes no difference here.

mod caller;
mod operator;
mod outcome;
mod socket;

use std::{
    collections::BTreeMap,
    env,
    fmt::Display,
    fs,
    io::{self, Write},
    path::PathBuf,
    sync::LazyLock,
    thread,
    time::Duration,
};

use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, SharedCredentialsProvider},
};
use aws_sdk_sqs::config::{SharedHttpClient, timeout::TimeoutConfig};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};
use development_key::DevelopmentKey;
use serde::Deserialize;
use tokio::{
    runtime::Runtime,
    sync::OnceCell,
    time::{Instant, sleep},
};
use uuid::Uuid;

pub use self::{
    caller::{Caller, Queued, QueuedBulk, Response},
    operator::{Entry, Item, Record, kill_process, number, partition_key, processes_with, text},
    outcome::{Found, Outcome, Text},
    socket::Socket,
};

/// How long a condition may take to come true: all deliveries of a message, one of them with a killed consumer, and a
/// minute, within which the dead-letter recorder runs once. It is far longer than most take, even on a busy machine, so that only a test that waits in vain
/// reaches it.
static MAX_WAIT: LazyLock<Duration> = LazyLock::new(|| {
    let operator::Redelivery { first_delay, visibility_timeout, max_receive_count } = *operator::REDELIVERY;
    // Each delay is twice the one before, and up to a quarter longer.
    let delays = first_delay.mul_f64(1.25 * (2_f64.powi(max_receive_count.cast_signed() - 1) - 1.0));
    delays + visibility_timeout + Duration::from_secs(60)
});

/// How long an attempt at a request to a service may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);

/// Waits until `attempt` succeeds, and returns its result.
///
/// # Panics
/// If that takes too long, with what was awaited and the last error of `attempt`.
pub async fn eventually<T, E: Display>(awaited: &str, mut attempt: impl AsyncFnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + *MAX_WAIT;
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

/// Prints a line, also of a test that passes: `println!` is shown of tests that fail only.
pub fn say(line: impl Display) {
    // A reader that is gone is no reason to fail.
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// A text that no other test uses. It has the mark of this run of the tests in it, so that all that they leave behind
/// can be found.
pub fn unique(prefix: &str) -> String {
    let random = Uuid::new_v4().to_string();
    format!("{prefix}-{}{}", DESCRIPTION.run, &random[8..])
}

/// Where a stack is, as `cargo xtask` writes it down.
#[derive(Clone, Debug, Deserialize)]
pub struct Description {
    /// Its name in CloudFormation.
    pub name: String,
    /// Its region.
    pub region: String,
    /// The end of the host names of AWS's services there.
    pub url_suffix: String,
    /// The address of the HTTP API, without a slash at its end.
    pub http_url: String,
    /// The address of the WebSocket API.
    pub websocket_url: String,
    /// The queue between `PUT /queue/{id}` and the consumer.
    pub queue_url: String,
    /// Its dead-letter queue.
    pub dead_letter_queue_url: String,
    /// The table of messages.
    pub messages_table: String,
    /// The table of connections.
    pub connections_table: String,
    /// The names of all resources, by their names in the template.
    pub resources: BTreeMap<String, String>,
    /// Whether messages are deleted after some days.
    pub messages_expire: bool,
    /// The issuer that the authorizer trusts.
    pub token_issuer: String,
    /// The audience that the authorizer expects.
    pub token_audience: String,
    /// The file with the key that the authorizer trusts.
    pub key_file: PathBuf,
    /// The mark of what the tests write: eight hexadecimal digits.
    pub run: String,
    /// What only a stack on this machine has.
    pub emulator: Option<Emulator>,
}

/// The emulator that a stack on this machine is deployed to.
#[derive(Clone, Debug, Deserialize)]
pub struct Emulator {
    /// The address of its AWS services.
    pub endpoint: String,
    /// Its log.
    pub log: PathBuf,
    /// The functions' log.
    pub function_log: PathBuf,
}

/// The description that the environment variable `INTAKE_STACK` names.
static DESCRIPTION: LazyLock<Description> = LazyLock::new(|| {
    let path = env::var("INTAKE_STACK").unwrap_or_else(|_| {
        panic!(
            "INTAKE_STACK is not set: it names the file that says where a running stack is. \
             `cargo xtask test` starts one for these tests."
        )
    });
    let text = fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("INTAKE_STACK names {path}, which cannot be read: {error}"));
    serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{path} does not say where a stack is: {error}"))
});

/// The account of the environment, as every AWS tool finds it, with credentials that last for the run.
static ACCOUNT: LazyLock<(SdkConfig, Credentials)> = LazyLock::new(|| {
    apart(async {
        let timeouts = TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT_TIMEOUT).build();
        let loader = aws_config::defaults(BehaviorVersion::v2026_01_12()).http_client(http_client());
        let config = loader.timeout_config(timeouts).load().await;
        let provider = config.credentials_provider().expect("the environment has AWS credentials");
        let credentials = provider.provide_credentials().await.expect("the environment has AWS credentials");
        let fixed = SharedCredentialsProvider::new(credentials.clone());
        (config.to_builder().credentials_provider(fixed).build(), credentials)
    })
});

/// Runs something asynchronous to its end, in a runtime of its own: a test's may not be blocked.
fn apart<T: Send>(work: impl Future<Output = T> + Send) -> T {
    thread::scope(|scope| {
        let worker = scope.spawn(|| Runtime::new().expect("a runtime").block_on(work));
        worker.join().expect("what went wrong is above")
    })
}

/// ring instead of aws-lc, as everywhere in Intake; the certificate authorities of this machine.
fn http_client() -> SharedHttpClient {
    Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()
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
    /// A client of the tables, likewise.
    pub dynamodb: aws_sdk_dynamodb::Client,
    config: SdkConfig,
    sending_sqs: OnceCell<aws_sdk_sqs::Client>,
    credentials: Credentials,
}

impl Stack {
    /// The stack that the environment variable `INTAKE_STACK` names, in the account of the environment.
    ///
    /// # Panics
    /// If there is none, or the account is not the one that it is in.
    pub fn running() -> Self {
        let at = DESCRIPTION.clone();
        let (config, credentials) = &*ACCOUNT;
        let endpoint = at.emulator.as_ref().map(|emulator| &*emulator.endpoint);
        assert_eq!(config.endpoint_url(), endpoint, "AWS_ENDPOINT_URL has to be that of the stack");
        let config = config.to_builder().http_client(http_client()).build();
        Self {
            key: DevelopmentKey::load_or_create(&at.key_file).unwrap_or_else(|error| panic!("{error}")),
            http: fault_proxy::http_client(),
            sqs: aws_sdk_sqs::Client::new(&config),
            dynamodb: aws_sdk_dynamodb::Client::new(&config),
            config,
            sending_sqs: OnceCell::new(),
            credentials: credentials.clone(),
            at,
        }
    }

    /// The emulator that the stack is deployed to.
    ///
    /// # Panics
    /// If it is deployed on AWS: a test that needs the emulator is in `tests/stack/local_only.txt`.
    pub fn emulator(&self) -> &Emulator {
        self.at.emulator.as_ref().expect("a stack on this machine")
    }
}
