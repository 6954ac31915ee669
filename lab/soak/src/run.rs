//! A flood through the queue of a stack of its own, while everything around it fails now and then; and an
//! account of every message that was accepted.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use aws_sdk_sqs::types::QueueAttributeName;
use fastrand::Rng;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};

use e2e::stack::{Item, Stack, text};
use fault_proxy::FaultProxy;

use crate::{
    account::{Account, Evidence, Found, Key, Letter, Sent, Told},
    chaos, flood, sockets,
};

/// The functions that use the table.
const FUNCTIONS: [&str; 3] = ["QueueConsumerFunction", "StatusLookupFunction", "WebSocketFunction"];

/// How long these functions may take in a flood with all faults. The consumer tries for as long as it has
/// time, and its messages are to come back now and then.
const TIMEOUT_SECONDS: u32 = 3;

/// How many sockets an owner has open, when they are open.
const SOCKETS: usize = 2;

/// For how long faults go on after everything was sent, if the queue is not empty before.
const AFTERMATH: Duration = Duration::from_secs(240);

/// How long the queue may stay as it is without being empty, once there are no more faults.
const STANDSTILL: Duration = Duration::from_secs(120);

/// How often something is said about how far it is.
const PROGRESS: Duration = Duration::from_secs(5);

/// What to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// How many messages have to be accepted.
    pub(crate) messages: usize,
    /// How many clients send at once.
    pub(crate) clients: usize,
    /// How many owners there are.
    pub(crate) owners: usize,
    /// How often a consumer is killed.
    pub(crate) kills: usize,
    /// Where everything random comes from.
    pub(crate) seed: u64,
    /// Instead of all the faults: for so long, from the beginning, the database throttles every request. The
    /// functions keep their timeouts, each client sends a valid message every second, and every one of them
    /// has to be stored in the end.
    pub(crate) throttle: Option<Duration>,
}

/// Somebody who sends and listens.
pub(crate) struct Owner {
    pub(crate) name: String,
    pub(crate) token: String,
    pub(crate) ids: flood::Counter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Everything may fail.
    Faults,
    /// Nothing fails any more; what is left is worked off.
    Calm,
    /// There is nothing more to come.
    Over,
}

/// What all the tasks of a flood share.
pub(crate) struct Shared {
    pub(crate) plan: Plan,
    pub(crate) http_url: String,
    pub(crate) websocket_url: String,
    pub(crate) owners: Vec<Owner>,
    /// The variable that only this stack's consumers have.
    pub(crate) mark: String,
    pub(crate) phase: watch::Sender<Phase>,
    pub(crate) turns: AtomicUsize,
    pub(crate) accepted: AtomicUsize,
    /// How many of them are not in the queue any more.
    pub(crate) settled: AtomicUsize,
    pub(crate) unanswered: AtomicUsize,
    pub(crate) given_up: AtomicUsize,
    pub(crate) killed: AtomicUsize,
    pub(crate) pushes: AtomicUsize,
    pub(crate) evidence: Mutex<Evidence>,
}

impl Shared {
    pub(crate) fn note_sent(&self, sent: Sent) {
        if sent.receipt.is_some() {
            self.accepted.fetch_add(1, Ordering::Relaxed);
        }
        self.evidence.lock().expect("not poisoned").sent.push(sent);
    }

    pub(crate) fn note_told(&self, told: Told) {
        self.pushes.fetch_add(1, Ordering::Relaxed);
        self.evidence.lock().expect("not poisoned").told.insert(told);
    }

    pub(crate) fn note_looked_up(&self, key: Key, payload: String) {
        self.evidence.lock().expect("not poisoned").looked_up.push((key, payload));
    }

    pub(crate) fn some_key(&self, chance: &mut Rng) -> Option<Key> {
        let evidence = self.evidence.lock().expect("not poisoned");
        chance.choice(&evidence.sent).map(|sent| sent.key.clone())
    }
}

