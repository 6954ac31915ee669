//! One process of a function: started as Lambda starts it, given events, measured and ended.

use std::{
    fmt,
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use development_key::{AUDIENCE, DevelopmentKey, ISSUER};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::Serialize;
use tokio::time::{sleep, timeout};

use crate::{
    Failure,
    contestants::{Contestant, Function, Launch},
    endpoints::{CONNECTIONS, Endpoints, MESSAGES, Trust},
    events::{Events, OWNERS},
    runtime_api::{Call, Meter, Reading, RuntimeApi},
};

/// How often to check whether the process is still alive while it calls nothing.
const CHECK_INTERVAL: Duration = Duration::from_millis(200);

/// How long one response may take. An instrumented function with ten thousand messages takes minutes.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// What is to be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Case {
    pub(crate) function: Function,
    pub(crate) contestant: Contestant,
    /// Messages in an event.
    pub(crate) batch: usize,
    /// Bytes of a message.
    pub(crate) payload_bytes: usize,
}

/// The text that `--only` looks into.
impl fmt::Display for Case {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { function, contestant, batch, payload_bytes } = self;
        write!(formatter, "{function} {contestant} {batch}x{}KB", payload_bytes / 1024)
    }
}

/// What was seen of one process.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) started: Instant,
    /// When it asked for its first event.
    pub(crate) ready: Reading,
    /// At its first response.
    pub(crate) first: Reading,
    /// At its last response.
    pub(crate) last: Reading,
    /// The invocations after the first: from the event to the response.
    pub(crate) warm: Vec<Duration>,
    /// In bytes.
    pub(crate) peak_memory: u64,
    /// The size of an event.
    pub(crate) event_bytes: u64,
}

/// What all processes have in common.
pub(crate) struct Setup {
    pub(crate) trust: Trust,
    pub(crate) key: DevelopmentKey,
    /// Where logs go.
    pub(crate) folder: PathBuf,
}

/// Starts a function, hands it one event and then `warm` more, and measures it.
///
/// `under` is a program that runs the function instead of the kernel: valgrind.
///
/// # Errors
/// If the function ends, fails or does not do the work.
pub(crate) async fn run(
    setup: &Setup,
    case: Case,
    launch: &Launch,
    warm: usize,
    under: &[String],
) -> Result<Run, Failure> {
    let endpoints = Endpoints::start(&setup.trust).await?;
    let token = setup.key.mint(ISSUER, AUDIENCE, OWNERS[0], Duration::from_secs(24 * 3600));
    let mut events = Events::new(case.function, case.batch, case.payload_bytes, &token)?;
    events.prepare(&endpoints)?;
    let meter = Arc::new(Meter::new(endpoints.shared_counts()));
    let mut api = RuntimeApi::start(Arc::clone(&meter)).await?;
    // Lambda starts a function because there is an event: it waits for the function already.
    let event = events.make();
    let event_bytes = u64::try_from(event.len())?;
    api.send(event)?;

    let log = setup.folder.join(format!("{case}.log").replace(' ', "-"));
    let mut command = command(setup, case, launch, &endpoints, &api, under, &log)?;
    let started = Instant::now();
    let mut process = Process::start(&mut command)?;
    meter.watch(process.pid);

    let failed = |error: Failure| -> Failure { format!("{error} (its log is {})", log.display()).into() };
    let ready = match process.call(&mut api).await.map_err(failed)? {
        Call::Next(reading) => reading,
        other => return Err(failed(format!("instead of asking for an event: {other:?}").into())),
    };
    let (_, first) = process.response(&mut api, &events).await.map_err(failed)?;
    let mut last = first.clone();
    let mut durations = Vec::with_capacity(warm);
    for _ in 0..warm {
        api.send(events.make())?;
        let (duration, reading) = process.response(&mut api, &events).await.map_err(failed)?;
        durations.push(duration);
        last = reading;
    }
    let peak_memory = meter.peak_memory()?;
    process.end().await?;
    check_work(case, &endpoints, warm + 1).map_err(failed)?;
    Ok(Run { started, ready, first, last, warm: durations, peak_memory, event_bytes })
}

/// Checks that every message is in the table, and that every owner was notified of each.
fn check_work(case: Case, endpoints: &Endpoints, invocations: usize) -> Result<(), Failure> {
    let expected = u64::try_from(invocations * case.batch)?;
    let (stored, pushed) = (endpoints.messages()?, endpoints.counts().pushed_events);
    let (to_store, to_push) = match (case.contestant, case.function) {
        (Contestant::RuntimeFloor, _) | (_, Function::Websocket | Function::Authorizer) => (0, 0),
        (_, Function::SyncInsert) => (expected, 0),
        (_, Function::StatusLookup) => (1, 0),
        (_, Function::QueueConsumer) => (expected, expected),
    };
    if stored != to_store {
        return Err(format!("{stored} messages are stored instead of {to_store}").into());
    }
    if pushed != to_push {
        return Err(format!("{pushed} events were pushed instead of {to_push}").into());
    }
    Ok(())
}

