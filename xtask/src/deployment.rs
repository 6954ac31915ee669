//! Deploying template.yaml to the emulator, with the same two commands that deploy it to AWS.

use std::{env, fs::File, path::Path, process::Command};

use clap::Args;
use development_key::DevelopmentKey;
use serde_json::Value;

use crate::{
    emulator::Emulator,
    environment::REGION,
    failure::Failure,
    lock, process,
    python::Environment,
    step,
    workspace::{self, StateFolder},
};

/// The name of the deployed stack.
const STACK: &str = "intake";
/// The bucket that a deployment uploads the functions and the OpenAPI file to.
const BUCKET: &str = "intake-artifacts";

/// The outputs of the stack.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outputs {
    pub(crate) http_url: String,
    pub(crate) websocket_url: String,
    pub(crate) queue_url: String,
    pub(crate) dead_letter_queue_url: String,
    pub(crate) redrive_role: String,
    pub(crate) messages_table: String,
    pub(crate) connections_table: String,
}

/// A parameter of the template and its value.
pub(crate) type Parameter = (&'static str, String);

/// The parameters that make the stack fit this machine and its development key.
pub(crate) fn parameters(key: &DevelopmentKey) -> Vec<Parameter> {
    let architecture = if env::consts::ARCH == "aarch64" { "arm64" } else { "x86_64" };
    vec![
        ("Architecture", architecture.to_owned()),
        ("TokenIssuer", development_key::ISSUER.to_owned()),
        ("TokenAudience", development_key::AUDIENCE.to_owned()),
        ("TokenJwks", key.jwks()),
    ]
}

/// Deploys the template, and fills in what the emulator leaves out of it.
pub(crate) fn deploy(
    environment: &Environment,
    state: &StateFolder,
    emulator: &Emulator,
    functions: Functions,
    parameters: &[Parameter],
    token: &str,
) -> Result<Outputs, Failure> {
    let endpoint = emulator.endpoint();
    let template = state.file("packaged.yaml");
    step::run("Deploying template.yaml", || {
        emulator.create_bucket(BUCKET)?;

        let mut package = aws(environment, &endpoint);
        package
            .args(["cloudformation", "package", "--template-file", "template.yaml", "--s3-bucket", BUCKET])
            .arg("--output-template-file")
            .arg(&template);
        process::run_captured(&mut package, &state.file("package.log"))?;
        drop(functions);

        let mut deploy = aws(environment, &endpoint);
        deploy
            .args(["cloudformation", "deploy", "--stack-name", STACK, "--template-file"])
            .arg(&template)
            // CloudFormation accepts a template of this size from a bucket only ("AWS CloudFormation quotas").
            .args(["--s3-bucket", BUCKET])
            .args(["--capabilities", "CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND", "--parameter-overrides"])
            .args(parameters.iter().map(|(name, value)| format!("{name}={value}")));
        process::run_captured(&mut deploy, &state.file("deploy.log"))
            .map_err(|failure| with_reasons(failure, environment, state, &endpoint))?;
        Ok(())
    })?;
    step::run("Filling in what the emulator leaves out", || {
        let mut fill = environment.python();
        fill.arg(workspace::emulator().join("fill_gaps.py"))
            .args(["--endpoint", &endpoint, "--region", REGION, "--stack", STACK, "--token", token])
            .args(["--openapi", "openapi.yaml"])
            .current_dir(workspace::root());
        process::run_captured(&mut fill, &state.file("fill-gaps.log"))?;

        let mut describe = aws(environment, &endpoint);
        describe
            .args(["cloudformation", "describe-stacks", "--stack-name", STACK])
            .args(["--query", "Stacks[0].Outputs"]);
        let description = process::run_captured(&mut describe, &state.file("describe.log"))?;
        outputs(&description, &endpoint)
    })
}

/// The deploying client, from the root of the repository.
fn aws(environment: &Environment, endpoint: &str) -> Command {
    let mut command = environment.python();
    command
        .args(["-m", "awscli", "--output", "json"])
        .env("AWS_ENDPOINT_URL", endpoint)
        .current_dir(workspace::root());
    command
}

/// Adds the reasons of a failed deployment, which are in the stack's events: the client does not print them.
fn with_reasons(failure: Failure, environment: &Environment, state: &StateFolder, endpoint: &str) -> Failure {
    let Failure::Failed { output, .. } = &failure else { return failure };
    let mut events = aws(environment, endpoint);
    events.args(["cloudformation", "describe-stack-events", "--stack-name", STACK, "--output", "text"]).args(
        [
            "--query",
            "StackEvents[?contains(ResourceStatus, 'FAILED')].[LogicalResourceId, ResourceStatusReason]",
        ],
    );
    match process::run_captured(&mut events, &state.file("events.log")) {
        Ok(reasons) if !reasons.trim().is_empty() => {
            let output = format!("{output}\n{reasons}");
            failure.with_output(output)
        }
        _ => failure,
    }
}

/// Reads the outputs as the client prints them, and turns the URLs into those of this machine.
fn outputs(description: &str, endpoint: &str) -> Result<Outputs, Failure> {
    let list: Value = serde_json::from_str(description).unwrap_or_default();
    let value = |name: &str| {
        list.as_array()
            .into_iter()
            .flatten()
            .find(|output| output["OutputKey"] == name)
            .and_then(|output| output["OutputValue"].as_str())
            .map(str::to_owned)
            .ok_or_else(|| Failure::new(format!("the stack has no output {name}")))
    };
    Ok(Outputs {
        http_url: local_url(&value("HttpUrl")?, endpoint)?,
        websocket_url: local_url(&value("WebSocketUrl")?, endpoint)?,
        queue_url: value("QueueUrl")?,
        dead_letter_queue_url: value("DeadLetterQueueUrl")?,
        redrive_role: value("RedriveRoleArn")?,
        messages_table: value("MessagesTable")?,
        connections_table: value("ConnectionsTable")?,
    })
}

/// The URL at which the emulator serves an API: the host name on AWS becomes part of the path.
fn local_url(url: &str, endpoint: &str) -> Result<String, Failure> {
    let parts = || {
        let (scheme, rest) = url.split_once("://")?;
        let (host, path) = rest.split_once('/')?;
        let api = host.split_once(".execute-api.")?.0;
        let local = match scheme {
            "https" => endpoint.to_owned(),
            "wss" => endpoint.replacen("http", "ws", 1),
            _ => return None,
        };
        Some(format!("{local}/_aws/execute-api/{api}/{}", path.trim_end_matches('/')))
    };
    parts().ok_or_else(|| Failure::new(format!("the stack's output {url} is not the URL of an API")))
}

/// Fails if this machine cannot run the functions, which the emulator starts as processes.
pub(crate) fn check_machine() -> Result<(), Failure> {
    if env::consts::OS != "linux" {
        return Err(Failure::new("the functions are Linux programs")
            .advise("use Linux, in a virtual machine or under WSL if need be"));
    }
    if !["x86_64", "aarch64"].contains(&env::consts::ARCH) {
        return Err(Failure::new(format!("Lambda does not run on {}", env::consts::ARCH)));
    }
    Ok(())
}

/// How the functions are built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct Profile {
    /// Build the functions without optimization, in seconds instead of minutes after a change; AWS runs optimized
    /// ones
    #[arg(long)]
    dev: bool,
}

