//! The fourth claim: cost. Bills from what was counted in the runs and a price list: on demand, and with a database
//! whose capacity is paid by the hour.
//!
//! Left out is what costs the same both ways (keeping the messages, traces, the responses' bytes), every free tier, and
//! the hours that sockets are open.

use std::collections::BTreeMap;

use plotters::style::text_anchor::HPos;
use serde_json::Value;

use crate::{
    Report,
    callers::Caller,
    chart::{
        Axes, BLUE, GREEN, GREY, INK, ORANGE, PURPLE, RED, label_of_number, legend, panel, picture, round_up,
        write,
    },
    files::{csv, table},
    rig::Counted,
    run::Run,
};

/// Bills are for so many messages.
const MESSAGES: f64 = 1_000_000.0;

/// What Lambda itself logs about an invocation (`platform.start`, `platform.report`), in bytes. An estimate.
const PLATFORM_LOG_BYTES: f64 = 500.0;

/// How much more than the average load the queue's table sustains: otherwise a backlog would never end.
const DRAIN: f64 = 1.25;

/// The loads of the comparison by the hour, in messages a second on average.
const RATES: [f64; 4] = [1.0, 10.0, 100.0, 1_000.0];

/// US dollars for one of each.
pub(crate) struct Prices {
    origin: String,
    prices: BTreeMap<String, f64>,
}

impl Prices {
    /// The committed price list.
    pub(crate) fn load() -> Self {
        let list: Value =
            serde_json::from_str(include_str!("../prices.json")).expect("the price list is JSON");
        let text = |name: &str| list[name].as_str().expect("the price list has a text").to_owned();
        let prices = list["prices"].as_object().expect("the price list has prices").iter();
        let prices = prices.map(|(name, price)| {
            let number = |part: &str| price[part].as_f64().expect("a price is two numbers");
            (name.clone(), number("usd") / number("per"))
        });
        Self {
            origin: format!("{}, {}: {}", text("region"), text("date"), text("source")),
            prices: prices.collect(),
        }
    }

    pub(crate) fn of(&self, name: &str) -> f64 {
        *self.prices.get(name).unwrap_or_else(|| panic!("the price list has no {name}"))
    }
}

/// A line of a bill.
#[derive(Clone, Debug, PartialEq)]
struct Line {
    name: &'static str,
    /// How many were counted in the run.
    counted: f64,
    /// US dollars for one.
    price: f64,
}

const WRITE_UNITS: &str = "DynamoDB: write units";
const GB_SECONDS: &str = "Lambda: GB-seconds";

/// What the messages of a run cost.
#[derive(Clone, Debug, PartialEq)]
struct Bill {
    run: String,
    stored: f64,
    lines: Vec<Line>,
}

impl Bill {
    fn of(run: &Run, prices: &Prices) -> Self {
        let messages = || run.messages.iter();
        let requests: usize = messages().map(|one| one.requests.len()).sum();
        let stored = messages().filter(|one| one.stored().is_some()).count();
        let counted = counted(run);
        let invocations = counted.invocations as f64;
        let gb_seconds = counted.billed_ms / 1_000.0 * counted.memory_mb / 1_024.0;
        let logged = counted.log_bytes as f64 + PLATFORM_LOG_BYTES * invocations;
        let line = |name, counted, price: &str| Line { name, counted, price: prices.of(price) };
        let mut lines = vec![
            line("API Gateway: requests", requests as f64, "rest_request"),
            line("Lambda: invocations", invocations, "lambda_request"),
            line(GB_SECONDS, gb_seconds, "lambda_gb_second"),
            line(WRITE_UNITS, counted.usage.write_units, "dynamodb_write_unit"),
            line("DynamoDB: read units", counted.usage.read_units, "dynamodb_read_unit"),
            line("Logs: GB", logged / 1e9, "log_gb"),
        ];
        if run.plan.caller == Caller::Queue {
            let accepted = messages().filter(|one| one.last().is_accepted()).count();
            lines.extend([
                line("SQS: send", accepted as f64, "sqs_request"),
                // A batch of at most 10 small messages is one request each.
                line("SQS: receive", invocations, "sqs_request"),
                line("SQS: delete", invocations, "sqs_request"),
                line("WebSocket: pushes", run.frames as f64, "websocket_message"),
            ]);
        }
        Self { run: run.plan.name.clone(), stored: stored as f64, lines }
    }

