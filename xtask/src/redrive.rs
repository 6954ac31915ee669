//! `cargo xtask redrive`: a program of its own, because it needs the AWS SDK, which nothing else here does.

use std::{env, os::unix::process::CommandExt, process::Command};

pub(crate) use self::arguments::RedriveArguments;
use crate::{failure::Failure, process, step, workspace};

// Read here first: help and mistakes show at once, and not after the SDK has been compiled.
#[path = "../../redrive/src/arguments.rs"]
mod arguments;

pub(crate) fn redrive() -> Result<(), Failure> {
    workspace::make_folder(&workspace::scratch())?;
    step::run("Building redrive", || {
        let log = workspace::scratch().join("redrive-build.log");
        process::run_captured(&mut cargo("build"), &log).map(drop)
    })?;
    // What follows `cargo xtask redrive`. The program replaces this process, so that it gets the signals and sets
    // the exit code.
    let error = cargo("run").arg("--").args(env::args_os().skip(2)).exec();
    Err(Failure::new(format!("cannot run cargo: {error}")))
}

/// Cargo with the user's environment, including the AWS account.
fn cargo(verb: &str) -> Command {
    let mut command = Command::new("cargo");
    crate::environment::outer_cargo(&mut command);
    let manifest = workspace::root().join("Cargo.toml");
    command.args([verb, "--quiet", "--locked", "--package", "redrive", "--manifest-path"]).arg(manifest);
    command
}
