//! The fourth claim: cost. Bills from what was counted in the runs and a price list: on demand, and with a database
//! whose capacity is paid by the hour.
//!
//! Left out is what costs the same both ways (keeping the messages, traces, the responses' bytes), every free tier, and
//! the hours that sockets are open.

use std::sync::LazyLock;

use plotters::style::text_anchor::HPos;
use serde_json::Value;

use crate::{
    burst,
    callers::Caller,
    chart::{Axis, GREY, Mark, Panel, Picture, QUEUE, SYNCHRONOUS, Strip, dashed_key, key, round_up, top},
    flow,
    options::Options,
    output::{Files, Rows, csv, header, number, table},
    rig::Counted,
    run::{Message, Plan, Run},
    schedule::Load,
};

const MESSAGES: f64 = 1_000_000.0;

/// What Lambda itself logs about an invocation (`platform.start`, `platform.report`), in bytes. An estimate.
const PLATFORM_LOG_BYTES: f64 = 500.0;

/// How much more than the average load the queue's table sustains: otherwise a backlog would never end.
const DRAIN: f64 = 1.25;

/// The loads of the comparison by the hour, in messages a second on average.
const RATES: [f64; 4] = [1.0, 10.0, 100.0, 1_000.0];

/// Which of them are drawn.
const DRAWN: [(f64, &str); 2] = [(RATES[1], "10 a second"), (RATES[3], "1,000 a second")];

/// The messages in a bulk, as many as there may be, and bulks a second.
const BULK: usize = 100;
const BULKS_A_SECOND: f64 = 1.0;

/// SQS counts a request for each of so many bytes ("Amazon SQS pricing").
const SQS_REQUEST_BYTES: f64 = 65_536.0;

const WRITE_UNITS: &str = "DynamoDB: write units";
const GB_SECONDS: &str = "Lambda: GB-seconds";

static PRICES: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../prices.json")).expect("the price list is JSON"));

/// US dollars for one, by the committed price list.
pub(crate) fn price(name: &str) -> f64 {
    let price = &PRICES["prices"][name];
    let number = |part: &str| price[part].as_f64().unwrap_or_else(|| panic!("the price list has no {name}"));
    number("usd") / number("per")
}

struct Line {
    name: &'static str,
    /// How many were counted in the run.
    counted: f64,
    /// US dollars for one.
    price: f64,
}

/// What the messages of a run cost.
struct Bill {
    run: String,
    stored: f64,
    lines: Vec<Line>,
}

impl Bill {
    fn of(run: &Run) -> Self {
        let counted = run.counted.as_ref().expect("bills are made of runs on this machine");
        let invocations = counted.invocations as f64;
        let gb_seconds = counted.billed_ms / 1_000.0 * counted.memory_mb / 1_024.0;
        let logged = counted.log_bytes as f64 + PLATFORM_LOG_BYTES * invocations;
        let line = |name, counted, price_of| Line { name, counted, price: price(price_of) };
        let queued = |count| if run.plan.caller == Caller::Queue { count } else { 0.0 };
        let sent = queued(run.count(Message::is_accepted) as f64 / run.plan.bulk as f64);
        let sent = sent * (run.body_bytes() / SQS_REQUEST_BYTES).ceil();
        // A batch of at most 10 small messages is received in one request, and deleted in one.
        let batches = queued(invocations);
        let received = if run.plan.bulk > 1 { sent } else { batches };
        let lines = vec![
            line("API Gateway: requests", run.requests() as f64, "rest_request"),
            line("Lambda: invocations", invocations, "lambda_request"),
            line(GB_SECONDS, gb_seconds, "lambda_gb_second"),
            line(WRITE_UNITS, counted.usage.write_units, "dynamodb_write_unit"),
            line("DynamoDB: read units", counted.usage.read_units, "dynamodb_read_unit"),
            line("Logs: GB", logged / 1e9, "log_gb"),
            line("SQS: send", sent, "sqs_request"),
            line("SQS: receive", received, "sqs_request"),
            line("SQS: delete", batches, "sqs_request"),
            line("SQS: message groups", sent + received + batches, "sqs_group_request"),
            line("WebSocket: pushes", run.frames as f64, "websocket_message"),
        ];
        Self { run: title(&run.plan), stored: run.count(Message::is_stored) as f64, lines }
    }

