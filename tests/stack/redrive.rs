//! Dead letters that an operator puts back into the queue.
//!
//! Each test has a dead-letter queue of its own: in the stack's own, a redrive would take the other tests'
//! messages along.

use std::sync::Mutex;

use aws_sdk_sqs::types::QueueAttributeName;
use e2e::stack::{Record, Stack, text, unique};
use redrive::{
    queues::Queues,
    run::{Account, End, Fate, Order, redrive},
};
use reqwest::Method;
use serde_json::{Value, json};

const BODY: &str = r#"{"number":1234567890123456789, "text":"as it came"}"#;

/// A dead-letter queue whose messages go back into the stack's queue.
struct Redriven<'a> {
    stack: &'a Stack,
    queues: Queues,
}

impl<'a> Redriven<'a> {
    async fn of(stack: &'a Stack) -> Self {
        let role = &stack.at.redrive_role;
        let everything =
            json!({ "Effect": "Allow", "Principal": { "AWS": role }, "Action": "sqs:*", "Resource": "*" });
        let policy = json!({ "Version": "2012-10-17", "Statement": [everything] }).to_string();
        let create = stack.sqs.create_queue().queue_name(unique("redriven"));
        let created = create.attributes(QueueAttributeName::Policy, policy).send().await;
        let from = created.expect("a queue can be made").queue_url.expect("it has an address");
        Self { stack, queues: Queues { from, to: stack.at.queue_url.clone() } }
    }

    async fn die(&self, record: Record) -> String {
        self.stack.send_to(&self.queues.from, record).await
    }

    async fn redrive(&self, order: Order) -> (Account, Vec<(String, Fate)>) {
        let fates = Mutex::new(Vec::new());
        let (account, end) = redrive(
            self.stack.redriving().await,
            &self.queues,
            order,
            || false,
            |letter, fate, _| fates.lock().unwrap().push((letter.receipt.clone(), fate.clone())),
        )
        .await;
        assert_eq!(end, End::Empty);
        (account, fates.into_inner().unwrap())
    }

    async fn remove(self) {
        self.stack.sqs.delete_queue().queue_url(&self.queues.from).send().await.expect("it is there");
    }
}

#[tokio::test]
async fn a_redriven_dead_letter_is_stored_as_it_came_and_its_owner_is_told() {
    let stack = Stack::running();
    let caller = stack.caller();
    let mut socket = caller.connect().await;
    let redriven = Redriven::of(&stack).await;
    let id = unique("dead");
    let receipt = redriven.die(caller.record(&id, BODY)).await;

    let (account, fates) = redriven.redrive(Order::default()).await;

    assert_eq!(account, Account { moved: 1, ..Account::default() });
    assert_eq!(fates, [(receipt.clone(), Fate::Moved)]);
    let event = socket.told("stored", &id).await;
    let item = caller.item(&id).await.expect("it is stored");
    assert_eq!(text(&item, "payload"), BODY);
    // The queue has given it a receipt of its own.
    assert_ne!(event["data"]["receipt"], json!(receipt));
    // Whoever asks with the old one is told all the same.
    let path = format!("/messages/{id}?receipt={receipt}");
    let answer = caller.request(Method::GET, &path).send().await.expect("an answer");
    let answer: Value = serde_json::from_str(&answer.text().await.expect("a text")).expect("JSON");
    assert_eq!(answer["status"], "stored", "{answer}");
    redriven.remove().await;
}

#[tokio::test]
async fn a_failed_message_becomes_stored_when_it_is_redriven() {
    let stack = Stack::running();
    let caller = stack.caller();
    let mut socket = caller.connect().await;
    let redriven = Redriven::of(&stack).await;
    let id = unique("failed");
    // What is in the way has been repaired; the letter is the one that the stack itself has made.
    stack.plant(&caller.name, &id, &[("status", "stored"), ("something", "else")]).await;
    let queued = caller.queued(&id, BODY).await;
    socket.told("failed", &id).await;
    redriven.die(Record::again(&stack.dead_letter(&queued.receipt).await)).await;
    stack.uproot(&caller.name, &id).await;

    let (account, _) = redriven.redrive(Order::default()).await;

    assert_eq!(account, Account { moved: 1, ..Account::default() });
    socket.told("stored", &id).await;
    assert_eq!(caller.look_up(&id).await.json()["status"], "stored");
    redriven.remove().await;
}

#[tokio::test]
async fn a_dry_run_lists_what_there_is_and_leaves_it() {
    let stack = Stack::running();
    let caller = stack.caller();
    let redriven = Redriven::of(&stack).await;
    let (id, bare) = (unique("dry"), Record::bare(BODY));
    let mut expected = vec![
        (redriven.die(caller.record(&id, BODY)).await, Fate::Moved),
        (redriven.die(bare).await, Fate::Unattributed),
    ];
    expected.sort_by(|left, right| left.0.cmp(&right.0));

    let (account, mut fates) = redriven.redrive(Order { dry_run: true, ..Order::default() }).await;

    assert_eq!((account.moved, account.left(), account.still_hidden), (1, 1, 0));
    fates.sort_by(|left, right| left.0.cmp(&right.0));
    assert_eq!(fates, expected);
    assert_eq!(caller.item(&id).await, None);
    // Both can be had at once.
    let there = stack.receive(&redriven.queues.from).await;
    assert_eq!(there.len(), 2, "{there:?}");
    redriven.remove().await;
}

#[tokio::test]
async fn a_dead_letter_that_names_nobody_stays_unless_it_is_asked_for() {
    let stack = Stack::running();
    let caller = stack.caller();
    let redriven = Redriven::of(&stack).await;
    let id = unique("named");
    redriven.die(Record::bare(BODY).with("note", "String", "keep me")).await;
    redriven.die(caller.record(&id, BODY)).await;

    let (account, _) = redriven.redrive(Order::default()).await;
    assert_eq!(account, Account { moved: 1, nobodys: 1, ..Account::default() });
    caller.becomes(&id, "stored").await;

    let (account, _) = redriven.redrive(Order { nobodys_too: true, ..Order::default() }).await;
    assert_eq!(account, Account { moved: 1, ..Account::default() });
    redriven.remove().await;
}
