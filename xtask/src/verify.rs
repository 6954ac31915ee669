//! `cargo xtask verify`: the end-to-end tests on a deployed stack. `cargo xtask test` runs the same on a local one.

use std::{
    fs,
    io::{self, IsTerminal},
    process::Command,
    sync::mpsc,
    thread,
    time::Duration,
};

use clap::Args;

use crate::{
    deployment::{Aws, Deployed},
    failure::Failure,
    interrupt, process,
    python::Environment,
    step,
    workspace::{self, StateFolder},
};

/// Runs the end-to-end tests against a stack on AWS, and prints what only AWS can show.
///
/// It uses the credentials and the region that the AWS CLI would use, and changes nothing but the messages,
/// connections, dead letters and queues of its own owners, which it removes in the end. The stack has to be a
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

pub(crate) fn verify(arguments: &VerifyArguments) -> Result<(), Failure> {
    let state = StateFolder::claim("verify")?;
    let environment = Environment::run()?;
    let aws = Aws { environment: &environment, state: &state, endpoint: None };
    let deployed = step::run("Reading the stack", || {
        let deployed = Deployed::read(&aws, &arguments.stack)?;
        check(&aws, &deployed)?;
        Ok(deployed)
    })?;
    let description = state.describe(&deployed.description())?;
    let cargo = || deployed.cargo(&description);
    let tests = Tests::of(&cargo)?;
    announce(&deployed, &tests);
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
    step::run("End-to-end tests", || tests.run(false))
        .inspect_err(|_| step::note("What the tests have written so far stays in the stack."))?
        .conclude()
}

/// What to do with a stack that is not one for tests.
const ADVICE: &str = "deploy a throw-away stack for this, with the profile `verify` in samconfig.toml";

/// Fails if the stack is not one for tests.
pub(crate) fn check(aws: &Aws<'_>, deployed: &Deployed) -> Result<(), Failure> {
    check_trust(deployed)?;
    check_unprotected(aws, deployed)
}

/// Fails if the stack does not accept the tokens of this checkout.
pub(crate) fn check_trust(deployed: &Deployed) -> Result<(), Failure> {
    if deployed.trusts(&workspace::development_key()?) {
        return Ok(());
    }
    let reason = format!("the stack {} does not trust the development key of this checkout", deployed.name);
    Err(Failure::new(reason).advise(ADVICE))
}

/// Fails if the messages of the stack are protected.
pub(crate) fn check_unprotected(aws: &Aws<'_>, deployed: &Deployed) -> Result<(), Failure> {
    let Deployed { name, outputs, .. } = deployed;
    let table = aws.read(&["dynamodb", "describe-table", "--table-name", &outputs.messages_table])?;
    // A text in the emulator.
    let protection = table["Table"]["DeletionProtectionEnabled"].to_string();
    if ["null", "false", "\"false\""].contains(&&*protection) {
        return Ok(());
    }
    let reason = format!("the table of messages of the stack {name} has deletion protection");
    Err(Failure::new(reason).advise(ADVICE))
}

fn announce(deployed: &Deployed, tests: &Tests<'_>) {
    let Deployed { name, region, account, .. } = deployed;
    let (all, left_out) = (tests.names.len(), tests.local_only.len());
    // Counted on the local stack: 1,000 requests over HTTP, 3,000 to SQS, 9,000 write units, 40 metrics for an hour.
    step::note(format_args!(
        "\nThis runs {} of {all} end-to-end tests against the stack {name} in {region}, account {account}. They write \
         messages,\nconnections, dead letters and queues of owners of their own, and remove them in the end. They \
         cost about three cents\nat list prices of us-east-1.\n",
        all - left_out
    ));
}

