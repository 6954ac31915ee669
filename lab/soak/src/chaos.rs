//! The faults: they switch on and off at random, and consumers are killed.

use std::{sync::atomic::Ordering, time::Duration};

use fastrand::Rng;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::time::{Instant, sleep, timeout};

use e2e::stack::processes_with;
use fault_proxy::{Fault, FaultProxy};

use crate::run::{Phase, Shared};

/// Longer than the functions wait for an answer of the table.
const TOO_LATE: Duration = Duration::from_secs(6);

/// How long the consumers may take for the work between two kills.
const LONGEST_WITHOUT_A_KILL: Duration = Duration::from_secs(8);

/// Switches faults on and off before the table.
pub(crate) async fn disturb_the_table(shared: &Shared, proxy: &FaultProxy, seed: u64) {
    let mut chance = Rng::with_seed(seed);
    let mut number = 0;
    while *shared.phase.borrow() == Phase::Faults {
        number += 1;
        let (share, fault, duration) = if number % 8 == 2 {
            // For so long that some messages have had all their deliveries.
            (1.0, Fault::Throttle, chance.u64(12_000..20_000))
        } else {
            let (share, fault) = fault_of_the_table(&mut chance);
            (share, fault, chance.u64(100..2_500))
        };
        proxy.sometimes(share, fault, chance.u64(..));
        pause(shared, duration).await;
        proxy.always(Fault::None);
        pause(shared, chance.u64(100..1_500)).await;
    }
}

/// Throttles every request to the table from now on, for so long.
pub(crate) async fn throttle_the_table(shared: &Shared, proxy: &FaultProxy, duration: Duration) {
    proxy.always(Fault::Throttle);
    pause(shared, duration.as_millis().try_into().unwrap_or(u64::MAX)).await;
    proxy.always(Fault::None);
}

/// Switches faults on and off before the sockets.
pub(crate) async fn disturb_the_sockets(shared: &Shared, proxy: &FaultProxy, seed: u64) {
    let mut chance = Rng::with_seed(seed);
    while *shared.phase.borrow() == Phase::Faults {
        let (share, fault) = fault_of_the_sockets(&mut chance);
        proxy.sometimes(share, fault, chance.u64(..));
        pause(shared, chance.u64(100..2_500)).await;
        proxy.always(Fault::None);
        pause(shared, chance.u64(100..1_500)).await;
    }
}

/// Waits so many milliseconds, but not for longer than there are faults.
async fn pause(shared: &Shared, milliseconds: u64) {
    let mut phase = shared.phase.subscribe();
    let calm = phase.wait_for(|phase| *phase != Phase::Faults);
    // Whether it is over shows elsewhere.
    let _ = timeout(Duration::from_millis(milliseconds), calm).await;
}

/// What happens to the table, to which share of the requests.
fn fault_of_the_table(chance: &mut Rng) -> (f64, Fault) {
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

/// What happens to pushes.
fn fault_of_the_sockets(chance: &mut Rng) -> (f64, Fault) {
    let some = 0.1 + 0.5 * chance.f64();
    match chance.u32(0..5) {
        0 => (some, Fault::ServerError),
        1 => (some, Fault::CutBefore),
        2 => (some, Fault::CutAfter),
        3 => (some, Fault::Delay(Duration::from_millis(chance.u64(50..1_500)))),
        _ => (0.2, Fault::Hang),
    }
}

/// Kills consumers, evenly over the work, or when they have not come far for a while.
pub(crate) async fn kill_consumers(shared: &Shared, seed: u64) {
    let mut chance = Rng::with_seed(seed);
    let total = shared.plan.kills;
    for killed in 0..total {
        let due = shared.plan.messages * (killed + 1) / (total + 1);
        let latest = Instant::now() + LONGEST_WITHOUT_A_KILL;
        while shared.settled.load(Ordering::Relaxed) < due && Instant::now() < latest {
            sleep(Duration::from_millis(50)).await;
        }
        // Somewhere within a batch.
        sleep(Duration::from_millis(chance.u64(0..300))).await;
        // The last one killed may not have a successor yet.
        for _ in 0..100 {
            if kill_one(shared, &mut chance) {
                shared.killed.fetch_add(1, Ordering::Relaxed);
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
}

fn kill_one(shared: &Shared, chance: &mut Rng) -> bool {
    // No other process has this variable.
    let Some(consumer) = chance.choice(processes_with(&shared.mark)) else { return false };
    kill(Pid::from_raw(consumer), Signal::SIGKILL).is_ok()
}
