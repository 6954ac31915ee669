//! All that anybody may do, and what shows that he needs it.
//!
//! The roles and policies in the template have to be these, word for word: nothing gets in here by the way. Where
//! the emulator checks an action, a test fails if it is taken away; where it does not, this list alone notices.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::failure::Failure;

/// What is allowed and what is denied, and the end-to-end test that fails without it, if there is one: the emulator
/// writes the functions' logs and no traces, polls the queue, calls the functions and hands out their roles without asking.
const PERMISSIONS: &[(&str, Option<&str>)] = &[
    // The gateway.
    ("apigateway.amazonaws.com may sts:AssumeRole on GatewayRole", None),
    (
        "GatewayRole may sqs:SendMessage on Queue.Arn",
        Some("queue_way::a_queued_message_is_stored_in_the_end"),
    ),
    (
        "apigateway.amazonaws.com may lambda:InvokeFunction on AuthorizerFunction from \
         arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}:${RestApi}/authorizers/*",
        None,
    ),
    (
        "apigateway.amazonaws.com may lambda:InvokeFunction on AuthorizerFunction from \
         arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}:${WebSocketApi}/authorizers/\
         ${WebSocketAuthorizer}",
        None,
    ),
    (
        "apigateway.amazonaws.com may lambda:InvokeFunction on SyncInsertFunction from \
         arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}:${RestApi}/v1/PUT/messages/*",
        None,
    ),
    (
        "apigateway.amazonaws.com may lambda:InvokeFunction on StatusLookupFunction from \
         arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}:${RestApi}/v1/GET/messages/*",
        None,
    ),
    (
        "apigateway.amazonaws.com may lambda:InvokeFunction on WebSocketFunction from \
         arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}:${WebSocketApi}/v1/*",
        None,
    ),
    // The functions.
    ("lambda.amazonaws.com may sts:AssumeRole on AuthorizerRole", None),
    ("AuthorizerRole may logs:CreateLogStream on AuthorizerLogGroup.Arn", None),
    ("AuthorizerRole may logs:PutLogEvents on AuthorizerLogGroup.Arn", None),
    ("AuthorizerRole may xray:PutTraceSegments on *", None),
    ("AuthorizerRole may xray:PutTelemetryRecords on *", None),
    ("lambda.amazonaws.com may sts:AssumeRole on SyncInsertRole", None),
    ("SyncInsertRole may logs:CreateLogStream on SyncInsertLogGroup.Arn", None),
    ("SyncInsertRole may logs:PutLogEvents on SyncInsertLogGroup.Arn", None),
    ("SyncInsertRole may xray:PutTraceSegments on *", None),
    ("SyncInsertRole may xray:PutTelemetryRecords on *", None),
    (
        "SyncInsertRole may dynamodb:PutItem on MessagesTable.Arn",
        Some("sync_way::a_message_is_stored_when_the_answer_says_so"),
    ),
    ("lambda.amazonaws.com may sts:AssumeRole on StatusLookupRole", None),
    ("StatusLookupRole may logs:CreateLogStream on StatusLookupLogGroup.Arn", None),
    ("StatusLookupRole may logs:PutLogEvents on StatusLookupLogGroup.Arn", None),
    ("StatusLookupRole may xray:PutTraceSegments on *", None),
    ("StatusLookupRole may xray:PutTelemetryRecords on *", None),
    (
        "StatusLookupRole may dynamodb:GetItem on MessagesTable.Arn",
        Some("sync_way::what_is_stored_can_be_looked_up"),
    ),
    ("lambda.amazonaws.com may sts:AssumeRole on WebSocketRole", None),
    ("WebSocketRole may logs:CreateLogStream on WebSocketLogGroup.Arn", None),
    ("WebSocketRole may logs:PutLogEvents on WebSocketLogGroup.Arn", None),
    ("WebSocketRole may xray:PutTraceSegments on *", None),
    ("WebSocketRole may xray:PutTelemetryRecords on *", None),
    (
        "WebSocketRole may dynamodb:PutItem on ConnectionsTable.Arn",
        Some("connections::a_connection_is_noted_for_as_long_as_it_can_live"),
    ),
    (
        "WebSocketRole may dynamodb:DeleteItem on ConnectionsTable.Arn",
        Some("connections::a_closed_connection_is_forgotten_and_the_others_are_not"),
    ),
    ("lambda.amazonaws.com may sts:AssumeRole on QueueConsumerRole", None),
    ("QueueConsumerRole may logs:CreateLogStream on QueueConsumerLogGroup.Arn", None),
    ("QueueConsumerRole may logs:PutLogEvents on QueueConsumerLogGroup.Arn", None),
    ("QueueConsumerRole may xray:PutTraceSegments on *", None),
    ("QueueConsumerRole may xray:PutTelemetryRecords on *", None),
    ("QueueConsumerRole may sqs:ReceiveMessage on Queue.Arn", None),
    ("QueueConsumerRole may sqs:DeleteMessage on Queue.Arn", None),
    ("QueueConsumerRole may sqs:GetQueueAttributes on Queue.Arn", None),
    (
        "QueueConsumerRole may dynamodb:PartiQLInsert on MessagesTable.Arn",
        Some("permissions::a_batch_is_stored_as_one"),
    ),
    (
        "QueueConsumerRole may dynamodb:PutItem on MessagesTable.Arn",
        Some("states::a_rejected_id_can_be_stored_through_the_queue"),
    ),
    (
        "QueueConsumerRole may dynamodb:Query on ConnectionsTable.Arn",
        Some("pushes::all_sockets_of_an_owner_are_told"),
    ),
    (
        "QueueConsumerRole may dynamodb:DeleteItem on ConnectionsTable.Arn",
        Some("connections::a_gone_connection_is_removed_by_a_push_and_disturbs_no_other"),
    ),
    (
        "QueueConsumerRole may execute-api:ManageConnections on \
         arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}:${WebSocketApi}/v1/POST/@connections/*",
        Some("pushes::all_sockets_of_an_owner_are_told"),
    ),
    // Operators.
    ("arn:${AWS::Partition}:iam::${AWS::AccountId}:root may sts:AssumeRole on RedriveRole", Some(REDRIVE)),
    ("RedriveRole may sqs:GetQueueAttributes on DeadLetterQueue.Arn", Some(REDRIVE)),
    ("RedriveRole may sqs:ReceiveMessage on DeadLetterQueue.Arn", Some(REDRIVE)),
    ("RedriveRole may sqs:ChangeMessageVisibility on DeadLetterQueue.Arn", Some(REDRIVE)),
    ("RedriveRole may sqs:DeleteMessage on DeadLetterQueue.Arn", Some(REDRIVE)),
    ("RedriveRole may sqs:GetQueueAttributes on Queue.Arn", Some(REDRIVE)),
    (
        "RedriveRole may sqs:SendMessage on Queue.Arn",
        Some("redrive::a_redriven_dead_letter_is_stored_as_it_came_and_its_owner_is_told"),
    ),
    // Everybody.
    (r#"* may not sqs:* on Queue.Arn if {"Bool":{"aws:SecureTransport":"false"}}"#, None),
    (r#"* may not sqs:* on DeadLetterQueue.Arn if {"Bool":{"aws:SecureTransport":"false"}}"#, None),
    (
        "* may not sqs:SendMessage on Queue.Arn if \
         {\"ArnNotEquals\":{\"aws:PrincipalArn\":[\"GatewayRole.Arn\",\"RedriveRole.Arn\"]}}",
        Some("permissions::not_even_the_account_itself_may_put_messages_into_the_queue"),
    ),
];

const REDRIVE: &str = "permissions::the_role_of_a_redrive_may_move_dead_letters_back_and_do_nothing_else";

/// Actions that AWS allows on every resource only ("Actions, resources, and condition keys for AWS X-Ray").
const ON_EVERYTHING: [&str; 2] = ["xray:PutTelemetryRecords", "xray:PutTraceSegments"];

/// Checks that the transformed template allows exactly what is listed, and nothing in general.
pub(crate) fn check(template: &Value) -> Result<(), Failure> {
    let mut faults = wildcards(template);
    let mut found = BTreeMap::<String, usize>::new();
    for statement in statements(template) {
        *found.entry(statement.spoken()).or_default() += 1;
    }
    for (permission, shown_by) in PERMISSIONS {
        match found.remove(*permission) {
            Some(1) => {}
            Some(_) => faults.push(format!("{permission}: more than once")),
            None => {
                let shown_by = shown_by.map(|test| format!(", which {test} needs")).unwrap_or_default();
                faults.push(format!("{permission}: missing{shown_by}"));
            }
        }
    }
    faults.extend(found.into_keys().map(|permission| format!("{permission}: not in the list")));
    if faults.is_empty() {
        return Ok(());
    }
    Err(Failure::new("the template's permissions are not those in xtask/src/permissions.rs")
        .with_output(faults.join("\n")))
}

/// One action of one statement on one resource.
struct Statement {
    who: String,
    denied: bool,
    action: String,
    resource: String,
    condition: Option<String>,
}

impl Statement {
    fn spoken(&self) -> String {
        let Self { who, action, resource, .. } = self;
        let may = if self.denied { "may not" } else { "may" };
        let condition = self.condition.as_deref().unwrap_or_default();
        format!("{who} {may} {action} on {resource}{condition}")
    }
}

/// What is allowed in general, though AWS lets it be named.
fn wildcards(template: &Value) -> Vec<String> {
    let in_general = |statement: &Statement| {
        // Every part of a name that stands for all: of an ARN only its end may, the path of an API.
        let everything = statement.resource == "*"
            || statement.resource.contains(":*")
            || statement.resource.contains("*/");
        let needed = ON_EVERYTHING.contains(&statement.action.as_str());
        !statement.denied
            && (statement.action.contains('*') || statement.who == "*" || (everything && !needed))
    };
    let spoken = statements(template).filter(in_general).map(|statement| statement.spoken());
    spoken.map(|statement| format!("{statement}: a wildcard")).collect()
}

/// Every statement of every policy in the template, one for each action and resource.
fn statements(template: &Value) -> impl Iterator<Item = Statement> {
    let resources = template["Resources"].as_object().into_iter().flatten();
    resources.flat_map(|(name, resource)| {
        let properties = &resource["Properties"];
        let mut found = Vec::new();
        if resource["Type"] == "AWS::Lambda::Permission" {
            found.push(Statement {
                who: text(&properties["Principal"]),
                denied: false,
                action: text(&properties["Action"]),
                resource: format!(
                    "{} from {}",
                    text(&properties["FunctionName"]),
                    text(&properties["SourceArn"])
                ),
                condition: None,
            });
        }
        // Someone else's policy, whose statements nobody here can see.
        for policy in list(&properties["ManagedPolicyArns"]) {
            found.push(Statement {
                who: name.clone(),
                denied: false,
                action: "*".to_owned(),
                resource: text(policy),
                condition: None,
            });
        }
        for statement in list(&properties["AssumeRolePolicyDocument"]["Statement"]) {
            found.extend(read(None, statement, Some(name)));
        }
        for policy in list(&properties["Policies"]) {
            for statement in list(&policy["PolicyDocument"]["Statement"]) {
                found.extend(read(Some(name), statement, None));
            }
        }
        // Policies of resources, and policies of their own that are attached to roles.
        for statement in list(&properties["PolicyDocument"]["Statement"]) {
            let who = statement.get("Principal").is_none().then_some(name);
            found.extend(read(who, statement, None));
        }
        found
    })
}

/// A statement of a role or, if `who` is none, of whom it names itself; about `what`, unless it says so itself.
fn read(who: Option<&String>, statement: &Value, what: Option<&String>) -> Vec<Statement> {
    let principals = match (who, &statement["Principal"]) {
        (Some(who), _) => vec![who.clone()],
        (None, Value::Object(kinds)) => kinds.values().flat_map(list).map(text).collect(),
        (None, other) => vec![text(other)],
    };
    // What is allowed by exclusion is allowed in general.
    let named = |name: &str, other: &str| match (statement.get(name), statement.get(other)) {
        (Some(value), None) => list(value).iter().map(|value| text(value)).collect(),
        _ => vec!["*".to_owned()],
    };
    let resources = match what {
        Some(what) => vec![what.clone()],
        None => named("Resource", "NotResource"),
    };
    let condition = statement.get("Condition").map(|condition| format!(" if {}", spoken(condition)));
    let mut found = Vec::new();
    for who in &principals {
        for action in named("Action", "NotAction") {
            for resource in &resources {
                found.push(Statement {
                    who: who.clone(),
                    denied: statement["Effect"] == "Deny",
                    action: action.clone(),
                    resource: resource.clone(),
                    condition: condition.clone(),
                });
            }
        }
    }
    found
}

/// A list, or the one element that stands in its place.
fn list(value: &Value) -> Vec<&Value> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(values) => values.iter().collect(),
        value => vec![value],
    }
}

