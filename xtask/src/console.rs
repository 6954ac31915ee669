//! The console: a program of its own, because it is a server with crates that nothing else here needs. `cargo xtask up`
//! starts it beside its stack, `cargo xtask console` for a deployed one.

use std::{
    env,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use clap::Args;
use fs_err as fs;
use serde_json::Value;

use crate::{
    deployment::{Aws, Deployed},
    environment, interrupt,
    process::{self, Process},
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
/// The page has no AWS credentials, only a token that you paste; if the stack trusts the development key of this
/// checkout, it gets its tokens by itself. This command reads the stack's outputs with the credentials and the region
/// that the AWS CLI would use, which need cloudformation:DescribeStacks and cloudformation:ListStackResources. The
/// local stack has its console from `cargo xtask up`.
#[derive(Args, Debug)]
pub(crate) struct ConsoleArguments {
    /// The deployed stack, by its name in CloudFormation
    #[arg(long, value_name = "NAME")]
    stack: String,
}

pub(crate) fn console(arguments: &ConsoleArguments) -> Result<()> {
    let build = Build::begin()?;
    let state = StateFolder::claim("console")?;
    let environment = Environment::run()?;
    let aws = Aws { environment: &environment, state: &state, endpoint: None };
    let mut deployed = step::run("Reading the stack", || Deployed::read(&aws, &arguments.stack))?;
    if !deployed.trusts(&workspace::development_key()?) {
        deployed.description["key_file"] = Value::Null;
    }
    let mut console = build.start(&state.describe(&deployed.description)?)?;
    step::say(format_args!("The console of {}, until Ctrl-C: {}", arguments.stack, console.url));
    let result = interrupt::wait_until(|| console.check().map(|()| None));
    if interrupt::requested() { Ok(()) } else { result }
}

/// A build of the console in the background, unless it is built already.
pub(crate) struct Build(Option<Process>);

/// A running console. Dropping it ends it.
pub(crate) struct Console {
    process: Process,
    /// Its address.
    pub(crate) url: String,
}

impl Build {
    /// Begins to build it, while the stack is built and started.
    pub(crate) fn begin() -> Result<Self> {
        let log = process::create(&workspace::scratch("console-build.log")?)?;
        let mut command = environment::cargo();
        command.args(["build", "--quiet", "--locked", "--package", "console"]);
        let process = Process::start(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log))?;
        Ok(Self(Some(process)))
    }

    /// That of a console which is built together with the functions.
    pub(crate) fn done() -> Self {
        Self(None)
    }

    /// Waits until it is built, and starts it for the stack that a file describes.
    pub(crate) fn start(self, description: &Path) -> Result<Console> {
        step::run("Starting the console", || {
            if let Some(process) = self.0
                && !process.wait()?.success()
            {
                bail!("it was not built: see {}", workspace::scratch("console-build.log")?.display());
            }
            Console::start(description)
        })
    }
}

impl Console {
    fn start(description: &Path) -> Result<Self> {
        let output = workspace::scratch("console.log")?;
        // It is built beside this program. `cargo run` would wait as long as another cargo builds here.
        let mut command = environment::isolated(&env::current_exe()?.with_file_name("console"));
        command
            .args(["--port", &PORT.to_string(), "--stack"])
            .arg(description)
            // Its end tells it that this process has ended.
            .stdin(Stdio::piped())
            .stdout(process::create(&output)?)
            .stderr(process::create(&output.with_extension("err"))?);
        let mut console = Self { process: Process::start(&mut command)?, url: String::new() };
        let start = Instant::now();
        console.url = interrupt::wait_until(|| {
            console.check()?;
            ensure!(start.elapsed() < START_LIMIT, "the console does not print its address");
            // A line is complete with its end.
            Ok(fs::read_to_string(&output)?.split_once('\n').map(|(line, _)| line.to_owned()))
        })?;
        Ok(console)
    }

    /// Fails if it has ended by itself. The database of a local stack is behind it.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.process.check("the console", &workspace::scratch("console.err")?)
    }
}
