//! `cargo xtask cost`: what a million messages cost on AWS, both designs.
//!
//! What the functions take is measured, what AWS charges is in a file, what is deployed is in the template, and
//! what is none of these is an assumption: printed, with a flag to set it.

mod bill;
mod measured;
mod prices;
mod settings;

use std::path::PathBuf;

use clap::Args;

use self::{
    bill::{Assumptions, Bill, Books, Line, Traffic, Way},
    measured::Measured,
    prices::Prices,
    settings::Settings,
};
use crate::{failure::Failure, step, workspace};

/// What a million messages cost on AWS, line by line, both designs.
///
/// It takes what `cargo xtask bench` measured, the prices in lab/bench/prices.json and the settings in template.yaml,
/// and prints a bill for steady traffic and one for bursts, for each size of payload, with the assumptions that
/// it rests on. Then it computes where one way becomes cheaper than the other. Left out is what costs the same
/// both ways (keeping the messages, and the fixed sums for metrics, alarms and the dashboard), and every free tier.
#[derive(Args, Debug)]
pub(crate) struct CostArguments {
    /// What was measured [default: target/bench/results.json]
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,
    /// The price list [default: lab/bench/prices.json]
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,
    /// The size of a message; may be given several times. Each has to be in the results
    #[arg(long = "payload-bytes", value_name = "BYTES", default_values = ["1024", "102400"], value_parser = positive)]
    payloads: Vec<f64>,
    /// The most messages in a batch of the queue; may be given several times. Above 10 there is a batch window
    #[arg(long = "batch", value_name = "MESSAGES", default_values = ["10", "100"], value_parser = batch)]
    batches: Vec<f64>,
    /// Messages a second, day and night
    #[arg(long, value_name = "RATE", default_value = "10", value_parser = positive)]
    rate: f64,
    /// Messages a second in a burst: as many messages as in steady traffic, but all of an hour at once
    #[arg(long, value_name = "RATE", default_value = "1000", value_parser = positive)]
    burst_rate: f64,
    /// How many owners send messages
    #[arg(long, value_name = "NUMBER", default_value = "100", value_parser = positive)]
    owners: f64,
    /// How many WebSockets are open, day and night [default: one for each owner]
    #[arg(long, value_name = "NUMBER", value_parser = not_negative)]
    sockets: Option<f64>,
    /// How often the status of a queued message is looked up
    #[arg(long, value_name = "NUMBER", default_value = "0", value_parser = not_negative)]
    look_ups: f64,
    /// The share of HTTP requests whose token API Gateway knows already [default: computed from owners and rate]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    authorizer_cache_hits: Option<f64>,
    /// The share of messages that come a second time
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = share)]
    repeats: f64,
    /// How long a request to DynamoDB takes from within Lambda, in milliseconds
    #[arg(long, value_name = "MS", default_value = "5", value_parser = not_negative)]
    database_ms: f64,
    /// How long a push to a WebSocket takes, in milliseconds
    #[arg(long, value_name = "MS", default_value = "10", value_parser = not_negative)]
    push_ms: f64,
    /// How many batches are consumed concurrently [default: ConsumerMaximumConcurrency in template.yaml]
    #[arg(long, value_name = "NUMBER", value_parser = positive)]
    consumers: Option<f64>,
    /// Prints how many of each there are as well, and not only what they cost
    #[arg(long)]
    quantities: bool,
}

