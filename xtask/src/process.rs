//! Programs that this one runs. Each has a process group of its own, so that it ends together with what it
//! started.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::Path,
    process::{ChildStdin, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

use crate::{failure::Failure, interrupt, step};

/// How long a program may take to end after SIGTERM before it is killed, unless it needs longer.
const GRACE: Duration = Duration::from_secs(6);

/// A running program. Dropping it ends it, and what it started.
pub(crate) struct Process {
    child: std::process::Child,
    group: Pid,
    name: String,
    ended: Option<ExitStatus>,
    grace: Duration,
}

impl Process {
    /// Starts a program.
    pub(crate) fn start(command: &mut Command) -> Result<Self, Failure> {
        use std::os::unix::process::CommandExt;

        let name = command.get_program().to_string_lossy().into_owned();
        let child = command
            .process_group(0)
            .spawn()
            .map_err(|error| Failure::new(format!("cannot run {name}: {error}")))?;
        // Process ids fit: the kernel's type is signed, and the standard library's only differs in sign.
        let group = Pid::from_raw(child.id().cast_signed());
        Ok(Self { child, group, name, ended: None, grace: GRACE })
    }

    /// The end of the pipe that is the program's standard input, if it has one.
    pub(crate) fn take_input(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Gives the program so long to end after SIGTERM.
    pub(crate) fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
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
        // Also if the program has ended by itself: programs that it started may still run.
        let _ = killpg(self.group, Signal::SIGTERM);
        let start = Instant::now();
        while start.elapsed() < self.grace {
            // Reaps it: otherwise its group would seem alive.
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
    let name = command_line(command);
    let status = Process::start(command.stdin(Stdio::null()))?.wait()?;
    if status.success() { Ok(()) } else { Err(Failure::new(format!("`{name}` failed ({status})"))) }
}

/// Runs a program whose output goes where ours goes, and returns whether it succeeded, and the lines that it printed
/// on standard output.
pub(crate) fn run_watched(command: &mut Command) -> Result<(bool, Vec<String>), Failure> {
    let mut process = Process::start(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
    let output = process.child.stdout.take();
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let lines = output.into_iter().flat_map(|output| BufReader::new(output).lines());
            lines.map_while(Result::ok).inspect(|line| step::say(line)).collect()
        });
        // If this process is asked to end, that ends the program, and so the reader.
        let status = process.wait();
        let lines = reader.join().map_err(|_| Failure::new("the program's output could not be read"));
        Ok((status?.success(), lines?))
    })
}

/// Runs a program whose output goes to a file, and returns what it printed on standard output.
/// If it fails, the failure has the end of it.
pub(crate) fn run_captured(command: &mut Command, log: &Path) -> Result<String, Failure> {
    let name = command_line(command);
    let error_log = log.with_extension("err");
    let create = |path: &Path| File::create(path).map_err(|error| Failure::file("write", path, &error));
    command.stdin(Stdio::null()).stdout(create(log)?).stderr(create(&error_log)?);
    let status = Process::start(command)?.wait()?;
    let read = |path: &Path| {
        let text = fs::read(path).map_err(|error| Failure::file("read", path, &error))?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    };
    let output = read(log)?;
    if status.success() {
        return Ok(output);
    }
    let printed = [last_lines(&output, log), last_lines(&read(&error_log)?, &error_log)].concat();
    Err(Failure::new(format!("`{name}` failed ({status})")).with_output(printed))
}

/// As much of a program's output as fits on a screen: almost always, the reason of a failure is there.
fn last_lines(text: &str, log: &Path) -> String {
    const SCREEN: usize = 60;
    let lines: Vec<_> = text.lines().collect();
    let (before, last) = lines.split_at(lines.len().saturating_sub(SCREEN));
    let mut shown = String::new();
    if !before.is_empty() {
        shown = format!("({} lines before these are in {})\n", before.len(), log.display());
    }
    for line in last {
        shown.push_str(line);
        shown.push('\n');
    }
    shown
}

/// The command as a person would type it, with long values cut.
fn command_line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let mut line = program.to_string_lossy().into_owned();
    for argument in command.get_args().map(|argument| argument.to_string_lossy()) {
        line.push(' ');
        match argument.char_indices().nth(60) {
            Some((end, _)) => {
                line.push_str(&argument[..end]);
                line.push('…');
            }
            None => line.push_str(&argument),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_output_is_cut_at_its_beginning() {
        let text: String = (1..=100).map(|number| format!("line {number}\n")).collect();
        let shown = last_lines(&text, Path::new("some.log"));
        assert!(shown.starts_with("(40 lines before these are in some.log)\nline 41\n"), "{shown}");
        assert!(shown.ends_with("line 100\n"), "{shown}");
        assert_eq!(last_lines("one\ntwo\n", Path::new("some.log")), "one\ntwo\n");
    }
}
