//! The faults: they switch on and off at random, and consumers are killed.

use std::time::Duration;

use fastrand::Rng;
use fault_proxy::{Fault, FaultProxy};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    join,
    time::{Instant, sleep, timeout},
};

use crate::run::Run;

/// Longer than the functions wait for a response of the table.
const TOO_LATE: Duration = Duration::from_secs(6);

/// How much work the consumers may do between two kills.
const MAX_WITHOUT_A_KILL: Duration = Duration::from_secs(8);

/// How many messages an outage has to bring into the dead-letter queue, and how long that may take.
const OUTAGE_LETTERS: usize = 10;
const MAX_OUTAGE: Duration = Duration::from_secs(60);

/// How long there are other faults before deliveries are exhausted again.
const EXHAUST_INTERVAL: Duration = Duration::from_secs(60);

/// How long consumers are killed again and again: for two deliveries of a message.
const KILLING: Duration = Duration::from_secs(9);

/// How many of the faults pushes have, too.
const OF_PUSHES: usize = 5;

/// Makes requests of the functions fail. Or throttles the table for so long as the plan says.
pub(crate) async fn disturb(run: &Run, mut chance: Rng) {
    if let Some(seconds) = run.plan.throttle {
        run.table.always(Fault::Throttle);
        sleep(Duration::from_secs(seconds)).await;
        run.table.always(Fault::None);
    } else {
        let pushes = switch(&run.connections, OF_PUSHES, chance.fork());
        join!(pushes, disturb_the_table(run, chance));
    }
}

/// Exhausts deliveries from the beginning and then now and again; in between, switches faults of the table on and off.
async fn disturb_the_table(run: &Run, mut chance: Rng) {
    loop {
        exhaust_deliveries(run).await;
        let _ = timeout(EXHAUST_INTERVAL, switch(&run.table, faults(&mut chance).len(), chance.fork())).await;
        run.table.always(Fault::None);
    }
}

/// Makes last deliveries end in an outage, so that the consumer cannot record the failure, and others in a kill.
async fn exhaust_deliveries(run: &Run) {
    let mut queues = run.queues.subscribe();
    let enough = queues.borrow().dead_letters + OUTAGE_LETTERS;
    run.table.always(Fault::Throttle);
    let _ = timeout(MAX_OUTAGE, queues.wait_for(|queues| queues.dead_letters >= enough)).await;
    // Without a response, a delivery is still open when its consumer is killed.
    run.table.always(Fault::Hang);
    let end = Instant::now() + KILLING;
    while run.plan.kills > 0 && Instant::now() < end {
        let kills = run.consumers().into_iter().filter(|consumer| kill_process(*consumer)).count();
        run.evidence().forced_kills += kills;
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
fn faults(chance: &mut Rng) -> [(f64, Fault); 11] {
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
        (0.1, Fault::Delay(TOO_LATE)),
    ]
}

/// Kills consumers, evenly over the work, or when there was little progress for a while.
pub(crate) async fn kill_consumers(run: &Run, mut chance: Rng) {
    let total = run.plan.kills;
    let mut queues = run.queues.subscribe();
    for killed in 0..total {
        let due = run.plan.messages * (killed + 1) / (total + 1);
        let settled = |unsettled| run.evidence().accepted.len().saturating_sub(unsettled);
        let progress = queues.wait_for(|queues| settled(queues.unsettled) >= due);
        let _ = timeout(MAX_WITHOUT_A_KILL, progress).await;
        // Somewhere within a batch.
        sleep(Duration::from_millis(chance.u64(0..300))).await;
        // The last one killed may not have a successor yet.
        while !chance.choice(run.consumers()).is_some_and(kill_process) {
            sleep(Duration::from_millis(100)).await;
        }
        run.evidence().random_kills += 1;
    }
}

fn kill_process(id: i32) -> bool {
    kill(Pid::from_raw(id), Signal::SIGKILL).is_ok()
}
