//! The faults: they switch on and off at random, and consumers are killed.

use std::time::Duration;

use fastrand::Rng;
use fault_proxy::{Fault, FaultProxy};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::time::{Instant, sleep, timeout};

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

/// Exhausts deliveries from the beginning and then now and again; in between, switches faults of the table on and off.
pub(crate) async fn disturb_the_table(run: &Run, mut chance: Rng) {
    loop {
        exhaust_deliveries(run).await;
        let _ = timeout(EXHAUST_INTERVAL, disturb(&run.table, of_the_table, chance.fork())).await;
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

/// Switches faults on and off, each for a share of the requests.
pub(crate) async fn disturb(proxy: &FaultProxy, of: fn(&mut Rng) -> (f64, Fault), mut chance: Rng) {
    loop {
        let (share, fault) = of(&mut chance);
        proxy.sometimes(share, fault, chance.u64(..));
        sleep(Duration::from_millis(chance.u64(100..2_500))).await;
        proxy.always(Fault::None);
        sleep(Duration::from_millis(chance.u64(100..1_500))).await;
    }
}

/// A fault before the table.
fn of_the_table(chance: &mut Rng) -> (f64, Fault) {
    let some = 0.1 + 0.5 * chance.f64();
    match chance.u32(0..11) {
        0 => (1.0, Fault::Throttle),
        1 => (some, Fault::Throttle),
        2 => (1.0, Fault::ThrottleStatements),
        3 => (some, Fault::ThrottleStatements),
        4 => (1.0, Fault::ServerError),
        5 => (0.1, Fault::Delay(TOO_LATE)),
        _ => of_the_sockets(chance),
    }
}

/// A fault before the sockets.
pub(crate) fn of_the_sockets(chance: &mut Rng) -> (f64, Fault) {
    let some = 0.1 + 0.5 * chance.f64();
    match chance.u32(0..5) {
        0 => (some, Fault::ServerError),
        1 => (some, Fault::CutBefore),
        2 => (some, Fault::CutAfter),
        3 => (some, Fault::Delay(Duration::from_millis(chance.u64(50..1_500)))),
        _ => (0.2, Fault::Hang),
    }
}

/// Throttles every request to the table from now on, for so many seconds.
pub(crate) async fn throttle_the_table(run: &Run, seconds: u64) {
    run.table.always(Fault::Throttle);
    sleep(Duration::from_secs(seconds)).await;
    run.table.always(Fault::None);
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
