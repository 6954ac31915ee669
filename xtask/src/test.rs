//! `cargo xtask test`: everything that has to hold before a change is done.

use std::{
    env,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use crate::{
    browser::Browser,
    checks,
    deployment::Profile,
    emulator::Port,
    environment, interrupt, npm, process,
    python::Environment,
    soak::{self, SoakArguments},
    stack::Stack,
    step, up,
    verify::{self, Tests},
};

/// Checks everything: formatting, lints, tests, the template, and the whole stack from outside.
///
/// The end-to-end tests get a stack of their own, on a free port, which runs beside `cargo xtask up` and is always
/// taken down. The first step that fails ends it.
///
/// If arguments are passed on, the end-to-end tests that need the stack for themselves run only if the arguments
/// name them: -- --ignored metrics
///
/// To run end-to-end tests against the stack of `cargo xtask up`, with its account and not yours:
///
/// (set -a; . target/intake/up/functions.env; export INTAKE_STACK=$PWD/target/intake/up/stack.json;
/// cargo test --package e2e --features stack --test stack)
#[derive(Args, Debug)]
pub(crate) struct TestArguments {
    /// Run only this step; may be given several times
    #[arg(long = "step", value_enum, value_name = "STEP")]
    steps: Vec<Step>,
    #[command(flatten)]
    profile: Profile,
    /// Arguments for the tests, such as a part of the names of those to run
    #[arg(last = true, value_name = "ARGUMENTS")]
    passed_on: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Step {
    /// Formatting: cargo fmt --check
    Format,
    /// Lints of the code: cargo clippy, warnings denied
    Clippy,
    /// Unit and integration tests, without a stack
    Tests,
    /// The authorizer with tokens of an OpenID Connect provider, which is installed from npm
    Identity,
    /// Lints of template.yaml, openapi.yaml and asyncapi.yaml, the mapping templates, and the permissions
    Template,
    /// Licences, sources, versions and known vulnerabilities of the dependencies
    Dependencies,
    /// End-to-end tests on a stack of their own
    Stack,
    /// The console and the JavaScript client in a real browser, the client also under Node.js, on a stack of their own
    Console,
    /// A short flood with faults on a stack of its own: `cargo xtask soak` is the long one
    Soak,
}

pub(crate) fn test(arguments: &TestArguments) -> Result<()> {
    let mut report = Vec::new();
    let mut result = Ok(());
    for step in Step::value_variants() {
        if !arguments.steps.is_empty() && !arguments.steps.contains(step) {
            continue;
        }
        let start = Instant::now();
        result = step.run(arguments);
        report.push((*step, start.elapsed(), result.is_ok()));
        if result.is_err() {
            break;
        }
    }
    summarize(&report);
    result
}

fn summarize(report: &[(Step, Duration, bool)]) {
    step::note("");
    for (step, took, passed) in report {
        let outcome = if *passed { "ok" } else { "FAILED" };
        step::note(format_args!("{:<12} {outcome:<7} {}", step.name(), step::seconds(*took)));
    }
}

impl Step {
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    fn run(self, arguments: &TestArguments) -> Result<()> {
        let passed_on = &arguments.passed_on;
        match self {
            Self::Format => step::run("Formatting", || cargo(&["fmt", "--all", "--check"], &[]))
                .context("`cargo fmt --all` formats"),
            Self::Clippy => step::run("Lints", || {
                let code = ["clippy", "--workspace", "--all-targets", "--all-features", "--locked"];
                cargo(&[&code[..], &["--", "--deny", "warnings"]].concat(), &[])
            }),
            Self::Tests => step::run("Unit and integration tests", || {
                cargo(&["test", "--workspace", "--locked"], passed_on)
            }),
            Self::Identity => identity(passed_on),
            Self::Template => checks::template(),
            Self::Dependencies => checks::dependencies(),
            Self::Stack => end_to_end(arguments.profile, passed_on),
            Self::Console => console(arguments.profile, !arguments.steps.is_empty(), passed_on),
            Self::Soak => soak::soak(&SoakArguments::short(arguments.profile)),
        }
    }
}

fn cargo(arguments: &[&str], passed_on: &[String]) -> Result<()> {
    let mut command = environment::cargo();
    command.args(arguments);
    if !passed_on.is_empty() {
        command.arg("--").args(passed_on);
    }
    process::run_shown(&mut command)
}

/// Runs the tests of the authorizer with an identity provider, which they start themselves.
fn identity(passed_on: &[String]) -> Result<()> {
    let linters = Environment::check()?;
    let what = "an OpenID Connect provider (once, about 4 MB)";
    let packages = npm::install(&linters, "tests/identity", "identity", what)?;
    step::run("Tokens of an OpenID Connect provider", || {
        let mut command = environment::cargo();
        command.args(["test", "--workspace", "--locked", "--features", "e2e/identity", "--test", "identity"]);
        command.arg("--").args(passed_on);
        command.env("INTAKE_NODE", linters.programs().join("node")).env("INTAKE_IDENTITY", packages);
        process::run_shown(&mut command)
    })
}

/// Runs the end-to-end tests on a stack of their own, as `cargo xtask verify` does on one on AWS.
fn end_to_end(profile: Profile, passed_on: &[String]) -> Result<()> {
    // A message that failed is redelivered soon, and not too often: otherwise the tests would wait for minutes.
    let parameters =
        [("RedeliveryDelaySeconds", "1"), ("MaxReceiveCount", "3"), ("DeletionProtection", "false")];
    Stack::with("test", Port::Any, profile, &parameters, |stack| {
        verify::check(&stack.aws(), &stack.deployed)?;
        stack.deployed.let_tests_send(&stack.aws())?;
        let cargo = || stack.cargo();
        let tests = Tests::of(&cargo)?;
        step::run("End-to-end tests", || match passed_on {
            [] => tests.run(true),
            _ => tests.some(passed_on),
        })
    })
}

/// Runs the tests of the console and of the client on a stack of its own, which they have for themselves.
fn console(profile: Profile, is_named: bool, passed_on: &[String]) -> Result<()> {
    let browser = match Browser::find() {
        Ok(browser) => browser,
        // Asked for by name, or by a machine that checks for others, it must not be left out.
        Err(reason) if is_named || env::var_os("CI").is_some() || interrupt::requested() => {
            return Err(reason);
        }
        Err(reason) => {
            step::note(format_args!("WARNING: the console was NOT tested in a browser: {reason:#}"));
            return Ok(());
        }
    };
    let node = Environment::check()?.programs().join("node");
    // As for `cargo xtask up`, but what keeps failing is a dead letter within seconds.
    let parameters = [up::REDELIVERY.as_slice(), &[("MaxReceiveCount", "3")]].concat();
    Stack::with("test-console", Port::Any, profile, &parameters, |stack| {
        step::run("The console and the client", || {
            let mut command = stack.cargo();
            command.args(["test", "--workspace", "--locked", "--features", "e2e/stack", "--test", "console"]);
            command.arg("--").args(passed_on).env("RUST_TEST_THREADS", "1").env("INTAKE_NODE", &node);
            process::run_shown(browser.set(&mut command))
        })
    })
}
