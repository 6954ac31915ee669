//! Returns dead letters to their queue, and can lose none: a letter is deleted from the dead-letter queue only after the
//! queue has confirmed it. Whatever fails in between, or kills this function, leaves it in both queues, and Intake's
//! consumer stores it once.
//!
//! An operator invokes it, once the cause of the failures is removed. SQS has `start-message-move-task` for this. What
//! it cannot do, and this can: list what is there, with owner, id and time, and change nothing; move some, or those of
//! one owner; leave unattributed records, which would only fail again; and pass the first receipt on, so that a
//! client's receipt still leads to the outcome. No identity of the account may send to the queue: this function's role
//! may, and the gateway's.
//!
//! The story of a redrive:
//!
//! 1. The event is read as a [`Request`]: which letters, and how many.
//! 2. Letters are received, ten at a time, and hidden from other readers.
//! 3. Each that is asked for is sent to the queue, with body, attributes and group as they were, and then deleted. In a
//!    dry run nothing happens to it.
//! 4. That ends when nothing is left to move, or well before the deadline: the [`Report`] says that letters remain.
//! 5. What stays is visible to other readers again.

mod error;
mod letter;
pub mod report;
pub mod request;

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, SystemTime},
};

use aws_sdk_sqs::{
    Client,
    types::{MessageSystemAttributeName, QueueAttributeName},
};
use futures_util::future::join_all;
use intake_platform::{schedule::Schedule, visibility::change_visibility};
use lambda_runtime::Error;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

pub use crate::request::Request;
use crate::{error::SqsError, letter::Letter, report::Report};

/// How many messages SQS returns from one receive at most.
const BATCH: usize = 10;

/// How long a receive waits for messages. One that does not wait asks a part of SQS's servers only, and may return
/// nothing although there are messages.
const WAIT: Duration = Duration::from_secs(1);

/// After so many receives in a row without a new message, and while no other reader hides one, the dead-letter queue is
/// taken for empty.
const MAX_VAIN_RECEIVES: u32 = 2;

/// How many such receives it takes to give up on messages that another reader hides, each a second at least. The
/// recorder hides them for two or three, unless there are thousands. Of two redrives at once, each hides what the other
/// waits for.
const MAX_WAITING_RECEIVES: u32 = 10;

/// How long received messages stay hidden from others, in seconds: longer than this function can run, so that no other
/// reader moves what this one has in hand; and as long as an operator waits after it was killed.
const VISIBILITY_TIMEOUT: i32 = 90;

/// How many letters a report lists at most. A response of Lambda has 6 MB at most ("Lambda quotas"), and an entry with
/// the longest owner, id and reason a little more than 1 KB.
const MAX_LISTED: usize = 5_000;

/// How long it may take to make messages visible again.
const RELEASE_BUDGET: Duration = Duration::from_secs(3);

/// The function, with what it needs for every event.
#[derive(Clone, Debug)]
pub struct Redrive {
    client: Client,
    dead_letter_queue_url: String,
    queue_url: String,
}

impl Redrive {
    /// A function that moves messages from the one queue to the other.
    pub fn new(
        client: Client,
        dead_letter_queue_url: impl Into<String>,
        queue_url: impl Into<String>,
    ) -> Self {
        Self { client, dead_letter_queue_url: dead_letter_queue_url.into(), queue_url: queue_url.into() }
    }

    /// Handles one event.
    ///
    /// # Errors
    /// [`RequestError`](request::RequestError) if the event is no [`Request`]. Whatever happens afterwards is in the report.
    pub async fn handle(&self, event: &Value, deadline: SystemTime) -> Result<Report, Error> {
        let request = Request::parse(event)?;
        let schedule = Schedule::until(deadline);
        let report = Report { dry_run: request.dry_run, ..Report::default() };
        let (sent, kept) = Default::default();
        let mut run = Run { function: self, request, report, sent, kept };
        match run.move_letters(schedule).await {
            Ok(remaining) => run.report.remaining = remaining,
            Err(error) => run.report.error = Some(error.to_string()),
        }
        // Others can receive what stays. What SQS does not release now is visible by itself later.
        let handles = run.kept.into_values().map(|handle| (handle, 0)).collect();
        let releasing = change_visibility(&self.client, &self.dead_letter_queue_url, handles);
        let _ = timeout_at(schedule.notifying(RELEASE_BUDGET), releasing).await;
        let Report { moved, left, failed, remaining, error, .. } = &run.report;
        let (moved, left, failed) = (moved.len(), left.len(), failed.len());
        let dry_run = run.report.dry_run;
        tracing::info!(dry_run, moved, left, failed, reason = remaining, error, "redriven");
        Ok(run.report)
    }
}

