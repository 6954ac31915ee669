//! A run, and what its tasks share.

use std::{
    io::{self, Write},
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use clap::Parser;
use e2e::stack::{Caller, Found, Stack, processes_with};
use fastrand::Rng;
use fault_proxy::{Fault, FaultProxy};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    account::Account,
    clients,
    evidence::{Evidence, Sent, Statement},
    faults,
    messages::new_message,
};

/// The functions that use the tables, and the timeout in seconds of each in a flood with all faults: the consumer
/// retries until shortly before its timeout, and its messages are to be redelivered during the flood.
const FUNCTIONS: [(&str, Option<u32>); 4] = [
    (CONSUMER, Some(3)),
    ("StatusLookupFunction", Some(3)),
    ("WebSocketFunction", Some(3)),
    ("DeadLetterRecorderFunction", None),
];
const CONSUMER: &str = "QueueConsumerFunction";

/// The variable by which the processes of the consumer are recognized.
const MARK: &str = "SOAKED_THROUGH";

/// How often progress is printed.
const PROGRESS: Duration = Duration::from_secs(5);

/// How long the queues may stay as they are while there is something in them.
const MAX_STANDSTILL: Duration = Duration::from_secs(120);

/// How many sockets an owner has open, while they are open.
const SOCKETS: usize = 2;

/// How many messages each owner sends after the faults.
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

/// How many messages are in the queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Queues {
    /// In the queue, waiting or in flight.
    pub(crate) unsettled: usize,
    pub(crate) dead_letters: usize,
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
    /// As they were when they were last counted.
    pub(crate) queues: watch::Sender<Queues>,
    pub(crate) open_sockets: AtomicUsize,
    /// How many messages have an id that their owner has not used before.
    pub(crate) new_messages: AtomicUsize,
    evidence: Mutex<Evidence>,
}

