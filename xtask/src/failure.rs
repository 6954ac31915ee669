//! Why a command failed.

use std::{error::Error, fmt, path::Path};

/// A failure as a person reads it: what failed, what the failing program printed, what to do.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Ctrl-C, or another signal that asks this process to end.
    Interrupted,
    /// Anything else.
    Failed {
        /// What failed and why, in one line.
        what: String,
        /// What the failing program printed; empty if it printed nothing, or to the screen.
        output: String,
        /// What to do about it; may be empty.
        advice: String,
    },
}

impl Failure {
    /// A failure that one line describes.
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
