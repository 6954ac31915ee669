//! The third claim: retry. The database is unavailable for a while, and in the middle a function's process is killed.

use std::time::Duration;

use fault_proxy::Fault;

use crate::{
    Options, Report,
    callers::Caller,
    figures::{Figures, duration},
    files::{csv, requests, table},
    rig::Rig,
    run::{Disturbance, Plan, Run, play},
    schedule::Load,
    timeline::{self, Story},
};

/// At first the database does what it is asked, and its response is lost: that is what leaves callers in doubt.
const RESPONSES_LOST: f64 = 1.0;

/// The queue's visibility timeout in the quick form; otherwise it is as deployed.
const QUICK_VISIBILITY_TIMEOUT: u32 = 30;

/// From and until when the database is unavailable, and how long the load lasts, in seconds.
fn times(options: &Options) -> (f64, f64, f64) {
    if options.quick { (2.0, 6.0, 8.0) } else { (5.0, 15.0, 20.0) }
}

fn rate(options: &Options) -> f64 {
    options.capacity / 2.0
}

pub(crate) async fn play_all(rig: &Rig, options: &Options) -> Vec<Run> {
    if options.quick {
        rig.set_visibility_timeout(QUICK_VISIBILITY_TIMEOUT).await;
    }
    let (from, until, seconds) = times(options);
    let mut runs = Vec::new();
    for caller in Caller::ALL {
        let plan = Plan {
            name: format!("outage-{}", caller.name()),
            caller,
            load: Load { rate: rate(options), seconds, seed: options.seed },
            capacity: Some(options.capacity),
            disturbances: vec![
                (from, Disturbance::Database(Fault::CutAfter)),
                (from + RESPONSES_LOST, Disturbance::Database(Fault::ServerError)),
                (f64::midpoint(from, until), Disturbance::Kill),
                (until, Disturbance::Database(Fault::None)),
            ],
        };
        runs.push(play(rig, plan).await);
    }
    runs
}

pub(crate) fn report(runs: &[Run], options: &Options) -> Report {
    let (from, until, _) = times(options);
    let columns = [
        "run",
        "offered",
        "accepted",
        "refused",
        "sent again",
        "stored",
        "lost",
        "in doubt",
        "(stored)",
        "response p50 / p99",
        "to stored p50 / p99",
        "all stored after the outage",
    ];
    let rows: Vec<_> = runs
        .iter()
        .map(|run| {
            let figures = Figures::of(run);
            let counts = [
                figures.offered,
                figures.accepted,
                figures.refused,
                figures.sent_again,
                figures.stored,
                figures.lost,
                figures.in_doubt,
                figures.in_doubt_stored,
            ];
            let mut row = vec![run.plan.name.clone()];
            row.extend(counts.iter().map(ToString::to_string));
            row.extend([figures.response.to_string(), figures.to_stored.to_string()]);
            let last = Duration::from_secs_f64((figures.last_stored_ms / 1_000.0 - until).max(0.0));
            row.push(if figures.stored == figures.offered {
                duration(Some(last.as_secs_f64() * 1_000.0))
            } else {
                format!("never: {} are missing", figures.offered - figures.stored)
            });
            row
        })
        .collect();
    let title = format!(
        "The database is unavailable for {} s and a process is killed: {} messages a second",
        until - from,
        rate(options)
    );
    let story = Story { title: &title, capacity: Some(options.capacity), outage: Some((from, until)) };
    let csv_columns = [&["run"], &Figures::COLUMNS[..]].concat();
    let csv_rows = runs.iter().map(|run| [vec![run.plan.name.clone()], Figures::of(run).row(run)].concat());
    let pictured: Vec<_> = runs.iter().collect();
    Report {
        text: format!("Outage: {title}\n{}", table(&columns, &rows)),
        files: vec![
            ("outage.csv".to_owned(), csv(&csv_columns, csv_rows)),
            ("outage-requests.csv".to_owned(), requests(runs)),
            ("outage.svg".to_owned(), timeline::draw(&pictured, &story)),
        ],
    }
}
