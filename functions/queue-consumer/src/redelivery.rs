//! When SQS delivers a record again that was not settled: soon after a hiccup, and further and further apart in an
//! outage, so that the deliveries last for an hour, and no record waits for much longer than the outage has lasted.

use std::{sync::OnceLock, time::Duration};

use aws_sdk_sqs::Client;
use aws_types::SdkConfig;
use intake_platform::visibility::change_visibility;
use tokio::time::{Instant, timeout_at};

/// The delay doubles this often at most: from 30 s to 32 minutes. SQS hides a message for twelve hours at most.
const MAX_DOUBLINGS: u32 = 6;

/// How much of a delay is added at random at most, so that records that failed together do not come back together.
const RANDOM_PART: f64 = 0.25;

/// A record that is not settled.
#[derive(Debug)]
pub(crate) struct Unacknowledged {
    /// None if the record could not be parsed.
    pub(crate) receipt_handle: Option<String>,
    /// Which delivery this was, from 1.
    pub(crate) attempts: Option<u32>,
}

/// What it takes to hide records of the queue.
#[derive(Clone, Debug)]
pub struct Redelivery {
    config: SdkConfig,
    /// Made when something has failed for the first time: most processes never need it, and have less memory without.
    queue: OnceLock<Client>,
    queue_url: String,
    first_delay: Duration,
    max_receive_count: u32,
}

impl Redelivery {
    /// Of a queue with this `maxReceiveCount`, reached through a client of this `config`. What failed once is delivered
    /// again after `first_delay`.
    pub fn new(
        config: SdkConfig,
        queue_url: impl Into<String>,
        first_delay: Duration,
        max_receive_count: u32,
    ) -> Self {
        let (queue, queue_url) = (OnceLock::new(), queue_url.into());
        Self { config, queue, queue_url, first_delay, max_receive_count }
    }

    /// Whether a delivery with this receive count is the last one before SQS moves the record to the dead-letter queue.
    /// The count is approximate, and may be missing; SQS counts for itself. If this is wrong, the dead-letter recorder
    /// makes up for it.
    pub(crate) fn is_last(&self, attempts: Option<u32>) -> bool {
        attempts.is_some_and(|attempts| attempts >= self.max_receive_count)
    }

    /// Hides records until they are to be delivered again. What SQS has not changed by `until`, or of which nothing is
    /// known, it delivers after the queue's visibility timeout.
    pub(crate) async fn space_out(&self, records: impl IntoIterator<Item = Unacknowledged>, until: Instant) {
        let change = |record: Unacknowledged| Some((record.receipt_handle?, self.delay(record.attempts?)));
        let changes: Vec<_> = records.into_iter().filter_map(change).collect();
        if changes.is_empty() {
            return;
        }
        let queue = self.queue.get_or_init(|| Client::new(&self.config));
        if timeout_at(until, change_visibility(queue, &self.queue_url, changes)).await.is_err() {
            tracing::warn!(error = "no response in time", "records stay hidden for as long as before");
        }
    }

    /// In seconds. None after the last delivery: SQS then moves the record to the dead-letter queue at once.
    fn delay(&self, attempts: u32) -> i32 {
        if self.is_last(Some(attempts)) {
            return 0;
        }
        let doublings = attempts.saturating_sub(1).min(MAX_DOUBLINGS);
        let delay = self.first_delay * 2_u32.pow(doublings);
        let delay = delay.mul_f64(1.0 + RANDOM_PART * fastrand::f64());
        i32::try_from(delay.as_secs()).unwrap_or(i32::MAX)
    }
}
