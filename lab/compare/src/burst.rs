//! The second claim: scaling. A burst meets a table with a limited capacity, or functions with a limited concurrency.

use std::time::Duration;

use fault_proxy::Fault;
use plotters::style::text_anchor::HPos;

use crate::{
    Options, Report,
    callers::{Caller, Request},
    chart::{
        Axes, BLUE, GREEN, INK, ORANGE, RED, label_of_log, label_of_number, legend, log, panel, picture,
        round_up, write,
    },
    figures::{Figures, STAR, duration, goodput, percentile},
    files::{figures, requests, table},
    rig::Rig,
    run::{self, Disturbance, Plan, Run, play_all},
    schedule::Load,
    timeline::{self, Story},
};

/// How much concurrency each way has, in the runs with a limited concurrency: the least that AWS allows for the
/// consumer.
const CONCURRENCY: usize = 2;

/// How long the database takes for a request in those runs, so that concurrency is what is short.
const SLOW_DATABASE: Duration = Duration::from_millis(200);

/// The function responds to a request that is throttled three times within half a second. Longer than this means
/// that requests queue before it.
const SLOWEST_RESPONSE_MS: f64 = 3_000.0;

/// The runs of a burst.
pub(crate) struct Bursts {
    /// With a limited capacity, by load.
    pub(crate) limited: Vec<Run>,
    /// The highest load without a limit: what the stack and the generator can do.
    pub(crate) controls: Vec<Run>,
    /// With a limited concurrency.
    pub(crate) concurrency: Vec<Run>,
}

impl Bursts {
    pub(crate) fn all(&self) -> impl Iterator<Item = &Run> {
        self.limited.iter().chain(&self.controls).chain(&self.concurrency)
    }

    /// The run of a caller at the highest load.
    pub(crate) fn highest(&self, caller: Caller) -> &Run {
        let mut runs = self.limited.iter().rev();
        runs.find(|run| run.plan.caller == caller).expect("every caller ran")
    }
}

fn loads(options: &Options) -> &'static [f64] {
    if options.quick { &[1.0, 4.0] } else { &[0.5, 1.0, 2.0, 4.0] }
}

fn seconds(options: &Options) -> f64 {
    if options.quick { 3.0 } else { 10.0 }
}

/// All runs that need no other limit of concurrency than the deployed one: the controls first.
pub(crate) fn plans(options: &Options) -> Vec<Plan> {
    let mut plans: Vec<_> = [Caller::Once, Caller::Queue].map(|caller| control(options, caller)).into();
    for load in loads(options) {
        plans.extend(Caller::ALL.map(|caller| limited(options, *load, caller)));
    }
    plans
}

pub(crate) async fn play(rig: &Rig, options: &Options) -> Bursts {
    let mut controls = play_all(rig, plans(options)).await;
    let limited = controls.split_off(2);
    // How slow the database is only a proxy can say.
    let alone = options.quick || options.deployed;
    let concurrency = if alone { Vec::new() } else { limited_concurrency(rig, options).await };
    Bursts { limited, controls, concurrency }
}

/// Only what the bills need: the highest load.
pub(crate) async fn play_highest(rig: &Rig, options: &Options) -> Bursts {
    let plans = [Caller::Retrying, Caller::Queue].map(|caller| limited(options, 4.0, caller));
    Bursts { limited: play_all(rig, plans.into()).await, controls: Vec::new(), concurrency: Vec::new() }
}

fn limited(options: &Options, load: f64, caller: Caller) -> Plan {
    Plan {
        name: format!("burst-{load}x-{}", caller.name()).replace('.', "_"),
        caller,
        load: Load { rate: load * options.capacity, seconds: seconds(options), seed: options.seed },
        capacity: Some(options.capacity),
        disturbances: Vec::new(),
    }
}

/// The highest load, without a limit.
fn control(options: &Options, caller: Caller) -> Plan {
    Plan { name: format!("control-{}", caller.name()), capacity: None, ..limited(options, 4.0, caller) }
}

