//! The Lambda function `authorizer`.

use std::process::ExitCode;

use authorizer::{Authorizer, configuration};
use lambda_runtime::{Error, LambdaEvent, service_fn};

// One thread: Lambda hands a process one event at a time.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    intake::telemetry::init();
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = intake::telemetry::chain(&*error), "stopped");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Error> {
    let authorizer: Authorizer = configuration::from_environment()?;
    authorizer.warm_up().await;
    let authorizer = &authorizer;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<_>| authorizer.handle(event))).await
}
