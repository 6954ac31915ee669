//! Floods the stack that `INTAKE_STACK` names while everything around it fails, and accounts for every message that
//! it accepted. Nothing else may use that stack meanwhile; `cargo xtask soak` starts one for it.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a failure here ends the run")]

mod account;
mod evidence;
mod faults;
mod flood;
mod lookups;
mod run;
mod sockets;
mod watch;

use std::{
    io::{self, Write},
    process::ExitCode,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use clap::Parser;
use e2e::stack::Stack;
use fastrand::Rng;
use fault_proxy::FaultProxy;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::Instant};

use crate::{
    account::Account,
    evidence::{Letter, Log, Record},
    run::{Phase, Plan, Run, SOCKETS},
    watch::{Queue, Watch},
};

/// How many findings of a kind are printed.
const MAX_PRINTED: usize = 20;

/// The functions that use the tables, and the timeout in seconds of each in a flood with all faults: the consumer
/// retries until shortly before its timeout, and its messages are to be redelivered during the flood.
const FUNCTIONS: [(&str, Option<u32>); 4] = [
    ("QueueConsumerFunction", Some(3)),
    ("StatusLookupFunction", Some(3)),
    ("WebSocketFunction", Some(3)),
    ("DeadLetterRecorderFunction", None),
];

/// For how long faults go on after the last message was sent, unless the queue is empty before.
const AFTERMATH: Duration = Duration::from_secs(240);

/// How long the queues may stay as they are once there are no more faults.
const MAX_STANDSTILL: Duration = Duration::from_secs(120);

