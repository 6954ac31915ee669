//! A client of SQS for an operator: with the credentials and settings that every AWS tool takes.

use std::{fs, path::Path, time::Duration};

use aws_config::{BehaviorVersion, Region, SdkConfig, sts::AssumeRoleProvider};
use aws_sdk_sqs::{
    Client,
    config::{
        Credentials, ProvideCredentials, SharedCredentialsProvider, SharedHttpClient, retry::RetryConfig,
        timeout::TimeoutConfig,
    },
};
use aws_smithy_async::{rt::sleep::TokioSleep, time::SystemTimeSource};
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
/// tool. The region of `queue`, if its address tells one, goes before: SQS finds a queue in its own only. With
/// `role`, an ARN, the credentials are only used to take that role.
///
/// # Errors
/// [`Problem`] if there are no credentials or no region, or the role may not be taken.
pub async fn from_environment(queue: Option<&str>, role: Option<&str>) -> Result<Client, Problem> {
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12()).http_client(http_client());
    if let Some(region) = queue.and_then(region_of) {
        loader = loader.region(Region::new(region.to_owned()));
    }
    let config = loader.load().await;
    if config.region().is_none() {
        return Err(Problem::Unfit("no AWS region: set AWS_REGION, or one in your profile".to_owned()));
    }
    look_for_credentials(&config).await?;
    match role {
        Some(role) => in_role(&config, role).await,
        None => Ok(client(&config)),
    }
}

fn client(config: &SdkConfig) -> Client {
    let config =
        aws_sdk_sqs::config::Builder::from(config).timeout_config(timeouts()).retry_config(retries());
    Client::from_conf(config.build())
}

/// A client that is in a role.
async fn in_role(config: &SdkConfig, role: &str) -> Result<Client, Problem> {
    let provider = AssumeRoleProvider::builder(role).session_name("redrive").configure(config).build().await;
    // Before anything else, as with the credentials themselves.
    if let Err(error) = provider.provide_credentials().await {
        return Err(Problem::Credentials(format!(
            "the role {role} may not be taken: {}",
            last_cause(&error)
        )));
    }
    let provider = SharedCredentialsProvider::new(provider);
    Ok(client(&config.to_builder().credentials_provider(provider).build()))
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
/// environment: no real account is ever reached. As on AWS, only a role may put dead letters back.
///
/// # Errors
/// [`Problem`] if there is none.
pub async fn to_local_stack(description: &Path) -> Result<(Client, Queues), Problem> {
    let none = || {
        Problem::Unfit(
            "no local stack is running: start it with `cargo xtask up`, or name a deployed one with --stack"
                .to_owned(),
        )
    };
    let text = fs::read_to_string(description).map_err(|_| none())?;
    let described: Value = serde_json::from_str(&text).map_err(|_| none())?;
    let value = |name: &str| described[name].as_str().map(str::to_owned).ok_or_else(none);
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(value("region")?))
        // The emulator takes these for the account itself.
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
            "test",
            "test",
            None,
            None,
            "local stack",
        )))
        .endpoint_url(value("endpoint")?)
        .sleep_impl(TokioSleep::new())
        .time_source(SystemTimeSource::new())
        .http_client(http_client())
        .build();
    let queues = Queues { from: value("dead_letter_queue_url")?, to: value("queue_url")? };
    Ok((in_role(&config, &value("redrive_role")?).await?, queues))
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

    #[tokio::test]
    async fn without_a_description_there_is_no_local_stack() {
        let problem = to_local_stack(Path::new("does/not/exist.json")).await.unwrap_err();
        assert!(problem.to_string().contains("cargo xtask up"), "{problem}");
    }
}
