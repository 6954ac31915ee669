//! The account of every message that was accepted, from everything that was seen from outside. It believes the API,
//! and checks it against what the clients sent, the table, the sockets and the dead-letter queue.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt, slice,
};

use aws_sdk_sqs::types::Message;
use e2e::stack::{Entry, Found, Outcome, Text};
use intake_domain::{bulk, message::Payload};
use jiff::Timestamp;

use crate::run::{Plan, RECORDER, REDRIVE};

/// Owner and id of a message.
pub(crate) type Key = (String, String);

/// What tells the requests for messages apart: the receipt, and in a bulk also the id.
pub(crate) fn request_key(receipt: &str, id: &str) -> String {
    if receipt.starts_with("bulk-") { format!("{receipt}/{id}") } else { receipt.to_owned() }
}

/// The receipt of such a request.
pub(crate) fn receipt_of(request: &str) -> &str {
    request.split_once('/').map_or(request, |(receipt, _)| receipt)
}

/// A message that a client sent.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) key: Key,
    /// The body, byte for byte.
    pub(crate) body: Text,
    /// Whether it is a message that has to be stored. The others have to be rejected.
    pub(crate) valid: bool,
    /// Whether it was sent after the faults, while every socket of its owner was open.
    pub(crate) after_faults: bool,
    /// What was found under its receipt in the end.
    pub(crate) found: Option<Found>,
}

/// What an owner got to know of a request.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    pub(crate) owner: String,
    pub(crate) source: Source,
    pub(crate) found: Found,
}

/// How an owner got to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Notification,
    /// A look-up by the receipt: about this request.
    Receipt,
    /// A look-up by the id alone, which shows what is under it now.
    Id,
}

/// Everything that was seen.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    /// The messages with a `202`, by [`request_key`].
    pub(crate) accepted: HashMap<String, Sent>,
    /// Those without one. Each may be in the queue or not.
    pub(crate) unconfirmed: Vec<Sent>,
    /// What the owners got to know before the end, in its order.
    pub(crate) statements: Vec<Statement>,
    pub(crate) bulks: usize,
    pub(crate) random_kills: usize,
    /// When a consumer was killed, as the table has its times: those at random and all others.
    pub(crate) kills: Vec<String>,
    /// Whose dead letters were redriven.
    pub(crate) redriven: Option<&'static str>,
    /// How many processes of the other functions were killed.
    pub(crate) interrupted: HashMap<&'static str, usize>,
    /// When the database was not throttled any more, if the plan was to throttle it.
    pub(crate) outage_end: Option<Timestamp>,
    /// The table in the end.
    pub(crate) items: HashMap<Key, Found>,
    /// The messages in the dead-letter queue in the end, by [`request_key`].
    pub(crate) dead_letters: HashMap<String, (Key, Text)>,
    /// The receipts of what the dead-letter recorder wrote as failed.
    pub(crate) recovered: HashSet<String>,
    /// Those of last deliveries at whose end the consumer was still alive.
    pub(crate) ended: HashSet<String>,
}

impl Evidence {
    /// For how many seconds after the outage a message that had been sent before was not stored.
    pub(crate) fn aftermath(&self) -> Option<i64> {
        let before = self.accepted.values().filter(|sent| !sent.after_faults);
        let stored_at: Option<Timestamp> =
            before.filter_map(|sent| sent.found.as_ref()?.outcome.stored_at.as_ref()?.parse().ok()).max();
        Some(stored_at?.duration_since(self.outage_end?).as_secs())
    }

    fn kills_with_half_stored_bulks(&self) -> usize {
        let mut times = HashMap::<&str, BTreeSet<&str>>::new();
        for Found { outcome, .. } in
            self.items.values().filter(|item| item.outcome.receipt.starts_with("bulk-"))
        {
            times.entry(&outcome.receipt).or_default().extend(outcome.stored_at.as_deref());
        }
        // Written alike, they sort like times.
        let is_half_stored = |bulk: &BTreeSet<&str>, kill: &str| {
            bulk.first().is_some_and(|first| *first < kill) && bulk.last().is_some_and(|last| *last > kill)
        };
        self.kills.iter().filter(|kill| times.values().any(|bulk| is_half_stored(bulk, kill))).count()
    }