/// Asks whether to go on.
pub(crate) fn ask() -> Result<(), Failure> {
    step::note("Go on? [y/N]");
    let (sender, receiver) = mpsc::channel();
    // Apart, so that Ctrl-C need not wait for a line.
    thread::spawn(move || {
        let mut line = String::new();
        let read = if io::stdin().is_terminal() { io::stdin().read_line(&mut line) } else { Ok(0) };
        sender.send(read.map(|_| line))
    });
    match interrupt::wait_for(Duration::MAX, || Ok(receiver.try_recv().ok()))? {
        Some(Ok(line)) if line.trim().eq_ignore_ascii_case("y") => Ok(()),
        _ => Err(Failure::new("nothing was run").advise("--yes begins without asking")),
    }
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
pub(crate) struct Tally {
    passed: usize,
    left_out: Vec<(String, String)>,
    failed: Vec<String>,
    /// Behaviours, and what was seen of each.
    seen: Vec<(String, String)>,
}

impl<'a> Tests<'a> {
    /// Builds the tests and lists them. `cargo` is a cargo with the stack and its account in its environment.
    pub(crate) fn of(cargo: &'a dyn Fn() -> Command) -> Result<Self, Failure> {
        let mut tests = Self { cargo, names: Vec::new(), local_only: Vec::new() };
        tests.names = step::run("Building the end-to-end tests", || {
            let mut list = tests.command(&["--list", "--format", "terse"].map(str::to_owned));
            let output = process::run_captured(&mut list, &workspace::scratch().join("tests.log"))?;
            Ok(output.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
        })?;
        let path = workspace::root().join("tests/stack/local_only.txt");
        let list = fs::read_to_string(&path).map_err(|error| Failure::file("read", &path, &error))?;
        tests.local_only = local_only(&list, &tests.names)
            .map_err(|lack| Failure::new(format!("{} {lack}", path.display())))?;
        Ok(tests)
    }

    fn command(&self, arguments: &[String]) -> Command {
        let mut command = (self.cargo)();
        // From the whole workspace, as for the other tests, so that nothing is built a second time.
        command.args(["test", "--workspace", "--locked", "--features", "e2e/stack", "--test", "stack"]);
        // They mostly wait for a queue.
        command.arg("--").args(arguments).env("RUST_TEST_THREADS", "16");
        command
    }

    /// Runs some of the tests.
    pub(crate) fn some(&self, arguments: &[String]) -> Result<(), Failure> {
        process::run_shown(&mut self.command(arguments))
    }

    /// Runs all tests that can run on AWS; on a stack of this machine also the others, before and after them.
    pub(crate) fn run(&self, is_local: bool) -> Result<Tally, Failure> {
        let (mut tally, mut here) =
            (Tally { left_out: self.local_only.clone(), ..Tally::default() }, Tally::default());
        let names = self.local_only.iter().map(|(name, _)| name.clone());
        let (before, after): (Vec<_>, Vec<_>) = names.clone().partition(|name| name.starts_with(ALONE));
        let exactly =
            |names: &[String]| [&["--include-ignored", "--exact"].map(str::to_owned)[..], names].concat();
        let ignored = |module: &str| ["--ignored".to_owned(), module.to_owned()];
        if is_local {
            self.count(&exactly(&before), &mut here)?;
        }
        let skipped: Vec<_> = names.flat_map(|name| ["--skip".to_owned(), name]).collect();
        self.count(&skipped, &mut tally)?;
        self.count(&ignored("probes::after_traffic"), &mut tally)?;
        if is_local {
            self.count(&exactly(&after), &mut here)?;
        }
        self.count(&ignored("cleanup::"), &mut tally)?;
        if is_local {
            step::say(format_args!("\nonly here: {} passed, {} failed", here.passed, here.failed.len()));
            tally.failed.append(&mut here.failed);
        }
        Ok(tally)
    }

    fn count(&self, arguments: &[String], tally: &mut Tally) -> Result<(), Failure> {
        let (success, lines) = process::run_watched(&mut self.command(arguments))?;
        let failed = tally.failed.len();
        for line in &lines {
            tally.add(line);
        }
        if success == (tally.failed.len() == failed) {
            Ok(())
        } else {
            Err(Failure::new("the end-to-end tests ended before all of them had run"))
        }
    }
}

/// The list of tests that need the local stack.
fn local_only(list: &str, names: &[String]) -> Result<Vec<(String, String)>, String> {
    let mut tests = Vec::new();
    for line in list.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, reason) = line.split_once(' ').ok_or_else(|| format!("has no reason for {line}"))?;
        if !names.iter().any(|known| known == name) {
            return Err(format!("names {name}, which is no test"));
        }
        tests.push((name.to_owned(), reason.trim().to_owned()));
    }
    if tests.len() * 5 > names.len() {
        return Err(format!(
            "names {} of {} tests: at most a fifth may need the local stack",
            tests.len(),
            names.len()
        ));
    }
    Ok(tests)
}

impl Tally {
    /// Counts a line of the test runner or of a test.
    fn add(&mut self, line: &str) {
        if let Some((behaviour, what)) = line.split_once("seen: ").and_then(|(_, rest)| rest.split_once(": "))
        {
            self.seen.push((behaviour.to_owned(), what.to_owned()));
        } else if let Some(name) =
            line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----"))
        {
            self.failed.push(name.to_owned());
        } else if let Some(result) = line.strip_prefix("test result: ") {
            let passed = result.split_once(" passed").and_then(|(before, _)| before.rsplit(' ').next());
            self.passed += passed.and_then(|number| number.parse::<usize>().ok()).unwrap_or_default();
        }
    }

    /// Prints what the run has shown. Fails if a test has failed.
    pub(crate) fn conclude(&self) -> Result<(), Failure> {
        let Self { passed, left_out, failed, seen } = self;
        step::say("");
        for (behaviour, what) in seen {
            step::say(format_args!("seen        {behaviour}: {what}"));
        }
        for (name, reason) in left_out {
            step::say(format_args!("left out    {name}: {reason}"));
        }
        for name in failed {
            step::say(format_args!("failed      {name}"));
        }
        let (left_out, failed) = (left_out.len(), failed.len());
        step::say(format_args!("\nend-to-end tests: {passed} passed, {left_out} left out, {failed} failed"));
        if failed == 0 { Ok(()) } else { Err(Failure::new(format!("{failed} end-to-end tests failed"))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_test_that_is_left_out_exists_and_has_a_reason() {
        let names = ["a::b", "a::c", "d::e", "f::g", "h::i"].map(str::to_owned);
        let listed = local_only("# comment\na::b   why\n", &names);
        assert_eq!(listed, Ok(vec![("a::b".to_owned(), "why".to_owned())]));
        assert_eq!(local_only("a::x why", &names), Err("names a::x, which is no test".to_owned()));
        assert_eq!(local_only("a::b", &names), Err("has no reason for a::b".to_owned()));
        let two = local_only("a::b why\na::c why", &names).unwrap_err();
        assert!(two.starts_with("names 2 of 5 tests"), "{two}");
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
        assert_eq!(tally.seen, [("alarms".to_owned(), "8 OK".to_owned())]);
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
