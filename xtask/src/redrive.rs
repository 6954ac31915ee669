//! `cargo xtask redrive`: a program of its own, because it needs the AWS SDK, which nothing else here does.

use std::{env, os::unix::process::CommandExt, process::Command};

use anyhow::{Context, Result};

pub(crate) use self::arguments::RedriveArguments;
use crate::{environment, process, step, workspace};

// Read here first: help and mistakes show at once, and not after the SDK has been compiled.
#[path = "../../redrive/src/arguments.rs"]
mod arguments;

pub(crate) fn redrive() -> Result<()> {
    step::run("Building redrive", || {
        process::run_captured(&mut cargo("build"), &workspace::scratch("redrive-build.log")?)
    })?;
    // What follows `cargo xtask redrive`. The program replaces this process, so that it gets the signals and sets
    // the exit code.
    let error = cargo("run").arg("--").args(env::args_os().skip(2)).exec();
    Err(error).context("cannot run cargo")
}

/// Cargo with the user's environment, including the AWS account.
fn cargo(verb: &str) -> Command {
    let mut command = environment::callers_cargo();
    command.args([verb, "--quiet", "--locked", "--package", "redrive"]);
    command
}
