//! What a person sees of the work: a line when a step begins, and one with the time it took.
//!
//! These go to standard error; standard output is for what a command was asked for.

use std::{
    fmt::Display,
    io::{self, Write},
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::interrupt;

/// Prints a line that the command was asked for. A reader that is gone is no reason to fail.
pub(crate) fn say(line: impl Display) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// Prints a line about the work.
pub(crate) fn note(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Runs a step.
pub(crate) fn run<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    note(format_args!("{name} ..."));
    let result = work();
    let outcome = match result {
        Ok(_) => "done in",
        Err(_) if interrupt::requested() => "interrupted after",
        Err(_) => "FAILED after",
    };
    note(format_args!("{name}: {outcome} {}", seconds(start.elapsed())));
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
