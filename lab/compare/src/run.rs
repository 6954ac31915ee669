//! One run: a load by one caller on the stack, and everything that was seen of it.

use std::{
    iter,
    mem::take,
    slice::ChunksMut,
    sync::LazyLock,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use fault_proxy::Fault;
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use tokio::{join, runtime::Runtime, task::spawn_blocking, time::sleep};

use crate::{
    callers::{Caller, LEAD, Request, Sending, milliseconds},
    output::say,
    rig::{self, Counted, Rig},
    schedule::{Arrival, Load, OWNERS},
};

/// How long the queue may stay as it is while messages are in it. Longer than the time after which it delivers a
/// killed consumer's messages again.
const MAX_STANDSTILL: Duration = Duration::from_secs(240);

/// How long before the start of a run its requests begin to be built.
const PREPARATION: Duration = Duration::from_secs(1);

const LOOK_UPS: usize = 8;

/// How long a message may have no outcome once the queue is empty: within this, a dead letter is recorded.
const OUTCOME_LIMIT: Duration = Duration::from_secs(90);

/// Where the callers run: beside the proxy, whose work would make them late.
static CALLERS: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));

/// What is done to the stack at some time of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Disturbance {
    /// This happens to every request to the table from then on.
    Database(Fault),
    /// All processes of the function that stores the messages are killed. Only on this machine.
    Kill,
}

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// What it has in common with the same load by other callers: letters, digits and dashes.
    pub(crate) group: String,
    pub(crate) caller: Caller,
    pub(crate) load: Load,
    /// Messages in each request of the load. Those of a bulk have all that their request has.
    pub(crate) bulk: usize,
    /// Write units a second that the table has; none for no limit.
    pub(crate) capacity: Option<f64>,
    /// How many requests, or batches, are handled at once; none for as many as deployed. Only on this machine.
    pub(crate) concurrency: Option<usize>,
    /// Each at some second.
    pub(crate) disturbances: Vec<(f64, Disturbance)>,
}

impl Plan {
    /// A load without limits and disturbances.
    pub(crate) fn new(group: &str, caller: Caller, load: Load) -> Self {
        let group = group.to_owned();
        Self { group, caller, load, bulk: 1, capacity: None, concurrency: None, disturbances: Vec::new() }
    }

    /// Its name in files and ids.
    pub(crate) fn name(&self) -> String {
        format!("{}-{}", self.group, self.caller.name())
    }

    /// At which second this happens for the last time.
    pub(crate) fn last(&self, disturbance: Disturbance) -> Option<f64> {
        self.disturbances.iter().rev().find(|(_, other)| *other == disturbance).map(|(at, _)| *at)
    }
}

/// A message, with all that was seen of it. Times are milliseconds from the start of the run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) owner: usize,
    /// When it was due: what everything is counted from.
    pub(crate) due: f64,
    pub(crate) requests: Vec<Request>,
    /// `stored`, `rejected` or `failed`, by its look-up.
    pub(crate) outcome: Option<&'static str>,
    pub(crate) stored: Option<f64>,
    pub(crate) notified: Option<f64>,
}

impl Message {
    pub(crate) fn last(&self) -> Request {
        *self.requests.last().expect("every message is sent")
    }

    pub(crate) fn is_accepted(&self) -> bool {
        self.last().is_accepted()
    }

    pub(crate) fn is_stored(&self) -> bool {
        self.stored.is_some()
    }

    /// Accepted, and no outcome.
    pub(crate) fn is_lost(&self) -> bool {
        self.is_accepted() && self.outcome.is_none()
    }

    /// No response says whether it is stored.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.last().leaves_in_doubt()
    }

    /// From when it was due to the caller's last response.
    pub(crate) fn to_response(&self) -> Option<f64> {
        Some(self.last().responded - self.due)
    }

    /// From then to stored.
    pub(crate) fn to_stored(&self) -> Option<f64> {
        Some(self.stored? - self.due)
    }

    /// From then to the owner's first notification.
    pub(crate) fn to_notified(&self) -> Option<f64> {
        Some(self.notified? - self.due)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) plan: Plan,
    pub(crate) messages: Vec<Message>,
    pub(crate) frames: usize,
    /// What can be counted on this machine only.
    pub(crate) counted: Option<Counted>,
}

impl Run {
    pub(crate) fn count(&self, is: impl Fn(&Message) -> bool) -> usize {
        self.messages.iter().filter(|one| is(one)).count()
    }

    pub(crate) fn requests(&self) -> usize {
        self.messages.iter().step_by(self.plan.bulk).map(|one| one.requests.len()).sum()
    }

    /// How many bytes the body of a request has.
    pub(crate) fn body_bytes(&self) -> f64 {
        rig::body(&ids(&self.messages[..self.plan.bulk])).len() as f64
    }

    pub(crate) fn last_stored(&self) -> f64 {
        self.messages.iter().filter_map(|one| one.stored).fold(0.0, f64::max)
    }
}

