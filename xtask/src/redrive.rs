//! `cargo xtask redrive`: invokes the function of a stack that redrives its dead letters, and prints its report.

use std::iter;

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;
use fs_err as fs;
use serde_json::{Value, json};

use crate::{
    deployment::Aws,
    python::Environment,
    step,
    workspace::{self, StateFolder},
};

/// Returns dead letters to their queue.
///
/// It invokes the function RedriveFunction of the stack, and prints a line for each letter that was moved, is left or
/// failed, and the sum. Each letter is sent as it was, and deleted from the dead-letter queue only after the queue has
/// confirmed it: whatever interrupts that leaves it in both queues at worst, and the consumer stores it once. A run
/// takes less than a minute; if it says that letters remain, run it again. Ctrl-C does not end it.
///
/// Without --stack it redrives the local stack that `cargo xtask up` runs. With --stack it uses the credentials and the
/// region that the AWS CLI would use, which need cloudformation:DescribeStackResource, and lambda:InvokeFunction on the
/// function. The exit code is 1 if a letter failed or letters remain.
#[derive(Args, Debug)]
pub(crate) struct RedriveArguments {
    /// The deployed stack, by its name in CloudFormation
    #[arg(long, value_name = "NAME")]
    stack: Option<String>,
    /// List the letters and what would happen to each; change nothing but their receive counts
    #[arg(long)]
    dry_run: bool,
    /// Move at most N letters
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = from_one_up)]
    max: Option<u64>,
    /// Move the letters of one owner only
    #[arg(long, value_name = "OWNER")]
    owner: Option<String>,
    /// Move the letters with this receipt only, also if they are unattributed records
    #[arg(long, value_name = "RECEIPT")]
    receipt: Option<String>,
}

/// The logical id of the function.
const FUNCTION: &str = "RedriveFunction";

/// How long the AWS CLI waits for the response: longer than the function runs. By default it would invoke it again.
const READ_TIMEOUT_SECONDS: &str = "70";

pub(crate) fn redrive(arguments: &RedriveArguments) -> Result<()> {
    let local = if arguments.stack.is_none() { Some(local_stack()?) } else { None };
    let state = StateFolder::claim("redrive")?;
    let environment = Environment::run()?;
    let endpoint = local.as_ref().and_then(|stack| stack["emulator"]["endpoint"].as_str());
    let aws = Aws { environment: &environment, state: &state, endpoint };
    let function = match (&arguments.stack, &local) {
        (Some(name), _) => {
            let describe = ["cloudformation", "describe-stack-resource", "--stack-name", name];
            let described = read(&aws, &[&describe[..], &["--logical-resource-id", FUNCTION]].concat())?;
            described["StackResourceDetail"]["PhysicalResourceId"].clone()
        }
        (None, local) => local.as_ref().map(|stack| stack["resources"][FUNCTION].clone()).unwrap_or_default(),
    };
    let function = function.as_str().with_context(|| format!("the stack has no {FUNCTION}"))?;
    let (event, response) = (event(arguments).to_string(), state.file("redrive.json"));
    let response_path = response.to_string_lossy();
    let invoke = ["lambda", "invoke", "--function-name", function, "--payload", &event, &response_path];
    read(&aws, &[&["--cli-read-timeout", READ_TIMEOUT_SECONDS], &invoke[..]].concat())?;
    let report = serde_json::from_str(&fs::read_to_string(&response)?).context("its response is no JSON")?;
    print(&report)
}

/// The description of the stack that `cargo xtask up` runs.
fn local_stack() -> Result<Value> {
    let text = fs::read_to_string(workspace::scratch("up/stack.json")?).ok();
    let described = text.and_then(|text| serde_json::from_str(&text).ok());
    described.context(
        "no local stack is running: start it with `cargo xtask up`, or name a deployed one with --stack",
    )
}

/// Runs a command of the AWS CLI. Of its failure, the last line says why.
fn read(aws: &Aws<'_>, arguments: &[&str]) -> Result<Value> {
    aws.read(arguments).map_err(|failure| {
        let text = failure.to_string();
        anyhow!("{}", text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default())
    })
}

fn from_one_up(text: &str) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "write a whole number from 1 up".to_owned())
}

