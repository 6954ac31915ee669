//! Deploying template.yaml to the emulator, with the same two commands that deploy it to AWS; and reading what was
//! deployed, there or here.

use std::{
    collections::BTreeMap,
    env,
    ffi::{OsStr, OsString},
    path::Path,
    process::{Command, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;
use development_key::DevelopmentKey;
use fs_err::{self as fs, File};
use serde_json::{Value, json};

use crate::{
    emulator, environment, interrupt,
    process::{self, Process},
    python::Environment,
    step,
    workspace::{self, StateFolder},
};

/// The name of the deployed stack.
const STACK: &str = "intake";
/// The bucket that a deployment uploads the functions and the OpenAPI file to.
const BUCKET: &str = "intake-artifacts";

/// The AWS CLI, in the account of a stack.
pub(crate) struct Aws<'a> {
    /// Where it is installed.
    pub(crate) environment: &'a Environment,
    /// Where its output goes.
    pub(crate) state: &'a StateFolder,
    /// The emulator's address. Without one, the account is that of the caller's own environment.
    pub(crate) endpoint: Option<&'a str>,
}

impl Aws<'_> {
    fn command(&self) -> Command {
        self.python(&["-m", "awscli"])
    }

    /// The CLI, as this program of Python.
    fn python(&self, program: &[&str]) -> Command {
        let mut command = match self.endpoint {
            Some(endpoint) => {
                let mut command = self.environment.program("python");
                command.env("AWS_ENDPOINT_URL", endpoint);
                command
            }
            None => {
                let mut command = environment::callers(&self.environment.programs().join("python"));
                // Its newer version, and all SDKs, know this variable; the pinned one only the other.
                if let Some(region) = env::var_os("AWS_REGION") {
                    command.env("AWS_DEFAULT_REGION", region);
                }
                command
            }
        };
        command.args(program).args(["--output", "json"]).current_dir(workspace::root());
        command
    }

    /// Runs a command of the CLI, and returns what it prints.
    pub(crate) fn read(&self, arguments: &[&str]) -> Result<Value> {
        let mut command = self.command();
        if let (Some(endpoint), Some(&"sqs")) = (self.endpoint, arguments.first()) {
            // Which alone ignores the variable.
            command.args(["--endpoint-url", endpoint]);
        }
        let text = process::run_captured(command.args(arguments), &self.state.file("aws.log"))?;
        if text.trim().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).context("the AWS CLI printed no JSON")
    }
}

/// A stack as it is deployed, on AWS or here.
#[derive(Debug)]
pub(crate) struct Deployed {
    account: String,
    parameters: BTreeMap<String, String>,
    /// What the programs that use the stack have to know.
    pub(crate) description: Value,
}

impl Deployed {
    /// Reads a stack of this name.
    pub(crate) fn read(aws: &Aws<'_>, name: &str) -> Result<Self> {
        let described = aws.read(&["cloudformation", "describe-stacks", "--stack-name", name]);
        let described =
            described.map_err(|failure| match failure.to_string().contains("does not exist") {
                true => anyhow!("there is no stack {name} in this account and region"),
                false => failure,
            })?;
        let listed = aws.read(&["cloudformation", "list-stack-resources", "--stack-name", name])?;
        let mut deployed = Self::of(name, &described, &listed, aws.endpoint)?;
        if let Some(endpoint) = aws.endpoint {
            let (log, function_log) = (emulator::log(aws.state), emulator::function_log(aws.state));
            deployed.description["emulator"] =
                json!({ "endpoint": endpoint, "log": log, "function_log": function_log });
        }
        Ok(deployed)
    }

    fn of(name: &str, described: &Value, listed: &Value, endpoint: Option<&str>) -> Result<Self> {
        let stack = &described["Stacks"][0];
        let id: Vec<_> = stack["StackId"].as_str().unwrap_or_default().split(':').collect();
        let [_, _, _, region, account, ..] = id[..] else {
            bail!("the id of the stack {name} is no ARN: {}", stack["StackId"]);
        };
        let outputs = pairs(&stack["Outputs"], ["OutputKey", "OutputValue"]);
        let output = |name| outputs.get(name).with_context(|| format!("the stack has no output {name}"));
        let url = |name| match endpoint {
            Some(endpoint) => local_url(output(name)?, endpoint),
            None => output(name).cloned(),
        };
        // The end of the host names of AWS's services there.
        let host = output("HttpUrl")?.split('/').nth(2).unwrap_or_default();
        let suffix = host.split_once(&format!(".execute-api.{region}.")).map_or("", |(_, suffix)| suffix);
        let parameters = pairs(&stack["Parameters"], ["ParameterKey", "ParameterValue"]);
        // Another mark each time, in eight digits.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mark = format!("{:08x}", now.as_millis() & 0xffff_ffff);
        let description = json!({
            "name": name,
            "region": region,
            "url_suffix": suffix,
            "http_url": url("HttpUrl")?,
            "websocket_url": url("WebSocketUrl")?,
            "queue_url": output("QueueUrl")?,
            "dead_letter_queue_url": output("DeadLetterQueueUrl")?,
            "messages_table": output("MessagesTable")?,
            "connections_table": output("ConnectionsTable")?,
            "resources": pairs(&listed["StackResourceSummaries"], ["LogicalResourceId", "PhysicalResourceId"]),
            "messages_expire": parameters.get("MessageRetentionDays").is_some_and(|days| days != "0"),
            "token_issuer": parameters.get("TokenIssuer"),
            "token_audience": parameters.get("TokenAudience"),
            "key_file": workspace::development_key_file()?,
            "run": mark,
        });
        Ok(Self { account: account.to_owned(), parameters, description })
    }

