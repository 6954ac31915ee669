//! `cargo xtask bench`: builds the functions and the programs that they are compared with, and measures.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use clap::Args;

use crate::{
    deployment::{self, Profile},
    environment,
    failure::Failure,
    process,
    python::Environment,
    step, workspace,
};

/// The packages of the peers in Rust. Each is built by itself, so that none affects another's features.
const RUST_PEERS: [&str; 4] =
    ["rust-default-sync-insert", "rust-default-queue-consumer", "hand-signed", "runtime-floor"];

/// Measures the functions, and the same work as most people would write it.
///
/// Starts each function as Lambda does, with DynamoDB behind TLS in the same process, and measures start, CPU time,
/// memory, requests and, if valgrind is installed, instructions. The same work is measured in Rust with all
/// defaults, in Python and in Node.js. It prints a table and whether the targets are met, and writes
/// target/bench/results.json. lab/bench/README.md describes what is measured and how.
///
/// The first run takes long, because it builds the peers. A full run takes about ten minutes.
#[derive(Args, Debug)]
pub(crate) struct BenchArguments {
    /// Few rounds, no batch of 10,000, no instruction counts: a minute or two
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

pub(crate) fn bench(arguments: &BenchArguments) -> Result<(), Failure> {
    deployment::check_machine()?;
    workspace::make_folder(&workspace::bench())?;
    let tools = Environment::run()?;
    let functions = deployment::build(&tools, Profile::default())?;
    build_rust_peers(&tools)?;
    // Interpreted peers are not in the committed figures: their instruction counts do not repeat.
    let interpreted = !arguments.check && !arguments.write_figures;
    let mut left_out = Vec::new();
    let mut leave_out = |name: &str, result: Result<(), Failure>| match result {
        Ok(()) => Ok(()),
        Err(Failure::Interrupted) => Err(Failure::Interrupted),
        Err(failure) => {
            left_out.push(format!("{name}={}", failure.to_string().replace('\n', " ")));
            Ok(())
        }
    };
    let mut python = None;
    if interpreted {
        let ready = Environment::peer().map(|environment| python = Some(environment));
        leave_out("python", ready)?;
        leave_out("node", build_node_peer())?;
    }

    step::run("Building bench", || {
        let log = workspace::bench().join("build.log");
        process::run_captured(&mut bench_command("build"), &log).map(drop)
    })?;
    let mut command = bench_command("run");
    command.arg("--");
    for (name, wanted) in [
        ("--quick", arguments.quick),
        ("--check", arguments.check),
        ("--write-figures", arguments.write_figures),
    ] {
        if wanted {
            command.arg(name);
        }
    }
    for text in &arguments.only {
        command.args(["--only", text]);
    }
    for peer in &left_out {
        command.args(["--skip", peer]);
    }
    let result = process::run_shown(&mut command);
    drop((functions, python));
    result
}

/// Optimized, but not like a function: it only surrounds them.
fn bench_command(verb: &str) -> Command {
    let mut command = Command::new("cargo");
    environment::cargo(&mut command)
        .args([verb, "--quiet", "--locked", "--package", "bench", "--profile", "bench-harness"])
        .current_dir(workspace::root());
    command
}

/// Builds them with the tool that builds the functions.
fn build_rust_peers(tools: &Environment) -> Result<(), Failure> {
    step::run("Building the peers in Rust (the first time takes minutes)", || {
        for package in RUST_PEERS {
            let mut command = Command::new("cargo");
            environment::cargo(&mut command)
                .env("PATH", environment::path_with(&tools.programs()))
                .env("CARGO_TARGET_DIR", workspace::bench().join("rust"))
                .args(["lambda", "build", "--quiet", "--release", "--locked", "--package", package])
                .arg("--lambda-dir")
                .arg(workspace::bench().join("lambda"))
                .current_dir(workspace::peers().join("rust"));
            process::run_shown(&mut command)?;
        }
        Ok(())
    })
}

/// Installs the packages of the peer in Node.js, and bundles it.
fn build_node_peer() -> Result<(), Failure> {
    if !has("node") {
        return Err(Failure::new("node was not found").advise("install Node.js 20"));
    }
    if !has("npm") {
        return Err(Failure::new("npm was not found").advise("install npm"));
    }
    let folder = workspace::bench().join("node");
    workspace::make_folder(&folder.join("src"))?;
    let source = workspace::peers().join("node");
    let lock = "package-lock.json";
    let installed = folder.join("installed.json");
    let same = |one: &Path, other: &Path| fs::read(one).ok() == fs::read(other).ok();
    let current = installed.exists() && same(&installed, &source.join(lock));
    for file in ["package.json", lock, "src/sync-insert.mjs", "src/queue-consumer.mjs"] {
        let (from, to) = (source.join(file), folder.join(file));
        fs::copy(&from, &to).map_err(|error| Failure::file("copy", &from, &error))?;
    }
    if !current {
        step::run("Installing the peer in Node.js (once, about 40 MB)", || {
            npm(&folder, &["ci", "--no-audit", "--no-fund"], "install.log")
        })?;
        let lock = folder.join(lock);
        fs::copy(&lock, &installed).map_err(|error| Failure::file("copy", &lock, &error))?;
    }
    step::run("Bundling the peer in Node.js", || npm(&folder, &["run", "build"], "bundle.log"))
}

fn npm(folder: &Path, arguments: &[&str], log: &str) -> Result<(), Failure> {
    let mut command = Command::new("npm");
    command.args(arguments).current_dir(folder);
    process::run_captured(&mut command, &folder.join(log)).map(drop)
}

fn has(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
