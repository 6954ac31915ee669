//! Writes the outcome of dead letters that have none, and notifies their owners.
//!
//! The consumer writes `failed` on a message's last delivery. If it is killed in that delivery, or the table is
//! unavailable, the message reaches the dead-letter queue without an outcome, and its look-up would say `queued` for
//! ever. This function runs every minute, does for such messages what the consumer could not
//! do, and leaves them in the dead-letter queue, from where a redrive returns them.
//!
//! The story of a run:
//!
//! 1. Dead letters are received, ten at a time, until the queue is empty or time is up. They are hidden meanwhile, so
//!    that each is received once: letters with an outcome, however many, do not stand before one without.
//! 2. Each is parsed as the consumer parses records, and its outcome is looked up as a client would.
//! 3. Those without an outcome get one, most often `failed`: they are settled as the consumer settles its last deliveries.
//! 4. When all are settled, their owners are notified in the time that is left, and the letters are visible again.
//!    Nothing is deleted here.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use aws_lambda_events::sqs::{SqsMessage, SqsMessageAttribute};
use aws_sdk_sqs::{
    Client,
    types::{Message, MessageSystemAttributeName},
};
use futures_util::future::join_all;
use intake_domain::{message::Receipt, state::Status};
use intake_platform::{
    delivery::{Decided, Delivery},
    metrics::{Metric, Metrics},
    push::Push,
    record::parse_isolated,
    schedule::Schedule,
    settling::Settler,
    tables::outcomes::Found,
    telemetry::with_causes,
    visibility::change_visibility,
};
use lambda_runtime::Error;
use serde_json::value::to_raw_value;
use tokio::{
    join,
    time::{Instant, timeout_at},
};

/// What SQS returns from one receive at most.
const BATCH: usize = 10;

/// How long a receive waits for messages. One that does not wait asks a part of SQS's servers only, and may return
/// nothing although there are messages ("Amazon SQS short and long polling").
const WAIT: Duration = Duration::from_secs(1);

/// After so many receives in a row without a message the queue is taken for empty. A second one makes sure; a third
/// would cost every idle run one more second.
const MAX_EMPTY_RECEIVES: u32 = 2;

/// How long received messages stay hidden, in seconds, unless they are released before: as long as a run.
const VISIBILITY_TIMEOUT: i32 = 30;

/// How long releasing them may take. Notifications have as much time.
const RELEASE_BUDGET: Duration = Duration::from_secs(3);

/// How many records with an outcome a process remembers.
const MAX_REMEMBERED: usize = 100_000;

/// The function, with what it needs for every run.
#[derive(Debug)]
pub struct DeadLetterRecorder {
    queue: Client,
    dead_letter_queue_url: String,
    max_receive_count: u32,
    settler: Settler,
    push: Push,
    /// Records whose outcome was found or written before: they need no look-up.
    /// In a mutex, because the function is shared by all invocations of a process, though Lambda makes one at a time.
    done: Mutex<HashSet<String>>,
}

/// What a run has come to so far.
#[derive(Debug, Default)]
struct Run {
    /// The last receipt handle of each record that was received, by record id.
    received: HashMap<String, String>,
    settled: Vec<Decided>,
    /// How many letters have no outcome yet.
    unsettled: usize,
}

impl DeadLetterRecorder {
    /// A function that receives from this queue, settles through `settler` and notifies through `push`. Before a
    /// message came to this queue, it was delivered `max_receive_count` times.
    pub fn new(
        queue: Client,
        dead_letter_queue_url: impl Into<String>,
        max_receive_count: u32,
        settler: Settler,
        push: Push,
    ) -> Self {
        let dead_letter_queue_url = dead_letter_queue_url.into();
        Self { queue, dead_letter_queue_url, max_receive_count, settler, push, done: Mutex::default() }
    }

    /// Runs once, and writes the metrics.
    ///
    /// # Errors
    /// As of [`DeadLetterRecorder::run`].
    pub async fn handle(&self, deadline: SystemTime) -> Result<(), Error> {
        let mut metrics = Metrics::default();
        let result = self.run(deadline, &mut metrics).await;
        metrics.write();
        result
    }

    /// Runs once: until the queue is empty or time is up.
    ///
    /// # Errors
    /// If the queue cannot be read, or a message still has no outcome: the next run tries again. As an error of the
    /// function it reaches the alarm. What was settled before is notified and counted.
    pub async fn run(&self, deadline: SystemTime, metrics: &mut Metrics) -> Result<(), Error> {
        let schedule = Schedule::until(deadline);
        let mut run = Run::default();
        let result = self.settle_all(&mut run, schedule).await;
        let failed = run.settled.iter().filter(|one| one.outcome.status == Status::Failed);
        metrics.count(Metric::Failed, failed.count());
        // Letters are visible again, so that an operator need not wait for them. What is not released is visible by itself
        // later.
        let handles = run.received.into_values().map(|handle| (handle, 0)).collect();
        let releasing = change_visibility(&self.queue, &self.dead_letter_queue_url, handles);
        let releasing = timeout_at(schedule.notifying(RELEASE_BUDGET), releasing);
        let (summary, _) = join!(self.push.notify(&run.settled, schedule), releasing);
        summary.count(metrics);
        result?;
        match run.unsettled {
            0 => Ok(()),
            number => Err(format!("{number} dead letters have no outcome yet").into()),
        }
    }