    /// US dollars for a million stored messages.
    fn usd(&self, line: &Line) -> f64 {
        line.counted / self.stored.max(1.0) * MESSAGES * line.price
    }

    fn total(&self) -> f64 {
        self.lines.iter().map(|line| self.usd(line)).sum()
    }

    fn without(&self, names: &[&str]) -> f64 {
        self.lines.iter().filter(|line| !names.contains(&line.name)).map(|line| self.usd(line)).sum()
    }

    /// How many of a line a message takes.
    fn each(&self, name: &str) -> f64 {
        let counted: f64 = self.lines.iter().filter(|line| line.name == name).map(|line| line.counted).sum();
        counted / self.stored.max(1.0)
    }
}

fn counted(run: &Run) -> &Counted {
    run.counted.as_ref().expect("bills are made of runs on this machine")
}

/// Both ways with a table whose capacity is paid by the hour, in US dollars for a million messages.
#[derive(Clone, Copy, Debug, PartialEq)]
struct ByTheHour {
    /// A write unit, for as long as a million messages take at one a second.
    write_unit: f64,
    sync: f64,
    sync_units: f64,
    queue: f64,
    queue_units: f64,
    /// What the consumers cost that wait for the table, at one message a second.
    waiting: f64,
    /// A million write units on demand.
    on_demand_unit: f64,
}

impl ByTheHour {
    fn of(sync: &Bill, queue: &Bill, consumers: f64, memory_mb: f64, prices: &Prices) -> Self {
        Self {
            write_unit: prices.of("dynamodb_write_unit_hour") / 3_600.0 * MESSAGES,
            sync: sync.without(&[WRITE_UNITS]),
            sync_units: sync.each(WRITE_UNITS),
            queue: queue.without(&[WRITE_UNITS, GB_SECONDS]),
            queue_units: queue.each(WRITE_UNITS),
            waiting: consumers * memory_mb / 1_024.0 / DRAIN * MESSAGES * prices.of("lambda_gb_second"),
            on_demand_unit: prices.of("dynamodb_write_unit") * MESSAGES,
        }
    }

    /// The table is sized for the peak.
    fn sync(&self, peak_to_average: f64) -> f64 {
        self.sync + self.sync_units * peak_to_average * self.write_unit
    }

    /// The table is sized for the drain, whatever the peak, and all consumers wait for it.
    fn queue(&self, rate: f64) -> f64 {
        self.queue + self.queue_units * DRAIN * self.write_unit + self.waiting / rate
    }

    /// From which ratio of peak and average on the queue is cheaper.
    fn break_even(&self, rate: f64) -> f64 {
        ((self.queue(rate) - self.sync) / (self.sync_units * self.write_unit)).max(1.0)
    }

    /// From how many write units a message on the queue is cheaper even if the synchronous table is on demand.
    fn break_even_units(&self, rate: f64) -> f64 {
        let more = self.queue + self.waiting / rate - self.sync;
        (more / (self.on_demand_unit - DRAIN * self.write_unit)).max(1.0)
    }
}