/// One redrive.
struct Run<'a> {
    function: &'a Redrive,
    request: Request,
    report: Report,
    /// The message ids that the queue gave. A message keeps its id on its way to the dead-letter queue, so that one
    /// that failed again is known.
    sent: HashSet<String>,
    /// The receipt handles of messages that stay, by message id. They remain hidden until the end, so that the next
    /// receive finds others.
    kept: HashMap<String, String>,
}

/// What happened to a letter that was to be moved.
enum Moved {
    Done(String),
    /// The queue has not confirmed it.
    NotSent(SqsError),
    /// It is in both queues.
    NotDeleted(String, SqsError),
}

impl Run<'_> {
    /// Moves letters, and returns why there may be more.
    async fn move_letters(&mut self, schedule: Schedule) -> Result<Option<String>, SqsError> {
        let mut vain = 0;
        let time_is_up = || Ok(Some("time is up: invoke it again".to_owned()));
        loop {
            // Receives no more than will be moved, because a received message is hidden from others.
            let done = self.report.moved.len() + self.report.failed.len();
            let wanted = self.request.max.map_or(BATCH, |max| max.saturating_sub(done).min(BATCH));
            if wanted == 0 {
                return Ok(None);
            }
            if self.report.len() + BATCH > MAX_LISTED {
                return Ok(Some(format!("one run lists at most {MAX_LISTED} letters: invoke it again")));
            }
            // A receive that begins now may wait.
            let has_time = Instant::now() + WAIT < schedule.storing;
            let received = async { if has_time { Some(self.receive(wanted).await) } else { None } };
            let Ok(Some(received)) = timeout_at(schedule.storing, received).await else {
                return time_is_up();
            };
            let received = received?;
            let new: Vec<_> = received.into_iter().filter(|letter| self.is_new(letter)).collect();
            if new.is_empty() {
                vain += 1;
                let Ok(looked) = timeout_at(schedule.storing, self.hidden_by_others()).await else {
                    return time_is_up();
                };
                match looked? {
                    0 if vain >= MAX_VAIN_RECEIVES => return Ok(None),
                    0 => {}
                    hidden if vain >= MAX_WAITING_RECEIVES => {
                        let others = format!("another reader hides letters ({hidden})");
                        return Ok(Some(format!("{others}: invoke it again in a minute")));
                    }
                    _ => {}
                }
            } else {
                vain = 0;
                self.settle(new, schedule.keeping_outcomes).await?;
            }
        }
    }

    async fn receive(&self, number: usize) -> Result<Vec<Letter>, SqsError> {
        let queue = &self.function.dead_letter_queue_url;
        let request = self.function.client.receive_message().queue_url(queue);
        let received = request
            .max_number_of_messages(i32::try_from(number).unwrap_or(1))
            .wait_time_seconds(i32::try_from(WAIT.as_secs()).unwrap_or(1))
            .visibility_timeout(VISIBILITY_TIMEOUT)
            .message_attribute_names("All")
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .send()
            .await
            .map_err(|error| SqsError::of("ReceiveMessage", queue, &error))?;
        Ok(received.messages.unwrap_or_default().into_iter().map(Letter).collect())
    }

    /// Whether a letter is received for the first time. Otherwise its new handle replaces the old one.
    fn is_new(&mut self, letter: &Letter) -> bool {
        let known = self.kept.get_mut(letter.message_id());
        known.map(|handle| letter.receipt_handle().clone_into(handle)).is_none()
    }

    /// About how many messages others have received and not deleted.
    async fn hidden_by_others(&self) -> Result<usize, SqsError> {
        let name = QueueAttributeName::ApproximateNumberOfMessagesNotVisible;
        let queue = &self.function.dead_letter_queue_url;
        let request = self.function.client.get_queue_attributes().queue_url(queue);
        let response = request.attribute_names(name.clone()).send().await;
        let response = response.map_err(|error| SqsError::of("GetQueueAttributes", queue, &error))?;
        let hidden = response.attributes.and_then(|attributes| attributes.get(&name)?.parse::<usize>().ok());
        Ok(hidden.unwrap_or(0).saturating_sub(self.kept.len()))
    }

    /// Moves what should be moved, side by side, and keeps the rest.
    async fn settle(&mut self, letters: Vec<Letter>, until: Instant) -> Result<(), SqsError> {
        let mut to_move = Vec::new();
        for letter in letters {
            self.keep(&letter);
            if !letter.is_wanted(&self.request) {
                continue;
            }
            if self.sent.contains(letter.message_id()) {
                let reason = "it was moved and has failed again: the consumer's log says why";
                self.report.left.push(letter.entry(Some(reason.to_owned())));
            } else if letter.is_unattributed() && self.request.receipt.is_none() {
                let reason =
                    "it is an unattributed record, which would fail again: ask for its receipt to move it";
                self.report.left.push(letter.entry(Some(reason.to_owned())));
            } else if self.request.dry_run {
                self.report.moved.push(letter.entry(None));
            } else {
                to_move.push(letter);
            }
        }
        let moved = join_all(to_move.iter().map(|letter| self.move_one(letter, until))).await;
        let mut result = Ok(());
        for (letter, moved) in to_move.iter().zip(moved) {
            let (sent, failure) = match moved {
                Moved::Done(sent) => (Some(sent), None),
                Moved::NotSent(error) => (None, Some(("not moved", error))),
                Moved::NotDeleted(sent, error) => (Some(sent), Some(("in both queues", error))),
            };
            self.sent.extend(sent);
            let Some((state, error)) = failure else {
                self.kept.remove(letter.message_id());
                self.report.moved.push(letter.entry(None));
                tracing::info!(receipt = letter.receipt(), "moved");
                continue;
            };
            let reason = format!("{state}: {error}");
            tracing::warn!(receipt = letter.receipt(), reason, "a dead letter was not moved");
            self.report.failed.push(letter.entry(Some(reason)));
            if !error.is_about_one_message() {
                result = Err(error);
            }
        }
        result
    }

    /// Sends a letter to the queue, and deletes it here only if the queue confirms it, by the id that is returned.
    async fn move_one(&self, letter: &Letter, until: Instant) -> Moved {
        let sent = match self.in_time("SendMessage", until, self.send(letter)).await {
            Ok(message_id) => message_id,
            Err(error) => return Moved::NotSent(error),
        };
        match self.in_time("DeleteMessage", until, self.delete(letter)).await {
            Ok(()) => Moved::Done(sent),
            Err(error) => Moved::NotDeleted(sent, error),
        }
    }

    async fn send(&self, letter: &Letter) -> Result<String, SqsError> {
        let queue = &self.function.queue_url;
        let request = letter.fill(self.function.client.send_message().queue_url(queue))?;
        let response = request.send().await;
        let response = response.map_err(|error| SqsError::of("SendMessage", queue, &error))?;
        response.message_id.ok_or_else(|| SqsError::Fatal("SendMessage: a response without an id".to_owned()))
    }

    async fn delete(&self, letter: &Letter) -> Result<(), SqsError> {
        let queue = &self.function.dead_letter_queue_url;
        let request = self.function.client.delete_message().queue_url(queue);
        let deleted = request.receipt_handle(letter.receipt_handle()).send().await;
        deleted.map(drop).map_err(|error| SqsError::of("DeleteMessage", queue, &error))
    }

    /// Whether a request that has no response in time took effect is not known.
    async fn in_time<T>(
        &self,
        operation: &str,
        until: Instant,
        request: impl Future<Output = Result<T, SqsError>>,
    ) -> Result<T, SqsError> {
        let response = timeout_at(until, request).await;
        response.unwrap_or_else(|_| Err(SqsError::Fatal(format!("{operation}: no response in time"))))
    }

    fn keep(&mut self, letter: &Letter) {
        self.kept.insert(letter.message_id().to_owned(), letter.receipt_handle().to_owned());
    }
}
