//! Ctrl-C, SIGTERM and SIGHUP: noted here, and looked at by everything that waits.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::failure::Failure;

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// How often a wait looks whether there is something new.
const TICK: Duration = Duration::from_millis(20);

/// From now on, signals end this process in order instead of at once.
pub(crate) fn install() -> Result<(), Failure> {
    ctrlc::set_handler(|| REQUESTED.store(true, Ordering::Relaxed))
        .map_err(|error| Failure::new(format!("cannot handle signals: {error}")))
}

/// Whether this process was asked to end.
pub(crate) fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// Waits until `ready` has an answer; `None` when the time is up before.
///
/// # Errors
/// [`Failure::Interrupted`] if this process is asked to end meanwhile, and what `ready` fails with.
pub(crate) fn wait_for<T>(
    limit: Duration,
    mut ready: impl FnMut() -> Result<Option<T>, Failure>,
) -> Result<Option<T>, Failure> {
    let start = Instant::now();
    loop {
        if let Some(answer) = ready()? {
            return Ok(Some(answer));
        }
        if requested() {
            return Err(Failure::Interrupted);
        }
        if start.elapsed() >= limit {
            return Ok(None);
        }
        thread::sleep(TICK);
    }
}
