//! Python programs with exact versions, in virtual environments under `target/`: the local stack, the linters and
//! a peer of the benchmark.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use ring::digest;

use crate::{environment, failure::Failure, lock, process, step, workspace};

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
    pub(crate) fn run() -> Result<Self, Failure> {
        let list = workspace::emulator().join("run.txt");
        Self::ensure("venv", &list, "Installing the local stack (once, about 130 MB)")
    }

    /// The linters.
    pub(crate) fn check() -> Result<Self, Failure> {
        let list = workspace::checks().join("linters.txt");
        Self::ensure("venv-check", &list, "Installing the linters (once, about 140 MB)")
    }

    /// The linter that needs other versions of packages that the other linters need.
    pub(crate) fn checkov() -> Result<Self, Failure> {
        let list = workspace::checks().join("checkov.txt");
        Self::ensure("venv-checkov", &list, "Installing checkov (once, about 60 MB)")
    }

    /// What the benchmark's peer in Python needs.
    pub(crate) fn peer() -> Result<Self, Failure> {
        let list = workspace::peers().join("python/requirements.txt");
        Self::ensure("venv-bench", &list, "Installing the peer in Python (once, about 40 MB)")
    }

    /// The folder of its programs.
    pub(crate) fn programs(&self) -> PathBuf {
        self.folder.join("bin")
    }

    /// Its Python, isolated from the user's environment.
    pub(crate) fn python(&self) -> Command {
        let mut command = Command::new(self.programs().join("python"));
        environment::isolate(&mut command).env("PATH", environment::path_with(&self.programs()));
        command
    }

    /// Its Python with the user's environment, including the AWS account.
    pub(crate) fn callers_python(&self) -> Command {
        let mut command = Command::new(self.programs().join("python"));
        environment::pip(&mut command);
        command
    }

    fn ensure(folder: &str, list: &Path, step_name: &str) -> Result<Self, Failure> {
        let folder = workspace::scratch().join(folder);
        workspace::make_folder(&workspace::scratch())?;
        let wanted = stamp(list, &folder)?;
        let lock_path = folder.with_extension("lock");
        let lock = lock::open(&lock_path)?;
        loop {
            lock::wait("Waiting for another `cargo xtask` that installs", || lock.try_lock_shared())?;
            if is_complete(&folder, &wanted) {
                return Ok(Self { folder, _in_use: lock });
            }
            lock.unlock().map_err(|error| Failure::file("unlock", &lock_path, &error))?;
            let reason = "Waiting until no other `cargo xtask` uses the old versions";
            lock::wait(reason, || lock.try_lock())?;
            if !is_complete(&folder, &wanted) {
                let python = find_python()?;
                step::run(step_name, || install(python, list, &folder, &wanted))?;
            }
            lock.unlock().map_err(|error| Failure::file("unlock", &lock_path, &error))?;
        }
    }
}

/// The content of the file that marks a complete environment. The folder is part of it, because scripts in it
/// contain their path.
fn stamp(list: &Path, folder: &Path) -> Result<String, Failure> {
    let text = fs::read(list).map_err(|error| Failure::file("read", list, &error))?;
    let hash: String =
        digest::digest(&digest::SHA256, &text).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{hash} {}\n", folder.display()))
}

fn stamp_path(folder: &Path) -> PathBuf {
    folder.join("complete")
}

fn is_complete(folder: &Path, wanted: &str) -> bool {
    fs::read_to_string(stamp_path(folder)).is_ok_and(|stamp| stamp == wanted)
        // The Python that made it may have been removed or replaced since.
        && runs(Command::new(folder.join("bin/python")).args(["-I", "-c", "import pip"]))
}

fn install(python: &str, list: &Path, folder: &Path, stamp: &str) -> Result<(), Failure> {
    let log = folder.with_extension("log");
    // Without a stamp, its installation was interrupted.
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(|error| Failure::file("remove", folder, &error))?;
    }
    let mut make = Command::new(python);
    process::run_captured(environment::pip(&mut make).args(["-m", "venv"]).arg(folder), &log)?;
    let mut pip = Command::new(folder.join("bin/python"));
    environment::pip(&mut pip)
        .args(["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"])
        // The list is complete: nothing else is to be installed.
        .args(["--no-deps", "--retries", "2", "--requirement"])
        .arg(list);
    process::run_captured(&mut pip, &log).map_err(|failure| explain(failure, &log))?;
    let path = stamp_path(folder);
    fs::write(&path, stamp).map_err(|error| Failure::file("write", &path, &error))
}

/// Replaces pip's pages about an unreachable index by one line.
fn explain(failure: Failure, log: &Path) -> Failure {
    match &failure {
        Failure::Failed { output, .. } if output.contains("after connection broken by") => {
            Failure::new("cannot install: the Python package index is unreachable").advise(format!(
                "check the network, or name a proxy (HTTPS_PROXY) or a mirror (PIP_INDEX_URL); pip's output is in {}",
                log.with_extension("err").display()
            ))
        }
        _ => failure,
    }
}

/// A Python that is new enough and can make virtual environments.
fn find_python() -> Result<&'static str, Failure> {
    let probe = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))";
    NAMES.into_iter().find(|name| runs(Command::new(name).args(["-I", "-c", probe]))).ok_or_else(|| {
        Failure::new("Python 3.10 or later with its venv module was not found")
            .advise("install it (Debian, Ubuntu: apt install python3 python3-venv) and put it on PATH")
    })
}

fn runs(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
