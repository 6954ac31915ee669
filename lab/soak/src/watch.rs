//! How far a run is.

use std::{sync::atomic::Ordering, time::Duration};

use aws_sdk_sqs::types::QueueAttributeName;
use e2e::stack::Stack;
use tokio::time::{Instant, sleep};

use crate::run::{Counts, Run};

/// How often progress is printed.
const PROGRESS: Duration = Duration::from_secs(5);

/// The number of messages in a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Queue {
    pub(crate) waiting: usize,
    pub(crate) in_flight: usize,
}

impl Queue {
    pub(crate) fn total(self) -> usize {
        self.waiting + self.in_flight
    }
}

pub(crate) struct Watch<'a, S> {
    pub(crate) stack: &'a Stack,
    pub(crate) run: &'a Run,
    pub(crate) say: &'a S,
}

impl<S: Fn(&str)> Watch<'_, S> {
    /// Watches the queues until `enough`, and prints how far the run is.
    pub(crate) async fn until(&self, doing: &str, mut enough: impl AsyncFnMut(Queue) -> bool) {
        let mut last = Instant::now();
        loop {
            let queue = self.queue(&self.stack.at.queue_url).await;
            let letters = self.queue(&self.stack.at.dead_letter_queue_url).await.total();
            let accepted = self.run.counts.accepted.load(Ordering::Relaxed);
            self.run.counts.settled.store(accepted.saturating_sub(queue.total()), Ordering::Relaxed);
            self.run.counts.dead_letters.store(letters, Ordering::Relaxed);
            let enough = enough(queue).await;
            if enough || last.elapsed() >= PROGRESS {
                last = Instant::now();
                self.print(doing, queue);
            }
            if enough {
                return;
            }
            sleep(Duration::from_millis(500)).await;
        }
    }

    fn print(&self, doing: &str, Queue { waiting, in_flight }: Queue) {
        let Run { plan, counts, .. } = self.run;
        let Counts { accepted, dead_letters, notifications, without_response, .. } = counts;
        let [accepted, dead_letters, notifications, without_response] =
            [accepted, dead_letters, notifications, without_response]
                .map(|count| count.load(Ordering::Relaxed));
        let kills = self.run.kills();
        (self.say)(&format!(
            "{doing}: accepted {accepted} of {}, waiting {waiting}, in flight {in_flight}, dead letters \
             {dead_letters}, notifications {notifications}, kills {kills}, requests without a response {without_response}",
            plan.messages
        ));
    }

    pub(crate) async fn queue(&self, url: &str) -> Queue {
        let names = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        ];
        let request = self.stack.sqs.get_queue_attributes().queue_url(url);
        let response = request.set_attribute_names(Some(names.to_vec())).send().await;
        let numbers = response.expect("the attributes of a queue").attributes.unwrap_or_default();
        let [waiting, in_flight] = names.map(|name| numbers[&name].parse().expect("a number"));
        Queue { waiting, in_flight }
    }
}
