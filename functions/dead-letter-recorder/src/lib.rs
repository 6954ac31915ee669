//! Records the outcome of dead letters that have none, and notifies their owners.
//!
//! The consumer records a failure on a message's last delivery. If it is killed in that delivery, or the table is
//! unavailable, the message reaches the dead-letter queue without an outcome, and its look-up would say `queued`
//! until the queue drops it. This function runs every minute, does for such messages what the consumer could not
//! do, and leaves them in the dead-letter queue, from where a redrive returns them.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use aws_lambda_events::sqs::{SqsMessage, SqsMessageAttribute};
use aws_sdk_sqs::{
    Client,
    types::{Message, MessageSystemAttributeName},
};
use intake::{
    metrics::{Metric, Metrics},
    state::{Note, Record, Status},
    store::{Messages, Outcomes, outcomes::Found},
    telemetry::with_causes,
};
use lambda_runtime::Error;
use queue_consumer::{
    delivery::{Delivery, ParsedRecord, parse},
    noting::Notes,
    push::Push,
    report::Settlement,
    schedule::Schedule,
    storing::store,
};
use tokio::time::Instant;

/// What SQS returns from one receive at most.
const BATCH: i32 = 10;

/// How long received letters stay hidden, in seconds. Long enough that one run seldom sees a letter twice, short
/// enough that a redrive can wait for it.
const VISIBILITY_TIMEOUT: i32 = 10;

/// A run ends after so many receives in a row without a letter that needs an outcome, so that a full dead-letter
/// queue costs no more than these each minute.
const MAX_IDLE_RECEIVES: u32 = 100;

/// How many receipts a process remembers to have an outcome.
const MAX_REMEMBERED: usize = 100_000;

/// The function, with what it needs for every run.
#[derive(Debug)]
pub struct DeadLetterRecorder {
    queue: Client,
    dead_letter_queue_url: String,
    messages: Messages,
    outcomes: Outcomes,
    notes: Notes,
    push: Push,
    /// Records whose outcome was found or recorded before: their letters need no look-up.
    done: Mutex<HashSet<String>>,
}

impl DeadLetterRecorder {
    /// A function that receives from this queue, records into these tables and pushes to these sockets.
    pub fn new(
        queue: Client,
        dead_letter_queue_url: impl Into<String>,
        messages: Messages,
        outcomes: Outcomes,
        notes: Notes,
        push: Push,
    ) -> Self {
        let dead_letter_queue_url = dead_letter_queue_url.into();
        Self { queue, dead_letter_queue_url, messages, outcomes, notes, push, done: Mutex::default() }
    }

    /// Runs once: until the queue shows no letters any more, none of them needs an outcome, or time is up.
    ///
    /// # Errors
    /// If the queue cannot be read, or a letter still has no outcome: the next run tries again.
    pub async fn run(&self, deadline: SystemTime) -> Result<(), Error> {
        let schedule = Schedule::until(deadline);
        let mut metrics = Metrics::default();
        let mut idle_receives = 0;
        let mut unrecorded = 0;
        let mut received = HashSet::new();
        while idle_receives < MAX_IDLE_RECEIVES && Instant::now() < schedule.storing {
            let letters = self.receive().await?;
            if letters.is_empty() {
                break;
            }
            // Letters that show a second time in one run have been dealt with.
            let letters: Vec<_> =
                letters.into_iter().filter(|letter| received.insert(letter.message_id.clone())).collect();
            let (open, failed) = self.without_outcome(letters).await;
            unrecorded += failed;
            idle_receives = if open.is_empty() { idle_receives + 1 } else { 0 };
            if !open.is_empty() {
                unrecorded += self.record(open, schedule, &mut metrics).await;
            }
        }
        metrics.write();
        match unrecorded {
            0 => Ok(()),
            number => Err(format!("{number} dead letters have no outcome yet").into()),
        }
    }

    async fn receive(&self) -> Result<Vec<SqsMessage>, Error> {
        let received = self
            .queue
            .receive_message()
            .queue_url(&self.dead_letter_queue_url)
            .max_number_of_messages(BATCH)
            .visibility_timeout(VISIBILITY_TIMEOUT)
            .message_attribute_names("All")
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .send()
            .await?;
        Ok(received.messages.unwrap_or_default().into_iter().map(as_record).collect())
    }

