//! The listeners: sockets that close and open again.

use std::{sync::atomic::Ordering, time::Duration};

use fastrand::Rng;
use futures_util::StreamExt;
use serde_json::Value;
use tokio::{
    select,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_tungstenite::{connect_async, tungstenite::Message};

use crate::{
    evidence::Notification,
    run::{Owner, Phase, Run},
};

/// Opens a socket of an owner again and again, until everything is over.
pub(crate) async fn listen(run: &Run, owner: &Owner, seed: u64) {
    let mut chance = Rng::with_seed(seed);
    let url = format!("{}?token={}", run.websocket_url, owner.token);
    let mut phase = run.phase.subscribe();
    while *phase.borrow_and_update() != Phase::Over {
        // The table of connections has faults, too.
        let Ok(Ok((mut stream, _))) = timeout(Duration::from_secs(15), connect_async(&url)).await else {
            sleep(Duration::from_millis(chance.u64(50..500))).await;
            continue;
        };
        run.counts.open_sockets.fetch_add(1, Ordering::Relaxed);
        let mut end = Instant::now() + Duration::from_millis(chance.u64(300..8_000));
        loop {
            select! {
                frame = stream.next() => match frame {
                    Some(Ok(Message::Text(frame))) => receive(run, owner, &frame),
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
        run.counts.open_sockets.fetch_sub(1, Ordering::Relaxed);
        // Half of them leave without a closing handshake.
        if chance.bool() {
            let _ = timeout(Duration::from_secs(1), stream.close(None)).await;
        }
        drop(stream);
        if *phase.borrow() == Phase::Faults {
            sleep(Duration::from_millis(chance.u64(0..1_000))).await;
        }
    }
}

fn receive(run: &Run, owner: &Owner, frame: &str) {
    let frame: Value = serde_json::from_str(frame).expect("frames are JSON");
    for event in frame.as_array().expect("events") {
        run.note_notification(Notification::of(&owner.name, event));
    }
}
