//! The figures of a case, and those in `figures.json`, which do not depend on how fast a machine is.

use std::{
    collections::{BTreeMap, BTreeSet},
    env::consts::ARCH,
    fs,
    path::Path,
    process::Command,
};

use serde::{Deserialize, Serialize};

use crate::{Failure, measure::Measured};

/// The figures of one process, or of many.
pub(crate) type Figures = BTreeMap<&'static str, f64>;

// From the start of the process until its first response: init is part of it.
pub(crate) const FIRST_RESPONSE: &str = "ms to the first response";
pub(crate) const FIRST_CPU: &str = "ms of CPU to the first response";
pub(crate) const FIRST_INSTRUCTIONS: &str = "instructions to the first response";
// From the first response to the last.
pub(crate) const WARM_CPU: &str = "µs of CPU for a warm message";
pub(crate) const WARM_INSTRUCTIONS: &str = "instructions of a warm invocation";
pub(crate) const MESSAGE_INSTRUCTIONS: &str = "instructions for a warm message";
pub(crate) const PEAK_MEMORY: &str = "bytes of memory at the peak";
pub(crate) const EVENT_BYTES: &str = "bytes of an event";
pub(crate) const ZIP_BYTES: &str = "bytes of the zip";
// A connection that init opens is one that the first request does not wait for.
pub(crate) const INIT_HANDSHAKES: &str = "TLS handshakes before the first event";
pub(crate) const LATER_HANDSHAKES: &str = "TLS handshakes later";

/// A smaller change does not count.
const TOLERANCE: f64 = 0.05;

/// The content of `figures.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Published {
    /// Another kind of processor has other instructions.
    processor: String,
    /// Another compiler makes other instructions, but the difference is small.
    rustc: String,
    /// By name. Of all figures, less is better.
    figures: BTreeMap<String, f64>,
}

/// Replaces the published figures by those of a run.
pub(crate) fn write(path: &Path, results: &[Measured]) -> Result<(), Failure> {
    let rustc = Command::new("rustc").arg("--version").output()?.stdout;
    let rustc = String::from_utf8(rustc)?.trim().to_owned();
    let published = Published { processor: ARCH.to_owned(), rustc, figures: publishable(results) };
    fs::write(path, serde_json::to_string_pretty(&published)? + "\n")?;
    println!("written: {}", path.display());
    Ok(())
}

/// Compares a run with the published figures. Returns whether there is no regression.
pub(crate) fn check(path: &Path, results: &[Measured]) -> Result<bool, Failure> {
    let Published { processor, rustc, figures } = serde_json::from_str(&fs::read_to_string(path)?)?;
    if processor != ARCH {
        return Err(format!("{} has figures for {processor}, and this is {ARCH}", path.display()).into());
    }
    let regressions = regressions(&figures, &publishable(results));
    for line in &regressions {
        println!("REGRESSION: {line}");
    }
    if regressions.is_empty() {
        println!("{} figures compared with lab/bench/figures.json: none is over 5 % worse", figures.len());
    } else {
        println!(
            "The published figures are from {rustc}. If this is intended, `cargo xtask bench --write-figures` \
             publishes those of now."
        );
    }
    Ok(regressions.is_empty())
}

/// The figures that do not depend on the machine, by case or, if they are the same for all cases, by function.
fn publishable(results: &[Measured]) -> BTreeMap<String, f64> {
    let mut publishable = BTreeMap::new();
    for (case, figures) in results {
        for name in [FIRST_INSTRUCTIONS, WARM_INSTRUCTIONS, INIT_HANDSHAKES, LATER_HANDSHAKES] {
            publishable.extend(figures.get(name).map(|value| (format!("{}, {name}", case.work()), *value)));
        }
        let zip = figures.get(ZIP_BYTES);
        publishable.extend(zip.map(|bytes| (format!("{}, {ZIP_BYTES}", case.function), *bytes)));
    }
    publishable
}

/// What is worse than published, or on one side only.
fn regressions(published: &BTreeMap<String, f64>, now: &BTreeMap<String, f64>) -> Vec<String> {
    let names: BTreeSet<_> = published.keys().chain(now.keys()).collect();
    let regression = |name: &String| match (published.get(name), now.get(name)) {
        (Some(before), Some(after)) if *after <= before * (1.0 + TOLERANCE) => None,
        (Some(before), Some(after)) => {
            let percent = (after / before - 1.0) * 100.0;
            Some(format!("{name}: {after} instead of {before} ({percent:+.1} %)"))
        }
        (Some(_), None) => Some(format!("{name}: it was not measured")),
        (None, _) => Some(format!("{name}: it is not published")),
    };
    names.into_iter().filter_map(regression).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(values: &[(&str, f64)]) -> BTreeMap<String, f64> {
        values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    }

    #[test]
    fn more_than_five_percent_is_a_regression() {
        let published = figures(&[("a", 100.0), ("b", 100.0), ("c", 100.0), ("d", 0.0), ("e", 0.0)]);
        let now = figures(&[("a", 105.0), ("b", 106.0), ("c", 90.0), ("d", 0.0), ("e", 1.0)]);
        let regressions = regressions(&published, &now);
        assert_eq!(regressions, ["b: 106 instead of 100 (+6.0 %)", "e: 1 instead of 0 (+inf %)"]);
    }

    #[test]
    fn a_figure_on_one_side_is_a_regression() {
        let regressions = regressions(&figures(&[("gone", 3.0)]), &figures(&[("new", 1.0)]));
        assert_eq!(regressions, ["gone: it was not measured", "new: it is not published"]);
    }
}
