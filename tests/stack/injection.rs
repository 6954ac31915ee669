//! Nothing that a client sends changes the structure of the request to the queue, or names another owner.

use e2e::stack::{Response, Stack, text, unique};
use reqwest::Method;
use serde_json::json;

#[tokio::test]
async fn an_id_cannot_name_another_owner() {
    let stack = Stack::running();
    let (mallory, bob) = (stack.caller(), stack.caller());
    let mut of_bob = bob.connect().await;
    let target = unique("target");
    let name = &bob.name;
    let attempts = [
        format!("{target}%26MessageAttribute.2.Value.StringValue%3D{name}"),
        format!("{target}&MessageAttribute.2.Value.StringValue={name}"),
        format!("{target}%26MessageAttribute.2.Name%3Downer%26MessageAttribute.2.Value.StringValue%3D{name}"),
        format!("{target}%2526MessageAttribute.2.Value.StringValue%253D{name}"),
        format!("{target}%20&MessageAttribute.3.Name=owner&MessageAttribute.3.Value.StringValue={name}"),
        format!("{target}%23{name}"),
        format!("{target}%22%2C%22owner%22%3A%22{name}"),
    ];

    for id in &attempts {
        mallory.queue(id, r#"{"evil":true}"#).await.assert_problem(400, "invalid-id");
        mallory.put(id, r#"{"evil":true}"#).await.assert_problem(400, "invalid-id");
    }

    assert_eq!(bob.item(&target).await, None);
    assert_eq!(mallory.item(&target).await, None);
    // Bob has not been notified before this.
    bob.queued(&target, r#"{"evil":false}"#).await;
    of_bob.notified("stored", &target).await;
}

#[tokio::test]
async fn a_body_cannot_name_another_owner() {
    let stack = Stack::running();
    let (mallory, bob) = (stack.caller(), stack.caller());
    let mut of_bob = bob.connect().await;
    let name = &bob.name;
    let bodies = [
        format!(r#"{{"a":"&MessageAttribute.2.Value.StringValue={name}&x="}}"#),
        format!(r#"{{"a":"%26MessageAttribute.2.Value.StringValue%3D{name}"}}"#),
        format!(r#"{{"a":"\u0026MessageAttribute.2.Value.StringValue\u003d{name}"}}"#),
        format!(r#"{{"owner":"{name}","principalId":"{name}","sub":"{name}"}}"#),
    ];
    let mut ids = Vec::new();
    for body in &bodies {
        let id = unique("q");
        let queued = mallory.queued(&id, body).await;
        let response = mallory.outcome(&queued).await;
        assert_eq!(response.payload(), *body);
        let item = mallory.item(&id).await.expect("it belongs to Mallory");
        assert_eq!(text(&item, "payload"), body);
        assert_eq!(bob.item(&id).await, None);
        ids.push(id);
    }
    for id in &ids {
        bob.look_up(id).await.assert_problem(404, "not-found");
    }
    let id = unique("q");
    bob.queued(&id, r#"{"a":1}"#).await;
    of_bob.notified("stored", &id).await;
}

#[tokio::test]
async fn a_form_for_the_queue_itself_is_rejected() {
    let stack = Stack::running();
    let (mallory, bob) = (stack.caller(), stack.caller());
    let id = unique("q");
    let form = format!(
        "Action=SendMessage&MessageBody=%7B%22a%22%3A1%7D\
         &MessageAttribute.1.Name=id&MessageAttribute.1.Value.DataType=String\
         &MessageAttribute.1.Value.StringValue={id}\
         &MessageAttribute.2.Name=owner&MessageAttribute.2.Value.DataType=String\
         &MessageAttribute.2.Value.StringValue={}",
        bob.name
    );
    for content_type in ["application/x-www-form-urlencoded", "application/json", "text/plain"] {
        let response = mallory.send_as(&format!("/queue/{id}"), content_type, form.clone()).await;
        assert!([400, 415].contains(&response.status), "{content_type}: {response:?}");
        assert_eq!(response.header("content-type"), "application/problem+json", "{response:?}");
    }
    assert_eq!(bob.item(&id).await, None);
}

#[tokio::test]
async fn headers_and_parameters_cannot_name_an_owner_or_an_id() {
    let stack = Stack::running();
    let (mallory, bob) = (stack.caller(), stack.caller());
    let mut of_bob = bob.connect().await;
    let name = bob.name.as_str();
    for path in ["messages", "queue"] {
        let (id, other) = (unique("mine"), unique("other"));
        let path = format!(
            "/{path}/{id}?id={other}&owner={name}&principalId={name}\
             &MessageAttribute.2.Value.StringValue={name}&Action=PurgeQueue"
        );
        let mut request = mallory.request(Method::PUT, &path).header("content-type", "application/json");
        for header in
            ["owner", "x-owner", "principalid", "x-principal-id", "x-amzn-principal", "x-forwarded-user"]
        {
            request = request.header(header, name);
        }
        let response = Response::to(request.header("id", &other).body(r#"{"a":1}"#)).await;
        assert!([201, 202].contains(&response.status), "{response:?}");

        assert_eq!(mallory.becomes(&id, "stored").await["payload"], json!({ "a": 1 }));
        for (caller, id) in [(&bob, &id), (&bob, &other), (&mallory, &other)] {
            assert_eq!(caller.item(id).await, None);
        }
    }
    let id = unique("q");
    bob.queued(&id, r#"{"a":1}"#).await;
    of_bob.notified("stored", &id).await;
}

#[tokio::test]
async fn a_text_that_is_no_receipt_is_rejected_and_not_repeated() {
    let stack = Stack::running();
    let caller = stack.caller();
    let id = unique("q");
    for receipt in [
        "x",
        "%00",
        "..%2F..",
        "5fea7756-0ea4-451a-a703-a558b933e27",
        "%22%2C%22status%22%3A%22stored",
        "%3Cscript%3E",
        "a%0D%0ASet-Cookie%3A%20a%3Db",
    ] {
        let response = caller.get(&format!("/messages/{id}?receipt={receipt}")).await;
        response.assert_problem(400, "invalid-receipt");
        assert_eq!(response.header("set-cookie"), "");
        assert!(!response.text.contains("script"), "{response:?}");
    }
}