pub(crate) fn cost(arguments: &CostArguments) -> Result<(), Failure> {
    let file = |given: &Option<PathBuf>, default: &str| {
        given.clone().unwrap_or_else(|| workspace::root().join(default))
    };
    let mut settings = Settings::load()?;
    if let Some(consumers) = arguments.consumers {
        settings.consumers = consumers;
    }
    let books = Books {
        measured: Measured::load(&file(&arguments.results, "target/bench/results.json"))?,
        prices: Prices::load(&file(&arguments.prices, "lab/bench/prices.json"), &settings.architecture)?,
        settings,
        assumptions: Assumptions {
            owners: arguments.owners,
            sockets: arguments.sockets.unwrap_or(arguments.owners),
            look_ups: arguments.look_ups,
            cache_hits: arguments.authorizer_cache_hits,
            repeats: arguments.repeats,
            database_ms: arguments.database_ms,
            push_ms: arguments.push_ms,
        },
    };
    let steady = Traffic { rate: arguments.rate, burst_rate: None };
    let bursts = Traffic { rate: arguments.rate, burst_rate: Some(arguments.burst_rate) };
    let mut ways = vec![Way::Sync];
    ways.extend(arguments.batches.iter().map(|&batch| Way::Queue { batch }));

    // Everything is computed before anything is printed: half a comparison is none.
    let mut pages = Vec::new();
    for payload in &arguments.payloads {
        for traffic in [steady, bursts] {
            pages.push(page(&books, &ways, traffic, *payload, arguments.quantities)?);
        }
    }
    step::say(preface(&books));
    for page in pages {
        step::say(format_args!("\n{}", page.trim_end()));
    }
    Ok(())
}

/// What the figures rest on.
fn preface(books: &Books) -> String {
    let Books { prices, settings, measured, assumptions } = books;
    let hits = match assumptions.cache_hits {
        Some(hits) => format!("{:.1} % of requests", 100.0 * hits),
        None => format!("computed: one token an owner, remembered for {} s", settings.authorizer_ttl),
    };
    [
        "US dollars for a million messages.".to_owned(),
        format!("Prices     {}", prices.origin),
        format!("Measured   {}: computing time on a whole processor, requests, memory", measured.origin),
        format!(
            "Deployed   {}; MB: sync-insert {}, queue-consumer {}, status-lookup {}, authorizer {}; {} consumers, \
             a window of {} s for batches above 10",
            settings.architecture,
            settings.sync_insert,
            settings.queue_consumer,
            settings.status_lookup,
            settings.authorizer,
            settings.consumers,
            settings.window
        ),
        format!(
            "Assumed    {} owners; {} sockets open; {} look-ups a queued message; {} % repeated",
            assumptions.owners,
            assumptions.sockets,
            assumptions.look_ups,
            100.0 * assumptions.repeats
        ),
        format!(
            "           a request to DynamoDB takes {} ms, a push {} ms; known tokens: {hits}",
            assumptions.database_ms, assumptions.push_ms
        ),
        "           ids and owners are UUIDs; messages spread evenly over the consumers; Lambda writes 500 bytes of"
            .to_owned(),
        "           log of its own an invocation; sockets ping every 5 minutes and live for 2 hours".to_owned(),
        "           Lambda's time is the computing time, stretched by 1,769 MB / memory, and the waiting; arm64 is"
            .to_owned(),
        "           taken to compute as fast as the machine of the measurements, which nobody tried".to_owned(),
    ]
    .join("\n")
}

/// One table, and where it tips.
fn page(
    books: &Books,
    ways: &[Way],
    traffic: Traffic,
    payload: f64,
    quantities: bool,
) -> Result<String, Failure> {
    let bills = ways.iter().map(|way| books.bill(*way, traffic, payload)).collect::<Result<Vec<_>, _>>()?;
    let mut text = format!("{}, payloads of {payload} bytes\n", described(traffic));
    let titles: Vec<String> = ways.iter().map(|way| title(*way)).collect();
    text += &row("", titles.iter().cloned());
    for name in names(&bills) {
        let of = |bill: &Bill| bill.lines.iter().find(|line| line.name == name).copied();
        if quantities {
            text += &row(name, bills.iter().map(|bill| of(bill).map_or(String::new(), quantity)));
        }
        let name = if quantities { "" } else { name };
        let usd = |bill: &Bill| of(bill).map_or(String::new(), |line| format!("{:.3}", line.usd));
        text += &row(name, bills.iter().map(usd));
    }
    text += &row("total", bills.iter().map(|bill| format!("{:.3}", bill.total())));
    text += &row("messages in a batch", bills.iter().map(|bill| format!("{:.1}", bill.mean_batch)));
    text += &row("billed ms an invocation", bills.iter().map(|bill| format!("{}", bill.billed_ms)));
    for (title, bill) in titles.iter().zip(&bills).filter(|(_, bill)| bill.backlog) {
        text += &format!(
            "{title}: messages come faster than the consumers take them. The queue grows meanwhile, which costs \
             nothing but time ({:.0} messages a second are taken).\n",
            1000.0 * books.settings.consumers * bill.mean_batch / bill.billed_ms
        );
    }
    for way in ways.iter().filter(|way| **way != Way::Sync) {
        text += &verdict(books, *way, traffic, payload, &title(*way))?;
        let untold = books.with(Assumptions { sockets: 0.0, look_ups: 0.0, ..books.assumptions });
        if untold.assumptions != books.assumptions {
            let name = format!("{}, without notifications and look-ups", title(*way));
            text += &verdict(&untold, *way, traffic, payload, &name)?;
        }
    }
    Ok(text)
}

