//! One redrive, from the first receive to the account at its end.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use aws_sdk_sqs::{
    Client,
    types::{
        BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry,
        MessageSystemAttributeName,
    },
};

use crate::{letter::Letter, problem::Problem, queues::Queues};

/// What SQS takes in one batch.
const BATCH: usize = 10;
/// The bytes that SQS takes in one batch, all messages together.
const BATCH_BYTES: usize = 1024 * 1024;
/// How long received messages stay hidden from others: longer than sending and deleting a batch can take
/// with all attempts, and as long as an operator would wait if this process is killed.
const HIDDEN: Duration = Duration::from_secs(300);
/// How often a part of a batch is tried that SQS could not do for reasons of its own.
const ATTEMPTS: u32 = 3;
/// The queue is empty when this many receives in a row find nothing: a single one need not see everything.
const EMPTY_RECEIVES: u32 = 3;

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// Only look: nothing is sent or deleted.
    pub dry_run: bool,
    /// Put back no more than this many.
    pub max: Option<u64>,
    /// Those that name nobody, too.
    pub nobodys_too: bool,
    /// How long a receive waits for a message, in whole seconds.
    pub wait: Duration,
}

impl Default for Order {
    fn default() -> Self {
        Self { dry_run: false, max: None, nobodys_too: false, wait: Duration::from_secs(1) }
    }
}

/// What became of a message, or would become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is in the queue, and not in the dead-letter queue any more.
    Moved,
    /// It names nobody, and stays.
    Unattributed,
    /// It was moved, failed again, and is back already. It stays, or this would never end.
    CameBack,
    /// It was not sent, and stays.
    NotSent(String),
    /// It is in the queue, and could not be deleted from the dead-letter queue: it is in both.
    NotDeleted(String),
}

/// How many messages had which fate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// [`Fate::Moved`]
    pub moved: u64,
    /// [`Fate::Unattributed`]
    pub nobodys: u64,
    /// [`Fate::CameBack`]
    pub came_back: u64,
    /// [`Fate::NotSent`]
    pub not_sent: u64,
    /// [`Fate::NotDeleted`]
    pub not_deleted: u64,
    /// Left messages and others of a batch that could not be given back; they show again by themselves.
    pub still_hidden: u64,
}

impl Account {
    /// Those that stay in the dead-letter queue because they should.
    pub fn left(&self) -> u64 {
        self.nobodys + self.came_back
    }

    /// Those that should have been moved.
    pub fn failed(&self) -> u64 {
        self.not_sent + self.not_deleted
    }

    fn count(&mut self, fate: &Fate) {
        *match fate {
            Fate::Moved => &mut self.moved,
            Fate::Unattributed => &mut self.nobodys,
            Fate::CameBack => &mut self.came_back,
            Fate::NotSent(_) => &mut self.not_sent,
            Fate::NotDeleted(_) => &mut self.not_deleted,
        } += 1;
    }
}

/// Why it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// There is nothing left that could be moved.
    Empty,
    /// As many as were asked for are moved.
    Enough,
    /// Somebody asked it to end.
    Interrupted,
    /// It could not go on.
    Stopped(Problem),
}

/// Redrives until there is nothing left, or `stop` says so between two batches. Each message's fate is told as
/// soon as it is known, in a dry run the one that it would have. Whatever was received and not moved is given
/// back at the end.
pub async fn redrive(
    client: &Client,
    queues: &Queues,
    order: Order,
    stop: impl Fn() -> bool,
    tell: impl FnMut(&Letter, &Fate, &Account),
) -> (Account, End) {
    let mut run = Run {
        client,
        queues,
        order,
        tell,
        account: Account::default(),
        sent: HashSet::new(),
        held: HashMap::new(),
    };
    let end = run.until_empty(stop).await.unwrap_or_else(End::Stopped);
    run.give_back().await;
    (run.account, end)
}

struct Run<'a, F> {
    client: &'a Client,
    queues: &'a Queues,
    order: Order,
    tell: F,
    account: Account,
    /// The message ids that the queue gave to what was sent: a message keeps its id on its way to the
    /// dead-letter queue, so that those that come back are known.
    sent: HashSet<String>,
    /// What was received and is to stay, by message id, with the handle to give it back. It stays hidden until
    /// the end, so that the next receive finds others; what shows again all the same is known by its id.
    held: HashMap<String, String>,
}