/// A text as the template has it, with its references in the short form.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        value => spoken(value),
    }
}

fn spoken(value: &Value) -> String {
    fn truncated(value: &Value) -> Value {
        match value {
            Value::Object(map) => {
                let one = map.iter().next().filter(|_| map.len() == 1);
                match one.map(|(key, value)| (key.as_str(), value)) {
                    Some(("Fn::GetAtt", Value::Array(parts))) => {
                        parts.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(".").into()
                    }
                    Some(("Ref" | "Fn::Sub", Value::String(text))) => text.as_str().into(),
                    _ => map.iter().map(|(key, value)| (key.clone(), truncated(value))).collect(),
                }
            }
            Value::Array(values) => values.iter().map(truncated).collect(),
            value => value.clone(),
        }
    }
    match truncated(value) {
        Value::String(text) => text,
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;
    use crate::workspace;

    /// A template with a role of this one statement.
    fn role(statement: &Value) -> Value {
        let policy = json!({ "PolicyName": "p", "PolicyDocument": { "Statement": [statement] } });
        json!({ "Resources": { "SomeRole": { "Type": "AWS::IAM::Role", "Properties": { "Policies": [policy] } } } })
    }

    #[test]
    fn a_statement_in_general_is_a_fault() {
        let table = json!({ "Fn::GetAtt": ["MessagesTable", "Arn"] });
        for statement in [
            json!({ "Effect": "Allow", "Action": "*", "Resource": table }),
            json!({ "Effect": "Allow", "Action": ["dynamodb:GetItem", "dynamodb:Put*"], "Resource": table }),
            json!({ "Effect": "Allow", "Action": "dynamodb:GetItem", "Resource": "*" }),
            json!({ "Effect": "Allow", "Action": "dynamodb:GetItem", "Resource": [table, "*"] }),
            json!({ "Effect": "Allow", "Action": "dynamodb:GetItem", "Resource": "arn:aws:dynamodb:*:1:table/t" }),
            json!({ "Effect": "Allow", "Action": "dynamodb:GetItem",
                    "Resource": { "Fn::Sub": "arn:aws:dynamodb:${AWS::Region}:${AWS::AccountId}:*" } }),
            json!({ "Effect": "Allow", "NotAction": "dynamodb:DeleteTable", "Resource": table }),
            json!({ "Effect": "Allow", "Action": "dynamodb:GetItem", "NotResource": table }),
        ] {
            assert_eq!(wildcards(&role(&statement)).len(), 1, "{statement}");
        }
        for statement in [
            json!({ "Effect": "Allow", "Action": "dynamodb:GetItem", "Resource": table }),
            json!({ "Effect": "Allow", "Action": "xray:PutTraceSegments", "Resource": "*" }),
            json!({ "Effect": "Deny", "Action": "*", "Resource": "*" }),
        ] {
            assert_eq!(wildcards(&role(&statement)), Vec::<String>::new(), "{statement}");
        }
    }

    #[test]
    fn a_policy_that_is_kept_elsewhere_is_a_fault() {
        let mut template = role(&json!({}));
        template["Resources"]["SomeRole"]["Properties"]["ManagedPolicyArns"] =
            json!(["arn:aws:iam::aws:policy/AdministratorAccess"]);
        assert!(!wildcards(&template).is_empty());
    }

    #[test]
    fn everybody_is_nobody_to_allow_anything_to() {
        let statement =
            json!({ "Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": "q" });
        for principal in [json!("*"), json!({ "AWS": "*" }), json!({ "AWS": ["1", "*"] })] {
            let mut statement = statement.clone();
            statement["Principal"] = principal;
            let properties = json!({ "PolicyDocument": { "Statement": statement } });
            let template = json!({ "Resources": { "P": { "Type": "AWS::SQS::QueuePolicy", "Properties": properties } } });
            assert_eq!(wildcards(&template).len(), 1, "{template}");
        }
    }

    #[test]
    fn what_is_missing_or_added_is_told_with_the_test_that_needs_it() {
        let statement = json!({ "Effect": "Allow", "Action": "dynamodb:Scan", "Resource": "t" });
        let Err(Failure::Failed { output, .. }) = check(&role(&statement)) else { panic!("accepted") };
        assert!(output.contains("SomeRole may dynamodb:Scan on t: not in the list"), "{output}");
        let missing = "SyncInsertRole may dynamodb:PutItem on MessagesTable.Arn: missing, which \
                       sync_way::a_message_is_stored_when_the_answer_says_so needs";
        assert!(output.contains(missing), "{output}");
    }

    #[test]
    fn every_test_that_is_named_is_there() {
        for (_, test) in PERMISSIONS {
            let Some((module, name)) = test.and_then(|test| test.split_once("::")) else { continue };
            let path = workspace::root().join(format!("tests/stack/{module}.rs"));
            let tests =
                fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert!(tests.contains(&format!("async fn {name}()")), "{module}::{name}");
        }
    }
}
