//! The command line of the redrive. `cargo xtask redrive` builds and runs it.

mod progress;

use std::{
    fmt::Display,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use aws_sdk_sqs::Client;
use clap::Parser;
use progress::Progress;
use redrive::{
    connection,
    letter::Letter,
    problem::Problem,
    queues::Queues,
    run::{Account, End, Fate, Order, redrive},
};

/// Puts dead-lettered messages back into their queue.
///
/// Each message is sent as it was, with all its attributes, and deleted from the dead-letter queue only after
/// the queue has confirmed it. Ended in between, in whatever way, it leaves a message in both queues at worst:
/// the consumer stores it once all the same. Run it again to go on. Ctrl-C ends it after the messages in hand.
///
/// Without --stack, --from and --to it redrives the local stack that `cargo xtask up` runs. With them it goes
/// to AWS, or where AWS_ENDPOINT_URL or AWS_ENDPOINT_URL_SQS point, with the credentials and the region that
/// the AWS CLI would use. The queue of a stack takes messages only from a role of that stack: give its ARN with
/// --role, and be allowed sts:AssumeRole on it, and with --stack sqs:ListQueues. Between other queues it needs
/// sqs:GetQueueAttributes on both, sqs:SendMessage on the one, and sqs:ReceiveMessage, sqs:DeleteMessage and
/// sqs:ChangeMessageVisibility on the other.
#[derive(Parser, Debug)]
#[command(name = "cargo xtask redrive", bin_name = "cargo xtask redrive")]
struct Arguments {
    /// The deployed stack whose queues are meant, by its name in CloudFormation
    #[arg(long, value_name = "NAME", conflicts_with_all = ["from", "to"])]
    stack: Option<String>,
    /// Address of the dead-letter queue (stack output DeadLetterQueueUrl)
    #[arg(long, value_name = "DLQ_URL", requires = "to")]
    from: Option<String>,
    /// Address of the queue that the messages go back to (stack output QueueUrl)
    #[arg(long, value_name = "QUEUE_URL", requires = "from")]
    to: Option<String>,
    /// The role to take first (stack output RedriveRoleArn)
    #[arg(long, value_name = "ARN")]
    role: Option<String>,
    /// List the messages and what would become of them, and change nothing but their receive counts
    #[arg(long)]
    dry_run: bool,
    /// Put back no more than N messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max: Option<u64>,
    /// Also those without a valid id and owner, which the consumer will refuse again
    #[arg(long)]
    all: bool,
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match start(&arguments) {
        Ok(code) => code,
        Err(problem) => {
            note(format_args!("error: {problem}"));
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: &Arguments) -> Result<ExitCode, Problem> {
    let unfit = |error: &dyn Display| Problem::Unfit(error.to_string());
    ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::Relaxed)).map_err(|error| unfit(&error))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| unfit(&error))?.block_on(async {
        let preparing = Progress::start();
        preparing.show("Looking for the queues");
        tokio::select! {
            prepared = prepare(arguments) => {
                drop(preparing);
                let (client, queues) = prepared?;
                Ok(run(arguments, &client, &queues).await)
            }
            // Nothing is in hand yet.
            () = interruption() => {
                drop(preparing);
                note("interrupted before anything was moved");
                Ok(ExitCode::from(130))
            }
        }
    })
}

/// Finds the queues, and tells what there is.
async fn prepare(arguments: &Arguments) -> Result<(Client, Queues), Problem> {
    let role = arguments.role.as_deref();
    let (client, queues) = match (&arguments.stack, &arguments.from, &arguments.to) {
        (Some(stack), ..) => {
            // With one's own credentials: the role is about these two queues, and cannot list any.
            let client = connection::from_environment(None, None).await?;
            let queues = Queues::of_stack(&client, stack).await?;
            let client = match role {
                Some(role) => connection::from_environment(None, Some(role)).await?,
                None => client,
            };
            (client, queues)
        }
        (None, Some(from), Some(to)) => {
            let client = connection::from_environment(Some(from), role).await?;
            (client, Queues { from: from.clone(), to: to.clone() })
        }
        _ => connection::to_local_stack(&local_stack()).await?,
    };
    let checked = queues.check(&client).await?;
    note(format_args!("from  {}  (about {} messages)", queues.from, checked.waiting));
    note(format_args!("to    {}", queues.to));
    if checked.in_flight > 0 {
        note(format_args!(
            "note: {} more were received by somebody a moment ago, and cannot be seen until they are given back",
            checked.in_flight
        ));
    }
    if !checked.belong_together {
        note("note: the first is not the dead-letter queue of the second");
    }
    Ok((client, queues))
}