/// Floods a stack that nobody else uses, and accounts for it. `say` is told how far it is.
///
/// # Panics
/// If the queue does not become empty, or not everything could be sent.
pub(crate) async fn soak(stack: &Stack, plan: Plan, say: impl Fn(&str)) -> Account {
    let table = Arc::new(FaultProxy::before(stack.address()).await);
    let connections = Arc::new(FaultProxy::before(stack.address()).await);
    let timeout = plan.throttle.is_none().then_some(TIMEOUT_SECONDS);
    let endpoint = redirect(stack, &table, &connections, timeout).await;

    let names = (0..plan.owners).map(|number| format!("owner-{number}"));
    let owner = |name: String| {
        let token = stack.caller_named(&name).token;
        Owner { name, token, ids: AtomicUsize::new(0) }
    };
    let shared = Arc::new(Shared {
        plan,
        http_url: stack.at.http_url.clone(),
        websocket_url: stack.at.websocket_url.clone(),
        owners: names.map(owner).collect(),
        mark: format!("WEBSOCKET_ENDPOINT={endpoint}"),
        phase: watch::Sender::new(Phase::Faults),
        turns: AtomicUsize::new(plan.messages),
        accepted: AtomicUsize::new(0),
        settled: AtomicUsize::new(0),
        unanswered: AtomicUsize::new(0),
        given_up: AtomicUsize::new(0),
        killed: AtomicUsize::new(0),
        pushes: AtomicUsize::new(0),
        evidence: Mutex::default(),
    });
    let mut seeds = Rng::with_seed(plan.seed);

    let mut others = JoinSet::new();
    for owner in 0..plan.owners {
        for _ in 0..SOCKETS {
            let (shared, seed) = (Arc::clone(&shared), seeds.u64(..));
            others.spawn(async move { sockets::listen(&shared, owner, seed).await });
        }
    }
    let (watching, seed) = (Arc::clone(&shared), seeds.u64(..));
    others.spawn(async move { sockets::look_up(&watching, seed).await });

    let mut disturbing = JoinSet::new();
    let (shared_table, proxy, seed) = (Arc::clone(&shared), Arc::clone(&table), seeds.u64(..));
    disturbing.spawn(async move {
        match plan.throttle {
            None => chaos::disturb_the_table(&shared_table, &proxy, seed).await,
            Some(duration) => chaos::throttle_the_table(&shared_table, &proxy, duration).await,
        }
    });
    let (shared_sockets, proxy, seed) = (Arc::clone(&shared), Arc::clone(&connections), seeds.u64(..));
    if plan.throttle.is_none() {
        disturbing.spawn(async move {
            chaos::disturb_the_sockets(&shared_sockets, &proxy, seed).await;
        });
    }
    let (killing, seed) = (Arc::clone(&shared), seeds.u64(..));
    let mut kills = JoinSet::new();
    kills.spawn(async move { chaos::kill_consumers(&killing, seed).await });

    let mut clients = JoinSet::new();
    for _ in 0..plan.clients {
        let (shared, seed) = (Arc::clone(&shared), seeds.u64(..));
        clients.spawn(async move { flood::client(&shared, seed).await });
    }

    let watch = Watch { stack, shared: &shared, say: &say };
    watch.until("sending", PROGRESS, async |_| clients.is_empty() || joined(&mut clients)).await;
    let accepted = shared.accepted.load(Ordering::Relaxed);
    assert!(accepted >= plan.messages, "only {accepted} messages were accepted");
    let sent = Instant::now();
    let aftermath = AFTERMATH + plan.throttle.unwrap_or_default();
    watch
        .until("draining, with faults", PROGRESS, async |queue: Queue| {
            let killed = kills.is_empty() || joined(&mut kills);
            sent.elapsed() > aftermath || (killed && queue.waiting + queue.in_flight <= plan.messages / 50)
        })
        .await;
    kills.shutdown().await;
    shared.phase.send_replace(Phase::Calm);
    while disturbing.join_next().await.is_some() {}

    // What is under way can still change what is in the table, even when the queue has given it up.
    let mut still = 0;
    let mut last = (Instant::now(), Queue::default());
    watch
        .until("draining", PROGRESS, async |queue: Queue| {
            if queue != last.1 {
                last = (Instant::now(), queue);
            }
            let stands = last.0.elapsed();
            assert!(stands < STANDSTILL, "the queue stands still with {queue:?}");
            let came = table.taken_all() + connections.taken_all();
            let busy = came + table.under_way() + connections.under_way();
            still = if queue.waiting + queue.in_flight + busy == 0 { still + 1 } else { 0 };
            still == 5
        })
        .await;
    shared.phase.send_replace(Phase::Over);
    while others.join_next().await.is_some_and(|ended| ended.is_ok()) {}
    watch.progress("done").await;

    let letters = stack.dead_letters().await;
    let items = stack.items().await;
    let mut evidence = std::mem::take(&mut *shared.evidence.lock().expect("not poisoned"));
    evidence.letters = letters.iter().map(letter).collect();
    evidence.found = items.iter().map(found).collect();
    let mut account = Account::of(&evidence);
    account.killed(shared.killed.load(Ordering::Relaxed), plan.kills);
    if plan.throttle.is_some() {
        account.all_stored();
    }
    account
}

