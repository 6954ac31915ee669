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
    say(format!("removed: {items} items, {connections} connections, {letters} dead letters"));
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
