//! The program of the redrive. `cargo xtask redrive` builds and runs it.

mod arguments;

use std::{
    fmt::Display,
    io::{self, Write},
    path::Path,
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
};

use arguments::RedriveArguments;
use clap::Parser;
use redrive::{
    connection,
    dead_letter::DeadLetter,
    error::RedriveError,
    run::{Disposition, Options, Summary, redrive},
};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    run(&RedriveArguments::parse()).await.unwrap_or_else(|error| {
        note(format_args!("error: {error}"));
        ExitCode::FAILURE
    })
}

async fn run(arguments: &RedriveArguments) -> Result<ExitCode, RedriveError> {
    // Where `cargo xtask up` describes its stack.
    let local = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/intake/up/stack.json");
    let (client, queues) = match &arguments.stack {
        Some(stack) => connection::to_stack(stack, arguments.role.as_deref()).await?,
        None => connection::to_local_stack(&local).await?,
    };
    // From here on, Ctrl-C ends it between two receives.
    ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::Relaxed))
        .map_err(|error| RedriveError::Fatal(error.to_string()))?;
    note(format_args!("from  {}\nto    {}", queues.from, queues.to));
    let RedriveArguments { dry_run, max, all, .. } = *arguments;
    let options = Options { dry_run, max, include_unattributed: all };
    if options.dry_run {
        say(format_args!("{:<36}  {:>7}  {:<24}  {:<24}  result", "receipt", "age (h)", "id", "owner"));
    }
    let stop = || INTERRUPTED.load(Ordering::Relaxed);
    let report = |dead_letter: &DeadLetter, disposition: &Disposition| match disposition {
        _ if options.dry_run => say(line(dead_letter, disposition)),
        Disposition::NotMoved(RedriveError::OneMessage(reason)) => {
            note(format_args!("not moved: {}: {reason}", dead_letter.receipt()));
        }
        Disposition::NotDeleted(RedriveError::OneMessage(reason)) => {
            note(format_args!("in both queues: {}: {reason}", dead_letter.receipt()));
        }
        // The others are counted, and a fatal error is reported once.
        _ => {}
    };
    let (summary, result) = redrive(&client, &queues, options, stop, report).await;
    Ok(conclude(options, summary, result))
}

/// Prints the summary, and what to know and do about it.
fn conclude(options: Options, summary: Summary, result: Result<(), RedriveError>) -> ExitCode {
    let Summary { moved, unattributed, failed_again, not_moved, not_deleted, hidden } = summary;
    let failed = not_moved + not_deleted;
    for (number, what) in [
        (unattributed, "unattributed, left: --all moves such records, too"),
        (failed_again, "failed again, left: the consumer's log says why"),
        (not_deleted, "in both queues: the next redrive sends them again, and the consumer stores each once"),
        (hidden, "still hidden by another reader: run it again later"),
    ] {
        if number > 0 {
            note(format_args!("{number} {what}"));
        }
    }
    let interrupted = INTERRUPTED.load(Ordering::Relaxed);
    if let Err(error) = &result {
        note(format_args!("error: {error}"));
    } else if interrupted {
        note("interrupted: run it again to go on");
    } else if options.max == Some(moved + not_deleted) {
        note("--max is reached: there may be more");
    }
    let left = unattributed + failed_again;
    if options.dry_run {
        say(format_args!("would move {moved}, would leave {left}"));
    } else {
        say(format_args!("moved {moved}, left {left}, failed {failed}"));
    }
    match (result, interrupted) {
        (Err(_), _) => ExitCode::FAILURE,
        // As of a program that Ctrl-C ended.
        (Ok(()), true) => ExitCode::from(130),
        (Ok(()), false) if failed + hidden > 0 => ExitCode::FAILURE,
        (Ok(()), false) => ExitCode::SUCCESS,
    }
}

/// A message in the list of a dry run.
fn line(dead_letter: &DeadLetter, disposition: &Disposition) -> String {
    let disposition = match disposition {
        Disposition::Unattributed => "would stay: unattributed",
        _ => "would be moved",
    };
    // They may come from any client: without control characters, which would reach the terminal.
    let text = |text: Option<&str>| text.unwrap_or("-").escape_debug().to_string();
    let age =
        dead_letter.age().map_or_else(|| "-".to_owned(), |age| format!("{:.1}", age.as_secs_f64() / 3600.0));
    let (id, owner) = (text(dead_letter.id()), text(dead_letter.owner()));
    format!("{:<36}  {age:>7}  {id:<24}  {owner:<24}  {disposition}", dead_letter.receipt())
}

/// Prints what was asked for. A reader that is gone is no reason to stop.
fn say(line: impl Display) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// Prints a line about the work.
fn note(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
