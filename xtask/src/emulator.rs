//! The emulator of AWS that the local stack is deployed to. `xtask/emulator` says which, and what it lacks.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    process::{ChildStdin, Stdio},
    time::Duration,
};

use crate::{
    environment::REGION,
    failure::Failure,
    http, interrupt,
    process::Process,
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
    port: u16,
    process: Process,
    /// The emulator ends when the other end of this pipe is closed, so also when this process is killed.
    _lifeline: Option<ChildStdin>,
}

impl Port {
    /// Fails if the emulator cannot have it, before anything takes minutes.
    pub(crate) fn check(self) -> Result<(), Failure> {
        match self {
            Self::Only(number) if !is_free(number) => Err(taken(number)),
            _ => Ok(()),
        }
    }
}

impl Emulator {
    /// Starts the emulator and waits until it responds.
    pub(crate) fn start(environment: &Environment, state: &StateFolder, port: Port) -> Result<Self, Failure> {
        // Another program may take the port between our check and the emulator's start: then check again.
        let mut attempts = 3;
        loop {
            let number = choose(port)?;
            attempts -= 1;
            match Self::start_on(environment, state, number) {
                Err(Failure::Failed { .. }) if attempts > 0 && !is_free(number) => {}
                result => return result,
            }
        }
    }

    /// The address of the emulator.
    pub(crate) fn endpoint(&self) -> String {
        endpoint(self.port)
    }

    /// Fails if the emulator has ended by itself.
    pub(crate) fn check(&mut self) -> Result<(), Failure> {
        match self.process.ended()? {
            None => Ok(()),
            Some(status) => Err(Failure::new(format!("the emulator ended by itself ({status})"))),
        }
    }

    /// Creates the bucket that a deployment uploads to.
    pub(crate) fn create_bucket(&self, name: &str) -> Result<(), Failure> {
        match http::request(self.port, "PUT", &format!("/{name}")) {
            Ok(200) => Ok(()),
            Ok(status) => Err(Failure::new(format!("the emulator did not create a bucket: status {status}"))),
            Err(error) => Err(Failure::new(format!("the emulator is unreachable: {error}"))),
        }
    }

    fn start_on(environment: &Environment, state: &StateFolder, port: u16) -> Result<Self, Failure> {
        let log = log(state);
        let output = File::create(&log).map_err(|error| Failure::file("write", &log, &error))?;
        let errors = output.try_clone().map_err(|error| Failure::file("write", &log, &error))?;
        let temporary = state.folder("tmp")?;
        // The functions inherit all of this. Everything else comes from the template.
        let mut command = environment.python();
        command
            .arg(workspace::emulator().join("run_emulator.py"))
            .env("INTAKE_FUNCTION_LOG", function_log(state))
            .env("INTAKE_REGION", REGION)
            .env("BIND_HOST", "127.0.0.1")
            .env("GATEWAY_PORT", port.to_string())
            // Without it, the functions would call the real AWS.
            .env("AWS_ENDPOINT_URL", endpoint(port))
            // Each role may do what its policies allow, and nothing else, as on AWS.
            .env("AUTH", "true")
            // Listeners of services that are not used here.
            .env("IOT_MTLS_ENABLED", "0")
            .env("SFTP_ENABLED", "0")
            // At its start it removes containers that look like its own, and would remove others.
            .env("DOCKER_HOST", "unix:///nonexistent")
            .env("HOME", state.home()?)
            .env("STATE_DIR", temporary.join("state"))
            .env("S3_DATA_DIR", temporary.join("s3"))
            .env("TMPDIR", &temporary)
            .stdin(Stdio::piped())
            .stdout(output)
            .stderr(errors);
        let mut process = Process::start(&mut command)?;
        let lifeline = process.take_input();
        let ready = interrupt::wait_for(START_LIMIT, || {
            if let Some(status) = process.ended()? {
                let printed = fs::read_to_string(&log).unwrap_or_default();
                return Err(
                    Failure::new(format!("the emulator did not start ({status})")).with_output(printed)
                );
            }
            Ok(matches!(http::request(port, "GET", "/health"), Ok(200)).then_some(()))
        })?;
        match ready {
            Some(()) => Ok(Self { port, process, _lifeline: lifeline }),
            None => Err(Failure::new(format!("the emulator does not respond; its log is {}", log.display()))),
        }
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

fn endpoint(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

fn choose(port: Port) -> Result<u16, Failure> {
    match port {
        Port::Only(number) | Port::Preferred(number) if is_free(number) => Ok(number),
        Port::Only(number) => Err(taken(number)),
        Port::Preferred(number) => {
            let other = free_port()?;
            step::note(format_args!("Port {number} is taken: using {other} instead"));
            Ok(other)
        }
        Port::Any => free_port(),
    }
}

fn taken(port: u16) -> Failure {
    Failure::new(format!("port {port} is taken"))
        .advise("name another one, or leave out --port to get a free one")
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn free_port() -> Result<u16, Failure> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| Failure::new(format!("there is no free port on 127.0.0.1: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_replaced_only_if_it_was_preferred() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let taken = listener.local_addr().unwrap().port();
        assert_ne!(choose(Port::Preferred(taken)).unwrap(), taken);
        let failure = choose(Port::Only(taken)).unwrap_err().to_string();
        assert!(failure.starts_with(&format!("port {taken} is taken: ")), "{failure}");
    }
}
