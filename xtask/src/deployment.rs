//! Deploying template.yaml to the emulator, with the same two commands that deploy it to AWS; and reading what was
//! deployed, there or here.

use std::{
    collections::BTreeMap,
    env,
    fs::File,
    path::Path,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use clap::Args;
use development_key::DevelopmentKey;
use serde_json::{Value, json};

use crate::{
    failure::Failure,
    lock, process,
    python::Environment,
    step,
    workspace::{self, StateFolder},
};

/// The name of the deployed stack.
const STACK: &str = "intake";
/// The bucket that a deployment uploads the functions and the OpenAPI file to.
pub(crate) const BUCKET: &str = "intake-artifacts";

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
        let mut command = match self.endpoint {
            Some(endpoint) => {
                let mut command = self.environment.python();
                command.env("AWS_ENDPOINT_URL", endpoint);
                command
            }
            None => {
                let mut command = self.environment.callers_python();
                // Its newer version, and all SDKs, know this variable; the pinned one only the other.
                if let Some(region) = env::var_os("AWS_REGION") {
                    command.env("AWS_DEFAULT_REGION", region);
                }
                command
            }
        };
        command.args(["-m", "awscli", "--output", "json"]).current_dir(workspace::root());
        command
    }

    /// Runs a command of the CLI, and returns what it prints.
    pub(crate) fn read(&self, arguments: &[&str]) -> Result<Value, Failure> {
        let mut command = self.command();
        if let (Some(endpoint), Some(&"sqs")) = (self.endpoint, arguments.first()) {
            // Which alone ignores the variable.
            command.args(["--endpoint-url", endpoint]);
        }
        let text = process::run_captured(command.args(arguments), &self.state.file("aws.log"))?;
        if text.trim().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text)
            .map_err(|error| Failure::new(format!("the AWS CLI printed no JSON: {error}")))
    }
}

/// A stack as it is deployed, on AWS or here.
#[derive(Debug)]
pub(crate) struct Deployed {
    /// Its name in CloudFormation.
    pub(crate) name: String,
    pub(crate) region: String,
    pub(crate) account: String,
    /// The end of the host names of AWS's services there.
    url_suffix: String,
    pub(crate) outputs: Outputs,
    pub(crate) parameters: BTreeMap<String, String>,
    /// The names of all resources, by their names in the template.
    resources: BTreeMap<String, String>,
}

impl Deployed {
    /// Reads a stack of this name.
    pub(crate) fn read(aws: &Aws<'_>, name: &str) -> Result<Self, Failure> {
        let described = aws.read(&["cloudformation", "describe-stacks", "--stack-name", name])?;
        let listed = aws.read(&["cloudformation", "list-stack-resources", "--stack-name", name])?;
        Self::of(name, &described, &listed, aws.endpoint)
    }

    fn of(name: &str, described: &Value, listed: &Value, endpoint: Option<&str>) -> Result<Self, Failure> {
        let stack = &described["Stacks"][0];
        let id: Vec<_> = stack["StackId"].as_str().unwrap_or_default().split(':').collect();
        let [_, _, _, region, account, ..] = id[..] else {
            return Err(Failure::new(format!("the id of the stack {name} is no ARN: {}", stack["StackId"])));
        };
        let outputs = pairs(&stack["Outputs"], ["OutputKey", "OutputValue"]);
        let host = outputs.get("HttpUrl").and_then(|url| url.split('/').nth(2)).unwrap_or_default();
        let suffix = host.split_once(&format!(".execute-api.{region}.")).map(|(_, suffix)| suffix);
        Ok(Self {
            name: name.to_owned(),
            region: region.to_owned(),
            account: account.to_owned(),
            url_suffix: suffix.unwrap_or_default().to_owned(),
            outputs: Outputs::of(&outputs, endpoint)?,
            parameters: pairs(&stack["Parameters"], ["ParameterKey", "ParameterValue"]),
            resources: pairs(&listed["StackResourceSummaries"], ["LogicalResourceId", "PhysicalResourceId"]),
        })
    }

    /// Whether it accepts tokens that this key signs.
    pub(crate) fn trusts(&self, key: &DevelopmentKey) -> bool {
        let keys = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default()["keys"].clone();
        keys(self.parameters.get("TokenJwks").map_or("", String::as_str)) == keys(&key.jwks())
    }

    /// The caller's cargo, in the caller's account, for programs that use this stack. It is described in a file.
    pub(crate) fn cargo(&self, description: &Path) -> Command {
        let mut command = Command::new("cargo");
        crate::environment::outer_cargo(&mut command)
            .env("AWS_REGION", &self.region)
            .env("INTAKE_STACK", description)
            .current_dir(workspace::root());
        command
    }

