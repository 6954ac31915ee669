//! `cargo xtask soak`: a flood through the queue with all faults, and an account of every message.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use clap::{Args, builder::RangedU64ValueParser};

use crate::{deployment::Profile, emulator::Port, process, stack::Stack, step};

/// Floods a stack of its own while everything around it fails, and accounts for every message.
///
/// Many clients send through PUT /queue, with WebSockets that drop and reconnect. Meanwhile the database throttles,
/// fails, and responds late, in part or never, and consumers are killed, all at random from a seed. In the end every
/// 202 is looked up by its receipt, and the table, the dead-letter queue and what the sockets received have to agree.
/// It prints this account, and fails if the account does not balance. docs/reliability.md says more.
#[derive(Args, Debug)]
pub(crate) struct SoakArguments {
    /// How many messages are to be accepted
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
    /// The seed of everything random [default: another one each time]
    #[arg(long)]
    seed: Option<u64>,
    /// Instead of all faults, throttle the database for so many seconds, at ten messages a second: then every
    /// message has to be stored
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
    /// The short form, which is the same each time.
    pub(crate) fn short(profile: Profile) -> Self {
        Self { messages: 1_500, clients: 50, owners: 4, kills: 3, seed: Some(1), throttle: None, profile }
    }

    /// The arguments of the flood: names and values.
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

pub(crate) fn soak(arguments: &SoakArguments) -> Result<()> {
    // A database that is only throttled meets a stack as it is deployed. In a flood with all faults, a fault of seconds ends
    // before the last delivery; one of many seconds does not, so that some messages fail.
    let parameters = match arguments.throttle {
        Some(_) => [].as_slice(),
        None => &[("RedeliveryDelaySeconds", "2"), ("MaxReceiveCount", "3")],
    };
    Stack::with("soak", Port::Any, arguments.profile, parameters, |stack| {
        step::run("Flood", || {
            if arguments.throttle.is_none() {
                stack.redeliver_after(4)?;
            }
            let mut command = stack.cargo();
            command.args(["run", "--quiet", "--locked", "--package", "soak", "--"]);
            for (name, value) in arguments.passed_on() {
                command.arg(format!("--{name}")).arg(value.to_string());
            }
            process::run_shown(&mut command)
        })
    })
}

/// Another one each time. Small, because a person may have to type it.
fn random() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_micros().try_into().unwrap_or(u64::MAX) % 1_000_000_000
}
