//! The floor of every function on `lambda_runtime`: it receives an event without reading it, and responds.

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde::{Serialize, de::IgnoredAny};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    status_code: u16,
    body: &'static str,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(service_fn(async |_: LambdaEvent<IgnoredAny>| {
        Ok::<_, Error>(Response { status_code: 201, body: "{}" })
    }))
    .await
}