    /// The description of the stack for the programs that use it.
    pub(crate) fn description(&self) -> Value {
        let Self { name, region, url_suffix, outputs, parameters, resources, .. } = self;
        // Another mark each time, in eight digits.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mark = format!("{:08x}", now.as_millis() & 0xffff_ffff);
        json!({
            "name": name,
            "region": region,
            "url_suffix": url_suffix,
            "http_url": outputs.http_url,
            "websocket_url": outputs.websocket_url,
            "queue_url": outputs.queue_url,
            "dead_letter_queue_url": outputs.dead_letter_queue_url,
            "redrive_role": outputs.redrive_role,
            "messages_table": outputs.messages_table,
            "connections_table": outputs.connections_table,
            "resources": resources,
            "messages_expire": parameters.get("MessageRetentionDays").is_some_and(|days| days != "0"),
            "token_issuer": parameters.get("TokenIssuer"),
            "token_audience": parameters.get("TokenAudience"),
            "key_file": workspace::development_key_file(),
            "run": mark,
        })
    }
}

/// What a list of names and values says.
fn pairs(list: &Value, [name, value]: [&str; 2]) -> BTreeMap<String, String> {
    let pair = |entry: &Value| Some((entry[name].as_str()?.to_owned(), entry[value].as_str()?.to_owned()));
    list.as_array().into_iter().flatten().filter_map(pair).collect()
}

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

/// Deploys the template to the emulator.
pub(crate) fn deploy(
    aws: &Aws<'_>,
    functions: Functions,
    parameters: &[Parameter],
) -> Result<Deployed, Failure> {
    let state = aws.state;
    let template = state.file("packaged.yaml");
    step::run("Deploying template.yaml", || {
        let mut package = aws.command();
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
fn with_reasons(failure: Failure, aws: &Aws<'_>) -> Failure {
    let Failure::Failed { output, .. } = &failure else { return failure };
    let query = "StackEvents[?contains(ResourceStatus, 'FAILED')].[LogicalResourceId, ResourceStatusReason]";
    match aws.read(&["cloudformation", "describe-stack-events", "--stack-name", STACK, "--query", query]) {
        Ok(Value::Array(reasons)) if !reasons.is_empty() => {
            let reasons: Vec<_> = reasons.iter().map(Value::to_string).collect();
            let output = format!("{output}\n{}", reasons.join("\n"));
            failure.with_output(output)
        }
        _ => failure,
    }
}

impl Outputs {
    /// With an endpoint, the URLs are those of this machine.
    fn of(outputs: &BTreeMap<String, String>, endpoint: Option<&str>) -> Result<Self, Failure> {
        let value = |name: &str| {
            outputs.get(name).cloned().ok_or_else(|| Failure::new(format!("the stack has no output {name}")))
        };
        let url = |name: &str| match endpoint {
            Some(endpoint) => local_url(&value(name)?, endpoint),
            None => value(name),
        };
        Ok(Self {
            http_url: url("HttpUrl")?,
            websocket_url: url("WebSocketUrl")?,
            queue_url: value("QueueUrl")?,
            dead_letter_queue_url: value("DeadLetterQueueUrl")?,
            redrive_role: value("RedriveRoleArn")?,
            messages_table: value("MessagesTable")?,
            connections_table: value("ConnectionsTable")?,
        })
    }
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
    fn a_stack_in_any_partition_is_described() {
        let output = |name: &str, value: &str| json!({ "OutputKey": name, "OutputValue": value });
        let url = "https://abc.execute-api.cn-north-1.amazonaws.com.cn/v1";
        let others = ["WebSocketUrl", "QueueUrl", "DeadLetterQueueUrl", "RedriveRoleArn", "MessagesTable"];
        let mut outputs: Vec<_> = others.map(|name| output(name, name)).into();
        outputs.extend([output("HttpUrl", url), output("ConnectionsTable", "connections")]);
        let described = json!({ "Stacks": [{
            "StackId": "arn:aws-cn:cloudformation:cn-north-1:123456789012:stack/intake-verify/d7a1",
            "Parameters": [{ "ParameterKey": "MessageRetentionDays", "ParameterValue": "1" }],
            "Outputs": outputs,
        }] });
        let listed = json!({ "StackResourceSummaries": [
            { "LogicalResourceId": "Queue", "PhysicalResourceId": "https://queue" }, { "LogicalResourceId": "Odd" },
        ] });
        let deployed = Deployed::of("intake-verify", &described, &listed, None).unwrap();
        assert_eq!(deployed.account, "123456789012");
        let description = deployed.description();
        for (member, value) in [
            ("region", json!("cn-north-1")),
            ("url_suffix", json!("amazonaws.com.cn")),
            ("http_url", json!(url)),
            ("messages_expire", json!(true)),
            ("resources", json!({ "Queue": "https://queue" })),
        ] {
            assert_eq!(description[member], value, "{member}");
        }
    }

    #[test]
    fn a_missing_output_is_named() {
        let failure = Outputs::of(&BTreeMap::new(), None).unwrap_err().to_string();
        assert_eq!(failure, "the stack has no output HttpUrl");
    }
}
