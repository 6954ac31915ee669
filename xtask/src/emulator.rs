//! The emulator of AWS that the local stack is deployed to. `xtask/emulator` says which, and what it lacks.

use std::{
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    environment::REGION,
    interrupt,
    process::{self, Process},
    python::Environment,
    step,
    workspace::{self, StateFolder},
};

/// How long the emulator may take to start. It takes one to two seconds.
const START_LIMIT: Duration = Duration::from_secs(60);

/// The port that the emulator is to listen on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Port {
    /// This one, or any free one if it is taken.
    Preferred(u16),
    /// This one only.
    Only(u16),
    /// Any free one.
    Any,
}

/// A running emulator. Dropping it takes it down, with all the functions that it started.
pub(crate) struct Emulator {
    process: Process,
    log: PathBuf,
    /// Its address.
    pub(crate) endpoint: String,
}

impl Emulator {
    /// Starts the emulator and waits until it listens.
    pub(crate) fn start(environment: &Environment, state: &StateFolder, port: u16) -> Result<Self> {
        let log = log(state);
        let output = process::create(&log)?;
        let endpoint = format!("http://127.0.0.1:{port}");
        let temporary = state.file("tmp");
        // The functions inherit all of this. Everything else comes from the template.
        let mut command = environment.program("python");
        command
            .arg(workspace::root().join("xtask/emulator/run_emulator.py"))
            .env("INTAKE_FUNCTION_LOG", function_log(state))
            .env("INTAKE_REGION", REGION)
            .env("BIND_HOST", "127.0.0.1")
            .env("GATEWAY_PORT", port.to_string())
            // Without it, the functions would call the real AWS.
            .env("AWS_ENDPOINT_URL", &endpoint)
            // Each role may do what its policies allow, and nothing else, as on AWS.
            .env("AUTH", "true")
            // Listeners of services that are not used here.
            .env("IOT_MTLS_ENABLED", "0")
            .env("SFTP_ENABLED", "0")
            // At its start it removes containers that look like its own, and would remove others.
            .env("DOCKER_HOST", "unix:///nonexistent")
            .env("HOME", state.file("home"))
            .env("STATE_DIR", temporary.join("state"))
            .env("S3_DATA_DIR", temporary.join("s3"))
            .env("TMPDIR", &temporary)
            // Its end tells it that this process has ended.
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output);
        let process = Process::start(&mut command)?;
        let mut emulator = Self { process, log, endpoint };
        let start = Instant::now();
        interrupt::wait_until(|| {
            emulator.check()?;
            let log = emulator.log.display();
            ensure!(start.elapsed() < START_LIMIT, "the emulator does not listen; its log is {log}");
            Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok().then_some(()))
        })?;
        Ok(emulator)
    }

    /// Fails if the emulator has ended by itself.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.process.check("the emulator", &self.log)
    }
}

/// The emulator's log.
pub(crate) fn log(state: &StateFolder) -> PathBuf {
    state.file("emulator.log")
}

/// The log of the functions.
pub(crate) fn function_log(state: &StateFolder) -> PathBuf {
    state.file("functions.log")
}

impl Port {
    /// The number of a port that is free now.
    pub(crate) fn choose(self) -> Result<u16> {
        let bind = |number: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, number));
        match self {
            Self::Preferred(number) | Self::Only(number) if bind(number).is_ok() => return Ok(number),
            Self::Only(number) => {
                bail!("port {number} is taken: name another one, or leave out --port to get a free one")
            }
            Self::Preferred(_) | Self::Any => {}
        }
        let free = bind(0).and_then(|listener| listener.local_addr());
        let free = free.context("there is no free port on 127.0.0.1")?.port();
        if let Self::Preferred(number) = self {
            step::note(format_args!("Port {number} is taken: using {free} instead"));
        }
        Ok(free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_replaced_only_if_it_was_preferred() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let taken = listener.local_addr().unwrap().port();
        assert_ne!(Port::Preferred(taken).choose().unwrap(), taken);
        let failure = Port::Only(taken).choose().unwrap_err().to_string();
        assert!(failure.starts_with(&format!("port {taken} is taken: ")), "{failure}");
    }
}
