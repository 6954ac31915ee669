//! That the checks can fail.

use super::*;

const STORED: &str = r#"{"id":"m-1","status":"stored","statusPath":"/messages/m-1"}"#;
const PROBLEM: &str = r#"{"type":"urn:intake:problem:not-found","title":"X","status":404,"detail":"No."}"#;

fn respond(request: &str, status: u16, content_type: &str, body: &str) -> Result<(), String> {
    let (method, path) = request.split_once(' ').unwrap();
    let mut headers = HeaderMap::new();
    if !content_type.is_empty() {
        headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
    }
    HTTP.check_response(&method.parse().unwrap(), path, status, &headers, body)
}

fn json(request: &str, status: u16, body: &str) -> Result<(), String> {
    respond(request, status, "application/json", body)
}

fn problem(request: &str, status: u16, body: &str) -> Result<(), String> {
    respond(request, status, "application/problem+json", body)
}

#[track_caller]
fn assert_deviates(checked: Result<(), String>, expected: &str) {
    let deviation = checked.expect_err("it deviates");
    assert!(deviation.contains(expected), "{deviation}");
}

/// The outcomes in the examples, each in a frame of its own.
fn outcomes() -> Vec<Value> {
    let examples = WEBSOCKET.resolve("#/channels/connection/messages/outcomes/examples").as_array().unwrap();
    examples.iter().flat_map(|example| example["payload"].as_array().unwrap()).cloned().collect()
}

fn frame(event: &Value) -> Result<(), String> {
    WEBSOCKET.check_frame(&json!([event]).to_string())
}