    /// A member of the description that is a text.
    pub(crate) fn text(&self, member: &str) -> &str {
        self.description[member].as_str().unwrap_or_default()
    }

    /// Where it is, for a person.
    pub(crate) fn place(&self) -> String {
        let (name, region) = (self.text("name"), self.text("region"));
        format!("the stack {name} in {region}, account {}", self.account)
    }

    /// Whether it accepts tokens that this key signs.
    pub(crate) fn trusts(&self, key: &DevelopmentKey) -> bool {
        let keys = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default()["keys"].clone();
        keys(self.parameters.get("TokenJwks").map_or("", String::as_str)) == keys(&key.jwks())
    }

    /// Lets the account assume the role of the redrive function, besides Lambda: the tests send records past the
    /// gateway, which the queue accepts from no other identity.
    pub(crate) fn let_tests_send(&self, aws: &Aws<'_>) -> Result<()> {
        let role =
            self.description["resources"]["RedriveRole"].as_str().context("there is no RedriveRole")?;
        let trusted = json!({ "Service": "lambda.amazonaws.com", "AWS": self.account });
        let statement = json!({ "Effect": "Allow", "Principal": trusted, "Action": "sts:AssumeRole" });
        let policy = json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string();
        let update = ["iam", "update-assume-role-policy", "--role-name", role, "--policy-document", &policy];
        aws.read(&update).map(drop)
    }

    /// The caller's cargo, in the caller's account, for programs that use this stack. It is described in a file.
    pub(crate) fn cargo(&self, description: &Path) -> Command {
        let mut command = environment::callers_cargo();
        command.env("AWS_REGION", self.text("region")).env("INTAKE_STACK", description);
        command
    }
}

/// What a list of names and values says.
fn pairs(list: &Value, [name, value]: [&str; 2]) -> BTreeMap<String, String> {
    let pair = |entry: &Value| Some((entry[name].as_str()?.to_owned(), entry[value].as_str()?.to_owned()));
    list.as_array().into_iter().flatten().filter_map(pair).collect()
}

/// The URL at which the emulator serves an API: the host name on AWS becomes part of the path.
fn local_url(url: &str, endpoint: &str) -> Result<String> {
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
    parts().with_context(|| format!("the stack's output {url} is not the URL of an API"))
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

/// Deploys the template to the emulator.
pub(crate) fn deploy(aws: &Aws<'_>, functions: File, parameters: &[Parameter]) -> Result<Deployed> {
    let state = aws.state;
    let template = state.file("packaged.yaml");
    step::run("Deploying template.yaml", || {
        aws.read(&["s3api", "create-bucket", "--bucket", BUCKET])?;
        let mut package = aws.python(&["xtask/emulator/package.py"]);
        package
            .args(["cloudformation", "package", "--template-file", "template.yaml", "--s3-bucket", BUCKET])
            .arg("--output-template-file")
            .arg(&template);
        process::run_captured(&mut package, &state.file("package.log"))?;
        drop(functions);

        let mut deploy = aws.command();
        deploy
            .args(["cloudformation", "deploy", "--stack-name", STACK, "--template-file"])
            .arg(&template)
            // CloudFormation accepts a template of this size from a bucket only ("AWS CloudFormation quotas").
            .args(["--s3-bucket", BUCKET])
            .args(["--capabilities", "CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND", "--parameter-overrides"])
            .args(parameters.iter().map(|(name, value)| format!("{name}={value}")));
        process::run_captured(&mut deploy, &state.file("deploy.log"))
            .map_err(|failure| with_reasons(failure, aws))?;
        Deployed::read(aws, STACK)
    })
}

/// Adds the reasons of a failed deployment, which are in the stack's events: the client does not print them.
fn with_reasons(failure: anyhow::Error, aws: &Aws<'_>) -> anyhow::Error {
    let query = "StackEvents[?contains(ResourceStatus, 'FAILED')].[LogicalResourceId, ResourceStatusReason]";
    let read = ["cloudformation", "describe-stack-events", "--stack-name", STACK, "--query", query];
    match aws.read(&read) {
        Ok(Value::Array(reasons)) if !interrupt::requested() => {
            let reasons = reasons.iter().map(|reason| format!("\n    {reason}"));
            anyhow!("{failure:#}{}", reasons.collect::<String>())
        }
        _ => failure,
    }
}

/// Fails if this machine cannot run the functions, which the emulator starts as processes.
pub(crate) fn check_machine() -> Result<()> {
    ensure!(
        env::consts::OS == "linux",
        "the functions are Linux programs: use Linux, in a virtual machine or under WSL if need be"
    );
    let architecture = env::consts::ARCH;
    ensure!(["x86_64", "aarch64"].contains(&architecture), "Lambda does not run on {architecture}");
    Ok(())
}

/// How the functions are built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct Profile {
    /// Build the functions without optimization, in seconds instead of minutes after a change; AWS runs optimized
    /// ones
    #[arg(long)]
    pub(crate) dev: bool,
}

