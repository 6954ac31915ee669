//! One life of a function process: started as Lambda starts it, given events, read and ended.

use std::{
    collections::BTreeMap,
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
use tokio::time::{sleep, timeout};

use crate::{
    Failure,
    contestants::{Contestant, Function, Launch},
    endpoints::{CONNECTIONS, Endpoints, MESSAGES, Trust},
    events::{Events, OWNERS},
    runtime_api::{Call, Probe, Reading, RuntimeApi},
};

/// How long a call may be in coming before it is looked whether the process lives at all.
const PATIENCE: Duration = Duration::from_millis(200);

/// How long one answer may take. An instrumented function with ten thousand messages takes minutes.
const LIMIT: Duration = Duration::from_secs(10 * 60);

/// What is to be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Case {
    pub(crate) function: Function,
    pub(crate) contestant: Contestant,
    /// Messages in an event.
    pub(crate) batch: usize,
    /// Bytes of a message.
    pub(crate) payload_bytes: usize,
}

impl Case {
    /// How people name it, and what `--only` looks into.
    pub(crate) fn label(&self) -> String {
        let Self { function, contestant, batch, payload_bytes } = self;
        format!("{function} {contestant} {batch}x{}KB", payload_bytes / 1024)
    }
}

/// What one process used. Times and requests are those of one invocation, unless they say otherwise.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    /// From the start of the process until it asks for its first event.
    pub(crate) init: Duration,
    pub(crate) init_cpu: Duration,
    /// From the start of the process until its first answer.
    pub(crate) first_answer: Duration,
    pub(crate) first_cpu: Duration,
    /// The invocations after the first: from the event to the answer.
    pub(crate) warm: Vec<Duration>,
    /// From answer to answer, on average.
    pub(crate) warm_cpu: Duration,
    pub(crate) peak_memory: u64,
    /// TLS handshakes during init, until the first answer, until the last answer.
    pub(crate) handshakes_init: u64,
    pub(crate) handshakes_first: u64,
    pub(crate) handshakes_total: u64,
    /// All requests during init.
    pub(crate) requests_init: BTreeMap<String, u64>,
    /// Those of the first invocation.
    pub(crate) requests_first: BTreeMap<String, u64>,
    /// All requests of the invocations after the first.
    pub(crate) requests_warm: BTreeMap<String, u64>,
    /// The size of an event, in bytes.
    pub(crate) event_bytes: u64,
    /// What was pushed in the first invocation, in bytes.
    pub(crate) pushed_bytes: u64,
}

/// What all processes of a run have in common.
pub(crate) struct Surroundings {
    pub(crate) trust: Trust,
    pub(crate) key: DevelopmentKey,
    /// Where logs go.
    pub(crate) folder: PathBuf,
}

impl Surroundings {
    fn token(&self) -> String {
        self.key.mint(ISSUER, AUDIENCE, OWNERS[0], Duration::from_secs(24 * 3600))
    }
}

/// Starts a function, hands it one event and then `warm` more, and reads what it used.
///
/// `under` is a program that runs the function instead of the kernel: valgrind.
///
/// # Errors
/// If the function ends, fails or does not do the work.
pub(crate) async fn live(
    surroundings: &Surroundings,
    case: Case,
    launch: &Launch,
    warm: usize,
    under: &[String],
) -> Result<Life, Failure> {
    let endpoints = Endpoints::start(&surroundings.trust).await?;
    let mut events = Events::new(case.function, case.batch, case.payload_bytes, &surroundings.token())?;
    events.prepare(&endpoints)?;
    let probe = Arc::new(Probe::new(endpoints.shared_counts()));
    let mut api = RuntimeApi::start(Arc::clone(&probe)).await?;
    // It is there when the function asks, as it is when Lambda starts a function for a request.
    let event = events.make();
    let event_bytes = u64::try_from(event.len())?;
    api.hand(event)?;

    let log = surroundings.folder.join(format!("{}.log", case.label().replace(' ', "-")));
    let mut command = command(surroundings, case, launch, &endpoints, &api, under, &log)?;
    let started = Instant::now();
    let mut process = Process::start(&mut command)?;
    probe.watch(process.pid);

    let failed = |error: Failure| -> Failure { format!("{error} (its log is {})", log.display()).into() };
    let ready = match process.call(&mut api).await.map_err(failed)? {
        Call::Next(reading) => reading,
        other => return Err(failed(format!("instead of asking for an event: {other:?}").into())),
    };
    let (_, first) = process.answer(&mut api, &events).await.map_err(failed)?;
    let mut last = first.clone();
    let mut durations = Vec::with_capacity(warm);
    for _ in 0..warm {
        api.hand(events.make())?;
        let (duration, reading) = process.answer(&mut api, &events).await.map_err(failed)?;
        durations.push(duration);
        last = reading;
    }
    let peak_memory = probe.peak_memory()?;
    process.end().await?;
    check_work(case, &endpoints, warm + 1).map_err(failed)?;

    let rounds = u32::try_from(warm.max(1))?;
    Ok(Life {
        init: ready.at - started,
        init_cpu: ready.cpu,
        first_answer: first.at - started,
        first_cpu: first.cpu,
        warm: durations,
        warm_cpu: last.cpu.saturating_sub(first.cpu) / rounds,
        peak_memory,
        handshakes_init: ready.counts.handshakes,
        handshakes_first: first.counts.handshakes,
        handshakes_total: last.counts.handshakes,
        requests_first: first.counts.requests_since(&ready.counts),
        requests_warm: last.counts.requests_since(&first.counts),
        requests_init: ready.counts.requests,
        event_bytes,
        pushed_bytes: first.counts.pushed_bytes - ready.counts.pushed_bytes,
    })
}

