//! The third claim: retry. The database is unavailable for a while, and in the middle the function's processes are
//! killed.

use std::time::Duration;

use fault_proxy::Fault;

use crate::{
    Options, Report,
    callers::Caller,
    figures::{Figures, STAR, duration},
    files::{figures, requests, table},
    rig::Rig,
    run::{self, Disturbance, Plan, Run},
    schedule::Load,
    timeline::{self, Story},
};

/// At first the database does what it is asked, and its response is lost: that is what leaves callers in doubt.
const RESPONSES_LOST: f64 = 0.5;

/// The queue's visibility timeout meanwhile: the least that the template allows. What a killed consumer had received is
/// hidden for so long, and with the deployed one this run would wait for three minutes.
const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(30);

/// From and until when the database is unavailable, and how long the load lasts, in seconds.
fn times(options: &Options) -> (f64, f64, f64) {
    if options.quick { (2.0, 6.0, 8.0) } else { (5.0, 15.0, 20.0) }
}

/// When the processes are killed.
fn kill_at(from: f64, until: f64) -> f64 {
    f64::midpoint(from, until)
}

fn rate(options: &Options) -> f64 {
    options.capacity / 2.0
}

/// What happens to the database and to the function. A deployed stack keeps its processes, and its database fails at
/// once.
fn disturbances(options: &Options) -> Vec<(f64, Disturbance)> {
    let (from, until, _) = times(options);
    let back = (until, Disturbance::Database(Fault::None));
    if options.deployed {
        return vec![(from, Disturbance::Database(Fault::ServerError)), back];
    }
    vec![
        (from, Disturbance::Database(Fault::CutAfter)),
        (from + RESPONSES_LOST, Disturbance::Database(Fault::ServerError)),
        (kill_at(from, until), Disturbance::Kill),
        back,
    ]
}

pub(crate) fn plans(options: &Options) -> Vec<Plan> {
    let (_, _, seconds) = times(options);
    let plan = |caller: Caller| Plan {
        name: format!("outage-{}", caller.name()),
        caller,
        load: Load { rate: rate(options), seconds, seed: options.seed },
        capacity: Some(options.capacity),
        disturbances: disturbances(options),
    };
    Caller::ALL.map(plan).into()
}

pub(crate) async fn play(rig: &Rig, options: &Options) -> Vec<Run> {
    if !options.deployed {
        rig.stack.redeliver_after(VISIBILITY_TIMEOUT).await;
    }
    run::play_all(rig, plans(options)).await
}

pub(crate) fn report(runs: &[Run], options: &Options) -> Report {
    let (from, until, _) = times(options);
    let columns = [
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
        "all stored after the outage",
    ];
    let rows: Vec<_> = runs
        .iter()
        .map(|run| {
            let of = Figures::of(run);
            let counts = [of.offered, of.accepted, of.not_accepted, of.sent_again, of.stored, of.lost];
            let mut row = vec![run.plan.name.clone()];
            row.extend(counts.iter().map(ToString::to_string));
            row.push(format!("{} ({})", of.in_doubt, of.in_doubt_stored));
            row.extend([of.response.beside(of.lateness), of.to_stored.beside(of.lateness)]);
            let last = Duration::from_secs_f64((of.last_stored_ms / 1_000.0 - until).max(0.0));
            row.push(if of.stored == of.offered {
                duration(Some(last.as_secs_f64() * 1_000.0))
            } else {
                format!("never: {} are missing", of.offered - of.stored)
            });
            row
        })
        .collect();
    let killed = if options.deployed { "" } else { ", and the function is killed" };
    let title = format!(
        "The database is unavailable for {} s{killed}: {} messages a second",
        until - from,
        rate(options)
    );
    let story = Story {
        title: &title,
        capacity: Some(options.capacity),
        outage: Some((from, until)),
        kill: (!options.deployed).then(|| kill_at(from, until)),
    };
    let pictured: Vec<_> = runs.iter().collect();
    let mut files = requests(runs);
    files.extend([
        ("outage.csv".to_owned(), figures(runs)),
        ("outage.svg".to_owned(), timeline::draw(&pictured, &story)),
    ]);
    Report { text: format!("Outage: {title}\n{}{STAR}\n", table(&columns, &rows)), files }
}
