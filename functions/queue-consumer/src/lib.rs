//! Stores batches of queued messages, reports each that was not stored, and notifies the owners.
//!
//! The story of a batch:
//!
//! 1. Each record is parsed by itself: into a delivery, or, if it is a bulk, into one for each of its messages. One
//!    without an owner, an id or a receipt, or that cannot be parsed, is *unattributed*: it belongs to no client, so it
//!    goes to the dead-letter queue, for an operator.
//! 2. The deliveries are stored, 25 in a request, in rounds until most of the function's time is over. A message has then
//!    been written, or was stored before, or another one is stored under its id.
//! 3. What could not be stored is redelivered; if this was the last delivery, it becomes `failed`.
//! 4. An outcome that the message in the table does not hold is kept under its receipt; those of a bulk together, once
//!    there are all. Then it is settled.
//! 5. The owners of everything that is settled are notified over their sockets, also while the rest is tried again.
//! 6. Meanwhile each record that is not settled is hidden, for longer after each delivery.
//! 7. The response names the records that SQS has to keep.
//!
//! A record is acknowledged when the outcomes of all its messages can be looked up, and none is `failed`: until then it is
//! the only copy of what is not stored. Every other record is a batch item failure: SQS redelivers it, and after the last
//! delivery moves it to the dead-letter queue ("Handling errors for an SQS event source in Lambda").

pub mod redelivery;
mod report;

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use aws_lambda_events::sqs::SqsBatchResponse;
use intake_domain::state::NotStored;
use intake_platform::{
    delivery::{Decided, Delivery},
    push::Push,
    record::{ParsedRecord, parse_each},
    schedule::Schedule,
    settling::{Settler, split_whole},
    storing::Persistence::{self, Once, UntilTimeIsUp},
};
use serde::Deserialize;
use tokio::{join, time::Instant};

use crate::{
    redelivery::{Redelivery, Unacknowledged},
    report::BatchReport,
};

/// How long the response may wait until SQS has hidden records: an attempt and another one.
const REDELIVERY_BUDGET: Duration = Duration::from_secs(2);

/// A batch as Lambda passes it on. Lambda polls the queue by itself, and collects up to `BatchSize` records for as long as
/// `BatchWindowSeconds` (`template.yaml`). Each record is parsed by itself, so that one that cannot be parsed does not affect
/// the others. Only a record without a record id makes the batch unreadable, and Lambda delivers all of it again.
#[derive(Debug, Deserialize)]
pub struct Batch {
    /// What SQS delivered.
    #[serde(rename = "Records", deserialize_with = "parse_each")]
    pub records: Vec<ParsedRecord>,
}

/// The function, with what it needs for every batch.
#[derive(Clone, Debug)]
pub struct Consumer {
    settler: Settler,
    push: Push,
    redelivery: Redelivery,
}

impl Consumer {
    /// A function that stores through `settler`, notifies through `push` and returns what failed to the queue through
    /// `redelivery`.
    pub fn new(settler: Settler, push: Push, redelivery: Redelivery) -> Self {
        Self { settler, push, redelivery }
    }

    /// Handles one batch, and returns which records SQS has to redeliver. It ends before `deadline`, when Lambda
    /// would kill it: records that are not settled by then are among them.
    pub async fn handle(&self, batch: Batch, deadline: SystemTime) -> SqsBatchResponse {
        let schedule = Schedule::until(deadline);
        let mut report = BatchReport::of(batch.records.len(), &self.redelivery);

        let mut deliveries = Vec::with_capacity(batch.records.len());
        let mut unacknowledged = HashMap::with_capacity(batch.records.len());
        for record in batch.records {
            let ParsedRecord { record_id, receipt_handle, attempts, deliveries: of_record } = record;
            match of_record {
                Ok(of_record) => deliveries.extend(of_record),
                Err(unattributed) => report.unattributed(&record_id, attempts, unattributed),
            }
            unacknowledged.insert(record_id, Unacknowledged { receipt_handle, attempts });
        }

        // Almost every batch is stored in one round. If not, what is settled by then does not wait for the rest: its owners
        // are notified while the rest is tried again.
        let (decided, open, mut denied) = self.store(deliveries, Once, schedule.storing).await;
        let (whole, partial) = if open.is_empty() { (Vec::new(), decided) } else { split_whole(decided) };
        let settle_meanwhile = async {
            let (settled, unsettled) = self.settler.settle(whole, Vec::new(), schedule.meanwhile()).await;
            let pushed = self.push.notify(&settled, schedule.meanwhile()).await;
            (settled, unsettled, pushed)
        };
        let ((settled, unsettled, mut pushed), (decided, open, more_denied)) =
            join!(settle_meanwhile, self.store(open, UntilTimeIsUp, schedule.storing));
        denied.extend(more_denied);
        settled.iter().for_each(|one| report.settled(one));
        unsettled.into_iter().for_each(|one| report.unsettled(one));

        // Also what the database denies is redelivered: a missing permission or table may be there at the next delivery.
        let is_last = |delivery: &Delivery| self.redelivery.is_last(delivery.incoming.attempts);
        let (failed, redelivered): (Vec<_>, Vec<_>) = open.into_iter().chain(denied).partition(is_last);
        redelivered.into_iter().for_each(|delivery| report.unsettled(delivery.into()));
        let failed = failed.into_iter().map(Delivery::failed).collect();

        // Outcomes are kept before owners are notified: a client that is notified must find its outcome.
        let decided = partial.into_iter().chain(decided).collect();
        let (settled, unsettled) = self.settler.settle(decided, failed, schedule).await;
        settled.iter().for_each(|one| report.settled(one));
        unsettled.into_iter().for_each(|one| report.unsettled(one));

        // Last, and for a few seconds at most: a consumer that notifies stores nothing.
        unacknowledged.retain(|record_id, _| report.is_failure(record_id));
        let hidden =
            self.redelivery.space_out(unacknowledged.into_values(), schedule.notifying(REDELIVERY_BUDGET));
        let (pushed_now, ()) = join!(self.push.notify(&settled, schedule), hidden);
        pushed += pushed_now;
        report.response(pushed)
    }

    /// Tries to store deliveries. Returns what is decided, what may be stored if it is tried again, and what the database
    /// denies.
    async fn store(
        &self,
        deliveries: Vec<Delivery>,
        persistence: Persistence,
        until: Instant,
    ) -> (Vec<Decided>, Vec<Delivery>, Vec<Delivery>) {
        let stored = self.settler.store(&deliveries, persistence, until).await;
        let (mut decided, mut open, mut denied) = (Vec::new(), Vec::new(), Vec::new());
        for (delivery, stored) in deliveries.into_iter().zip(stored) {
            match delivery.decide(stored) {
                Ok(one) => decided.push(one),
                Err(delivery) if stored == Err(NotStored::Transient) => open.push(*delivery),
                Err(delivery) => denied.push(*delivery),
            }
        }
        (decided, open, denied)
    }
}