/// The bills of these runs. The first two are at an even load, the others in a burst; of each, the synchronous way is
/// first. `consumers` is how many batches are consumed at once.
pub(crate) fn report(runs: [&Run; 4], consumers: f64) -> Report {
    let prices = Prices::load();
    let bills = runs.map(|run| Bill::of(run, &prices));
    let names: Vec<_> = bills[1].lines.iter().map(|line| line.name).collect();
    let usd = |bill: &Bill, name: &str| {
        let line = bill.lines.iter().find(|line| line.name == name);
        line.map_or_else(|| "–".to_owned(), |line| format!("{:.3}", bill.usd(line)))
    };
    let mut rows: Vec<_> = names
        .iter()
        .map(|name| [vec![(*name).to_owned()], bills.iter().map(|bill| usd(bill, name)).collect()].concat())
        .collect();
    let totals = bills.iter().map(|bill| format!("{:.3}", bill.total()));
    rows.push([vec!["total".to_owned()], totals.collect()].concat());
    let columns: Vec<_> = ["US dollars for a million, on demand"]
        .into_iter()
        .chain(bills.iter().map(|bill| bill.run.as_str()))
        .collect();

    let hourly = ByTheHour::of(&bills[0], &bills[3], consumers, counted(runs[3]).memory_mb, &prices);
    let hourly_rows: Vec<_> = RATES
        .iter()
        .map(|&rate| {
            vec![
                format!("{rate}"),
                format!("{:.3}", hourly.queue(rate)),
                format!("{:.3}", hourly.sync(1.0)),
                format!("{:.3}", hourly.sync(10.0)),
                format!("{:.1}", hourly.break_even(rate)),
                format!("{:.0} KB", hourly.break_even_units(rate).ceil()),
            ]
        })
        .collect();
    let hourly_columns = [
        "messages a second on average",
        "queue",
        "synchronous, peak = average",
        "peak = 10 × average",
        "queue cheaper from peak/average",
        "than on demand, from items of",
    ];
    let csv_rows = bills.iter().flat_map(|bill| {
        bill.lines.iter().map(|line| {
            vec![
                bill.run.clone(),
                line.name.to_owned(),
                format!("{:.9}", line.counted),
                format!("{}", bill.stored),
                format!("{:e}", line.price),
                format!("{:.6}", bill.usd(line)),
            ]
        })
    });
    let csv_columns =
        ["run", "line", "counted", "messages_stored", "usd_for_one", "usd_for_a_million_messages"];
    let hourly_csv = RATES.iter().map(|&rate| {
        let (from, units) = (hourly.break_even(rate), hourly.break_even_units(rate));
        let numbers = [rate, hourly.queue(rate), hourly.sync(1.0), hourly.sync(10.0), from, units];
        numbers.map(|number| format!("{number:.6}")).to_vec()
    });
    Report {
        text: format!(
            "Cost. Prices: {}\n{}\nCapacity by the hour, US dollars for a million: the synchronous table holds the \
             peak, the queue's {DRAIN} × the average, with {consumers} consumers that wait for it\n{}",
            prices.origin,
            table(&columns, &rows),
            table(&hourly_columns, &hourly_rows)
        ),
        files: vec![
            ("cost.csv".to_owned(), csv(&csv_columns, csv_rows)),
            (
                "cost-by-the-hour.csv".to_owned(),
                csv(
                    &[
                        "rate",
                        "queue_usd",
                        "sync_usd_peak_1",
                        "sync_usd_peak_10",
                        "break_even_peak_to_average",
                        "break_even_write_units",
                    ],
                    hourly_csv,
                ),
            ),
            ("cost.svg".to_owned(), draw(&bills, &hourly)),
        ],
    }
}

