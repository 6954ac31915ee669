//! `cargo xtask bench`: measures the functions, and the same work written in other ways.

mod contestants;
mod endpoints;
mod events;
mod figures;
mod instructions;
mod measure;
mod process;
mod report;
mod results;
mod runtime_api;

use std::{
    fs,
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use clap::Parser;
use development_key::DevelopmentKey;
use serde::Serialize;

use crate::{
    contestants::scratch,
    endpoints::Trust,
    measure::{Mode, groups, measure},
    process::{Case, Setup},
    results::Results,
};

/// Every failure is printed for a person.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Measures what has been built. `cargo xtask bench` builds it, and then runs this.
#[derive(Parser, Debug)]
struct Arguments {
    /// Few rounds, and no batch of 10,000
    #[arg(long)]
    quick: bool,
    /// Measure only cases whose names contain all of these words
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// Compare with lab/bench/figures.json, and fail on a regression of over 5 %
    #[arg(long)]
    check: bool,
    /// Write lab/bench/figures.json
    #[arg(long, conflicts_with_all = ["quick", "only", "check"])]
    write_figures: bool,
    /// Leave a contestant out, for this reason
    #[arg(long, value_name = "NAME=REASON")]
    skip: Vec<String>,
}

// One thread: the function under measurement has the other core for itself.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            note(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Returns whether there is no regression.
async fn run(arguments: &Arguments) -> Result<bool, Failure> {
    let folder = scratch();
    fs::create_dir_all(folder.join("logs"))?;
    let setup = Setup {
        trust: Trust::make(&folder)?,
        key: DevelopmentKey::load_or_create(&folder.join("key.p8"))?,
        folder: folder.join("logs"),
    };
    let to_compare = arguments.check || arguments.write_figures;
    let mode = match (to_compare, arguments.quick) {
        (true, _) => Mode::Check,
        (false, true) => Mode::Quick,
        (false, false) => Mode::Full,
    };

    let mut results = Results::begin();
    let mut skipped = Vec::new();
    for text in &arguments.skip {
        let (name, reason) = text.split_once('=').ok_or("--skip wants NAME=REASON")?;
        skipped.push(name);
        results.left_out.push(format!("{name}: {reason}"));
    }
    let no_counts = instructions::missing();
    if let Some(reason) = no_counts {
        if to_compare {
            return Err(format!("instructions cannot be counted: {reason}").into());
        }
        results.left_out.push(format!("instruction counts: {reason}"));
    }

    let wanted = |case: &Case| {
        let name = case.to_string();
        arguments.only.iter().all(|text| name.contains(text.as_str()))
            && !skipped.contains(&case.contestant.to_string().as_str())
    };
    for mut group in groups(mode) {
        group.cases.retain(wanted);
        if group.cases.is_empty() {
            continue;
        }
        let names = group.cases.iter().map(Case::to_string).collect::<Vec<_>>().join(", ");
        note(&format!("measuring {names}: {} rounds", group.rounds));
        let (figures, left_out) = measure(&setup, &group, no_counts.is_none() && !arguments.quick).await?;
        results.cases.extend(figures);
        results.left_out.extend(left_out);
    }
    results.end();
    for line in &results.left_out {
        note(&format!("left out: {line}"));
    }
    if results.cases.is_empty() {
        return Err("nothing was measured: no case has all the words of --only, or all were left out".into());
    }

    if to_compare {
        return figures::compare(&results, arguments.write_figures);
    }
    print(&report::table(&results));
    print(&report::targets(&results).join("\n"));
    print(&results.origin());
    // A part of a run does not replace a whole one.
    if arguments.only.is_empty() {
        write_json(&folder.join("results.json"), &results)?;
    }
    Ok(true)
}

/// Writes a result as JSON.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Failure> {
    fs::write(path, serde_json::to_string_pretty(value)? + "\n")
        .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    print(&format!("written: {}", path.display()));
    Ok(())
}

/// Prints a result. A reader that is gone is no reason to fail.
pub(crate) fn print(text: &str) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}

/// Prints how far the run is.
fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