fn described(traffic: Traffic) -> String {
    match traffic.bursts() {
        None => format!("Steady: {} messages a second", traffic.rate),
        Some((_, seconds)) => {
            format!("Bursts: {} messages a second for {seconds:.1} s of every hour", traffic.flowing())
        }
    }
}

fn title(way: Way) -> String {
    match way {
        Way::Sync => "microservice".to_owned(),
        Way::Queue { batch } => format!("queue, batch {batch}"),
    }
}

/// The names of all lines that cost anything, in the order of the bills. The queue's has those in the middle
/// that the other does not have.
fn names(bills: &[Bill]) -> Vec<&'static str> {
    let longest = bills.iter().max_by_key(|bill| bill.lines.len());
    let lines = longest.map(|bill| bill.lines.iter()).into_iter().flatten();
    let costs = |name: &str| {
        bills.iter().flat_map(|bill| &bill.lines).any(|line| line.name == name && line.quantity > 0.0)
    };
    lines.map(|line| line.name).filter(|name| costs(name)).collect()
}

fn row(name: &str, cells: impl Iterator<Item = String>) -> String {
    let cells: String = cells.map(|cell| format!("{cell:>18}")).collect();
    format!("{name:<36}{cells}\n")
}

fn quantity(line: Line) -> String {
    if line.quantity >= 100.0 { format!("{:.0} x", line.quantity) } else { format!("{:.3} x", line.quantity) }
}

/// What a break-even is looked for in.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Parameter {
    Rate,
    Batch,
    Owners,
    Sockets,
    LookUps,
    DatabaseMs,
}

impl Parameter {
    const ALL: [Self; 6] =
        [Self::Rate, Self::Batch, Self::Owners, Self::Sockets, Self::LookUps, Self::DatabaseMs];

    fn name(self) -> &'static str {
        match self {
            Self::Rate => "messages a second on average",
            Self::Batch => "messages a batch at most",
            Self::Owners => "owners",
            Self::Sockets => "open sockets",
            Self::LookUps => "look-ups a message",
            Self::DatabaseMs => "ms a request to DynamoDB",
        }
    }

    /// Where to look.
    fn range(self) -> (f64, f64) {
        match self {
            Self::Rate => (0.01, 10_000.0),
            Self::Batch => (1.0, 10_000.0),
            Self::Owners => (1.0, 1_000_000.0),
            Self::Sockets => (0.1, 1_000_000.0),
            Self::LookUps => (0.001, 10.0),
            Self::DatabaseMs => (1.0, 1_000.0),
        }
    }

    /// All as it was, except for this. Each owner keeps as many sockets as it had.
    fn set(self, books: &Books, way: Way, traffic: Traffic, value: f64) -> (Books, Way, Traffic) {
        let mut assumptions = books.assumptions;
        let (mut way, mut traffic) = (way, traffic);
        match self {
            Self::Rate => traffic.rate = value,
            Self::Batch => way = Way::Queue { batch: value.floor() },
            Self::Owners => {
                assumptions.sockets *= value / assumptions.owners;
                assumptions.owners = value;
            }
            Self::Sockets => assumptions.sockets = value,
            Self::LookUps => assumptions.look_ups = value,
            Self::DatabaseMs => assumptions.database_ms = value,
        }
        (books.with(assumptions), way, traffic)
    }
}

