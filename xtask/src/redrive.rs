//! `cargo xtask redrive`: a program of its own, because it needs the AWS SDK, which nothing else here does.

use std::{env, ffi::OsString, os::unix::process::CommandExt, process::Command};

use clap::Args;

use crate::{failure::Failure, process, step, workspace};

/// Puts dead-lettered messages back into their queue.
///
/// It is built when it is first used; `cargo xtask redrive --help` tells all about it.
#[derive(Args, Debug)]
#[command(disable_help_flag = true)]
pub(crate) struct RedriveArguments {
    /// See `cargo xtask redrive --help`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<OsString>,
}

pub(crate) fn redrive(arguments: &RedriveArguments) -> Result<(), Failure> {
    workspace::make_folder(&workspace::scratch())?;
    step::quiet("Building redrive", || {
        let log = workspace::scratch().join("redrive-build.log");
        process::run_captured(&mut cargo("build"), &log).map(drop)
    })?;
    // It takes the place of this process: signals and its exit code need nobody in between.
    let error = cargo("run").arg("--").args(&arguments.arguments).exec();
    Err(Failure::new(format!("cannot run cargo: {error}")))
}

/// Cargo with the user's environment, AWS account and all, but without what `cargo run` told this program
/// about itself, which would make the inner cargo build again what the outer one has built.
fn cargo(verb: &str) -> Command {
    let mut command = Command::new("cargo");
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    let manifest = workspace::root().join("Cargo.toml");
    command.args([verb, "--quiet", "--locked", "--package", "redrive", "--manifest-path"]).arg(manifest);
    command
}
