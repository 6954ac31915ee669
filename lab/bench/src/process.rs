//! One process of a function: started as Lambda starts it, given events, measured and ended.

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    process::Stdio,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use development_key::{AUDIENCE, ISSUER};
use nix::{
    sys::signal::{Signal, kill},
    time::ClockId,
    unistd::Pid,
};
use tokio::process::{Child, Command};

use crate::{
    Failure,
    cases::{Case, Contestant, Function},
    endpoints::{CONNECTIONS, Endpoints, MESSAGES},
    events::{OWNERS, check, events, prepare},
    figures::{self, Figures},
    runtime_api::{Call, NEXT, RESPONSE},
    setup::Setup,
};

/// Starts a function, hands it one event and then `warm` more, and measures it. It is an error if the function ends,
/// fails or does not do the work.
///
/// `under` is a program that runs the function instead of the kernel: valgrind.
pub(crate) async fn run(setup: &Setup, case: &Case, warm: usize, under: &[&str]) -> Result<Figures, Failure> {
    let log = setup.logs.join(format!("{}.log", case.name()).replace(' ', "-"));
    let figures = run_logged(setup, case, warm, under, File::create(&log)?).await;
    figures.map_err(|error| format!("{}: {error} (its log is {})", case.name(), log.display()).into())
}

