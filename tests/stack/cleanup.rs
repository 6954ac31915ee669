//! What the tests have written, removed again. Everything of a run has its mark.

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_sqs::types::Message;
use e2e::stack::{Item, Stack, eventually, say, text};

#[tokio::test]
#[ignore = "removes what the others have written: `cargo xtask verify` runs it last"]
async fn what_the_tests_have_written_is_removed() {
    let stack = Stack::running();
    let (messages, connections) = (&stack.at.messages_table, &stack.at.connections_table);
    let items = remove_items(&stack, messages, &["pk"]).await;
    let connections = remove_items(&stack, connections, &["owner", "connection_id"]).await;
    let letters = remove_dead_letters(&stack).await;
    let queues = remove_queues(&stack).await;
    let removed =
        format!("removed: {items} items, {connections} connections, {letters} dead letters, {queues} queues");
    say(removed);
}

async fn remove_items(stack: &Stack, table: &str, key: &[&str]) -> usize {
    let is_ours = |item: &Item| key.iter().any(|name| text(item, name).contains(&stack.at.run));
    let ours: Vec<_> = stack.scan(table).await.into_iter().filter(is_ours).collect();
    for item in &ours {
        let part = |name: &&str| ((*name).to_owned(), AttributeValue::S(text(item, name).to_owned()));
        let delete = stack.dynamodb.delete_item().table_name(table);
        let deleted = delete.set_key(Some(key.iter().map(part).collect())).send().await;
        deleted.expect("the table can be written");
    }
    ours.len()
}

/// The dead letters stay hidden for a while after the recorder or a test has received them.
async fn remove_dead_letters(stack: &Stack) -> usize {
    let url = &stack.at.dead_letter_queue_url;
    let is_ours = |letter: &Message| {
        let attributes = letter.message_attributes().into_iter().flatten();
        let mut values = attributes.filter_map(|(_, value)| value.string_value());
        values.any(|value| value.contains(&stack.at.run))
    };
    let (mut removed, mut others) = (0, std::collections::HashSet::new());
    eventually("the dead-letter queue without letters of the tests", async || {
        for letter in stack.receive(url).await {
            if is_ours(&letter) {
                let handle = letter.receipt_handle().expect("a handle");
                let delete = stack.sqs.delete_message().queue_url(url).receipt_handle(handle);
                delete.send().await.expect("the queue can be written");
                removed += 1;
            } else {
                others.insert(letter.message_id().expect("an id").to_owned());
            }
        }
        let left = stack.message_count(url).await;
        if left <= others.len() { Ok(()) } else { Err(format!("{left} letters")) }
    })
    .await;
    removed
}

/// The queues of tests that have failed.
async fn remove_queues(stack: &Stack) -> usize {
    let prefix = format!("dead-letters-{}", stack.at.run);
    let listed = stack.sqs.list_queues().queue_name_prefix(prefix).send().await.expect("they can be listed");
    for url in listed.queue_urls() {
        stack.sqs.delete_queue().queue_url(url).send().await.expect("it is there");
    }
    listed.queue_urls().len()
}
