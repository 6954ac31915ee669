//! The second claim: scaling. A burst meets a table with a limited capacity, or functions with a limited concurrency.

use std::time::Duration;

use fault_proxy::Fault;

use crate::{
    callers::Caller,
    chart::{Axis, INK, Key, Mark, Panel, Picture, Strip, colour, dashed_key, key, log, round_up},
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
    let mut files = vec![("burst.csv".to_owned(), csv(&figures::rows(runs)))];
    files.extend(timeline::picture(&title, highest, f64::INFINITY).files("burst"));
    files.extend(goodput_picture(&limited, capacity).files("goodput"));
    let concurrency: Vec<_> = others.into_iter().filter(|run| run.plan.concurrency.is_some()).collect();
    if let Some(first) = concurrency.first() {
        let (rate, slow) = (first.plan.load.rate, SLOW_DATABASE.as_millis());
        let title = format!(
            "{AT_ONCE} at once, and a database that takes {slow} ms a request: {rate} messages a second for {seconds} s"
        );
        files.extend(timeline::picture(&title, &concurrency, f64::INFINITY).files("concurrency"));
    }
    files
}

/// Three panels over the load: stored a second while it lasts, stored in the end, and how late.
fn goodput_picture(runs: &[&Run], capacity: f64) -> Picture {
    let curves = |of: &dyn Fn(&Run) -> f64| {
        let marks = Caller::ALL.into_iter().flat_map(|caller| {
            let runs = runs.iter().filter(|run| run.plan.caller == caller);
            let points: Vec<_> = runs.map(|run| (run.plan.load.rate / capacity, of(run))).collect();
            let line = if caller == Caller::Once { Mark::Dashed } else { Mark::Line };
            [line(points.clone(), colour(caller)), Mark::Dots(points, colour(caller), 4)]
        });
        marks.collect::<Vec<_>>()
    };
    let share = |run: &Run| 100.0 * run.count(Message::is_stored) as f64 / run.messages.len().max(1) as f64;
    let late = |run: &Run| log(percentiles(run, Message::to_stored)[1].unwrap_or(1.0));
    let panel = |caption, marks, y| {
        let x = Axis::numbers(0.0, 4.2).named("load, × capacity");
        Panel { caption: Some((caption, None)), x, y, marks }
    };
    let mut stored = curves(&goodput);
    stored.push(Mark::Level(capacity, INK));
    let entry =
        |caller: Caller| Key { is_dashed: caller == Caller::Once, ..key(caller.title(), [colour(caller)]) };
    let mut entries: Vec<_> = Caller::ALL.into_iter().map(entry).collect();
    entries.push(dashed_key("capacity of the table", INK));
    let panels = vec![
        panel("stored a second, while it lasts", stored, Axis::numbers(0.0, round_up(2.0 * capacity))),
        panel("stored in the end, %", curves(&share), Axis::numbers(0.0, 110.0)),
        panel("time to stored, if stored, p99", curves(&late), Axis::logarithms(5.0)),
    ];
    let strips = vec![Strip::Legend("", entries), Strip::Panels(230, panels)];
    Picture { title: "What a burst of a given load ends as".to_owned(), strips }
}
