//! The faults: they switch on and off at random, and consumers are killed.

use std::time::Duration;

use e2e::stack::kill_process;
use fastrand::Rng;
use fault_proxy::{Fault, FaultProxy};
use jiff::Timestamp;
use serde_json::json;
use tokio::{
    join,
    time::{Instant, sleep, timeout},
};

use crate::run::{CONSUMER, RECORDER, REDRIVE, REDRIVEN, Run};

/// How many messages an outage has to bring into the dead-letter queue, and how long it may last. Until the next one
/// there are other faults, for the same time.
const OUTAGE_LETTERS: usize = 10;
const MAX_OUTAGE: Duration = Duration::from_secs(60);

/// How many of the faults the table has, and how many of them pushes have, too.
const OF_THE_TABLE: usize = 11;
const OF_PUSHES: usize = 5;

/// Makes requests of the functions fail, or throttles the table for as long as the plan says.
pub(crate) async fn disturb(run: &Run, mut chance: Rng) {
    if let Some(seconds) = run.plan.throttle {
        run.table.always(Fault::Throttle);
        sleep(Duration::from_secs(seconds)).await;
        run.table.always(Fault::None);
        run.evidence().outage_end = Some(Timestamp::now());
    } else {
        let pushes = switch(&run.connections, OF_PUSHES, chance.fork());
        join!(pushes, disturb_the_table(run, chance));
    }
}

/// Exhausts deliveries from the beginning and then now and again; in between, switches faults of the table on and off.
async fn disturb_the_table(run: &Run, mut chance: Rng) {
    loop {
        exhaust_deliveries(run).await;
        let _ = timeout(MAX_OUTAGE, switch(&run.table, OF_THE_TABLE, chance.fork())).await;
        run.table.always(Fault::None);
    }
}

/// Makes last deliveries end in an outage, so that the consumer cannot record the failure, and others in a kill.
async fn exhaust_deliveries(run: &Run) {
    let enough = run.dead_letters().await + OUTAGE_LETTERS;
    run.table.always(Fault::Throttle);
    let outage = async {
        while run.dead_letters().await < enough {
            sleep(Duration::from_millis(500)).await;
        }
    };
    let _ = timeout(MAX_OUTAGE, outage).await;
    if run.plan.kills > 0 {
        // Without a response, a delivery is still open when its consumer is killed, for two deliveries of a message.
        kill_during(Fault::Hang, run).await;
        // Half of the open statements take effect in each request: a bulk is stored in many of them.
        kill_during(Fault::ThrottleStatements, run).await;
    }
}

/// Kills every consumer again and again while the table has a fault.
async fn kill_during(fault: Fault, run: &Run) {
    run.table.always(fault);
    let end = Instant::now() + Duration::from_secs(9);
    while Instant::now() < end {
        run.processes(CONSUMER)
            .into_iter()
            .filter(|consumer| kill_process(*consumer))
            .for_each(|_| run.killed());
        sleep(Duration::from_millis(700)).await;
    }
}

/// Switches the first so many faults on and off.
async fn switch(proxy: &FaultProxy, number: usize, mut chance: Rng) {
    loop {
        let (share, fault) = faults(&mut chance)[chance.usize(..number)];
        proxy.sometimes(share, fault, chance.u64(..));
        sleep(Duration::from_millis(chance.u64(100..2_500))).await;
        proxy.always(Fault::None);
        sleep(Duration::from_millis(chance.u64(100..1_500))).await;
    }
}

/// What can happen to a request, each with the share of the requests that it affects. The last ones only a table has.
fn faults(chance: &mut Rng) -> [(f64, Fault); OF_THE_TABLE] {
    let some = 0.1 + 0.5 * chance.f64();
    [
        (some, Fault::ServerError),
        (some, Fault::CutBefore),
        (some, Fault::CutAfter),
        (some, Fault::Delay(Duration::from_millis(chance.u64(50..1_500)))),
        (0.2, Fault::Hang),
        (1.0, Fault::ServerError),
        (1.0, Fault::Throttle),
        (some, Fault::Throttle),
        (1.0, Fault::ThrottleStatements),
        (some, Fault::ThrottleStatements),
        // Longer than the functions wait for a response.
        (0.1, Fault::Delay(Duration::from_secs(6))),
    ]
}

/// Kills a consumer now and then, as often as the plan says.
pub(crate) async fn kill_consumers(run: &Run, mut chance: Rng) {
    for _ in 0..run.plan.kills {
        sleep(Duration::from_millis(chance.u64(2_000..8_000))).await;
        // The last one killed may not have a successor yet.
        while !chance.choice(run.processes(CONSUMER)).is_some_and(kill_process) {
            sleep(Duration::from_millis(100)).await;
        }
        run.killed();
        run.evidence().random_kills += 1;
    }
}

/// Invokes the dead-letter recorder and the redrive again and again, each time with a kill soon after the beginning.
pub(crate) async fn interrupt(run: &Run, mut chance: Rng) {
    let event = json!({ "owner": REDRIVEN });
    loop {
        for function in [RECORDER, REDRIVE] {
            sleep(Duration::from_millis(chance.u64(1_000..3_000))).await;
            let kill = async {
                sleep(Duration::from_millis(chance.u64(50..800))).await;
                run.processes(function).into_iter().filter(|process| kill_process(*process)).count()
            };
            let (kills, _) = join!(kill, run.stack.invoke(function, &event));
            *run.evidence().interrupted.entry(function).or_default() += kills;
        }
    }
}