    /// US dollars for a million stored messages.
    fn usd(&self, line: &Line) -> f64 {
        line.counted / self.stored.max(1.0) * MESSAGES * line.price
    }

    fn total_without(&self, names: &[&str]) -> f64 {
        self.lines.iter().filter(|line| !names.contains(&line.name)).map(|line| self.usd(line)).sum()
    }

    /// Write units for a stored message.
    fn write_units(&self) -> f64 {
        let units = self.lines.iter().find(|line| line.name == WRITE_UNITS);
        units.map_or(0.0, |line| line.counted) / self.stored.max(1.0)
    }
}

/// A run, as a column names it.
fn title(plan: &Plan) -> String {
    let design = if plan.caller == Caller::Queue { "queue" } else { "synchronous" };
    let load = match (plan.bulk, plan.capacity) {
        (1, None) => "even load",
        (_, None) => "bulks",
        (_, Some(_)) => "burst",
    };
    let retrying = if plan.caller == Caller::Retrying { " retrying" } else { "" };
    format!("{design}{retrying}: {load}")
}

/// A write unit that is paid by the hour, for as long as a million messages take at one a second.
fn hourly_write_unit() -> f64 {
    price("dynamodb_write_unit_hour") / 3_600.0 * MESSAGES
}

/// Both designs with a table whose capacity is paid by the hour, in US dollars for a million messages.
struct ByTheHour<'a> {
    sync: &'a Bill,
    queue: &'a Bill,
    waiting: f64,
}

impl ByTheHour<'_> {
    /// The table is sized for the peak.
    fn sync(&self, peak_to_average: f64) -> f64 {
        self.sync.total_without(&[WRITE_UNITS])
            + self.sync.write_units() * peak_to_average * hourly_write_unit()
    }

    /// The table is sized for the drain, whatever the peak.
    fn queue(&self, rate: f64) -> f64 {
        self.queue_without_table(rate) + self.queue.write_units() * DRAIN * hourly_write_unit()
    }

    fn queue_without_table(&self, rate: f64) -> f64 {
        self.queue.total_without(&[WRITE_UNITS, GB_SECONDS]) + self.waiting / rate
    }

    /// From which ratio of peak and average on the queue is cheaper.
    fn break_even(&self, rate: f64) -> f64 {
        let (without_table, table) = (self.sync(0.0), self.sync(1.0) - self.sync(0.0));
        ((self.queue(rate) - without_table) / table).max(1.0)
    }

    /// From how many write units a message on the queue is cheaper even if the synchronous table is on demand.
    fn break_even_units(&self, rate: f64) -> f64 {
        let saved_by_unit = price("dynamodb_write_unit") * MESSAGES - DRAIN * hourly_write_unit();
        ((self.queue_without_table(rate) - self.sync(0.0)) / saved_by_unit).max(1.0)
    }

    /// A row for each rate.
    fn rows(&self) -> Rows {
        let mut rows = header(&[
            "messages a second on average",
            "queue",
            "synchronous if peak = average",
            "if peak = 10 × average",
            "queue cheaper from peak / average of",
            "than on demand from KB of",
        ]);
        for rate in RATES {
            let (from, units) = (self.break_even(rate), self.break_even_units(rate));
            let numbers = [rate, self.queue(rate), self.sync(1.0), self.sync(10.0), from, units];
            rows.push(numbers.map(number).to_vec());
        }
        rows
    }
}

/// An even load of single messages, one of bulks, and a burst, of each the synchronous way first.
pub(crate) fn plans(options: &Options) -> Vec<Plan> {
    let seconds = if options.quick { 5.0 } else { 15.0 };
    let load = Load { rate: BULKS_A_SECOND, seconds, seed: options.seed };
    let bulks =
        [Caller::Once, Caller::Queue].map(|caller| Plan { bulk: BULK, ..Plan::new("bulk", caller, load) });
    let bursts = [Caller::Retrying, Caller::Queue].map(|caller| burst::highest(options, caller));
    flow::plans(options).into_iter().chain(bulks).chain(bursts).collect()
}

