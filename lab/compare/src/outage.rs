//! The third claim: retry. The database is unavailable for a while, and in the middle the function's processes are
//! killed.

use fault_proxy::Fault;

use crate::{
    callers::Caller,
    figures,
    options::Options,
    output::{Files, csv},
    run::{Disturbance, Plan, Run},
    schedule::Load,
    timeline,
};

/// At first the database does what it is asked, and its response is lost: that is what leaves callers in doubt.
const RESPONSES_LOST: f64 = 0.5;

/// How far the picture goes, in lengths of the load: what a killed consumer had received is hidden for minutes.
const SHOWN: f64 = 2.0;

/// From and until when the database is unavailable, and how long the load lasts, in seconds.
fn times(options: &Options) -> (f64, f64, f64) {
    if options.quick { (2.0, 6.0, 8.0) } else { (5.0, 15.0, 20.0) }
}

/// Whether the function is killed. A deployed one is not, and what it had received is hidden for longer than a quick
/// comparison takes.
fn kills(options: &Options) -> bool {
    !options.deployed && !options.quick
}

/// What happens to the database and to the function. The database of a deployed stack fails at once.
fn disturbances(options: &Options) -> Vec<(f64, Disturbance)> {
    let (from, until, _) = times(options);
    let unavailable = Disturbance::Database(Fault::ServerError);
    let mut disturbances = if options.deployed {
        vec![(from, unavailable)]
    } else {
        vec![(from, Disturbance::Database(Fault::CutAfter)), (from + RESPONSES_LOST, unavailable)]
    };
    if kills(options) {
        disturbances.push((f64::midpoint(from, until), Disturbance::Kill));
    }
    disturbances.push((until, Disturbance::Database(Fault::None)));
    disturbances
}

pub(crate) fn plans(options: &Options) -> Vec<Plan> {
    let (_, _, seconds) = times(options);
    let load = Load { rate: options.capacity / 2.0, seconds, seed: options.seed };
    let (capacity, disturbances) = (Some(options.capacity), disturbances(options));
    let plan =
        |caller| Plan { capacity, disturbances: disturbances.clone(), ..Plan::new("outage", caller, load) };
    Caller::ALL.map(plan).into()
}

pub(crate) fn files(runs: &[&Run], options: &Options) -> Files {
    let (from, until, length) = times(options);
    let killed = if kills(options) { ", and the function is killed" } else { "" };
    let (seconds, rate) = (until - from, runs[0].plan.load.rate);
    let title = format!("The database is unavailable for {seconds} s{killed}: {rate} messages a second");
    let mut files = timeline::picture(&title, runs, SHOWN * length).files("outage");
    files.push(("outage.csv".to_owned(), csv(&figures::rows(runs))));
    files
}