    /// Reads a dead letter.
    pub(crate) fn read_dead_letter(&mut self, message: &Message) {
        let attribute = |name: &str| message.message_attributes()?.get(name)?.string_value();
        let [owner, id] = ["owner", "id"].map(|name| attribute(name).unwrap_or_default().to_owned());
        let [receipt, body] =
            [message.message_id(), message.body()].map(|it| it.unwrap_or_default().to_owned());
        if attribute("bulk").is_none() {
            self.dead_letters.insert(receipt, ((owner, id), Text(body)));
            return;
        }
        for one in bulk::cut(&body).expect("the gateway has checked it") {
            let id = one.id.expect("a legal id").as_str().to_owned();
            let request = request_key(&format!("bulk-{receipt}"), &id);
            self.dead_letters.insert(request, ((owner.clone(), id), Text(one.payload.get().to_owned())));
        }
    }

    /// Reads what a function has logged about a last delivery.
    pub(crate) fn read_log(&mut self, Entry { function, json, .. }: &Entry, max_receive_count: u64) {
        let Some(receipt) = json["receipt"].as_str() else { return };
        // The line about a bulk as a whole names no message.
        let Some(id) = json["message_id"].as_str() else { return };
        let request = request_key(receipt, id);
        if function.contains("QueueConsumer") && json["attempt"].as_u64() >= Some(max_receive_count) {
            self.ended.insert(request.clone());
        }
        if function.contains("DeadLetterRecorder") && json["outcome"] == "failed" {
            self.recovered.insert(request);
        }
    }
}

/// Messages that have no outcome, or failed and are not in the dead-letter queue.
const LOST: &str = "lost";
/// Messages that are not as they were sent.
const ALTERED: &str = "altered";
/// Messages that were stored more than once.
const TWICE: &str = "twice";
const WRONG_OWNER: &str = "delivered to the wrong owner";
/// Outcomes that cannot be, that changed, or that differ between look-up and notification.
const WRONG_OUTCOME: &str = "wrong outcome";
/// Messages without a notification, though their owner was listening and nothing failed.
const NOT_NOTIFIED: &str = "not notified";
/// What the run was to exercise, and did not.
const INCOMPLETE: &str = "incomplete";

/// Everything that may be found.
const KINDS: [&str; 7] = [LOST, ALTERED, TWICE, WRONG_OWNER, WRONG_OUTCOME, NOT_NOTIFIED, INCOMPLETE];

/// Failures that the dead-letter recorder wrote, after a last delivery that the consumer could not.
const RECOVERED: &str = "recovered";
/// Those of them whose last delivery ended with the consumer killed.
const KILLED: &str = "recovered after a kill";

/// Kills at a time when part of a bulk was stored, and another part was stored later.
const HALF_STORED: &str = "with a bulk half stored";

/// Kills of other functions than the consumer.
const INTERRUPTED: [(&str, &str); 2] = [(RECORDER, "of the recorder"), (REDRIVE, "of redrives")];

/// What else is counted: messages with a `202`, the bulks that some of them came in, how they
/// ended, and kills.
const COUNTS: [&str; 13] = [
    "accepted",
    "bulks",
    "stored",
    "rejected",
    "conflict",
    "failed",
    RECOVERED,
    KILLED,
    "queued",
    "kills",
    HALF_STORED,
    INTERRUPTED[0].1,
    INTERRUPTED[1].1,
];

/// The account.
#[derive(Debug, Default)]
pub(crate) struct Account {
    counts: HashMap<String, usize>,
    /// What is wrong.
    pub(crate) findings: Vec<String>,
}

impl Account {
    /// Accounts for everything.
    pub(crate) fn of(evidence: &Evidence) -> Self {
        let mut account = Self::default();
        account.add("accepted", evidence.accepted.len());
        account.add("bulks", evidence.bulks);
        account.add("kills", evidence.kills.len());
        account.add(HALF_STORED, evidence.kills_with_half_stored_bulks());
        for (function, name) in INTERRUPTED {
            account.add(name, evidence.interrupted.get(function).copied().unwrap_or_default());
        }
        for (request, sent) in &evidence.accepted {
            account.check_outcome(evidence, request, sent);
        }
        account.check_origins(evidence);
        account.check_statements(evidence);
        account
    }

