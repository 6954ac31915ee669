//! One run: a load by one caller on the stack, and everything that was seen of it.

use std::{
    collections::{HashMap, HashSet},
    sync::{LazyLock, atomic::Ordering},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use e2e::stack::{Item, text};
use fault_proxy::{Fault, Usage};
use jiff::Timestamp;
use tokio::{runtime::Runtime, task::spawn_blocking, time::sleep};

use crate::{
    callers::{Caller, LEAD, Request, Sending, milliseconds},
    figures::{Figures, duration, is_late},
    rig::{Invocations, Rig},
    say,
    schedule::{Load, OWNERS},
};

/// How long the queue may stay as it is while messages are in it. Longer than the time after which it delivers a
/// killed consumer's messages again.
const MAX_STANDSTILL: Duration = Duration::from_secs(240);

/// How long before the first message is due everything is ready.
const PREPARATION: Duration = Duration::from_millis(300);

/// How often progress is printed.
const PROGRESS: Duration = Duration::from_secs(30);

/// The payload of a message, in bytes: its item takes one write unit.
const PAYLOAD_BYTES: usize = 512;

/// Where the callers run: beside the proxy, whose work would make them late.
static CALLERS: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));

/// What is done to the stack at some time of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Disturbance {
    /// This happens to every request to the table from then on.
    Database(Fault),
    /// All processes of the function that stores the messages are killed.
    Kill,
}

/// What to do in a run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Its name in files and ids: letters, digits and dashes.
    pub(crate) name: String,
    pub(crate) caller: Caller,
    pub(crate) load: Load,
    /// Write units a second that the table has; none for no limit.
    pub(crate) capacity: Option<f64>,
    /// Each at some second.
    pub(crate) disturbances: Vec<(f64, Disturbance)>,
}

/// A message, with all that was seen of it. Times are milliseconds from the start of the run.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) owner: usize,
    /// When it was due: what everything is counted from.
    pub(crate) due: f64,
    pub(crate) requests: Vec<Request>,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) notified: Option<f64>,
}

/// What a message ended as, by the table and the dead-letter queue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Outcome {
    Stored(f64),
    Rejected,
    /// It failed, or is in the dead-letter queue.
    Failed,
}

impl Message {
    pub(crate) fn last(&self) -> Request {
        *self.requests.last().expect("every message is sent")
    }

    pub(crate) fn stored(&self) -> Option<f64> {
        match self.outcome {
            Some(Outcome::Stored(at)) => Some(at),
            _ => None,
        }
    }

    /// Accepted, and no outcome.
    pub(crate) fn is_lost(&self) -> bool {
        self.last().is_accepted() && self.outcome.is_none()
    }
}

/// What was seen of a run.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) plan: Plan,
    pub(crate) messages: Vec<Message>,
    /// What reached the database.
    pub(crate) usage: Usage,
    pub(crate) invocations: Invocations,
    pub(crate) memory_mb: f64,
    /// Frames that arrived at the sockets.
    pub(crate) frames: usize,
    pub(crate) log_bytes: usize,
}

impl Run {
    /// Why the run does not count; none if it does. A few late messages do not spoil a run: the figures that they are
    /// in have a star.
    pub(crate) fn void(&self) -> Option<String> {
        let Figures { lateness, response, .. } = Figures::of(self);
        is_late(response.p50, lateness.p50).then(|| {
            let (name, late, time) = (&self.plan.name, duration(lateness.p50), duration(response.p50));
            format!(
                "{name}: the generator was {late} late (p50), more than 5 % of the response time of {time}"
            )
        })
    }

    pub(crate) fn lost(&self) -> impl Iterator<Item = &str> {
        self.messages.iter().filter(|message| message.is_lost()).map(|message| message.id.as_str())
    }
}

/// Plays a run. It ends when every caller has an outcome or has given up, and the queue is empty.
pub(crate) async fn play(rig: &Rig, plan: Plan) -> Run {
    let arrivals = plan.load.arrivals();
    say(&format!("{}: {} messages in {:.0} s", plan.name, arrivals.len(), plan.load.seconds));
    let function = rig.function(plan.caller).await;
    warm_up(rig, &plan).await;
    rig.proxy.take_usage();
    let log_length = rig.log_length();
    let sockets = rig.sockets().await;
    let ids: Vec<_> = (0..arrivals.len()).map(|number| format!("{}-{number:05}", plan.name)).collect();
    let requests = arrivals.iter().zip(&ids).enumerate();
    let requests =
        requests.map(|(number, (arrival, id))| request(rig, plan.caller, arrival.owner, id, number));
    let requests: Vec<_> = requests.collect();

    let (start, start_time) = (Instant::now() + PREPARATION, SystemTime::now() + PREPARATION);
    let epoch_ms = milliseconds(start_time.duration_since(UNIX_EPOCH).expect("after 1970"));
    // The bucket of the table is full at the beginning of a run.
    rig.limit(plan.capacity);
    let sendings = requests.into_iter().zip(&arrivals).enumerate();
    let sendings = sendings.map(|(number, (request, arrival))| {
        let (caller, http) = (plan.caller, rig.http.clone());
        let seed = plan.load.seed ^ number as u64;
        Sending { caller, http, request, start, due: start + arrival.at, seed }
    });
    let sendings: Vec<_> = sendings.collect();
    // A thread of its own is on time even if the tasks of the runtime are not.
    let sent = spawn_blocking(move || {
        let send = |sending: Sending| {
            thread::sleep((sending.due - LEAD).saturating_duration_since(Instant::now()));
            CALLERS.spawn(sending.run())
        };
        sendings.into_iter().map(send).collect::<Vec<_>>()
    });
    disturb(rig, &plan, start).await;
    let mut requests = Vec::new();
    for task in sent.await.expect("all is sent") {
        requests.push(task.await.expect("a caller"));
    }
    drain(rig, &plan.name, start).await;
    rig.proxy.always(Fault::None);
    rig.limit(None);

    let outcomes = outcomes(rig, &plan.name, epoch_ms).await;
    let notified = sockets.notified.lock().expect("not poisoned").clone();
    let messages = ids.into_iter().zip(&arrivals).zip(requests).map(|((id, arrival), requests)| Message {
        owner: arrival.owner,
        due: milliseconds(arrival.at),
        requests,
        outcome: outcomes.get(&id).copied(),
        notified: notified.get(&id).map(|at| milliseconds(at.saturating_duration_since(start))),
        id,
    });
    let run = Run {
        messages: messages.collect(),
        usage: rig.proxy.take_usage(),
        invocations: rig.invocations(&function, epoch_ms as i64).await,
        memory_mb: function.memory_mb,
        frames: sockets.frames.load(Ordering::Relaxed),
        log_bytes: rig.logged_since(&function, log_length),
        plan,
    };
    say(&format!("{}: {}", run.plan.name, Figures::of(&run)));
    run
}

