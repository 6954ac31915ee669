//! A run, and what its tasks share.

use std::{
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use clap::Parser;
use e2e::stack::{Caller, Found, Stack, processes_with, say};
use fastrand::Rng;
use fault_proxy::{Fault, FaultProxy};
use intake_domain::state::milliseconds;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    account::{Account, Evidence, Sent, Source, Statement},
    clients, faults,
};

/// The functions that use the tables or are killed, and the timeout in seconds of each in a flood with all faults: the
/// consumer retries until shortly before its timeout, and its messages are to be redelivered during the flood.
const FUNCTIONS: [(&str, Option<u32>); 5] = [
    (CONSUMER, Some(3)),
    ("StatusLookupFunction", Some(3)),
    ("WebSocketFunction", Some(3)),
    (RECORDER, None),
    (REDRIVE, None),
];
pub(crate) const CONSUMER: &str = "QueueConsumerFunction";
pub(crate) const RECORDER: &str = "DeadLetterRecorderFunction";
pub(crate) const REDRIVE: &str = "RedriveFunction";

/// The owner whose dead letters are redriven. Those of the others stay.
pub(crate) const REDRIVEN: &str = "owner-0";

/// The variable by which the processes of a function are recognized.
const MARK: &str = "SOAKED_THROUGH";

/// How often progress is printed.
const PROGRESS: Duration = Duration::from_secs(5);

/// How long the queues may stay as they are while there is something in them.
const MAX_STANDSTILL: Duration = Duration::from_secs(120);

/// How long redrives may take: several, and 90 seconds before the first, if a killed one hides letters.
const MAX_REDRIVE: Duration = Duration::from_secs(600);

/// How many sockets each owner has, and how many messages each sends after the faults.
const SOCKETS: usize = 2;
const AFTER_FAULTS: usize = 5;

/// What to do; `cargo xtask soak --help` says more.
#[derive(Parser, Clone, Copy, Debug)]
pub(crate) struct Plan {
    #[arg(long)]
    pub(crate) messages: usize,
    #[arg(long)]
    pub(crate) clients: usize,
    #[arg(long)]
    pub(crate) owners: usize,
    #[arg(long)]
    pub(crate) kills: usize,
    #[arg(long)]
    pub(crate) seed: u64,
    /// The functions keep their timeouts then, and each client sends a valid message every second.
    #[arg(long)]
    pub(crate) throttle: Option<u64>,
}

/// What the tasks share.
pub(crate) struct Run {
    pub(crate) plan: Plan,
    pub(crate) stack: &'static Stack,
    pub(crate) owners: Vec<Caller<'static>>,
    /// Between the functions and the tables.
    pub(crate) table: FaultProxy,
    /// Between the functions and the sockets.
    pub(crate) connections: FaultProxy,
    /// Whether there are no more faults, and sockets stay open.
    pub(crate) is_calm: AtomicBool,
    pub(crate) open_sockets: AtomicUsize,
    /// How many messages have an id that their owner has not used before.
    pub(crate) new_messages: AtomicUsize,
    evidence: Mutex<Evidence>,
}

impl Run {
    /// Makes the functions reach the tables and the sockets through proxies.
    async fn start(stack: &'static Stack, plan: Plan) -> Self {
        let run = Self {
            plan,
            stack,
            owners: (0..plan.owners).map(|number| stack.caller_named(&format!("owner-{number}"))).collect(),
            table: FaultProxy::before(stack.address()).await,
            connections: FaultProxy::before(stack.address()).await,
            is_calm: AtomicBool::default(),
            open_sockets: AtomicUsize::default(),
            new_messages: AtomicUsize::default(),
            evidence: Mutex::default(),
        };
        for (function, timeout) in FUNCTIONS {
            let redirect = |configuration: &mut Value| {
                if let (None, Some(seconds)) = (plan.throttle, timeout) {
                    configuration["Timeout"] = json!(seconds);
                }
                let variables = &mut configuration["Environment"]["Variables"];
                variables["AWS_ENDPOINT_URL_DYNAMODB"] = json!(run.table.url());
                variables[MARK] = json!(run.mark(function));
                if let Some(Value::String(endpoint)) = variables.get_mut("WEBSOCKET_ENDPOINT") {
                    let path = endpoint.strip_prefix(&stack.emulator().endpoint);
                    *endpoint = run.connections.url() + path.expect("the sockets are behind the emulator");
                }
            };
            stack.reconfigure(function, redirect).await;
        }
        run
    }

    /// What no function of another run has in its environment.
    fn mark(&self, function: &str) -> String {
        format!("{function} through {}", self.table.url())
    }

    /// The processes of a function.
    pub(crate) fn processes(&self, function: &str) -> Vec<i32> {
        processes_with(&format!("{MARK}={}", self.mark(function)))
    }

