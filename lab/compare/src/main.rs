//! Plays the same load by both ways on the stack that `INTAKE_STACK` names, and draws what happens. Nothing else may
//! use that stack meanwhile; `cargo xtask compare` starts one for it.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a failure here ends the run")]

// In layers, each of which uses those before it: output, schedule and callers; rig; run; figures; chart and timeline;
// options, and a claim each; announce.
mod announce;
mod burst;
mod callers;
mod chart;
mod cost;
mod figures;
mod flow;
mod options;
mod outage;
mod output;
mod rig;
mod run;
mod schedule;
mod timeline;

use std::{
    fs,
    panic::{self, AssertUnwindSafe},
    path::Path,
    process,
};

use clap::Parser;
use e2e::stack::Stack;
use futures_util::FutureExt;
use tokio::{
    select,
    signal::unix::{SignalKind, signal},
    sync::Notify,
};

use crate::{
    options::{Options, Part},
    output::{say, table},
    rig::Rig,
    run::{Plan, Run},
};

/// Notified when a task fails: the run may not be waiting for that task yet.
static FAILED: Notify = Notify::const_new();

#[tokio::main]
async fn main() {
    // Whatever fails ends the run, also in a task that nobody waits for yet.
    panic::set_hook(Box::new(|failure| {
        // Errors of the SDK go on for a page.
        let text: String = failure.payload_as_str().unwrap_or("unknown").chars().take(160).collect();
        say(&format!("failed: {text}"));
        FAILED.notify_one();
    }));
    let options = Options::parse();
    if options.announce {
        let plans: Vec<_> = options.parts().flat_map(|part| plans(part, &options)).collect();
        say(&announce::text(&options, &plans));
        return;
    }
    let success = run(&options).await;
    // Callers that are still waiting for a response do not hold it up.
    process::exit(i32::from(!success));
}

/// Plays the parts until all of them are done, something fails or the process is asked to end. Whichever it is, a
/// deployed stack is set back. Returns whether all is well.
async fn run(options: &Options) -> bool {
    let stack = Stack::running();
    let rig = if options.deployed { Rig::deployed(stack) } else { Rig::local(stack).await };
    let playing = AssertUnwindSafe(async {
        if options.deployed {
            rig.set_back().await;
        }
        compare(&rig, options).await
    });
    let mut problems = None;
    let mut end = signal(SignalKind::terminate()).expect("a handler");
    select! {
        played = playing.catch_unwind() => problems = played.ok(),
        () = FAILED.notified() => {}
        _ = end.recv() => say("asked to end"),
    }
    let mut success = problems.as_ref().is_some_and(Vec::is_empty);
    problems.iter().flatten().for_each(|problem| say(problem));
    if options.deployed {
        let cleaning = AssertUnwindSafe(async {
            rig.set_back().await;
            say(&format!("Removed {} messages", rig.remove_sent().await));
        });
        if cleaning.catch_unwind().await.is_err() {
            say(
                "The stack is not set back: run the same command again when it responds. The messages of this run stay",
            );
            success = false;
        }
    }
    success
}

fn plans(part: Part, options: &Options) -> Vec<Plan> {
    match part {
        Part::Flow => flow::plans(options),
        Part::Burst => burst::plans(options),
        Part::Cost => cost::plans(options),
        Part::Outage => outage::plans(options),
    }
}

/// Plays the parts, and returns what is wrong with the runs.
async fn compare(rig: &Rig, options: &Options) -> Vec<String> {
    let requests = options.output.join("requests");
    fs::create_dir_all(&requests).expect("the folder of the results");
    let mut runs = Vec::<Run>::new();
    for part in options.parts() {
        let plans = plans(part, options);
        for group in plans.chunk_by(|one, other| one.group == other.group) {
            let from = runs.len();
            for plan in group {
                // The bills are made of runs that other parts may have played.
                if runs.iter().all(|run| run.plan.name() != plan.name()) {
                    let run = run::play(rig, plan.clone()).await;
                    write(&requests.join(plan.name() + ".csv"), &figures::requests_csv(&run));
                    runs.push(run);
                }
            }
            if from < runs.len() {
                say(&table(&figures::rows(&runs[from..].iter().collect::<Vec<_>>())));
            }
        }
        let run_of = |plan: &Plan| runs.iter().find(|run| run.plan.name() == plan.name());
        let runs: Vec<_> = plans.iter().filter_map(run_of).collect();
        let files = match part {
            Part::Flow => flow::files(&runs),
            Part::Burst => burst::files(&runs),
            Part::Cost => cost::files(&runs),
            Part::Outage => outage::files(&runs, options),
        };
        files.iter().for_each(|(name, text)| write(&options.output.join(name), text));
    }
    say(&format!("{}\n{}", figures::STAR, figures::account(&runs)));
    let mut problems: Vec<_> = runs.iter().flat_map(figures::problems).collect();
    let lost = runs.iter().flat_map(|run| &run.messages).filter(|one| one.is_lost());
    let lost: Vec<_> = lost.map(|one| &*one.id).collect();
    if !lost.is_empty() {
        let some = lost[..lost.len().min(20)].join(", ");
        problems.push(format!("lost: {} messages were accepted and have no outcome: {some}", lost.len()));
    }
    problems
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
}
