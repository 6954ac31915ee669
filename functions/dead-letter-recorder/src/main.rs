//! The Lambda function that runs every minute.

use std::{process::ExitCode, time::Duration};

use aws_sdk_sqs::config::{BehaviorVersion, StalledStreamProtectionConfig};
use dead_letter_recorder::DeadLetterRecorder;
use intake::{
    aws::{self, Aws},
    configuration::{number, optional, required},
    store::{Connections, Messages, Outcomes},
    telemetry,
};
use jiff::SignedDuration;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use queue_consumer::{
    noting::Notes,
    push::{self, Push},
};
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
    let table = required("MESSAGES_TABLE")?;
    let retention = Messages::retention(number("MESSAGE_RETENTION_DAYS")?);
    let messages = Messages::new(database.clone(), &table, retention);
    let note_retention = SignedDuration::from_hours(24 * i64::from(number::<u16>("RECEIPT_RETENTION_DAYS")?));
    let outcomes = Outcomes::new(database.clone(), table);
    let notes = Notes::new(outcomes.clone(), note_retention);
    let connections = Connections::new(database, required("CONNECTIONS_TABLE")?);
    let push = Push::new(&aws, &required("WEBSOCKET_ENDPOINT")?, connections, push::BUDGET);
    let queue_url = required("DEAD_LETTER_QUEUE_URL")?;
    let function = &DeadLetterRecorder::new(queue_client(&aws), queue_url, messages, outcomes, notes, push);
    run(service_fn(|event: LambdaEvent<Value>| function.run(event.context.deadline()))).await
}

/// A client of SQS, at its own endpoint unless `AWS_ENDPOINT_URL_SQS` or `AWS_ENDPOINT_URL` is set.
fn queue_client(aws: &Aws) -> aws_sdk_sqs::Client {
    let mut config = aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(aws.region())
        .credentials_provider(aws.credentials())
        .http_client(aws.http_client())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .timeout_config(aws::timeouts(ATTEMPT_TIMEOUT))
        .retry_config(aws::retries());
    config.set_endpoint_url(optional("AWS_ENDPOINT_URL_SQS").or_else(|| optional("AWS_ENDPOINT_URL")));
    aws_sdk_sqs::Client::from_conf(config.build())
}
