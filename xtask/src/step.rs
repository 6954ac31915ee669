//! What a person sees of the work: a line when a step begins, and one with the time it took.
//!
//! These go to standard error; standard output is for what a command was asked for.

use std::{
    fmt::Display,
    io::{self, Write},
    time::{Duration, Instant},
};

use crate::failure::Failure;

/// Prints a line that the command was asked for. A reader that is gone is no reason to fail.
pub(crate) fn say(line: impl Display) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// Prints a line about the work.
pub(crate) fn note(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Runs a step.
pub(crate) fn run<T>(name: &str, work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    let start = Instant::now();
    note(format_args!("{name} ..."));
    let result = work();
    let took = seconds(start.elapsed());
    match result {
        Ok(_) => note(format_args!("{name}: done in {took}")),
        Err(Failure::Interrupted) => note(format_args!("{name}: interrupted after {took}")),
        Err(Failure::Failed { .. }) => note(format_args!("{name}: FAILED after {took}")),
    }
    result
}

/// A duration in seconds, or minutes and seconds.
pub(crate) fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 60.0 {
        format!("{seconds:.1} s")
    } else {
        format!("{} min {} s", duration.as_secs() / 60, duration.as_secs() % 60)
    }
}
