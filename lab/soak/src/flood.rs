//! The clients: they send until enough was accepted, and send again what was not answered.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use fastrand::Rng;
use intake::message::Payload;
use tokio::time::{interval, sleep};

use crate::{account::Sent, run::Shared};
use e2e::stack::Queued;

/// How often a client sends one message before it goes on to the next.
const TRIES: usize = 20;

/// One client, with connections of its own.
pub(crate) async fn client(shared: &Shared, seed: u64) {
    let mut chance = Rng::with_seed(seed);
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build();
    let http = http.expect("a client");
    let mut own = Vec::<Sent>::new();
    let mut pace = interval(Duration::from_secs(1));
    while shared.take_turn() {
        if shared.plan.throttle.is_some() {
            pace.tick().await;
        }
        let (owner, sent, refused) = shared.next_message(&mut chance, &own);
        let token = &shared.owners[owner].token;
        let url = format!("{}/queue/{}", shared.http_url, sent.key.1);
        let mut answered = false;
        for _ in 0..TRIES {
            let request = http.put(&url).header("authorization", format!("Bearer {token}"));
            let request = request.header("content-type", "application/json").body(sent.body.clone());
            let status = match request.send().await {
                Ok(answer) => match (answer.status().as_u16(), answer.json_text().await) {
                    (202, Some(text)) => {
                        let queued: Queued = serde_json::from_str(&text).expect("what a 202 says");
                        let sent = Sent { receipt: Some(queued.receipt), ..sent.clone() };
                        shared.note_sent(sent.clone());
                        own.push(sent);
                        202
                    }
                    (status, _) => status,
                },
                Err(_) => 0,
            };
            answered = status == 202 || (status == 400 && refused);
            if answered {
                break;
            }
            // Nobody knows whether it is in the queue.
            shared.note_sent(sent.clone());
            shared.unanswered.fetch_add(1, Ordering::Relaxed);
            sleep(Duration::from_millis(chance.u64(20..400))).await;
        }
        if !answered || refused {
            shared.give_turn_back(answered);
        }
    }
}

trait JsonText {
    async fn json_text(self) -> Option<String>;
}

impl JsonText for reqwest::Response {
    async fn json_text(self) -> Option<String> {
        self.text().await.ok()
    }
}

impl Shared {
    /// Whether there is another message to send.
    fn take_turn(&self) -> bool {
        let more = |turns: usize| turns.checked_sub(1);
        self.turns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// What was not accepted does not count. Trying again has an end, though, if nothing is ever accepted.
    fn give_turn_back(&self, answered: bool) {
        let given_up = if answered { 0 } else { self.given_up.fetch_add(1, Ordering::Relaxed) };
        if given_up < 100 {
            self.turns.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whose message to send next, the message, and whether the gateway has to refuse it.
    fn next_message(&self, chance: &mut Rng, own: &[Sent]) -> (usize, Sent, bool) {
        let known = chance.choice(own).cloned();
        // What has to be stored is something new.
        let what = if self.plan.throttle.is_some() { 50 } else { chance.u32(0..100) };
        let owner_of = |name: &str| self.owners.iter().position(|owner| owner.name == name);
        if let (Some(known), 0..10) = (known, what) {
            let owner = owner_of(&known.key.0).expect("one of ours");
            let (body, valid) = match what {
                // Repeats, some of them written in another way.
                0..3 => (known.body.clone(), known.valid),
                3..5 if known.valid => (format!(" {}\n", known.body), true),
                // Conflicts, unless there is no valid one.
                5..8 => (payload(chance, &known.key.0, &known.key.1), true),
                _ => (invalid(chance), false),
            };
            return (owner, Sent { key: known.key, body, valid, receipt: None }, false);
        }
        let owner = chance.usize(0..self.owners.len());
        // All owners use the same ids: they are different messages.
        let number = self.owners[owner].ids.fetch_add(1, Ordering::Relaxed);
        let key = (self.owners[owner].name.clone(), format!("message-{number}"));
        let (body, valid, refused) = match what {
            95..97 => (invalid(chance), false, false),
            97..100 => {
                (chance.choice(["[]", "{", "no JSON", "\"text\"", "12"]).unwrap_or("{").into(), false, true)
            }
            _ => (payload(chance, &key.0, &key.1), true, false),
        };
        (owner, Sent { key, body, valid, receipt: None }, refused)
    }
}

/// A JSON object with all that a reader could be tempted to write in another way.
fn payload(chance: &mut Rng, owner: &str, id: &str) -> String {
    let words = ["é", "\\u00e9", "\\\"", "%41&Action=Purge", "${a}", "\u{1F600}", " ", "\\n", "x", "+", "#"];
    let length = match chance.u32(0..100) {
        0 => chance.usize(2_000..6_000),
        1..10 => chance.usize(100..800),
        _ => chance.usize(0..40),
    };
    let text: String = (0..length).filter_map(|_| chance.choice(words)).collect();
    let number = chance.u128(..);
    format!(r#"{{"z":{number}.50,"a": "{text}","owner":"{owner}", "id":"{id}","a":[1.0,1e2,null]}}"#)
}

/// What the gateway of the emulator lets pass, and the consumer does not.
fn invalid(chance: &mut Rng) -> String {
    match chance.u32(0..20) {
        0 => format!(r#"{{"long":"{}"}}"#, "x".repeat(Payload::MAX_BYTES)),
        _ => format!(r#"{{"not":NaN,"number":{}}}"#, chance.u64(..)),
    }
}

/// A client's next id.
pub(crate) type Counter = AtomicUsize;