    /// Finds what the run did not exercise.
    pub(crate) fn check_run(&mut self, plan: &Plan, random_kills: usize) {
        let [accepted, stored, recovered, killed] =
            ["accepted", "stored", RECOVERED, KILLED].map(|what| self.count(what));
        if random_kills < plan.kills {
            self.find(INCOMPLETE, format!("{random_kills} kills at random instead of {}", plan.kills));
        }
        if plan.throttle.is_some() {
            if stored < accepted || stored == 0 {
                self.find(INCOMPLETE, format!("{stored} of {accepted} are stored"));
            }
            return;
        }
        if recovered == killed {
            self.find(INCOMPLETE, "no last delivery ended unrecorded in the outage");
        }
        if plan.kills > 0 && killed == 0 {
            self.find(INCOMPLETE, "no last delivery ended with a kill");
        }
        for (_, name) in INTERRUPTED {
            if plan.kills > 0 && self.count(name) == 0 {
                self.find(INCOMPLETE, format!("no kill {name}"));
            }
        }
    }

    fn count(&self, what: &str) -> usize {
        self.counts.get(what).copied().unwrap_or_default()
    }

    fn add(&mut self, what: &str, more: usize) {
        *self.counts.entry(what.to_owned()).or_default() += more;
    }

    fn find(&mut self, kind: &str, what: impl fmt::Display) {
        self.add(kind, 1);
        self.findings.push(format!("{kind}: {what}"));
    }

    fn check_outcome(&mut self, evidence: &Evidence, request: &str, sent: &Sent) {
        let receipt = receipt_of(request);
        let (item, letter) = (evidence.items.get(&sent.key), evidence.dead_letters.get(request));
        let all = format!("{request}: {sent:?}, in the table {item:?}, dead-lettered {letter:?}");
        let Some(Found { outcome, content }) = &sent.found else { return self.find(LOST, all) };
        self.add(&outcome.status, 1);
        let mut find = |kind| self.find(kind, &all);
        let stored = item.filter(|item| item.outcome.status == "stored");
        let is_same = stored.map(|stored| is_same(stored, sent));
        let is_legal = match outcome.status.as_str() {
            "stored" => sent.valid && is_same == Some(true),
            "conflict" => sent.valid && is_same == Some(false),
            "rejected" => !sent.valid,
            "failed" => sent.valid && item.is_some(),
            "queued" => return find(LOST),
            _ => false,
        };
        let is_stored = outcome.status == "stored";
        let has_reason = outcome.reason.as_ref().is_some_and(|reason| !reason.is_empty());
        if !is_legal
            || (&*outcome.id, &*outcome.receipt) != (&*sent.key.1, receipt)
            || has_reason == is_stored
            || outcome.stored_at.is_some() != is_stored
        {
            find(WRONG_OUTCOME);
        } else if stored.is_some_and(|stored| is_stored && outcome.stored_at != stored.outcome.stored_at) {
            find(TWICE);
        }
        // A look-up shows the content exactly if the item is about this request.
        let is_own = item.is_some_and(|item| item.outcome.receipt == receipt);
        match content {
            Some(content) if !is_own || !is_shown(sent, content) => find(ALTERED),
            None if is_own => find(WRONG_OUTCOME),
            _ => {}
        }
        // An operator could not redrive it.
        if outcome.status == "failed" && letter.is_none() {
            find(LOST);
        }
        if outcome.status == "failed" && evidence.recovered.contains(request) {
            self.add(RECOVERED, 1);
            self.add(KILLED, usize::from(!evidence.ended.contains(request)));
        }
    }

    /// A client has sent what is in the table and in the dead-letter queue.
    fn check_origins(&mut self, evidence: &Evidence) {
        // A message without a `202` may be queued under any receipt that no other message has.
        let with_key = |request: &str| match evidence.accepted.get(request) {
            Some(sent) => slice::from_ref(sent),
            None => &evidence.unconfirmed,
        };
        for (key, item) in &evidence.items {
            let Found { outcome, content } = item;
            let is_valid = outcome.status != "rejected";
            let is_kept = |sent: &Sent| content.as_ref().is_some_and(|content| is_kept(sent, content));
            let fits = |sent: &Sent| sent.key == *key && sent.valid == is_valid && is_kept(sent);
            if !with_key(&request_key(&outcome.receipt, &outcome.id)).iter().any(fits) {
                self.find(ALTERED, format!("no client sent {key:?}: {item:?}"));
            }
        }
        for (request, letter) in &evidence.dead_letters {
            let fits = |sent: &Sent| (&sent.key, &sent.body) == (&letter.0, &letter.1);
            if !with_key(request).iter().any(fits) {
                self.find(ALTERED, format!("no client sent the dead letter {request}: {letter:?}"));
            }
        }
    }