/// Some messages beforehand: the functions run, and the tokens are known.
async fn warm_up(rig: &Rig, plan: &Plan) {
    rig.limit(None);
    let now = Instant::now();
    let tasks: Vec<_> = (0..3 * OWNERS.len())
        .map(|number| {
            let caller = if plan.caller == Caller::Queue { Caller::Queue } else { Caller::Retrying };
            let id = format!("warm-{}-{number}", plan.name);
            let request = request(rig, caller, number % OWNERS.len(), &id, number);
            let http = rig.http.clone();
            CALLERS.spawn(Sending { caller, http, request, start: now, due: now, seed: 0 }.run())
        })
        .collect();
    for task in tasks {
        let requests = task.await.expect("a caller");
        let last = requests.last().copied();
        assert!(last.is_some_and(Request::is_accepted), "the stack does not work: {last:?}");
    }
    drain(rig, &plan.name, now).await;
}

fn request(rig: &Rig, caller: Caller, owner: usize, id: &str, number: usize) -> reqwest::Request {
    caller.request(&rig.http, &rig.stack.at.http_url, &rig.tokens[owner], id, &body(number))
}

/// Does what the plan says, at its time, and ends with a database without faults.
async fn disturb(rig: &Rig, plan: &Plan, start: Instant) {
    for (second, disturbance) in &plan.disturbances {
        let at = start + Duration::from_secs_f64(*second);
        sleep(at.saturating_duration_since(Instant::now())).await;
        match disturbance {
            Disturbance::Database(fault) => rig.proxy.always(*fault),
            Disturbance::Kill => {
                say(&format!("{}: killed {} processes", plan.name, rig.kill_all(plan.caller)));
            }
        }
    }
}

/// Waits until the queue is empty and no request to the database is under way.
async fn drain(rig: &Rig, name: &str, start: Instant) {
    let (mut depth, mut changed, mut printed, mut idle) = (0, Instant::now(), Instant::now(), 0);
    while idle < 3 {
        let now = rig.queue_depth().await;
        if now != depth {
            (depth, changed) = (now, Instant::now());
        }
        assert!(changed.elapsed() < MAX_STANDSTILL, "the queue stands still with {depth} messages");
        idle = if depth + rig.proxy.under_way() == 0 { idle + 1 } else { 0 };
        if printed.elapsed() > PROGRESS {
            printed = Instant::now();
            say(&format!("{name}: {depth} messages in the queue after {} s", start.elapsed().as_secs()));
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// What the messages of a run ended as, by id.
async fn outcomes(rig: &Rig, run: &str, epoch_ms: f64) -> HashMap<String, Outcome> {
    let prefix = format!("{run}-");
    let mut outcomes = HashMap::new();
    for item in rig.stack.items().await {
        let (id, _) = text(&item, "pk").split_once('#').expect("an id and an owner");
        if id.starts_with(&prefix) {
            outcomes.insert(id.to_owned(), outcome(&item, epoch_ms));
        }
    }
    let letters = rig.stack.dead_letters().await;
    let id_of = |letter: &aws_sdk_sqs::types::Message| {
        let id = letter.message_attributes()?.get("id")?.string_value()?;
        id.starts_with(&prefix).then(|| id.to_owned())
    };
    for id in letters.iter().filter_map(id_of).collect::<HashSet<_>>() {
        outcomes.entry(id).or_insert(Outcome::Failed);
    }
    outcomes
}

fn outcome(item: &Item, epoch_ms: f64) -> Outcome {
    match text(item, "status") {
        "stored" => {
            let at: Timestamp = text(item, "stored_at").parse().expect("a time");
            Outcome::Stored(at.as_millisecond() as f64 - epoch_ms)
        }
        "rejected" => Outcome::Rejected,
        _ => Outcome::Failed,
    }
}

/// A JSON object of always the same size.
fn body(number: usize) -> String {
    let filler = "x".repeat(PAYLOAD_BYTES - r#"{"number":00000,"text":""}"#.len());
    format!(r#"{{"number":1{:04},"text":"{filler}"}}"#, number % 10_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_have_one_size() {
        for number in [0, 9, 10_000, 123_456] {
            assert_eq!(body(number).len(), PAYLOAD_BYTES, "{}", body(number));
        }
    }
}
