//! What the template allows, compared with the list in `checks/permissions.txt`: a permission cannot be added, or
//! become wider, unless the list says so, too.

use std::fs;

use serde_json::Value;

use crate::{failure::Failure, workspace};

/// Compares the transformed template with the list.
pub(crate) fn check(template: &Value) -> Result<(), Failure> {
    let path = workspace::checks().join("permissions.txt");
    let list = fs::read_to_string(&path).map_err(|error| Failure::file("read", &path, &error))?;
    let difference = difference(&list, permissions(template));
    if difference.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!("the template's permissions are not those in {}", path.display()))
        .with_output(difference.join("\n"))
        .advise("- is only in the list, + only in the template"))
}

/// What is in one of the two only. White space is only layout.
fn difference(list: &str, mut found: Vec<String>) -> Vec<String> {
    let mut difference = Vec::new();
    for line in list.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
        match found.iter().position(|permission| *permission == line) {
            Some(place) => drop(found.remove(place)),
            None => difference.push(format!("- {line}")),
        }
    }
    difference.extend(found.iter().map(|permission| format!("+ {permission}")));
    difference
}

/// Every permission in the template, as a line of the list.
fn permissions(template: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for (name, resource) in template["Resources"].as_object().into_iter().flatten() {
        let properties = &resource["Properties"];
        if resource["Type"] == "AWS::Lambda::Permission" {
            let [principal, action, function, source] =
                ["Principal", "Action", "FunctionName", "SourceArn"].map(|name| text(&properties[name]));
            found.push(format!("{principal} {action} {function} if {source}"));
        }
        // What these allow is written elsewhere.
        let managed = values(&properties["ManagedPolicyArns"]);
        found.extend(managed.iter().map(|policy| format!("{name} managed-policy {policy}")));
        add_statements(properties, name, &mut found);
    }
    found
}

/// Adds the statements of all policies, wherever they are in a resource. One without a principal is about the role
/// that it belongs to; one without a resource, too.
fn add_statements(value: &Value, owner: &str, found: &mut Vec<String>) {
    let children: Vec<_> = match value {
        Value::Object(fields) => fields.values().collect(),
        Value::Array(elements) => elements.iter().collect(),
        _ => return,
    };
    for statement in value.get("Statement").map(list).unwrap_or_default() {
        let part = |name: &str| {
            let excluded =
                values(&statement[format!("Not{name}")]).into_iter().map(|text| format!("not:{text}"));
            let parts: Vec<_> = values(&statement[name]).into_iter().chain(excluded).collect();
            if parts.is_empty() { vec![owner.to_owned()] } else { parts }
        };
        let deny = if statement["Effect"] == "Allow" { "" } else { "deny " };
        let condition = statement.get("Condition").map(|condition| format!(" if {}", text(condition)));
        let condition = condition.unwrap_or_default();
        for principal in part("Principal") {
            for action in part("Action") {
                for resource in part("Resource") {
                    found.push(format!("{deny}{principal} {action} {resource}{condition}"));
                }
            }
        }
    }
    for child in children {
        add_statements(child, owner, found);
    }
}

/// A list, or the one element that stands in its place.
fn list(value: &Value) -> Vec<&Value> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(elements) => elements.iter().collect(),
        value => vec![value],
    }
}

/// The texts in a list; of principals, whatever their kind.
fn values(value: &Value) -> Vec<String> {
    match value {
        Value::Object(kinds)
            if ["AWS", "Service", "Federated"].iter().any(|kind| kinds.contains_key(*kind)) =>
        {
            kinds.values().flat_map(list).map(text).collect()
        }
        value => list(value).into_iter().map(text).collect(),
    }
}

/// A text as the template has it, with references in a short form.
fn text(value: &Value) -> String {
    fn short(value: &Value) -> Value {
        match value {
            Value::Object(fields) => match fields.iter().next() {
                Some((name, Value::Array(parts))) if name == "Fn::GetAtt" => {
                    parts.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(".").into()
                }
                Some((name, Value::String(text))) if name == "Ref" || name == "Fn::Sub" => {
                    text.as_str().into()
                }
                _ => fields.iter().map(|(name, value)| (name.clone(), short(value))).collect(),
            },
            Value::Array(elements) => elements.iter().map(short).collect(),
            value => value.clone(),
        }
    }
    match short(value) {
        Value::String(text) => text,
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_form_of_a_permission_is_found() {
        let role = json!({ "Type": "AWS::IAM::Role", "Properties": {
            "ManagedPolicyArns": ["arn:aws:iam::aws:policy/AdministratorAccess"],
            "AssumeRolePolicyDocument": { "Statement": [
                { "Effect": "Allow", "Principal": { "Service": ["lambda.amazonaws.com"] }, "Action": "sts:AssumeRole" },
            ] },
            "Policies": [{ "PolicyDocument": { "Statement": {
                "Effect": "Allow", "Action": ["sqs:A", "sqs:B"], "Resource": { "Fn::GetAtt": ["Queue", "Arn"] },
            } } }],
        } });
        let policy = json!({ "Type": "AWS::SQS::QueuePolicy", "Properties": { "PolicyDocument": { "Statement": [
            { "Effect": "Deny", "Principal": "*", "NotAction": "sqs:A", "Resource": "*",
              "Condition": { "Bool": { "a": { "Ref": "B" } } } },
        ] } } });
        let permission = json!({ "Type": "AWS::Lambda::Permission", "Properties": {
            "Principal": "p", "Action": "a", "FunctionName": { "Ref": "F" }, "SourceArn": { "Fn::Sub": "arn:${X}" },
        } });
        let template = json!({ "Resources": { "Role": role, "Policy": policy, "Permission": permission } });
        let list = r#"
            lambda.amazonaws.com  sts:AssumeRole  Role
            Role  managed-policy  arn:aws:iam::aws:policy/AdministratorAccess
            Role  sqs:A  Queue.Arn
            Role  sqs:B  Queue.Arn
            deny  *  not:sqs:A  *  if {"Bool":{"a":"B"}}
            p  a  F  if arn:${X}"#;
        assert_eq!(difference(list, permissions(&template)), Vec::<String>::new());
    }

    #[test]
    fn what_is_missing_and_what_is_more_is_in_the_difference() {
        let found = ["A b c", "A b c", "D e f"].map(str::to_owned).to_vec();
        assert_eq!(difference("# comment\nA  b  c\nG  h  i\n", found), ["- G h i", "+ A b c", "+ D e f"]);
    }
}
