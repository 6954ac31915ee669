//! The clients: they send messages, and get to know the outcomes on sockets that close and open again, and by look-ups.

use std::{collections::HashSet, future::pending, sync::atomic::Ordering, time::Duration};

use e2e::stack::{Caller, Found, Outcome};
use fastrand::Rng;
use futures_util::{StreamExt, stream};
use reqwest::Method;
use tokio::{
    select,
    time::{Instant, interval, sleep, timeout},
};

use crate::{
    evidence::{Key, Sent},
    messages::next_message,
    run::{Run, say},
};

/// How often a client sends one message before the run has failed.
const TRIES: usize = 50;

/// How many look-ups there are at once in the end.
const MAX_CONCURRENT: usize = 16;

/// How long the dead-letter recorder may take. It runs every minute.
const MAX_QUEUED: Duration = Duration::from_secs(180);

/// Sends messages until enough are accepted.
pub(crate) async fn send_many(run: &Run, mut chance: Rng) {
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

/// Sends a message until it is accepted.
pub(crate) async fn send(run: &Run, chance: &mut Rng, sent: &Sent) {
    let (owner, id) = &sent.key;
    for _ in 0..TRIES {
        let request = run.owner(owner).request(Method::PUT, &format!("/queue/{id}"));
        let request = request.header("content-type", "application/json").body(sent.body.0.clone());
        match request.send().await {
            Ok(response) if response.status == 202 => {
                let before = run.evidence().accepted.insert(response.queued().receipt, sent.clone());
                return assert!(before.is_none(), "a second message with the receipt of {before:?}");
            }
            // It may be in the queue.
            _ => run.evidence().unconfirmed.push(sent.clone()),
        }
        sleep(Duration::from_millis(chance.u64(20..400))).await;
    }
    panic!("after {TRIES} requests there is no 202 for {sent:?}");
}

/// Opens a socket of an owner again and again.
pub(crate) async fn listen(run: &Run, owner: &Caller<'_>, mut chance: Rng) {
    let query = format!("?token={}", owner.token);
    loop {
        // The table of connections has faults, too.
        let Ok(Ok(mut socket)) = timeout(Duration::from_secs(15), run.stack.open(&query)).await else {
            sleep(Duration::from_millis(chance.u64(50..500))).await;
            continue;
        };
        run.open_sockets.fetch_add(1, Ordering::Relaxed);
        let receive = async {
            while let Some(events) = socket.next_events().await {
                let found =
                    events.iter().map(|event| Found { outcome: Outcome::of_event(event), content: None });
                found.for_each(|found| run.state(owner, true, found));
            }
        };
        let lifetime = async {
            sleep(Duration::from_millis(chance.u64(300..8_000))).await;
            if run.is_calm.load(Ordering::Relaxed) {
                pending::<()>().await;
            }
        };
        select! {
            () = receive => {}
            () = lifetime => {}
        }
        run.open_sockets.fetch_sub(1, Ordering::Relaxed);
        // Half of them leave without a closing handshake.
        if chance.bool() {
            socket.close().await;
        }
        sleep(Duration::from_millis(chance.u64(0..1_000))).await;
    }
}

/// Looks up messages at random: by receipt, by id, or as another owner.
pub(crate) async fn look_up_at_random(run: &Run, mut chance: Rng) {
    loop {
        sleep(Duration::from_millis(chance.u64(10..100))).await;
        let accepted = chance
            .choice(&run.evidence().accepted)
            .map(|(receipt, sent)| (receipt.clone(), sent.key.clone()));
        let Some((receipt, (owner, id))) = accepted else { continue };
        let owner = match chance.u32(0..8) {
            0 => chance.choice(&run.owners).expect("there are owners"),
            _ => run.owner(&owner),
        };
        let what = if chance.bool() { id } else { format!("{id}?receipt={receipt}") };
        if let Some(found) = look_up(owner, &what).await {
            run.state(owner, false, found);
        }
    }
}

/// Looks up every receipt until none is queued any more, or for long enough. A late outcome can replace the item of
/// another request with the same id: the requests of that id are looked up again.
pub(crate) async fn look_up_all(run: &Run) {
    let end = Instant::now() + MAX_QUEUED;
    loop {
        let open: Vec<_> = {
            let accepted = &run.evidence().accepted;
            let is_open = |sent: &&Sent| sent.found.as_ref().is_none_or(|it| it.outcome.status == "queued");
            let keys: HashSet<_> = accepted.values().filter(is_open).map(|sent| &sent.key).collect();
            let open = accepted.iter().filter(|(_, sent)| keys.contains(&sent.key));
            open.map(|(receipt, sent)| (receipt.clone(), sent.key.clone())).collect()
        };
        if open.is_empty() || Instant::now() > end {
            return;
        }
        say(&format!("looking up {} receipts", open.len()));
        let look_up_one = async |(receipt, (owner, id)): (String, Key)| {
            let owner = run.owner(&owner);
            let Some(found) = look_up(owner, &format!("{id}?receipt={receipt}")).await else { return };
            let mut evidence = run.evidence();
            let sent = evidence.accepted.get_mut(&receipt).expect("it is never removed");
            let before = sent.found.replace(found);
            drop(evidence);
            before.into_iter().for_each(|before| run.state(owner, false, before));
        };
        stream::iter(open).for_each_concurrent(MAX_CONCURRENT, look_up_one).await;
        sleep(Duration::from_secs(2)).await;
    }
}

/// What is found under an id, or an id and a receipt; none if there is no response, or an error.
async fn look_up(owner: &Caller<'_>, what: &str) -> Option<Found> {
    let response = owner.request(Method::GET, &format!("/messages/{what}")).send().await.ok()?;
    (response.status == 200).then(|| response.found())
}
