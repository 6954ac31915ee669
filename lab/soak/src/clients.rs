//! The clients: they send messages, and get to know the outcomes on sockets that close and open again, and by look-ups.

use std::{
    collections::{HashMap, HashSet},
    future::pending,
    sync::atomic::Ordering,
    time::Duration,
};

use e2e::{
    events::bulk,
    stack::{Caller, Found, Text, say},
};
use fastrand::Rng;
use futures_util::{StreamExt, stream};
use intake_domain::message::Payload;
use reqwest::Method;
use tokio::{
    select,
    time::{Instant, sleep, timeout},
};

use crate::{
    account::{Key, Sent, Source, receipt_of, request_key},
    run::Run,
};

/// How often a client sends one message before the run has failed.
const TRIES: usize = 50;

/// How many look-ups there are at once in the end.
const MAX_CONCURRENT: usize = 16;

/// How long it may take to look up everything, and the dead-letter recorder, which runs every minute, and begins anew
/// with thousands of letters after each kill.
const MAX_QUEUED: Duration = Duration::from_secs(600);

/// Sends messages until enough are accepted.
pub(crate) async fn send_many(run: &Run, mut chance: Rng) {
    let mut own = Vec::<Sent>::new();
    while run.evidence().accepted.len() < run.plan.messages {
        if run.plan.throttle.is_some() {
            sleep(Duration::from_secs(1)).await;
        }
        // A hundredth of the requests are bulks, which is a third of the messages.
        let is_bulk = chance.u32(0..100) == 0;
        let sent = if is_bulk {
            next_bulk(run, &mut chance, &own)
        } else {
            vec![next_message(run, &mut chance, &own)]
        };
        send(run, &mut chance, &sent, is_bulk).await;
        own.extend(sent);
    }
}

