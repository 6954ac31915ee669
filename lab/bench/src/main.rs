//! `cargo xtask bench`: measures the functions, and what people would write instead.

mod chart;
mod contestants;
mod endpoints;
mod events;
mod figures;
mod instructions;
mod measure;
mod progress;
mod report;
mod results;
mod runtime_api;
mod sandbox;

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    time::Instant,
};

use clap::Parser;
use development_key::DevelopmentKey;

use crate::{
    contestants::scratch,
    endpoints::Trust,
    measure::{Mode, groups, measure},
    progress::Progress,
    results::Results,
    sandbox::{Case, Surroundings},
};

/// Whatever goes wrong here is told to a person, who reads all of it.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Measures what has been built. `cargo xtask bench` builds it, and then runs this.
#[derive(Parser, Debug)]
struct Arguments {
    /// Few rounds, and no batch of 10,000
    #[arg(long)]
    quick: bool,
    /// Measure only cases whose name has all of these words in it
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
    let arguments = Arguments::parse();
    match run(&arguments).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            Progress::new().note(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<bool, Failure> {
    let progress = Progress::new();
    let folder = scratch();
    fs::create_dir_all(folder.join("logs"))?;
    let surroundings = Surroundings {
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
    let skipped = skipped(&arguments.skip)?;
    results.left_out.extend(skipped.iter().map(|(name, reason)| format!("{name}: {reason}")));
    let no_counts = instructions::missing();
    if let Some(reason) = no_counts {
        if to_compare {
            return Err(format!("instructions cannot be counted: {reason}").into());
        }
        results.left_out.push(format!("instruction counts: {reason}"));
    }
    for line in &results.left_out {
        progress.note(&format!("left out: {line}"));
    }

    let wanted = |case: &Case| {
        let label = case.label();
        arguments.only.iter().all(|text| label.contains(text.as_str()))
            && !skipped.iter().any(|(name, _)| case.contestant.name() == name)
    };
    for mut group in groups(mode) {
        group.cases.retain(wanted);
        if group.cases.is_empty() {
            continue;
        }
        let start = Instant::now();
        let names = group.cases.iter().map(Case::label).collect::<Vec<_>>().join(", ");
        progress.begin(&names);
        let (figures, failures) =
            measure(&surroundings, &group, no_counts.is_none() && !arguments.quick, &progress).await?;
        progress.done(&format!("{names}: {} rounds", group.rounds), start.elapsed());
        for failure in &failures {
            progress.note(&format!("left out: {failure}"));
        }
        results.cases.extend(figures);
        results.left_out.extend(failures);
    }
    results.end();
    if results.cases.is_empty() {
        return Err(match results.left_out.as_slice() {
            [] => "no case has all of these words in its name".into(),
            left_out => format!("nothing could be measured: {}", left_out.join("; ")).into(),
        });
    }

    if to_compare {
        return figures::compare(&results, arguments.write_figures, say);
    }
    say(&report::table(&results));
    say(&report::judgement(&report::targets(&results)));
    let load = |load: &[f64]| load.iter().map(f64::to_string).collect::<Vec<_>>().join(" ");
    let machine = &results.machine;
    say(&format!(
        "{}, {} cores, load {} before and {} after, {}",
        machine.cpu,
        machine.cores,
        load(&machine.load_before),
        load(&machine.load_after),
        results.rustc
    ));
    for line in &results.left_out {
        say(&format!("left out: {line}"));
    }
    if !arguments.only.is_empty() {
        // A part of a run is not to take the place of a whole one.
        return Ok(true);
    }
    let write = |name: &str, text: &str| -> Result<PathBuf, Failure> {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        Ok(path)
    };
    let written = write("results.json", &serde_json::to_string_pretty(&results)?)?;
    let drawn = write("chart.svg", &chart::draw(&results))?;
    say(&format!("written: {} and {}", written.display(), drawn.display()));
    Ok(true)
}

/// Names and reasons.
fn skipped(arguments: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let split = |text: &String| -> Result<_, Failure> {
        let (name, reason) = text.split_once('=').ok_or("--skip wants NAME=REASON")?;
        Ok((name.to_owned(), reason.to_owned()))
    };
    arguments.iter().map(split).collect()
}

/// Prints what was asked for. A reader that is gone is no reason to fail.
fn say(text: &str) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}
