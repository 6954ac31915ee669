//! Locks between runs of `cargo xtask`. The operating system releases them when their holder ends, however it
//! ends.

use std::{
    fs::{File, TryLockError},
    path::Path,
    time::Duration,
};

use crate::{failure::Failure, interrupt, step};

/// Opens the file that stands for a lock.
pub(crate) fn open(path: &Path) -> Result<File, Failure> {
    File::create(path).map_err(|error| Failure::file("write", path, &error))
}

/// Takes a lock, and waits for it as long as others have it. `reason` is printed meanwhile.
pub(crate) fn wait(reason: &str, take: impl Fn() -> Result<(), TryLockError>) -> Result<(), Failure> {
    let attempt = || match take() {
        Ok(()) => Ok(Some(())),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(Failure::new(format!("cannot lock: {error}"))),
    };
    if interrupt::wait_for(Duration::ZERO, attempt)?.is_none() {
        step::run(reason, || interrupt::wait_for(Duration::MAX, attempt))?;
    }
    Ok(())
}
