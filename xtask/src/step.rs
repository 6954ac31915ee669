//! What a person sees of the work: a line for each step, with the time it took, and a sign of life meanwhile.
//!
//! Progress goes to standard error; standard output is for what a command was asked for.

use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::failure::Failure;

/// How often the spinner turns.
const TURN: Duration = Duration::from_millis(120);
/// How often a step says that it is still there when nobody looks at a terminal.
const REMINDER: Duration = Duration::from_secs(20);

/// Prints a line that the command was asked for. A reader that is gone is no reason to fail.
pub(crate) fn say(line: impl Display) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// Prints a line about the work.
pub(crate) fn note(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Runs a step that prints nothing itself, and shows that it is alive.
pub(crate) fn quiet<T>(name: &str, work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    let start = Instant::now();
    let life = SignOfLife::start(name, start);
    let result = work();
    drop(life);
    finish(name, start, &result);
    result
}

/// Runs a step whose programs print for themselves.
pub(crate) fn shown<T>(name: &str, work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    let start = Instant::now();
    note(format_args!("{name} ..."));
    let result = work();
    finish(name, start, &result);
    result
}

/// A duration as people say it.
pub(crate) fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 60.0 {
        format!("{seconds:.1} s")
    } else {
        format!("{} min {} s", duration.as_secs() / 60, duration.as_secs() % 60)
    }
}

fn finish<T>(name: &str, start: Instant, result: &Result<T, Failure>) {
    let took = seconds(start.elapsed());
    match result {
        Ok(_) => note(format_args!("{name}: done in {took}")),
        Err(Failure::Interrupted) => note(format_args!("{name}: interrupted after {took}")),
        Err(Failure::Failed { .. }) => note(format_args!("{name}: FAILED after {took}")),
    }
}

/// Turns a spinner on a terminal, and prints a line now and then elsewhere, until it is dropped.
struct SignOfLife {
    thread: Option<JoinHandle<()>>,
    end: Option<Sender<()>>,
}

impl SignOfLife {
    fn start(name: &str, start: Instant) -> Self {
        let (end, ended) = mpsc::channel();
        let name = name.to_owned();
        let terminal = io::stderr().is_terminal();
        if !terminal {
            note(format_args!("{name} ..."));
        }
        let thread = thread::spawn(move || {
            let rest = if terminal { TURN } else { REMINDER };
            for turn in ["|", "/", "-", "\\"].iter().cycle() {
                if terminal {
                    let _ = write!(io::stderr(), "\r{turn} {name} ({} s)\x1b[K", start.elapsed().as_secs());
                }
                if ended.recv_timeout(rest) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
                if !terminal {
                    note(format_args!("{name}: still at it after {}", seconds(start.elapsed())));
                }
            }
            if terminal {
                let _ = write!(io::stderr(), "\r\x1b[K");
            }
        });
        Self { thread: Some(thread), end: Some(end) }
    }
}

impl Drop for SignOfLife {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // It ends by itself now, and has nothing to tell.
            let _ = thread.join();
        }
    }
}
