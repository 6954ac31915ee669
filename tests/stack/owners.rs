//! Ids are scoped by owner, and owners are strangers to each other.

use e2e::stack::{Stack, text, unique};
use serde_json::json;

#[tokio::test]
async fn another_owners_message_is_not_found() {
    let stack = Stack::running();
    let (alice, bob) = (stack.caller(), stack.caller());
    let (stored, queued) = (unique("m"), unique("q"));
    bob.put(&stored, r#"{"secret":1}"#).await;
    let queued = bob.queued(&queued, r#"{"secret":2}"#).await;
    bob.outcome(&queued).await;

    alice.look_up(&stored).await.assert_problem(404, "not-found");
    alice.look_up(&queued.id).await.assert_problem(404, "not-found");
    // With Bob's receipt she learns what any receipt says: that nothing of hers has an outcome.
    let answer = alice.get(&queued.status_path).await;
    assert_eq!(answer.json(), json!({ "id": queued.id, "status": "queued", "receipt": queued.receipt }));
}

#[tokio::test]
async fn one_id_of_two_owners_is_two_messages() {
    let stack = Stack::running();
    let (alice, bob) = (stack.caller(), stack.caller());
    let (mine, queued) = (unique("m"), unique("q"));

    assert_eq!(alice.put(&mine, r#"{"of":"alice"}"#).await.status, 201);
    assert_eq!(bob.put(&mine, r#"{"of":"bob"}"#).await.status, 201);
    for (caller, of) in [(&alice, "alice"), (&bob, "bob")] {
        let queued = caller.queued(&queued, &format!(r#"{{"of":"{of}"}}"#)).await;
        assert_eq!(caller.outcome(&queued).await.json()["payload"], json!({ "of": of }));
        assert_eq!(caller.look_up(&mine).await.json()["payload"], json!({ "of": of }));
    }
}

#[tokio::test]
async fn an_owner_may_have_any_printable_name() {
    let stack = Stack::running();
    let names = [
        "auth0|5f7c8ec7",
        "a&MessageAttribute.2.Value.StringValue=bob",
        "50%25 + 1 = \"x\" \\ 'y' <z> {$input.body} #set($a=1)",
        "#",
        "https://issuer.example/user?id=1#me",
        " spaces around ",
        "~!@$^*()_+-=[]|;:,./?`",
    ];
    for name in names {
        let caller = stack.caller_named(&format!("{name}{}", unique("")));
        both_ways(&stack, &caller).await;
    }
    let longest = format!("{:x<255}", unique("owner"));
    both_ways(&stack, &stack.caller_named(&longest)).await;
}

/// A message by each way, told and found under this very name.
async fn both_ways(stack: &Stack, caller: &e2e::stack::Caller<'_>) {
    let mut socket = caller.connect().await;
    let (mine, queued) = (unique("m"), unique("q"));
    let answer = caller.put(&mine, r#"{"a":1}"#).await;
    assert_eq!(answer.status, 201, "{:?}: {answer:?}", caller.name);
    caller.queued(&queued, r#"{"a":1}"#).await;
    socket.told("stored", &queued).await;
    for id in [&mine, &queued] {
        let item = stack.item(&caller.name, id).await.expect("it is under the owner's name");
        assert_eq!(text(&item, "status"), "stored");
    }
}

#[tokio::test]
async fn names_that_look_alike_are_different_owners() {
    let stack = Stack::running();
    let name = unique("Owner");
    let id = unique("m");
    let names = [
        name.clone(),
        name.to_lowercase(),
        format!("{name} "),
        format!(" {name}"),
        format!("{name}#"),
        format!("{id}#{name}"),
    ];
    for (number, name) in names.iter().enumerate() {
        let answer = stack.caller_named(name).put(&id, format!(r#"{{"number":{number}}}"#)).await;
        assert_eq!(answer.status, 201, "{name:?}: {answer:?}");
    }
    for (number, name) in names.iter().enumerate() {
        let found = stack.caller_named(name).look_up(&id).await.json();
        assert_eq!(found["payload"], json!({ "number": number }), "{name:?}");
    }
}
