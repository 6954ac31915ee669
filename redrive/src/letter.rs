//! A dead-lettered message.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_sdk_sqs::types::{
    Message, MessageAttributeValue, MessageSystemAttributeName, MessageSystemAttributeNameForSends,
    MessageSystemAttributeValue, SendMessageBatchRequestEntry,
};
use intake::message::Owner;

use crate::problem::Problem;

/// A message as it was received from a dead-letter queue.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Its SQS message id: the receipt that its sender got.
    pub receipt: String,
    /// What deletes it or gives it back; only as long as it is not received again.
    pub(crate) handle: String,
    body: String,
    attributes: HashMap<String, MessageAttributeValue>,
    trace_header: Option<String>,
    sent: Option<SystemTime>,
    /// How often it was received, here and in the queue before.
    pub receive_count: Option<u32>,
}

impl Letter {
    /// Takes a received message. `None` for what cannot be handled any further, which SQS never answers.
    pub(crate) fn of(message: Message) -> Option<Self> {
        let system = message.attributes.unwrap_or_default();
        let number = |name| system.get(&name).and_then(|value: &String| value.parse::<u64>().ok());
        let sent = number(MessageSystemAttributeName::SentTimestamp).map(Duration::from_millis);
        let count = number(MessageSystemAttributeName::ApproximateReceiveCount);
        Some(Self {
            receipt: message.message_id?,
            handle: message.receipt_handle?,
            body: message.body?,
            attributes: message.message_attributes.unwrap_or_default(),
            trace_header: system.get(&MessageSystemAttributeName::AwsTraceHeader).cloned(),
            sent: sent.and_then(|since| UNIX_EPOCH.checked_add(since)),
            receive_count: count.and_then(|count| count.try_into().ok()),
        })
    }

    /// The id that the client has given it.
    pub fn id(&self) -> Option<&str> {
        self.text("id")
    }

    /// Whose it is.
    pub fn owner(&self) -> Option<&str> {
        self.text("owner").filter(|owner| Owner::parse(*owner).is_ok())
    }

    /// Whether it names nobody: the consumer can then neither store nor report it, and it would come back.
    pub fn is_nobodys(&self) -> bool {
        self.id().is_none() || self.owner().is_none()
    }

    /// How long ago it was sent.
    pub fn age(&self) -> Option<Duration> {
        SystemTime::now().duration_since(self.sent?).ok()
    }

    /// An attribute of the type that the gateway sends: the consumer reads no other.
    fn text(&self, name: &str) -> Option<&str> {
        let attribute = self.attributes.get(name)?;
        attribute.string_value().filter(|_| attribute.data_type() == "String")
    }

    /// How many bytes of a batch it takes: "Amazon SQS message quotas" counts names, types and values.
    pub(crate) fn size(&self) -> usize {
        let attributes = self.attributes.iter().map(|(name, attribute)| {
            let text = attribute.string_value().map_or(0, str::len);
            let bytes = attribute.binary_value().map_or(0, |bytes| bytes.as_ref().len());
            name.len() + attribute.data_type().len() + text + bytes
        });
        self.body.len() + attributes.sum::<usize>()
    }

    /// The same message to be sent once more, with all that its sender gave it.
    pub(crate) fn entry(&self, id: String) -> Result<SendMessageBatchRequestEntry, Problem> {
        let unfit = |error: aws_sdk_sqs::error::BuildError| Problem::Unfit(error.to_string());
        let mut entry = SendMessageBatchRequestEntry::builder().id(id).message_body(&self.body);
        for (name, attribute) in &self.attributes {
            // By its parts: the list values of a received attribute, which SQS has no use for, it does not take.
            let attribute = MessageAttributeValue::builder()
                .data_type(attribute.data_type())
                .set_string_value(attribute.string_value.clone())
                .set_binary_value(attribute.binary_value.clone());
            entry = entry.message_attributes(name, attribute.build().map_err(unfit)?);
        }
        if let Some(header) = &self.trace_header {
            let value = MessageSystemAttributeValue::builder().data_type("String").string_value(header);
            let name = MessageSystemAttributeNameForSends::AwsTraceHeader;
            entry = entry.message_system_attributes(name, value.build().map_err(unfit)?);
        }
        entry.build().map_err(unfit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(attributes: &[(&str, &str, &str)]) -> Letter {
        let attribute = |kind: &str, value: &str| {
            MessageAttributeValue::builder().data_type(kind).string_value(value).build().unwrap()
        };
        let message = Message::builder().message_id("m").receipt_handle("h").body("body");
        let attributes =
            attributes.iter().map(|(name, kind, value)| ((*name).to_owned(), attribute(kind, value)));
        Letter::of(message.set_message_attributes(Some(attributes.collect())).build()).unwrap()
    }

    #[test]
    fn it_names_somebody_by_an_id_and_an_owner_of_the_gateways_type() {
        let id = ("id", "String", "an-id");
        let owner = ("owner", "String", "alice");
        assert!(!letter(&[id, owner]).is_nobodys());
        // The consumer tells an owner of an illegal id.
        assert!(!letter(&[("id", "String", "an id"), owner]).is_nobodys());
        assert!(letter(&[]).is_nobodys());
        assert!(letter(&[id]).is_nobodys());
        assert!(letter(&[owner]).is_nobodys());
        assert!(letter(&[id, ("owner", "Number", "42")]).is_nobodys());
        assert!(letter(&[id, ("owner", "String.name", "alice")]).is_nobodys());
        assert!(letter(&[id, ("owner", "String", "bøb")]).is_nobodys());
    }

    #[test]
    fn its_size_counts_body_and_attributes() {
        assert_eq!(letter(&[]).size(), 4);
        assert_eq!(letter(&[("id", "String", "abc")]).size(), 4 + 2 + 6 + 3);
    }
}
