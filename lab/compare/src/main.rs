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
    cost::Bills,
    options::{Options, Part},
    output::{Files, say, table},
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

/// What is left of the runs of a part.
fn files(part: Part, runs: &[&Run], options: &Options) -> Files {
    match part {
        Part::Flow => flow::files(runs),
        Part::Burst => burst::files(runs),
        Part::Cost => Bills::of(runs).files(),
        Part::Outage => outage::files(runs, options),
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
        let files = files(part, &runs, options);
        if part == Part::Cost {
            say(&Bills::of(&runs).text());
        }
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

#[cfg(test)]
mod tests {
    use clap::ValueEnum;
    use fault_proxy::Usage;

    use super::*;
    use crate::{callers::Request, rig::Counted, run::Message};

    /// A run as it was planned: some messages are stored, each a little later than the one before.
    pub(crate) fn run(plan: Plan) -> Run {
        let request = Request { sent: 0.0, responded: 20.0, status: Some(202) };
        let message = |number: usize| Message {
            id: format!("m-{number}"),
            owner: number % 2,
            due: 0.0,
            requests: vec![Request { status: Some(429), ..request }, request],
            outcome: Some("stored"),
            stored: (!number.is_multiple_of(7)).then_some(30.0 * number as f64),
            notified: Some(40.0 * number as f64),
        };
        let (usage, memory_mb, consumers) = (Usage::default(), 512.0, 5.0);
        let counted = Counted { usage, invocations: 9, billed_ms: 50.0, memory_mb, log_bytes: 9, consumers };
        Run { messages: (0..200).map(message).collect(), frames: 3, counted: Some(counted), plan }
    }

    #[test]
    fn every_picture_has_a_title_and_text_that_can_be_read() {
        let options =
            Options::parse_from(["compare", "--seed=1", "--capacity=10", "--rate=10", "--output=."]);
        let mut pictures = 0;
        for part in Part::value_variants() {
            let runs: Vec<_> = plans(*part, &options).into_iter().map(run).collect();
            let files = files(*part, &runs.iter().collect::<Vec<_>>(), &options);
            for (name, svg) in files.iter().filter(|(name, _)| name.ends_with(".svg")) {
                pictures += 1;
                assert!(svg.contains("<svg ") && svg.contains("role=\"img\""), "{name}");
                assert!(
                    svg.split_once("<title>").is_some_and(|(_, title)| !title.starts_with('<')),
                    "{name}"
                );
                let number = |text: &str| text.split('"').next().unwrap().parse::<f64>().unwrap();
                let width = number(svg.split_once(" width=\"").unwrap().1);
                let phone = name.ends_with("-phone.svg");
                assert!(width <= if phone { 360.0 } else { 830.0 }, "{name} is {width} pixels wide");
                let smallest = svg.split("font-size=\"").skip(1).map(number).fold(f64::INFINITY, f64::min);
                assert!((11.0 - 1e-9..20.0).contains(&smallest), "{name}: text of {smallest} pixels");
            }
        }
        assert_eq!(pictures, 2 * 6, "six, for a page and for a phone");
    }
}