/// The event that asks for what the arguments say.
fn event(arguments: &RedriveArguments) -> Value {
    let RedriveArguments { dry_run, max, owner, receipt, .. } = arguments;
    let members = [
        ("dryRun", dry_run.then_some(json!(true))),
        ("max", max.map(|max| json!(max))),
        ("owner", owner.as_ref().map(|owner| json!(owner))),
        ("receipt", receipt.as_ref().map(|receipt| json!(receipt))),
    ];
    members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// Prints a line for each letter, and the sum.
fn print(report: &Value) -> Result<()> {
    if let Some(error) = report["errorMessage"].as_str() {
        bail!("{error}");
    }
    let is_dry = report["dryRun"] == true;
    for (list, word) in
        [("moved", if is_dry { "would be moved" } else { "moved" }), ("left", "left"), ("failed", "failed")]
    {
        entries(report, list).for_each(|letter| step::say(line(letter, word)));
    }
    let [moved, left, failed] = ["moved", "left", "failed"].map(|list| entries(report, list).count());
    let sum = if is_dry { "would move" } else { "moved" };
    step::say(format_args!("{sum} {moved}, left {left}, failed {failed}"));
    let unfinished = ["error", "remaining"].map(|member| report[member].as_str());
    if let Some(why) = unfinished.into_iter().flatten().next() {
        bail!("{why}");
    }
    ensure!(failed == 0, "{failed} letters failed: run it again");
    Ok(())
}

fn entries<'a>(report: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> {
    report[list].as_array().into_iter().flatten()
}

/// A letter: when it was received, its receipt, owner and id, what happened and why.
fn line(letter: &Value, word: &str) -> String {
    // They may come from any client: without control characters, which would reach the terminal.
    let text = |name: &str| letter[name].as_str().unwrap_or("-").escape_debug().to_string();
    let columns = ["receivedAt", "receipt", "owner", "id"].map(text);
    let reason = letter["reason"].as_str().map(|reason| format!("{word}: {}", reason.escape_debug()));
    let columns = columns.into_iter().chain(iter::once(reason.unwrap_or_else(|| word.to_owned())));
    columns.collect::<Vec<_>>().join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_maximum_that_is_none_is_an_error_that_says_what_is_wanted() {
        #[derive(clap::Parser, Debug)]
        struct Line {
            #[command(flatten)]
            arguments: RedriveArguments,
        }
        for wrong in ["-1", "0", "1.5", "all"] {
            let parsed = <Line as clap::Parser>::try_parse_from(["redrive", "--max", wrong]);
            let error = parsed.map(|line| line.arguments).unwrap_err().to_string();
            assert!(error.contains("'--max <N>': write a whole number from 1 up"), "{error}");
        }
    }

    #[test]
    fn the_event_has_what_is_asked_for_and_nothing_else() {
        let nothing = RedriveArguments { stack: None, dry_run: false, max: None, owner: None, receipt: None };
        assert_eq!(event(&nothing), json!({}));
        let all = RedriveArguments {
            dry_run: true,
            max: Some(10),
            owner: Some("alice".to_owned()),
            receipt: Some("r".to_owned()),
            ..nothing
        };
        assert_eq!(event(&all), json!({ "dryRun": true, "max": 10, "owner": "alice", "receipt": "r" }));
    }

    #[test]
    fn a_letter_is_one_line_without_control_characters() {
        let letter = json!({ "receipt": "r", "id": "a\n\u{1b}b", "reason": "not\nmoved" });
        assert_eq!(line(&letter, "failed"), "-  r  -  a\\n\\u{1b}b  failed: not\\nmoved");
    }

    #[test]
    fn what_failed_or_remains_is_an_error() {
        let report = |more: Value| {
            let mut report = json!({ "dryRun": false, "moved": [], "left": [], "failed": [] });
            report.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            print(&report).map_err(|error| error.to_string())
        };
        assert_eq!(report(json!({ "left": [{}] })), Ok(()));
        for (more, expected) in [
            (json!({ "failed": [{}] }), "1 letters failed: run it again"),
            (json!({ "remaining": "time is up" }), "time is up"),
            (json!({ "error": "AccessDenied", "failed": [{}] }), "AccessDenied"),
            (json!({ "errorMessage": "max is wrong" }), "max is wrong"),
        ] {
            assert_eq!(report(more), Err(expected.to_owned()));
        }
    }
}
