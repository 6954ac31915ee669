//! `cargo xtask soak`: a flood through the queue with all faults, and an account of every message.

use std::{
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use clap::{Args, builder::RangedU64ValueParser};

use crate::{
    deployment::{Parameter, Profile},
    emulator::Port,
    environment,
    failure::Failure,
    process,
    stack::Stack,
    step, workspace,
};

/// Floods a stack of its own while everything around it fails, and accounts for every message.
///
/// Many clients send through PUT /queue, with WebSockets open that drop and come back. Meanwhile the database
/// throttles, fails, answers late, never or half, and consumers are killed, at random from a seed. In the end
/// every message that got a 202 has to be stored exactly as it was sent, be rejected or failed with a reason,
/// or be in the dead-letter queue; nothing may have happened twice, and nobody may have been told of a
/// message of another. It prints this account, and fails if it does not come out even, or if fewer consumers
/// were killed than were to be.
#[derive(Args, Debug)]
pub(crate) struct SoakArguments {
    /// How many messages have to be accepted
    #[arg(long, default_value = "20000", value_parser = number(1))]
    messages: u64,
    /// How many clients send at once
    #[arg(long, default_value = "50", value_parser = number(1))]
    clients: u64,
    /// How many owners the messages belong to
    #[arg(long, default_value = "8", value_parser = number(1))]
    owners: u64,
    /// How often a consumer is killed
    #[arg(long, default_value = "20", value_parser = number(0))]
    kills: u64,
    /// Where everything random comes from [default: another one each time]
    #[arg(long)]
    seed: Option<u64>,
    /// Instead of all faults: the database throttles everything for so many seconds, at ten messages a second,
    /// and then every message has to be stored
    #[arg(long, value_name = "SECONDS", value_parser = RangedU64ValueParser::<u64>::new().range(1..=3_600),
          conflicts_with_all = ["messages", "clients", "kills"])]
    throttle: Option<u64>,
    #[command(flatten)]
    profile: Profile,
}

fn number(least: u64) -> RangedU64ValueParser {
    RangedU64ValueParser::new().range(least..=1_000_000)
}

impl SoakArguments {
    /// The short form, which is always the same.
    pub(crate) fn short(profile: Profile) -> Self {
        Self { messages: 1_500, clients: 50, owners: 4, kills: 3, seed: Some(1), throttle: None, profile }
    }

    /// With what the flood is started: names and values.
    fn passed_on(&self) -> Vec<(&'static str, u64)> {
        let Self { messages, clients, owners, kills, throttle, .. } = *self;
        let seed = self.seed.unwrap_or_else(random);
        let others = [("owners", owners), ("seed", seed)];
        let flood = match throttle {
            None => vec![("messages", messages), ("clients", clients), ("kills", kills)],
            // Each client sends one message a second.
            Some(seconds) => {
                vec![("messages", 10 * seconds), ("clients", 10), ("kills", 0), ("throttle", seconds)]
            }
        };
        [flood, others.to_vec()].concat()
    }
}

pub(crate) fn soak(arguments: &SoakArguments) -> Result<(), Failure> {
    let mut stack = Stack::start("soak", Port::Any, arguments.profile, &parameters(arguments.throttle))?;
    let result = step::shown("Flood", || {
        let mut command = Command::new("cargo");
        environment::cargo(&mut command)
            .args(["run", "--quiet", "--locked", "--package", "soak", "--"])
            .env("INTAKE_STACK", stack.description())
            .current_dir(workspace::root());
        for (name, value) in arguments.passed_on() {
            command.arg(format!("--{name}")).arg(value.to_string());
        }
        process::run_shown(&mut command)
    });
    // If the emulator did not last, that is what has to be told.
    let result = stack.check().and(result);
    let logs = format!(
        "what the functions wrote is in {}, what the emulator wrote in {}",
        stack.function_log().display(),
        stack.emulator_log().display()
    );
    stack.stop();
    result.map_err(|failure| failure.advise(logs))
}

/// How often and how soon what failed comes again.
fn parameters(throttle: Option<u64>) -> [Parameter; 2] {
    let (visibility, deliveries) = match throttle {
        // While the flood goes on. A fault of seconds ends before the deliveries do; one of many seconds does
        // not, so that some messages are given up.
        None => (4, 3),
        // As soon as the consumer's timeout allows, and the deliveries last for longer than the fault.
        Some(seconds) => (30, seconds / 30 + 3),
    };
    [("VisibilityTimeoutSeconds", visibility.to_string()), ("MaxReceiveCount", deliveries.to_string())]
}

/// Another one each time. Small, because somebody may have to type it.
fn random() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_micros().try_into().unwrap_or(u64::MAX) % 1_000_000_000
}
