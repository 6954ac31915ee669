//! The results for people: a table, and each target with what was reached.

use std::collections::BTreeMap;

use crate::{
    contestants::{Contestant, Function},
    events::OWNERS,
    measure::Figures,
    results::Results,
};

const KB: usize = 1024;
const MB: f64 = 1024.0 * 1024.0;

/// The bytes of events that fit into a frame in any case: API Gateway allows 32 KB, and the next event may not fit.
const FULL_FRAME: f64 = 31.0 * 1024.0;

/// All measured cases as a table in Markdown.
pub(crate) fn table(results: &Results) -> String {
    let columns = [
        "case",
        "init ms",
        "first ms",
        "first CPU ms",
        "warm ms",
        "warm CPU µs per message",
        "peak MB",
        "program, zip MB",
        "instructions: first, warm message",
        "TLS init+first",
        "requests of a warm invocation",
    ];
    let rows = results.cases.iter().map(|figures| row(figures).join(" | "));
    let head = [columns.join(" | "), columns.map(|_| "---").join(" | ")];
    head.into_iter().chain(rows).map(|cells| format!("| {cells} |\n")).collect()
}

fn row(figures: &Figures) -> [String; 11] {
    let messages = figures.case.batch as f64;
    let both = |left: Option<String>, right: Option<String>| match (left, right) {
        (Some(left), Some(right)) => format!("{left}, {right}"),
        _ => "–".to_owned(),
    };
    let megabytes = |bytes: Option<u64>| bytes.map(|bytes| format!("{:.1}", bytes as f64 / MB));
    [
        figures.case.to_string(),
        format!("{:.1}", figures.init_ms),
        format!("{:.1}", figures.first_response_ms),
        format!("{:.1}", figures.first_cpu_ms),
        format!("{:.2}", figures.warm_ms),
        format!("{:.0}", figures.warm_cpu_ms * 1000.0 / messages),
        format!("{:.1}", figures.peak_memory_bytes as f64 / MB),
        both(megabytes(figures.binary_bytes), megabytes(figures.zip_bytes)),
        both(
            figures.instructions_first.map(|count| format!("{:.1} M", count as f64 / 1e6)),
            figures.instructions_warm.map(|count| format!("{:.0} k", count as f64 / 1e3 / messages)),
        ),
        format!("{}+{}", figures.handshakes_init, figures.handshakes_in_first()),
        requests(&figures.requests),
    ]
}

/// Requests by operation in one line.
fn requests(by_operation: &BTreeMap<String, f64>) -> String {
    let words = by_operation
        .iter()
        .map(|(operation, count)| format!("{operation} {}", (count * 100.0).round() / 100.0));
    words.collect::<Vec<_>>().join(", ")
}

