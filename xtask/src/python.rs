//! The Python programs that the local stack and the benchmark's peer are made of, pinned, in virtual
//! environments under `target/`.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use ring::digest;

use crate::{environment, failure::Failure, lock, process, step, workspace};

/// The first Python that everything we install runs on.
const OLDEST: (u32, u32) = (3, 10);

/// Where Python is looked for: first the user's choice, then newer ones beside an old `python3`.
const NAMES: [&str; 6] = ["python3", "python3.14", "python3.13", "python3.12", "python3.11", "python3.10"];

/// A virtual environment that has what its list of requirements names. As long as it is held, no other
/// process replaces it.
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

    /// The linter that wants other versions of what the others want, too.
    pub(crate) fn checkov() -> Result<Self, Failure> {
        let list = workspace::checks().join("checkov.txt");
        Self::ensure("venv-checkov", &list, "Installing checkov (once, about 60 MB)")
    }

    /// What the benchmark's peer in Python is made of.
    pub(crate) fn peer() -> Result<Self, Failure> {
        let list = workspace::peers().join("python/requirements.txt");
        Self::ensure("venv-bench", &list, "Installing the peer in Python (once, about 40 MB)")
    }

    /// The folder of its programs.
    pub(crate) fn programs(&self) -> PathBuf {
        self.folder.join("bin")
    }

    /// Its Python, in an environment of its own.
    pub(crate) fn python(&self) -> Command {
        let mut command = Command::new(self.programs().join("python"));
        environment::isolate(&mut command).env("PATH", environment::path_with(&self.programs()));
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
            lock::wait("The tools change: waiting until no other `cargo xtask` uses the old ones", || {
                lock.try_lock()
            })?;
            if !is_complete(&folder, &wanted) {
                let python = find_python()?;
                step::quiet(step_name, || install(&lock, &python, list, &folder, &wanted))?;
            }
            lock.unlock().map_err(|error| Failure::file("unlock", &lock_path, &error))?;
        }
    }
}

/// What a complete environment says of itself. Its own place is part of it, because scripts in it name it.
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
        // The Python that it was made with may have been removed or replaced by another version since.
        && runs(Command::new(folder.join("bin/python")).args(["-I", "-c", "import pip"]))
}

fn install(lock: &File, python: &Path, list: &Path, folder: &Path, stamp: &str) -> Result<(), Failure> {
    let log = folder.with_extension("log");
    // An environment without a stamp is one whose making was interrupted.
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Failure::file("remove", folder, &error));
        }
        _ => {}
    }
    let mut make = Command::new(python);
    process::run_locked(lock, environment::pip(&mut make).args(["-m", "venv"]).arg(folder), &log)?;
    let mut pip = Command::new(folder.join("bin/python"));
    environment::pip(&mut pip)
        .args(["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"])
        // The list is complete: there is nothing to work out, and nothing else to come along.
        .args(["--no-deps", "--retries", "2", "--requirement"])
        .arg(list);
    process::run_locked(lock, &mut pip, &log).map_err(|failure| explain(failure, &log))?;
    let path = stamp_path(folder);
    fs::write(&path, stamp).map_err(|error| Failure::file("write", &path, &error))
}

/// Turns pip's pages about an unreachable index into one line.
fn explain(failure: Failure, log: &Path) -> Failure {
    let Failure::Failed { output, .. } = &failure else { return failure };
    let unreachable = [
        "NewConnectionError",
        "ConnectTimeoutError",
        "ReadTimeoutError",
        "NameResolutionError",
        "ProxyError",
        "SSLError",
        "Failed to establish a new connection",
        "Connection refused",
        "Temporary failure in name resolution",
    ];
    if unreachable.iter().any(|sign| output.contains(sign)) {
        return Failure::new("cannot install: the Python package index cannot be reached").advise(format!(
            "check the network, or name a proxy (HTTPS_PROXY) or a mirror (PIP_INDEX_URL); pip's own words are in {}",
            log.with_extension("err").display()
        ));
    }
    failure
}

/// A Python that is new enough and can make virtual environments.
fn find_python() -> Result<PathBuf, Failure> {
    let mut refused = None;
    for name in NAMES {
        match examine(name) {
            Ok(python) => return Ok(python),
            // What is wrong with the first one found is what to tell: the others are a second choice.
            Err(failure) => refused = refused.or(failure),
        }
    }
    Err(refused.unwrap_or_else(|| {
        Failure::new("python3 was not found")
            .advise("install Python 3.10 or later (Debian, Ubuntu: apt install python3 python3-venv)")
    }))
}

/// `Err(None)` if there is no program of this name.
fn examine(name: &str) -> Result<PathBuf, Option<Failure>> {
    let question = "import sys; print(sys.executable, *sys.version_info[:2], sep='\\n')";
    let answer = Command::new(name).args(["-I", "-c", question]).stdin(Stdio::null()).output();
    let answer = match answer {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(Some(Failure::new(format!("{name} does not work")).with_output(said)));
        }
        Err(_) => return Err(None),
    };
    let mut lines = answer.lines();
    let executable = lines.next().unwrap_or(name).to_owned();
    let mut number = || lines.next().and_then(|number| number.parse::<u32>().ok()).unwrap_or(0);
    let version = (number(), number());
    if version < OLDEST {
        return Err(Some(
            Failure::new(format!("{name} is Python {}.{}, too old", version.0, version.1))
                .advise("install Python 3.10 or later and put it first on PATH"),
        ));
    }
    if !runs(Command::new(&executable).args(["-I", "-c", "import venv, ensurepip"])) {
        return Err(Some(Failure::new(format!("{name} cannot make virtual environments")).advise(format!(
            "install its venv module (Debian, Ubuntu: apt install python{}.{}-venv)",
            version.0, version.1
        ))));
    }
    Ok(PathBuf::from(executable))
}

fn runs(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
