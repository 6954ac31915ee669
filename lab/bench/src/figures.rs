//! The figures that do not depend on the machine, as they are committed: instructions, requests, handshakes and
//! sizes. Never times.

use std::{
    collections::{BTreeMap, BTreeSet},
    env::consts::ARCH,
    fs,
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use crate::{
    Failure,
    contestants::{Contestant, root},
    measure::Figures,
    results::Results,
};

/// What passes for unchanged.
const TOLERANCE: f64 = 0.05;

/// The committed figures.
#[derive(Debug, Serialize, Deserialize)]
struct Committed {
    /// The kind of processor they are of: another one has other instructions.
    processor: String,
    /// The compiler they are of: another one makes other instructions, too, but not that many.
    rustc: String,
    /// By what they are of, as [`stable`] names it. Of all of them, less is better.
    figures: BTreeMap<String, f64>,
}

fn path() -> PathBuf {
    root().join("lab/bench/figures.json")
}

/// Compares a run with the committed figures, or writes them. Whether all is well.
pub(crate) fn compare(results: &Results, write: bool, say: fn(&str)) -> Result<bool, Failure> {
    let path = path();
    let now =
        Committed { processor: ARCH.to_owned(), rustc: results.rustc.clone(), figures: stable(results) };
    if write {
        fs::write(&path, serde_json::to_string_pretty(&now)? + "\n")
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        say(&format!("written: {}", path.display()));
        return Ok(true);
    }
    let text =
        fs::read_to_string(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let committed: Committed =
        serde_json::from_str(&text).map_err(|error| format!("{} is broken: {error}", path.display()))?;
    if committed.processor != now.processor {
        let Committed { processor, .. } = committed;
        return Err(format!("{} has the figures of {processor}, and this is {ARCH}", path.display()).into());
    }
    let Comparison { regressions, improvements, compared } = differences(&committed.figures, &now.figures);
    for line in &improvements {
        say(&format!("better: {line}"));
    }
    for line in &regressions {
        say(&format!("REGRESSION: {line}"));
    }
    if committed.rustc != now.rustc && !(regressions.is_empty() && improvements.is_empty()) {
        say(&format!(
            "The committed figures are those of {}, and this is {}: that alone may be the reason.",
            committed.rustc, now.rustc
        ));
    }
    if regressions.is_empty() {
        say(&format!("{compared} figures compared with lab/bench/figures.json: none is over 5 % worse"));
    } else {
        say("If this is as it should be, `cargo xtask bench --write-figures` makes it the new measure.");
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
            // A request that was never made before is one, too.
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

/// What of a run does not depend on the machine.
fn stable(results: &Results) -> BTreeMap<String, f64> {
    let mut figures = BTreeMap::new();
    for case in results.cases.iter().filter(|case| case.contestant == Contestant::Intake) {
        let name = format!("{} {}x{}KB", case.function, case.batch, case.payload_bytes / 1024);
        let mut note = |what: &str, value: Option<f64>| {
            if let Some(value) = value {
                figures.insert(format!("{name}, {what}"), value);
            }
        };
        let whole = |count: Option<u64>| count.map(|count| count as f64);
        note("instructions to the first answer", whole(case.instructions_first));
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
        let peer = results.find(case.function, Contestant::RustDefault, case.batch, case.payload_bytes);
        let mut ratio = |what: &str, of: fn(&Figures) -> Option<u64>| {
            let (ours, theirs) = (of(case)?, of(peer?)?);
            let thousandths = (ours as f64 / theirs as f64 * 1000.0).round() / 1000.0;
            figures.insert(format!("{name}, {what} against rust-default"), thousandths)
        };
        ratio("instructions to the first answer", |case| case.instructions_first);
        ratio("instructions of a warm invocation", |case| case.instructions_warm);
        if let (Some(binary), Some(zip)) = (case.binary_bytes, case.zip_bytes) {
            figures.insert(format!("{}, bytes of the program", case.function), binary as f64);
            figures.insert(format!("{}, bytes of the zip", case.function), zip as f64);
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
    fn over_five_percent_more_is_a_regression_and_named() {
        let committed = figures(&[("a", 100.0), ("b", 100.0), ("c", 100.0), ("d", 0.0)]);
        let now = figures(&[("a", 105.0), ("b", 106.0), ("c", 90.0), ("d", 0.0)]);
        let Comparison { regressions, improvements, compared } = differences(&committed, &now);
        assert_eq!(regressions, ["b: 106 instead of 100 (+6.0 %)"]);
        assert_eq!(improvements, ["c: 90 instead of 100 (-10.0 %)"]);
        assert_eq!(compared, 4);
    }

    #[test]
    fn what_was_none_or_is_missing_is_a_regression() {
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
