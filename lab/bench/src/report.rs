//! The results for people: a table, and each target with what was reached.

use crate::{cases::Contestant, figures, measure::Measured};

const MB: f64 = 1024.0 * 1024.0;

/// The columns of the table: a header, a figure, the unit in which it is shown, and the digits after its point.
const COLUMNS: [(&str, &str, f64, usize); 7] = [
    ("first response, ms", figures::FIRST_RESPONSE, 1.0, 1),
    ("its CPU, ms", figures::FIRST_CPU, 1.0, 1),
    ("its instructions, M", figures::FIRST_INSTRUCTIONS, 1e6, 1),
    ("warm message: CPU, µs", figures::WARM_CPU, 1.0, 0),
    ("its instructions, k", figures::MESSAGE_INSTRUCTIONS, 1e3, 0),
    ("peak memory, MB", figures::PEAK_MEMORY, MB, 1),
    ("zip, MB", figures::ZIP_BYTES, MB, 1),
];

/// What a figure of `intake` may be at most of a peer's.
const TARGETS: [(&str, &str, Contestant, f64); 9] = [
    ("sync-insert 1x1KB", figures::FIRST_RESPONSE, Contestant::HandSigned, 1.25),
    ("sync-insert 1x1KB", figures::FIRST_CPU, Contestant::RustDefault, 1.0 / 7.0),
    ("sync-insert 1x1KB", figures::FIRST_RESPONSE, Contestant::Python, 1.0 / 45.0),
    ("sync-insert 1x1KB", figures::FIRST_RESPONSE, Contestant::Node, 1.0 / 22.0),
    ("sync-insert 1x1KB", figures::WARM_INSTRUCTIONS, Contestant::RustDefault, 0.9),
    ("sync-insert 1x1KB", figures::WARM_INSTRUCTIONS, Contestant::HandSigned, 1.7),
    ("queue-consumer 100x1KB", figures::WARM_CPU, Contestant::RustDefault, 1.0 / 4.0),
    ("queue-consumer 100x1KB", figures::WARM_CPU, Contestant::Python, 1.0 / 15.0),
    ("queue-consumer 100x1KB", figures::WARM_CPU, Contestant::Node, 1.0 / 15.0),
];

/// All results as a table in Markdown.
pub(crate) fn table(results: &[Measured]) -> String {
    let row = |(case, figures): &Measured| {
        let cell = |(_, name, unit, digits): &(&str, &str, f64, usize)| match figures.get(name) {
            Some(value) => format!(" | {:.digits$}", value / unit),
            None => " | –".to_owned(),
        };
        format!("| {}{} |\n", case.name(), COLUMNS.iter().map(cell).collect::<String>())
    };
    let head: String = COLUMNS.iter().map(|(header, ..)| format!(" | {header}")).collect();
    let rows: String = results.iter().map(row).collect();
    format!("| case{head} |\n|{}\n{rows}", "---|".repeat(1 + COLUMNS.len()))
}

/// What was reached of the targets, a line each.
pub(crate) fn targets(results: &[Measured]) -> Vec<String> {
    let mut targets = Vec::new();
    for (work, figure, peer, limit) in TARGETS {
        let of = |contestant| {
            let wanted = |(case, _): &&Measured| case.work() == work && case.contestant == contestant;
            results.iter().find(wanted)?.1.get(figure)
        };
        if let (Some(ours), Some(theirs)) = (of(Contestant::Intake), of(peer)) {
            targets.push(target(&format!("{work}, {figure} against {peer}"), ours / theirs, limit));
        }
    }
    for (case, figures) in results.iter().filter(|(case, _)| case.contestant == Contestant::Intake) {
        let (peak, event) = (figures[figures::PEAK_MEMORY] / MB, figures[figures::EVENT_BYTES] / MB);
        targets.push(target(&format!("{}, MB of memory at the peak", case.work()), peak, 10.0 + 2.0 * event));
        let zip = target(&format!("{}, MB of the zip", case.function), figures[figures::ZIP_BYTES] / MB, 3.0);
        // All cases of a function have the same.
        if !targets.contains(&zip) {
            targets.push(zip);
        }
    }
    targets
}

fn target(what: &str, reached: f64, limit: f64) -> String {
    let sign = if reached <= limit { '✓' } else { '✗' };
    format!("{sign} {what}: {reached:.3}, at most {limit:.3}")
}
