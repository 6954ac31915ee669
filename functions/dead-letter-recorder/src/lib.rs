//! Writes the outcome of dead letters that have none, and notifies their owners.
//!
//! The consumer writes `failed` on a message's last delivery. If it is killed in that delivery, or the table is
//! unavailable, the message reaches the dead-letter queue without an outcome, and its look-up would say `queued` for
//! ever. This function runs every minute, does for such messages what the consumer could not
//! do, and leaves them in the dead-letter queue, from where a redrive returns them.
//!
//! The story of a run:
//!
//! 1. Dead letters are received, ten at a time, until a receive is empty, many in a row bring nothing new, or time is
//!    up. They are hidden for a moment and come back by themselves: nothing is deleted here.
//! 2. Each is parsed as the consumer parses records, and its outcome is looked up as a client would.
//! 3. Those without an outcome get one, most often `failed`: they are settled as the consumer settles its last deliveries.
//! 4. Their owners are notified.

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
use intake_domain::{message::Receipt, state::Status};
use intake_platform::{
    delivery::Delivery,
    metrics::{Metric, Metrics},
    push::Push,
    record::parse,
    schedule::Schedule,
    settling::Settler,
    tables::outcomes::Found,
    telemetry::with_causes,
};
use lambda_runtime::Error;
use tokio::time::Instant;

/// What SQS returns from one receive at most.
const BATCH: i32 = 10;

/// How long received messages stay hidden, in seconds. Long enough that one run seldom sees one twice, short enough
/// that a redrive can wait for it.
const VISIBILITY_TIMEOUT: i32 = 10;

/// A run ends after so many receives in a row without a message that needs an outcome, so that a full dead-letter
/// queue costs no more than these each minute.
const MAX_IDLE_RECEIVES: u32 = 100;

/// How many records with an outcome a process remembers.
const MAX_REMEMBERED: usize = 100_000;

/// The function, with what it needs for every run.
#[derive(Debug)]
pub struct DeadLetterRecorder {
    queue: Client,
    dead_letter_queue_url: String,
    settler: Settler,
    push: Push,
    /// Records whose outcome was found or written before: they need no look-up.
    /// In a mutex, because the function is shared by all invocations of a process, though Lambda makes one at a time.
    done: Mutex<HashSet<String>>,
}

impl DeadLetterRecorder {
    /// A function that receives from this queue, settles through `settler` and notifies through `push`.
    pub fn new(
        queue: Client,
        dead_letter_queue_url: impl Into<String>,
        settler: Settler,
        push: Push,
    ) -> Self {
        let dead_letter_queue_url = dead_letter_queue_url.into();
        Self { queue, dead_letter_queue_url, settler, push, done: Mutex::default() }
    }

    /// Runs once: until a receive is empty, [`MAX_IDLE_RECEIVES`] in a row bring nothing without an outcome, or time is up.
    ///
    /// # Errors
    /// If the queue cannot be read, or a message still has no outcome: the next run tries again. As an error of the
    /// function it reaches the alarm.
    pub async fn run(&self, deadline: SystemTime) -> Result<(), Error> {
        let schedule = Schedule::until(deadline);
        let mut metrics = Metrics::default();
        let mut idle_receives = 0;
        let mut unsettled = 0;
        let mut received = HashSet::new();
        while idle_receives < MAX_IDLE_RECEIVES && Instant::now() < schedule.storing {
            let records = self.receive().await?;
            if records.is_empty() {
                break;
            }
            // What is received a second time in one run has had its turn.
            let records: Vec<_> =
                records.into_iter().filter(|record| received.insert(record.message_id.clone())).collect();
            let (open, not_looked_up) = self.without_outcome(records).await;
            unsettled += not_looked_up;
            idle_receives = if open.is_empty() { idle_receives + 1 } else { 0 };
            if !open.is_empty() {
                unsettled += self.settle(open, schedule, &mut metrics).await;
            }
        }
        metrics.write();
        match unsettled {
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

    /// The deliveries whose look-up would say `queued`; and how many could not be looked up. Unattributed records are not
    /// among them, because no client can look them up.
    async fn without_outcome(&self, records: Vec<SqsMessage>) -> (Vec<Delivery>, usize) {
        let (mut open, mut not_looked_up) = (Vec::new(), 0);
        for deliveries in records.into_iter().flat_map(parse) {
            // The outcomes of a bulk are kept together: its first message stands for all.
            let Some(first) = deliveries.first() else { continue };
            if self.is_done(&first.request.record_id) {
                continue;
            }
            match self.settler.find_outcome(first).await {
                Ok(found) if is_final(&found, &first.request.receipt) => {
                    self.remember(&first.request.record_id)
                }
                Ok(_) => open.extend(deliveries),
                Err(error) if error.is_transient() => {
                    tracing::warn!(error = with_causes(&error), "a dead letter could not be looked up");
                    not_looked_up += 1;
                }
                // Perhaps Intake has not written the item under its key: the outcome can still be kept under its
                // receipt. If the table denies everything, that will fail, too.
                Err(_) => open.extend(deliveries),
            }
        }
        (open, not_looked_up)
    }

    /// Writes outcomes, and notifies the owners. Returns how many have no outcome yet.
    async fn settle(&self, open: Vec<Delivery>, schedule: Schedule, metrics: &mut Metrics) -> usize {
        let failed = open.into_iter().map(Delivery::failed).collect();
        let (settled, unsettled) = self.settler.settle(Vec::new(), failed, schedule).await;
        for one in &settled {
            one.log();
            self.remember(&one.request.record_id);
            metrics.count(Metric::Failed, usize::from(one.outcome.status == Status::Failed));
        }
        self.push.notify(&settled, schedule).await.count(metrics);
        unsettled.len()
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

/// A received message in the form in which Lambda passes records on, so that one parser serves both functions.
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

/// Whether a look-up will go on finding this outcome: what is under the receipt stays, and so does a stored message;
/// another may be replaced. Of a bulk, a message is not everything.
fn is_final(found: &Found, receipt: &Receipt) -> bool {
    let stored = found.message.as_ref().filter(|message| message.outcome.status == Status::Stored);
    found.under_receipt.is_some() || (stored.is_some() && !receipt.is_bulk())
}
