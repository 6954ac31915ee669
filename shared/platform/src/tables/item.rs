//! Between the domain's types and the items of a table.

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    Client,
    operation::batch_get_item::BatchGetItemOutput,
    types::{AttributeValue, KeysAndAttributes},
};
use intake_domain::{
    message::{Key, Owner, Receipt, Via},
    state::{Message, Outcome, Status, milliseconds},
};
use jiff::Timestamp;

use super::TableError;

pub(super) type Item = HashMap<String, AttributeValue>;

/// The partition key of a message: id, `#`, owner. An id never holds a `#`, so no two keys are written alike. Both are
/// in the one key attribute, because DynamoDB spreads items over its machines by that attribute, and limits what each of
/// them does in a second: so the messages of a large owner are on all of them.
pub(super) fn message_key(key: Key<'_>) -> String {
    format!("{}#{}", key.id.as_str(), key.owner.as_str())
}

/// The partition key of an outcome under its receipt. No message has such a key, because no message id begins with
/// `#`.
pub(super) fn receipt_key(owner: &Owner, receipt: &Receipt) -> String {
    format!("#{}#{}", receipt.as_str(), owner.as_str())
}

/// Reads the items with these partition keys, in one request. What is throttled, or does not fit into the response, is
/// not among them: the response lists it.
pub(super) async fn batch_get(
    client: &Client,
    table: &str,
    keys: impl Iterator<Item = &String>,
    consistent: bool,
) -> Result<BatchGetItemOutput, TableError> {
    let pk = |value: &String| HashMap::from([("pk".to_owned(), text(value.as_str()))]);
    let request =
        KeysAndAttributes::builder().set_keys(Some(keys.map(pk).collect())).consistent_read(consistent);
    let request = request.build().map_err(TableError::not_built)?;
    client.batch_get_item().request_items(table, request).send().await.map_err(TableError::from_sdk)
}

/// Whether an item is still there. DynamoDB deletes one days after its time to live is over, and returns it until then
/// ("Using time to live (TTL) in DynamoDB"); here it counts as none from the second on.
pub(super) fn is_live(item: &&Item) -> bool {
    let expires_at = item.get("expires_at").and_then(|value| value.as_n().ok()?.parse::<i64>().ok());
    expires_at.is_none_or(|expires_at| expires_at > Timestamp::now().as_second())
}

/// Adds the attributes of an outcome, which both kinds of items have.
pub(super) fn add_outcome(item: &mut Item, outcome: &Outcome) {
    let Outcome { status, attempts, received_at, stored_at, reason } = outcome;
    let mut add = |name: &str, value| item.insert(name.to_owned(), value);
    add("status", text(status.as_str()));
    add("received_at", text(milliseconds(*received_at)));
    if let Some(attempts) = attempts {
        add("attempts", number(*attempts));
    }
    if let Some(stored_at) = stored_at {
        add("stored_at", text(milliseconds(*stored_at)));
    }
    if let Some(reason) = reason {
        add("reason", text(reason.as_str()));
    }
}

pub(super) fn outcome_of(item: &Item) -> Result<Outcome, TableError> {
    let status = required_text(item, "status")?;
    let status = Status::parse(status).ok_or(TableError::Unreadable("status"))?;
    let stored_at = time(item, "stored_at")?;
    if status == Status::Stored && stored_at.is_none() {
        return Err(TableError::Unreadable("stored_at"));
    }
    Ok(Outcome {
        status,
        attempts: attempts(item)?,
        received_at: time(item, "received_at")?.ok_or(TableError::Unreadable("received_at"))?,
        stored_at,
        reason: optional_text(item, "reason").cloned(),
    })
}

pub(super) fn message_of(item: &Item) -> Result<Message, TableError> {
    Ok(Message {
        outcome: outcome_of(item)?,
        text: required_text(item, "payload")?.clone(),
        via: match required_text(item, "via")?.as_str() {
            "sync" => Via::Sync,
            "queue" => {
                let receipt = Receipt::parse(required_text(item, "receipt")?);
                Via::Queue(receipt.map_err(|_| TableError::Unreadable("receipt"))?)
            }
            _ => return Err(TableError::Unreadable("via")),
        },
    })
}

fn attempts(item: &Item) -> Result<Option<u32>, TableError> {
    let unreadable = TableError::Unreadable("attempts");
    let Some(attempts) = item.get("attempts") else { return Ok(None) };
    attempts.as_n().ok().and_then(|number| number.parse().ok()).map(Some).ok_or(unreadable)
}

pub(super) fn time(item: &Item, name: &'static str) -> Result<Option<Timestamp>, TableError> {
    optional_text(item, name).map(|text| text.parse().map_err(|_| TableError::Unreadable(name))).transpose()
}

fn optional_text<'a>(item: &'a Item, name: &str) -> Option<&'a String> {
    item.get(name)?.as_s().ok()
}

pub(super) fn required_text<'a>(item: &'a Item, name: &'static str) -> Result<&'a String, TableError> {
    optional_text(item, name).ok_or(TableError::Unreadable(name))
}

pub(super) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub(super) fn number(value: impl Into<i64>) -> AttributeValue {
    AttributeValue::N(value.into().to_string())
}

#[cfg(test)]
mod tests {
    use intake_domain::message::MessageId;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn two_keys_have_one_partition_key_only_if_they_are_equal(
            ids in ("[a-zA-Z0-9_-]{1,4}", "[a-zA-Z0-9_-]{1,4}"),
            owners in ("[ -~]{1,4}", "[ -~]{1,4}"),
        ) {
            let (left_id, right_id) =
                (MessageId::parse(ids.0).expect("legal"), MessageId::parse(ids.1).expect("legal"));
            let (left_owner, right_owner) =
                (Owner::parse(owners.0).expect("legal"), Owner::parse(owners.1).expect("legal"));
            let left = Key { owner: &left_owner, id: &left_id };
            let right = Key { owner: &right_owner, id: &right_id };
            prop_assert_eq!(left == right, message_key(left) == message_key(right));
        }
    }

    #[test]
    fn the_longest_key_fits() {
        let id = MessageId::parse("i".repeat(MessageId::MAX_CHARS)).expect("legal");
        let owner = Owner::parse("o".repeat(Owner::MAX_CHARS)).expect("legal");
        let longest = message_key(Key { owner: &owner, id: &id });
        assert!(longest.len() <= 2048, "the longest partition key of DynamoDB");
    }
}
