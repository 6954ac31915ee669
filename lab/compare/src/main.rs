//! Plays the same load by both ways on the stack that `INTAKE_STACK` names, and draws what happens. Nothing else may
//! use that stack meanwhile; `cargo xtask compare` starts one for it.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a failure here ends the run")]

mod announce;
mod burst;
mod callers;
mod chart;
mod cost;
mod deployed;
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
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
    process::{self, ExitCode},
};

use clap::{Parser, ValueEnum};
use e2e::stack::Stack;
use futures_util::FutureExt;
use tokio::{
    select,
    signal::unix::{SignalKind, signal},
    sync::Notify,
};

use crate::{
    burst::Bursts,
    callers::Caller,
    figures::Figures,
    files::Output,
    rig::Rig,
    run::{Plan, Run},
};

/// How many lost messages are named.
const MAX_NAMED: usize = 20;

/// How much of a failure is printed.
const MAX_FAILURE: usize = 160;

/// A claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    Flow,
    Burst,
    Outage,
    Cost,
}

impl Part {
    /// What is played for it, but for what no deployed stack can do.
    pub(crate) fn plans(self, options: &Options) -> Vec<Plan> {
        match self {
            Self::Flow => flow::plans(options),
            Self::Burst => burst::plans(options),
            Self::Outage => outage::plans(options),
            Self::Cost => Vec::new(),
        }
    }
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
    /// The stack's own table has the capacity, not a proxy before it.
    #[arg(long)]
    pub(crate) deployed: bool,
    /// Only say what would be sent and changed.
    #[arg(long)]
    announce: bool,
    /// The folder of the results.
    #[arg(long)]
    output: PathBuf,
}

impl Options {
    /// What to compare. Bills are made of what only a proxy counts.
    fn parts(&self) -> impl Iterator<Item = Part> {
        let wanted = |part: &Part| self.parts.is_empty() || self.parts.contains(part);
        let possible = |part: &Part| !self.deployed || *part != Part::Cost;
        Part::value_variants().iter().filter(move |part| wanted(part) && possible(part)).copied()
    }

    fn wants(&self, wanted: Part) -> bool {
        self.parts().any(|part| part == wanted)
    }
}

/// What a part leaves: a text for people, and files by name.
pub(crate) struct Report {
    pub(crate) text: String,
    pub(crate) files: Vec<(String, String)>,
}

/// Notified when a task fails: the run may not be waiting for that task yet.
static FAILED: Notify = Notify::const_new();

fn main() -> ExitCode {
    // Whatever fails ends the run, also in a task that nobody waits for yet.
    panic::set_hook(Box::new(|failure| {
        // Errors of the SDK go on for a page.
        let text: String = failure.payload_as_str().unwrap_or("unknown").chars().take(MAX_FAILURE).collect();
        say(&format!("failed: {text}"));
        FAILED.notify_one();
    }));
    let options = Options::parse();
    if options.announce {
        say(&announce::text(&options));
        return ExitCode::SUCCESS;
    }
    let output = match Output::in_folder(&options.output) {
        Ok(output) => output,
        Err(error) => {
            say(&format!("cannot write to {}: {error}", options.output.display()));
            return ExitCode::FAILURE;
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let success = runtime.block_on(run(&options, &output));
    // Callers that are still waiting for a response do not hold it up.
    process::exit(i32::from(!success));
}

pub(crate) fn say(line: &str) {
    // A reader that is gone is no reason to fail.
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// Plays the parts until all of them are done, something fails or the process is asked to end. Whichever it is, a
/// deployed stack is set back. Returns whether all is well.
async fn run(options: &Options, output: &Output) -> bool {
    let stack = Stack::running();
    let rig = if options.deployed { Rig::deployed(stack) } else { Rig::local(stack).await };
    let playing = AssertUnwindSafe(async {
        if options.deployed && rig.set_back().await {
            say("A run before this one had been ended");
        }
        compare(&rig, options, output).await
    });
    let mut problems = None;
    let mut end = signal(SignalKind::terminate()).expect("a handler");
    select! {
        played = playing.catch_unwind() => problems = played.ok(),
        () = FAILED.notified() => {}
        _ = end.recv() => say("asked to end"),
    }
    let mut success = problems.as_ref().is_some_and(Vec::is_empty);
    for problem in problems.into_iter().flatten() {
        say(&problem);
    }
    if options.deployed {
        let cleaned = AssertUnwindSafe(async {
            rig.set_back().await;
            let sent = rig.sent();
            say(&format!("Removing {} messages", sent.len()));
            rig.remove(sent).await;
        });
        if cleaned.catch_unwind().await.is_err() {
            say(
                "The stack is not set back: run the same command again when it responds. The messages of this run stay",
            );
            success = false;
        }
    }
    success
}

/// Plays the parts, and returns what is wrong with the runs.
async fn compare(rig: &Rig, options: &Options, output: &Output) -> Vec<String> {
    let mut runs = Vec::<Run>::new();
    let mut problems = Vec::new();

    let mut flow = Vec::new();
    if options.wants(Part::Flow) || options.wants(Part::Cost) {
        flow = run::play_all(rig, flow::plans(options)).await;
        runs.extend(flow.iter().cloned());
        publish(output, flow::report(&flow, options));
    }
    let mut bursts = None;
    if options.wants(Part::Burst) {
        let played = burst::play(rig, options).await;
        problems.extend(burst::void(&played));
        publish(output, burst::report(&played, options));
        bursts = Some(played);
    } else if options.wants(Part::Cost) {
        bursts = Some(burst::play_highest(rig, options).await);
    }
    runs.extend(bursts.iter().flat_map(Bursts::all).cloned());
    if options.wants(Part::Outage) {
        let played = outage::play(rig, options).await;
        publish(output, outage::report(&played, options));
        runs.extend(played);
    }
    if let (true, Some(bursts)) = (options.wants(Part::Cost), &bursts) {
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
