//! `cargo xtask verify`: the end-to-end tests on a deployed stack. `cargo xtask test` runs the same on a local one.

use std::{
    io::{self, IsTerminal},
    process::Command,
    thread,
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use fs_err as fs;

use crate::{
    deployment::{Aws, Deployed},
    interrupt, process,
    python::Environment,
    step,
    workspace::{self, StateFolder},
};

/// Runs the end-to-end tests against a stack on AWS, and prints what only AWS can show.
///
/// It uses the credentials and the region that the AWS CLI would use, and changes nothing but the messages,
/// connections and dead letters of its own owners, which it removes in the end; and it lets the account assume the role
/// of the redrive function, to send records past the gateway. The stack has to be a
/// throw-away one, which trusts the development key of this checkout and does not protect its table: the profile
/// `verify` in samconfig.toml deploys one. Before it begins it says what it costs, and asks. Tests that need the local
/// stack are left out, by name, with the reason. The exit code is 1 if a test fails.
#[derive(Args, Debug)]
pub(crate) struct VerifyArguments {
    /// The deployed stack, by its name in CloudFormation
    #[arg(long, value_name = "NAME")]
    stack: String,
    /// Begin without asking
    #[arg(long)]
    yes: bool,
}

/// The tests that need the stack for themselves, before all others.
const ALONE: &str = "metrics::";

pub(crate) fn verify(arguments: &VerifyArguments) -> Result<()> {
    let state = StateFolder::claim("verify")?;
    let environment = Environment::run()?;
    let aws = Aws { environment: &environment, state: &state, endpoint: None };
    let deployed = step::run("Reading the stack", || {
        let deployed = Deployed::read(&aws, &arguments.stack)?;
        check(&aws, &deployed)?;
        Ok(deployed)
    })?;
    let description = state.describe(&deployed.description)?;
    let cargo = || deployed.cargo(&description);
    let tests = Tests::of(&cargo)?;
    let (all, left_out) = (tests.names.len(), tests.local_only.len());
    // Counted on the local stack: 1,000 requests over HTTP, 3,000 to SQS, 9,000 write units, 40 metrics for an hour.
    step::note(format_args!(
        "\nThis runs {} of {all} end-to-end tests against {}. They write messages,\nconnections and dead letters of owners of their own, and remove them in the end; and they let the \
         account assume\nthe role of the redrive function. They cost about three cents at list prices of us-east-1.\n",
        all - left_out,
        deployed.place()
    ));
    let settings = aws.read(&["lambda", "get-account-settings"])?;
    let concurrency = settings["AccountLimit"]["ConcurrentExecutions"].as_u64().unwrap_or_default();
    if concurrency < 100 {
        step::note(format_args!(
            "WARNING: the account runs only {concurrency} functions at once. The tests send up to 100 requests at \
             once:\nexpect some of them to be throttled, and tests to fail.\n"
        ));
    }
    if !arguments.yes {
        ask()?;
    }
    deployed.let_tests_send(&aws)?;
    step::run("End-to-end tests", || tests.run(false))
}

/// What to do with a stack that is not one for tests.
const ADVICE: &str = "deploy a throw-away stack for this, with the profile `verify` in samconfig.toml";

/// Fails if the stack is not one for tests.
pub(crate) fn check(aws: &Aws<'_>, deployed: &Deployed) -> Result<()> {
    check_trust(deployed)?;
    check_unprotected(aws, deployed)
}

/// Fails if the stack does not accept the tokens of this checkout.
pub(crate) fn check_trust(deployed: &Deployed) -> Result<()> {
    let name = deployed.text("name");
    let trusts = deployed.trusts(&workspace::development_key()?);
    ensure!(trusts, "the stack {name} does not trust the development key of this checkout: {ADVICE}");
    Ok(())
}

/// Fails if the messages of the stack are protected.
pub(crate) fn check_unprotected(aws: &Aws<'_>, deployed: &Deployed) -> Result<()> {
    let name = deployed.text("name");
    let table = deployed.text("messages_table");
    let table = aws.read(&["dynamodb", "describe-table", "--table-name", table])?;
    // A text in the emulator.
    let protection = table["Table"]["DeletionProtectionEnabled"].to_string();
    let unprotected = ["null", "false", "\"false\""].contains(&&*protection);
    ensure!(unprotected, "the table of messages of the stack {name} has deletion protection: {ADVICE}");
    Ok(())
}

/// Asks whether to go on.
pub(crate) fn ask() -> Result<()> {
    step::note("Go on? [y/N]");
    // Apart, so that Ctrl-C need not wait for a line.
    let reader = thread::spawn(|| io::stdin().is_terminal().then(|| io::stdin().lines().next()));
    interrupt::wait_until(|| Ok(reader.is_finished().then_some(())))?;
    let goes_on = matches!(reader.join(), Ok(Some(Some(Ok(line)))) if line.trim().eq_ignore_ascii_case("y"));
    ensure!(goes_on, "nothing was run: --yes begins without asking");
    Ok(())
}

/// The end-to-end tests, as one account runs them.
pub(crate) struct Tests<'a> {
    cargo: &'a dyn Fn() -> Command,
    names: Vec<String>,
    /// The names of those that need the local stack, each with the reason.
    local_only: Vec<(String, String)>,
}

