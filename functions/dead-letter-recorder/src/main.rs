//! The Lambda function that runs every minute.

use std::{process::ExitCode, time::Duration};

use dead_letter_recorder::DeadLetterRecorder;
use intake_platform::{
    aws::{Aws, endpoint},
    configuration::{number, required},
    push::Push,
    settling::Settler,
    telemetry,
};
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::Value;

/// Long enough for ten messages of 256 KiB in one request, short enough for several attempts in 30 seconds.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

// One thread: Lambda hands a process one event at a time.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    telemetry::logged(serve()).await
}

async fn serve() -> Result<(), Error> {
    let aws = Aws::from_env()?;
    let database = aws.dynamodb(ATTEMPT_TIMEOUT);
    let settler = Settler::from_env(&database)?;
    let push = Push::from_env(&aws, database)?;
    let queue = aws_sdk_sqs::Client::new(&aws.config(endpoint("SQS"), ATTEMPT_TIMEOUT));
    let (url, max_receive_count) = (required("DEAD_LETTER_QUEUE_URL")?, number("MAX_RECEIVE_COUNT")?);
    let function = &DeadLetterRecorder::new(queue, url, max_receive_count, settler, push);
    run(service_fn(|event: LambdaEvent<Value>| function.handle(event.context.deadline()))).await
}