async fn limited_concurrency(rig: &Rig, options: &Options) -> Vec<Run> {
    let deployed = rig.event_source().await;
    let sustained = CONCURRENCY as f64 / SLOW_DATABASE.as_secs_f64();
    let mut runs = Vec::new();
    for caller in Caller::ALL {
        rig.limit_concurrency(Some(CONCURRENCY), &deployed).await;
        let plan = Plan {
            name: format!("concurrency-{}", caller.name()),
            caller,
            load: Load { rate: 4.0 * sustained, seconds: seconds(options), seed: options.seed },
            capacity: None,
            disturbances: vec![(0.0, Disturbance::Database(Fault::Delay(SLOW_DATABASE)))],
        };
        runs.push(run::play(rig, plan).await);
        rig.limit_concurrency(None, &deployed).await;
    }
    runs
}

/// Why the bursts are void, if they are. Without a limit the stack has to store the whole load; with one, every request
/// has to get a response soon. Otherwise this machine was the limit, not the database.
pub(crate) fn void(bursts: &Bursts) -> Vec<String> {
    let not_stored = bursts.controls.iter().filter_map(|run| {
        let of = Figures::of(run);
        let (stored, offered, name) = (of.stored, of.offered, &run.plan.name);
        (stored < offered)
            .then(|| format!("{name}: without a limit only {stored} of {offered} messages were stored"))
    });
    let slow = bursts.controls.iter().chain(&bursts.limited).filter_map(|run| {
        let requests = run.messages.iter().flat_map(|message| &message.requests);
        // A caller that has no time left does not wait for its last response.
        let waited = |request: &&Request| request.responded - request.sent > SLOWEST_RESPONSE_MS;
        let without_response =
            requests.clone().filter(waited).filter(|request| request.status.is_none()).count();
        let times: Vec<_> = requests.map(|request| request.responded - request.sent).collect();
        let slowest =
            percentile(&times, 99).filter(|time| *time > SLOWEST_RESPONSE_MS || without_response > 0)?;
        let (name, slowest) = (&run.plan.name, duration(Some(slowest)));
        Some(format!("{name}: a single request took {slowest} (p99), and {without_response} had no response"))
    });
    not_stored
        .chain(slow)
        .map(|why| format!("void: {why}: the stack is the limit, not the database"))
        .collect()
}

pub(crate) fn report(bursts: &Bursts, options: &Options) -> Report {
    let capacity = options.capacity;
    let heading = format!("Burst: {} s on a table of {capacity} write units a second", seconds(options));
    let limited = table(&COLUMNS, &bursts.limited.iter().map(row).collect::<Vec<_>>());
    let others: Vec<_> = bursts.controls.iter().chain(&bursts.concurrency).map(row).collect();
    let owners: Vec<_> = bursts.limited.iter().map(owners_row).collect();
    let slow = if bursts.concurrency.is_empty() {
        String::new()
    } else {
        let ms = SLOW_DATABASE.as_millis();
        format!(", and with a concurrency of {CONCURRENCY} and a database that takes {ms} ms a request")
    };
    let fairness = if options.deployed {
        "Each owner is a message group of the queue, which is to favour the quiet ones"
    } else {
        "The emulator has no fair queues. On AWS, where they are to favour the quiet owners: --stack"
    };
    let text = format!(
        "{heading}\n{limited}\nThe same load without a limit (control){slow}\n{}\n\
         Time to stored by owner, p50 / p99. {fairness}\n{}{STAR}\n",
        table(&COLUMNS, &others),
        table(&["run", "noisy owner", "quiet owners"], &owners),
    );
    let runs = Caller::ALL.map(|caller| bursts.highest(caller));
    let load = runs[0].plan.load.rate / capacity;
    let title = format!(
        "{load} × capacity for {} s: {} messages a second, a table of {capacity} write units a second",
        seconds(options),
        runs[0].plan.load.rate
    );
    let story = Story { title: &title, capacity: Some(capacity), outage: None, kill: None };
    let mut files = requests(bursts.all());
    files.extend([
        ("burst.csv".to_owned(), figures(bursts.all())),
        ("burst.svg".to_owned(), timeline::draw(&runs, &story)),
        ("goodput.svg".to_owned(), draw_goodput(bursts, capacity)),
    ]);
    if let Some(first) = bursts.concurrency.first() {
        let title = format!(
            "{CONCURRENCY} at once, and a database that takes {} ms a request: {} messages a second for {} s",
            SLOW_DATABASE.as_millis(),
            first.plan.load.rate,
            first.plan.load.seconds
        );
        let story = Story { title: &title, capacity: None, outage: None, kill: None };
        let runs: Vec<_> = bursts.concurrency.iter().collect();
        files.push(("concurrency.svg".to_owned(), timeline::draw(&runs, &story)));
    }
    Report { text, files }
}

