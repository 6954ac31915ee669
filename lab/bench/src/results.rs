//! A run with all its figures, as it is written to `target/bench/results.json`.

use std::{fs, process::Command};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    contestants::{Contestant, Function},
    measure::Figures,
};

/// One run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) date: String,
    pub(crate) machine: Machine,
    /// The compiler of the functions.
    pub(crate) rustc: String,
    pub(crate) cases: Vec<Figures>,
    /// Who was left out, and why.
    pub(crate) left_out: Vec<String>,
}

/// Where it ran.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    /// Load averages of 1, 5 and 15 minutes.
    pub(crate) load_before: Vec<f64>,
    pub(crate) load_after: Vec<f64>,
}

impl Results {
    /// An empty run that begins now.
    pub(crate) fn begin() -> Self {
        let load = load();
        Self {
            date: Timestamp::now().strftime("%Y-%m-%d").to_string(),
            machine: Machine {
                cpu: cpu(),
                cores: std::thread::available_parallelism().map_or(0, usize::from),
                load_before: load.clone(),
                load_after: load,
            },
            rustc: rustc(),
            cases: Vec::new(),
            left_out: Vec::new(),
        }
    }

    /// Notes how busy the machine is at the end.
    pub(crate) fn end(&mut self) {
        self.machine.load_after = load();
    }

    /// The figures of a case, if it was measured.
    pub(crate) fn find(
        &self,
        function: Function,
        contestant: Contestant,
        batch: usize,
        payload_bytes: usize,
    ) -> Option<&Figures> {
        self.cases.iter().find(|case| {
            (case.function, case.contestant, case.batch, case.payload_bytes)
                == (function, contestant, batch, payload_bytes)
        })
    }
}

fn load() -> Vec<f64> {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).filter_map(|number| number.parse().ok()).collect()
}

fn cpu() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    model.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}

fn rustc() -> String {
    let output = Command::new("rustc").arg("--version").output();
    output.map_or_else(
        |_| "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}