impl<F: FnMut(&Letter, &Fate, &Account)> Run<'_, F> {
    async fn until_empty(&mut self, stop: impl Fn() -> bool) -> Result<End, Problem> {
        let mut empty_receives = 0;
        let mut nothing_new = 0;
        while !stop() {
            let wanted = self.wanted();
            if wanted == 0 {
                return Ok(End::Enough);
            }
            let received = self.receive(wanted).await?;
            let seen = received.len();
            let fresh = self.sort_out(received);
            // In a long run, what is held shows again. Once all of it did and nothing else, nothing else is there.
            nothing_new = if fresh.is_empty() { nothing_new + seen } else { 0 };
            empty_receives = if seen == 0 { empty_receives + 1 } else { 0 };
            if empty_receives == EMPTY_RECEIVES || nothing_new > 2 * self.held.len() {
                return Ok(End::Empty);
            }
            self.move_on(fresh).await?;
        }
        Ok(End::Interrupted)
    }

    /// How many messages to ask for: none is taken from others that cannot be moved.
    fn wanted(&self) -> usize {
        let done = self.account.moved + self.account.not_deleted;
        let left = self.order.max.map_or(u64::MAX, |max| max.saturating_sub(done));
        usize::try_from(left).unwrap_or(usize::MAX).min(BATCH)
    }

    async fn receive(&self, number: usize) -> Result<Vec<Letter>, Problem> {
        let whole_seconds = |duration: Duration| i32::try_from(duration.as_secs()).unwrap_or(i32::MAX);
        let received = self
            .client
            .receive_message()
            .queue_url(&self.queues.from)
            .max_number_of_messages(i32::try_from(number).unwrap_or(1))
            .message_attribute_names("All")
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .visibility_timeout(whole_seconds(HIDDEN))
            .wait_time_seconds(whole_seconds(self.order.wait))
            .send()
            .await
            .map_err(|error| Problem::of("ReceiveMessage", &self.queues.from, &error))?;
        Ok(received.messages.unwrap_or_default().into_iter().filter_map(Letter::of).collect())
    }

    /// Holds what is to stay, and answers the rest.
    fn sort_out(&mut self, received: Vec<Letter>) -> Vec<Letter> {
        let mut fresh = Vec::new();
        for letter in received {
            if let Some(handle) = self.held.get_mut(&letter.receipt) {
                handle.clone_from(&letter.handle);
            } else if self.sent.contains(&letter.receipt) {
                self.settle(&letter, &Fate::CameBack);
            } else if letter.is_nobodys() && !self.order.nobodys_too {
                self.settle(&letter, &Fate::Unattributed);
            } else {
                fresh.push(letter);
            }
        }
        fresh
    }

    /// Notes what becomes of a message, and holds it unless it is gone.
    fn settle(&mut self, letter: &Letter, fate: &Fate) {
        if *fate != Fate::Moved || self.order.dry_run {
            self.held.insert(letter.receipt.clone(), letter.handle.clone());
        }
        self.account.count(fate);
        (self.tell)(letter, fate, &self.account);
    }

    /// Sends messages, and deletes what was sent.
    async fn move_on(&mut self, letters: Vec<Letter>) -> Result<(), Problem> {
        if self.order.dry_run {
            for letter in &letters {
                self.settle(letter, &Fate::Moved);
            }
            return Ok(());
        }
        let mut batches = in_batches(letters).into_iter();
        while let Some(batch) = batches.next() {
            if let Err(problem) = self.move_batch(batch).await {
                // These were received, and nothing was tried with them.
                let untouched = batches.flatten();
                self.held.extend(untouched.map(|letter| (letter.receipt, letter.handle)));
                return Err(problem);
            }
        }
        Ok(())
    }

    async fn move_batch(&mut self, batch: Vec<Letter>) -> Result<(), Problem> {
        let (sent, result) = self.send(batch).await;
        // Whatever else went wrong: what was sent must go.
        let deleted = self.delete(sent).await;
        result.and(deleted)
    }

    /// Sends a batch, and answers what the queue confirmed. The rest is settled here.
    async fn send(&mut self, batch: Vec<Letter>) -> (Vec<Letter>, Result<(), Problem>) {
        let mut confirmed = Vec::new();
        let mut requests = vec![batch];
        while let Some(mut rest) = requests.pop() {
            for attempt in 1.. {
                let outcome = match self.try_to_send(&rest).await {
                    Ok(outcome) => outcome,
                    // One of them is at fault: each by itself will show which.
                    Err(problem) if problem.is_about_contents() && rest.len() > 1 => {
                        requests.extend(rest.into_iter().map(|letter| vec![letter]));
                        break;
                    }
                    Err(problem) => {
                        let fatal = !problem.is_about_contents();
                        let fate = Fate::NotSent(problem.to_string());
                        for letter in &rest {
                            self.settle(letter, &fate);
                        }
                        if fatal {
                            let untried = requests.into_iter().flatten();
                            self.held.extend(untried.map(|letter| (letter.receipt, letter.handle)));
                            return (confirmed, Err(problem));
                        }
                        break;
                    }
                };
                let mut again = Vec::new();
                for (letter, entry) in rest.into_iter().zip(outcome) {
                    match entry {
                        Entry::Done => confirmed.push(letter),
                        Entry::Later(_) if attempt < ATTEMPTS => again.push(letter),
                        Entry::Later(reason) | Entry::Never(reason) => {
                            self.settle(&letter, &Fate::NotSent(reason));
                        }
                    }
                }
                if again.is_empty() {
                    break;
                }
                pause(attempt).await;
                rest = again;
            }
        }
        (confirmed, Ok(()))
    }

    async fn try_to_send(&mut self, letters: &[Letter]) -> Result<Vec<Entry>, Problem> {
        let entries: Result<Vec<_>, _> =
            letters.iter().enumerate().map(|(place, letter)| letter.entry(place.to_string())).collect();
        let request = self.client.send_message_batch().queue_url(&self.queues.to).set_entries(Some(entries?));
        let answer = request.send().await;
        let answer = answer.map_err(|error| Problem::of("SendMessageBatch", &self.queues.to, &error))?;
        let mut done = Vec::new();
        for entry in answer.successful {
            self.sent.insert(entry.message_id);
            done.push(entry.id);
        }
        Ok(outcomes(letters.len(), done.iter().map(String::as_str), &answer.failed))
    }

    /// Deletes what was sent.
    async fn delete(&mut self, sent: Vec<Letter>) -> Result<(), Problem> {
        let mut rest = sent;
        let mut attempt = 1;
        while !rest.is_empty() {
            let outcome = match self.try_to_delete(&rest).await {
                Ok(outcome) => outcome,
                Err(problem) => {
                    let fate = Fate::NotDeleted(problem.to_string());
                    for letter in &rest {
                        self.settle(letter, &fate);
                    }
                    return Err(problem);
                }
            };
            let mut again = Vec::new();
            for (letter, entry) in rest.into_iter().zip(outcome) {
                match entry {
                    Entry::Done => self.settle(&letter, &Fate::Moved),
                    Entry::Later(_) if attempt < ATTEMPTS => again.push(letter),
                    Entry::Later(reason) | Entry::Never(reason) => {
                        self.settle(&letter, &Fate::NotDeleted(reason));
                    }
                }
            }
            rest = again;
            if !rest.is_empty() {
                pause(attempt).await;
            }
            attempt += 1;
        }
        Ok(())
    }

    async fn try_to_delete(&self, letters: &[Letter]) -> Result<Vec<Entry>, Problem> {
        let mut request = self.client.delete_message_batch().queue_url(&self.queues.from);
        for (place, letter) in letters.iter().enumerate() {
            let entry = DeleteMessageBatchRequestEntry::builder()
                .id(place.to_string())
                .receipt_handle(&letter.handle)
                .build()
                .map_err(|error| Problem::Unfit(error.to_string()))?;
            request = request.entries(entry);
        }
        let answer = request.send().await;
        let answer = answer.map_err(|error| Problem::of("DeleteMessageBatch", &self.queues.from, &error))?;
        Ok(outcomes(letters.len(), answer.successful.iter().map(|entry| entry.id.as_str()), &answer.failed))
    }

    /// Shows again what was received and is still there. What cannot be shown now shows by itself later.
    async fn give_back(&mut self) {
        let held: Vec<_> = std::mem::take(&mut self.held).into_values().collect();
        for handles in held.chunks(BATCH) {
            let entries = handles.iter().enumerate().filter_map(|(place, handle)| {
                let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(place.to_string());
                entry.receipt_handle(handle).visibility_timeout(0).build().ok()
            });
            let request = self.client.change_message_visibility_batch().queue_url(&self.queues.from);
            let request = request.set_entries(Some(entries.collect()));
            let shown = request.send().await.map_or(0, |answer| answer.successful.len());
            self.account.still_hidden += u64::try_from(handles.len() - shown).unwrap_or(0);
        }
    }
}

