//! What to compare, and with what load.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// A claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    Flow,
    Burst,
    Cost,
    Outage,
}

#[derive(Parser, Clone, Debug)]
pub(crate) struct Options {
    /// What to compare; all of it, unless said.
    #[arg(long = "part", value_enum)]
    parts: Vec<Part>,
    /// The seed of the arrivals.
    #[arg(long)]
    pub(crate) seed: u64,
    /// Write units a second that the table has.
    #[arg(long)]
    pub(crate) capacity: f64,
    /// Messages a second for the flow.
    #[arg(long)]
    pub(crate) rate: f64,
    /// Fewer loads, for shorter.
    #[arg(long)]
    pub(crate) quick: bool,
    /// The stack's own table has the capacity, not a proxy before it.
    #[arg(long)]
    pub(crate) deployed: bool,
    /// Only say what would be sent and changed.
    #[arg(long)]
    pub(crate) announce: bool,
    /// The folder of the results.
    #[arg(long)]
    pub(crate) output: PathBuf,
}

impl Options {
    /// What to compare. Bills are made of what only a proxy counts.
    pub(crate) fn parts(&self) -> impl Iterator<Item = Part> {
        let is_wanted = |part: &Part| self.parts.is_empty() || self.parts.contains(part);
        let is_possible = |part: &Part| !self.deployed || *part != Part::Cost;
        Part::value_variants().iter().filter(move |part| is_wanted(part) && is_possible(part)).copied()
    }
}
