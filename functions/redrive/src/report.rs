//! What a redrive has done.

use serde::Serialize;

/// The response of the function. In a dry run, `moved` are the letters that would be moved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Whether nothing was sent and deleted.
    pub dry_run: bool,
    /// Letters that are in the queue now, and no longer in the dead-letter queue.
    pub moved: Vec<Entry>,
    /// Letters that stay, with the reason.
    pub left: Vec<Entry>,
    /// Letters that may be in both queues, or could not be sent, with the reason.
    pub failed: Vec<Entry>,
    /// Why there may be more letters of those that were asked for; none if all were found, or as many as wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remaining: Option<String>,
    /// What ended the run before its time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A dead letter in the report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// The receipt that the client got; of an unattributed record, its message id in SQS.
    pub receipt: String,
    /// The owner, if it names a valid one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The id that the client gave it, cut if it is too long for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// When its request was received for the first time, in UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received_at: Option<String>,
    /// Why it was not moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Report {
    /// How many letters it lists.
    pub(crate) fn len(&self) -> usize {
        self.moved.len() + self.left.len() + self.failed.len()
    }
}
