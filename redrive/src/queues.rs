//! The two queues: found, and checked to be what they are taken for.

use std::collections::HashMap;

use aws_sdk_sqs::{Client, types::QueueAttributeName};
use serde_json::Value;

use crate::problem::Problem;

/// A dead-letter queue and the queue that its messages go back to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queues {
    /// The address of the dead-letter queue.
    pub from: String,
    /// The address of the queue.
    pub to: String,
}

/// What the queues say of themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// About how many messages can be received from the dead-letter queue now.
    pub waiting: u64,
    /// About how many others of it somebody has received a moment ago.
    pub in_flight: u64,
    /// Whether the one is the dead-letter queue of the other. It need not be.
    pub belong_together: bool,
}

impl Queues {
    /// The queues of a deployed stack, by the names that CloudFormation makes: `stack-LogicalId-SUFFIX`.
    ///
    /// # Errors
    /// If they cannot be listed, or there is not exactly one of each.
    pub async fn of_stack(client: &Client, stack: &str) -> Result<Self, Problem> {
        let prefix = format!("{stack}-");
        let mut urls = Vec::new();
        let mut pages =
            client.list_queues().queue_name_prefix(&prefix).into_paginator().page_size(1000).send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| Problem::of("ListQueues", &prefix, &error))?;
            urls.extend(page.queue_urls.unwrap_or_default());
        }
        let only = |logical_id: &str| {
            let mut found = urls.iter().filter(|url| is_named(url, stack, logical_id));
            match (found.next(), found.next()) {
                (Some(url), None) => Ok(url.clone()),
                (None, _) => Err(Problem::Unfit(format!(
                    "the stack {stack} has no {logical_id} in this account and region: name the queues with \
                     --from and --to"
                ))),
                (Some(_), Some(_)) => Err(Problem::Unfit(format!(
                    "there are several queues {stack}-{logical_id}-…: name the ones you mean with --from and --to"
                ))),
            }
        };
        Ok(Self { from: only("DeadLetterQueue")?, to: only("Queue")? })
    }

    /// Looks whether both are there and the right way round.
    ///
    /// # Errors
    /// If one is missing or may not be asked, or messages would go in circles between them.
    pub async fn check(&self, client: &Client) -> Result<Checked, Problem> {
        let unfit = |text: &str| Err(Problem::Unfit(text.to_owned()));
        if self.from.ends_with(".fifo") || self.to.ends_with(".fifo") {
            return unfit("FIFO queues are not supported: Intake has none");
        }
        let from = attributes(client, &self.from).await?;
        let to = attributes(client, &self.to).await?;
        let arn = |of: &HashMap<_, String>| of.get(&QueueAttributeName::QueueArn).cloned();
        let (from_arn, to_arn) = (arn(&from), arn(&to));
        if self.from == self.to || from_arn == to_arn {
            return unfit("--from and --to are the same queue");
        }
        if dead_letter_target(&from).is_some_and(|target| Some(target) == to_arn) {
            return unfit("--from and --to are the wrong way round: --to is the dead-letter queue of --from");
        }
        let number = |name| from.get(&name).and_then(|text: &String| text.parse().ok()).unwrap_or(0);
        Ok(Checked {
            waiting: number(QueueAttributeName::ApproximateNumberOfMessages),
            in_flight: number(QueueAttributeName::ApproximateNumberOfMessagesNotVisible),
            belong_together: dead_letter_target(&to).is_some_and(|target| Some(target) == from_arn),
        })
    }
}

async fn attributes(client: &Client, url: &str) -> Result<HashMap<QueueAttributeName, String>, Problem> {
    let asked = client.get_queue_attributes().queue_url(url).attribute_names(QueueAttributeName::All).send();
    let answer = asked.await.map_err(|error| Problem::of("GetQueueAttributes", url, &error))?;
    Ok(answer.attributes.unwrap_or_default())
}

fn dead_letter_target(attributes: &HashMap<QueueAttributeName, String>) -> Option<String> {
    let policy: Value = serde_json::from_str(attributes.get(&QueueAttributeName::RedrivePolicy)?).ok()?;
    policy["deadLetterTargetArn"].as_str().map(str::to_owned)
}

/// Whether an address ends with the name of this resource of this stack.
fn is_named(url: &str, stack: &str, logical_id: &str) -> bool {
    let name = url.rsplit('/').next().unwrap_or(url);
    let rest = name.strip_prefix(stack).and_then(|rest| rest.strip_prefix('-'));
    let suffix = rest.and_then(|rest| rest.strip_prefix(logical_id)).and_then(|rest| rest.strip_prefix('-'));
    suffix.is_some_and(|suffix| !suffix.is_empty() && suffix.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_of_a_stack_is_known_by_its_name() {
        let url = "https://sqs.eu-west-1.amazonaws.com/123456789012/intake-Queue-F7191085C77A0";
        assert!(is_named(url, "intake", "Queue"));
        assert!(!is_named(url, "intake", "DeadLetterQueue"));
        assert!(!is_named(url, "take", "Queue"));
        // Of a stack named intake-Queue.
        assert!(!is_named("https://host/1/intake-Queue-Queue-F7191085C77A0", "intake", "Queue"));
    }
}
