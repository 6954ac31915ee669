//! The Lambda function that the queue feeds.

use std::{process::ExitCode, time::Duration};

use intake_platform::{
    aws::{Aws, endpoint},
    configuration::{number, required},
    push::Push,
    settling::Settler,
    telemetry,
};
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use queue_consumer::{Consumer, redelivery::Redelivery};

/// Long enough for 25 messages of 256 KiB in one request, short enough for several attempts in 30 seconds.
const DATABASE_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// Twice within the time that a response waits for it.
const QUEUE_ATTEMPT_TIMEOUT: Duration = Duration::from_millis(900);

// One thread: Lambda hands a process one event at a time.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    telemetry::logged(serve()).await
}

async fn serve() -> Result<(), Error> {
    // Clients are built once, before the first event: they keep their connections from one batch to the next.
    let aws = Aws::from_env()?;
    let database = aws.dynamodb(DATABASE_ATTEMPT_TIMEOUT);
    let settler = Settler::from_env(&database)?;
    let push = Push::from_env(&aws, database)?;
    push.warm_up().await;
    let queue = aws.config(endpoint("SQS"), QUEUE_ATTEMPT_TIMEOUT);
    let first_delay = Duration::from_secs(number("REDELIVERY_DELAY_SECONDS")?);
    let redelivery =
        Redelivery::new(queue, required("QUEUE_URL")?, first_delay, number("MAX_RECEIVE_COUNT")?);
    let function = &Consumer::new(settler, push, redelivery);
    run(service_fn(|event: LambdaEvent<_>| {
        let deadline = event.context.deadline();
        async move { Ok::<_, Error>(function.handle(event.payload, deadline).await) }
    }))
    .await
}
