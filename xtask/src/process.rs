//! Programs that this one runs. Each has a process group of its own, so that it can be ended with all that it
//! started itself.

use std::{
    fs::{self, File},
    path::Path,
    process::{ChildStdin, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

use crate::{failure::Failure, interrupt};

/// How long a program may take to end in order before it is killed.
const GRACE: Duration = Duration::from_secs(6);

/// A running program. Dropping it ends it.
pub(crate) struct Process {
    child: std::process::Child,
    group: Pid,
    name: String,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts a program without standard input, unless the command says otherwise.
    pub(crate) fn start(command: &mut Command) -> Result<Self, Failure> {
        use std::os::unix::process::CommandExt;

        let name = command.get_program().to_string_lossy().into_owned();
        let child = command
            .process_group(0)
            .spawn()
            .map_err(|error| Failure::new(format!("cannot run {name}: {error}")))?;
        // Process ids fit: the kernel's type is signed, and the standard library's only differs in sign.
        let group = Pid::from_raw(child.id().cast_signed());
        Ok(Self { child, group, name, ended: None })
    }

    /// The end of the pipe that is the program's standard input, if it has one.
    pub(crate) fn take_input(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// How the program ended; `None` while it runs.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>, Failure> {
        if self.ended.is_none() {
            self.ended = self
                .child
                .try_wait()
                .map_err(|error| Failure::new(format!("cannot wait for {}: {error}", self.name)))?;
        }
        Ok(self.ended)
    }

    /// Waits until the program ends by itself.
    pub(crate) fn wait(mut self) -> Result<ExitStatus, Failure> {
        let status = interrupt::wait_for(Duration::MAX, || self.ended())?;
        status.ok_or_else(|| Failure::new(format!("{} does not end", self.name)))
    }

    fn group_is_alive(&self) -> bool {
        killpg(self.group, None).is_ok()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A program that ended by itself may have left some of its own behind only if it crashed.
        if self.ended.is_some_and(|status| status.success()) {
            return;
        }
        let _ = killpg(self.group, Signal::SIGTERM);
        let start = Instant::now();
        while start.elapsed() < GRACE {
            // Reaps it, without which its group would seem alive.
            let _ = self.child.try_wait();
            if !self.group_is_alive() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        let _ = killpg(self.group, Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

/// Runs a program whose output goes where ours goes.
pub(crate) fn run_shown(command: &mut Command) -> Result<(), Failure> {
    let name = spoken(command);
    let status = Process::start(command.stdin(Stdio::null()))?.wait()?;
    if status.success() { Ok(()) } else { Err(Failure::new(format!("`{name}` failed ({status})"))) }
}

/// Runs a program whose output goes to a file, and returns what it printed on standard output.
/// If it fails, the failure has all of it.
pub(crate) fn run_captured(command: &mut Command, log: &Path) -> Result<String, Failure> {
    let name = spoken(command);
    let error_log = log.with_extension("err");
    let create = |path: &Path| File::create(path).map_err(|error| Failure::file("write", path, &error));
    command.stdin(Stdio::null()).stdout(create(log)?).stderr(create(&error_log)?);
    let status = Process::start(command)?.wait()?;
    let read = |path: &Path| fs::read(path).map(|text| String::from_utf8_lossy(&text).into_owned());
    let output = read(log).map_err(|error| Failure::file("read", log, &error))?;
    if status.success() {
        return Ok(output);
    }
    let errors = read(&error_log).map_err(|error| Failure::file("read", &error_log, &error))?;
    Err(Failure::new(format!("`{name}` failed ({status})")).with_output(output + &errors))
}

/// The command as one would type it, without the long values.
fn spoken(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let mut spoken = program.to_string_lossy().into_owned();
    for argument in command.get_args().map(|argument| argument.to_string_lossy()) {
        spoken.push(' ');
        match argument.char_indices().nth(60) {
            Some((end, _)) => {
                spoken.push_str(&argument[..end]);
                spoken.push('…');
            }
            None => spoken.push_str(&argument),
        }
    }
    spoken
}
