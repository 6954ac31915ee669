//! `cargo xtask up`: the whole stack on this machine, until Ctrl-C.

use anyhow::Result;
use clap::Args;

use crate::{
    console::{self, Console},
    deployment::Profile,
    emulator::{self, Port},
    function_log::FunctionLog,
    interrupt,
    stack::{self, Stack},
    step,
};

/// The usual port of AWS emulators.
const PORT: u16 = 4566;

/// Somebody is watching: what a killed consumer had received is redelivered as soon as the template allows, instead of
/// after three minutes, and what cannot be stored is a dead letter after minutes, instead of an hour.
pub(crate) const REDELIVERY: [(&str, &str); 2] =
    [("VisibilityTimeoutSeconds", "61"), ("RedeliveryDelaySeconds", "2")];

/// Runs the whole stack on this machine, from the same template as on AWS.
///
/// Builds the functions, quickly and without optimization, starts a local emulator of AWS, deploys template.yaml to it,
/// starts the console, prints how to use both, and shows the functions' logs until Ctrl-C takes everything down. It
/// listens on 127.0.0.1 only, and keeps nothing: the next run begins with empty tables.
///
/// It needs Python 3.10 or later with its venv module. Everything else is installed once, with exact versions, into
/// target/intake/venv.
#[derive(Args, Debug)]
pub(crate) struct UpArguments {
    /// Port of the emulator [default: 4566, or any free one if that is taken]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Build the functions as they are deployed to AWS: optimized, in minutes
    #[arg(long)]
    release: bool,
}

pub(crate) fn up(arguments: &UpArguments) -> Result<()> {
    let port = arguments.port.map_or(Port::Preferred(PORT), Port::Only);
    let profile = Profile { dev: !arguments.release };
    let build = if profile.dev { console::Build::done() } else { console::Build::begin()? };
    Stack::with("up", port, profile, &REDELIVERY, |stack| {
        stack.write_function_environment()?;
        let console = match build.start(&stack.state.description()) {
            Ok(console) => Some(console),
            Err(failure) if interrupt::requested() => return Err(failure),
            Err(failure) => {
                step::note(format_args!("No console: {failure:#}"));
                None
            }
        };
        introduce(stack, console.as_ref())?;
        let result = follow(stack, console);
        // That is how it is meant to end.
        if interrupt::requested() { Ok(()) } else { result }
    })
}

/// Prints how to use the stack.
fn introduce(stack: &Stack, console: Option<&Console>) -> Result<()> {
    let token = stack::token("alice")?;
    let python = stack.environment.programs().join("python");
    step::say(format_args!(
        r#"
Intake is up. Its functions' logs follow; Ctrl-C takes it down.

    Console     {console}
    HTTP        {http}
    WebSocket   {websocket}
    Emulator    {emulator_log}

To use it, paste into another terminal. You are alice, for 12 hours (others: cargo xtask token --help):

INTAKE={http}
INTAKE_WS={websocket}
TOKEN={token}

A message by request and response, and its status:

curl -i -X PUT "$INTAKE/messages/hello-1" -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' -d '{{"text":"hello"}}'
curl -i "$INTAKE/messages/hello-1" -H "Authorization: Bearer $TOKEN"

A message through the queue, and its outcome (repeat the second line while it is still queued):

QUEUED=$(curl -s -X PUT "$INTAKE/queue/hello-2" -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' -d '{{"text":"hello, later"}}'); echo "$QUEUED"
curl -i "$INTAKE$(echo "$QUEUED" | sed 's/.*"statusPath":"\([^"]*\)".*/\1/')" -H "Authorization: Bearer $TOKEN"

Notifications of outcomes, as they happen. Run this in a terminal of its own, then send a message through the queue
(any WebSocket client will do, such as `npx wscat -c URL`):

"{python}" -m websockets "{websocket}?token={token}"
"#,
        console = console.map_or("none: see above", |console| &console.url),
        http = stack.deployed.text("http_url"),
        websocket = stack.deployed.text("websocket_url"),
        emulator_log = emulator::log(&stack.state).display(),
        python = python.display(),
    ));
    Ok(())
}

/// Prints the functions' logs until this process is asked to end.
fn follow(stack: &mut Stack, mut console: Option<Console>) -> Result<()> {
    let mut log = FunctionLog::open(&emulator::function_log(&stack.state))?;
    interrupt::wait_until(|| {
        stack.emulator.check()?;
        if let Some(console) = &mut console {
            console.check()?;
        }
        log.read()?.into_iter().for_each(step::say);
        Ok(None)
    })
}
