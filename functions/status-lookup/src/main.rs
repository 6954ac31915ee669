//! The Lambda function behind `GET /messages/{id}`.

use std::{process::ExitCode, time::Duration};

use intake_platform::{
    aws::{Aws, warm_up},
    configuration::required,
    rest::{Responses, run},
    tables::{Messages, Outcomes},
    telemetry,
};
use lambda_http::Error;
use status_lookup::StatusLookup;

/// Three attempts of this length and the pauses between them end well before the function's 10 seconds.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);

// One thread: Lambda hands a process one event at a time.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    telemetry::logged(serve()).await
}

async fn serve() -> Result<(), Error> {
    let database = Aws::from_env()?.dynamodb(ATTEMPT_TIMEOUT);
    let table = required("MESSAGES_TABLE")?;
    let messages = Messages::new(database.clone(), &table, None);
    warm_up(messages.probe_read()).await;
    let function = StatusLookup::new(messages, Outcomes::new(database, table), Responses::from_env()?);
    run(|request| function.handle(request)).await
}