/// Builds the functions for this machine's processor, and installs what the local stack needs. As long as the lock is
/// held that this returns, no other `cargo xtask` replaces the functions.
pub(crate) fn build(profile: Profile) -> Result<(Environment, File)> {
    let lock = workspace::lock("build.lock")?;
    workspace::wait_for_lock("Waiting for another `cargo xtask` that builds", || lock.try_lock())?;
    let mut functions = Vec::new();
    for folder in fs::read_dir(workspace::root().join("functions"))? {
        let folder = folder?;
        if folder.path().join("Cargo.toml").is_file() {
            functions.push(folder.file_name());
        }
    }
    let packages = functions.iter().flat_map(|name| [OsStr::new("--package"), name]);
    let environment =
        if profile.dev { build_quickly(packages, &functions)? } else { build_as_deployed(packages)? };
    Ok((environment, lock))
}

/// Builds the functions as for AWS.
fn build_as_deployed<'a>(packages: impl Iterator<Item = &'a OsStr>) -> Result<Environment> {
    let environment = Environment::run()?;
    let mut command = environment::cargo();
    // That folder has cargo-lambda and the `python3` whose package is its linker.
    command.env("PATH", environment::path_with(&environment.programs()));
    command
        .args(["lambda", "build", "--release", "--locked", "--lambda-dir", "target/lambda"])
        .args(packages);
    step::run("Building the functions", || process::run_shown(&mut command))?;
    Ok(environment)
}

/// Builds the functions with plain cargo, which needs nothing that is installed meanwhile, beside this program, whose
/// crates they share; and the console with them, because building it alone would compile many of their crates again,
/// with other features.
fn build_quickly<'a>(
    packages: impl Iterator<Item = &'a OsStr>,
    functions: &[OsString],
) -> Result<Environment> {
    let mut command = environment::cargo();
    command.args(["build", "--locked", "--package", "console"]).args(packages).stdin(Stdio::null());
    let environment = step::run("Building the functions", || {
        let build = Process::start(&mut command)?;
        let environment = Environment::run()?;
        ensure!(build.wait()?.success(), "the functions were not built: see above");
        Ok(environment)
    })?;
    let built = env::current_exe()?;
    for function in functions {
        let folder = workspace::root().join("target/lambda").join(function);
        fs::create_dir_all(&folder)?;
        fs::copy(built.with_file_name(function), folder.join("bootstrap"))?;
    }
    Ok(environment)
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
    fn a_stack_in_any_partition_is_described() {
        let output = |name: &str, value: &str| json!({ "OutputKey": name, "OutputValue": value });
        let url = "https://abc.execute-api.cn-north-1.amazonaws.com.cn/v1";
        let others = ["WebSocketUrl", "QueueUrl", "DeadLetterQueueUrl", "MessagesTable"];
        let mut outputs: Vec<_> = others.map(|name| output(name, name)).into();
        outputs.push(output("HttpUrl", url));
        let described = |outputs: &[Value]| {
            json!({ "Stacks": [{
                "StackId": "arn:aws-cn:cloudformation:cn-north-1:123456789012:stack/intake-verify/d7a1",
                "Parameters": [{ "ParameterKey": "MessageRetentionDays", "ParameterValue": "1" }],
                "Outputs": outputs,
            }] })
        };
        let listed = json!({ "StackResourceSummaries": [
            { "LogicalResourceId": "Queue", "PhysicalResourceId": "https://queue" }, { "LogicalResourceId": "Odd" },
        ] });
        let failure = Deployed::of("intake-verify", &described(&outputs), &listed, None).unwrap_err();
        assert_eq!(failure.to_string(), "the stack has no output ConnectionsTable");

        outputs.push(output("ConnectionsTable", "connections"));
        let deployed = Deployed::of("intake-verify", &described(&outputs), &listed, None).unwrap();
        assert_eq!(deployed.account, "123456789012");
        for (member, value) in [
            ("region", json!("cn-north-1")),
            ("url_suffix", json!("amazonaws.com.cn")),
            ("http_url", json!(url)),
            ("messages_expire", json!(true)),
            ("resources", json!({ "Queue": "https://queue" })),
        ] {
            assert_eq!(deployed.description[member], value, "{member}");
        }
    }
}