    /// The letters whose look-up would say `queued`; and how many could not be looked up. Unattributed records are not
    /// among them, because no client can look them up.
    async fn without_outcome(&self, letters: Vec<SqsMessage>) -> (Vec<ParsedRecord>, usize) {
        let (mut open, mut failed) = (Vec::new(), 0);
        for record in letters.into_iter().map(parse) {
            let found = match &record {
                ParsedRecord::Unattributed(_) => continue,
                _ if self.is_done(record.record_id()) => continue,
                ParsedRecord::Message(Delivery { receipt, incoming, .. }) => {
                    self.outcomes.find(Some(&incoming.key), &incoming.key.owner, receipt).await
                }
                ParsedRecord::IllegalId(illegal) => {
                    let Note { owner, receipt, .. } = &illegal.note;
                    self.outcomes.find(None, owner, receipt).await
                }
            };
            match found {
                Ok(found) if is_settled(&found) => self.remember(record.record_id()),
                Ok(_) => open.push(record),
                Err(error) if error.is_transient() => {
                    tracing::warn!(error = with_causes(&error), "a dead letter could not be looked up");
                    failed += 1;
                }
                // The item under its key was not written by Intake: its failure can still be noted.
                Err(_) => open.push(record),
            }
        }
        (open, failed)
    }

    /// Records and notes outcomes, and notifies the owners. Returns how many letters have no outcome yet.
    async fn record(&self, open: Vec<ParsedRecord>, schedule: Schedule, metrics: &mut Metrics) -> usize {
        let number = open.len();
        let mut deliveries = Vec::new();
        let mut settlements = Vec::new();
        for record in open {
            match record {
                ParsedRecord::Message(delivery) => deliveries.push(delivery.exhausted()),
                ParsedRecord::IllegalId(illegal) => settlements.push(Settlement::of_illegal_id(illegal)),
                ParsedRecord::Unattributed(_) => {}
            }
        }
        let recorded = store(&self.messages, &deliveries, schedule.recording_failures).await;
        let recorded = deliveries.into_iter().zip(recorded);
        settlements.extend(
            recorded.filter_map(|(delivery, progress)| Settlement::of_exhausted(delivery, progress).ok()),
        );

        let notes: Vec<_> = settlements.iter().filter_map(Settlement::note).collect();
        let mut noted = self.notes.write(&notes, schedule.noting).await.into_iter();
        let mut notifications = Vec::new();
        for settlement in settlements {
            if settlement.note().is_none() || noted.next() == Some(true) {
                settlement.log();
                self.remember(settlement.record_id());
                metrics.count(Metric::Failed, usize::from(settlement.status() == Status::Failed));
                notifications.push(settlement.notification());
            }
        }
        self.push.notify(&notifications, schedule).await.count(metrics);
        number - notifications.len()
    }

    fn is_done(&self, record_id: &str) -> bool {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).contains(record_id)
    }

    fn remember(&self, record_id: &str) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        if done.len() == MAX_REMEMBERED {
            done.clear();
        }
        done.insert(record_id.to_owned());
    }
}

/// A received message in the form in which Lambda passes records on.
fn as_record(message: Message) -> SqsMessage {
    let system = message.attributes.unwrap_or_default();
    let attributes = message.message_attributes.unwrap_or_default().into_iter().map(|(name, value)| {
        let mut attribute = SqsMessageAttribute::default();
        attribute.string_value = value.string_value;
        attribute.data_type = Some(value.data_type);
        (name, attribute)
    });
    let mut record = SqsMessage::default();
    record.message_id = message.message_id;
    record.body = message.body;
    record.attributes = system.into_iter().map(|(name, value)| (name.as_str().to_owned(), value)).collect();
    record.message_attributes = attributes.collect();
    record
}

/// Whether the outcome stays: a note does, and so does a stored message; another record may be replaced.
fn is_settled(found: &Found) -> bool {
    let is_stored = |record: &Record| record.status == Status::Stored;
    found.note.is_some() || found.record.as_ref().is_some_and(is_stored)
}
