//! Floods the stack that `INTAKE_STACK` names while everything around it fails, and accounts for every message that
//! it accepted. Nothing else may use that stack meanwhile; `cargo xtask soak` starts one for it.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a failure here ends the run")]

mod account;
mod clients;
mod faults;
mod run;

use std::{
    panic,
    process::{self, ExitCode},
};

use clap::Parser;
use e2e::stack::say;

use crate::run::{Plan, soak};

#[tokio::main]
async fn main() -> ExitCode {
    let report = panic::take_hook();
    // One task that panics ends them all.
    panic::set_hook(Box::new(move |info| {
        report(info);
        process::exit(101);
    }));
    let plan = Plan::parse();
    say(format_args!("{plan:?}"));
    let account = soak(plan).await;
    account.findings.iter().take(100).for_each(say);
    say(format_args!("seed {}: {account}", plan.seed));
    if account.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