/// Plays a run. It ends when every caller has an outcome or has stopped trying, and the queue is empty.
pub(crate) async fn play(rig: &Rig, plan: Plan) -> Run {
    let (name, arrivals) = (plan.name(), plan.load.arrivals());
    say(&format!("{name}: {} messages in {} s", arrivals.len() * plan.bulk, plan.load.seconds));
    if plan.concurrency.is_some() {
        rig.limit_concurrency(plan.concurrency).await;
    }
    warm_up(rig, &plan).await;
    let log_length = rig.begin_count();
    let (listeners, pushes) = rig.sockets().await;
    rig.limit(plan.capacity).await;

    let message = |(number, arrival): (usize, &Arrival)| Message {
        id: format!("{name}-{number:05}"),
        owner: arrival.owner,
        due: milliseconds(arrival.at),
        ..Message::default()
    };
    let arrivals = arrivals.iter().flat_map(|arrival| iter::repeat_n(arrival, plan.bulk));
    let mut messages: Vec<_> = arrivals.enumerate().map(message).collect();
    let (start, start_time) = (Instant::now() + PREPARATION, SystemTime::now() + PREPARATION);
    let epoch_ms = milliseconds(start_time.duration_since(UNIX_EPOCH).expect("after 1970"));
    join!(
        send(rig, plan.caller, messages.chunks_mut(plan.bulk), start, plan.load.seed),
        disturb(rig, &plan, start)
    );
    drain(rig).await;
    rig.fault(plan.caller, Fault::None).await;
    rig.limit(None).await;
    if plan.concurrency.is_some() {
        rig.limit_concurrency(None).await;
    }

    let counted = rig.counted(plan.caller, log_length, epoch_ms as i64).await;
    drop(listeners);
    let pushes = take(&mut *pushes.lock().expect("not poisoned"));
    for message in &mut messages {
        let at = pushes.notified.get(&message.id);
        message.notified = at.map(|at| milliseconds(at.saturating_duration_since(start)));
    }
    let look_ups = messages.into_iter().map(|message| look_up(rig, message, epoch_ms));
    // In the order of their sending.
    let messages = stream::iter(look_ups).buffered(LOOK_UPS).collect().await;
    Run { plan, messages, frames: pushes.frames, counted }
}

fn ids(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|one| &*one.id).collect()
}

/// Sends the messages of each request when they are due, and waits until their caller has a last response.
async fn send(rig: &Rig, caller: Caller, bulks: ChunksMut<'_, Message>, start: Instant, seed: u64) {
    let mut bulks: Vec<_> = bulks.collect();
    let sending = |(bulk, number): (&&mut [Message], u64)| {
        let request = rig.request(caller, bulk[0].owner, &ids(bulk));
        let due = start + Duration::from_secs_f64(bulk[0].due / 1_000.0);
        Sending { caller, http: rig.stack.http.clone(), request, start, due, seed: seed ^ number }
    };
    let sendings: Vec<_> = bulks.iter().zip(0..).map(sending).collect();
    // A thread of its own is on time even if the tasks of the runtime are not.
    let sent = spawn_blocking(move || {
        let send = |sending: Sending| {
            thread::sleep((sending.due - LEAD).saturating_duration_since(Instant::now()));
            CALLERS.spawn(sending.run())
        };
        sendings.into_iter().map(send).collect::<Vec<_>>()
    });
    for (bulk, task) in bulks.iter_mut().zip(sent.await.expect("all is sent")) {
        let requests = task.await.expect("a caller");
        bulk.iter_mut().for_each(|message| message.requests.clone_from(&requests));
    }
}

/// Some messages beforehand: the functions run, and the tokens are known.
async fn warm_up(rig: &Rig, plan: &Plan) {
    let caller = if plan.caller == Caller::Queue { Caller::Queue } else { Caller::Retrying };
    let message = |number: usize| {
        let id = format!("warm-{}-{number}", plan.name());
        Message { id, owner: number % OWNERS.len(), ..Message::default() }
    };
    let mut messages: Vec<_> = (0..3 * OWNERS.len()).map(message).collect();
    send(rig, caller, messages.chunks_mut(1), Instant::now(), 0).await;
    assert!(messages.iter().all(Message::is_accepted), "the stack does not work: {messages:?}");
    drain(rig).await;
}

/// Does what the plan says, at its time.
async fn disturb(rig: &Rig, plan: &Plan, start: Instant) {
    for (second, disturbance) in &plan.disturbances {
        let at = start + Duration::from_secs_f64(*second);
        sleep(at.saturating_duration_since(Instant::now())).await;
        match disturbance {
            Disturbance::Database(fault) => rig.fault(plan.caller, *fault).await,
            Disturbance::Kill => {
                say(&format!("{}: killed {} processes", plan.name(), rig.kill_all(plan.caller)));
            }
        }
    }
}

/// Waits until the queue is empty and no request to the database is under way.
async fn drain(rig: &Rig) {
    let (mut left, mut changed, mut idle) = (0, Instant::now(), 0);
    while idle < 3 {
        let now = rig.under_way().await;
        if now != left {
            (left, changed) = (now, Instant::now());
        }
        assert!(changed.elapsed() < MAX_STANDSTILL, "{left} messages are left, and nothing happens");
        idle = if left == 0 { idle + 1 } else { 0 };
        sleep(Duration::from_millis(200)).await;
    }
}

/// Looks up the outcome of a message. Of one that was accepted it has to be there soon.
async fn look_up(rig: &Rig, mut message: Message, epoch_ms: f64) -> Message {
    let from = Instant::now();
    loop {
        let record = rig.look_up(message.owner, &message.id).await;
        message.outcome = ["stored", "rejected", "failed"].into_iter().find(|one| record["status"] == **one);
        if message.outcome == Some("stored") {
            let at: Timestamp = record["storedAt"].as_str().expect("a time").parse().expect("a time");
            message.stored = Some(at.as_millisecond() as f64 - epoch_ms);
        }
        let is_final = message.outcome.is_some() || (record["status"] == 404 && !message.is_accepted());
        if is_final || from.elapsed() > OUTCOME_LIMIT {
            return message;
        }
        sleep(Duration::from_secs(1)).await;
    }
}
