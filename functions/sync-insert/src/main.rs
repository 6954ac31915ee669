//! The Lambda function behind `PUT /messages/{id}`.

use std::{process::ExitCode, time::Duration};

use intake_platform::{
    aws::{Aws, warm_up},
    configuration::{number, required},
    rest::{Responses, run},
    tables::Messages,
    telemetry,
};
use lambda_http::Error;
use sync_insert::SyncInsert;

/// Three attempts of this length and the pauses between them end well before the function's 10 seconds.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);

// One thread: Lambda hands a process one event at a time.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    telemetry::logged(serve()).await
}

async fn serve() -> Result<(), Error> {
    // Once for all requests, and before the first: the connection to DynamoDB is open when a caller waits for it.
    let retention = Messages::retention(number("MESSAGE_RETENTION_DAYS")?);
    let database = Aws::from_env()?.dynamodb(ATTEMPT_TIMEOUT);
    let messages = Messages::new(database, required("MESSAGES_TABLE")?, retention);
    warm_up(messages.probe_write()).await;
    let function = SyncInsert::new(messages, Responses::from_env()?);
    run(|request| function.handle(request)).await
}