/// The targets, a line each: what is wanted, what was reached, whether that is enough.
pub(crate) fn targets(results: &Results) -> Vec<String> {
    use Contestant::{HandSigned, Intake, Node, Python, RustDefault};
    use Function::{Authorizer, QueueConsumer, StatusLookup, SyncInsert, Websocket};

    let mut targets = Vec::new();
    let find = |function, contestant, batch| results.find(function, contestant, batch, KB);
    let wall: fn(&Figures) -> f64 = |figures| figures.first_response_ms;
    let cpu: fn(&Figures) -> f64 = |figures| figures.first_cpu_ms;
    for (peer, what, of, limit) in [
        (HandSigned, "time", wall, 1.25),
        (RustDefault, "CPU", cpu, 1.0 / 7.0),
        (Python, "time", wall, 1.0 / 45.0),
        (Node, "time", wall, 1.0 / 22.0),
    ] {
        let both = find(SyncInsert, Intake, 1).zip(find(SyncInsert, peer, 1));
        let what = format!("sync-insert, start to first response: {what} against {peer}");
        targets.push(ratio_at_most(&what, both.map(|(ours, peer)| of(ours) / of(peer)), limit));
    }
    for (peer, limit) in [(RustDefault, 0.9), (HandSigned, 1.7)] {
        let warm = |figures: &Figures| figures.instructions_warm.map(|count| count as f64);
        let ours = find(SyncInsert, Intake, 1).and_then(warm);
        let ratio = ours.zip(find(SyncInsert, peer, 1).and_then(warm)).map(|(ours, peer)| ours / peer);
        let what = format!("sync-insert, a warm request: instructions against {peer}");
        targets.push(ratio_at_most(&what, ratio, limit));
    }
    for (batch, peer, limit) in [
        (10, RustDefault, 1.0 / 3.0),
        (10, Python, 1.0 / 15.0),
        (10, Node, 1.0 / 15.0),
        (100, RustDefault, 1.0 / 4.0),
    ] {
        let both = find(QueueConsumer, Intake, batch).zip(find(QueueConsumer, peer, batch));
        let ratio = both.map(|(ours, peer)| ours.warm_cpu_ms / peer.warm_cpu_ms);
        let what = format!("queue-consumer, batches of {batch}: CPU per message against {peer}");
        targets.push(ratio_at_most(&what, ratio, limit));
    }

    let ours = || results.cases.iter().filter(|figures| figures.case.contestant == Intake);
    for function in [SyncInsert, QueueConsumer, StatusLookup, Websocket, Authorizer] {
        let of_function = || ours().filter(|figures| figures.case.function == function);
        let usual =
            of_function().filter(|figures| figures.case.payload_bytes == KB && figures.case.batch <= 10);
        let peak = usual.map(|figures| figures.peak_memory_bytes).max();
        targets.push(megabytes_at_most(&format!("{function}: peak memory with 1 KB messages"), peak, 10.0));
        let zip = of_function().find_map(|figures| figures.zip_bytes);
        targets.push(megabytes_at_most(&format!("{function}: zip"), zip, 3.0));
        if function != Authorizer {
            let found = find(function, Intake, if function == QueueConsumer { 10 } else { 1 });
            let opened = found.map(|figures| {
                let (init, first) = (figures.handshakes_init, figures.handshakes_in_first());
                let reached = format!("{init} during init, {first} in the first invocation");
                (reached, init > 0 && first == 0)
            });
            targets.push(target(&format!("{function}: init opens the connection"), opened));
        }
    }
    let cpu = |batch| find(QueueConsumer, Intake, batch).map(|figures| figures.warm_cpu_ms / batch as f64);
    for batch in [1_000, 10_000] {
        let ratio = cpu(batch).zip(cpu(100)).map(|(large, small)| large / small);
        let what = format!("queue-consumer, batches of {batch}: CPU per message against batches of 100");
        targets.push(ratio_at_most(&what, ratio, 1.25));
    }
    targets
        .extend(ours().filter(|figures| figures.case.function == QueueConsumer).flat_map(targets_of_a_batch));
    targets
}

/// What holds for a batch of any size.
fn targets_of_a_batch(figures: &Figures) -> [String; 3] {
    let counted = |operation: &str| figures.requests.get(operation).copied().unwrap_or(0.0);
    let requests = figures.case.batch.div_ceil(25) as f64;
    let writes = counted("BatchExecuteStatement") + counted("PutItem");
    let owners = figures.case.batch.min(OWNERS.len()) as f64;
    let pushes = counted("PostToConnection");
    // A long list of events needs more than one frame.
    let frames = owners * (figures.pushed_bytes as f64 / owners / FULL_FRAME).ceil();
    let peak = figures.peak_memory_bytes as f64;
    let limit = 2.0 * figures.event_bytes as f64 + 10.0 * MB;
    let target = |what: &str, reached: String, met: bool| {
        target(&format!("{}: {what}", figures.case), Some((reached, met)))
    };
    [
        target(
            "one write for 25 messages",
            format!("{writes} of {requests}"),
            (writes - requests).abs() < f64::EPSILON,
        ),
        target(
            "one push per connection and 32 KB",
            format!("{pushes} of {frames}, to {owners} connections"),
            pushes <= frames,
        ),
        target(
            "memory below twice the event + 10 MB",
            format!("{:.1} of {:.1} MB", peak / MB, limit / MB),
            peak < limit,
        ),
    ]
}

/// A ratio far below one is shown as people say it: 1/7.
fn ratio_at_most(what: &str, ratio: Option<f64>, limit: f64) -> String {
    let spoken = |ratio: f64, places: usize| {
        if limit < 0.5 { format!("1/{:.places$}", 1.0 / ratio) } else { format!("{ratio:.2}") }
    };
    let reached = ratio.map(|ratio| (spoken(ratio, 1), ratio <= limit));
    target(&format!("{what}, at most {}", spoken(limit, 0)), reached)
}

fn megabytes_at_most(what: &str, bytes: Option<u64>, limit: f64) -> String {
    let megabytes = bytes.map(|bytes| bytes as f64 / MB);
    let reached = megabytes.map(|megabytes| (format!("{megabytes:.2} MB"), megabytes <= limit));
    target(&format!("{what}, at most {limit} MB"), reached)
}

fn target(what: &str, reached: Option<(String, bool)>) -> String {
    let (reached, met) = reached.unzip();
    let sign = met.map_or('–', |met| if met { '✓' } else { '✗' });
    format!("{sign} {what}: {}", reached.as_deref().unwrap_or("not measured"))
}
