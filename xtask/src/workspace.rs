//! Where things are in the repository.

use std::{
    fs::TryLockError,
    path::{Path, PathBuf},
};

use anyhow::{Result, anyhow, bail};
use development_key::DevelopmentKey;
use fs_err::{self as fs, File};
use serde_json::Value;

use crate::{interrupt, step};

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package)
}

/// A file of the folder of generated files, which are never committed.
pub(crate) fn scratch(name: &str) -> Result<PathBuf> {
    let folder = root().join("target/intake");
    fs::create_dir_all(&folder)?;
    Ok(folder.join(name))
}

/// The file of the key that signs tokens for the stacks of this checkout.
pub(crate) fn development_key_file() -> Result<PathBuf> {
    scratch("development-key.p8")
}

/// The key that signs tokens for the stacks of this checkout. It is made on first use.
pub(crate) fn development_key() -> Result<DevelopmentKey> {
    // The cause is in its text already.
    DevelopmentKey::load_or_create(&development_key_file()?).map_err(|error| anyhow!("{error}"))
}

/// A lock between runs of `cargo xtask`: the operating system releases it when its holder ends, however it ends.
pub(crate) fn lock(name: &str) -> Result<File> {
    Ok(File::create(scratch(name)?)?)
}

/// Takes a lock, and waits as long as another run has it. `reason` is printed meanwhile.
pub(crate) fn wait_for_lock(reason: &str, take: impl Fn() -> Result<(), TryLockError>) -> Result<()> {
    let attempt = || match take() {
        Ok(()) => Ok(Some(())),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error.into()),
    };
    match attempt()? {
        Some(()) => Ok(()),
        None => step::run(reason, || interrupt::wait_until(attempt)),
    }
}

/// The folder of one running stack. It belongs to one process at a time.
pub(crate) struct StateFolder {
    path: PathBuf,
    _lock: File,
}

impl StateFolder {
    /// Takes the folder of the stack of this name, and removes what the last run left there.
    pub(crate) fn claim(name: &str) -> Result<Self> {
        let path = scratch(name)?;
        let lock = lock(&format!("{name}.lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!("`cargo xtask {name}` is running already: end that one first")
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        // For the programs that run here: the user's own home has settings and accounts.
        for name in ["home", "tmp"] {
            fs::create_dir_all(path.join(name))?;
        }
        Ok(Self { path, _lock: lock })
    }

    /// A file in the folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The file that describes the running stack to other programs.
    pub(crate) fn description(&self) -> PathBuf {
        self.file("stack.json")
    }

    /// Writes that file, and returns its path.
    pub(crate) fn describe(&self, description: &Value) -> Result<PathBuf> {
        fs::write(self.description(), format!("{description:#}\n"))?;
        Ok(self.description())
    }
}

/// What is useful only while the stack runs goes with it. The logs stay.
impl Drop for StateFolder {
    fn drop(&mut self) {
        // What cannot be removed now is removed when the folder is taken again.
        for name in ["stack.json", "functions.env"] {
            let _ = fs::remove_file(self.file(name));
        }
        for name in ["home", "tmp"] {
            let _ = fs::remove_dir_all(self.file(name));
        }
    }
}
