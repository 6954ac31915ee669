//! One run: a load by one caller on the stack, and everything that was seen of it.

use std::{
    sync::{LazyLock, atomic::Ordering},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use fault_proxy::Fault;
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use serde_json::Value;
use tokio::{runtime::Runtime, task::spawn_blocking, time::sleep};

use crate::{
    callers::{Caller, LEAD, Request, Sending, milliseconds},
    figures::{Figures, duration, is_late},
    rig::{Counted, Rig},
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

/// How many messages are looked up at once.
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

/// What a message ended as, by its look-up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Outcome {
    Stored(f64),
    Rejected,
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
    /// Frames that arrived at the sockets.
    pub(crate) frames: usize,
    /// What can be counted on this machine only.
    pub(crate) counted: Option<Counted>,
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

/// Plays runs, one after the other.
pub(crate) async fn play_all(rig: &Rig, plans: Vec<Plan>) -> Vec<Run> {
    let mut runs = Vec::new();
    for plan in plans {
        runs.push(play(rig, plan).await);
    }
    runs
}

/// Plays a run. It ends when every caller has an outcome or has stopped trying, and the queue is empty.
pub(crate) async fn play(rig: &Rig, plan: Plan) -> Run {
    let arrivals = plan.load.arrivals();
    say(&format!("{}: {} messages in {:.0} s", plan.name, arrivals.len(), plan.load.seconds));
    warm_up(rig, &plan).await;
    let count = rig.begin_count(plan.caller).await;
    let sockets = rig.sockets().await;
    let ids: Vec<_> = (0..arrivals.len()).map(|number| format!("{}-{number:05}", plan.name)).collect();
    let requests = arrivals.iter().zip(&ids).enumerate();
    let requests =
        requests.map(|(number, (arrival, id))| request(rig, plan.caller, arrival.owner, id, number));
    let requests: Vec<_> = requests.collect();
    rig.limit(plan.capacity).await;

    let (start, start_time) = (Instant::now() + PREPARATION, SystemTime::now() + PREPARATION);
    let epoch_ms = milliseconds(start_time.duration_since(UNIX_EPOCH).expect("after 1970"));
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
    rig.fault(plan.caller, Fault::None).await;
    rig.limit(None).await;

    let counted = rig.counted(count, epoch_ms as i64).await;
    let notified = sockets.notified.lock().expect("not poisoned").clone();
    let messages = ids.into_iter().zip(&arrivals).zip(requests).map(|((id, arrival), requests)| Message {
        owner: arrival.owner,
        due: milliseconds(arrival.at),
        requests,
        outcome: None,
        notified: notified.get(&id).map(|at| milliseconds(at.saturating_duration_since(start))),
        id,
    });
    let look_ups = messages.map(|message| look_up(rig, message, epoch_ms));
    // In the order of their sending.
    let messages = stream::iter(look_ups).buffered(LOOK_UPS).collect().await;
    let run = Run { plan, messages, frames: sockets.frames.load(Ordering::Relaxed), counted };
    say(&format!("{}: {}", run.plan.name, Figures::of(&run)));
    run
}

/// Some messages beforehand: the functions run, and the tokens are known.
async fn warm_up(rig: &Rig, plan: &Plan) {
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
    rig.request(caller, owner, id, &body(number))
}

/// Does what the plan says, at its time, and ends with a database without faults.
async fn disturb(rig: &Rig, plan: &Plan, start: Instant) {
    for (second, disturbance) in &plan.disturbances {
        let at = start + Duration::from_secs_f64(*second);
        sleep(at.saturating_duration_since(Instant::now())).await;
        match disturbance {
            Disturbance::Database(fault) => rig.fault(plan.caller, *fault).await,
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
        idle = if depth + rig.under_way() == 0 { idle + 1 } else { 0 };
        if printed.elapsed() > PROGRESS {
            printed = Instant::now();
            say(&format!("{name}: {depth} messages in the queue after {} s", start.elapsed().as_secs()));
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// Looks up the outcome of a message. Of one that was accepted it has to know soon.
async fn look_up(rig: &Rig, mut message: Message, epoch_ms: f64) -> Message {
    let from = Instant::now();
    loop {
        let (status, record) = rig.look_up(message.owner, &message.id).await;
        message.outcome = (status == 200).then(|| outcome(&record, epoch_ms)).flatten();
        let is_final = status == 404 && !message.last().is_accepted();
        if message.outcome.is_some() || is_final || from.elapsed() > OUTCOME_LIMIT {
            return message;
        }
        sleep(Duration::from_secs(1)).await;
    }
}

fn outcome(record: &Value, epoch_ms: f64) -> Option<Outcome> {
    match record["status"].as_str()? {
        "stored" => {
            let at: Timestamp = record["storedAt"].as_str()?.parse().expect("a time");
            Some(Outcome::Stored(at.as_millisecond() as f64 - epoch_ms))
        }
        "rejected" => Some(Outcome::Rejected),
        "failed" => Some(Outcome::Failed),
        _ => None,
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
