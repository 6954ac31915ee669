//! Floods the stack that `INTAKE_STACK` names while everything around it fails, and accounts for every message that
//! it accepted. Nothing else may use that stack meanwhile; `cargo xtask soak` starts one for it.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a failure here ends the run")]

mod account;
mod clients;
mod evidence;
mod faults;
mod messages;
mod run;

use std::{
    panic,
    process::{self, ExitCode},
};

use clap::Parser;

use crate::run::{Plan, say, soak};

/// How many findings are printed.
const MAX_PRINTED: usize = 100;

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
