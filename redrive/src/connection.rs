//! A client of SQS for an operator: with the credentials and settings that every AWS tool takes.

use std::{fs, path::Path, time::Duration};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sqs::{
    Client,
    config::{Credentials, ProvideCredentials, SharedHttpClient, retry::RetryConfig, timeout::TimeoutConfig},
};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};
use serde_json::Value;

use crate::{
    problem::{Problem, last_cause},
    queues::Queues,
};

/// A client with the credentials, region and endpoint of the environment and the chosen profile, like any AWS
/// tool. The region of `queue`, if its address tells one, goes before: SQS finds a queue in its own only.
///
/// # Errors
/// [`Problem`] if there are no credentials or no region.
pub async fn from_environment(queue: Option<&str>) -> Result<Client, Problem> {
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12()).http_client(http_client());
    if let Some(region) = queue.and_then(region_of) {
        loader = loader.region(Region::new(region.to_owned()));
    }
    let config = loader.load().await;
    if config.region().is_none() {
        return Err(Problem::Unfit("no AWS region: set AWS_REGION, or one in your profile".to_owned()));
    }
    look_for_credentials(&config).await?;
    let config =
        aws_sdk_sqs::config::Builder::from(&config).timeout_config(timeouts()).retry_config(retries());
    Ok(Client::from_conf(config.build()))
}

/// Before anything else, because the first operation would only say that it could not be signed.
async fn look_for_credentials(config: &SdkConfig) -> Result<(), Problem> {
    let advice = "choose a profile with AWS_PROFILE, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";
    let Some(provider) = config.credentials_provider() else {
        return Err(Problem::Credentials(advice.to_owned()));
    };
    match provider.provide_credentials().await {
        Ok(_) => Ok(()),
        Err(error) => {
            // Where it has looked is a list of lines, of which the first says that there is nothing.
            let cause = last_cause(&error);
            let cause = cause.lines().next().unwrap_or_default().trim_end_matches(" Attempted:");
            let cause = cause.trim_end_matches('.');
            Err(Problem::Credentials(format!("{cause}: {advice}")))
        }
    }
}

/// The stack that `cargo xtask up` runs, from the file that describes it, and nothing of the user's
/// environment: no real account is ever reached.
///
/// # Errors
/// [`Problem`] if there is none.
pub fn to_local_stack(description: &Path) -> Result<(Client, Queues), Problem> {
    let none = || {
        Problem::Unfit(
            "no local stack is running: start it with `cargo xtask up`, or name a deployed one with --stack"
                .to_owned(),
        )
    };
    let text = fs::read_to_string(description).map_err(|_| none())?;
    let described: Value = serde_json::from_str(&text).map_err(|_| none())?;
    let value = |name: &str| described[name].as_str().map(str::to_owned).ok_or_else(none);
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(value("region")?))
        // The emulator takes any.
        .credentials_provider(Credentials::new("test", "test", None, None, "local stack"))
        .endpoint_url(value("endpoint")?)
        .http_client(http_client())
        .timeout_config(timeouts())
        .retry_config(retries());
    let queues = Queues { from: value("dead_letter_queue_url")?, to: value("queue_url")? };
    Ok((Client::from_conf(config.build()), queues))
}

/// ring instead of aws-lc, as everywhere in Intake; the certificate authorities of this machine.
fn http_client() -> SharedHttpClient {
    Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()
}

/// All attempts at one operation together take less than messages stay hidden while they are in hand.
fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(3))
        .operation_attempt_timeout(Duration::from_secs(15))
        .operation_timeout(Duration::from_secs(40))
        .build()
}

fn retries() -> RetryConfig {
    RetryConfig::standard().with_max_attempts(5)
}

/// The region in the address of a queue on AWS.
fn region_of(queue: &str) -> Option<&str> {
    let host = queue.strip_prefix("https://sqs.")?.split('/').next()?;
    let (region, domain) = host.split_once('.')?;
    domain.starts_with("amazonaws.com").then_some(region)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_is_in_an_address_on_aws() {
        assert_eq!(region_of("https://sqs.eu-west-1.amazonaws.com/123456789012/q"), Some("eu-west-1"));
        assert_eq!(region_of("https://sqs.cn-north-1.amazonaws.com.cn/123456789012/q"), Some("cn-north-1"));
        assert_eq!(region_of("http://127.0.0.1:4566/000000000000/q"), None);
        assert_eq!(region_of("q"), None);
    }

    #[test]
    fn without_a_description_there_is_no_local_stack() {
        let problem = to_local_stack(Path::new("does/not/exist.json")).unwrap_err();
        assert!(problem.to_string().contains("cargo xtask up"), "{problem}");
    }
}
