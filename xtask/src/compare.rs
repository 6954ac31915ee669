//! `cargo xtask compare`: both designs under the same load, measured and drawn.

use std::{fs, path::PathBuf, process::Command};

use clap::{Args, ValueEnum};

use crate::{
    deployment::Profile, emulator::Port, environment, failure::Failure, process, stack::Stack, step,
    workspace,
};

/// The most that the generator and the local stack sustain on two processors, in messages a second. A burst is up to
/// four times the capacity, and callers repeat what was refused.
const MAX_RATE: f64 = 100.0;
const MAX_CAPACITY: f64 = MAX_RATE / 4.0;

/// The load generator, as cargo knows it.
const PACKAGE: [&str; 4] = ["--quiet", "--locked", "--package", "compare"];

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
/// callers of PUT /messages that never retry, by callers of PUT /messages that retry well, and by callers of PUT /queue.
/// It prints a table for each claim and writes every request as CSV and the pictures as SVG. In the end it accounts for
/// every message that was accepted; it fails if one is lost, if the load was not sent on time, or if the stack does not
/// sustain it without a limit. All of it takes up to fifteen minutes.
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
    #[arg(long, default_value = "10", value_name = "UNITS", value_parser = capacity)]
    capacity: f64,
    /// Messages a second for the flow
    #[arg(long, default_value = "10", value_parser = rate)]
    rate: f64,
    /// Fewer loads and shorter ones: three minutes
    #[arg(long)]
    quick: bool,
    /// Where the tables, data and pictures go [default: target/compare]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    #[command(flatten)]
    profile: Profile,
}

pub(crate) fn compare(arguments: &CompareArguments) -> Result<(), Failure> {
    let output = match &arguments.output {
        Some(path) => std::path::absolute(path).map_err(|error| Failure::file("use", path, &error))?,
        None => workspace::root().join("target/compare"),
    };
    // Before anything takes minutes.
    workspace::make_folder(&output)?;
    let probe = output.join(".writable");
    fs::write(&probe, "")
        .and_then(|()| fs::remove_file(&probe))
        .map_err(|error| Failure::file("write to", &output, &error))?;

    step::run("Building the load generator", || {
        let mut command = Command::new("cargo");
        environment::cargo(&mut command).arg("build").args(PACKAGE).current_dir(workspace::root());
        process::run_shown(&mut command)
    })?;
    let stack = Stack::start("compare", Port::Any, arguments.profile, &[])?;
    let result = step::run("Comparison", || {
        let mut command = stack.cargo();
        command.arg("run").args(PACKAGE).arg("--").arg("--output").arg(&output);
        for part in &arguments.parts {
            let name = part.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
            command.args(["--part", &name]);
        }
        for (name, value) in [("--capacity", arguments.capacity), ("--rate", arguments.rate)] {
            command.arg(name).arg(value.to_string());
        }
        command.arg("--seed").arg(arguments.seed.to_string());
        if arguments.quick {
            command.arg("--quick");
        }
        process::run_shown(&mut command)
    });
    if result.is_ok() {
        step::note(format_args!("Tables, data and pictures are in {}", output.display()));
    }
    stack.finish(result)
}

fn capacity(text: &str) -> Result<f64, String> {
    number(text, MAX_CAPACITY)
}

fn rate(text: &str) -> Result<f64, String> {
    number(text, MAX_RATE)
}

fn number(text: &str, most: f64) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "write a number".to_owned())?;
    if (1.0..=most).contains(&number) {
        Ok(number)
    } else {
        Err(format!("it is 1 to {most}: the generator and the local stack sustain no more"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_that_cannot_be_sent_is_an_error() {
        assert_eq!(capacity("25"), Ok(25.0));
        assert_eq!(rate("100"), Ok(100.0));
        for wrong in ["0", "-1", "0.5", "26", "NaN", "inf", "", "ten"] {
            assert!(capacity(wrong).is_err(), "{wrong}");
        }
        assert!(rate("101").is_err());
    }
}
