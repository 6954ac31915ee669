//! The second claim: scaling. A burst meets a table with a limited capacity, or functions with a limited concurrency.

use std::time::Duration;

use fault_proxy::Fault;

use crate::{
    callers::Caller,
    chart::{Axis, BLUE, GREEN, Mark, ORANGE, Panel, RED, Strip, log, round_up, svg},
    figures::{self, goodput, percentiles},
    options::Options,
    output::{Files, csv},
    run::{Disturbance, Message, Plan, Run},
    schedule::Load,
    timeline,
};

/// How much concurrency each way has, in the runs with a limited one: the least that AWS allows for the consumer.
const AT_ONCE: usize = 2;

/// How long the database takes for a request in those runs, so that concurrency is what is short.
const SLOW_DATABASE: Duration = Duration::from_millis(200);

/// The highest load, in capacities.
const HIGHEST: f64 = 4.0;

fn seconds(options: &Options) -> f64 {
    if options.quick { 3.0 } else { 10.0 }
}

/// All runs, the controls first: what the stack and the generator can do.
pub(crate) fn plans(options: &Options) -> Vec<Plan> {
    let highest = limited(options, HIGHEST, Caller::Once).load;
    let mut plans: Vec<_> =
        [Caller::Once, Caller::Queue].map(|caller| Plan::new("control", caller, highest)).into();
    let loads: &[f64] = if options.quick { &[1.0, HIGHEST] } else { &[0.5, 1.0, 2.0, HIGHEST] };
    for load in loads {
        plans.extend(Caller::ALL.map(|caller| limited(options, *load, caller)));
    }
    // How slow the database is only a proxy can say.
    if !options.quick && !options.deployed {
        let rate = 4.0 * AT_ONCE as f64 / SLOW_DATABASE.as_secs_f64();
        plans.extend(Caller::ALL.map(|caller| Plan {
            concurrency: Some(AT_ONCE),
            disturbances: vec![(0.0, Disturbance::Database(Fault::Delay(SLOW_DATABASE)))],
            ..Plan::new("concurrency", caller, Load { rate, ..highest })
        }));
    }
    plans
}

/// The highest load on a table with a limited capacity.
pub(crate) fn highest(options: &Options, caller: Caller) -> Plan {
    limited(options, HIGHEST, caller)
}

fn limited(options: &Options, load: f64, caller: Caller) -> Plan {
    let name = format!("burst-{load}x").replace('.', "_");
    let load = Load { rate: load * options.capacity, seconds: seconds(options), seed: options.seed };
    Plan { capacity: Some(options.capacity), ..Plan::new(&name, caller, load) }
}

pub(crate) fn files(runs: &[&Run]) -> Files {
    let (limited, others): (Vec<&Run>, Vec<_>) = runs.iter().partition(|run| run.plan.capacity.is_some());
    // Those of the highest load were the last.
    let highest = &limited[limited.len() - Caller::ALL.len()..];
    let Plan { load: Load { rate, seconds, .. }, .. } = highest[0].plan;
    let capacity = rate / HIGHEST;
    let title = format!(
        "{HIGHEST} × capacity for {seconds} s: {rate} messages a second, a table of {capacity} write units a second"
    );
    let mut files = vec![
        ("burst.csv", csv(&figures::rows(runs))),
        ("burst.svg", timeline::draw(&title, highest)),
        ("goodput.svg", draw_goodput(&limited, capacity)),
    ];
    let concurrency: Vec<_> = others.into_iter().filter(|run| run.plan.concurrency.is_some()).collect();
    if let Some(first) = concurrency.first() {
        let (rate, slow) = (first.plan.load.rate, SLOW_DATABASE.as_millis());
        let title = format!(
            "{AT_ONCE} at once, and a database that takes {slow} ms a request: {rate} messages a second for {seconds} s"
        );
        files.push(("concurrency.svg", timeline::draw(&title, &concurrency)));
    }
    files
}

/// Three panels over the load: stored a second while it lasts, stored in the end, and how late.
fn draw_goodput(runs: &[&Run], capacity: f64) -> String {
    let callers = Caller::ALL.into_iter().zip([RED, GREEN, BLUE]);
    let curves = |of: &dyn Fn(&Run) -> f64| {
        let marks = callers.clone().flat_map(|(caller, colour)| {
            let runs = runs.iter().filter(|run| run.plan.caller == caller);
            let points: Vec<_> = runs.map(|run| (run.plan.load.rate / capacity, of(run))).collect();
            [Mark::Line(points.clone(), colour), Mark::Dots(points, colour, 4)]
        });
        marks.collect::<Vec<_>>()
    };
    let share = |run: &Run| 100.0 * run.count(Message::is_stored) as f64 / run.messages.len().max(1) as f64;
    let late = |run: &Run| log(percentiles(run, Message::to_stored)[1].unwrap_or(1.0));
    let panel = |marks, y| Panel { x: Axis::numbers(0.0, 4.2).named("load, × capacity"), y, marks };
    let mut stored = curves(&goodput);
    stored.push(Mark::Level(capacity, ORANGE));
    let mut entries: Vec<_> = callers.clone().map(|(caller, colour)| (caller.title(), colour)).collect();
    entries.push(("capacity", ORANGE));
    let panels = vec![
        panel(stored, Axis::numbers(0.0, round_up(2.0 * capacity))),
        panel(curves(&share), Axis::numbers(0.0, 110.0)),
        panel(curves(&late), Axis::logarithms(5.0)),
    ];
    let strips = [
        Strip::Legend("", entries),
        Strip::Captions(vec![
            "stored a second, while it lasts",
            "stored in the end, %",
            "time to stored, p99",
        ]),
        Strip::Panels(panels),
    ];
    svg(380, "What a burst of a given load ends as", &strips)
}
