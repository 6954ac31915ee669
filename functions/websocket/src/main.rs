//! The Lambda function behind the WebSocket API.

use std::{process::ExitCode, time::Duration};

use intake_platform::{
    aws::{Aws, warm_up},
    configuration::{number, required},
    tables::Connections,
    telemetry,
};
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use websocket::WebSocket;

/// Three attempts of this length and the pauses between them end well before the function's 10 seconds.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);

// One thread: Lambda hands a process one event at a time.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    telemetry::logged(serve()).await
}

async fn serve() -> Result<(), Error> {
    let aws = Aws::from_env()?;
    let connections = Connections::new(aws.dynamodb(ATTEMPT_TIMEOUT), required("CONNECTIONS_TABLE")?);
    warm_up(connections.probe_write()).await;
    let max_connections = number("MAX_CONNECTIONS_PER_OWNER")?;
    let function = WebSocket::new(connections, max_connections, aws, required("WEBSOCKET_ENDPOINT")?);
    run(service_fn(|event: LambdaEvent<_>| function.handle(event.payload))).await
}