impl Run {
    /// Makes the functions reach the tables and the sockets through proxies.
    pub(crate) async fn start(stack: &'static Stack, plan: Plan) -> Self {
        let run = Self {
            plan,
            stack,
            owners: (0..plan.owners).map(|number| stack.caller_named(&format!("owner-{number}"))).collect(),
            table: FaultProxy::before(stack.address()).await,
            connections: FaultProxy::before(stack.address()).await,
            is_calm: AtomicBool::default(),
            queues: watch::Sender::default(),
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
                if function == CONSUMER {
                    variables[MARK] = json!(run.table.url());
                }
                if let Some(Value::String(endpoint)) = variables.get_mut("WEBSOCKET_ENDPOINT") {
                    let path = endpoint.strip_prefix(&stack.emulator().endpoint);
                    *endpoint = run.connections.url() + path.expect("the sockets are behind the emulator");
                }
            };
            stack.reconfigure(function, redirect).await;
        }
        run
    }

    /// The processes of the consumer.
    pub(crate) fn consumers(&self) -> Vec<i32> {
        processes_with(&format!("{MARK}={}", self.table.url()))
    }

    pub(crate) fn owner(&self, name: &str) -> &Caller<'static> {
        self.owners.iter().find(|owner| owner.name == name).expect("an owner of this run")
    }

    /// Notes what an owner got to know.
    pub(crate) fn state(&self, owner: &Caller<'_>, is_notification: bool, found: Found) {
        let owner = owner.name.clone();
        self.evidence().statements.push(Statement { owner, is_notification, found });
    }

    pub(crate) fn evidence(&self) -> MutexGuard<'_, Evidence> {
        self.evidence.lock().expect("not poisoned")
    }

    /// Counts the messages in the queues until `enough`, and prints how far the run is.
    pub(crate) async fn until(&self, doing: &str, mut enough: impl AsyncFnMut(Queues) -> bool) {
        let (mut printed, mut changed) = (Instant::now(), Instant::now());
        loop {
            let unsettled = self.stack.message_count(&self.stack.at.queue_url).await;
            let dead_letters = self.stack.message_count(&self.stack.at.dead_letter_queue_url).await;
            let queues = Queues { unsettled, dead_letters };
            if self.queues.send_replace(queues) != queues || unsettled == 0 {
                changed = Instant::now();
            }
            assert!(changed.elapsed() < MAX_STANDSTILL, "{doing}: the queue stands still with {queues:?}");
            let enough = enough(queues).await;
            if enough || printed.elapsed() >= PROGRESS {
                printed = Instant::now();
                let Evidence { accepted, unconfirmed, random_kills, forced_kills, .. } = &*self.evidence();
                let (accepted, unconfirmed) = (accepted.len(), unconfirmed.len());
                say(&format!(
                    "{doing}: accepted {accepted}, requests without a 202 {unconfirmed}, in the queue {unsettled}, \
                     dead letters {dead_letters}, kills {}",
                    random_kills + forced_kills
                ));
            }
            if enough {
                return;
            }
            sleep(Duration::from_millis(500)).await;
        }
    }

    /// Waits until the queue is empty and no function has a request under way.
    pub(crate) async fn drain(&self) {
        let mut idle = 0;
        self.until("draining", async |queues| {
            let proxies = [&self.table, &self.connections];
            let busy: usize =
                proxies.iter().map(|proxy| proxy.take_request_count() + proxy.under_way()).sum();
            idle = if queues.unsettled + busy == 0 { idle + 1 } else { 0 };
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
    for owner in &run.owners {
        for _ in 0..SOCKETS {
            listeners.spawn(clients::listen(run, owner, chance.fork()));
        }
    }
    let mut disturbances = JoinSet::new();
    disturbances.spawn(faults::disturb(run, chance.fork()));
    disturbances.spawn(faults::kill_consumers(run, chance.fork()));
    disturbances.spawn(clients::look_up_at_random(run, chance.fork()));
    let mut senders = JoinSet::new();
    for _ in 0..plan.clients {
        senders.spawn(clients::send_many(run, chance.fork()));
    }

    run.until("sending", async |_| run.evidence().accepted.len() >= plan.messages).await;
    senders.join_all().await;
    run.until("draining, with faults", async |queues| {
        let is_exercised = run.evidence().random_kills == plan.kills;
        queues.unsettled == 0 || (is_exercised && queues.unsettled <= plan.messages / 50)
    })
    .await;
    disturbances.shutdown().await;
    run.table.always(Fault::None);
    run.connections.always(Fault::None);
    run.is_calm.store(true, Ordering::Relaxed);
    let sockets = plan.owners * SOCKETS;
    run.until("opening sockets", async |_| run.open_sockets.load(Ordering::Relaxed) == sockets).await;
    for _ in 0..plan.owners * AFTER_FAULTS {
        let sent = Sent { after_faults: true, ..new_message(run, &mut chance) };
        clients::send(run, &mut chance, &sent).await;
    }
    run.drain().await;
    clients::look_up_all(run).await;
    // A request under way could still change the table.
    run.drain().await;
    listeners.shutdown().await;

    let mut letters = Vec::new();
    run.until("reading dead letters", async |queues| {
        // The recorder hides them for a while.
        letters = stack.dead_letters().await;
        letters.len() >= queues.dead_letters
    })
    .await;
    let items = stack.items().await;
    let mut evidence = run.evidence();
    letters.iter().for_each(|letter| evidence.read_letter(letter));
    let items = items.iter().filter_map(Found::of_item);
    evidence.items = items.map(|(owner, item)| ((owner, item.outcome.id.clone()), item)).collect();
    for entry in stack.function_entries() {
        evidence.read_log(&entry, stack.max_receive_count().into());
    }
    let mut account = Account::of(&evidence);
    account.check_run(&plan, evidence.random_kills);
    account
}

pub(crate) fn say(line: &str) {
    // A reader that is gone is no reason to fail.
    let _ = writeln!(io::stdout().lock(), "{line}");
}
