//! A whole stack on this machine: built, started, deployed, described in a file, taken down again.

use std::{fs, path::PathBuf, time::Duration};

use serde_json::json;

use crate::{
    deployment::{self, Outputs, Parameter, Profile},
    emulator::{self, Emulator, Port},
    environment::REGION,
    failure::Failure,
    python::Environment,
    step,
    workspace::{self, StateFolder},
};

/// A running stack. Dropping it takes it down.
pub(crate) struct Stack {
    // Fields are dropped in this order: the emulator ends before its files go and its programs may change.
    emulator: Emulator,
    outputs: Outputs,
    environment: Environment,
    state: StateFolder,
}

impl Stack {
    /// Builds the functions and starts a stack of this name with them.
    pub(crate) fn start(
        name: &str,
        port: Port,
        profile: Profile,
        more: &[Parameter],
    ) -> Result<Self, Failure> {
        deployment::check_machine()?;
        port.check()?;
        let state = StateFolder::claim(name)?;
        let environment = Environment::run()?;
        let key = workspace::development_key()?;
        let functions = deployment::build(&environment, profile)?;
        let emulator = step::quiet("Starting the emulator", || Emulator::start(&environment, &state, port))?;
        let parameters = [&deployment::parameters(&key), more].concat();
        let token =
            key.mint(development_key::ISSUER, development_key::AUDIENCE, "xtask", Duration::from_secs(600));
        let outputs = deployment::deploy(&environment, &state, &emulator, functions, &parameters, &token)
            .map_err(|failure| add_log(failure, &state))?;
        let stack = Self { emulator, outputs, environment, state };
        stack.describe()?;
        Ok(stack)
    }

    /// What the deployed stack says of itself.
    pub(crate) fn outputs(&self) -> &Outputs {
        &self.outputs
    }

    /// The Python programs beside it.
    pub(crate) fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The file that describes the stack to the end-to-end tests.
    pub(crate) fn description(&self) -> PathBuf {
        self.state.description()
    }

    /// What the functions write.
    pub(crate) fn function_log(&self) -> PathBuf {
        emulator::function_log(&self.state)
    }

    /// What the emulator writes about itself.
    pub(crate) fn emulator_log(&self) -> PathBuf {
        emulator::log(&self.state)
    }

    /// Fails if the stack is not running any more.
    pub(crate) fn check(&mut self) -> Result<(), Failure> {
        self.emulator.check().map_err(|failure| add_log(failure, &self.state))
    }

    /// Takes the stack down. This is what dropping does, with a line about it.
    pub(crate) fn stop(self) {
        let stopped = step::quiet("Taking the stack down", || {
            drop(self);
            Ok(())
        });
        // It cannot fail: what does not end in order is killed.
        drop(stopped);
    }

    fn describe(&self) -> Result<(), Failure> {
        let description = json!({
            "endpoint": self.emulator.endpoint(),
            "region": REGION,
            "http_url": self.outputs.http_url,
            "websocket_url": self.outputs.websocket_url,
            "queue_url": self.outputs.queue_url,
            "dead_letter_queue_url": self.outputs.dead_letter_queue_url,
            "redrive_role": self.outputs.redrive_role,
            "messages_table": self.outputs.messages_table,
            "connections_table": self.outputs.connections_table,
            "token_issuer": development_key::ISSUER,
            "token_audience": development_key::AUDIENCE,
            "key_file": workspace::development_key_file(),
            "log": self.emulator_log(),
            "function_log": self.function_log(),
        });
        let path = self.description();
        fs::write(&path, format!("{description:#}\n"))
            .map_err(|error| Failure::file("write", &path, &error))?;
        self.write_function_environment()
    }

    /// Writes what a function of this stack sees, for one that is run by itself: `cargo lambda watch --env-file`.
    fn write_function_environment(&self) -> Result<(), Failure> {
        let endpoint = self.emulator.endpoint();
        let Outputs { websocket_url, messages_table, connections_table, .. } = &self.outputs;
        let connections = websocket_url.replacen("ws://", "http://", 1);
        let keys = workspace::development_key()?.jwks();
        let variables = [
            ("AWS_ENDPOINT_URL", &*endpoint),
            ("AWS_REGION", REGION),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("MESSAGES_TABLE", messages_table),
            ("CONNECTIONS_TABLE", connections_table),
            ("WEBSOCKET_ENDPOINT", &connections),
            ("ALLOWED_ORIGIN", "*"),
            ("MESSAGE_RETENTION_DAYS", "0"),
            ("MAX_RECEIVE_COUNT", "5"),
            ("TOKEN_ISSUER", development_key::ISSUER),
            ("TOKEN_AUDIENCE", development_key::AUDIENCE),
            ("TOKEN_JWKS", &keys),
        ];
        let lines: String = variables.iter().map(|(name, value)| format!("{name}='{value}'\n")).collect();
        let path = self.state.function_environment();
        fs::write(&path, lines).map_err(|error| Failure::file("write", &path, &error))
    }
}

/// Points to what the emulator and the functions wrote, for a failure that may come from there.
fn add_log(failure: Failure, state: &StateFolder) -> Failure {
    failure.advise(format!(
        "what the emulator wrote is in {}, what the functions wrote in {}",
        emulator::log(state).display(),
        emulator::function_log(state).display()
    ))
}