/// What the runs that were planned cost.
pub(crate) struct Bills {
    bills: Vec<Bill>,
    consumers: f64,
    /// What the consumers cost that wait for the table, all of them and at one message a second.
    waiting: f64,
}

impl Bills {
    pub(crate) fn of(runs: &[&Run]) -> Self {
        let bills = runs.iter().map(|run| Bill::of(run)).collect();
        // Of the queue's burst.
        let counted = runs.last().and_then(|run| run.counted.as_ref());
        let Counted { consumers, memory_mb, .. } = *counted.expect("bills are made of runs on this machine");
        let waiting = consumers * memory_mb / 1_024.0 / DRAIN * MESSAGES * price("lambda_gb_second");
        Self { bills, consumers, waiting }
    }

    fn by_the_hour(&self) -> ByTheHour<'_> {
        let queue = self.bills.last().expect("there are some");
        ByTheHour { sync: &self.bills[0], queue, waiting: self.waiting }
    }

    /// For people. The file has what was counted as well.
    pub(crate) fn text(&self) -> String {
        let dollars =
            |row: &Vec<String>| row[..1].iter().chain(row[3..].iter().step_by(2)).cloned().collect();
        let rows = bill_rows(&self.bills).iter().map(dollars).collect();
        let [region, date, source] =
            ["region", "date", "source"].map(|name| PRICES[name].as_str().unwrap_or("unknown"));
        format!(
            "Cost on demand, by the prices of {region}, {date}: {source}\n{}\n\
             Capacity by the hour: the synchronous table holds the peak, the queue's {DRAIN} × the average, with {} \
             consumers that wait for it\n{}",
            table(&rows),
            self.consumers,
            table(&self.by_the_hour().rows())
        )
    }

    pub(crate) fn files(&self) -> Files {
        let hourly = self.by_the_hour();
        let mut files = picture(&self.bills, &hourly).files("cost");
        files.push(("cost.csv".to_owned(), csv(&bill_rows(&self.bills))));
        files.push(("cost-by-the-hour.csv".to_owned(), csv(&hourly.rows())));
        files
    }
}

/// A row for each line, and columns for each bill: what was counted, and US dollars for a million stored messages.
fn bill_rows(bills: &[Bill]) -> Rows {
    let mut rows = header(&["US dollars for a million messages", "for one"]);
    rows[0].extend(bills.iter().flat_map(|bill| [format!("counted in {}", bill.run), bill.run.clone()]));
    for (index, Line { name, price, .. }) in bills[0].lines.iter().enumerate() {
        let mut row = vec![(*name).to_owned(), format!("{price:.10}")];
        for (bill, line) in bills.iter().map(|bill| (bill, &bill.lines[index])) {
            row.extend([line.counted.to_string(), format!("{:.3}", bill.usd(line))]);
        }
        rows.push(row);
    }
    let mut last = vec!["messages stored: total".to_owned(), String::new()];
    for bill in bills {
        last.extend([bill.stored.to_string(), format!("{:.3}", bill.total_without(&[]))]);
    }
    rows.push(last);
    rows
}

