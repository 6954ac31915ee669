//! One redrive, from the first receive to the summary.

use std::collections::{HashMap, HashSet};

use aws_sdk_sqs::{
    Client,
    types::{ChangeMessageVisibilityBatchRequestEntry, MessageSystemAttributeName, QueueAttributeName},
};
use futures_util::future::join_all;

use crate::{connection::Queues, dead_letter::DeadLetter, error::RedriveError};

/// How many messages SQS returns from one receive at most.
const RECEIVE_LIMIT: u64 = 10;
/// How long received messages stay hidden from others: longer than sending and deleting them can take with all
/// retries, and as long as an operator would wait after killing this process.
const VISIBILITY_TIMEOUT_SECONDS: i32 = 300;
/// How many receives in a row may find nothing new while other readers hide messages. One that finds nothing at all
/// takes a second, and the dead-letter recorder hides messages for ten.
const MAX_VAIN_RECEIVES: u32 = 60;

/// What to do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Only look: send and delete nothing.
    pub dry_run: bool,
    /// How many messages to move at most.
    pub max: Option<u64>,
    /// Move unattributed records, too.
    pub include_unattributed: bool,
}

/// What happened to a message; in a dry run, what would happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// It is in the queue only.
    Moved,
    /// It stays, as an unattributed record.
    Unattributed,
    /// It was moved by this run, has failed again, and stays: moving it again might never end.
    FailedAgain,
    /// The queue has not confirmed it. It stays.
    NotMoved(RedriveError),
    /// It is in both queues: it was sent, and could not be deleted.
    NotDeleted(RedriveError),
}

/// How many messages had which disposition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// [`Disposition::Moved`]
    pub moved: u64,
    /// [`Disposition::Unattributed`]
    pub unattributed: u64,
    /// [`Disposition::FailedAgain`]
    pub failed_again: u64,
    /// [`Disposition::NotMoved`]
    pub not_moved: u64,
    /// [`Disposition::NotDeleted`]
    pub not_deleted: u64,
    /// Still hidden by other readers at the end.
    pub hidden: u64,
}

/// Redrives until nothing is left, the limit is reached, or `stop` says so between two receives. `report` learns
/// each disposition as soon as it is known. What was received and stays can be received by others afterwards.
pub async fn redrive(
    client: &Client,
    queues: &Queues,
    options: Options,
    stop: impl Fn() -> bool,
    report: impl FnMut(&DeadLetter, &Disposition),
) -> (Summary, Result<(), RedriveError>) {
    let (summary, sent, kept) = Default::default();
    let mut run = Run { client, queues, options, report, summary, sent, kept };
    let result = run.until_empty(stop).await;
    run.release().await;
    (run.summary, result)
}

struct Run<'a, F> {
    client: &'a Client,
    queues: &'a Queues,
    options: Options,
    report: F,
    summary: Summary,
    /// The message ids that the queue gave. A message keeps its id on its way to the dead-letter queue, so that one
    /// that failed again is known.
    sent: HashSet<String>,
    /// The receipt handles of messages that stay, by message id. They remain hidden until the end, so that the next
    /// receive finds others.
    kept: HashMap<String, String>,
}