    pub(crate) fn owner(&self, name: &str) -> &Caller<'static> {
        self.owners.iter().find(|owner| owner.name == name).expect("an owner of this run")
    }

    /// Adds what an owner got to know to the evidence.
    pub(crate) fn add_statement(&self, owner: &Caller<'_>, source: Source, found: Found) {
        let owner = owner.name.clone();
        self.evidence().statements.push(Statement { owner, source, found });
    }

    pub(crate) fn evidence(&self) -> MutexGuard<'_, Evidence> {
        self.evidence.lock().expect("not poisoned")
    }

    /// How many messages are in the dead-letter queue.
    pub(crate) async fn dead_letters(&self) -> usize {
        self.stack.message_count(&self.stack.at.dead_letter_queue_url).await
    }

    /// Takes down that a consumer was killed.
    pub(crate) fn killed(&self) {
        self.evidence().kills.push(milliseconds(Timestamp::now()));
    }

    /// Counts the messages in the queue, waiting and in flight, until `enough`, and prints how far the run is.
    async fn until(&self, doing: &str, mut enough: impl AsyncFnMut(usize) -> bool) {
        let (mut printed, mut changed, mut before) = (Instant::now(), Instant::now(), 0);
        loop {
            let queued = self.stack.message_count(&self.stack.at.queue_url).await;
            if queued != before || queued == 0 {
                (changed, before) = (Instant::now(), queued);
            }
            // What failed in an outage is hidden for a little longer than the outage has lasted.
            let outage = Duration::from_secs(self.plan.throttle.unwrap_or_default());
            assert!(
                changed.elapsed() < MAX_STANDSTILL + outage.mul_f64(1.25),
                "{doing}: the queue stands still with {queued} messages"
            );
            let enough = enough(queued).await;
            if enough || printed.elapsed() >= PROGRESS {
                printed = Instant::now();
                let dead_letters = self.dead_letters().await;
                let evidence = self.evidence();
                let (accepted, unconfirmed) = (evidence.accepted.len(), evidence.unconfirmed.len());
                let kills = evidence.kills.len();
                say(format_args!(
                    "{doing}: accepted {accepted}, requests without a 202 {unconfirmed}, queued {queued}, \
                     dead letters {dead_letters}, kills {kills}"
                ));
            }
            if enough {
                return;
            }
            sleep(Duration::from_millis(500)).await;
        }
    }

    /// Returns what is left of an owner's dead letters to the queue. What a killed redrive had received is hidden for a
    /// while.
    async fn redrive(&self) {
        let (event, begin, mut redriven) = (json!({ "owner": REDRIVEN }), Instant::now(), 0);
        loop {
            let report = self.stack.invoke(REDRIVE, &event).await;
            redriven += report["moved"].as_array().map_or(0, Vec::len);
            let remaining = &report["remaining"];
            say(format_args!("redriven without a kill: {redriven} dead letters of {REDRIVEN}, {remaining}"));
            if remaining.is_null() {
                return;
            }
            assert!(begin.elapsed() < MAX_REDRIVE, "the redrive does not end: {remaining}");
        }
    }

    /// Waits until the queue is empty and no function has a request under way.
    async fn drain(&self) {
        let mut idle = 0;
        self.until("draining", async |queued| {
            let proxies = [&self.table, &self.connections];
            let requests = proxies.map(|proxy| proxy.take_request_count() + proxy.under_way());
            idle = if queued == 0 && requests == [0, 0] { idle + 1 } else { 0 };
            idle == 5
        })
        .await;
    }
}

/// Floods a stack, and accounts for it.
pub(crate) async fn soak(plan: Plan) -> Account {
    // Both last for as long as the process, so that every task can use them.
    let stack: &Stack = Box::leak(Box::new(Stack::running()));
    let run: &Run = Box::leak(Box::new(Run::start(stack, plan).await));
    let mut chance = Rng::with_seed(plan.seed);

    let mut listeners = JoinSet::new();
    let sockets = plan.owners * SOCKETS;
    for owner in run.owners.iter().cycle().take(sockets) {
        listeners.spawn(clients::listen(run, owner, chance.fork()));
    }
    let mut disturbances = JoinSet::new();
    disturbances.spawn(faults::disturb(run, chance.fork()));
    disturbances.spawn(faults::kill_consumers(run, chance.fork()));
    disturbances.spawn(faults::interrupt(run, chance.fork()));
    disturbances.spawn(clients::look_up_at_random(run, chance.fork()));
    let mut senders = JoinSet::new();
    for _ in 0..plan.clients {
        senders.spawn(clients::send_many(run, chance.fork()));
    }

    run.until("sending", async |_| run.evidence().accepted.len() >= plan.messages).await;
    senders.join_all().await;
    run.until("draining, with faults", async |queued| {
        // With nothing to do, a consumer that was killed has no successor.
        let no_more_kills = || queued == 0 && run.processes(CONSUMER).is_empty();
        queued <= plan.messages / 50 && (run.evidence().random_kills == plan.kills || no_more_kills())
    })
    .await;
    disturbances.shutdown().await;
    run.table.always(Fault::None);
    run.connections.always(Fault::None);
    run.is_calm.store(true, Ordering::Relaxed);
    run.until("opening sockets", async |_| run.open_sockets.load(Ordering::Relaxed) == sockets).await;
    for _ in 0..plan.owners * AFTER_FAULTS {
        let sent = Sent { after_faults: true, ..clients::new_message(run, &mut chance) };
        clients::send(run, &mut chance, &[sent], false).await;
    }
    run.drain().await;
    run.redrive().await;
    run.drain().await;
    clients::look_up_all(run).await;
    // A request under way could still change the table.
    run.drain().await;
    listeners.shutdown().await;

    let mut dead_letters = Vec::new();
    run.until("reading dead letters", async |_| {
        // The recorder hides them for a while.
        dead_letters = stack.dead_letters().await;
        dead_letters.len() >= run.dead_letters().await
    })
    .await;
    let items = stack.items().await;
    let mut evidence = run.evidence();
    evidence.redriven = Some(REDRIVEN);
    dead_letters.iter().for_each(|letter| evidence.read_dead_letter(letter));
    evidence.items = items.iter().filter_map(Found::of_item).collect();
    for entry in stack.function_entries() {
        evidence.read_log(&entry, stack.max_receive_count().into());
    }
    if let Some(seconds) = evidence.aftermath() {
        say(format_args!("the last message of the outage was stored {seconds} s after its end"));
    }
    let mut account = Account::of(&evidence);
    account.check_run(&plan, evidence.random_kills);
    account
}