fn joined(set: &mut JoinSet<()>) -> bool {
    while let Some(ended) = set.try_join_next() {
        ended.expect("a task of the flood panicked");
    }
    set.is_empty()
}

/// Lets the functions reach the table, and the consumer the sockets, through proxies. Responses where the
/// consumer finds the sockets then. The functions keep their timeouts unless there is another.
async fn redirect(
    stack: &Stack,
    table: &FaultProxy,
    connections: &FaultProxy,
    timeout_seconds: Option<u32>,
) -> String {
    let mut endpoint = String::new();
    for logical_id in FUNCTIONS {
        let path = format!("/2015-03-31/functions/{}/configuration", stack.function(logical_id).await);
        let configuration = stack.operate("lambda", Method::GET, &path, "").await;
        let mut variables = configuration["Environment"]["Variables"].clone();
        variables["AWS_ENDPOINT_URL_DYNAMODB"] = json!(table.url());
        if let Some(Value::String(original)) = variables.get("WEBSOCKET_ENDPOINT") {
            endpoint = original.replacen(&stack.at.endpoint, &connections.url(), 1);
            assert_ne!(*original, endpoint, "the sockets are behind the emulator's address");
            variables["WEBSOCKET_ENDPOINT"] = json!(endpoint);
        }
        let mut change = json!({ "Environment": { "Variables": variables } });
        if let Some(seconds) = timeout_seconds {
            change["Timeout"] = json!(seconds);
        }
        stack.operate("lambda", Method::PUT, &path, &change.to_string()).await;
    }
    endpoint
}

/// How many messages the queue has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Queue {
    waiting: usize,
    in_flight: usize,
}

struct Watch<'a, S> {
    stack: &'a Stack,
    shared: &'a Shared,
    say: &'a S,
}

impl<S: Fn(&str)> Watch<'_, S> {
    /// Looks at the queue until it is enough, and tells how far everything is.
    async fn until(&self, doing: &str, interval: Duration, mut enough: impl AsyncFnMut(Queue) -> bool) {
        let mut last = Instant::now();
        loop {
            let queue = self.queue(&self.stack.at.queue_url).await;
            let accepted = self.shared.accepted.load(Ordering::Relaxed);
            let settled = accepted.saturating_sub(queue.waiting + queue.in_flight);
            self.shared.settled.store(settled, Ordering::Relaxed);
            if enough(queue).await {
                return;
            }
            if last.elapsed() >= interval {
                last = Instant::now();
                self.progress(doing).await;
            }
            sleep(Duration::from_millis(500)).await;
        }
    }

    async fn progress(&self, doing: &str) {
        let Queue { waiting, in_flight } = self.queue(&self.stack.at.queue_url).await;
        let dead = self.queue(&self.stack.at.dead_letter_queue_url).await.waiting;
        let count = |number: &AtomicUsize| number.load(Ordering::Relaxed);
        (self.say)(&format!(
            "{doing}: accepted {} of {}, waiting {waiting}, in flight {in_flight}, dead letters {dead}, \
             pushes {}, killed {}, tries without an answer {}",
            count(&self.shared.accepted),
            self.shared.plan.messages,
            count(&self.shared.pushes),
            count(&self.shared.killed),
            count(&self.shared.unanswered),
        ));
    }

    async fn queue(&self, url: &str) -> Queue {
        let names = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        ];
        let ask = self.stack.sqs.get_queue_attributes().queue_url(url);
        let answer = ask.set_attribute_names(Some(names.to_vec())).send().await;
        let numbers = answer.expect("the queue can be asked").attributes.unwrap_or_default();
        let [waiting, in_flight] = names.map(|name| numbers[&name].parse().expect("a number"));
        Queue { waiting, in_flight }
    }
}

fn letter(letter: &aws_sdk_sqs::types::Message) -> (String, Letter) {
    let attribute = |name: &str| {
        let value = letter.message_attributes()?.get(name)?.string_value()?;
        Some(value.to_owned())
    };
    let key = (attribute("owner").unwrap_or_default(), attribute("id").unwrap_or_default());
    let body = letter.body().unwrap_or_default().to_owned();
    (letter.message_id().unwrap_or_default().to_owned(), Letter { key, body })
}

fn found(item: &Item) -> (Key, Found) {
    let (id, owner) = text(item, "pk").split_once('#').expect("an id and an owner");
    let found = Found {
        status: text(item, "status").to_owned(),
        payload: text(item, "payload").to_owned(),
        receipt: text(item, "receipt").to_owned(),
        has_reason: item.contains_key("reason"),
    };
    ((owner.to_owned(), id.to_owned()), found)
}
