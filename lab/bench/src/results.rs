//! A run with all its figures, as it is written to `target/bench/results.json`.

use std::{env::consts::ARCH, fs, process::Command, thread};

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    contestants::{Contestant, Function},
    measure::Figures,
    process::Case,
};

/// One run.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    date: String,
    machine: Machine,
    /// The compiler of the functions.
    pub(crate) rustc: String,
    pub(crate) cases: Vec<Figures>,
    /// What was not measured, and why.
    pub(crate) left_out: Vec<String>,
}

/// Where it ran.
#[derive(Debug, Serialize)]
struct Machine {
    cpu: String,
    cores: usize,
    /// The load average of the last minute, before the run and after it.
    load: [f64; 2],
}

impl Results {
    /// An empty run that begins now.
    pub(crate) fn begin() -> Self {
        let machine = Machine {
            cpu: cpu(),
            cores: thread::available_parallelism().map_or(0, usize::from),
            load: [load(), 0.0],
        };
        let date = Timestamp::now().strftime("%Y-%m-%d").to_string();
        Self { date, machine, rustc: rustc(), cases: Vec::new(), left_out: Vec::new() }
    }

    /// Notes how busy the machine is at the end.
    pub(crate) fn end(&mut self) {
        self.machine.load[1] = load();
    }

    /// When and where it ran.
    pub(crate) fn origin(&self) -> String {
        let Self { date, machine: Machine { cpu, cores, load: [before, after] }, rustc, .. } = self;
        format!("{date}, {cpu}, {cores} cores (load average {before} before and {after} after), {rustc}")
    }

    /// The figures of a case, if it was measured.
    pub(crate) fn find(
        &self,
        function: Function,
        contestant: Contestant,
        batch: usize,
        payload_bytes: usize,
    ) -> Option<&Figures> {
        let wanted = Case { function, contestant, batch, payload_bytes };
        self.cases.iter().find(|figures| figures.case == wanted)
    }
}

fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

fn cpu() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    model.map_or(ARCH, |(_, name)| name.trim()).to_owned()
}

fn rustc() -> String {
    let output = Command::new("rustc").arg("--version").output().map(|output| output.stdout);
    String::from_utf8_lossy(&output.unwrap_or_default()).trim().to_owned()
}
