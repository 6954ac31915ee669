//! Dead letters that an operator redrives.
//!
//! Each test has a dead-letter queue of its own: from the stack's own, it would redrive the other tests' messages.

use std::{collections::HashSet, sync::Mutex};

use aws_sdk_sqs::types::QueueAttributeName;
use e2e::stack::{Record, Stack, eventually, text, unique};
use redrive::{
    connection::Queues,
    run::{Disposition, Options, Summary, redrive},
};
use serde_json::json;

const BODY: &str = r#"{"number":1234567890123456789, "text":"as it came"}"#;

/// A dead-letter queue that is redriven to the stack's queue.
struct DeadLetterQueue<'a> {
    stack: &'a Stack,
    queues: Queues,
}

impl<'a> DeadLetterQueue<'a> {
    async fn create(stack: &'a Stack) -> Self {
        let role = &stack.at.redrive_role;
        let everything =
            json!({ "Effect": "Allow", "Principal": { "AWS": role }, "Action": "sqs:*", "Resource": "*" });
        let policy = json!({ "Version": "2012-10-17", "Statement": [everything] }).to_string();
        let create = stack.sqs.create_queue().queue_name(unique("dead-letters"));
        let created = create.attributes(QueueAttributeName::Policy, policy).send().await;
        let from = created.expect("a queue can be made").queue_url.expect("it has an address");
        Self { stack, queues: Queues { from, to: stack.at.queue_url.clone() } }
    }

    async fn send(&self, record: Record) -> String {
        self.stack.send_to(&self.queues.from, record).await
    }

    async fn redrive(&self, options: Options) -> (Summary, Vec<(String, Disposition)>) {
        let outcomes = Mutex::new(Vec::new());
        let (summary, result) = redrive(
            self.stack.redrive_sqs().await,
            &self.queues,
            options,
            || false,
            |letter, outcome| {
                outcomes.lock().unwrap().push((letter.receipt().to_owned(), outcome.clone()));
            },
        )
        .await;
        assert_eq!(result, Ok(()));
        (summary, outcomes.into_inner().unwrap())
    }

    async fn remove(self) {
        self.stack.sqs.delete_queue().queue_url(&self.queues.from).send().await.expect("it is there");
    }
}

#[tokio::test]
async fn a_redriven_dead_letter_is_stored_unchanged_and_notified() {
    let stack = Stack::running();
    let caller = stack.caller();
    let mut socket = caller.connect().await;
    let dead_letters = DeadLetterQueue::create(&stack).await;
    let id = unique("dead");
    let receipt = dead_letters.send(caller.record(&id, BODY)).await;

    let (summary, outcomes) = dead_letters.redrive(Options::default()).await;

    assert_eq!(summary, Summary { moved: 1, ..Summary::default() });
    assert_eq!(outcomes, [(receipt.clone(), Disposition::Moved)]);
    let outcome = socket.notified("stored", &id).await;
    let item = caller.item(&id).await.expect("it is stored");
    assert_eq!(text(&item, "payload"), BODY);
    // The receipt that its client got is still the one that leads to the outcome.
    assert_eq!(outcome.receipt, receipt);
    let found = caller.get(&format!("/messages/{id}?receipt={receipt}")).await;
    assert_eq!(found.found().outcome, outcome);
    dead_letters.remove().await;
}

#[tokio::test]
async fn a_dry_run_lists_the_dead_letters_and_leaves_them() {
    let stack = Stack::running();
    let caller = stack.caller();
    let dead_letters = DeadLetterQueue::create(&stack).await;
    let (id, unattributed) = (unique("dry"), Record::unattributed(BODY));
    let mut expected = vec![
        (dead_letters.send(caller.record(&id, BODY)).await, Disposition::Moved),
        (dead_letters.send(unattributed).await, Disposition::Unattributed),
    ];
    expected.sort_by(|left, right| left.0.cmp(&right.0));

    let (summary, mut outcomes) = dead_letters.redrive(Options { dry_run: true, ..Options::default() }).await;

    assert_eq!((summary.moved, summary.unattributed, summary.hidden), (1, 1, 0));
    outcomes.sort_by(|left, right| left.0.cmp(&right.0));
    assert_eq!(outcomes, expected);
    assert_eq!(caller.item(&id).await, None);
    // Both are visible at once. A receive may find only one of them.
    let mut left = HashSet::new();
    eventually("both dead letters", async || {
        let received = stack.receive(&dead_letters.queues.from).await;
        left.extend(received.iter().filter_map(|letter| letter.message_id().map(str::to_owned)));
        if left.len() == 2 { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
    dead_letters.remove().await;
}

#[tokio::test]
async fn an_unattributed_dead_letter_stays_unless_it_is_asked_for() {
    let stack = Stack::running();
    let caller = stack.caller();
    let dead_letters = DeadLetterQueue::create(&stack).await;
    let id = unique("named");
    dead_letters.send(Record::unattributed(BODY)).await;
    dead_letters.send(caller.record(&id, BODY)).await;

    let (summary, _) = dead_letters.redrive(Options::default()).await;
    assert_eq!(summary, Summary { moved: 1, unattributed: 1, ..Summary::default() });
    caller.becomes(&id, "stored").await;

    let all = Options { include_unattributed: true, ..Options::default() };
    let (summary, _) = dead_letters.redrive(all).await;
    assert_eq!(summary, Summary { moved: 1, ..Summary::default() });
    dead_letters.remove().await;
}