/// What became of one entry of a batch.
#[derive(Clone, Debug)]
enum Entry {
    Done,
    /// SQS is at fault: it may pass the next time.
    Later(String),
    /// The entry itself is at fault.
    Never(String),
}

/// The outcome of each entry, whose ids are their places. Only what is said to be done is.
fn outcomes<'a>(
    number: usize,
    done: impl Iterator<Item = &'a str>,
    failed: &[BatchResultErrorEntry],
) -> Vec<Entry> {
    let mut outcomes = vec![Entry::Later("SQS says nothing about it".to_owned()); number];
    let place = |id: &str| id.parse::<usize>().ok();
    for entry in failed {
        if let Some(outcome) = place(entry.id()).and_then(|place| outcomes.get_mut(place)) {
            let reason = match entry.message() {
                Some(message) => format!("{}: {message}", entry.code()),
                None => entry.code().to_owned(),
            };
            *outcome = if entry.sender_fault() { Entry::Never(reason) } else { Entry::Later(reason) };
        }
    }
    for id in done {
        if let Some(outcome) = place(id).and_then(|place| outcomes.get_mut(place)) {
            *outcome = Entry::Done;
        }
    }
    outcomes
}

/// Splits by number and size.
fn in_batches(letters: Vec<Letter>) -> Vec<Vec<Letter>> {
    let mut batches = Vec::<Vec<Letter>>::new();
    let mut bytes = 0;
    for letter in letters {
        let size = letter.size();
        match batches.last_mut() {
            Some(batch) if batch.len() < BATCH && bytes + size <= BATCH_BYTES => {
                bytes += size;
                batch.push(letter);
            }
            _ => {
                bytes = size;
                batches.push(vec![letter]);
            }
        }
    }
    batches
}

async fn pause(attempt: u32) {
    tokio::time::sleep(Duration::from_millis(200) * 2_u32.pow(attempt)).await;
}