/// The built functions. As long as this is held, no other `cargo xtask` replaces them.
pub(crate) struct Functions {
    _lock: File,
}

/// Builds the functions for this machine's processor, optimized as for AWS by default.
pub(crate) fn build(environment: &Environment, profile: Profile) -> Result<Functions, Failure> {
    let lock = lock::open(&workspace::scratch().join("build.lock"))?;
    lock::wait("Waiting for another `cargo xtask` that builds", || lock.try_lock())?;
    let mut command = Command::new("cargo");
    crate::environment::cargo(&mut command);
    // That folder has cargo-lambda and the `python3` whose package is its linker.
    command
        .env("PATH", crate::environment::path_with(&environment.programs()))
        .args(["lambda", "build", "--locked", "--lambda-dir"])
        .arg(Path::new("target/lambda"))
        .current_dir(workspace::root());
    if !profile.dev {
        command.arg("--release");
    }
    for function in workspace::functions()? {
        command.args(["--package", &function]);
    }
    step::run("Building the functions", || process::run_shown(&mut command))?;
    Ok(Functions { _lock: lock })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_those_of_this_machine() {
        let endpoint = "http://127.0.0.1:4567";
        assert_eq!(
            local_url("https://abc.execute-api.us-east-1.amazonaws.com/v1", endpoint).unwrap(),
            "http://127.0.0.1:4567/_aws/execute-api/abc/v1"
        );
        assert_eq!(
            local_url("wss://xyz.execute-api.us-east-1.amazonaws.com/v1/", endpoint).unwrap(),
            "ws://127.0.0.1:4567/_aws/execute-api/xyz/v1"
        );
        for odd in ["", "https://example.com/v1", "ftp://abc.execute-api.x/v1"] {
            assert!(local_url(odd, endpoint).is_err(), "{odd}");
        }
    }

    #[test]
    fn a_missing_output_is_named() {
        let failure = outputs("[]", "http://127.0.0.1:1").unwrap_err().to_string();
        assert_eq!(failure, "the stack has no output HttpUrl");
    }
}
