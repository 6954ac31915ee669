//! Ids are scoped by owner, and no owner sees the message of another.

use e2e::stack::{Caller, Stack, text, unique};
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
    // With Bob's receipt she gets what any unknown receipt gets.
    let response = alice.get(&queued.status_path).await;
    assert_eq!(response.json(), json!({ "id": queued.id, "status": "queued", "receipt": queued.receipt }));
}

#[tokio::test]
async fn one_id_of_two_owners_is_two_messages() {
    let stack = Stack::running();
    let (alice, bob) = (stack.caller(), stack.caller());
    let (sync, queued) = (unique("m"), unique("q"));

    assert_eq!(alice.put(&sync, r#"{"of":"alice"}"#).await.status, 201);
    assert_eq!(bob.put(&sync, r#"{"of":"bob"}"#).await.status, 201);
    for (caller, of) in [(&alice, "alice"), (&bob, "bob")] {
        let queued = caller.queued(&queued, &format!(r#"{{"of":"{of}"}}"#)).await;
        assert_eq!(caller.outcome(&queued).await.json()["payload"], json!({ "of": of }));
        assert_eq!(caller.look_up(&sync).await.json()["payload"], json!({ "of": of }));
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
        on_both_paths(&stack, &caller).await;
    }
    let longest = format!("{:x<255}", unique("owner"));
    on_both_paths(&stack, &stack.caller_named(&longest)).await;
}

/// Stores a message on each path, notified and recorded under this very name.
async fn on_both_paths(stack: &Stack, caller: &Caller<'_>) {
    let mut socket = caller.connect().await;
    let (sync, queued) = (unique("m"), unique("q"));
    let response = caller.put(&sync, r#"{"a":1}"#).await;
    assert_eq!(response.status, 201, "{:?}: {response:?}", caller.name);
    caller.queued(&queued, r#"{"a":1}"#).await;
    socket.notified("stored", &queued).await;
    for id in [&sync, &queued] {
        let item = stack.item(&caller.name, id).await.expect("it is recorded under the owner's name");
        assert_eq!(text(&item, "status"), "stored");
    }
}
