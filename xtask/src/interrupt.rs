//! Ctrl-C, SIGTERM and SIGHUP: noted here, and checked by everything that waits.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::failure::Failure;

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// How often a wait checks again.
const TICK: Duration = Duration::from_millis(20);

/// From now on, signals end this process in an orderly way instead of at once.
pub(crate) fn install() -> Result<(), Failure> {
    ctrlc::set_handler(|| REQUESTED.store(true, Ordering::Relaxed))
        .map_err(|error| Failure::new(format!("cannot handle signals: {error}")))
}

/// Whether this process was asked to end.
pub(crate) fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// Waits until `ready` returns something; `None` if the time is up before.
///
/// # Errors
/// [`Failure::Interrupted`] if this process is asked to end meanwhile, or what `ready` fails with.
pub(crate) fn wait_for<T>(
    limit: Duration,
    mut ready: impl FnMut() -> Result<Option<T>, Failure>,
) -> Result<Option<T>, Failure> {
    let start = Instant::now();
    loop {
        if let Some(value) = ready()? {
            return Ok(Some(value));
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
