//! A dead letter.

use aws_sdk_sqs::{
    error::BuildError,
    operation::send_message::builders::SendMessageFluentBuilder,
    types::{
        Message, MessageAttributeValue, MessageSystemAttributeName, MessageSystemAttributeNameForSends,
        MessageSystemAttributeValue,
    },
};
use intake_domain::{
    message::{MessageId, Owner, Receipt, id_text},
    state::milliseconds,
};
use jiff::Timestamp;

use crate::{report::Entry, request::Request};

/// A message as it was received from the dead-letter queue.
#[derive(Clone, Debug)]
pub(crate) struct Letter(pub(crate) Message);

impl Letter {
    /// Its id in SQS, which it has had since it was sent to the queue.
    pub(crate) fn message_id(&self) -> &str {
        self.0.message_id().unwrap_or_default()
    }

    /// The handle of this receive, which SQS wants for deleting it. A later receive has another one.
    pub(crate) fn receipt_handle(&self) -> &str {
        self.0.receipt_handle().unwrap_or_default()
    }

    /// Whether it is among those that are asked for.
    pub(crate) fn is_wanted(&self, request: &Request) -> bool {
        let is_of_owner = request.owner.as_ref().is_none_or(|owner| self.owner() == Some(owner));
        is_of_owner && request.receipt.as_ref().is_none_or(|receipt| self.receipt() == *receipt)
    }

    /// Whether it is an unattributed record, which the consumer can neither store nor report to an owner.
    pub(crate) fn is_unattributed(&self) -> bool {
        self.owner().is_none() || (self.text("id").is_none() && !self.is_bulk())
    }

    /// Whether it holds many messages.
    fn is_bulk(&self) -> bool {
        self.text("bulk").is_some()
    }

    /// The line about it in the report.
    pub(crate) fn entry(&self, reason: Option<String>) -> Entry {
        let received_at = self.received_at().and_then(|time| time.parse().ok());
        let received_at = received_at.and_then(|time| Timestamp::from_millisecond(time).ok());
        Entry {
            receipt: self.receipt(),
            owner: self.owner().map(str::to_owned),
            id: self.text("id").map(|id| id_text(&MessageId::parse(id)).to_owned()),
            received_at: received_at.map(milliseconds),
            reason,
        }
    }

    /// The owner it belongs to.
    fn owner(&self) -> Option<&str> {
        self.text("owner").filter(|owner| Owner::parse(*owner).is_ok())
    }

    /// The receipt that the client got. An earlier redrive has passed it on as an attribute.
    pub(crate) fn receipt(&self) -> String {
        let first = self.text("receipt").filter(|receipt| Receipt::parse(receipt).is_ok());
        let prefix = if self.is_bulk() { "bulk-" } else { "" };
        first.map_or_else(|| format!("{prefix}{}", self.message_id()), str::to_owned)
    }

    /// When the queue accepted it for the first time, in milliseconds since 1970.
    fn received_at(&self) -> Option<&str> {
        let first = self.text("received_at").filter(|text| text.parse::<u64>().is_ok());
        first.or(self.system(&MessageSystemAttributeName::SentTimestamp))
    }

    /// An attribute of the type that the gateway sends: the consumer reads no other.
    fn text(&self, name: &str) -> Option<&str> {
        let attribute = self.0.message_attributes()?.get(name)?;
        attribute.string_value().filter(|_| attribute.data_type() == "String")
    }

    fn system(&self, name: &MessageSystemAttributeName) -> Option<&str> {
        self.0.attributes()?.get(name).map(String::as_str)
    }

    /// Fills in a request with the same message: body, attributes, trace and group as they were, and the first
    /// receipt and time of receipt, because the queue will give it new ones.
    pub(crate) fn fill(
        &self,
        request: SendMessageFluentBuilder,
    ) -> Result<SendMessageFluentBuilder, BuildError> {
        let mut request = request.set_message_body(self.0.body.clone());
        for (name, attribute) in self.0.message_attributes().into_iter().flatten() {
            // A received attribute has list values, too, which SQS does not accept.
            let value = MessageAttributeValue::builder()
                .data_type(attribute.data_type())
                .set_string_value(attribute.string_value.clone())
                .set_binary_value(attribute.binary_value.clone());
            request = request.message_attributes(name, value.build()?);
        }
        let receipt = self.receipt();
        for (name, text) in [("receipt", Some(&*receipt)), ("received_at", self.received_at())] {
            if let Some(text) = text {
                let value = MessageAttributeValue::builder().data_type("String").string_value(text);
                request = request.message_attributes(name, value.build()?);
            }
        }
        if let Some(trace) = self.system(&MessageSystemAttributeName::AwsTraceHeader) {
            let value = MessageSystemAttributeValue::builder().data_type("String").string_value(trace);
            let name = MessageSystemAttributeNameForSends::AwsTraceHeader;
            request = request.message_system_attributes(name, value.build()?);
        }
        // A fair queue goes by the group.
        let group = self.system(&MessageSystemAttributeName::MessageGroupId);
        Ok(request.set_message_group_id(group.map(str::to_owned)))
    }
}