async fn run_logged(
    setup: &Setup,
    case: &Case,
    warm: usize,
    under: &[&str],
    log: File,
) -> Result<Figures, Failure> {
    let mut endpoints = Endpoints::start(&setup.acceptor).await?;
    prepare(case, &endpoints)?;
    // Lambda starts a function because there is an event: it waits for the function already.
    let token = setup.key.mint(ISSUER, AUDIENCE, OWNERS[0], Duration::from_secs(24 * 3600));
    let events = events(case, 1 + warm, &token)?;
    let event_bytes = events[0].len();

    let mut command = command(setup, case, &endpoints, under);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let started = Instant::now();
    let mut child = command
        .spawn()
        .map_err(|error| format!("cannot run {}: {error}", command.as_std().get_program().display()))?;
    // The kernel's type is signed; the standard library's is not.
    let pid = Pid::from_raw(child.id().ok_or("it has ended")?.cast_signed());
    // Of all its threads, also of those that have ended.
    let cpu_clock = ClockId::pid_cpu_clock_id(pid)?;

    let mut init_handshakes = 0;
    let mut responses = Vec::with_capacity(events.len());
    for event in events {
        let next = next_call(&mut endpoints, &mut child, NEXT).await?;
        if responses.is_empty() {
            init_handshakes = endpoints.counts.handshakes.load(Relaxed);
        }
        // A function that does not wait for a reply has ended, which shows in what comes next.
        let _ = next.reply.send(event);
        let response = next_call(&mut endpoints, &mut child, RESPONSE).await?;
        responses.push((started.elapsed(), Duration::from(cpu_clock.now()?)));
        check(case.function, &response.body)?;
        let _ = response.reply.send(r#"{"status":"OK"}"#.into());
    }
    let peak_memory = peak_memory(pid)?;
    kill(pid, Signal::SIGTERM)?;
    // Until then, valgrind has not written its result.
    child.wait().await?;
    check_work(case, &endpoints, 1 + warm)?;

    let (first, first_cpu) = responses[0];
    let (_, last_cpu) = responses[warm];
    let warm_messages = (warm.max(1) * case.messages()) as f64;
    let later_handshakes = endpoints.counts.handshakes.load(Relaxed) - init_handshakes;
    Ok(Figures::from([
        (figures::FIRST_RESPONSE, first.as_secs_f64() * 1e3),
        (figures::FIRST_CPU, first_cpu.as_secs_f64() * 1e3),
        (figures::WARM_CPU, (last_cpu - first_cpu).as_secs_f64() * 1e6 / warm_messages),
        (figures::PEAK_MEMORY, peak_memory as f64),
        (figures::EVENT_BYTES, event_bytes as f64),
        (figures::INIT_HANDSHAKES, init_handshakes as f64),
        (figures::LATER_HANDSHAKES, later_handshakes as f64),
    ]))
}

/// Checks that every message is in the table, and nothing else but outcomes, and that every owner was notified of each.
fn check_work(case: &Case, endpoints: &Endpoints, invocations: usize) -> Result<(), Failure> {
    let messages = (invocations * case.messages()) as u64;
    let expected = match case.function {
        Function::Websocket | Function::Authorizer => (0, 0),
        Function::StatusLookup => (1, 0),
        Function::SyncInsert => (messages, 0),
        // The outcomes of a bulk are an item of their own.
        Function::QueueConsumer if case.bulk > 1 => (messages + (invocations * case.batch) as u64, messages),
        Function::QueueConsumer => (messages, messages),
    };
    let found = (endpoints.messages()?, endpoints.counts.pushed_events.load(Relaxed));
    if found != expected {
        return Err(format!("messages stored and pushed: {found:?} instead of {expected:?}").into());
    }
    Ok(())
}

/// The function with the environment that Lambda gives it ("Using Lambda environment variables"), and with the
/// variables of `template.yaml`.
fn command(setup: &Setup, case: &Case, endpoints: &Endpoints, under: &[&str]) -> Command {
    let (folder, own_words) = case.command();
    let mut words = under.iter().map(OsString::from).chain(own_words);
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).env_clear().env("LAMBDA_TASK_ROOT", &folder).current_dir(folder).kill_on_drop(true);
    // Where `node` and valgrind are.
    command.env("PATH", env::var_os("PATH").unwrap_or_default());
    let Setup { amazon_roots, system_roots, .. } = setup;
    let bundle = if case.contestant == Contestant::Python { system_roots } else { amazon_roots };
    command.env("AWS_CA_BUNDLE", bundle).env("NODE_EXTRA_CA_CERTS", bundle);
    command.env("SSL_CERT_FILE", system_roots);
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
    let (function, jwks, address) =
        (case.function.to_string(), setup.key.jwks(), endpoints.runtime_api.to_string());
    command.envs([
        ("AWS_LAMBDA_RUNTIME_API", address.as_str()),
        ("AWS_LAMBDA_FUNCTION_NAME", &function),
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
        ("LANG", "en_US.UTF-8"),
        ("TZ", ":UTC"),
        // A function in a zip cannot keep what Python compiles, either.
        ("PYTHONDONTWRITEBYTECODE", "1"),
        ("POWERTOOLS_SERVICE_NAME", "intake"),
        ("AWS_ENDPOINT_URL_DYNAMODB", &endpoints.dynamodb_url),
        ("WEBSOCKET_ENDPOINT", &endpoints.push_url),
        ("MESSAGES_TABLE", MESSAGES),
        ("CONNECTIONS_TABLE", CONNECTIONS),
        ("MESSAGE_RETENTION_DAYS", "0"),
        ("RECEIPT_RETENTION_DAYS", "14"),
        ("QUEUE_URL", "http://127.0.0.1:1/queue"),
        ("REDELIVERY_DELAY_SECONDS", "30"),
        ("MAX_RECEIVE_COUNT", "8"),
        ("MAX_CONNECTIONS_PER_OWNER", "100"),
        ("ALLOWED_ORIGIN", "*"),
        ("TOKEN_ISSUER", ISSUER),
        ("TOKEN_AUDIENCE", AUDIENCE),
        ("TOKEN_JWKS", &jwks),
    ]);
    command
}

/// The next call of the function; an error if it calls something else, such as to report an error, or ends.
async fn next_call(endpoints: &mut Endpoints, child: &mut Child, expected: &str) -> Result<Call, Failure> {
    let call = tokio::select! {
        biased;
        call = endpoints.calls.recv() => call.ok_or("the Runtime API has ended")?,
        status = child.wait() => return Err(format!("the function ended ({})", status?).into()),
    };
    if !call.path.ends_with(expected) {
        return Err(format!("{} {}", call.path, String::from_utf8_lossy(&call.body)).into());
    }
    Ok(call)
}

/// The peak of a process's resident memory, in bytes.
fn peak_memory(pid: Pid) -> Result<u64, Failure> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB"));
    Ok(peak.ok_or("the process has ended")?.trim().parse::<u64>()? * 1024)
}
