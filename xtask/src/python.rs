//! Python programs with exact versions, in virtual environments under `target/`: the local stack, the linters and
//! a peer of the benchmark.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, anyhow};
use fs_err::{self as fs, File};

use crate::{environment, interrupt, process, step, workspace};

/// The names of Python: the user's choice first, then newer ones beside an old `python3`.
const NAMES: [&str; 6] = ["python3", "python3.14", "python3.13", "python3.12", "python3.11", "python3.10"];

/// A virtual environment with what its list of requirements names. As long as it is held, no other process
/// replaces it.
pub(crate) struct Environment {
    folder: PathBuf,
    _in_use: File,
}

impl Environment {
    /// The emulator, the deploying client and the builder of the functions.
    pub(crate) fn run() -> Result<Self> {
        Self::ensure("venv", "xtask/emulator/run.txt", "the local stack (once, about 130 MB)")
    }

    /// The linters, and Node.js.
    pub(crate) fn check() -> Result<Self> {
        Self::ensure("venv-check", "xtask/checks/linters.txt", "the linters (once, about 100 MB)")
    }

    /// The linter that needs other versions of packages that the other linters need.
    pub(crate) fn checkov() -> Result<Self> {
        Self::ensure("venv-checkov", "xtask/checks/checkov.txt", "checkov (once, about 60 MB)")
    }

    /// What the benchmark's peer in Python needs.
    pub(crate) fn peer() -> Result<Self> {
        let list = "lab/bench/peers/python/requirements.txt";
        Self::ensure("venv-bench", list, "the peer in Python (once, about 40 MB)")
    }

    /// The folder of its programs.
    pub(crate) fn programs(&self) -> PathBuf {
        self.folder.join("bin")
    }

    /// One of its programs, isolated from the user's environment.
    pub(crate) fn program(&self, name: &str) -> Command {
        let mut command = environment::isolated(&self.programs().join(name));
        command.env("PATH", environment::path_with(&self.programs()));
        command
    }

    fn ensure(name: &str, list: &str, what: &str) -> Result<Self> {
        let folder = workspace::scratch(name)?;
        // The mark of a complete environment. The folder is part of it, because scripts in it contain their path.
        let stamp = format!("{}\n{}", folder.display(), fs::read_to_string(workspace::root().join(list))?);
        let lock = workspace::lock(&format!("{name}.lock"))?;
        loop {
            let reason = "Waiting for another `cargo xtask` that installs";
            workspace::wait_for_lock(reason, || lock.try_lock_shared())?;
            if is_complete(&folder, &stamp) {
                return Ok(Self { folder, _in_use: lock });
            }
            lock.unlock()?;
            let reason = "Waiting until no other `cargo xtask` uses the old versions";
            workspace::wait_for_lock(reason, || lock.try_lock())?;
            if !is_complete(&folder, &stamp) {
                step::run(&format!("Installing {what}"), || install(list, &folder, &stamp))?;
            }
            lock.unlock()?;
        }
    }
}

fn is_complete(folder: &Path, stamp: &str) -> bool {
    let python = folder.join("bin/python");
    fs::read_to_string(folder.join("complete")).is_ok_and(|found| found == stamp)
        // The Python that made it may have been removed or replaced since.
        && process::succeeds(&python.to_string_lossy(), &["-I", "-c", "import pip"])
}

fn install(list: &str, folder: &Path, stamp: &str) -> Result<()> {
    let python = find_python()?;
    let log = folder.with_extension("log");
    // Without a stamp, its installation was interrupted.
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    let mut make = environment::callers(Path::new(python));
    process::run_captured(make.args(["-m", "venv"]).arg(folder), &log)?;
    let mut pip = environment::callers(&folder.join("bin/python"));
    pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"])
        // The list is complete: nothing else is to be installed.
        .args(["--no-deps", "--retries", "2", "--requirement", list])
        .current_dir(workspace::root());
    match process::run_captured(&mut pip, &log) {
        // Instead of pip's pages about it.
        Err(failure)
            if failure.to_string().contains("after connection broken by") && !interrupt::requested() =>
        {
            Err(anyhow!(
                "cannot install: the Python package index is unreachable: check the network, or name a proxy \
                 (HTTPS_PROXY) or a mirror (PIP_INDEX_URL); pip's output is in {}",
                log.with_extension("err").display()
            ))
        }
        result => result.and_then(|_| Ok(fs::write(folder.join("complete"), stamp)?)),
    }
}

/// A Python that is new enough and can make virtual environments.
fn find_python() -> Result<&'static str> {
    let probe = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))";
    NAMES.into_iter().find(|name| process::succeeds(name, &["-I", "-c", probe])).context(
        "Python 3.10 or later with its venv module was not found: install it (Debian, Ubuntu: apt install python3 \
         python3-venv) and put it on PATH",
    )
}