/// The bills by the hour over the ratio of peak and average, and those on demand.
fn draw(bills: &[Bill; 4], hourly: &ByTheHour) -> String {
    let queues = RATES.into_iter().skip(1).zip([PURPLE, ORANGE, GREEN]);
    let (sync, queue) = (bills[0].total(), bills[1].total());
    let end = 50.0;
    let top = round_up(1.05 * hourly.sync(end).max(queue).max(hourly.queue(RATES[1])));
    picture((1_080, 460), |area| {
        let title = "US dollars for a million messages, by how uneven the load is";
        write(area, (12, 18), title, 18, INK, HPos::Left);
        let (_, rest) = area.split_vertically(36);
        let (strip, rest) = rest.split_vertically(26);
        legend(&strip, "On demand:", &[("synchronous", GREY), ("queue", BLUE)]);
        let (strip, rest) = rest.split_vertically(26);
        let names: Vec<_> =
            queues.clone().map(|(rate, colour)| (format!("queue, {rate}/s"), colour)).collect();
        let mut entries = vec![("synchronous, for the peak", RED)];
        entries.extend(names.iter().map(|(name, colour)| (name.as_str(), *colour)));
        legend(&strip, "Capacity by the hour:", &entries);
        let axes = Axes {
            x: (1.0, end),
            y: (0.0, top),
            x_name: "peak / average",
            x_label: label_of_number,
            y_label: |usd| format!("${usd}"),
            x_labels: 10,
            y_labels: 8,
            left: 48,
        };
        let mut panel = panel(&rest, &axes);
        panel.dashed((1.0, sync), (end, sync), GREY);
        panel.dashed((1.0, queue), (end, queue), BLUE);
        panel.line([(1.0, hourly.sync(1.0)), (end, hourly.sync(end))], RED);
        for (place, (rate, colour)) in queues.enumerate() {
            panel.line([(1.0, hourly.queue(rate)), (end, hourly.queue(rate))], colour);
            let from = hourly.break_even(rate);
            if from < end {
                let (up, side) = if place == 1 { (0.04, HPos::Right) } else { (-0.04, HPos::Left) };
                panel.dots([(from, hourly.queue(rate))], colour, 5);
                panel.text((from, hourly.queue(rate) + up * top), &format!("from {from:.1}"), INK, side);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bill(lines: &[(&'static str, f64, f64)]) -> Bill {
        let lines = lines.iter().map(|&(name, counted, price)| Line { name, counted, price });
        Bill { run: "run".to_owned(), stored: 500.0, lines: lines.collect() }
    }

    /// 1,000 requests for 500 messages at $3.50 a million: $7 a million messages.
    #[test]
    fn a_line_is_what_was_counted_for_each_stored_message_times_the_price() {
        let bill = bill(&[("API Gateway: requests", 1_000.0, 3.5e-6), (WRITE_UNITS, 500.0, 0.625e-6)]);
        assert!((bill.usd(&bill.lines[0]) - 7.0).abs() < 1e-9);
        assert!((bill.total() - 7.625).abs() < 1e-9);
        assert!((bill.without(&[WRITE_UNITS]) - 7.0).abs() < 1e-9);
    }

    #[test]
    fn the_price_list_has_every_price_with_its_page() {
        let list: Value = serde_json::from_str(include_str!("../prices.json")).unwrap();
        for (name, price) in list["prices"].as_object().unwrap() {
            assert!(price["page"].is_string() && price["of"].is_string(), "{name}");
        }
        // A write unit by the hour, used all the time, costs less than a third of one on demand.
        let prices = Prices::load();
        let hour = prices.of("dynamodb_write_unit_hour") / 3_600.0;
        assert!(hour < prices.of("dynamodb_write_unit") / 3.0, "{hour}");
    }

    /// At the break-even both cost the same; the peak matters to the synchronous way alone.
    #[test]
    fn the_queue_is_cheaper_from_the_break_even_on() {
        let prices = Prices::load();
        let sync = bill(&[("API Gateway: requests", 500.0, 3.5e-6), (WRITE_UNITS, 500.0, 0.625e-6)]);
        let queue = bill(&[("API Gateway: requests", 500.0, 4.5e-6), (WRITE_UNITS, 500.0, 0.625e-6)]);
        let hourly = ByTheHour::of(&sync, &queue, 5.0, 512.0, &prices);
        for rate in RATES {
            let from = hourly.break_even(rate);
            assert!((hourly.sync(from) - hourly.queue(rate)).abs() < 1e-9, "{rate}: {from}");
            assert!(hourly.sync(from + 1.0) > hourly.queue(rate), "{rate}: {from}");
        }
        assert!(hourly.break_even(1.0) > hourly.break_even(100.0), "consumers that wait cost less a message");
    }
}
