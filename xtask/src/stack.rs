//! A whole stack on this machine: built, started, deployed, described in a file, taken down.

use std::{collections::BTreeMap, process::Command, time::Duration};

use anyhow::{Result, bail};
use fs_err as fs;
use serde_json::Value;

use crate::{
    deployment::{self, Aws, Deployed, Profile},
    emulator::{self, Emulator, Port},
    environment,
    python::Environment,
    step,
    workspace::{self, StateFolder},
};

/// A running stack. Dropping it takes it down.
pub(crate) struct Stack {
    // Fields are dropped in this order: the emulator ends before its files and its programs are released.
    pub(crate) emulator: Emulator,
    /// The stack as it is deployed.
    pub(crate) deployed: Deployed,
    /// The Python programs beside it.
    pub(crate) environment: Environment,
    pub(crate) state: StateFolder,
}

impl Stack {
    /// Builds the functions, starts a stack of this name with them, works with it, and takes it down. If that fails,
    /// says where the logs are; if the emulator ended meanwhile, that is the failure.
    pub(crate) fn with(
        name: &str,
        port: Port,
        profile: Profile,
        more: &[(&'static str, &str)],
        work: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        deployment::check_machine()?;
        // The folder first: if this stack is running already, another port would not help.
        let state = StateFolder::claim(name)?;
        if let Port::Only(_) = port {
            port.choose()?;
        }
        let (environment, functions) = deployment::build(profile)?;
        let logs = [emulator::log(&state), emulator::function_log(&state)];
        let run = || {
            let emulator =
                step::run("Starting the emulator", || Emulator::start(&environment, &state, port.choose()?))?;
            let aws = Aws { environment: &environment, state: &state, endpoint: Some(&emulator.endpoint) };
            let mut parameters = deployment::parameters(&workspace::development_key()?);
            parameters.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
            let deployed = deployment::deploy(&aws, functions, &parameters)?;
            state.describe(&deployed.description)?;
            let mut stack = Self { emulator, deployed, environment, state };
            let result = work(&mut stack);
            let result = stack.emulator.check().and(result);
            // It cannot fail: what does not end by itself is killed.
            step::run("Taking the stack down", || {
                drop(stack);
                Ok(())
            })?;
            result
        };
        run().inspect_err(|_| {
            let [emulator, functions] = logs.map(|log| log.display().to_string());
            step::note(format_args!("The emulator's log is {emulator}, the functions' log {functions}"));
        })
    }

    /// The AWS CLI in the stack's account.
    pub(crate) fn aws(&self) -> Aws<'_> {
        let Self { emulator, environment, state, .. } = self;
        Aws { environment, state, endpoint: Some(&emulator.endpoint) }
    }

    /// Makes the queue deliver again what a killed consumer had received after so many seconds, fewer than the template
    /// allows: otherwise the flood would wait for minutes.
    pub(crate) fn redeliver_after(&self, seconds: u64) -> Result<()> {
        let timeout = format!("VisibilityTimeout={seconds}");
        let queue = self.deployed.text("queue_url");
        let set = ["sqs", "set-queue-attributes", "--queue-url", queue, "--attributes", &timeout];
        self.aws().read(&set).map(drop)
    }

    /// Cargo in the user's environment, with the stack's account as the only one.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = environment::cargo();
        command
            .env("AWS_ENDPOINT_URL", &self.emulator.endpoint)
            .env("INTAKE_STACK", self.state.description());
        command
    }

    /// Writes the environment of the functions, for one that is run alone: `cargo lambda watch --env-file`.
    pub(crate) fn write_function_environment(&self) -> Result<()> {
        let query = ["lambda", "list-functions", "--query", "Functions[].Environment.Variables"];
        let Value::Array(functions) = self.aws().read(&query)? else { bail!("the stack has no functions") };
        // They agree about the variables that several have, but for those of the allocator.
        let deployed = functions.iter().filter_map(Value::as_object).flatten();
        let deployed = deployed.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)));
        let mut all: BTreeMap<_, _> = deployed.chain(environment::EMULATED_ACCOUNT).collect();
        all.insert("AWS_ENDPOINT_URL", &self.emulator.endpoint);
        let lines: String = all.iter().map(|(name, value)| format!("{name}='{value}'\n")).collect();
        Ok(fs::write(self.state.file("functions.env"), lines)?)
    }
}

/// A token for stacks of this checkout, good for a day's work.
pub(crate) fn token(owner: &str) -> Result<String> {
    let lifetime = Duration::from_secs(12 * 3600);
    let key = workspace::development_key()?;
    Ok(key.mint(development_key::ISSUER, development_key::AUDIENCE, owner, lifetime))
}