/// The bills by the hour over the ratio of peak and average, and those on demand.
fn picture(bills: &[Bill], hourly: &ByTheHour<'_>) -> Picture {
    let end = 50.0;
    let mut marks = vec![
        Mark::Level(bills[0].total_without(&[]), SYNCHRONOUS),
        Mark::Level(bills[1].total_without(&[]), QUEUE),
        Mark::Line(vec![(1.0, hourly.sync(1.0)), (end, hourly.sync(end))], SYNCHRONOUS),
    ];
    let top = top(&marks).max(round_up(hourly.queue(DRAWN[0].0)));
    // The text of the first is above the lines, that of the other below them.
    for ((rate, name), side, [line, text]) in
        [(DRAWN[0], HPos::Center, [0.84, 0.97]), (DRAWN[1], HPos::Left, [0.29, 0.25])]
    {
        let (from, usd) = (hourly.break_even(rate), hourly.queue(rate));
        marks.push(Mark::Line(vec![(1.0, usd), (end, usd)], QUEUE));
        if from < end {
            marks.push(Mark::Line(vec![(from, usd), (from, line * top)], GREY));
            marks.push(Mark::Dots(vec![(from, usd)], QUEUE, 5));
            let name = format!("{name}:\nqueue cheaper from a peak\nof {from:.1} × the average on");
            marks.push(Mark::Text((from, text * top), name, side));
        }
    }
    let keys = vec![
        key("synchronous", [SYNCHRONOUS]),
        key("queue", [QUEUE]),
        dashed_key("on demand, synchronous", SYNCHRONOUS),
        dashed_key("on demand, queue", QUEUE),
    ];
    let x = Axis::numbers(1.0, end).named("peak / average");
    let y = Axis { label: |usd| format!("${usd}"), ..Axis::numbers(0.0, top) };
    let panel = Panel { caption: None, x, y, marks };
    let strips = vec![Strip::Legend("Capacity by the hour:", keys), Strip::Panels(340, vec![panel])];
    Picture { title: "US dollars for a million messages, by how uneven the load is".to_owned(), strips }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests at this price for 500 messages, and a write unit for each.
    fn bill(requests: f64, price: f64) -> Bill {
        let lines = vec![
            Line { name: "API Gateway: requests", counted: requests, price },
            Line { name: WRITE_UNITS, counted: 500.0, price: 0.625e-6 },
        ];
        Bill { run: "run".to_owned(), stored: 500.0, lines }
    }

    /// 1,000 requests for 500 messages at $3.50 a million: $7 a million messages.
    #[test]
    fn a_line_is_what_was_counted_for_each_stored_message_times_the_price() {
        let bill = bill(1_000.0, 3.5e-6);
        assert!((bill.usd(&bill.lines[0]) - 7.0).abs() < 1e-9);
        assert!((bill.total_without(&[]) - 7.625).abs() < 1e-9);
        assert!((bill.total_without(&[WRITE_UNITS]) - 7.0).abs() < 1e-9);
    }

    /// 200 messages of 0.5 KB have more than 64 KB and less than 128.
    #[test]
    fn a_bulk_is_one_request_to_the_gateway_and_one_for_each_64_kb_to_the_queue() {
        let load = Load { rate: 1.0, seconds: 1.0, seed: 1 };
        let bill = Bill::of(&crate::tests::run(Plan { bulk: 200, ..Plan::new("bulk", Caller::Queue, load) }));
        let counted = |name| bill.lines.iter().find(|line| line.name == name).expect("a line").counted;
        // Each was sent twice, and accepted the second time. There were nine invocations.
        let names =
            ["API Gateway: requests", "SQS: send", "SQS: receive", "SQS: delete", "SQS: message groups"];
        assert_eq!(names.map(counted), [2.0, 2.0, 2.0, 9.0, 13.0]);
    }

    #[test]
    fn the_price_list_has_every_price_with_its_page() {
        for (name, entry) in PRICES["prices"].as_object().unwrap() {
            assert!(entry["page"].is_string() && entry["of"].is_string() && price(name) > 0.0, "{name}");
        }
        // A write unit by the hour, used all the time, costs less than a third of one on demand.
        let hour = price("dynamodb_write_unit_hour") / 3_600.0;
        assert!(hour < price("dynamodb_write_unit") / 3.0, "{hour}");
    }

    /// At the break-even both cost the same; the peak matters to the synchronous way alone.
    #[test]
    fn the_queue_is_cheaper_from_the_break_even_on() {
        let hourly = ByTheHour { sync: &bill(500.0, 3.5e-6), queue: &bill(500.0, 4.5e-6), waiting: 25.0 };
        for rate in RATES {
            let from = hourly.break_even(rate);
            assert!((hourly.sync(from) - hourly.queue(rate)).abs() < 1e-9, "{rate}: {from}");
            assert!(hourly.sync(from + 1.0) > hourly.queue(rate), "{rate}: {from}");
        }
        assert!(hourly.break_even(1.0) > hourly.break_even(100.0), "consumers that wait cost less a message");
    }
}
