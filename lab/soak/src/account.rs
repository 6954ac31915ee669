//! The account of every message that was accepted. It believes the API, and checks it against what the clients sent,
//! the table, the sockets and the dead-letter queue.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use e2e::stack::{Found, Outcome, Text};
use intake::message::Payload;

use crate::{
    evidence::{Accepted, Evidence, Sent},
    run::Plan,
};

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

/// Failures that the dead-letter recorder recorded, after a last delivery that the consumer could not record.
const RECOVERED: &str = "recovered";
/// Those of them whose last delivery ended with the consumer killed.
const KILLED: &str = "recovered after a kill";

/// What else is counted: messages with a `202`, how they ended, and kills.
const COUNTS: [&str; 9] =
    ["accepted", "stored", "rejected", "conflict", "failed", RECOVERED, KILLED, "queued", "kills"];

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
        account.add("kills", evidence.random_kills + evidence.forced_kills);
        for (receipt, accepted) in &evidence.accepted {
            account.check_outcome(evidence, receipt, accepted);
        }
        account.check_origins(evidence);
        account.check_look_ups(evidence);
        account.check_notifications(evidence);
        account
    }

    /// Finds what the run did not exercise.
    pub(crate) fn check_run(&mut self, plan: &Plan, random_kills: usize) {
        let [accepted, stored, recovered, killed] =
            ["accepted", "stored", RECOVERED, KILLED].map(|what| self.count(what));
        let is_flood = plan.throttle.is_none();
        for (is_missing, what) in [
            (random_kills < plan.kills, format!("{random_kills} kills at random instead of {}", plan.kills)),
            (!is_flood && (stored < accepted || stored == 0), format!("{stored} of {accepted} are stored")),
            (is_flood && recovered == killed, "no last delivery ended unrecorded in the outage".to_owned()),
            (is_flood && plan.kills > 0 && killed == 0, "no last delivery ended with a kill".to_owned()),
        ] {
            if is_missing {
                self.find(INCOMPLETE, what);
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

    fn check_outcome(&mut self, evidence: &Evidence, receipt: &str, accepted: &Accepted) {
        let Accepted { sent, found, .. } = accepted;
        let (item, letter) = (evidence.items.get(&sent.key), evidence.letters.get(receipt));
        let all = format!("{receipt}: {accepted:?}, in the table {item:?}, dead-lettered {letter:?}");
        let Some(Found { outcome, content }) = found else { return self.find(LOST, all) };
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
        if outcome.status == "failed" && evidence.recovered.contains(receipt) {
            self.add(RECOVERED, 1);
            self.add(KILLED, usize::from(!evidence.ended.contains(receipt)));
        }
    }

    /// A client has sent what is in the table and in the dead-letter queue.
    fn check_origins(&mut self, evidence: &Evidence) {
        for (key, item) in &evidence.items {
            let Found { outcome, content } = item;
            let is_kept = |sent: &Sent| content.as_ref().is_some_and(|content| is_kept(sent, content));
            let fits = |sent: &Sent| sent.valid == (outcome.status != "rejected") && is_kept(sent);
            if !evidence.with_receipt(key, &outcome.receipt).any(fits) {
                self.find(ALTERED, format!("no client sent {key:?}: {item:?}"));
            }
        }
        for (receipt, letter) in &evidence.letters {
            let (key, body) = letter;
            if !evidence.with_receipt(key, receipt).any(|sent| sent.body == *body) {
                self.find(ALTERED, format!("no client sent the dead letter {receipt}: {letter:?}"));
            }
        }
    }

    /// An outcome never changes.
    fn check_look_ups(&mut self, evidence: &Evidence) {
        let mut settled = HashSet::new();
        for (owner, found) in &evidence.earlier {
            let Found { outcome, content } = found;
            if outcome.status != "queued" {
                settled.insert((owner, &outcome.receipt));
                self.compare(evidence, owner, outcome, "looked up");
                let accepted = evidence.accepted.get(&outcome.receipt);
                if let (Some(Accepted { sent, .. }), Some(content)) = (accepted, content)
                    && !is_shown(sent, content)
                {
                    self.find(ALTERED, format!("{sent:?}: shown as {content:?}"));
                }
            } else if settled.contains(&(owner, &outcome.receipt)) {
                self.find(WRONG_OUTCOME, format!("queued after it had an outcome: {found:?}"));
            }
        }
    }

    /// A notification says what the look-up says.
    fn check_notifications(&mut self, evidence: &Evidence) {
        for (owner, outcome) in &evidence.notifications {
            self.compare(evidence, owner, outcome, "was notified");
        }
        let notified = evidence.notifications.iter().map(|(_, outcome)| &outcome.receipt);
        let notified: HashSet<_> = notified.collect();
        for (receipt, accepted) in &evidence.accepted {
            if accepted.sent.after_faults && !notified.contains(receipt) {
                self.find(NOT_NOTIFIED, format!("{receipt}: {accepted:?}"));
            }
        }
    }

    /// Compares what an owner got to know of a request with its look-up in the end.
    fn compare(&mut self, evidence: &Evidence, owner: &str, outcome: &Outcome, how: &str) {
        let accepted = evidence.accepted.get(&outcome.receipt);
        let is_owners = match accepted {
            Some(accepted) => accepted.sent.key.0 == owner,
            None => {
                evidence.unconfirmed.iter().any(|Sent { key: (of, id), .. }| of == owner && *id == outcome.id)
            }
        };
        let last = accepted.map(|accepted| accepted.found.as_ref().map(|found| &found.outcome));
        let is_second =
            |last: &Outcome| *outcome == Outcome { stored_at: outcome.stored_at.clone(), ..last.clone() };
        let kind = match last {
            _ if !is_owners => WRONG_OWNER,
            // Nobody knows its receipt.
            None => return,
            Some(Some(last)) if last == outcome => return,
            Some(Some(last)) if is_second(last) => TWICE,
            Some(_) => WRONG_OUTCOME,
        };
        self.find(kind, format!("{owner} {how} {outcome:?}, sent and found in the end {accepted:?}"));
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = COUNTS.iter().chain(&KINDS).map(|what| format!("{what} {}", self.count(what)));
        write!(f, "{}", Vec::from_iter(counts).join(", "))
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
    let payload = stored.content.as_ref().map_or("", |content| &content.0);
    payload == sent.body.0 || Payload::parse(payload).is_ok_and(|payload| payload.is_same_as(&sent.body.0))
}

#[cfg(test)]
mod tests;
