//! A whole stack on this machine: built, started, deployed, described in a file, taken down.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    deployment::{self, Aws, Deployed, Outputs, Parameter, Profile},
    emulator::{self, Emulator, Port},
    environment::{self, REGION},
    failure::Failure,
    python::Environment,
    step,
    workspace::{self, StateFolder},
};

/// A running stack. Dropping it takes it down.
pub(crate) struct Stack {
    // Fields are dropped in this order: the emulator ends before its files and its programs are released.
    emulator: Emulator,
    deployed: Deployed,
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
        // The folder first: if this stack is running already, another port would not help.
        let state = StateFolder::claim(name)?;
        port.check()?;
        let environment = Environment::run()?;
        let key = workspace::development_key()?;
        let functions = deployment::build(&environment, profile)?;
        let emulator = step::run("Starting the emulator", || Emulator::start(&environment, &state, port))?;
        let parameters = [&deployment::parameters(&key), more].concat();
        let endpoint = emulator.endpoint();
        let aws = Aws { environment: &environment, state: &state, endpoint: Some(&endpoint) };
        let deployed = emulator
            .create_bucket(deployment::BUCKET)
            .and_then(|()| deployment::deploy(&aws, functions, &parameters))
            .map_err(|failure| add_log(failure, &state))?;
        let stack = Self { emulator, deployed, environment, state };
        stack.describe()?;
        Ok(stack)
    }

    /// The stack as it is deployed.
    pub(crate) fn deployed(&self) -> &Deployed {
        &self.deployed
    }

    /// The outputs of the deployed stack.
    pub(crate) fn outputs(&self) -> &Outputs {
        &self.deployed.outputs
    }

    /// Works with the AWS CLI in the stack's account.
    pub(crate) fn with_aws<T>(&self, work: impl FnOnce(&Aws<'_>) -> T) -> T {
        let (environment, state) = (&self.environment, &self.state);
        work(&Aws { environment, state, endpoint: Some(&self.emulator.endpoint()) })
    }

    /// Makes the queue deliver a message that failed again after so many seconds, fewer than the template allows:
    /// otherwise the tests and the flood would wait for minutes.
    pub(crate) fn redeliver_after(&self, seconds: u64) -> Result<(), Failure> {
        let timeout = format!("VisibilityTimeout={seconds}");
        let set = ["sqs", "set-queue-attributes", "--queue-url", &self.outputs().queue_url];
        self.with_aws(|aws| aws.read(&[&set[..], &["--attributes", &timeout]].concat())).map(drop)
    }

    /// The user's environment for cargo, with the stack's account as the only one.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = Command::new("cargo");
        environment::cargo(&mut command)
            .env("AWS_ENDPOINT_URL", self.emulator.endpoint())
            .env("INTAKE_STACK", self.description())
            .current_dir(workspace::root());
        command
    }

    /// The Python programs beside it.
    pub(crate) fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The file that describes the stack to the end-to-end tests.
    pub(crate) fn description(&self) -> PathBuf {
        self.state.description()
    }

    /// The log of the functions.
    pub(crate) fn function_log(&self) -> PathBuf {
        emulator::function_log(&self.state)
    }

    /// The emulator's log.
    pub(crate) fn emulator_log(&self) -> PathBuf {
        emulator::log(&self.state)
    }

    /// Fails if the stack is not running any more.
    pub(crate) fn check(&mut self) -> Result<(), Failure> {
        self.emulator.check()
    }

    /// Takes the stack down after some work with it. If the work failed, says where the logs are; if the emulator
    /// ended meanwhile, that is the failure.
    pub(crate) fn finish(mut self, result: Result<(), Failure>) -> Result<(), Failure> {
        let result = self.check().and(result).map_err(|failure| add_log(failure, &self.state));
        // It cannot fail: what does not end by itself is killed.
        let _ = step::run("Taking the stack down", || {
            drop(self);
            Ok(())
        });
        result
    }

    fn describe(&self) -> Result<(), Failure> {
        let mut description = self.deployed.description();
        description["emulator"] = json!({
            "endpoint": self.emulator.endpoint(),
            "log": self.emulator_log(),
            "function_log": self.function_log(),
        });
        self.state.describe(&description)?;
        self.write_function_environment()?;
        self.write_event()
    }

    /// Writes the event for the authorizer with a token that this stack accepts: the one in `events/` has expired.
    fn write_event(&self) -> Result<(), Failure> {
        let source = workspace::root().join("events/authorizer-rest.json");
        let text = fs::read_to_string(&source).map_err(|error| Failure::file("read", &source, &error))?;
        let mut event: Value = serde_json::from_str(&text)
            .map_err(|error| Failure::new(format!("{} is not JSON: {error}", source.display())))?;
        let header = format!("Bearer {}", token("alice")?);
        event["headers"]["Authorization"] = json!(header);
        event["multiValueHeaders"]["Authorization"] = json!([header]);
        write(&self.state.folder("events")?.join("authorizer-rest.json"), format!("{event:#}\n"))
    }

    /// Writes the environment of a function of this stack, for one that is run alone: `cargo lambda watch --env-file`.
    fn write_function_environment(&self) -> Result<(), Failure> {
        let endpoint = self.emulator.endpoint();
        let Outputs { websocket_url, dead_letter_queue_url, messages_table, connections_table, .. } =
            self.outputs();
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
            ("RECEIPT_RETENTION_DAYS", "14"),
            ("MAX_RECEIVE_COUNT", "5"),
            ("MAX_CONNECTIONS_PER_OWNER", "100"),
            ("DEAD_LETTER_QUEUE_URL", dead_letter_queue_url),
            ("TOKEN_ISSUER", development_key::ISSUER),
            ("TOKEN_AUDIENCE", development_key::AUDIENCE),
            ("TOKEN_JWKS", &keys),
        ];
        let lines: String = variables.iter().map(|(name, value)| format!("{name}='{value}'\n")).collect();
        write(&self.state.function_environment(), lines)
    }
}

/// A token for stacks of this checkout, good for a day's work.
pub(crate) fn token(owner: &str) -> Result<String, Failure> {
    let lifetime = Duration::from_secs(12 * 3600);
    let key = workspace::development_key()?;
    Ok(key.mint(development_key::ISSUER, development_key::AUDIENCE, owner, lifetime))
}

fn write(path: &Path, text: String) -> Result<(), Failure> {
    fs::write(path, text).map_err(|error| Failure::file("write", path, &error))
}

/// Adds where the logs are to a failure that they may explain.
fn add_log(failure: Failure, state: &StateFolder) -> Failure {
    failure.advise(format!(
        "the emulator's log is {}, the functions' log {}",
        emulator::log(state).display(),
        emulator::function_log(state).display()
    ))
}
