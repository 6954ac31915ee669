//! Programs that this one runs. Each has a process group of its own, so that it ends together with what it
//! started.

use std::{
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use fs_err as fs;
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

use crate::{interrupt, step};

/// How long a program may take to end after SIGTERM before it is killed, unless it needs longer.
const GRACE: Duration = Duration::from_secs(6);

/// A running program. Dropping it ends it, and what it started. If its standard input is a pipe, that is closed at the
/// latest when this process has ended, however it ends.
pub(crate) struct Process {
    child: Child,
    grace: Duration,
}

impl Process {
    /// Starts a program.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let child = command.process_group(0).spawn();
        let child = child.with_context(|| format!("cannot run {}", command.get_program().display()))?;
        Ok(Self { child, grace: GRACE })
    }

    /// Gives the program so long to end after SIGTERM.
    pub(crate) fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Fails if the program has ended by itself; its failure has what it printed to this file.
    pub(crate) fn check(&mut self, name: &str, log: &Path) -> Result<()> {
        let Some(status) = self.child.try_wait()? else { return Ok(()) };
        bail!("{name} ended by itself ({status}){}", indented(&last_lines(log)?));
    }

    /// Waits until the program ends by itself.
    pub(crate) fn wait(mut self) -> Result<ExitStatus> {
        interrupt::wait_until(|| Ok(self.child.try_wait()?))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Process ids fit: the kernel's type is signed, and the standard library's only differs in sign.
        let group = Pid::from_raw(self.child.id().cast_signed());
        // Also if the program has ended by itself: programs that it started may still run.
        let _ = killpg(group, Signal::SIGTERM);
        let start = Instant::now();
        while start.elapsed() < self.grace {
            // Reaps it: otherwise its group would seem alive.
            let _ = self.child.try_wait();
            if killpg(group, None).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        let _ = killpg(group, Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

/// Runs a program whose output goes where ours goes.
pub(crate) fn run_shown(command: &mut Command) -> Result<()> {
    let status = Process::start(command.stdin(Stdio::null()))?.wait()?;
    ensure!(status.success(), "`{}` failed ({status})", command_line(command));
    Ok(())
}

/// Runs a program whose output goes where ours goes, and returns whether it succeeded, and the lines that it printed
/// on standard output.
pub(crate) fn run_watched(command: &mut Command) -> Result<(bool, Vec<String>)> {
    let mut process = Process::start(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
    let output = process.child.stdout.take();
    // Apart, so that Ctrl-C need not wait for a line.
    let reader = thread::spawn(|| {
        let lines = output.into_iter().flat_map(|output| BufReader::new(output).lines());
        lines.map_while(Result::ok).inspect(|line| step::say(line)).collect()
    });
    let success = process.wait()?.success();
    Ok((success, reader.join().unwrap_or_default()))
}

/// Runs a program whose output goes to a file, and returns what it printed on standard output.
/// If it fails, the failure has the end of it.
pub(crate) fn run_captured(command: &mut Command, log: &Path) -> Result<String> {
    let errors = log.with_extension("err");
    command.stdin(Stdio::null()).stdout(create(log)?).stderr(create(&errors)?);
    let status = Process::start(command)?.wait()?;
    if !status.success() {
        let printed = last_lines(log)? + &last_lines(&errors)?;
        bail!("`{}` failed ({status}){}", command_line(command), indented(&printed));
    }
    Ok(String::from_utf8_lossy(&fs::read(log)?).into_owned())
}

/// Creates a file for a program's output.
pub(crate) fn create(path: &Path) -> Result<std::fs::File> {
    Ok(fs::File::create(path)?.into_parts().0)
}

/// Whether a program can be run, and succeeds.
pub(crate) fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// As much of a program's output as fits on a screen: almost always, the reason of a failure is there.
fn last_lines(log: &Path) -> Result<String> {
    const SCREEN: usize = 60;
    let text = String::from_utf8_lossy(&fs::read(log)?).into_owned();
    let lines: Vec<_> = text.trim_end().lines().collect();
    let (before, last) = lines.split_at(lines.len().saturating_sub(SCREEN));
    let mut shown = String::new();
    if !before.is_empty() {
        shown = format!("({} lines before these are in {})\n", before.len(), log.display());
    }
    last.iter().for_each(|line| shown.extend([line, "\n"]));
    Ok(shown)
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("\n    {line}")).collect()
}

/// The command as a person would type it, with long values cut.
fn command_line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let mut line = program.to_string_lossy().into_owned();
    for argument in command.get_args().map(|argument| argument.to_string_lossy()) {
        line.push(' ');
        line.extend(argument.chars().take(60));
        if argument.chars().nth(60).is_some() {
            line.push('…');
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_has_the_end_of_what_the_program_printed() {
        let log = std::env::temp_dir().join(format!("xtask-{}.log", std::process::id()));
        let mut command = Command::new("sh");
        command.args(["-c", "seq 100; echo wrong >&2; exit 3"]);
        let failure = run_captured(&mut command, &log).unwrap_err().to_string();
        assert!(
            failure.starts_with("`sh -c seq 100; echo wrong >&2; exit 3` failed (exit status: 3)"),
            "{failure}"
        );
        let lines: Vec<_> = failure.lines().map(str::trim).skip(1).collect();
        assert_eq!(lines[0], format!("(40 lines before these are in {})", log.display()));
        assert_eq!((lines[1], lines[60], lines[61], lines.len()), ("41", "100", "wrong", 62));
        fs::remove_file(log.with_extension("err")).unwrap();
        fs::remove_file(log).unwrap();
    }
}
