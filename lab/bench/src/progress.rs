//! What a person sees while it runs, on standard error.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

/// Tells what is going on: on a terminal in one line that changes, elsewhere what begins and what is done.
pub(crate) struct Progress {
    terminal: bool,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { terminal: io::stderr().is_terminal() }
    }

    /// What begins, and takes a while.
    pub(crate) fn begin(&self, text: &str) {
        if self.terminal {
            self.now(text);
        } else {
            let _ = writeln!(io::stderr(), "{text} ...");
        }
    }

    /// What is under way.
    pub(crate) fn now(&self, text: &str) {
        if self.terminal {
            let _ = write!(io::stderr(), "\r{text}\x1b[K");
        }
    }

    /// What is done.
    pub(crate) fn done(&self, text: &str, took: Duration) {
        let start = if self.terminal { "\r\x1b[K" } else { "" };
        let _ = writeln!(io::stderr(), "{start}{text} ({:.1} s)", took.as_secs_f64());
    }

    /// A line to be kept.
    pub(crate) fn note(&self, text: &str) {
        let start = if self.terminal { "\r\x1b[K" } else { "" };
        let _ = writeln!(io::stderr(), "{start}{text}");
    }
}