#[tokio::main]
async fn main() -> ExitCode {
    let plan = Plan::parse();
    let Plan { messages, clients, owners, kills, seed, .. } = plan;
    say(&format!("seed {seed}: {messages} messages of {owners} owners by {clients} clients, {kills} kills"));
    let account = soak(&Stack::running(), plan).await;
    for (kind, findings) in account.findings() {
        for finding in findings.iter().take(MAX_PRINTED) {
            say(&format!("{kind}: {finding}"));
        }
    }
    say(&format!("seed {seed}: {account}"));
    if account.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn say(line: &str) {
    // A reader that is gone is no reason to fail.
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// Floods a stack, and accounts for it.
///
/// # Panics
/// If not everything could be sent, or a queue does not become empty.
async fn soak(stack: &Stack, plan: Plan) -> Account {
    let table = Arc::new(FaultProxy::before(stack.address()).await);
    let connections = Arc::new(FaultProxy::before(stack.address()).await);
    let mark = redirect(stack, &plan, &table, &connections).await;
    let run = Arc::new(Run::new(stack, plan, mark));
    let watch = Watch { stack, run: &run, say: &say };
    let mut seeds = Rng::with_seed(plan.seed);
    let mut seeded = || (Arc::clone(&run), seeds.u64(..));

    let mut listeners = JoinSet::new();
    for number in 0..plan.owners * SOCKETS {
        let (run, seed) = seeded();
        listeners.spawn(async move { sockets::listen(&run, &run.owners[number / SOCKETS], seed).await });
    }
    let mut disturbances = JoinSet::new();
    let ((shared, seed), proxy) = (seeded(), Arc::clone(&table));
    disturbances.spawn(async move {
        match plan.throttle {
            None => faults::disturb_the_table(&shared, &proxy, seed).await,
            Some(seconds) => faults::throttle_the_table(&shared, &proxy, seconds).await,
        }
    });
    if plan.throttle.is_none() {
        let ((shared, seed), proxy) = (seeded(), Arc::clone(&connections));
        disturbances.spawn(async move {
            faults::disturb(&shared, &proxy, faults::of_the_sockets, seed).await;
        });
    }
    let (shared, seed) = seeded();
    disturbances.spawn(async move { lookups::at_random(&shared, seed).await });
    let (mut kills, (shared, seed)) = (JoinSet::new(), seeded());
    kills.spawn(async move { faults::kill_consumers(&shared, seed).await });
    let mut clients = JoinSet::new();
    for _ in 0..plan.clients {
        let (run, seed) = seeded();
        clients.spawn(async move { flood::client(&run, seed).await });
    }

    watch.until("sending", async |_| is_done(&mut clients)).await;
    let accepted = run.counts.accepted.load(Ordering::Relaxed);
    assert!(accepted >= plan.messages, "only {accepted} messages were accepted");
    let end = Instant::now() + AFTERMATH + Duration::from_secs(plan.throttle.unwrap_or_default());
    watch
        .until("draining, with faults", async |queue| {
            let few = queue.total() <= plan.messages / 50;
            (is_done(&mut kills) && few) || Instant::now() > end
        })
        .await;
    kills.shutdown().await;
    run.phase.send_replace(Phase::Calm);
    watch.until("ending the faults", async |_| is_done(&mut disturbances)).await;

    let sockets = plan.owners * SOCKETS;
    watch
        .until("opening sockets", async |_| run.counts.open_sockets.load(Ordering::Relaxed) == sockets)
        .await;
    flood::send_after_faults(&run, seeds.u64(..)).await;
    drain(&watch, &[&table, &connections]).await;
    lookups::all(&run, &say).await;
    // A request under way could still change the table.
    drain(&watch, &[&table, &connections]).await;
    run.phase.send_replace(Phase::Over);
    watch.until("closing sockets", async |_| is_done(&mut listeners)).await;

    let mut letters = Vec::new();
    watch
        .until("reading dead letters", async |_| {
            // The recorder hides them for a while.
            letters = stack.dead_letters().await;
            letters.len() >= run.counts.dead_letters.load(Ordering::Relaxed)
        })
        .await;
    let mut evidence = std::mem::take(&mut *run.evidence());
    evidence.letters = letters.iter().map(Letter::of).collect();
    evidence.records = stack.items().await.iter().filter_map(Record::of).collect();
    evidence.log = Log::read(&stack.function_log(), stack.max_receive_count());
    let mut account = Account::of(&evidence);
    let kills =
        [&run.counts.random_kills, &run.counts.forced_kills].map(|kills| kills.load(Ordering::Relaxed));
    account.check_run(&plan, kills[0], kills[1]);
    account
}

fn is_done(set: &mut JoinSet<()>) -> bool {
    while let Some(ended) = set.try_join_next() {
        ended.expect("a task of the run panicked");
    }
    set.is_empty()
}

/// Waits until the queue is empty and no function has a request under way.
async fn drain(watch: &Watch<'_, impl Fn(&str)>, proxies: &[&FaultProxy]) {
    let mut idle = 0;
    let mut last = (Instant::now(), Queue::default());
    watch
        .until("draining", async |queue| {
            if queue != last.1 {
                last = (Instant::now(), queue);
            }
            assert!(last.0.elapsed() < MAX_STANDSTILL, "the queue stands still with {queue:?}");
            let busy: usize =
                proxies.iter().map(|proxy| proxy.take_request_count() + proxy.under_way()).sum();
            idle = if queue.total() + busy == 0 { idle + 1 } else { 0 };
            idle == 5
        })
        .await;
}

/// Makes the functions reach the tables and the sockets through proxies. Returns what marks the consumers.
async fn redirect(stack: &Stack, plan: &Plan, table: &FaultProxy, connections: &FaultProxy) -> String {
    let (name, value) = ("SOAKED_THROUGH", table.url());
    for (logical_id, timeout) in FUNCTIONS {
        let path = format!("{}/configuration", stack.function(logical_id));
        let configuration = stack.rest("lambda", Method::GET, &path, None).await;
        let mut variables = configuration["Environment"]["Variables"].clone();
        variables["AWS_ENDPOINT_URL_DYNAMODB"] = json!(table.url());
        if let Some(Value::String(original)) = variables.get("WEBSOCKET_ENDPOINT") {
            let endpoint = original.replacen(&stack.emulator().endpoint, &connections.url(), 1);
            assert_ne!(*original, endpoint, "the sockets are behind the emulator's address");
            variables["WEBSOCKET_ENDPOINT"] = json!(endpoint);
        }
        if logical_id == "QueueConsumerFunction" {
            variables[name] = json!(value);
        }
        let mut change = json!({ "Environment": { "Variables": variables } });
        if let (None, Some(seconds)) = (plan.throttle, timeout) {
            change["Timeout"] = json!(seconds);
        }
        stack.rest("lambda", Method::PUT, &path, Some(&change)).await;
    }
    format!("{name}={value}")
}