impl<F: FnMut(&DeadLetter, &Disposition)> Run<'_, F> {
    async fn until_empty(&mut self, stop: impl Fn() -> bool) -> Result<(), RedriveError> {
        let mut vain = 0;
        while !stop() {
            // Receives no more than will be moved, because a received message is hidden from others.
            let done = self.summary.moved + self.summary.not_deleted;
            let wanted =
                self.options.max.map_or(RECEIVE_LIMIT, |max| max.saturating_sub(done).min(RECEIVE_LIMIT));
            if wanted == 0 {
                return Ok(());
            }
            let received = self.receive(wanted).await?;
            let is_empty = received.is_empty();
            // In a long run, those that stay show again.
            let new: Vec<_> = received.into_iter().filter(|dead_letter| self.is_new(dead_letter)).collect();
            if !new.is_empty() {
                self.settle(new).await?;
                vain = 0;
                continue;
            }
            vain += 1;
            let hidden = self.hidden_by_others().await?;
            if (is_empty && hidden == 0) || vain == MAX_VAIN_RECEIVES {
                self.summary.hidden = hidden;
                return Ok(());
            }
        }
        Ok(())
    }

    async fn receive(&self, number: u64) -> Result<Vec<DeadLetter>, RedriveError> {
        let received = self
            .client
            .receive_message()
            .queue_url(&self.queues.from)
            .max_number_of_messages(i32::try_from(number).unwrap_or(1))
            .message_attribute_names("All")
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .visibility_timeout(VISIBILITY_TIMEOUT_SECONDS)
            // Unless it waits, SQS asks only some of its servers and may overlook messages.
            .wait_time_seconds(1)
            .send()
            .await
            .map_err(|error| RedriveError::of("ReceiveMessage", &self.queues.from, &error))?;
        Ok(received.messages.unwrap_or_default().into_iter().map(DeadLetter).collect())
    }

    /// Whether a message is received for the first time. Otherwise its new handle replaces the old one.
    fn is_new(&mut self, dead_letter: &DeadLetter) -> bool {
        let known = self.kept.get_mut(dead_letter.message_id());
        known.map(|handle| dead_letter.receipt_handle().clone_into(handle)).is_none()
    }

    /// About how many messages others have received and not deleted.
    async fn hidden_by_others(&self) -> Result<u64, RedriveError> {
        let name = QueueAttributeName::ApproximateNumberOfMessagesNotVisible;
        let request = self.client.get_queue_attributes().queue_url(&self.queues.from);
        let response = request.attribute_names(name.clone()).send().await;
        let response =
            response.map_err(|error| RedriveError::of("GetQueueAttributes", &self.queues.from, &error))?;
        let hidden = response.attributes.and_then(|attributes| attributes.get(&name)?.parse::<u64>().ok());
        Ok(hidden.unwrap_or(0).saturating_sub(self.kept.len().try_into().unwrap_or(u64::MAX)))
    }

    /// Moves what should be moved, at the same time, and keeps the rest.
    async fn settle(&mut self, dead_letters: Vec<DeadLetter>) -> Result<(), RedriveError> {
        let mut to_move = Vec::new();
        for dead_letter in dead_letters {
            if self.sent.contains(dead_letter.message_id()) {
                self.note(&dead_letter, &Disposition::FailedAgain);
            } else if dead_letter.is_unattributed() && !self.options.include_unattributed {
                self.note(&dead_letter, &Disposition::Unattributed);
            } else if self.options.dry_run {
                self.note(&dead_letter, &Disposition::Moved);
            } else {
                to_move.push(dead_letter);
            }
        }
        let moved = join_all(to_move.iter().map(|dead_letter| self.move_one(dead_letter))).await;
        let mut result = Ok(());
        for (dead_letter, (sent, disposition)) in to_move.iter().zip(moved) {
            self.sent.extend(sent);
            if let Disposition::NotMoved(problem) | Disposition::NotDeleted(problem) = &disposition
                && matches!(problem, RedriveError::Fatal(_))
            {
                result = Err(problem.clone());
            }
            self.note(dead_letter, &disposition);
        }
        result
    }

    /// Counts and reports a disposition, and keeps the message unless it is gone.
    fn note(&mut self, dead_letter: &DeadLetter, disposition: &Disposition) {
        if *disposition != Disposition::Moved || self.options.dry_run {
            self.kept.insert(dead_letter.message_id().to_owned(), dead_letter.receipt_handle().to_owned());
        }
        *match disposition {
            Disposition::Moved => &mut self.summary.moved,
            Disposition::Unattributed => &mut self.summary.unattributed,
            Disposition::FailedAgain => &mut self.summary.failed_again,
            Disposition::NotMoved(_) => &mut self.summary.not_moved,
            Disposition::NotDeleted(_) => &mut self.summary.not_deleted,
        } += 1;
        (self.report)(dead_letter, disposition);
    }

    /// Sends a message to the queue, and deletes it here only if the queue confirms it, by the id that is returned.
    async fn move_one(&self, dead_letter: &DeadLetter) -> (Option<String>, Disposition) {
        let sent = match self.send(dead_letter).await {
            Ok(message_id) => message_id,
            Err(problem) => return (None, Disposition::NotMoved(problem)),
        };
        let delete = self.client.delete_message().queue_url(&self.queues.from);
        match delete.receipt_handle(dead_letter.receipt_handle()).send().await {
            Ok(_) => (Some(sent), Disposition::Moved),
            Err(error) => {
                let problem = RedriveError::of("DeleteMessage", &self.queues.from, &error);
                (Some(sent), Disposition::NotDeleted(problem))
            }
        }
    }

    async fn send(&self, dead_letter: &DeadLetter) -> Result<String, RedriveError> {
        let request = self.client.send_message().queue_url(&self.queues.to);
        let request =
            dead_letter.fill(request).map_err(|error| RedriveError::OneMessage(error.to_string()))?;
        let response = request.send().await;
        let response = response.map_err(|error| RedriveError::of("SendMessage", &self.queues.to, &error))?;
        response
            .message_id
            .ok_or_else(|| RedriveError::Fatal("SendMessage: a response without an id".to_owned()))
    }

    /// Lets others receive what stays. What SQS does not release now shows by itself later.
    async fn release(&self) {
        let handles: Vec<_> = self.kept.values().collect();
        for handles in handles.chunks(10) {
            let entries = handles.iter().enumerate().filter_map(|(place, handle)| {
                let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(place.to_string());
                entry.receipt_handle(*handle).visibility_timeout(0).build().ok()
            });
            let request = self.client.change_message_visibility_batch().queue_url(&self.queues.from);
            let _ = request.set_entries(Some(entries.collect())).send().await;
        }
    }
}
