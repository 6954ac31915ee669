//! The Lambda function that the queue feeds.

use std::{process::ExitCode, time::Duration};

use intake::{
    aws::Aws,
    configuration::{number, required},
    store::{Connections, Messages, Outcomes},
    telemetry,
};
use jiff::SignedDuration;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use queue_consumer::{
    Consumer,
    noting::Notes,
    push::{self, Push},
};

/// Long enough for 25 messages of 256 KiB in one request, short enough for several attempts in 30 seconds.
const DATABASE_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

// One thread: Lambda hands a process one event at a time.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    telemetry::logged(serve()).await
}

async fn serve() -> Result<(), Error> {
    let aws = Aws::from_env()?;
    let database = aws.dynamodb(DATABASE_ATTEMPT_TIMEOUT);
    let retention = Messages::retention(number("MESSAGE_RETENTION_DAYS")?);
    let table = required("MESSAGES_TABLE")?;
    let messages = Messages::new(database.clone(), &table, retention);
    let note_retention = SignedDuration::from_hours(24 * i64::from(number::<u16>("RECEIPT_RETENTION_DAYS")?));
    let notes = Notes::new(Outcomes::new(database.clone(), table), note_retention);
    let connections = Connections::new(database, required("CONNECTIONS_TABLE")?);
    let push = Push::new(&aws, &required("WEBSOCKET_ENDPOINT")?, connections, push::BUDGET);
    push.warm_up().await;
    let function = &Consumer::new(messages, notes, push, number("MAX_RECEIVE_COUNT")?);
    run(service_fn(|event: LambdaEvent<_>| {
        let deadline = event.context.deadline();
        async move { Ok::<_, Error>(function.handle(event.payload, deadline).await) }
    }))
    .await
}
