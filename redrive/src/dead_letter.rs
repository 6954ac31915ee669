//! A dead-lettered message.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_sdk_sqs::{
    error::BuildError,
    operation::send_message::builders::SendMessageFluentBuilder,
    types::{
        Message, MessageAttributeValue, MessageSystemAttributeName, MessageSystemAttributeNameForSends,
        MessageSystemAttributeValue,
    },
};
use intake_domain::message::{Owner, Receipt};

/// A message as it was received from a dead-letter queue.
#[derive(Clone, Debug)]
pub struct DeadLetter(pub(crate) Message);

impl DeadLetter {
    /// Its id in SQS, which it has had since it was sent to the queue.
    pub(crate) fn message_id(&self) -> &str {
        self.0.message_id().unwrap_or_default()
    }

    /// The handle of this receive, which SQS wants for deleting it. A later receive has another one.
    pub(crate) fn receipt_handle(&self) -> &str {
        self.0.receipt_handle().unwrap_or_default()
    }

    /// The id that the client gave it.
    pub fn id(&self) -> Option<&str> {
        self.text("id")
    }

    /// The owner it belongs to.
    pub fn owner(&self) -> Option<&str> {
        self.text("owner").filter(|owner| Owner::parse(*owner).is_ok())
    }

    /// Whether it is an unattributed record, which the consumer can neither store nor report to an owner.
    pub fn is_unattributed(&self) -> bool {
        self.id().is_none() || self.owner().is_none()
    }

    /// The receipt that the client got. An earlier redrive has passed it on as an attribute.
    pub fn receipt(&self) -> &str {
        self.text("receipt").filter(|receipt| Receipt::parse(receipt).is_ok()).unwrap_or(self.message_id())
    }

    /// How long ago the client sent it.
    pub fn age(&self) -> Option<Duration> {
        let received_at = self.received_at()?.parse().ok()?;
        SystemTime::now().duration_since(UNIX_EPOCH.checked_add(Duration::from_millis(received_at))?).ok()
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
        for (name, text) in [("receipt", Some(self.receipt())), ("received_at", self.received_at())] {
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
