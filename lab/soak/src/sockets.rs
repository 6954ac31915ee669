//! The listeners: sockets that drop and come back, and a client that looks messages up.

use std::time::Duration;

use fastrand::Rng;
use futures_util::StreamExt;
use serde_json::Value;
use tokio::{
    select,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_tungstenite::{connect_async, tungstenite::Message};

use crate::{
    account::Told,
    run::{Phase, Shared},
};
use e2e::stack::Response;

/// One socket of an owner, again and again, until everything is over.
pub(crate) async fn listen(shared: &Shared, owner: usize, seed: u64) {
    let mut chance = Rng::with_seed(seed);
    let owner = &shared.owners[owner];
    let url = format!("{}?token={}", shared.websocket_url, owner.token);
    let mut phase = shared.phase.subscribe();
    while *phase.borrow_and_update() != Phase::Over {
        // The table of connections has faults, too.
        let Ok(Ok((mut stream, _))) = timeout(Duration::from_secs(15), connect_async(&url)).await else {
            sleep(Duration::from_millis(chance.u64(50..500))).await;
            continue;
        };
        let mut end = Instant::now() + Duration::from_millis(chance.u64(300..8_000));
        loop {
            select! {
                frame = stream.next() => match frame {
                    Some(Ok(Message::Text(frame))) => hear(shared, &owner.name, &frame),
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => break,
                },
                () = sleep_until(end) => {
                    if *phase.borrow() == Phase::Faults {
                        break;
                    }
                    end += Duration::from_secs(1);
                }
                _ = phase.changed() => {
                    if *phase.borrow() == Phase::Over {
                        break;
                    }
                }
            }
        }
        // Half of them leave without a word.
        if chance.bool() {
            let _ = timeout(Duration::from_secs(1), stream.close(None)).await;
        }
        drop(stream);
        if *phase.borrow() == Phase::Faults {
            sleep(Duration::from_millis(chance.u64(0..1_000))).await;
        }
    }
}

fn hear(shared: &Shared, owner: &str, frame: &str) {
    let frame: Value = serde_json::from_str(frame).expect("frames are JSON");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for event in frame.as_array().expect("events") {
        let told = Told {
            owner: owner.to_owned(),
            kind: text(&event["type"]).trim_start_matches("intake.message.").to_owned(),
            subject: text(&event["subject"]),
            receipt: text(&event["data"]["receipt"]),
            event_id: text(&event["id"]),
            has_reason: event["data"]["reason"].as_str().is_some_and(|reason| !reason.is_empty()),
        };
        shared.note_told(told);
    }
}

/// Looks up messages at random, for as long as there are faults, and notes what it finds stored.
pub(crate) async fn look_up(shared: &Shared, seed: u64) {
    let mut chance = Rng::with_seed(seed);
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build();
    let http = http.expect("a client");
    while *shared.phase.borrow() == Phase::Faults {
        sleep(Duration::from_millis(chance.u64(10..100))).await;
        let Some(key) = shared.some_key(&mut chance) else { continue };
        let owner = shared.owners.iter().find(|owner| owner.name == key.0).expect("one of ours");
        let request = http.get(format!("{}/messages/{}", shared.http_url, key.1));
        let request = request.header("authorization", format!("Bearer {}", owner.token));
        let Ok(answer) = request.send().await else { continue };
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let Ok(text) = answer.text().await else { continue };
        let answer = Response { status, headers, text };
        if status == 200 && answer.message_status() == "stored" {
            shared.note_looked_up(key, answer.payload());
        }
    }
}
