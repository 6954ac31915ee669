//! The Lambda function that an operator invokes.

use std::{process::ExitCode, time::Duration};

use intake_platform::{
    aws::{Aws, endpoint},
    configuration::required,
    telemetry,
};
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use redrive::Redrive;
use serde_json::Value;

/// Long enough for ten messages of 256 KiB in one request, short enough for three attempts before the deadline.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);

// One thread: Lambda hands a process one event at a time.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    telemetry::logged(serve()).await
}

async fn serve() -> Result<(), Error> {
    let queues = aws_sdk_sqs::Client::new(&Aws::from_env()?.config(endpoint("SQS"), ATTEMPT_TIMEOUT));
    let function = &Redrive::new(queues, required("DEAD_LETTER_QUEUE_URL")?, required("QUEUE_URL")?);
    // In a box, because the compiler does not compute the size of so many futures in each other.
    run(service_fn(|event: LambdaEvent<Value>| {
        Box::pin(async move { function.handle(&event.payload, event.context.deadline()).await })
    }))
    .await
}