/// What a run has shown.
#[derive(Debug, Default)]
struct Tally {
    passed: usize,
    failed: Vec<String>,
    /// Behaviours, and what was seen of each.
    seen: Vec<String>,
}

impl<'a> Tests<'a> {
    /// Builds the tests and lists them. `cargo` is a cargo with the stack and its account in its environment.
    pub(crate) fn of(cargo: &'a dyn Fn() -> Command) -> Result<Self> {
        let mut tests = Self { cargo, names: Vec::new(), local_only: Vec::new() };
        tests.names = step::run("Building the end-to-end tests", || {
            let mut list = tests.command(["--list", "--format", "terse"]);
            let output = process::run_captured(&mut list, &workspace::scratch("tests.log")?)?;
            Ok(output.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
        })?;
        let path = workspace::root().join("tests/stack/local_only.txt");
        tests.local_only = local_only(&fs::read_to_string(&path)?, &tests.names)
            .with_context(|| format!("{} is wrong", path.display()))?;
        Ok(tests)
    }

    fn command<'b>(&self, arguments: impl IntoIterator<Item = &'b str>) -> Command {
        let mut command = (self.cargo)();
        // From the whole workspace, as for the other tests, so that nothing is built a second time.
        command.args(["test", "--workspace", "--locked", "--features", "e2e/stack", "--test", "stack"]);
        // They mostly wait for a queue.
        command.arg("--").args(arguments).env("RUST_TEST_THREADS", "16");
        command
    }

    /// Runs some of the tests.
    pub(crate) fn some(&self, arguments: &[String]) -> Result<()> {
        process::run_shown(&mut self.command(arguments.iter().map(String::as_str)))
    }

    /// Runs all tests that can run on AWS; on a stack of this machine also the others, before and after them. Prints
    /// what that has shown, and fails if a test has failed.
    pub(crate) fn run(&self, is_local: bool) -> Result<()> {
        let mut tally = Tally::default();
        let names = self.local_only.iter().map(|(name, _)| name.as_str());
        let (before, after): (Vec<_>, Vec<_>) = names.clone().partition(|name| name.starts_with(ALONE));
        let exactly = ["--include-ignored", "--exact"];
        if is_local {
            self.count(exactly.into_iter().chain(before), &mut tally)?;
        }
        self.count(names.flat_map(|name| ["--skip", name]), &mut tally)?;
        self.count(["--ignored", "probes::after_traffic"], &mut tally)?;
        if is_local {
            self.count(exactly.into_iter().chain(after), &mut tally)?;
        }
        self.count(["--ignored", "cleanup::"], &mut tally)?;
        step::say("");
        for behaviour in &tally.seen {
            step::say(format_args!("seen        {behaviour}"));
        }
        for (name, reason) in self.local_only.iter().filter(|_| !is_local) {
            step::say(format_args!("left out    {name}: {reason}"));
        }
        for name in &tally.failed {
            step::say(format_args!("failed      {name}"));
        }
        let (passed, failed) = (tally.passed, tally.failed.len());
        step::say(format_args!("\nend-to-end tests: {passed} passed, {failed} failed"));
        ensure!(failed == 0, "{failed} end-to-end tests failed");
        Ok(())
    }

