//! The clients: they send until enough is accepted, and send again what got no `202`.

use std::{sync::atomic::Ordering, time::Duration};

use e2e::stack::{Queued, Text};
use fastrand::Rng;
use intake::message::Payload;
use reqwest::Method;
use tokio::time::{interval, sleep};

use crate::{
    evidence::{Accepted, Sent},
    run::Run,
};

/// How often a client sends one message before the run has failed.
const TRIES: usize = 50;

/// How many messages each owner sends after the faults.
const AFTER_FAULTS: usize = 5;

/// One client.
pub(crate) async fn client(run: &Run, mut chance: Rng) {
    let mut own = Vec::<Sent>::new();
    let mut pace = interval(Duration::from_secs(1));
    while run.evidence().accepted.len() < run.plan.messages {
        if run.plan.throttle.is_some() {
            pace.tick().await;
        }
        let sent = next_message(run, &mut chance, &own);
        send(run, &mut chance, &sent).await;
        own.push(sent);
    }
}

/// Sends messages of every owner while nothing fails any more.
pub(crate) async fn send_after_faults(run: &Run, mut chance: Rng) {
    for _ in 0..run.owners.len() * AFTER_FAULTS {
        let sent = Sent { after_faults: true, ..new_message(run, &mut chance) };
        send(run, &mut chance, &sent).await;
    }
}

/// Sends a message until it is accepted.
async fn send(run: &Run, chance: &mut Rng, sent: &Sent) {
    let (owner, id) = &sent.key;
    for _ in 0..TRIES {
        let request = run.owner(owner).request(Method::PUT, &format!("/queue/{id}"));
        let request = request.header("content-type", "application/json").body(sent.body.0.clone());
        match request.send().await {
            Ok(response) if response.status == 202 => {
                let Queued { receipt, status_path, .. } = response.queued();
                let accepted = Accepted { sent: sent.clone(), status_path, found: None };
                let before = run.evidence().accepted.insert(receipt, accepted);
                return assert!(before.is_none(), "a second message with the receipt of {before:?}");
            }
            // It may be in the queue.
            _ => run.evidence().unconfirmed.push(sent.clone()),
        }
        sleep(Duration::from_millis(chance.u64(20..400))).await;
    }
    panic!("after {TRIES} requests there is no 202 for {sent:?}");
}

fn next_message(run: &Run, chance: &mut Rng, own: &[Sent]) -> Sent {
    // With a throttled database every message has to be stored: each is new and valid.
    let kind = if run.plan.throttle.is_some() { 50 } else { chance.u32(0..100) };
    if let (Some(known), 0..10) = (chance.choice(own), kind) {
        let (body, valid) = match kind {
            // Repeats, some of them written in another way.
            0..3 => (known.body.clone(), known.valid),
            3..5 if known.valid => (Text(format!(" {}\n", known.body.0)), true),
            // Conflicts, unless no valid message has the id.
            5..8 => (payload(chance, &known.key.0, &known.key.1), true),
            _ => (invalid(chance), false),
        };
        return Sent { body, valid, ..known.clone() };
    }
    let new = new_message(run, chance);
    if kind < 95 { new } else { Sent { body: invalid(chance), valid: false, ..new } }
}

/// A valid message with a new id. All owners use the same ids: they are different messages.
fn new_message(run: &Run, chance: &mut Rng) -> Sent {
    let number = run.new_messages.fetch_add(1, Ordering::Relaxed);
    let owner = &run.owners[number % run.owners.len()].name;
    let id = format!("message-{}", number / run.owners.len());
    let body = payload(chance, owner, &id);
    Sent { key: (owner.clone(), id), body, valid: true, after_faults: false }
}

/// A JSON object with everything that a reader could be tempted to write in another way.
fn payload(chance: &mut Rng, owner: &str, id: &str) -> Text {
    let words = ["é", "\\u00e9", "\\\"", "%41&Action=Purge", "${a}", "\u{1F600}", " ", "\\n", "x", "+", "#"];
    let length = match chance.u32(0..100) {
        0 => chance.usize(2_000..6_000),
        1..10 => chance.usize(100..800),
        _ => chance.usize(0..40),
    };
    let text: String = (0..length).filter_map(|_| chance.choice(words)).collect();
    let number = chance.u128(..);
    // With one name twice, a message is the same only as the identical text.
    let name = if chance.u32(0..4) == 0 { "a" } else { "b" };
    Text(format!(
        r#"{{"z":{number}.50,"a": "{text}","owner":"{owner}", "id":"{id}","{name}":[1.0,1e2,null]}}"#
    ))
}

/// A body that the gateway of the emulator accepts, and the consumer rejects.
fn invalid(chance: &mut Rng) -> Text {
    Text(match chance.u32(0..20) {
        0 => format!(r#"{{"long":"{}"}}"#, "x".repeat(Payload::MAX_BYTES)),
        _ => format!(r#"{{"not":NaN,"number":{}}}"#, chance.u64(..)),
    })
}
