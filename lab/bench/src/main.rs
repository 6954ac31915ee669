//! `cargo xtask bench`: measures the functions, and the same work written in other ways.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for a terminal")]

mod cases;
mod endpoints;
mod events;
mod figures;
mod measure;
mod process;
mod report;
mod runtime_api;
mod setup;

use std::process::ExitCode;

use clap::Parser;

use crate::{
    cases::{CASES, Case, Contestant, root},
    measure::measure,
    setup::Setup,
};

/// Every failure is printed for a person.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Processes of each case.
const ROUNDS: usize = 11;

/// Measures what has been built. `cargo xtask bench` builds it, and then runs this.
#[derive(Parser, Debug)]
struct Arguments {
    /// Few rounds, and no instruction counts
    #[arg(long)]
    quick: bool,
    /// Measure only what has all of these words in its name, such as "queue-consumer 10x1KB python"
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// Compare with lab/bench/figures.json, and fail on a regression of over 5 %
    #[arg(long)]
    check: bool,
    /// Write lab/bench/figures.json
    #[arg(long)]
    write_figures: bool,
}

// One thread: the function under measurement has the other core for itself.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let passed = run(&Arguments::parse()).await.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        false
    });
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Returns whether there is no regression.
async fn run(arguments: &Arguments) -> Result<bool, Failure> {
    let setup = Setup::new()?;
    let rounds = if arguments.quick { 3 } else { ROUNDS };
    let publishing = arguments.check || arguments.write_figures;
    let wanted = |case: &&Case| {
        let name = case.name();
        // What is published does not depend on the machine: nothing of the peers, and no times.
        let published = case.is_counted() && case.contestant == Contestant::Intake;
        arguments.only.iter().all(|text| name.contains(text.as_str())) && (published || !publishing)
    };
    let cases: Vec<_> = CASES.iter().filter(wanted).collect();
    let results = measure(&setup, &cases, rounds, !arguments.quick).await?;
    print!("{}", report::table(&results));
    for line in report::targets(&results) {
        println!("{line}");
    }
    let path = root().join("lab/bench/figures.json");
    if arguments.write_figures {
        figures::write(&path, &results)?;
    }
    if arguments.check { figures::check(&path, &results) } else { Ok(true) }
}