    /// What an owner got to know of a request is what is found in the end.
    fn check_statements(&mut self, evidence: &Evidence) {
        let (mut settled, mut notified) = (HashSet::new(), HashSet::new());
        for statement in &evidence.statements {
            let Statement { owner, source, found } = statement;
            let key = request_key(&found.outcome.receipt, &found.outcome.id);
            let (request, is_queued) = ((owner, key.clone()), found.outcome.status == "queued");
            let wrong = match is_queued {
                true => settled.contains(&request).then_some(WRONG_OUTCOME),
                false => deviation(evidence, owner, found),
            };
            if let Some(kind) = wrong {
                let sent = evidence.accepted.get(&key);
                self.find(kind, format!("{statement:?}, sent and found in the end {sent:?}"));
            }
            // While a bulk has no outcomes yet, a later message of it may replace what is under the id, unless that is
            // stored: until then, the receipt reads `queued`.
            let may_change =
                *source == Source::Id && key != found.outcome.receipt && found.outcome.status != "stored";
            if *source == Source::Notification {
                notified.insert(key);
            } else if !is_queued && !may_change {
                settled.insert(request);
            }
        }
        for (receipt, sent) in &evidence.accepted {
            if sent.after_faults && !notified.contains(receipt) {
                self.find(NOT_NOTIFIED, format!("{receipt}: {sent:?}"));
            }
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = COUNTS.iter().chain(&KINDS).map(|what| format!("{what} {}", self.count(what)));
        write!(f, "{}", Vec::from_iter(counts).join(", "))
    }
}

/// What is wrong with what an owner got to know.
fn deviation(evidence: &Evidence, owner: &str, found: &Found) -> Option<&'static str> {
    let Found { outcome, content } = found;
    let request = request_key(&outcome.receipt, &outcome.id);
    let Some(sent) = evidence.accepted.get(&request) else {
        // It may be the receipt of a message without a `202`.
        let key = (owner.to_owned(), outcome.id.clone());
        let is_owners = evidence.unconfirmed.iter().any(|sent| sent.key == key);
        return (!is_owners).then_some(WRONG_OWNER);
    };
    let is_second =
        |last: &Outcome| *outcome == Outcome { stored_at: outcome.stored_at.clone(), ..last.clone() };
    match sent.found.as_ref().map(|found| &found.outcome) {
        _ if sent.key.0 != owner => Some(WRONG_OWNER),
        Some(last) if last == outcome => {
            content.as_ref().is_some_and(|content| !is_shown(sent, content)).then_some(ALTERED)
        }
        // A redrive replaces a failure.
        Some(_) if evidence.redriven == Some(owner) && outcome.status == "failed" => None,
        Some(last) if is_second(last) => Some(TWICE),
        _ => Some(WRONG_OUTCOME),
    }
}

/// Whether the table keeps a message like this: all of it, or the beginning of one that is too long.
fn is_kept(Sent { body, valid, .. }: &Sent, Text(text): &Text) -> bool {
    body.0 == *text || (!valid && body.0.len() > Payload::MAX_BYTES && body.0.starts_with(text))
}

/// Whether a look-up shows a message like this. A JSON value in a response has no white space around it.
fn is_shown(sent: &Sent, content: &Text) -> bool {
    if sent.valid { sent.body.0.trim_ascii() == content.0 } else { is_kept(sent, content) }
}

/// Whether what is stored is the message that was sent.
fn is_same(stored: &Found, sent: &Sent) -> bool {
    let payload = stored.content.as_ref().and_then(|Text(payload)| Payload::parse(payload).ok());
    payload.is_some_and(|payload| payload.is_same_as(&sent.body.0))
}

#[cfg(test)]
mod tests;
