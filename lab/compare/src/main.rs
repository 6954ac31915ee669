//! Plays the same load by both ways on the stack that `INTAKE_STACK` names, and draws what happens. Nothing else may
//! use that stack meanwhile; `cargo xtask compare` starts one for it.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a failure here ends the run")]

mod burst;
mod callers;
mod chart;
mod cost;
mod figures;
mod files;
mod flow;
mod outage;
mod rig;
mod run;
mod schedule;
mod timeline;

use std::{
    io::{self, Write},
    panic,
    path::PathBuf,
    process::{self, ExitCode},
};

use clap::{Parser, ValueEnum};
use e2e::stack::Stack;

use crate::{burst::Bursts, callers::Caller, figures::Figures, files::Output, rig::Rig, run::Run};

/// How many lost messages are named.
const MAX_NAMED: usize = 20;

/// How much of a failure is printed.
const MAX_FAILURE: usize = 160;

/// A claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Flow,
    Burst,
    Outage,
    Cost,
}

/// What to do.
#[derive(Parser, Clone, Debug)]
pub(crate) struct Options {
    /// What to compare; all of it, unless said.
    #[arg(long = "part", value_enum)]
    parts: Vec<Part>,
    /// The seed of the arrivals.
    #[arg(long)]
    pub(crate) seed: u64,
    /// Write units a second that the table has.
    #[arg(long)]
    pub(crate) capacity: f64,
    /// Messages a second for the flow.
    #[arg(long)]
    pub(crate) rate: f64,
    /// Fewer loads, for shorter.
    #[arg(long)]
    pub(crate) quick: bool,
    /// The folder of the results.
    #[arg(long)]
    output: PathBuf,
}

/// What a part leaves: a text for people, and files by name.
pub(crate) struct Report {
    pub(crate) text: String,
    pub(crate) files: Vec<(String, String)>,
}

fn main() -> ExitCode {
    // Whatever fails ends the run, also in a task that nobody waits for yet.
    panic::set_hook(Box::new(|failure| {
        // Errors of the SDK go on for a page.
        let text: String = failure.payload_as_str().unwrap_or("unknown").chars().take(MAX_FAILURE).collect();
        say(&format!("failed: {text}"));
        process::exit(1);
    }));
    let options = Options::parse();
    let output = match Output::in_folder(&options.output) {
        Ok(output) => output,
        Err(error) => {
            say(&format!("cannot write to {}: {error}", options.output.display()));
            return ExitCode::FAILURE;
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let problems = runtime.block_on(compare(&options, &output));
    for problem in &problems {
        say(problem);
    }
    if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

pub(crate) fn say(line: &str) {
    // A reader that is gone is no reason to fail.
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// Plays the parts, and returns what is wrong with the runs.
async fn compare(options: &Options, output: &Output) -> Vec<String> {
    let wants = |part| options.parts.is_empty() || options.parts.contains(&part);
    let rig = Rig::of(Stack::running()).await;
    let mut runs = Vec::<Run>::new();
    let mut problems = Vec::new();

    let mut flow = Vec::new();
    if wants(Part::Flow) || wants(Part::Cost) {
        flow = flow::play_both(&rig, options).await;
        runs.extend(flow.iter().cloned());
        publish(output, flow::report(&flow, options));
    }
    let mut bursts = None;
    if wants(Part::Burst) {
        let played = burst::play_all(&rig, options).await;
        problems.extend(burst::void(&played));
        publish(output, burst::report(&played, options));
        bursts = Some(played);
    } else if wants(Part::Cost) {
        bursts = Some(burst::play_highest(&rig, options).await);
    }
    runs.extend(bursts.iter().flat_map(Bursts::all).cloned());
    if wants(Part::Outage) {
        let played = outage::play_all(&rig, options).await;
        publish(output, outage::report(&played, options));
        runs.extend(played);
    }
    if let (true, Some(bursts)) = (wants(Part::Cost), &bursts) {
        let source = rig.event_source().await;
        let consumers = source["ScalingConfig"]["MaximumConcurrency"].as_f64().expect("a concurrency");
        let burst = [Caller::Retrying, Caller::Queue].map(|caller| bursts.highest(caller));
        publish(output, cost::report([&flow[0], &flow[1], burst[0], burst[1]], consumers));
    }

    say(&account(&runs));
    problems.extend(runs.iter().filter_map(Run::void).map(|why| format!("void: {why}")));
    let lost: Vec<_> = runs.iter().flat_map(Run::lost).collect();
    if !lost.is_empty() {
        let named = lost.iter().take(MAX_NAMED).copied().collect::<Vec<_>>().join(", ");
        problems.push(format!("lost: {} messages were accepted and have no outcome: {named}", lost.len()));
    }
    problems
}

/// Prints a report, and writes its files.
fn publish(output: &Output, report: Report) {
    say(&format!("\n{}", report.text));
    for (name, text) in report.files {
        if let Err(error) = output.write(&name, &text) {
            panic!("cannot write {name}: {error}");
        }
    }
}

/// All that was accepted in all runs.
fn account(runs: &[Run]) -> String {
    let figures: Vec<_> = runs.iter().map(Figures::of).collect();
    let sum = |count: fn(&Figures) -> usize| figures.iter().map(count).sum::<usize>();
    format!(
        "Account of {} runs: {} messages, {} accepted, {} stored, {} failed or rejected, {} lost; {} callers in doubt, \
         of whose messages {} are stored",
        runs.len(),
        sum(|run| run.offered),
        sum(|run| run.accepted),
        sum(|run| run.stored),
        sum(|run| run.failed),
        sum(|run| run.lost),
        sum(|run| run.in_doubt),
        sum(|run| run.in_doubt_stored),
    )
}
