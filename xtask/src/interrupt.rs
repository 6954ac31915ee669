//! Ctrl-C, SIGTERM and SIGHUP: remembered here, and checked by everything that waits.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// From now on, signals end this process in an orderly way instead of at once.
pub(crate) fn install() -> Result<()> {
    ctrlc::set_handler(|| REQUESTED.store(true, Ordering::Relaxed)).context("cannot handle signals")
}

/// Whether this process was asked to end. Then it does not matter any more what fails.
pub(crate) fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// Waits until `ready` returns something.
///
/// # Errors
/// If this process is asked to end meanwhile, or what `ready` fails with.
pub(crate) fn wait_until<T>(mut ready: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    loop {
        if let Some(value) = ready()? {
            return Ok(value);
        }
        if requested() {
            bail!("interrupted");
        }
        thread::sleep(Duration::from_millis(20));
    }
}
