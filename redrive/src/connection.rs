//! The queues of a stack, and a client of SQS in the stack's role.

use std::{fs, path::Path, time::Duration};

use aws_config::{BehaviorVersion, Region, SdkConfig, sts::AssumeRoleProvider};
use aws_sdk_sqs::{
    Client,
    config::{
        Credentials, ProvideCredentials, SharedCredentialsProvider, SharedHttpClient, timeout::TimeoutConfig,
    },
};
use aws_smithy_async::{rt::sleep::TokioSleep, time::SystemTimeSource};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};
use serde_json::Value;

use crate::error::{RedriveError, last_cause};

/// A dead-letter queue and the queue that its messages are redriven to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queues {
    /// The URL of the dead-letter queue.
    pub from: String,
    /// The URL of the queue.
    pub to: String,
}

/// A deployed stack, with the credentials, region and endpoint of the environment and the chosen profile, as any
/// AWS tool uses them. They find the queues; `role`, an ARN, moves the messages.
///
/// # Errors
/// [`RedriveError`] if there are no credentials, no region or no such queues, or the role cannot be assumed.
pub async fn to_stack(name: &str, role: Option<&str>) -> Result<(Client, Queues), RedriveError> {
    let loader = aws_config::defaults(BehaviorVersion::v2026_01_12());
    let config = loader.http_client(http_client()).load().await;
    if config.region().is_none() {
        return Err(RedriveError::Fatal("no AWS region: set AWS_REGION, or one in your profile".to_owned()));
    }
    let advice = "no AWS credentials (choose a profile with AWS_PROFILE, or set AWS_ACCESS_KEY_ID and \
                  AWS_SECRET_ACCESS_KEY)";
    let provider = config.credentials_provider().ok_or_else(|| RedriveError::Fatal(advice.to_owned()))?;
    check(&provider, advice).await?;
    let queues = Queues::of_stack(&client(&config), name).await?;
    let client = match role {
        Some(role) => in_role(&config, role).await?,
        None => client(&config),
    };
    Ok((client, queues))
}

/// The stack that `cargo xtask up` runs, from the file that describes it and nothing of the user's environment: it
/// never reaches a real account. As on AWS, only the role may move messages.
///
/// # Errors
/// [`RedriveError`] if there is none.
pub async fn to_local_stack(description: &Path) -> Result<(Client, Queues), RedriveError> {
    let none = || {
        let advice = "start it with `cargo xtask up`, or name a deployed one with --stack";
        RedriveError::Fatal(format!("no local stack is running: {advice}"))
    };
    let text = fs::read_to_string(description).map_err(|_| none())?;
    let described: Value = serde_json::from_str(&text).map_err(|_| none())?;
    let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(none);
    let value = |name: &str| text(&described[name]);
    // The emulator treats these as those of the account itself.
    let credentials = Credentials::new("test", "test", None, None, "local stack");
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(value("region")?))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .endpoint_url(text(&described["emulator"]["endpoint"])?)
        // Assuming a role panics without these two.
        .sleep_impl(TokioSleep::new())
        .time_source(SystemTimeSource::new())
        .http_client(http_client())
        .build();
    let queues = Queues { from: value("dead_letter_queue_url")?, to: value("queue_url")? };
    Ok((in_role(&config, &value("redrive_role")?).await?, queues))
}

/// A client that has assumed a role.
async fn in_role(config: &SdkConfig, role: &str) -> Result<Client, RedriveError> {
    let provider = AssumeRoleProvider::builder(role).session_name("redrive").configure(config).build().await;
    check(&provider, &format!("cannot assume the role {role}")).await?;
    let provider = SharedCredentialsProvider::new(provider);
    Ok(client(&config.to_builder().credentials_provider(provider).build()))
}

/// Before anything else, because the first operation would only say that it could not be signed.
async fn check(provider: &impl ProvideCredentials, failure: &str) -> Result<(), RedriveError> {
    let credentials = provider.provide_credentials().await;
    credentials.map(drop).map_err(|error| RedriveError::Fatal(format!("{failure}: {}", last_cause(&error))))
}

/// ring instead of aws-lc, as everywhere in Intake; the certificate authorities of this machine.
fn http_client() -> SharedHttpClient {
    Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()
}

fn client(config: &SdkConfig) -> Client {
    // All attempts at one operation together end long before received messages show again.
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(3))
        .operation_attempt_timeout(Duration::from_secs(15))
        .operation_timeout(Duration::from_secs(40));
    let config = aws_sdk_sqs::config::Builder::from(config).timeout_config(timeouts.build());
    Client::from_conf(config.build())
}

impl Queues {
    /// Finds the queues of a stack by the names that CloudFormation gives them: `stack-LogicalId-SUFFIX`.
    async fn of_stack(client: &Client, stack: &str) -> Result<Self, RedriveError> {
        let prefix = format!("{stack}-");
        let mut urls = Vec::new();
        // A page size, without which SQS returns no further pages.
        let mut pages =
            client.list_queues().queue_name_prefix(&prefix).into_paginator().page_size(1000).send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| RedriveError::of("ListQueues", &format!("{prefix}*"), &error))?;
            urls.extend(page.queue_urls.unwrap_or_default());
        }
        let only = |logical_id: &str| {
            let found: Vec<_> = urls.iter().filter(|url| is_named(url, stack, logical_id)).collect();
            let [url] = found[..] else {
                let number = found.len();
                return Err(RedriveError::Fatal(format!(
                    "found {number} queues named {stack}-{logical_id}-… in this account and region, not one"
                )));
            };
            Ok(url.clone())
        };
        Ok(Self { from: only("DeadLetterQueue")?, to: only("Queue")? })
    }
}

/// Whether a URL ends with the name of this resource of this stack. The host differs between AWS partitions.
fn is_named(url: &str, stack: &str, logical_id: &str) -> bool {
    let name = url.rsplit('/').next().unwrap_or(url);
    let suffix = name.strip_prefix(&format!("{stack}-{logical_id}-"));
    suffix.is_some_and(|suffix| !suffix.is_empty() && suffix.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_of_a_stack_is_known_by_its_name_in_every_partition() {
        for host in ["eu-west-1.amazonaws.com", "cn-north-1.amazonaws.com.cn", "eusc-de-east-1.amazonaws.eu"]
        {
            let url = format!("https://sqs.{host}/123456789012/intake-Queue-F7191085C77A0");
            let is = |stack, logical_id| is_named(&url, stack, logical_id);
            assert!(is("intake", "Queue") && !is("intake", "DeadLetterQueue") && !is("take", "Queue"));
        }
        // Of a stack named intake-Queue.
        assert!(!is_named("https://host/1/intake-Queue-Queue-F7191085C77A0", "intake", "Queue"));
    }
}
