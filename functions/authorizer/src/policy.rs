//! The response to API Gateway: a principal and a policy.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use intake_domain::message::Owner;
use ring::digest::{SHA256, digest};
use serde::Serialize;

use crate::token::Identity;

/// The resource of a policy: all methods of one stage (a deployed version) of one API, as an ARN, which is AWS's form of
/// a name.
///
/// A REST API caches the policy by token and applies it to every other method that the same token
/// calls, so a policy for the requested method alone would deny the next call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Resource(String);

impl Resource {
    /// All methods of the stage that a method's ARN names
    /// (`arn:<partition>:execute-api:<region>:<account>:<api>/<stage>/<method>/<path>`).
    /// None if the text is not such an ARN.
    pub fn whole_stage(method_arn: &str) -> Option<Self> {
        // The caller chooses the path at the end, which may hold anything: it is cut off, and only the parts before it
        // count.
        let mut parts = method_arn.splitn(3, '/');
        let (api, stage, _method) = (parts.next()?, parts.next()?, parts.next()?);
        let fields: Vec<&str> = api.split(':').collect();
        let ["arn", partition, "execute-api", region, _account, id] = fields[..] else {
            return None;
        };
        let literal = |text: &str| !text.is_empty() && !text.contains(['*', '?', '$']);
        [partition, region, id, stage].into_iter().all(literal).then(|| Self(format!("{api}/{stage}/*")))
    }
}

/// The response of an authorizer
/// (Amazon API Gateway Developer Guide, "Output from an API Gateway Lambda authorizer").
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    principal_id: String,
    policy_document: Document,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<Context>,
}

/// What else the APIs and the functions learn about the caller. API Gateway passes every value on as text, so this is
/// text already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Context {
    valid_until: String,
    /// The message group of what the caller sends to the queue.
    group: String,
}

/// A text of 22 characters that stands for an owner: the message group of what they send. SQS takes turns between groups
/// when one of them has most of the messages in flight ("Amazon SQS fair queues"). It accepts at most 128 characters for a message group, and no
/// spaces ("SendMessage", `MessageGroupId`); an owner may have 255, with spaces.
fn group(owner: &Owner) -> String {
    let hash = digest(&SHA256, owner.as_str().as_bytes());
    // Half of it: that two owners share a group would be harmless, and will never happen.
    URL_SAFE_NO_PAD.encode(&hash.as_ref()[..16])
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    version: &'static str,
    statement: [Statement; 1],
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Statement {
    action: &'static str,
    effect: &'static str,
    resource: Resource,
}

impl Policy {
    /// Allows a caller; the principal is the owner of what they send. The policy says until when that holds,
    /// because no token is verified again while a socket is open.
    pub fn allow(identity: &Identity, resource: Resource) -> Self {
        let context =
            Context { valid_until: identity.valid_until.to_string(), group: group(&identity.owner) };
        Self { context: Some(context), ..Self::new(identity.owner.as_str(), "Allow", resource) }
    }

    /// Denies an unknown caller.
    pub fn deny(resource: Resource) -> Self {
        Self::new("anonymous", "Deny", resource)
    }

    fn new(principal: &str, effect: &'static str, resource: Resource) -> Self {
        Self {
            principal_id: principal.to_owned(),
            policy_document: Document {
                version: "2012-10-17",
                statement: [Statement { action: "execute-api:Invoke", effect, resource }],
            },
            context: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn whole_stage(method_arn: &str) -> Option<String> {
        Resource::whole_stage(method_arn).map(|resource| resource.0)
    }

    #[test]
    fn a_policy_is_for_the_whole_stage_in_every_partition() {
        for (method, stage) in [
            (
                "arn:aws:execute-api:eu-west-1:123456789012:a1b2c3d4e5/v1/PUT/messages/one",
                "arn:aws:execute-api:eu-west-1:123456789012:a1b2c3d4e5/v1/*",
            ),
            (
                "arn:aws-cn:execute-api:cn-north-1:123456789012:a1b2c3d4e5/v1/GET/",
                "arn:aws-cn:execute-api:cn-north-1:123456789012:a1b2c3d4e5/v1/*",
            ),
            (
                "arn:aws-us-gov:execute-api:us-gov-west-1:123456789012:a1b2c3d4e5/v1/$connect",
                "arn:aws-us-gov:execute-api:us-gov-west-1:123456789012:a1b2c3d4e5/v1/*",
            ),
        ] {
            assert_eq!(whole_stage(method).as_deref(), Some(stage));
        }
    }

    #[test]
    fn another_text_is_not_a_method() {
        for text in [
            "",
            "*",
            "arn:aws:execute-api:eu-west-1:123456789012:a1b2c3d4e5",
            "arn:aws:execute-api:eu-west-1:123456789012:a1b2c3d4e5/v1",
            "arn:aws:execute-api:eu-west-1:123456789012:a1b2c3d4e5//GET/",
            "arn:aws:execute-api:eu-west-1:123456789012:/v1/GET/",
            "arn:aws:execute-api:eu-west-1:123456789012:*/v1/GET/",
            "arn:aws:execute-api:eu-west-1:123456789012:a1b2c3d4e5/*/GET/",
            "arn:aws:lambda:eu-west-1:123456789012:function/name/GET/",
            "arn:aws:execute-api:eu-west-1:123456789012:more:a1b2c3d4e5/v1/GET/",
        ] {
            assert_eq!(whole_stage(text), None, "{text}");
        }
    }

    #[test]
    fn the_response_has_the_shape_that_api_gateway_reads() {
        let resource =
            || Resource::whole_stage("arn:aws:execute-api:eu-west-1:1:api/v1/GET/").expect("a method");
        let owner = Owner::parse("auth0|5f7c8ec7c33c6c004bbafe82").expect("an owner");
        let identity = Identity { owner, valid_until: 1_795_348_860 };
        assert_eq!(
            serde_json::to_value(Policy::allow(&identity, resource())).expect("JSON"),
            json!({
                "principalId": "auth0|5f7c8ec7c33c6c004bbafe82",
                "policyDocument": {
                    "Version": "2012-10-17",
                    "Statement": [{
                        "Action": "execute-api:Invoke",
                        "Effect": "Allow",
                        "Resource": "arn:aws:execute-api:eu-west-1:1:api/v1/*",
                    }],
                },
                "context": { "validUntil": "1795348860", "group": "QapIeIfjxFwZskSLLwNlUg" },
            })
        );
        let denied = serde_json::to_value(Policy::deny(resource())).expect("JSON");
        assert_eq!(denied["principalId"], "anonymous");
        assert_eq!(denied.get("context"), None);
        assert_eq!(denied["policyDocument"]["Statement"][0]["Effect"], "Deny");
    }

    #[test]
    fn a_group_is_a_message_group_of_sqs_and_differs_between_owners() {
        let group = |owner: &str| super::group(&Owner::parse(owner).expect("an owner"));
        let longest = "an owner with spaces ".repeat(13)[..255].to_owned();
        for owner in ["a", " ", &longest] {
            let group = group(owner);
            let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            assert!(group.len() == 22 && group.bytes().all(is_legal), "{group}");
        }
        assert_ne!(group(&longest), group(&longest[1..]));
    }

    proptest! {
        #[test]
        fn what_a_caller_asks_for_never_widens_the_policy(path in "\\PC*") {
            let stage = "arn:aws:execute-api:eu-west-1:123456789012:a1b2c3d4e5/v1";
            prop_assert_eq!(
                whole_stage(&format!("{stage}/PUT/{path}")),
                Some(format!("{stage}/*"))
            );
        }
    }
}
