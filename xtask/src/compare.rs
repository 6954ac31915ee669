//! `cargo xtask compare`: both designs under the same load, measured and drawn.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use fs_err as fs;

use crate::{
    deployment::{Aws, Deployed, Profile},
    emulator::Port,
    environment,
    process::{self, Process},
    python::Environment,
    stack::Stack,
    step, verify,
    workspace::{self, StateFolder},
};

/// The generator's limit, in messages a second. A burst is up to four times the capacity.
const MAX_RATE: f64 = 400.0;
const MAX_CAPACITY: f64 = MAX_RATE / 4.0;

/// The limit of the local stack on two processors beside the generator: callers repeat what was not accepted.
const MAX_LOCAL_RATE: f64 = 100.0;
const MAX_LOCAL_CAPACITY: f64 = MAX_LOCAL_RATE / 4.0;

/// The load generator, as cargo knows it.
const PACKAGE: [&str; 4] = ["--quiet", "--locked", "--package", "compare"];

/// How long the generator may take to set a deployed stack back. A table that is being changed has to be waited for.
const SET_BACK: Duration = Duration::from_secs(900);

/// A claim about the two designs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// When the caller has a response, when the message is stored, when the owner knows
    Flow,
    /// Bursts of up to four times the capacity of the table
    Burst,
    /// The database is unavailable for ten seconds, and the function's processes are killed
    Outage,
    /// US dollars for a million messages, from what was counted in the runs
    Cost,
}

/// Measures and draws both designs under the same load.
///
/// It starts a stack of its own, with a table of limited capacity, and plays one schedule of arrivals three times: by
/// callers of PUT /messages that never retry, by callers that retry well, and by callers of PUT /queue. It prints a
/// table for each claim, writes every request as CSV and the pictures as SVG, and accounts for every message that was
/// accepted. It fails if one is lost, or if the load could not be sent on time. docs/comparison.md says more.
///
/// With --stack it measures a stack on AWS, which has to be one for `cargo xtask verify`. It says what it will send,
/// change and cost, and asks. The table gets its own capacity back in the end; after Ctrl-C, too.
///
/// For example: cargo xtask compare burst --capacity 20 --seed 7
#[derive(Args, Debug)]
pub(crate) struct CompareArguments {
    /// What to compare [default: all of it]
    #[arg(value_enum, value_name = "PART")]
    parts: Vec<Part>,
    /// The seed of the arrivals: the same seed sends the same messages at the same times
    #[arg(long, default_value = "1")]
    seed: u64,
    /// The capacity of the table in write units a second; a message takes one
    #[arg(long, default_value = "10", value_name = "UNITS", value_parser = |text: &str| number(text, MAX_CAPACITY))]
    capacity: f64,
    /// Messages a second for the flow
    #[arg(long, default_value = "10", value_parser = |text: &str| number(text, MAX_RATE))]
    rate: f64,
    /// Fewer loads and shorter ones, and nothing is killed: four minutes
    #[arg(long)]
    quick: bool,
    /// Where the tables, data and pictures go [default: target/compare]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Measure this deployed stack, by its name in CloudFormation
    #[arg(long, value_name = "NAME")]
    stack: Option<String>,
    /// Measure it even if its table has deletion protection
    #[arg(long, requires = "stack")]
    protected: bool,
    /// Begin without asking
    #[arg(long, requires = "stack")]
    yes: bool,
    #[command(flatten)]
    profile: Profile,
}

pub(crate) fn compare(arguments: &CompareArguments) -> Result<()> {
    let output = match &arguments.output {
        Some(path) => std::path::absolute(path)?,
        None => workspace::root().join("target/compare"),
    };
    // Before anything takes minutes.
    fs::create_dir_all(&output)?;
    arguments.check()?;
    step::run("Building the load generator", || {
        process::run_shown(environment::cargo().arg("build").args(PACKAGE))
    })?;
    match &arguments.stack {
        Some(name) => compare_deployed(arguments, name, &output),
        None => Stack::with("compare", Port::Any, arguments.profile, &[], |stack| {
            play(arguments, stack.cargo(), &output)
        }),
    }
}

