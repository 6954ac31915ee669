//! Floods the stack that `INTAKE_STACK` names while everything around it fails, and accounts for every message that
//! it accepted. Nothing else may use that stack meanwhile; `cargo xtask soak` starts one for it.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a failure here ends the run")]

mod account;
mod evidence;
mod faults;
mod flood;
mod owners;
mod run;

use std::{
    panic,
    process::{self, ExitCode},
    sync::atomic::Ordering,
    time::Duration,
};

use clap::Parser;
use e2e::stack::{Found, Stack};
use fastrand::Rng;
use fault_proxy::Fault;
use tokio::{task::JoinSet, time::Instant};

use crate::{
    account::Account,
    evidence::letter,
    run::{Plan, Run, say},
};

/// How many sockets an owner has open, while they are open.
const SOCKETS: usize = 2;

/// How many findings are printed.
const MAX_PRINTED: usize = 100;

/// For how long faults go on after the last message was sent, unless the queue is empty before.
const AFTERMATH: Duration = Duration::from_secs(240);

#[tokio::main]
async fn main() -> ExitCode {
    let report = panic::take_hook();
    // One task that panics ends them all.
    panic::set_hook(Box::new(move |info| {
        report(info);
        process::exit(101);
    }));
    let plan = Plan::parse();
    let Plan { messages, clients, owners, kills, seed, .. } = plan;
    say(&format!("seed {seed}: {messages} messages of {owners} owners by {clients} clients, {kills} kills"));
    let account = soak(plan).await;
    account.findings.iter().take(MAX_PRINTED).for_each(|finding| say(finding));
    say(&format!("seed {seed}: {account}"));
    if account.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Floods a stack, and accounts for it.
async fn soak(plan: Plan) -> Account {
    // Both last for as long as the process, so that every task can use them.
    let stack: &Stack = Box::leak(Box::new(Stack::running()));
    let run: &Run = Box::leak(Box::new(Run::start(stack, plan).await));
    let mut chance = Rng::with_seed(plan.seed);

    let mut listeners = JoinSet::new();
    for owner in &run.owners {
        for _ in 0..SOCKETS {
            listeners.spawn(owners::listen(run, owner, chance.fork()));
        }
    }
    let mut disturbances = JoinSet::new();
    match plan.throttle {
        None => {
            disturbances.spawn(faults::disturb_the_table(run, chance.fork()));
            disturbances.spawn(faults::disturb(&run.connections, faults::of_the_sockets, chance.fork()));
        }
        Some(seconds) => _ = disturbances.spawn(faults::throttle_the_table(run, seconds)),
    }
    disturbances.spawn(faults::kill_consumers(run, chance.fork()));
    disturbances.spawn(owners::look_up_at_random(run, chance.fork()));
    let mut clients = JoinSet::new();
    for _ in 0..plan.clients {
        clients.spawn(flood::client(run, chance.fork()));
    }

    run.until("sending", async |_| run.evidence().accepted.len() >= plan.messages).await;
    clients.join_all().await;
    let end = Instant::now() + AFTERMATH + Duration::from_secs(plan.throttle.unwrap_or_default());
    run.until("draining, with faults", async |queues| {
        let is_exercised = run.evidence().random_kills == plan.kills;
        (is_exercised && queues.unsettled <= plan.messages / 50) || Instant::now() > end
    })
    .await;
    disturbances.shutdown().await;
    run.table.always(Fault::None);
    run.connections.always(Fault::None);
    run.is_calm.store(true, Ordering::Relaxed);
    let sockets = plan.owners * SOCKETS;
    run.until("opening sockets", async |_| run.open_sockets.load(Ordering::Relaxed) == sockets).await;
    flood::send_after_faults(run, chance.fork()).await;
    run.drain().await;
    owners::look_up_all(run).await;
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
    evidence.letters = letters.iter().map(letter).collect();
    let items = items.iter().filter_map(Found::of_item);
    evidence.items = items.map(|(owner, item)| ((owner, item.outcome.id.clone()), item)).collect();
    for entry in stack.function_entries() {
        evidence.read(&entry, stack.max_receive_count().into());
    }
    let mut account = Account::of(&evidence);
    account.check_run(&plan, evidence.random_kills);
    account
}