#[test]
fn a_documented_response_is_accepted() {
    assert_eq!(json("PUT /messages/m-1", 200, STORED), Ok(()));
    assert_eq!(problem("PUT /messages/m-1", 409, PROBLEM), Ok(()));
    assert_eq!(json("GET /messages/m-1?receipt=x", 200, r#"{"id":"m-1","status":"queued"}"#), Ok(()));
}

#[test]
fn a_renamed_missing_or_additional_member_is_a_deviation() {
    let put = |body: &str| json("PUT /messages/m-1", 200, body);
    assert_deviates(put(&STORED.replace("id", "messageId")), "messageId");
    assert_deviates(put(r#"{"id":"m-1"}"#), "\"status\" is a required property");
    assert_deviates(put(&STORED.replace('{', r#"{"via":"sync","#)), "via");
    assert_deviates(put(&STORED.replace("stored", "queued")), "/status");
    // One that need not be there.
    let get = |body: &str| json("GET /messages/m-1", 200, body);
    assert_eq!(get(r#"{"id":"m-1","status":"stored","storedAt":"x"}"#), Ok(()));
    assert_deviates(get(r#"{"id":"m-1","status":"stored","stored_at":"x"}"#), "stored_at");
    let problem = problem("GET /messages/m-1", 404, &PROBLEM.replace("title", "name"));
    assert_deviates(problem, "name");
}

#[test]
fn an_undocumented_status_or_content_type_is_a_deviation() {
    assert_deviates(json("PUT /messages/m-1", 202, STORED), "the status 202 is not documented");
    assert_deviates(problem("PUT /messages/m-1", 404, PROBLEM), "the status 404 is not documented");
    assert_deviates(json("GET /messages/m-1", 404, PROBLEM), "the content type \"application/json\"");
    assert_deviates(respond("PUT /messages/m-1", 200, "", STORED), "the content type \"\"");
}

#[test]
fn a_body_must_be_json_where_it_is_documented_and_empty_elsewhere() {
    assert_deviates(json("PUT /messages/m-1", 200, ""), "no JSON object");
    assert_deviates(json("PUT /messages/m-1", 200, "[]"), "no JSON object");
    let mut headers = HeaderMap::new();
    let preflight = HTTP.resolve("#/paths/~1queue~1{id}/options/responses/200/headers").as_object().unwrap();
    for name in preflight.keys() {
        headers.insert(name.parse::<reqwest::header::HeaderName>().unwrap(), "x".parse().unwrap());
    }
    let check =
        |headers: &HeaderMap, body| HTTP.check_response(&Method::OPTIONS, "/queue/m-1", 200, headers, body);
    assert_eq!(check(&headers, ""), Ok(()));
    assert_deviates(check(&headers, STORED), "no body is documented");
    headers.remove("cache-control");
    assert_deviates(check(&headers, ""), "the header Cache-Control is missing");
}

#[test]
fn a_request_that_leads_to_no_operation_gets_an_error_of_the_gateway() {
    for request in ["GET /nothing", "POST /messages/m-1", "PUT /messages/", "PUT /messages/a/b", "GET /"] {
        assert_eq!(problem(request, 404, PROBLEM), Ok(()), "{request}");
        assert_deviates(json(request, 404, r#"{"message":"Missing Authentication Token"}"#), "content type");
        assert_deviates(problem(request, 404, "{}"), "\"type\" is a required property");
        assert_deviates(json(request, 200, STORED), "the status 200 is not documented");
    }
}

#[test]
fn a_payload_that_no_value_can_hold_is_checked_by_its_type() {
    let body = |payload: &str| format!(r#"{{"id":"m-1","status":"stored","payload":{payload}}}"#);
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(500), "]".repeat(500));
    for payload in [r#"{"a":"\ud800"}"#, r#"{"a":1e999}"#, &deep] {
        assert_eq!(json("GET /messages/m-1", 200, &body(payload)), Ok(()));
    }
    assert_deviates(json("GET /messages/m-1", 200, &body(r#""\ud800""#)), "/payload");
}

#[test]
fn the_examples_of_the_websocket_contract_are_valid() {
    let messages = WEBSOCKET.resolve("#/channels/connection/messages").as_object().unwrap();
    for (name, message) in messages {
        let examples = message["examples"].as_array().unwrap_or_else(|| panic!("{name} has no examples"));
        for example in examples {
            assert_eq!(WEBSOCKET.validate(&message["payload"], &example["payload"]), Ok(()), "{name}");
        }
    }
    let mut types: Vec<_> = outcomes().iter().map(|event| event["type"].to_string()).collect();
    types.sort_unstable();
    types.dedup();
    assert_eq!(types.len(), 4, "{types:?}");
}

#[test]
fn a_frame_that_a_client_does_not_receive_is_a_deviation() {
    assert_eq!(WEBSOCKET.check_frame(r#"{"type":"pong"}"#), Ok(()));
    assert_eq!(WEBSOCKET.check_frame(r#"{"type":"error","reason":"x"}"#), Ok(()));
    for other in [
        "",
        "pong",
        "[]",
        "{}",
        r#"{"action":"ping"}"#,
        r#"{"type":"pong","x":1}"#,
        r#"{"type":"error"}"#,
        r#"{"message":"Internal server error","connectionId":"x","requestId":"x"}"#,
    ] {
        assert!(WEBSOCKET.check_frame(other).is_err(), "{other}");
    }
}

#[test]
fn an_event_of_an_unknown_type_is_a_deviation() {
    let mut event = outcomes().remove(0);
    event["type"] = json!("intake.message.lost");
    assert_deviates(frame(&event), "/0/type");
}

#[test]
fn a_renamed_missing_or_additional_member_of_an_event_is_a_deviation() {
    for event in outcomes() {
        assert_eq!(frame(&event), Ok(()));
        let pointers = ["", "/data"];
        for pointer in pointers {
            let members = event.pointer(pointer).unwrap().as_object().unwrap();
            for name in members.keys() {
                let mut changed = event.clone();
                let object = changed.pointer_mut(pointer).unwrap().as_object_mut().unwrap();
                let value = object.remove(name).unwrap();
                assert_deviates(frame(&changed), name);
                changed.pointer_mut(pointer).unwrap()[format!("{name}2")] = value;
                assert_deviates(frame(&changed), &format!("{name}2"));
            }
            let mut changed = event.clone();
            changed.pointer_mut(pointer).unwrap()["more"] = json!(1);
            assert_deviates(frame(&changed), "more");
        }
    }
}

#[test]
fn an_event_whose_id_status_and_data_do_not_agree_is_a_deviation() {
    let [stored, conflict, ..] = &outcomes()[..] else { panic!("there are more examples") };
    for member in ["id", "type", "data"] {
        let mut changed = stored.clone();
        changed[member] = conflict[member].clone();
        assert_deviates(frame(&changed), &format!("/0/{member}"));
    }
    let mut changed = stored.clone();
    changed["time"] = json!("2026-11-22T21:00:18Z");
    assert_deviates(frame(&changed), "/0/time");
}

#[test]
fn every_type_of_problem_is_in_the_contract_and_explained() {
    let (contract, explained) = (include_str!("../../../openapi.yaml"), include_str!("../../../docs/api.md"));
    let types = HTTP.document["components"]["schemas"]["Problem"]["properties"]["type"]["enum"].clone();
    let types: Vec<String> = serde_json::from_value(types).expect("a list of types");
    for name in contract.split("urn:intake:problem:").skip(1) {
        let end = name.find(|character: char| !character.is_ascii_lowercase() && character != '-');
        let name = &name[..end.unwrap_or(name.len())];
        assert!(
            types.contains(&format!("urn:intake:problem:{name}")),
            "{name} is not in the contract's list"
        );
        assert!(explained.contains(&format!("`{name}`")), "{name} is not explained");
    }
    assert!(types.len() > 10, "{types:?}");
}
