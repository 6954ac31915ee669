//! Many messages in one request, in both designs, from outside.

use e2e::{
    events::bulk,
    stack::{QueuedBulk, Record, Response, Stack, unique},
};
use reqwest::Method;
use serde_json::{Value, json};

const BODY: &str = r#"{"a":1}"#;

/// The statuses in a list of outcomes.
fn statuses(outcomes: &[Value]) -> Vec<&str> {
    outcomes.iter().map(|outcome| outcome["status"].as_str().expect("text")).collect()
}

/// The outcomes of a bulk that was sent to one of the two paths, which accepts it.
async fn outcomes(caller: &e2e::stack::Caller<'_>, path: &str, response: &Response) -> Vec<Value> {
    if path == "/queue" {
        return caller.bulk_outcomes(&response.queued_bulk()).await;
    }
    assert!([200, 207].contains(&response.status), "{response:?}");
    let outcomes = response.json()["outcomes"].as_array().cloned().expect("a list");
    assert_eq!(response.status == 200, statuses(&outcomes).iter().all(|status| *status == "stored"));
    outcomes
}

#[tokio::test]
async fn every_message_of_a_bulk_has_its_outcome_in_the_response_on_the_socket_and_in_both_look_ups() {
    let stack = Stack::running();
    let caller = stack.caller();
    let mut socket = caller.connect().await;
    let number = format!(r#"{{ "n" : {}.0e+1, "\u0041":"\ud800" }}"#, "9".repeat(400));
    for path in ["/messages", "/queue"] {
        let [new, same, known, bad] = ["new", "same", "known", "bad"].map(unique);
        assert_eq!(caller.put(&same, r#"{ "a": 1 }"#).await.status, 201);
        assert_eq!(caller.put(&known, r#"{"a":2}"#).await.status, 201);
        let body = bulk(&[
            (&new, &number),
            (&same, BODY),
            (&known, BODY),
            (&bad, "[]"),
            ("a b", BODY),
            (&new, BODY),
        ]);
        let expected = ["stored", "stored", "conflict", "rejected", "rejected", "conflict"];

        let response = caller.post(path, body).await;
        let outcomes = outcomes(&caller, path, &response).await;
        assert_eq!(statuses(&outcomes), expected);
        assert_eq!(caller.look_up(&new).await.payload(), number, "byte for byte");
        if path == "/queue" {
            let receipt = response.queued_bulk().receipt;
            for (index, id) in [&new, &same, &known, &bad].into_iter().enumerate() {
                let found = caller.get(&format!("/messages/{id}?receipt={receipt}")).await;
                assert_eq!(found.message_status(), expected[index], "{found:?}");
                let reason = found.found().outcome.reason;
                assert_eq!(reason.as_deref(), outcomes[index]["reason"].as_str(), "{found:?}");
            }
            for outcome in &outcomes {
                let event = socket.next_event().await;
                let kind = format!("intake.message.{}", outcome["status"].as_str().expect("text"));
                assert_eq!((&event["subject"], &event["type"]), (&outcome["id"], &json!(kind)), "{event}");
                assert_eq!(event["data"]["receipt"], receipt);
                assert_eq!(event["data"]["reason"], outcome["reason"], "{event}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_no_bulk_is_a_problem_at_once_and_touches_nothing() {
    let stack = Stack::running();
    let caller = stack.caller();
    let id = unique("none");
    let good = format!(r#"{{"id":"{id}","payload":{BODY}}}"#);
    let list = |messages: &str| format!(r#"{{"messages":[{messages}]}}"#);
    for path in ["/messages", "/queue"] {
        for body in [
            String::new(),
            "no JSON".to_owned(),
            "[]".to_owned(),
            BODY.to_owned(),
            list(""),
            list(&vec![good.clone(); 101].join(",")),
            list(&format!(r#"{good},{{"payload":{BODY}}}"#)),
            list(&format!(r#"{good},{{"id":"x"}}"#)),
            list(&format!(r#"{good},{{"id":"x","payload":{BODY},"more":1}}"#)),
            list(&format!(r#"{good},{{"id":7,"payload":{BODY}}}"#)),
            format!(r#"{{"messages":[{good}],"more":1}}"#),
        ] {
            let response = caller.post(path, body.clone()).await;
            assert_eq!(response.status, 400, "{path} {body:.100}: {response:?}");
            response.assert_problem(400, "invalid-body");
        }
        let padded = format!("{}{}", list(&good), " ".repeat(1_000_001 - list(&good).len()));
        caller.post(path, padded).await.assert_problem(413, "payload-too-large");
        let text = caller.request(Method::POST, path).header("content-type", "text/plain").body(list(&good));
        Response::to(text).await.assert_problem(415, "unsupported-media-type");
    }
    assert_eq!(caller.item(&id).await, None);
}

#[tokio::test]
async fn the_longest_bulk_is_stored_on_both_paths() {
    let stack = Stack::running();
    let caller = stack.caller();
    for bytes in [999_999, 1_000_000] {
        for path in ["/messages", "/queue"] {
            let ids: Vec<_> = (0..100).map(|_| unique("long")).collect();
            let filler = format!(r#"{{"filler":"{}"}}"#, "x".repeat(9_800));
            let messages: Vec<_> = ids.iter().map(|id| (id.as_str(), filler.as_str())).collect();
            let mut body = bulk(&messages);
            assert!(body.len() < bytes, "{}", body.len());
            body.push_str(&" ".repeat(bytes - body.len()));
            let response = caller.post(path, body).await;
            let outcomes = outcomes(&caller, path, &response).await;
            assert_eq!(statuses(&outcomes), ["stored"; 100]);
            assert_eq!(caller.look_up(&ids[99]).await.payload(), filler);
        }
    }
}

#[tokio::test]
async fn one_payload_that_is_too_long_affects_no_other() {
    let stack = Stack::running();
    let caller = stack.caller();
    let long = format!(r#"{{"filler":"{}"}}"#, "x".repeat(256 * 1024));
    for path in ["/messages", "/queue"] {
        let [first, second, third] = ["a", "b", "c"].map(unique);
        let response = caller.post(path, bulk(&[(&first, BODY), (&second, &long), (&third, BODY)])).await;
        let outcomes = outcomes(&caller, path, &response).await;
        assert_eq!(statuses(&outcomes), ["stored", "rejected", "stored"]);
        assert!(
            outcomes[1]["reason"].as_str().is_some_and(|reason| reason.contains("256 KiB")),
            "{outcomes:?}"
        );
    }
}

/// The gateway may reject the whole of what nests too deep for its own parser.
#[tokio::test]
async fn a_payload_that_nests_too_deep_affects_no_other_and_is_never_stored() {
    let stack = Stack::running();
    let caller = stack.caller();
    let deep = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1));
    for path in ["/messages", "/queue"] {
        let [first, second, third] = ["a", "b", "c"].map(unique);
        let messages = [(&*first, BODY), (&second, &deep(1001)), (&third, BODY)];
        let response = caller.post(path, bulk(&messages)).await;
        if path == "/queue" && response.status == 400 {
            response.assert_problem(400, "invalid-body");
            assert_eq!(caller.item(&first).await, None);
            continue;
        }
        let outcomes = outcomes(&caller, path, &response).await;
        assert_eq!(statuses(&outcomes), ["stored", "rejected", "stored"]);
        assert!(
            outcomes[1]["reason"].as_str().is_some_and(|reason| reason.contains("deeper")),
            "{outcomes:?}"
        );
        assert_eq!(caller.look_up(&third).await.payload(), BODY);
    }
}

/// Under a content type for which it has no model, the gateway checks nothing: its record is sent past it.
#[tokio::test]
async fn what_the_gateway_did_not_check_is_rejected_as_a_whole() {
    let stack = Stack::running();
    let caller = stack.caller();
    let id = unique("unchecked");
    for body in
        ["no JSON", "[]", BODY, &format!(r#"{{"messages":[{{"id":"{id}","payload":{BODY}}}],"more":1}}"#)]
    {
        let record = Record::unattributed(body).with("owner", &caller.name).with("bulk", "true");
        let receipt = format!("bulk-{}", stack.send(record).await);
        let status_path = format!("/receipts/{receipt}");
        let outcomes = caller.bulk_outcomes(&QueuedBulk { receipt, status_path }).await;
        assert_eq!(statuses(&outcomes), ["rejected"]);
        assert_eq!(outcomes[0]["id"], "");
    }
    assert_eq!(caller.item(&id).await, None);
}

#[tokio::test]
async fn each_kind_of_body_and_of_receipt_has_its_own_route() {
    let stack = Stack::running();
    let (caller, other) = (stack.caller(), stack.caller());
    let id = unique("kind");
    // A bulk is an object, so it is a message, too, if it is sent as one.
    assert_eq!(caller.put(&id, bulk(&[("a", BODY)])).await.status, 201);
    let as_one = unique("kind");
    caller.outcome(&caller.queued(&as_one, &bulk(&[("a", BODY)])).await).await;
    assert_eq!(caller.look_up(&as_one).await.payload(), bulk(&[("a", BODY)]));
    for path in ["/messages", "/queue"] {
        caller.post(path, BODY).await.assert_problem(400, "invalid-body");
    }
    let queued = caller.post("/queue", bulk(&[(&unique("kind"), BODY)])).await.queued_bulk();
    let uuid = queued.receipt.strip_prefix("bulk-").expect("the prefix of a bulk's receipt");
    caller.get(&format!("/receipts/{uuid}")).await.assert_problem(400, "invalid-receipt");
    caller.get("/receipts/bulk-1").await.assert_problem(400, "invalid-receipt");
    let single = caller.get(&format!("/messages/{id}?receipt={uuid}")).await;
    assert_eq!(single.message_status(), "queued", "a receipt that was never given");
    caller.bulk_outcomes(&queued).await;
    let not_in_it = caller.get(&format!("/messages/{id}?receipt={}", queued.receipt)).await;
    not_in_it.assert_problem(404, "not-found");
    let of_another_owner = other.get(&queued.status_path).await;
    assert_eq!(of_another_owner.json()["status"], "queued");
    for path in ["/messages", "/queue", &queued.status_path] {
        let preflight = Response::to(stack.request(Method::OPTIONS, path)).await;
        assert_eq!(
            (preflight.status, preflight.header("access-control-allow-headers")),
            (200, "Authorization,*")
        );
    }
}
