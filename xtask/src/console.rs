//! The console: a program of its own, because it needs the AWS SDK for redriving, which nothing else here does. `cargo
//! xtask up` starts it beside its stack, `cargo xtask console` for a deployed one.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{ChildStdin, Command, Stdio},
    time::Duration,
};

use clap::Args;
use serde_json::Value;

use crate::{
    deployment::{Aws, Deployed},
    environment,
    failure::Failure,
    interrupt,
    process::Process,
    python::Environment,
    step,
    workspace::{self, StateFolder},
};

/// The port that its address has, unless that is taken.
const PORT: u16 = 4580;
/// How long it may take to start. It takes less than a second.
const START_LIMIT: Duration = Duration::from_secs(30);

/// Serves the console for a stack on AWS, on this machine, until Ctrl-C.
///
/// The page talks to the stack's public API and WebSocket with a token that you paste, and that it keeps in its memory
/// only. If the stack trusts the development key of this checkout, the page gets its tokens by itself. It operates
/// nothing: it has no AWS credentials. This command reads the stack's outputs with the credentials and the region that
/// the AWS CLI would use, which need cloudformation:DescribeStacks and cloudformation:ListStackResources.
///
/// The local stack has its console from `cargo xtask up`.
#[derive(Args, Debug)]
pub(crate) struct ConsoleArguments {
    /// The deployed stack, by its name in CloudFormation
    #[arg(long, value_name = "NAME")]
    stack: String,
}

pub(crate) fn console(arguments: &ConsoleArguments) -> Result<(), Failure> {
    let build = Build::begin()?;
    let state = StateFolder::claim("console")?;
    let environment = Environment::run()?;
    let aws = Aws { environment: &environment, state: &state, endpoint: None };
    let deployed = step::run("Reading the stack", || Deployed::read(&aws, &arguments.stack))?;
    let mut description = deployed.description();
    if !deployed.trusts(&workspace::development_key()?) {
        description["key_file"] = Value::Null;
    }
    let path = state.describe(&description)?;
    let mut console = build.start(&path)?;
    step::say(format_args!("The console of {}, until Ctrl-C: {}", arguments.stack, console.url()));
    while interrupt::wait_for(Duration::from_millis(200), || Ok(None::<()>)).is_ok() {
        console.check()?;
    }
    Ok(())
}

/// A build of the console in the background.
pub(crate) struct Build(Process);

/// A running console. Dropping it ends it.
pub(crate) struct Console {
    process: Process,
    url: String,
    /// It ends when the other end of this pipe is closed, so also when this process is killed.
    _lifeline: Option<ChildStdin>,
}

impl Build {
    /// Begins to build it, while the stack is built and started.
    pub(crate) fn begin() -> Result<Self, Failure> {
        workspace::make_folder(&workspace::scratch())?;
        let log = log("console-build.log")?;
        let mut command = cargo_build();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Process::start(&mut command).map(Self)
    }

    /// Waits until it is built, and starts it for the stack that a file describes.
    pub(crate) fn start(self, description: &Path) -> Result<Console, Failure> {
        step::run("Starting the console", || {
            let status = self.0.wait()?;
            if !status.success() {
                let path = workspace::scratch().join("console-build.log");
                return Err(Failure::new("it was not built").with_output(read(&path)));
            }
            Console::start(description)
        })
    }
}

impl Console {
    fn start(description: &Path) -> Result<Self, Failure> {
        let output = workspace::scratch().join("console.log");
        // It is built beside this program. `cargo run` would wait as long as another cargo builds here.
        let program = env::current_exe().map(|path| path.with_file_name("console"));
        let program = program.map_err(|error| Failure::new(format!("cannot find the console: {error}")))?;
        let mut command = Command::new(program);
        environment::isolate(&mut command)
            .args(["--port", &PORT.to_string(), "--stack"])
            .arg(description)
            .stdin(Stdio::piped())
            .stdout(log("console.log")?)
            .stderr(log("console.err")?);
        let mut process = Process::start(&mut command)?;
        let lifeline = process.take_input();
        let url = interrupt::wait_for(START_LIMIT, || {
            if let Some(status) = process.ended()? {
                let printed = read(&workspace::scratch().join("console.err"));
                return Err(Failure::new(format!("it did not start ({status})")).with_output(printed));
            }
            // A line is complete with its end.
            Ok(read(&output).split_once('\n').map(|(line, _)| line.to_owned()))
        })?;
        let url = url.ok_or_else(|| Failure::new("the console does not print its address"))?;
        Ok(Self { process, url, _lifeline: lifeline })
    }

    /// Its address.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Fails if it has ended by itself. The database of a local stack is behind it.
    pub(crate) fn check(&mut self) -> Result<(), Failure> {
        match self.process.ended()? {
            None => Ok(()),
            Some(status) => {
                let printed = read(&workspace::scratch().join("console.err"));
                Err(Failure::new(format!("the console ended by itself ({status})")).with_output(printed))
            }
        }
    }
}

fn cargo_build() -> Command {
    let mut command = Command::new("cargo");
    environment::cargo(&mut command)
        .args(["build", "--quiet", "--locked", "--package", "console"])
        .current_dir(workspace::root());
    command
}

fn log(name: &str) -> Result<File, Failure> {
    let path: PathBuf = workspace::scratch().join(name);
    File::create(&path).map_err(|error| Failure::file("write", &path, &error))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
