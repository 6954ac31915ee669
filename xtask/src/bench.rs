//! `cargo xtask bench`: builds the functions and the programs that they are compared with, and measures.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, ensure};
use clap::Args;
use fs_err as fs;

use crate::{
    deployment::{self, Profile},
    environment, interrupt, process,
    python::Environment,
    step, workspace,
};

/// The packages of the peers in Rust. Each is built by itself, so that none affects another's features.
const RUST_PEERS: [&str; 3] = ["rust-default-sync-insert", "rust-default-queue-consumer", "hand-signed"];

/// Measures the functions, and the same work as most people would write it.
///
/// Prints a table and whether the targets are met. lab/bench/README.md describes what is measured and how. The first run
/// takes long, because it builds the peers. A full run takes about ten minutes.
#[derive(Args, Debug)]
pub(crate) struct BenchArguments {
    /// Few rounds, no instruction counts: a minute or two
    #[arg(long)]
    quick: bool,
    /// Measure only cases whose name contains this, such as queue-consumer, python or 100x1KB; if given several
    /// times, the name has to contain all
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// Compare what does not depend on the machine with lab/bench/figures.json; fail on a regression of over 5 %
    #[arg(long, conflicts_with_all = ["quick", "only"])]
    check: bool,
    /// Update lab/bench/figures.json
    #[arg(long, conflicts_with_all = ["quick", "only", "check"])]
    write_figures: bool,
}

pub(crate) fn bench(arguments: &BenchArguments) -> Result<()> {
    deployment::check_machine()?;
    fs::create_dir_all(scratch())?;
    let (tools, functions) = deployment::build(Profile::default())?;
    let mut command = bench_command("run");
    command.arg("--");
    let mut python = None;
    // The committed figures are those of Intake alone.
    if !arguments.check && !arguments.write_figures {
        build_rust_peers(&tools)?;
        let ready = Environment::peer().map(|environment| python = Some(environment));
        for (peer, ready) in [("Python", ready), ("Node.js", build_node_peer())] {
            match ready {
                Err(failure) if interrupt::requested() => return Err(failure),
                // Its cases are left out, and named.
                Err(failure) => step::note(format_args!("the peer in {peer} cannot be run: {failure:#}")),
                Ok(()) => {}
            }
        }
    }
    step::run("Building bench", || {
        process::run_captured(&mut bench_command("build"), &scratch().join("build.log"))
    })?;
    command.args(arguments.quick.then_some("--quick"));
    command.args(arguments.check.then_some("--check"));
    command.args(arguments.write_figures.then_some("--write-figures"));
    command.args(arguments.only.iter().flat_map(|text| ["--only", text]));
    let result = process::run_shown(&mut command);
    drop((functions, python));
    result
}

/// The folder of the builds of the peers, and of the results.
fn scratch() -> PathBuf {
    workspace::root().join("target/bench")
}

/// The folder of the programs that the functions are compared with.
fn peers() -> PathBuf {
    workspace::root().join("lab/bench/peers")
}

/// Optimized, but not like a function: it only surrounds them.
fn bench_command(verb: &str) -> Command {
    let mut command = environment::cargo();
    command.args([verb, "--quiet", "--locked", "--package", "bench", "--profile", "bench-harness"]);
    command
}

/// Builds them with the tool that builds the functions.
fn build_rust_peers(tools: &Environment) -> Result<()> {
    step::run("Building the peers in Rust (the first time takes minutes)", || {
        for package in RUST_PEERS {
            let mut command = environment::cargo();
            command
                .env("PATH", environment::path_with(&tools.programs()))
                .env("CARGO_TARGET_DIR", scratch().join("rust"))
                .args(["lambda", "build", "--quiet", "--release", "--locked", "--package", package])
                .arg("--lambda-dir")
                .arg(scratch().join("lambda"))
                .current_dir(peers().join("rust"));
            process::run_shown(&mut command)?;
        }
        Ok(())
    })
}

/// Installs the packages of the peer in Node.js, and bundles it.
fn build_node_peer() -> Result<()> {
    ensure!(process::succeeds("node", &["--version"]), "node was not found: install Node.js 20");
    ensure!(process::succeeds("npm", &["--version"]), "npm was not found: install npm");
    let folder = scratch().join("node");
    fs::create_dir_all(folder.join("src"))?;
    let source = peers().join("node");
    let lock = fs::read(source.join("package-lock.json"))?;
    // Written last: without it the installation is not complete.
    let installed = folder.join("installed.json");
    for file in ["package.json", "package-lock.json", "src/sync-insert.mjs", "src/queue-consumer.mjs"] {
        fs::copy(source.join(file), folder.join(file))?;
    }
    if fs::read(&installed).ok().as_ref() != Some(&lock) {
        step::run("Installing the peer in Node.js (once, about 40 MB)", || {
            npm(&folder, &["ci", "--no-audit", "--no-fund"], "install.log")
        })?;
        fs::write(&installed, lock)?;
    }
    step::run("Bundling the peer in Node.js", || npm(&folder, &["run", "build"], "bundle.log"))
}

fn npm(folder: &Path, arguments: &[&str], log: &str) -> Result<()> {
    let mut command = Command::new("npm");
    command.args(arguments).current_dir(folder);
    process::run_captured(&mut command, &folder.join(log)).map(drop)
}
