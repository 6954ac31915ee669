//! The clients: they send until enough is accepted, and send again what got no response.

use std::{sync::atomic::Ordering, time::Duration};

use e2e::stack::Queued;
use fastrand::Rng;
use intake_domain::message::Payload;
use tokio::time::{interval, sleep};

use crate::{
    evidence::{Accepted, Sent, Text},
    run::{Owner, Run, http_client},
};

/// How often a client sends one message before it goes on to the next.
const TRIES: usize = 20;

/// How many messages each owner sends after the faults.
const AFTER_FAULTS: usize = 5;

/// The response to a message in the end.
enum Response {
    Accepted(Sent),
    /// 400: the gateway rejects it.
    Rejected,
    None,
}

/// One client.
pub(crate) async fn client(run: &Run, seed: u64) {
    let mut chance = Rng::with_seed(seed);
    let http = http_client();
    let mut own = Vec::<Sent>::new();
    let mut pace = interval(Duration::from_secs(1));
    while run.take_turn() {
        if run.plan.throttle.is_some() {
            pace.tick().await;
        }
        let sent = run.next_message(&mut chance, &own);
        match send(run, &http, &mut chance, sent).await {
            Response::Accepted(sent) => own.push(sent),
            Response::Rejected => run.give_turn_back(),
            Response::None => {
                // Without any response for so long, the run ends with too few messages instead of never.
                if run.counts.abandoned.fetch_add(1, Ordering::Relaxed) < 100 {
                    run.give_turn_back();
                }
            }
        }
    }
}

/// Sends messages of every owner while nothing fails any more.
pub(crate) async fn send_after_faults(run: &Run, seed: u64) {
    let mut chance = Rng::with_seed(seed);
    let http = http_client();
    for owner in run.owners.iter().cycle().take(run.owners.len() * AFTER_FAULTS) {
        let sent = Sent { after_faults: true, ..run.new_message(&mut chance, owner) };
        let response = send(run, &http, &mut chance, sent).await;
        assert!(matches!(response, Response::Accepted(_)), "a message after the faults was not accepted");
    }
}

async fn send(run: &Run, http: &reqwest::Client, chance: &mut Rng, sent: Sent) -> Response {
    let url = format!("{}/queue/{}", run.http_url, sent.key.1);
    let token = &run.owner(&sent.key.0).token;
    for _ in 0..TRIES {
        let request = http.put(&url).bearer_auth(token).header("content-type", "application/json");
        if let Ok(response) = request.body(sent.body.0.clone()).send().await {
            match (response.status().as_u16(), response.text().await) {
                (202, Ok(text)) => {
                    let Queued { receipt, status_path, .. } =
                        serde_json::from_str(&text).expect("a 202's body");
                    let sent = Sent { accepted: Some(Accepted { receipt, status_path }), ..sent };
                    run.note_sent(sent.clone());
                    return Response::Accepted(sent);
                }
                (400, _) if is_rejected_by_the_gateway(&sent.body) => return Response::Rejected,
                _ => {}
            }
        }
        // It may be in the queue.
        run.note_sent(sent.clone());
        run.counts.without_response.fetch_add(1, Ordering::Relaxed);
        sleep(Duration::from_millis(chance.u64(20..400))).await;
    }
    Response::None
}

/// Bodies that the gateway rejects.
const REJECTED: [&str; 5] = ["[]", "{", "no JSON", "\"text\"", "12"];

fn is_rejected_by_the_gateway(body: &str) -> bool {
    REJECTED.contains(&body)
}

impl Run {
    /// Whether there is another message to send.
    fn take_turn(&self) -> bool {
        let more = |turns: usize| turns.checked_sub(1);
        self.counts.turns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// A message that was not accepted does not count.
    fn give_turn_back(&self) {
        self.counts.turns.fetch_add(1, Ordering::Relaxed);
    }

    fn next_message(&self, chance: &mut Rng, own: &[Sent]) -> Sent {
        // With a throttled database every message has to be stored: each is new and valid.
        let kind = if self.plan.throttle.is_some() { 50 } else { chance.u32(0..100) };
        if let (Some(known), 0..10) = (chance.choice(own), kind) {
            let (body, valid) = match kind {
                // Repeats, some of them written in another way.
                0..3 => (known.body.clone(), known.valid),
                3..5 if known.valid => (Text(format!(" {}\n", &*known.body)), true),
                // Conflicts, unless no valid message has the id.
                5..8 => (payload(chance, &known.key.0, &known.key.1), true),
                _ => (invalid(chance), false),
            };
            return Sent { body, valid, accepted: None, ..known.clone() };
        }
        let owner = chance.choice(&self.owners).expect("there are owners");
        let new = self.new_message(chance, owner);
        match kind {
            95..97 => Sent { body: invalid(chance), valid: false, ..new },
            97..100 => {
                let body = chance.choice(REJECTED).expect("there are bodies");
                Sent { body: Text(body.to_owned()), valid: false, ..new }
            }
            _ => new,
        }
    }

    /// A valid message with a new id. All owners use the same ids: they are different messages.
    fn new_message(&self, chance: &mut Rng, owner: &Owner) -> Sent {
        let id = format!("message-{}", owner.ids.fetch_add(1, Ordering::Relaxed));
        let body = payload(chance, &owner.name, &id);
        Sent { key: (owner.name.clone(), id), body, valid: true, accepted: None, after_faults: false }
    }
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