const COLUMNS: [&str; 13] = [
    "run",
    "offered",
    "accepted",
    "not accepted",
    "sent again",
    "stored",
    "lost",
    "in doubt (stored)",
    "response p50 / p99",
    "to stored p50 / p99",
    "last",
    "drain/s",
    "db requests/stored",
];

fn row(run: &Run) -> Vec<String> {
    let of = Figures::of(run);
    vec![
        run.plan.name.clone(),
        of.offered.to_string(),
        of.accepted.to_string(),
        of.not_accepted.to_string(),
        of.sent_again.to_string(),
        of.stored.to_string(),
        of.lost.to_string(),
        format!("{} ({})", of.in_doubt, of.in_doubt_stored),
        of.response.beside(of.lateness),
        of.to_stored.beside(of.lateness),
        duration(Some(of.last_stored_ms)),
        of.drain_rate.map_or_else(|| "–".to_owned(), |rate| format!("{rate:.1}")),
        of.requests_per_stored().map_or_else(|| "–".to_owned(), |requests| format!("{requests:.2}")),
    ]
}

fn owners_row(run: &Run) -> Vec<String> {
    let of = Figures::of(run);
    let times = [of.to_stored_noisy, of.to_stored_quiet].map(|times| times.beside(of.lateness));
    [vec![run.plan.name.clone()], times.to_vec()].concat()
}

/// Three panels over the load: stored a second while it lasts, stored in the end, and how late.
fn draw_goodput(bursts: &Bursts, capacity: f64) -> String {
    let callers = Caller::ALL.into_iter().zip([RED, GREEN, BLUE]);
    let curve = |caller: Caller, of: &dyn Fn(&Run) -> f64| -> Vec<_> {
        let runs = bursts.limited.iter().filter(|run| run.plan.caller == caller);
        runs.map(|run| (run.plan.load.rate / capacity, of(run))).collect()
    };
    let share = |run: &Run| {
        let of = Figures::of(run);
        100.0 * of.stored as f64 / of.offered.max(1) as f64
    };
    let late = |run: &Run| log(Figures::of(run).to_stored.p99.unwrap_or(1.0));
    picture((1_080, 380), |area| {
        write(area, (12, 18), "What a burst of a given load ends as", 18, INK, HPos::Left);
        let (_, rest) = area.split_vertically(36);
        let (strip, panels) = rest.split_vertically(28);
        let entries: Vec<_> = callers.clone().map(|(caller, colour)| (caller.title(), colour)).collect();
        legend(&strip, "", &[&entries[..], &[("capacity", ORANGE)]].concat());
        for (place, area) in panels.split_evenly((1, 3)).iter().enumerate() {
            let (strip, area) = area.split_vertically(26);
            let title =
                ["stored a second, while it lasts", "stored in the end, %", "time to stored, p99"][place];
            write(&strip, (48, 14), title, 14, INK, HPos::Left);
            let top = [round_up(2.0 * capacity), 110.0, 5.0][place];
            let axes = Axes {
                x: (0.0, 4.2),
                y: (0.0, top),
                x_name: "load, × capacity",
                x_label: label_of_number,
                y_label: if place == 2 { label_of_log } else { label_of_number },
                x_labels: 6,
                y_labels: 6,
                left: 48,
            };
            let mut panel = panel(&area, &axes);
            if place == 0 {
                panel.dashed((0.0, capacity), (4.2, capacity), ORANGE);
            }
            for (caller, colour) in callers.clone() {
                let points = match place {
                    0 => curve(caller, &goodput),
                    1 => curve(caller, &share),
                    _ => curve(caller, &late),
                };
                panel.line(points.clone(), colour);
                panel.dots(points, colour, 4);
            }
        }
    })
}
