//! Why a command could not do what it was asked for.

use std::{error::Error, fmt, path::Path};

/// A failure as a person should read it: what failed, what was said about it, what to do.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Somebody pressed Ctrl-C, or asked this process to end.
    Interrupted,
    /// Something went wrong.
    Failed {
        /// What failed and why, in one line.
        what: String,
        /// What the failing program printed; empty if there is nothing, or if it is on the screen already.
        output: String,
        /// What to do about it; empty if nothing is known.
        advice: String,
    },
}

impl Failure {
    /// A failure that one line tells all about.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self::Failed { what: what.into(), output: String::new(), advice: String::new() }
    }

    /// A file or folder could not be used. `doing` completes "cannot …".
    pub(crate) fn file(doing: &str, path: &Path, error: &std::io::Error) -> Self {
        Self::new(format!("cannot {doing} {}: {error}", path.display()))
    }

    /// Adds what to do.
    pub(crate) fn advise(mut self, text: impl Into<String>) -> Self {
        if let Self::Failed { advice, .. } = &mut self {
            *advice = text.into();
        }
        self
    }

    /// Adds what the failing program printed.
    pub(crate) fn with_output(mut self, text: impl Into<String>) -> Self {
        if let Self::Failed { output, .. } = &mut self {
            *output = text.into();
        }
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interrupted => formatter.write_str("interrupted"),
            Self::Failed { what, output, advice } => {
                formatter.write_str(what)?;
                for line in output.trim_end().lines() {
                    write!(formatter, "\n    {line}")?;
                }
                match (output.is_empty(), advice.is_empty()) {
                    (_, true) => Ok(()),
                    (true, false) => write!(formatter, ": {advice}"),
                    (false, false) => write!(formatter, "\n{advice}"),
                }
            }
        }
    }
}

impl Error for Failure {}
