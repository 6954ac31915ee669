//! What a run came to, for people: a table, and the targets with what was reached.

use std::{collections::BTreeMap, fmt::Write};

use crate::{
    contestants::{Contestant, Function},
    measure::Figures,
    results::Results,
};

const KB: usize = 1024;
const MB: f64 = 1024.0 * 1024.0;

/// What a frame of ours is sure to take: 32 KB, which API Gateway allows, less an event that does not fit in any more.
const FULL_FRAME: f64 = 31.0 * 1024.0;

/// A target, and what was reached.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Target {
    /// What it is about.
    pub(crate) what: String,
    /// What was reached, in words.
    pub(crate) reached: String,
    /// Whether that is enough; none if it was not measured.
    pub(crate) met: Option<bool>,
}

/// The table of everything that was measured.
pub(crate) fn table(results: &Results) -> String {
    let head = [
        "case",
        "init ms",
        "first ms",
        "first CPU ms",
        "warm ms",
        "warm CPU µs/msg",
        "peak MB",
        "binary MB",
        "zip MB",
        "M instr first",
        "k instr/msg",
        "TLS init+first",
        "requests per invocation",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for case in &results.cases {
        let megabytes =
            |bytes: Option<u64>| bytes.map_or("–".to_owned(), |bytes| decimals(bytes as f64 / MB, 2));
        let messages = case.batch as f64;
        rows.push(vec![
            case.label(),
            decimals(case.init_ms, 1),
            decimals(case.first_answer_ms, 1),
            decimals(case.first_cpu_ms, 1),
            decimals(case.warm_ms, 2),
            decimals(case.warm_cpu_ms * 1000.0 / messages, 0),
            decimals(case.peak_memory_bytes as f64 / MB, 1),
            megabytes(case.binary_bytes),
            megabytes(case.zip_bytes),
            case.instructions_first.map_or("–".to_owned(), |count| decimals(count as f64 / 1e6, 1)),
            case.instructions_warm
                .map_or("–".to_owned(), |count| decimals(count as f64 / 1e3 / messages, 0)),
            format!("{}+{}", case.handshakes_init, case.handshakes_first - case.handshakes_init),
            requests(&case.requests),
        ]);
    }
    aligned(&rows)
}

/// Requests by operation in one line.
fn requests(by_operation: &BTreeMap<String, f64>) -> String {
    let words: Vec<_> = by_operation
        .iter()
        .map(|(operation, count)| {
            let short = match operation.as_str() {
                "BatchExecuteStatement" => "Batch",
                "PostToConnection" => "Push",
                other => other,
            };
            format!("{short} {}", (count * 100.0).round() / 100.0)
        })
        .collect();
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

/// Columns of equal width, numbers to the right.
fn aligned(rows: &[Vec<String>]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..rows.first().map_or(0, Vec::len)).map(width).collect();
    let last = widths.len().saturating_sub(1);
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            let room = widths[column] - cell.chars().count();
            let (before, after) = if column == 0 || column == last { (0, room) } else { (room, 0) };
            text.extend(std::iter::repeat_n(' ', before));
            text.push_str(cell);
            if column < last {
                text.extend(std::iter::repeat_n(' ', after + 2));
            }
        }
        text.push('\n');
    }
    text
}

/// A number with so many decimals.
pub(crate) fn decimals(number: f64, places: usize) -> String {
    format!("{number:.places$}")
}

