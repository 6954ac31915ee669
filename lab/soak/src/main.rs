//! Floods the stack that `INTAKE_STACK` names, and accounts for every message that it accepted. Nobody else
//! may use that stack meanwhile; `cargo xtask soak` starts one for it.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "what goes wrong here ends the run"
)]

mod account;
mod chaos;
mod flood;
mod run;
mod sockets;

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use e2e::stack::Stack;

use crate::run::{Plan, soak};

/// How many findings of a kind are shown.
const SHOWN: usize = 20;

#[derive(Parser)]
struct Arguments {
    #[arg(long)]
    messages: usize,
    #[arg(long)]
    clients: usize,
    #[arg(long)]
    owners: usize,
    #[arg(long)]
    kills: usize,
    #[arg(long)]
    seed: u64,
    #[arg(long)]
    throttle: Option<u64>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { messages, clients, owners, kills, seed, throttle } = Arguments::parse();
    let throttle = throttle.map(Duration::from_secs);
    let plan = Plan { messages, clients, owners, kills, seed, throttle };
    let stack = Stack::running();
    say(&format!("seed {seed}: {messages} messages of {owners} owners by {clients} clients, {kills} kills"));
    let account = soak(&stack, plan, say).await;
    for (kind, findings) in account.findings() {
        for finding in findings.iter().take(SHOWN) {
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
