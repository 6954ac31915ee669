//! The third claim: retry. The database is unavailable for a while, and in the middle the function's processes are
//! killed.

use std::time::Duration;

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

/// The queue's visibility timeout meanwhile: the least that the template allows. What a killed consumer had received is
/// hidden for so long, and with the deployed one this run would wait for three minutes.
const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(30);

/// From and until when the database is unavailable, and how long the load lasts, in seconds.
fn times(options: &Options) -> (f64, f64, f64) {
    if options.quick { (2.0, 6.0, 8.0) } else { (5.0, 15.0, 20.0) }
}

/// What happens to the database and to the function. A deployed stack keeps its processes and its visibility timeout,
/// and its database fails at once.
fn disturbances(options: &Options) -> Vec<(f64, Disturbance)> {
    let (from, until, _) = times(options);
    let back = (until, Disturbance::Database(Fault::None));
    if options.deployed {
        return vec![(from, Disturbance::Database(Fault::ServerError)), back];
    }
    vec![
        (0.0, Disturbance::RedeliverAfter(VISIBILITY_TIMEOUT)),
        (from, Disturbance::Database(Fault::CutAfter)),
        (from + RESPONSES_LOST, Disturbance::Database(Fault::ServerError)),
        (f64::midpoint(from, until), Disturbance::Kill),
        back,
    ]
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
    let (from, until, _) = times(options);
    let killed = if options.deployed { "" } else { ", and the function is killed" };
    let (seconds, rate) = (until - from, runs[0].plan.load.rate);
    let title = format!("The database is unavailable for {seconds} s{killed}: {rate} messages a second");
    vec![("outage.csv", csv(&figures::rows(runs))), ("outage.svg", timeline::draw(&title, runs))]
}