/// What is to be reached, and whether it is.
pub(crate) fn targets(results: &Results) -> Vec<Target> {
    use Contestant::{HandSigned, Intake, Node, Python, RustDefault};
    use Function::{QueueConsumer, SyncInsert};

    let mut targets = Vec::new();
    let find = |function, contestant, batch| results.find(function, contestant, batch, KB);
    let ours = find(SyncInsert, Intake, 1);
    let mut first = |peer, name: &str, of: fn(&Figures) -> f64, most: f64, limit: &str| {
        let ratio = ours.zip(find(SyncInsert, peer, 1)).map(|(ours, peer)| of(ours) / of(peer));
        targets.push(at_most(&format!("sync-insert, start to first answer: {name}"), ratio, most, limit));
    };
    let wall: fn(&Figures) -> f64 = |case| case.first_answer_ms;
    let cpu: fn(&Figures) -> f64 = |case| case.first_cpu_ms;
    first(HandSigned, "time against hand-signed", wall, 1.25, "1.25");
    first(RustDefault, "CPU against rust-default", cpu, 1.0 / 7.0, "1/7");
    first(Python, "time against python", wall, 1.0 / 45.0, "1/45");
    first(Node, "time against node", wall, 1.0 / 22.0, "1/22");
    for (batch, peer, most, limit) in [
        (10, RustDefault, 1.0 / 3.0, "1/3"),
        (10, Python, 1.0 / 15.0, "1/15"),
        (10, Node, 1.0 / 15.0, "1/15"),
        (100, RustDefault, 1.0 / 4.0, "1/4"),
    ] {
        let ours = find(QueueConsumer, Intake, batch);
        let ratio = ours
            .zip(find(QueueConsumer, peer, batch))
            .map(|(ours, peer)| ours.warm_cpu_ms / peer.warm_cpu_ms);
        let what = format!("queue-consumer, batches of {batch}: CPU per message against {peer}");
        targets.push(at_most(&what, ratio, most, limit));
    }

    let functions =
        [SyncInsert, QueueConsumer, Function::StatusLookup, Function::Websocket, Function::Authorizer];
    for function in functions {
        let of_function = || {
            let ours = results.cases.iter().filter(|case| case.contestant == Intake);
            ours.filter(move |case| case.function == function)
        };
        let usual = of_function().filter(|case| case.payload_bytes == KB && case.batch <= 10);
        let peak = usual.map(|case| case.peak_memory_bytes).max();
        targets.push(megabytes_at_most(&format!("{function}: peak memory with 1 KB messages"), peak, 10.0));
        let zip = of_function().find_map(|case| case.zip_bytes);
        targets.push(megabytes_at_most(&format!("{function}: zip"), zip, 2.5));
    }
    for function in functions.into_iter().filter(|function| *function != Function::Authorizer) {
        let batch = if function == QueueConsumer { 10 } else { 1 };
        let found = find(function, Intake, batch);
        let handshakes = |case: &Figures| {
            let (init, first) = (case.handshakes_init, case.handshakes_first - case.handshakes_init);
            (format!("{init} during init, {first} in the first invocation"), init > 0 && first == 0)
        };
        let (reached, met) = found.map(handshakes).unzip();
        targets.push(Target {
            what: format!("{function}: init opens the connection"),
            reached: reached.unwrap_or_else(not_measured),
            met,
        });
    }
    let cpu = |batch| find(QueueConsumer, Intake, batch).map(|case| case.warm_cpu_ms / case.batch as f64);
    for batch in [1_000, 10_000] {
        let ratio = cpu(batch).zip(cpu(100)).map(|(large, small)| large / small);
        let what = format!("queue-consumer, batches of {batch}: CPU per message against batches of 100");
        targets.push(at_most(&what, ratio, 1.25, "1.25"));
    }
    targets.extend(results.cases.iter().filter(|case| is_ours(case)).flat_map(sizes_of_batches));
    targets
}

fn is_ours(case: &Figures) -> bool {
    case.contestant == Contestant::Intake && case.function == Function::QueueConsumer
}

/// What a batch of any size has to keep to.
fn sizes_of_batches(case: &Figures) -> Vec<Target> {
    let name = format!("queue-consumer, {} × {} KB", case.batch, case.payload_bytes / KB);
    let counted = |operation: &str| case.requests.get(operation).copied().unwrap_or(0.0);
    let batches = case.batch.div_ceil(25) as f64;
    let writes = counted("BatchExecuteStatement") + counted("PutItem");
    let owners = case.batch.min(crate::events::OWNERS.len()) as f64;
    let pushes = counted("PostToConnection");
    // A long list of events is more than one frame.
    let frames = owners * (case.pushed_bytes as f64 / owners / FULL_FRAME).ceil();
    let peak = case.peak_memory_bytes as f64;
    let allowed = 2.0 * case.event_bytes as f64 + 10.0 * MB;
    vec![
        Target {
            what: format!("{name}: writes are ⌈n/25⌉"),
            reached: format!("{writes} of {batches}"),
            met: Some((writes - batches).abs() < f64::EPSILON),
        },
        Target {
            what: format!("{name}: one push per connection and 32 KB"),
            reached: format!("{pushes} of {frames}, to {owners} connections"),
            met: Some(pushes <= frames),
        },
        Target {
            what: format!("{name}: memory below twice the event + 10 MB"),
            reached: format!("{} of {} MB", decimals(peak / MB, 1), decimals(allowed / MB, 1)),
            met: Some(peak < allowed),
        },
    ]
}

/// A ratio that is to be small; told as its inverse where that is how people say it.
fn at_most(what: &str, ratio: Option<f64>, most: f64, limit: &str) -> Target {
    let spoken = |ratio: f64| {
        if most < 1.0 { format!("1/{}", decimals(1.0 / ratio, 1)) } else { decimals(ratio, 2) }
    };
    Target {
        what: format!("{what}, at most {limit}"),
        reached: ratio.map_or_else(not_measured, spoken),
        met: ratio.map(|ratio| ratio <= most),
    }
}

fn megabytes_at_most(what: &str, bytes: Option<u64>, most: f64) -> Target {
    let megabytes = bytes.map(|bytes| bytes as f64 / MB);
    Target {
        what: format!("{what}, at most {most} MB"),
        reached: megabytes.map_or_else(not_measured, |megabytes| format!("{} MB", decimals(megabytes, 2))),
        met: megabytes.map(|megabytes| megabytes <= most),
    }
}

fn not_measured() -> String {
    "not measured".to_owned()
}

/// The targets, a line each.
pub(crate) fn judgement(targets: &[Target]) -> String {
    let mut text = String::new();
    for Target { what, reached, met } in targets {
        let sign = match met {
            Some(true) => '✓',
            Some(false) => '✗',
            None => '–',
        };
        // Writing to a text does not fail.
        let _ = writeln!(text, "{sign} {what}: {reached}");
    }
    text
}