    fn count<'b>(&self, arguments: impl IntoIterator<Item = &'b str>, tally: &mut Tally) -> Result<()> {
        let (success, lines) = process::run_watched(&mut self.command(arguments))?;
        let failed = tally.failed.len();
        lines.iter().for_each(|line| tally.add(line));
        let complete = success == (tally.failed.len() == failed);
        ensure!(
            complete,
            "the end-to-end tests ended before all of them had run: what they wrote is still there"
        );
        Ok(())
    }
}

/// The list of tests that need the local stack: names and reasons.
fn local_only(list: &str, names: &[String]) -> Result<Vec<(String, String)>> {
    let lines = list.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let tests = lines.map(|line| {
        let (name, reason) = line.split_once(' ').with_context(|| format!("no reason for {line}"))?;
        ensure!(names.iter().any(|known| known == name), "{name} is no test");
        Ok((name.to_owned(), reason.trim().to_owned()))
    });
    tests.collect()
}

impl Tally {
    /// Counts a line of the test runner or of a test.
    fn add(&mut self, line: &str) {
        if let Some((_, behaviour)) = line.split_once("seen: ") {
            self.seen.push(behaviour.to_owned());
        } else if let Some(name) =
            line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----"))
        {
            self.failed.push(name.to_owned());
        } else if let Some(result) = line.strip_prefix("test result: ") {
            let passed = result.split_once(" passed").and_then(|(before, _)| before.rsplit(' ').next());
            self.passed += passed.and_then(|number| number.parse::<usize>().ok()).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_test_that_is_left_out_exists_and_has_a_reason() {
        let names = ["a::b", "a::c"].map(str::to_owned);
        let listed = local_only("# comment\na::b   why\n", &names).unwrap();
        assert_eq!(listed, [("a::b".to_owned(), "why".to_owned())]);
        assert_eq!(local_only("a::x why", &names).unwrap_err().to_string(), "a::x is no test");
        assert_eq!(local_only("a::b", &names).unwrap_err().to_string(), "no reason for a::b");
    }

    #[test]
    fn what_the_tests_print_is_counted() {
        let mut tally = Tally::default();
        for line in [
            // The runner prints a line in two parts.
            "test a::b ... seen: alarms: 8 OK",
            "ok",
            "---- a::c stdout ----",
            "test result: FAILED. 12 passed; 1 failed; 3 ignored; 0 measured; 0 filtered out",
        ] {
            tally.add(line);
        }
        assert_eq!((tally.passed, tally.failed.as_slice()), (12, &["a::c".to_owned()][..]));
        assert_eq!(tally.seen, ["alarms: 8 OK"]);
    }

    #[test]
    fn every_probe_has_a_row_in_the_document() {
        let root = workspace::root();
        let probes = fs::read_to_string(root.join("tests/stack/probes.rs")).unwrap();
        let document = fs::read_to_string(root.join("docs/aws.md")).unwrap();
        let named: Vec<_> =
            probes.split("seen(\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(named.len() > 10, "{named:?}");
        for behaviour in named {
            assert!(document.contains(&format!("\n| {behaviour} |")), "{behaviour}");
        }
    }
}
