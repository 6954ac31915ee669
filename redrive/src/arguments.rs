//! The command line. `xtask` compiles this file, too: it reads the arguments before it builds this program, which
//! takes a while because of the AWS SDK, so that help and mistakes show at once.

use clap::Parser;

/// Moves dead-lettered messages back into their queue.
///
/// Each message is sent as it was, with all its attributes, and deleted from the dead-letter queue only after the
/// queue has confirmed it. Whatever interrupts that leaves the message in both queues at worst, and the consumer
/// stores it once. Run it again to go on. Ctrl-C ends it after the messages in hand.
///
/// The dead-letter recorder hides messages for 10 seconds while it looks at them. The redrive waits up to a minute
/// for such messages.
///
/// Without --stack it redrives the local stack that `cargo xtask up` runs. With --stack it uses the credentials
/// and the region that the AWS CLI would use, which need sqs:ListQueues, and sts:AssumeRole on the stack's role:
/// the queue accepts messages from that role only. The exit code is 1 if a message could not be moved.
#[derive(Parser, Debug)]
#[command(bin_name = "cargo xtask redrive")]
pub(crate) struct RedriveArguments {
    /// The deployed stack, by its name in CloudFormation
    #[arg(long, value_name = "NAME")]
    pub(crate) stack: Option<String>,
    /// The role to assume (stack output RedriveRoleArn)
    #[arg(long, value_name = "ARN", requires = "stack")]
    pub(crate) role: Option<String>,
    /// List the messages and what would happen to each; change nothing but their receive counts
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Move at most N messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max: Option<u64>,
    /// Move unattributed records, too: those without an id or a valid owner, which will fail again
    #[arg(long)]
    pub(crate) all: bool,
}