/// Which of the two is cheaper, and where along each parameter that changes, all else being equal.
fn verdict(books: &Books, way: Way, traffic: Traffic, payload: f64, name: &str) -> Result<String, Failure> {
    let totals = |books: &Books, way: Way, traffic: Traffic| {
        let total = |way| books.bill(way, traffic, payload).map(|bill| bill.total());
        Ok::<_, Failure>((total(Way::Sync)?, total(way)?))
    };
    let (sync, queue) = totals(books, way, traffic)?;
    let word = |queue: bool| if queue { "the queue" } else { "the microservice" };
    let is_cheaper = queue < sync;
    let mut text = format!(
        "> {name}: {} is cheaper, by {:.3} ({:.0} %)\n",
        word(is_cheaper),
        (sync - queue).abs(),
        100.0 * (sync - queue).abs() / sync.max(queue)
    );
    let mut steadfast = Vec::new();
    for parameter in Parameter::ALL {
        let (low, high) = parameter.range();
        let found = crossings(low, high, |value| {
            let (books, way, traffic) = parameter.set(books, way, traffic, value);
            totals(&books, way, traffic).map(|(sync, queue)| sync - queue)
        })?;
        if found.at.is_empty() {
            steadfast.push(format!("{low} to {high} {}", parameter.name()));
            continue;
        }
        let spoken = |value: f64| if value < 10.0 { format!("{value:.3}") } else { format!("{value:.0}") };
        let mut cheaper = found.begins_cheaper;
        let mut parts = vec![format!("{} below {}", word(cheaper), spoken(found.at[0]))];
        for point in &found.at {
            cheaper = !cheaper;
            parts.push(format!("{} from {}", word(cheaper), spoken(*point)));
        }
        text += &format!("    {}: {}\n", parameter.name(), parts.join(", "));
    }
    let lines: Vec<_> = steadfast.chunks(3).map(|parts| parts.join(", ")).collect();
    if !lines.is_empty() {
        text += &format!("    unchanged along {}\n", lines.join(",\n        "));
    }
    Ok(text)
}

/// Where an advantage changes its sign.
#[derive(Clone, Debug, PartialEq)]
struct Crossings {
    begins_cheaper: bool,
    at: Vec<f64>,
}

/// Looks along a range, at steps that grow with it, and narrows down every change that it finds. Bills have
/// steps (whole milliseconds, whole units), so they are not solved for but computed at every point.
fn crossings(
    low: f64,
    high: f64,
    advantage: impl Fn(f64) -> Result<f64, Failure>,
) -> Result<Crossings, Failure> {
    const STEPS: u32 = 200;
    let ratio = (high / low).powf(1.0 / f64::from(STEPS));
    let mut left = (low, advantage(low)? > 0.0);
    let mut found = Crossings { begins_cheaper: left.1, at: Vec::new() };
    for step in 1..=STEPS {
        let value = low * ratio.powf(f64::from(step));
        let right = (value, advantage(value)? > 0.0);
        if left.1 != right.1 {
            let (mut below, mut above) = (left.0, right.0);
            for _ in 0..50 {
                let middle = f64::midpoint(below, above);
                if (advantage(middle)? > 0.0) == left.1 {
                    below = middle;
                } else {
                    above = middle;
                }
            }
            found.at.push(above);
        }
        left = right;
    }
    Ok(found)
}

fn number(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|number: &f64| number.is_finite()).ok_or_else(|| "write a number".to_owned())
}

fn positive(text: &str) -> Result<f64, String> {
    number(text)
        .and_then(|number| if number > 0.0 { Ok(number) } else { Err("it has to be above 0".to_owned()) })
}

fn not_negative(text: &str) -> Result<f64, String> {
    number(text)
        .and_then(|number| if number >= 0.0 { Ok(number) } else { Err("it cannot be negative".to_owned()) })
}

fn share(text: &str) -> Result<f64, String> {
    not_negative(text)
        .and_then(|share| if share <= 1.0 { Ok(share) } else { Err("it is at most 1".to_owned()) })
}

fn batch(text: &str) -> Result<f64, String> {
    let batch: u16 = text.parse().map_err(|_| "write a whole number".to_owned())?;
    if (1..=10_000).contains(&batch) { Ok(batch.into()) } else { Err("it is 1 to 10000".to_owned()) }
}

#[cfg(test)]
mod tests;
