//! The Lambda authorizer of both APIs.

use std::process::ExitCode;

use authorizer::configuration;
use intake_platform::telemetry;
use lambda_runtime::{Error, LambdaEvent, service_fn};

// One thread: Lambda hands a process one event at a time.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    telemetry::logged(serve()).await
}

async fn serve() -> Result<(), Error> {
    let authorizer = configuration::from_env()?;
    authorizer.warm_up().await;
    let authorizer = &authorizer;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<_>| authorizer.handle(event))).await
}