/// Whether every message is in the table, and every owner was told of each.
fn check_work(case: Case, endpoints: &Endpoints, invocations: usize) -> Result<(), Failure> {
    let expected = u64::try_from(invocations * case.batch)?;
    let (stored, told) = (endpoints.messages()?, endpoints.counts().events_told);
    let (should_store, should_tell) = match (case.contestant, case.function) {
        (Contestant::RuntimeFloor, _) | (_, Function::Websocket | Function::Authorizer) => (0, 0),
        (_, Function::SyncInsert) => (expected, 0),
        (_, Function::StatusLookup) => (1, 0),
        (_, Function::QueueConsumer) => (expected, expected),
    };
    if stored != should_store {
        return Err(format!("{stored} messages are stored instead of {should_store}").into());
    }
    if told != should_tell {
        return Err(format!("{told} events were pushed instead of {should_tell}").into());
    }
    Ok(())
}

/// The function with the environment that Lambda gives it ("Using Lambda environment variables"), and with the
/// variables of `template.yaml`.
fn command(
    surroundings: &Surroundings,
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
    let Trust { authority, with_amazon, with_system, .. } = &surroundings.trust;
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
    if (case.function, case.contestant) == (Function::QueueConsumer, Contestant::Intake) {
        // As template.yaml sets it.
        command.env("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=131072");
    }
    let jwks = surroundings.key.jwks();
    let (dynamodb_url, push_url, address) = (endpoints.dynamodb_url(), endpoints.push_url(), api.address());
    command.envs([
        ("AWS_LAMBDA_RUNTIME_API", address.as_str()),
        ("AWS_LAMBDA_FUNCTION_NAME", case.function.name()),
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
        ("AWS_SESSION_TOKEN", SESSION_TOKEN),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("_HANDLER", launch.handler),
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("LANG", "en_US.UTF-8"),
        ("TZ", ":UTC"),
        // What is compiled from the function's own code is not kept, as in a zip.
        ("PYTHONDONTWRITEBYTECODE", "1"),
        ("POWERTOOLS_SERVICE_NAME", "intake"),
        ("AWS_ENDPOINT_URL_DYNAMODB", &dynamodb_url),
        ("WEBSOCKET_ENDPOINT", &push_url),
        ("MESSAGES_TABLE", MESSAGES),
        ("CONNECTIONS_TABLE", CONNECTIONS),
        ("MESSAGE_RETENTION_DAYS", "0"),
        ("MAX_RECEIVE_COUNT", "5"),
        ("ALLOWED_ORIGIN", "*"),
        ("TOKEN_ISSUER", ISSUER),
        ("TOKEN_AUDIENCE", AUDIENCE),
        ("TOKEN_JWKS", &jwks),
    ]);
    let file = File::create(log).map_err(|error| format!("cannot write {}: {error}", log.display()))?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    Ok(command)
}

/// As long as real ones are: it is signed and sent with every request.
const SESSION_TOKEN: &str = concat!(
    "IQoJb3JpZ2luX2VjEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLE",
    "IQoJb3JpZ2luX2VjEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLE",
    "IQoJb3JpZ2luX2VjEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLE",
    "IQoJb3JpZ2luX2VjEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLE",
    "IQoJb3JpZ2luX2VjEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLE",
    "IQoJb3JpZ2luX2VjEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLE",
    "IQoJb3JpZ2luX2VjEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLE",
    "IQoJb3JpZ2luX2VjEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLE"
);

/// A running function. Dropping it kills it.
struct Process {
    child: Child,
    pid: Pid,
}

impl Process {
    fn start(command: &mut Command) -> Result<Self, Failure> {
        let program = command.get_program().to_owned();
        let child = command.spawn().map_err(|error| format!("cannot run {}: {error}", program.display()))?;
        // Process ids fit: the kernel's type is signed, and the standard library's only differs in sign.
        let pid = Pid::from_raw(child.id().cast_signed());
        Ok(Self { child, pid })
    }

    /// The next thing that the function calls.
    async fn call(&mut self, api: &mut RuntimeApi) -> Result<Call, Failure> {
        let start = Instant::now();
        while start.elapsed() < LIMIT {
            match timeout(PATIENCE, api.calls.recv()).await {
                Ok(Some(call)) => return Ok(call),
                Ok(None) => return Err("the Runtime API is gone".into()),
                Err(_) => {
                    if let Some(status) = self.child.try_wait()? {
                        return Err(format!("the function ended ({status})").into());
                    }
                }
            }
        }
        Err(format!("no answer in {} s", LIMIT.as_secs()).into())
    }

    /// The next answer, how long it took, and what the process has used until then.
    async fn answer(
        &mut self,
        api: &mut RuntimeApi,
        events: &Events,
    ) -> Result<(Duration, Reading), Failure> {
        loop {
            match self.call(api).await? {
                Call::Next(_) => {}
                Call::Error(body) => return Err(format!("the function failed: {body}").into()),
                Call::Response { handed, reading, body } => {
                    events.check(&body)?;
                    return Ok((reading.at - handed, reading));
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
        // Fails if it has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
