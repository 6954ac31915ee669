//! The Lambda function that the queue feeds.

use std::{process::ExitCode, time::Duration};

use intake::{
    aws::Aws,
    configuration::{number, required},
    store::connections::Connections,
    store::messages::Messages,
    telemetry,
};
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use queue_consumer::{Consumer, push::Push};

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
    let messages = Messages::new(database.clone(), required("MESSAGES_TABLE")?, retention);
    let connections = Connections::new(database, required("CONNECTIONS_TABLE")?);
    let push = Push::new(&aws, &required("WEBSOCKET_ENDPOINT")?, connections);
    push.warm_up().await;
    let function = &Consumer::new(messages, push, number("MAX_RECEIVE_COUNT")?);
    run(service_fn(|event: LambdaEvent<_>| {
        let deadline = event.context.deadline();
        async move { Ok::<_, Error>(function.handle(event.payload, deadline).await) }
    }))
    .await
}
