//! `cargo xtask up`: the whole stack on this machine, until Ctrl-C.

use std::{thread, time::Duration};

use clap::Args;

use crate::{
    console::{self, Console},
    deployment::Profile,
    emulator::Port,
    failure::Failure,
    function_log::FunctionLog,
    interrupt,
    stack::{self, Stack},
    step,
};

/// The usual port of AWS emulators.
const PORT: u16 = 4566;

/// What failed is redelivered as soon as the consumer's timeout allows, instead of after three minutes: somebody
/// is watching.
pub(crate) const VISIBILITY_TIMEOUT_SECONDS: &str = "30";

/// Runs the whole stack on this machine, from the same template as on AWS.
///
/// Builds the functions, starts a local emulator of AWS, deploys template.yaml to it, prints how to use it, and
/// shows the functions' logs until Ctrl-C takes everything down. Beside it runs the console, a page that shows both
/// designs at work and lets you operate them; its address is printed, too. It listens on 127.0.0.1 only, and keeps nothing:
/// the next run begins with empty tables.
///
/// It needs Python 3.10 or later with its venv module. Everything else is installed once, with exact versions, into
/// target/intake/venv.
#[derive(Args, Debug)]
pub(crate) struct UpArguments {
    /// Port of the emulator [default: 4566, or any free one if that is taken]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    #[command(flatten)]
    profile: Profile,
}

pub(crate) fn up(arguments: &UpArguments) -> Result<(), Failure> {
    let port = arguments.port.map_or(Port::Preferred(PORT), Port::Only);
    let build = console::Build::begin()?;
    let parameters = [("VisibilityTimeoutSeconds", VISIBILITY_TIMEOUT_SECONDS.to_owned())];
    let mut stack = Stack::start("up", port, arguments.profile, &parameters)?;
    let result = match build.start(&stack.description()) {
        Err(Failure::Interrupted) => Err(Failure::Interrupted),
        started => {
            let console =
                started.inspect_err(|failure| step::note(format_args!("No console: {failure}"))).ok();
            introduce(&stack, console.as_ref()).and_then(|()| follow(&mut stack, console))
        }
    };
    stack.finish(result)
}

/// Prints how to use the stack.
fn introduce(stack: &Stack, console: Option<&Console>) -> Result<(), Failure> {
    let outputs = stack.outputs();
    let token = stack::token("alice")?;
    let python = stack.environment().programs().join("python");
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
        console = console.map_or("none: see above", Console::url),
        http = outputs.http_url,
        websocket = outputs.websocket_url,
        emulator_log = stack.emulator_log().display(),
        python = python.display(),
    ));
    Ok(())
}

/// Prints the functions' logs until this process is asked to end.
fn follow(stack: &mut Stack, mut console: Option<Console>) -> Result<(), Failure> {
    let path = stack.function_log();
    let unreadable = |error: std::io::Error| Failure::file("read", &path, &error);
    let mut log = FunctionLog::open(&path).map_err(unreadable)?;
    while !interrupt::requested() {
        stack.check()?;
        if let Some(console) = &mut console {
            console.check()?;
        }
        for line in log.read().map_err(unreadable)? {
            step::say(line);
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
