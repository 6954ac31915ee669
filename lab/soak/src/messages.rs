//! The messages: valid ones with new ids, repeats, conflicts, and invalid ones.

use std::sync::atomic::Ordering;

use e2e::stack::Text;
use fastrand::Rng;
use intake::message::Payload;

use crate::{evidence::Sent, run::Run};

/// The next message of a client that has sent its `own` before.
pub(crate) fn next_message(run: &Run, chance: &mut Rng, own: &[Sent]) -> Sent {
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
pub(crate) fn new_message(run: &Run, chance: &mut Rng) -> Sent {
    let number = run.new_messages.fetch_add(1, Ordering::Relaxed);
    let owner = &run.owners[number % run.owners.len()].name;
    let id = format!("message-{}", number / run.owners.len());
    let body = payload(chance, owner, &id);
    Sent { key: (owner.clone(), id), body, valid: true, after_faults: false, found: None }
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
