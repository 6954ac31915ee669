//! How long received messages of a queue stay hidden from its readers.

use aws_sdk_sqs::{Client, types::ChangeMessageVisibilityBatchRequestEntry};
use futures_util::{StreamExt, stream};

use crate::telemetry::with_causes;

/// What SQS changes in one request at most ("ChangeMessageVisibilityBatch").
const BATCH: usize = 10;

/// More requests at once would save no time.
const MAX_CONCURRENT: usize = 4;

/// Hides messages, given by their receipt handles, for so many seconds from now on; with 0 they are visible at once.
/// What cannot be changed is logged, and stays hidden for as long as before.
pub async fn change_visibility(queue: &Client, queue_url: &str, changes: Vec<(String, i32)>) {
    let changing = stream::iter(changes.chunks(BATCH)).for_each_concurrent(MAX_CONCURRENT, async |changes| {
        let entries = changes.iter().enumerate().filter_map(|(index, (handle, seconds))| {
            let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(index.to_string());
            entry.receipt_handle(handle).visibility_timeout(*seconds).build().ok()
        });
        let request = queue.change_message_visibility_batch().queue_url(queue_url);
        let what = "messages stay hidden for as long as before";
        match request.set_entries(Some(entries.collect())).send().await {
            Ok(changed) => {
                for failed in changed.failed() {
                    tracing::warn!(error = failed.code(), "{what}");
                }
            }
            Err(error) => tracing::warn!(error = with_causes(&error), "{what}"),
        }
    });
    changing.await;
}