/// The function with the environment that Lambda gives it ("Using Lambda environment variables"), and with the
/// variables of `template.yaml`.
fn command(
    setup: &Setup,
    case: Case,
    launch: &Launch,
    endpoints: &Endpoints,
    api: &RuntimeApi,
    under: &[String],
    log: &Path,
) -> Result<Command, Failure> {
    let mut words = under.iter().map(PathBuf::from).chain([launch.program.clone()]);
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).args(&launch.arguments).current_dir(&launch.folder).env_clear();
    let Trust { authority, with_amazon, with_system, .. } = &setup.trust;
    let bundle = match case.contestant {
        Contestant::Python => with_system,
        _ => with_amazon,
    };
    for (name, path) in [
        ("AWS_CA_BUNDLE", bundle),
        ("SSL_CERT_FILE", with_system),
        ("NODE_EXTRA_CA_CERTS", authority),
        ("LAMBDA_TASK_ROOT", &launch.folder),
    ] {
        command.env(name, path);
    }
    if case.contestant == Contestant::Intake {
        // As template.yaml sets it.
        let tunables = match case.function {
            Function::QueueConsumer => "glibc.malloc.mmap_threshold=131072",
            _ => "glibc.malloc.tcache_count=127",
        };
        command.env("GLIBC_TUNABLES", tunables);
    }
    // As long as real ones are: it is signed and sent with every request.
    let session_token = ["IQoJb3JpZ2luX2Vj", &"EXAMPLE".repeat(12)].concat().repeat(8);
    let (function, jwks) = (case.function.to_string(), setup.key.jwks());
    let (dynamodb_url, push_url, address) = (endpoints.dynamodb_url(), endpoints.push_url(), api.address());
    command.envs([
        ("AWS_LAMBDA_RUNTIME_API", address.as_str()),
        ("AWS_LAMBDA_FUNCTION_NAME", function.as_str()),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/bench"),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "2026/11/22/[$LATEST]8476a536e9f411e89739"),
        ("AWS_LAMBDA_LOG_FORMAT", "JSON"),
        ("AWS_LAMBDA_LOG_LEVEL", "INFO"),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "ASIAEXAMPLEEXAMPLE00"),
        ("AWS_SECRET_ACCESS_KEY", "not/a/secret/not/a/secret/not/a/secret/0"),
        ("AWS_SESSION_TOKEN", &session_token),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("_HANDLER", launch.handler),
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("LANG", "en_US.UTF-8"),
        ("TZ", ":UTC"),
        // A function in a zip cannot keep what Python compiles, either.
        ("PYTHONDONTWRITEBYTECODE", "1"),
        ("POWERTOOLS_SERVICE_NAME", "intake"),
        ("AWS_ENDPOINT_URL_DYNAMODB", &dynamodb_url),
        ("WEBSOCKET_ENDPOINT", &push_url),
        ("MESSAGES_TABLE", MESSAGES),
        ("CONNECTIONS_TABLE", CONNECTIONS),
        ("MESSAGE_RETENTION_DAYS", "0"),
        ("RECEIPT_RETENTION_DAYS", "14"),
        ("MAX_RECEIVE_COUNT", "5"),
        ("MAX_CONNECTIONS_PER_OWNER", "100"),
        ("ALLOWED_ORIGIN", "*"),
        ("TOKEN_ISSUER", ISSUER),
        ("TOKEN_AUDIENCE", AUDIENCE),
        ("TOKEN_JWKS", &jwks),
    ]);
    let file = File::create(log).map_err(|error| format!("cannot write {}: {error}", log.display()))?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    Ok(command)
}

/// A running function. Dropping it kills it.
struct Process {
    child: Child,
    pid: Pid,
}

impl Process {
    fn start(command: &mut Command) -> Result<Self, Failure> {
        let program = command.get_program().to_owned();
        let child = command.spawn().map_err(|error| format!("cannot run {}: {error}", program.display()))?;
        // The kernel's type is signed; the standard library's is not.
        let pid = Pid::from_raw(child.id().cast_signed());
        Ok(Self { child, pid })
    }

    /// The next call of the function.
    async fn call(&mut self, api: &mut RuntimeApi) -> Result<Call, Failure> {
        let start = Instant::now();
        while start.elapsed() < RESPONSE_TIMEOUT {
            if let Ok(call) = timeout(CHECK_INTERVAL, api.calls.recv()).await {
                return call.ok_or_else(|| "the Runtime API has ended".into());
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("the function ended ({status})").into());
            }
        }
        Err(format!("no response in {} s", RESPONSE_TIMEOUT.as_secs()).into())
    }

    /// The next response: how long it took, and what the process has used until then.
    async fn response(
        &mut self,
        api: &mut RuntimeApi,
        events: &Events,
    ) -> Result<(Duration, Reading), Failure> {
        loop {
            match self.call(api).await? {
                Call::Next(_) => {}
                Call::Error(body) => return Err(format!("the function failed: {body}").into()),
                Call::Response { sent, reading, body } => {
                    events.check(&body)?;
                    return Ok((reading.at - sent, reading));
                }
            }
        }
    }

    /// Ends it, and waits until it has ended: valgrind writes its result then.
    async fn end(mut self) -> Result<(), Failure> {
        kill(self.pid, Signal::SIGTERM)?;
        let start = Instant::now();
        while self.child.try_wait()?.is_none() {
            if start.elapsed() > Duration::from_secs(20) {
                return Err("it does not end".into());
            }
            sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // This fails if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