    async fn settle_all(&self, run: &mut Run, schedule: Schedule) -> Result<(), Error> {
        let mut empty_receives = 0;
        while empty_receives < MAX_EMPTY_RECEIVES {
            // A receive that begins now may wait.
            if Instant::now() + WAIT >= schedule.storing {
                tracing::warn!(
                    received = run.received.len(),
                    "time is up before the dead-letter queue is empty"
                );
                break;
            }
            let received = timeout_at(schedule.storing, self.receive()).await;
            let received = received.map_err(|_| "the dead-letter queue does not respond in time")??;
            empty_receives = if received.is_empty() { empty_receives + 1 } else { 0 };
            let mut letters = Vec::new();
            for message in received {
                let id = message.message_id.clone().unwrap_or_default();
                let handle = message.receipt_handle.clone().unwrap_or_default();
                // What is received a second time in one run has had its turn.
                let is_new = run.received.insert(id.clone(), handle).is_none();
                if is_new && !self.is_done(&id) {
                    letters.extend(self.parse(message));
                }
            }
            let open = self.without_outcome(letters, run, schedule).await;
            if !open.is_empty() {
                self.settle(open, run, schedule).await;
            }
        }
        Ok(())
    }

    async fn receive(&self) -> Result<Vec<Message>, Error> {
        let received = self
            .queue
            .receive_message()
            .queue_url(&self.dead_letter_queue_url)
            .max_number_of_messages(i32::try_from(BATCH)?)
            .wait_time_seconds(i32::try_from(WAIT.as_secs())?)
            .visibility_timeout(VISIBILITY_TIMEOUT)
            .message_attribute_names("All")
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .send()
            .await?;
        Ok(received.messages.unwrap_or_default())
    }

    /// The deliveries in a received message, one or those of a bulk; none in an unattributed record, which no client can
    /// look up. The message gets the form in which Lambda passes records on, so that one parser serves both functions,
    /// and a panic in it affects no other.
    fn parse(&self, message: Message) -> Option<Vec<Delivery>> {
        let attributes = message.message_attributes.unwrap_or_default().into_iter().map(|(name, value)| {
            let mut attribute = SqsMessageAttribute::default();
            attribute.string_value = value.string_value;
            attribute.data_type = Some(value.data_type);
            (name, attribute)
        });
        let system = message.attributes.unwrap_or_default().into_iter();
        let mut record = SqsMessage::default();
        record.message_id = message.message_id;
        record.body = message.body;
        record.attributes = system.map(|(name, value)| (name.as_str().to_owned(), value)).collect();
        record.message_attributes = attributes.collect();
        // Here the count goes on with every receive of this function and of operators. When SQS moved the message, it
        // had delivered it this often.
        let count = self.max_receive_count.to_string();
        record.attributes.insert("ApproximateReceiveCount".to_owned(), count);
        parse_isolated(&to_raw_value(&record).ok()?).ok()?.deliveries.ok()
    }

    /// The deliveries whose look-up would say `queued`. The outcomes of a bulk are kept together, so its first message
    /// stands for all of them.
    async fn without_outcome(
        &self,
        letters: Vec<Vec<Delivery>>,
        run: &mut Run,
        schedule: Schedule,
    ) -> Vec<Delivery> {
        let looking_up = letters.iter().filter_map(|letter| letter.first());
        let looking_up = join_all(looking_up.map(|delivery| self.settler.find_outcome(delivery)));
        let Ok(found) = timeout_at(schedule.storing, looking_up).await else {
            tracing::warn!(dead_letters = letters.len(), "time is up before their outcomes are looked up");
            run.unsettled += letters.len();
            return Vec::new();
        };
        let mut open = Vec::new();
        // A letter has at least one message.
        for (letter, found) in letters.into_iter().zip(found) {
            match found {
                Ok(found) if is_final(&found, &letter[0].request.receipt) => {
                    self.remember(&letter[0].request.record_id);
                }
                Ok(_) => open.extend(letter),
                Err(error) if error.is_transient() => {
                    tracing::warn!(error = with_causes(&error), "a dead letter could not be looked up");
                    run.unsettled += 1;
                }
                // Perhaps Intake has not written the item under its key: the outcome can still be kept under its
                // receipt. If the table denies everything, that will fail, too.
                Err(_) => open.extend(letter),
            }
        }
        open
    }

    /// Writes outcomes.
    async fn settle(&self, open: Vec<Delivery>, run: &mut Run, schedule: Schedule) {
        let failed = open.into_iter().map(Delivery::failed).collect();
        let (settled, unsettled) = self.settler.settle(Vec::new(), failed, schedule).await;
        // Of a bulk, some messages may be settled and others not.
        let open: HashSet<_> = unsettled.iter().map(|one| &one.request.record_id).collect();
        for one in &settled {
            one.log();
            if !open.contains(&one.request.record_id) {
                self.remember(&one.request.record_id);
            }
        }
        run.settled.extend(settled);
        run.unsettled += unsettled.len();
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

/// Whether a look-up will go on finding this outcome: what is under the receipt stays, and so does a stored message;
/// another may be replaced. Of a bulk, a message is not everything.
fn is_final(found: &Found, receipt: &Receipt) -> bool {
    let stored = found.message.as_ref().filter(|message| message.outcome.status == Status::Stored);
    found.under_receipt.is_some() || (stored.is_some() && !receipt.is_bulk())
}