async fn run(arguments: &Arguments, client: &Client, queues: &Queues) -> ExitCode {
    let order = Order {
        dry_run: arguments.dry_run,
        max: arguments.max,
        nobodys_too: arguments.all,
        ..Order::default()
    };
    if order.dry_run {
        say(format_args!(
            "{:<36}  {:<8}  {:<8}  {:<24}  {:<24}  then",
            "receipt", "age", "received", "id", "owner"
        ));
    }
    let progress = Progress::start();
    progress.show(&spoken(order, &Account::default()));
    let stop = || INTERRUPTED.load(Ordering::Relaxed);
    let (account, end) = redrive(client, queues, order, stop, |letter, fate, account| {
        progress.show(&spoken(order, account));
        match fate {
            _ if order.dry_run => progress.aside(|| say(line(letter, fate))),
            Fate::NotSent(reason) => {
                progress.aside(|| note(format_args!("not moved: {}: {reason}", letter.receipt)));
            }
            Fate::NotDeleted(reason) => progress.aside(|| {
                note(format_args!("sent, but not deleted: {}: {reason}", letter.receipt));
            }),
            Fate::Moved | Fate::Unattributed | Fate::CameBack => {}
        }
    })
    .await;
    drop(progress);
    conclude(order, account, &end)
}

/// Gives the account, and what to know and do about it.
fn conclude(order: Order, account: Account, end: &End) -> ExitCode {
    let count = |what: &str, number: u64, text: &str| {
        if number > 0 {
            note(format_args!("{what}: {number}, {text}"));
        }
    };
    count("names nobody", account.nobodys, "would only come back: --all moves such messages too");
    count("back already", account.came_back, "failed again: look for the reason in the consumer's log");
    count(
        "in both queues",
        account.not_deleted,
        "the next redrive sends such messages again, which does no harm",
    );
    count("not given back", account.still_hidden, "can be received again within 5 minutes");
    match end {
        End::Empty => {}
        End::Enough => note("there may be more: --max is reached"),
        End::Interrupted => note("interrupted: there may be more, run it again to go on"),
        End::Stopped(problem) => note(format_args!("error: {problem}")),
    }
    say(spoken(order, &account));
    match end {
        End::Interrupted => ExitCode::from(130),
        End::Stopped(_) => ExitCode::FAILURE,
        End::Empty | End::Enough if account.failed() > 0 => ExitCode::FAILURE,
        End::Empty | End::Enough => ExitCode::SUCCESS,
    }
}

fn spoken(order: Order, account: &Account) -> String {
    if order.dry_run {
        return format!("would move {}, would leave {}", account.moved, account.left());
    }
    format!("moved {}, left {}, failed {}", account.moved, account.left(), account.failed())
}

/// A message in the list of a dry run.
fn line(letter: &Letter, fate: &Fate) -> String {
    let then = match fate {
        Fate::Unattributed => "stays: names nobody",
        _ => "is moved",
    };
    format!(
        "{:<36}  {:<8}  {:<8}  {:<24}  {:<24}  {then}",
        letter.receipt,
        letter.age().map_or_else(|| "?".to_owned(), age),
        letter.receive_count.map_or_else(|| "?".to_owned(), |count| count.to_string()),
        printable(letter.id()),
        printable(letter.owner()),
    )
}

/// A text that anybody may have sent, without what would move the cursor.
fn printable(text: Option<&str>) -> String {
    text.map_or_else(|| "-".to_owned(), |text| text.escape_debug().to_string())
}

/// A duration by its largest unit.
fn age(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

async fn interruption() {
    while !INTERRUPTED.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The file that describes the stack that `cargo xtask up` runs.
fn local_stack() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).join("target/intake/up/stack.json")
}

/// Prints what was asked for. A reader that is gone is no reason to stop.
fn say(line: impl Display) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// Prints a line about the work.
fn note(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn queues_are_given_both_or_by_their_stack() {
        let parse = |arguments: &[&str]| Arguments::try_parse_from([&["redrive"], arguments].concat());
        assert!(parse(&[]).is_ok());
        assert!(parse(&["--stack", "intake"]).is_ok());
        assert!(parse(&["--from", "a", "--to", "b"]).is_ok());
        assert!(parse(&["--from", "a"]).is_err());
        assert!(parse(&["--stack", "intake", "--from", "a", "--to", "b"]).is_err());
        assert!(parse(&["--max", "0"]).is_err());
    }

    #[test]
    fn ages_are_told_by_their_largest_unit() {
        let told = |seconds| age(Duration::from_secs(seconds));
        assert_eq!([told(0), told(119), told(120)], ["0 s", "119 s", "2 min"]);
        assert_eq!([told(7_200), told(172_800)], ["2 h", "2 days"]);
    }

    #[test]
    fn foreign_text_cannot_move_the_cursor() {
        assert_eq!(printable(Some("a\x1b[2J\n")), "a\\u{1b}[2J\\n");
        assert_eq!(printable(None), "-");
    }
}
