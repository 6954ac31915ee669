//! The Lambda function behind `PUT /messages/{id}`.

use std::time::Duration;

use intake::{
    aws::Aws,
    configuration::{number, required},
    messages::Messages,
    rest::Answers,
    telemetry,
};
use lambda_http::{Error, run, service_fn};
use sync_insert::SyncInsert;

/// Three attempts of this length and the pauses between them end well before the function's 10 seconds.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let retention = Messages::retention(number("MESSAGE_RETENTION_DAYS")?);
    let database = Aws::from_env()?.dynamodb(ATTEMPT_TIMEOUT);
    let messages = Messages::new(database, required("MESSAGES_TABLE")?, retention);
    let function = SyncInsert::new(messages, Answers::from_env()?);
    run(service_fn(|request| function.handle(request))).await
}