/// Compares on a stack that is deployed already.
fn compare_deployed(arguments: &CompareArguments, name: &str, output: &Path) -> Result<()> {
    let state = StateFolder::claim("compare")?;
    let environment = Environment::run()?;
    // Set if this runs against the local stack.
    let endpoint = env::var("AWS_ENDPOINT_URL").ok();
    let aws = Aws { environment: &environment, state: &state, endpoint: endpoint.as_deref() };
    let deployed = step::run("Reading the stack", || {
        let deployed = Deployed::read(&aws, name)?;
        verify::check_trust(&deployed)?;
        if !arguments.protected {
            verify::check_unprotected(&aws, &deployed).context("--protected measures it nevertheless")?;
        }
        Ok(deployed)
    })?;
    let path = state.describe(&deployed.description)?;
    let mut announce = deployed.cargo(&path);
    announce.arg("run").args(PACKAGE).arg("--").args(arguments.passed_on(output)).arg("--announce");
    let announcement = process::run_captured(&mut announce, &state.file("announce.log"))?;
    step::note(format_args!("\nOn {}:\n\n{announcement}", deployed.place()));
    if !arguments.yes {
        verify::ask()?;
    }
    play(arguments, deployed.cargo(&path), output)
}

fn play(arguments: &CompareArguments, mut cargo: Command, output: &Path) -> Result<()> {
    cargo.arg("run").args(PACKAGE).arg("--").args(arguments.passed_on(output));
    step::run("Comparison", || {
        let mut generator = Process::start(cargo.stdin(Stdio::null()))?;
        if arguments.stack.is_some() {
            generator = generator.with_grace(SET_BACK);
        }
        ensure!(generator.wait()?.success(), "the comparison failed: see above");
        Ok(())
    })?;
    step::note(format_args!("Tables, data and pictures are in {}", output.display()));
    Ok(())
}

impl CompareArguments {
    /// Fails if the stack cannot do this.
    fn check(&self) -> Result<()> {
        let is_local = self.stack.is_none();
        ensure!(
            is_local || !self.parts.contains(&Part::Cost),
            "cost needs the local stack: what it bills cannot be counted from outside"
        );
        ensure!(
            !is_local || self.capacity <= MAX_LOCAL_CAPACITY && self.rate <= MAX_LOCAL_RATE,
            "the local stack sustains a capacity of {MAX_LOCAL_CAPACITY} and a rate of {MAX_LOCAL_RATE} beside the \
             generator"
        );
        Ok(())
    }

    /// The arguments of the generator.
    fn passed_on(&self, output: &Path) -> Vec<String> {
        let names = self.parts.iter().filter_map(ValueEnum::to_possible_value);
        let mut all: Vec<_> = names.map(|part| format!("--part={}", part.get_name())).collect();
        all.push(format!("--output={}", output.display()));
        all.push(format!("--seed={}", self.seed));
        all.push(format!("--capacity={}", self.capacity));
        all.push(format!("--rate={}", self.rate));
        all.extend(self.quick.then(|| "--quick".to_owned()));
        all.extend(self.stack.is_some().then(|| "--deployed".to_owned()));
        all
    }
}

/// A number from 1 to what the generator can send.
fn number(text: &str, most: f64) -> Result<f64> {
    let number: f64 = text.parse().context("write a number")?;
    ensure!((1.0..=most).contains(&number), "it is 1 to {most}: the generator sends no more");
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_that_cannot_be_sent_is_an_error() {
        assert_eq!(number("100", 100.0).unwrap(), 100.0);
        for wrong in ["0", "-1", "0.5", "101", "NaN", "inf", "", "ten"] {
            assert!(number(wrong, 100.0).is_err(), "{wrong}");
        }
    }
}
