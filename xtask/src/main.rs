//! `cargo xtask`: the one entry point for everything a developer does with Intake.

mod bench;
mod browser;
mod checks;
mod compare;
mod console;
mod deployment;
mod emulator;
mod environment;
mod function_log;
mod interrupt;
mod npm;
mod process;
mod python;
mod redrive;
mod schema;
mod soak;
mod stack;
mod step;
mod test;
mod up;
mod verify;
mod workspace;

use std::{process::ExitCode, time::Duration};

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use serde_json::json;

use self::{
    bench::BenchArguments, compare::CompareArguments, console::ConsoleArguments, redrive::RedriveArguments,
    schema::SchemaArguments, soak::SoakArguments, test::TestArguments, up::UpArguments,
    verify::VerifyArguments,
};

/// Everything that a developer does with Intake.
#[derive(Parser, Debug)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Arguments {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    Up(UpArguments),
    Test(TestArguments),
    Verify(VerifyArguments),
    Soak(SoakArguments),
    Bench(BenchArguments),
    Console(ConsoleArguments),
    Redrive(RedriveArguments),
    Compare(CompareArguments),
    Token(TokenArguments),
    Schema(SchemaArguments),
}

/// Prints a token for the local stack.
///
/// The key that signs it is made on this machine on first use. Only stacks that `cargo xtask` starts trust it, and
/// throw-away ones on AWS that are deployed with --parameters: see docs/aws.md.
/// For example: TOKEN=$(cargo xtask token --owner bob)
#[derive(Args, Debug)]
struct TokenArguments {
    /// The owner (claim sub): 1 to 255 printable ASCII characters
    #[arg(long, default_value = "alice", value_parser = owner)]
    owner: String,
    /// How long it is valid: a number and s, m, h or d
    #[arg(long, default_value = "12h", value_parser = lifetime)]
    lifetime: Duration,
    /// Instead, the parameters by which a stack trusts such tokens, as a YAML file for `sam deploy`
    #[arg(long)]
    parameters: bool,
}

/// Does what the command line says, and reports a failure.
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = interrupt::install().and_then(|()| match &arguments.command {
        Verb::Up(arguments) => up::up(arguments),
        Verb::Test(arguments) => test::test(arguments),
        Verb::Verify(arguments) => verify::verify(arguments),
        Verb::Soak(arguments) => soak::soak(arguments),
        Verb::Bench(arguments) => bench::bench(arguments),
        Verb::Console(arguments) => console::console(arguments),
        Verb::Redrive(arguments) => redrive::redrive(arguments),
        Verb::Compare(arguments) => compare::compare(arguments),
        Verb::Token(arguments) => print_token(arguments),
        Verb::Schema(_) => schema::schema(),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) if interrupt::requested() => {
            step::note("interrupted");
            // As of a program that Ctrl-C ended.
            ExitCode::from(130)
        }
        Err(failure) => {
            step::note(format_args!("error: {failure:#}"));
            ExitCode::FAILURE
        }
    }
}

fn print_token(arguments: &TokenArguments) -> Result<()> {
    let key = workspace::development_key()?;
    let (issuer, audience) = (development_key::ISSUER, development_key::AUDIENCE);
    if arguments.parameters {
        // JSON, which YAML includes.
        step::say(json!({ "TokenIssuer": issuer, "TokenAudience": audience, "TokenJwks": key.jwks() }));
    } else {
        step::say(key.mint(issuer, audience, &arguments.owner, arguments.lifetime));
    }
    Ok(())
}

/// An owner as the authorizer accepts it.
fn owner(text: &str) -> Result<String, String> {
    let is_printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if is_printable && (1..=255).contains(&text.len()) {
        Ok(text.to_owned())
    } else {
        Err("an owner is 1 to 255 printable ASCII characters".to_owned())
    }
}

/// Reads `90s`, `15m`, `12h`, `7d`.
fn lifetime(text: &str) -> Result<Duration, String> {
    [('s', 1), ('m', 60), ('h', 3600), ('d', 24 * 3600)]
        .into_iter()
        .find_map(|(unit, seconds)| {
            let number: u32 = text.strip_suffix(unit)?.parse().ok().filter(|number| *number > 0)?;
            Some(Duration::from_secs(u64::from(number) * seconds))
        })
        .ok_or_else(|| "write a number above 0 and s, m, h or d, such as 15m".to_owned())
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
    fn lifetimes_are_a_number_and_a_unit() {
        assert_eq!(lifetime("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(lifetime("15m"), Ok(Duration::from_secs(900)));
        assert_eq!(lifetime("12h"), Ok(Duration::from_secs(43_200)));
        assert_eq!(lifetime("7d"), Ok(Duration::from_secs(604_800)));
        // No stack would accept the token.
        for wrong in ["0s", "0d", "", "h", "12", "1.5h", "-1h", "1y", "1é"] {
            assert!(lifetime(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_owner_whose_token_would_be_denied_is_an_error() {
        assert_eq!(owner("alice & bob"), Ok("alice & bob".to_owned()));
        for wrong in ["", "bøb", "a\tb", &"a".repeat(256)] {
            assert!(owner(wrong).is_err(), "{wrong}");
        }
    }
}