/// Sends a message, or a bulk of one owner's, until it is accepted.
pub(crate) async fn send(run: &Run, chance: &mut Rng, sent: &[Sent], is_bulk: bool) {
    let (owner, id) = &sent[0].key;
    for _ in 0..TRIES {
        let (request, body) = if is_bulk {
            let messages: Vec<_> = sent.iter().map(|one| (&*one.key.1, &*one.body.0)).collect();
            (run.owner(owner).request(Method::POST, "/queue"), bulk(&messages))
        } else {
            (run.owner(owner).request(Method::PUT, &format!("/queue/{id}")), sent[0].body.0.clone())
        };
        match request.header("content-type", "application/json").body(body).send().await {
            Ok(response) if response.status == 202 => {
                let receipt = response.json()["receipt"].as_str().expect("a receipt").to_owned();
                assert_eq!(receipt.starts_with("bulk-"), is_bulk, "{response:?}");
                let mut evidence = run.evidence();
                evidence.bulks += usize::from(is_bulk);
                for one in sent {
                    let before = evidence.accepted.insert(request_key(&receipt, &one.key.1), one.clone());
                    assert!(before.is_none(), "a second message with the receipt of {before:?}");
                }
                return;
            }
            // It may be in the queue.
            _ => run.evidence().unconfirmed.extend_from_slice(sent),
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
            while let Some(outcomes) = socket.next_outcomes().await {
                let found = outcomes.into_iter().map(|outcome| Found { outcome, content: None });
                found.for_each(|found| run.add_statement(owner, Source::Notification, found));
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
        let key = |(request, sent): (&String, &Sent)| (receipt_of(request).to_owned(), sent.key.clone());
        let accepted = chance.choice(&run.evidence().accepted).map(key);
        let Some((receipt, (owner, id))) = accepted else { continue };
        let owner = match chance.u32(0..8) {
            0 => chance.choice(&run.owners).expect("there are owners"),
            _ => run.owner(&owner),
        };
        let (source, what) = match chance.bool() {
            true => (Source::Id, id),
            false => (Source::Receipt, format!("{id}?receipt={receipt}")),
        };
        if let Some(found) = look_up(owner, &what).await {
            run.add_statement(owner, source, found);
        }
    }
}

/// Looks up every receipt until none is queued any more, or for long enough. A late outcome can replace the item of
/// another request with the same id: the requests of that id are looked up again.
pub(crate) async fn look_up_all(run: &Run) {
    let end = Instant::now() + MAX_QUEUED;
    let mut open_before = HashSet::new();
    loop {
        let due: Vec<_> = {
            let accepted = &run.evidence().accepted;
            let is_open = |sent: &&Sent| sent.found.as_ref().is_none_or(|it| it.outcome.status == "queued");
            let keys: HashSet<_> = accepted.values().filter(is_open).map(|sent| sent.key.clone()).collect();
            // Also those of several requests that were open a round ago: the outcome that closed one may be later than
            // what that round has found of the others.
            let is_due = |sent: &Sent| keys.contains(&sent.key) || open_before.contains(&sent.key);
            let due = accepted.iter().filter(|(_, sent)| is_due(sent));
            let due = due.map(|(receipt, sent)| (receipt.clone(), sent.key.clone())).collect();
            let mut requests = HashMap::<_, usize>::new();
            accepted.values().for_each(|sent| *requests.entry(&sent.key).or_default() += 1);
            open_before = keys.into_iter().filter(|key| requests[key] > 1).collect();
            due
        };
        if due.is_empty() || Instant::now() > end {
            return;
        }
        say(format_args!("looking up {} receipts", due.len()));
        let look_up_one = async |(request, (owner, id)): (String, Key)| {
            let (owner, receipt) = (run.owner(&owner), receipt_of(&request));
            let Some(found) = look_up(owner, &format!("{id}?receipt={receipt}")).await else { return };
            let replace = |sent: &mut Sent| sent.found.replace(found);
            let before = run.evidence().accepted.get_mut(&request).and_then(replace);
            before.into_iter().for_each(|before| run.add_statement(owner, Source::Receipt, before));
        };
        stream::iter(due).for_each_concurrent(MAX_CONCURRENT, look_up_one).await;
        sleep(Duration::from_secs(2)).await;
    }
}

/// What is found under an id, or an id and a receipt; none if there is no response, or an error.
async fn look_up(owner: &Caller<'_>, what: &str) -> Option<Found> {
    let response = owner.request(Method::GET, &format!("/messages/{what}")).send().await.ok()?;
    (response.status == 200).then(|| response.found())
}

/// The next message of a client that has sent its `own` before.
fn next_message(run: &Run, chance: &mut Rng, own: &[Sent]) -> Sent {
    // With a throttled database every message has to be stored: each is new and valid.
    let kind = if run.plan.throttle.is_some() { 50 } else { chance.u32(0..100) };
    let known = chance.choice(own).filter(|_| kind < 10).cloned();
    let sent = known.unwrap_or_else(|| new_message(run, chance));
    let (body, valid) = match kind {
        3..5 if sent.valid => (Text(format!(" {}\n", sent.body.0)), true),
        // Conflicts, unless no valid message has the id.
        5..8 => (payload(chance, &sent.key.0, &sent.key.1), true),
        8..15 => (invalid(chance), false),
        // New ones, and repeats.
        _ => (sent.body.clone(), sent.valid),
    };
    Sent { body, valid, ..sent }
}

/// The next bulk of a client: 1 to 100 messages of one owner, with different ids.
fn next_bulk(run: &Run, chance: &mut Rng, own: &[Sent]) -> Vec<Sent> {
    let count = chance.usize(1..=100);
    let mut bulk = Vec::<Sent>::new();
    while bulk.len() < count {
        let mut sent = next_message(run, chance, own);
        if bulk.iter().any(|other| other.key.0 != sent.key.0 || other.key == sent.key) {
            continue;
        }
        // A bulk is JSON as a whole, and white space around a payload is no part of it.
        if !sent.valid {
            sent.body = twice(chance);
        }
        sent.body = Text(sent.body.0.trim().to_owned());
        bulk.push(sent);
    }
    bulk
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
    Text(format!(r#"{{"z":{number}.50,"a": "{text}","owner":"{owner}", "id":"{id}","b":[1.0,1e2,null]}}"#))
}

/// JSON in which an object has a name twice.
fn twice(chance: &mut Rng) -> Text {
    Text(format!(r#"{{"twice":{},"in":[{{"twice":1,"twice":2}}]}}"#, chance.u64(..)))
}

/// A body that the gateway of the emulator accepts, and the consumer rejects.
fn invalid(chance: &mut Rng) -> Text {
    Text(match chance.u32(0..20) {
        // The gateway counts characters.
        0 => format!(r#"{{"long":"{}"}}"#, "ä".repeat(Payload::MAX_BYTES / 2)),
        1..6 => return twice(chance),
        _ => format!(r#"{{"not":NaN,"number":{}}}"#, chance.u64(..)),
    })
}
