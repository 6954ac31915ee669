//! The committed figures, which do not depend on the speed of a machine: instructions, requests, handshakes and
//! sizes, but no times.

use std::{
    collections::{BTreeMap, BTreeSet},
    env::consts::ARCH,
    fs,
};

use serde::{Deserialize, Serialize};

use crate::{
    Failure,
    contestants::{Contestant, root},
    measure::Figures,
    print,
    process::Case,
    results::Results,
    write_json,
};

/// A smaller change does not count.
const TOLERANCE: f64 = 0.05;

/// The committed figures.
#[derive(Debug, Serialize, Deserialize)]
struct Committed {
    /// Another kind of processor has other instructions.
    processor: String,
    /// Another compiler makes other instructions, but the difference is small.
    rustc: String,
    /// By name, see [`stable`]. Of all figures, less is better.
    figures: BTreeMap<String, f64>,
}

/// Compares a run with the committed figures, or writes them. Returns whether there is no regression.
pub(crate) fn compare(results: &Results, write: bool) -> Result<bool, Failure> {
    let path = root().join("lab/bench/figures.json");
    let now =
        Committed { processor: ARCH.to_owned(), rustc: results.rustc.clone(), figures: stable(results) };
    if write {
        write_json(&path, &now)?;
        return Ok(true);
    }
    let text =
        fs::read_to_string(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let committed: Committed =
        serde_json::from_str(&text).map_err(|error| format!("{} is broken: {error}", path.display()))?;
    if committed.processor != now.processor {
        let message =
            format!("{} has figures for {}, and this is {ARCH}", path.display(), committed.processor);
        return Err(message.into());
    }
    let Comparison { regressions, improvements, compared } = differences(&committed.figures, &now.figures);
    for line in &improvements {
        print(&format!("better: {line}"));
    }
    for line in &regressions {
        print(&format!("REGRESSION: {line}"));
    }
    if committed.rustc != now.rustc && !(regressions.is_empty() && improvements.is_empty()) {
        print(&format!(
            "The committed figures are from {}, and this is {}: that alone may be the reason.",
            committed.rustc, now.rustc
        ));
    }
    if regressions.is_empty() {
        print(&format!("{compared} figures compared with lab/bench/figures.json: none is over 5 % worse"));
    } else {
        print("If this is intended, `cargo xtask bench --write-figures` commits to it.");
    }
    Ok(regressions.is_empty())
}

#[derive(Debug, PartialEq, Eq)]
struct Comparison {
    regressions: Vec<String>,
    improvements: Vec<String>,
    compared: usize,
}

fn differences(committed: &BTreeMap<String, f64>, now: &BTreeMap<String, f64>) -> Comparison {
    let mut comparison = Comparison { regressions: Vec::new(), improvements: Vec::new(), compared: 0 };
    let names: BTreeSet<_> = committed.keys().chain(now.keys()).collect();
    for name in names {
        match (committed.get(name), now.get(name)) {
            (Some(&before), Some(&after)) => {
                comparison.compared += 1;
                let line = || {
                    let change = (after / before - 1.0) * 100.0;
                    let change = if before > 0.0 { format!(" ({change:+.1} %)") } else { String::new() };
                    format!("{name}: {} instead of {}{change}", shown(after), shown(before))
                };
                if after > before * (1.0 + TOLERANCE) {
                    comparison.regressions.push(line());
                } else if after < before * (1.0 - TOLERANCE) {
                    comparison.improvements.push(line());
                }
            }
            (Some(_), None) => comparison.regressions.push(format!("{name}: it was not measured")),
            // A kind of request that is new is a regression, too.
            (None, Some(&after)) if after > 0.0 => {
                comparison.regressions.push(format!("{name}: {}, and none is committed", shown(after)));
            }
            (None, _) => {}
        }
    }
    comparison
}

fn shown(number: f64) -> String {
    if number.fract() == 0.0 { format!("{number:.0}") } else { format!("{number:.3}") }
}

/// The figures of a run that do not depend on the machine.
fn stable(results: &Results) -> BTreeMap<String, f64> {
    let mut figures = BTreeMap::new();
    for case in results.cases.iter().filter(|figures| figures.case.contestant == Contestant::Intake) {
        let Case { function, batch, payload_bytes, .. } = case.case;
        let name = format!("{function} {batch}x{}KB", payload_bytes / 1024);
        let mut note = |what: &str, value: Option<f64>| {
            if let Some(value) = value {
                figures.insert(format!("{name}, {what}"), value);
            }
        };
        let whole = |count: Option<u64>| count.map(|count| count as f64);
        note("instructions to the first response", whole(case.instructions_first));
        note("instructions of a warm invocation", whole(case.instructions_warm));
        let late = case.handshakes_total - case.handshakes_init;
        note("TLS handshakes before the first event", Some(case.handshakes_init as f64));
        note("TLS handshakes later", Some(late as f64));
        for (when, requests) in [
            ("during init", &case.requests_init),
            ("in the first invocation", &case.requests_first),
            ("in a warm invocation", &case.requests),
        ] {
            for (operation, count) in requests {
                note(&format!("{operation} requests {when}"), Some(*count));
            }
        }
        let peer = results.find(function, Contestant::RustDefault, batch, payload_bytes);
        let mut ratio = |what: &str, of: fn(&Figures) -> Option<u64>| {
            let (ours, theirs) = (of(case)?, of(peer?)?);
            let thousandths = (ours as f64 / theirs as f64 * 1000.0).round() / 1000.0;
            figures.insert(format!("{name}, {what} against rust-default"), thousandths)
        };
        ratio("instructions to the first response", |case| case.instructions_first);
        ratio("instructions of a warm invocation", |case| case.instructions_warm);
        if let (Some(binary), Some(zip)) = (case.binary_bytes, case.zip_bytes) {
            figures.insert(format!("{function}, bytes of the program"), binary as f64);
            figures.insert(format!("{function}, bytes of the zip"), zip as f64);
        }
    }
    figures
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(values: &[(&str, f64)]) -> BTreeMap<String, f64> {
        values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    }

    #[test]
    fn more_than_five_percent_is_a_regression() {
        let committed = figures(&[("a", 100.0), ("b", 100.0), ("c", 100.0), ("d", 0.0)]);
        let now = figures(&[("a", 105.0), ("b", 106.0), ("c", 90.0), ("d", 0.0)]);
        let Comparison { regressions, improvements, compared } = differences(&committed, &now);
        assert_eq!(regressions, ["b: 106 instead of 100 (+6.0 %)"]);
        assert_eq!(improvements, ["c: 90 instead of 100 (-10.0 %)"]);
        assert_eq!(compared, 4);
    }

    #[test]
    fn a_new_kind_of_request_and_a_missing_figure_are_regressions() {
        let committed = figures(&[("handshakes later", 0.0), ("gone", 3.0)]);
        let now = figures(&[("handshakes later", 1.0), ("Scan requests", 1.0)]);
        let regressions = differences(&committed, &now).regressions;
        assert_eq!(
            regressions,
            [
                "Scan requests: 1, and none is committed",
                "gone: it was not measured",
                "handshakes later: 1 instead of 0",
            ]
        );
    }
}
