//! The faults: they switch on and off at random, and consumers are killed.

use std::{sync::atomic::Ordering, time::Duration};

use e2e::stack::processes_with;
use fastrand::Rng;
use fault_proxy::{Fault, FaultProxy};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::time::{Instant, sleep, timeout};

use crate::run::{Phase, Run};

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
pub(crate) async fn disturb_the_table(run: &Run, proxy: &FaultProxy, seed: u64) {
    let mut chance = Rng::with_seed(seed);
    while run.is(Phase::Faults) {
        exhaust_deliveries(run, proxy).await;
        let disturbing = disturb(run, proxy, of_the_table, chance.u64(..));
        let _ = timeout(EXHAUST_INTERVAL, disturbing).await;
        proxy.always(Fault::None);
    }
}

/// Switches faults of the table on and off, or of the sockets.
pub(crate) async fn disturb(run: &Run, proxy: &FaultProxy, of: fn(&mut Rng) -> (f64, Fault), seed: u64) {
    let mut chance = Rng::with_seed(seed);
    while run.is(Phase::Faults) {
        let (share, fault) = of(&mut chance);
        proxy.sometimes(share, fault, chance.u64(..));
        pause(run, chance.u64(100..2_500)).await;
        proxy.always(Fault::None);
        pause(run, chance.u64(100..1_500)).await;
    }
}

/// Makes last deliveries end in an outage, so that the consumer cannot record the failure, and others in a kill.
async fn exhaust_deliveries(run: &Run, proxy: &FaultProxy) {
    let letters = || run.counts.dead_letters.load(Ordering::Relaxed);
    let enough = letters() + OUTAGE_LETTERS;
    proxy.always(Fault::Throttle);
    let end = Instant::now() + MAX_OUTAGE;
    while letters() < enough && Instant::now() < end && run.is(Phase::Faults) {
        sleep(Duration::from_millis(200)).await;
    }
    // Without a response, a delivery is still open when its consumer is killed.
    proxy.always(Fault::Hang);
    let end = Instant::now() + KILLING;
    while run.plan.kills > 0 && Instant::now() < end && run.is(Phase::Faults) {
        let kills = processes_with(&run.mark).into_iter().filter(|consumer| kill_process(*consumer)).count();
        run.counts.forced_kills.fetch_add(kills, Ordering::Relaxed);
        sleep(Duration::from_millis(700)).await;
    }
}

/// Throttles every request to the table from now on, for so many seconds.
pub(crate) async fn throttle_the_table(run: &Run, proxy: &FaultProxy, seconds: u64) {
    proxy.always(Fault::Throttle);
    pause(run, 1_000 * seconds).await;
    proxy.always(Fault::None);
}

/// Waits so many milliseconds, but no longer than there are faults.
async fn pause(run: &Run, milliseconds: u64) {
    let mut phase = run.phase.subscribe();
    let calm = phase.wait_for(|phase| *phase != Phase::Faults);
    let _ = timeout(Duration::from_millis(milliseconds), calm).await;
}

/// A fault before the table, and the share of requests that it affects.
fn of_the_table(chance: &mut Rng) -> (f64, Fault) {
    let some = 0.1 + 0.5 * chance.f64();
    match chance.u32(0..11) {
        0 => (1.0, Fault::Throttle),
        1 => (some, Fault::Throttle),
        2 => (1.0, Fault::ThrottleStatements),
        3 => (some, Fault::ThrottleStatements),
        4 => (1.0, Fault::ServerError),
        5 => (some, Fault::ServerError),
        6 => (some, Fault::CutBefore),
        7 => (some, Fault::CutAfter),
        8 => (some, Fault::Delay(Duration::from_millis(chance.u64(50..1_500)))),
        9 => (0.1, Fault::Delay(TOO_LATE)),
        _ => (0.1, Fault::Hang),
    }
}

/// A fault before the sockets, and the share of pushes that it affects.
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

/// Kills consumers, evenly over the work, or when there was little progress for a while.
pub(crate) async fn kill_consumers(run: &Run, seed: u64) {
    let mut chance = Rng::with_seed(seed);
    let total = run.plan.kills;
    for killed in 0..total {
        let due = run.plan.messages * (killed + 1) / (total + 1);
        let latest = Instant::now() + MAX_WITHOUT_A_KILL;
        while run.counts.settled.load(Ordering::Relaxed) < due && Instant::now() < latest {
            sleep(Duration::from_millis(50)).await;
        }
        // Somewhere within a batch.
        sleep(Duration::from_millis(chance.u64(0..300))).await;
        // The last one killed may not have a successor yet.
        for _ in 0..100 {
            if chance.choice(processes_with(&run.mark)).is_some_and(kill_process) {
                run.counts.random_kills.fetch_add(1, Ordering::Relaxed);
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
}

fn kill_process(id: i32) -> bool {
    kill(Pid::from_raw(id), Signal::SIGKILL).is_ok()
}
