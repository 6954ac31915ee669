//! The account of every message that was accepted. It believes the API, and checks it against what the clients sent,
//! the table, the sockets and the dead-letter queue.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use intake_domain::message::Payload;

use crate::{
    evidence::{Evidence, Key, Letter, LookUp, Notification, Outcome, Record, Sent},
    run::Plan,
};

/// The account.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// Messages with a `202`. Each is in one of the next five.
    accepted: usize,
    stored: usize,
    rejected: usize,
    conflict: usize,
    failed: usize,
    queued: usize,
    /// Failures that the dead-letter recorder recorded, after a last delivery that the consumer could not record.
    recovered: usize,
    /// Those of them whose last delivery ended with the consumer killed.
    killed: usize,
    kills: usize,

    /// Have no outcome, or failed and are not in the dead-letter queue.
    lost: Vec<String>,
    /// Are not as they were sent.
    altered: Vec<String>,
    /// Were stored more than once.
    twice: Vec<String>,
    wrong_owner: Vec<String>,
    /// Have an outcome that they cannot have, or that changed, or that differs between look-up and notification.
    wrong_outcome: Vec<String>,
    /// Have no notification, though their owner was listening and nothing failed.
    not_notified: Vec<String>,
    /// What the run was to exercise, and did not.
    incomplete: Vec<String>,
}

/// The evidence, by what it is looked up with.
struct Index<'a> {
    evidence: &'a Evidence,
    by_key: HashMap<&'a Key, Vec<&'a Sent>>,
    by_receipt: HashMap<&'a str, &'a Sent>,
    letters: HashMap<&'a str, &'a Letter>,
}

impl<'a> Index<'a> {
    fn of(evidence: &'a Evidence) -> Self {
        let mut by_key = HashMap::<_, Vec<_>>::new();
        for sent in &evidence.sent {
            by_key.entry(&sent.key).or_default().push(sent);
        }
        let receipts = evidence.sent.iter().filter_map(|sent| Some((sent.receipt()?, sent)));
        let letters = evidence.letters.iter().map(|letter| (letter.receipt.as_str(), letter));
        Self { evidence, by_key, by_receipt: receipts.collect(), letters: letters.collect() }
    }

    /// The messages that a receipt may belong to. One without a `202` may be queued under any receipt that no other
    /// message has.
    fn with_receipt(&self, key: &Key, receipt: &str) -> Vec<&'a Sent> {
        match self.by_receipt.get(receipt) {
            Some(sent) => vec![*sent],
            None => {
                let all = self.by_key.get(key).into_iter().flatten().copied();
                all.filter(|sent| sent.accepted.is_none()).collect()
            }
        }
    }
}

impl Account {
    /// Accounts for everything.
    pub(crate) fn of(evidence: &Evidence) -> Self {
        let index = Index::of(evidence);
        let mut account = Self::default();
        for sent in &evidence.sent {
            if let Some(receipt) = sent.receipt() {
                account.accepted += 1;
                account.check_outcome(&index, sent, receipt);
            }
        }
        account.check_table(&index);
        account.check_letters(&index);
        account.check_earlier(&index);
        account.check_notifications(&index);
        account
    }

    /// Notes the kills, and what the run did not exercise.
    pub(crate) fn check_run(&mut self, plan: &Plan, random_kills: usize, forced_kills: usize) {
        self.kills = random_kills + forced_kills;
        if random_kills < plan.kills {
            self.incomplete.push(format!("{random_kills} kills at random instead of {}", plan.kills));
        }
        if plan.throttle.is_some() {
            if self.accepted == 0 || self.stored < self.accepted {
                self.incomplete.push(format!("{} of {} are stored", self.stored, self.accepted));
            }
            return;
        }
        if self.recovered == self.killed {
            self.incomplete.push("no last delivery ended unrecorded in the outage".to_owned());
        }
        if plan.kills > 0 && self.killed == 0 {
            self.incomplete.push("no last delivery ended with a kill".to_owned());
        }
    }

    /// Whether nothing is wrong.
    pub(crate) fn is_clean(&self) -> bool {
        self.findings().iter().all(|(_, findings)| findings.is_empty())
    }

    /// What is wrong, by kind.
    pub(crate) fn findings(&self) -> [(&'static str, &[String]); 7] {
        [
            ("lost", &self.lost),
            ("altered", &self.altered),
            ("twice", &self.twice),
            ("delivered to the wrong owner", &self.wrong_owner),
            ("wrong outcome", &self.wrong_outcome),
            ("not notified", &self.not_notified),
            ("incomplete", &self.incomplete),
        ]
    }

    fn check_outcome(&mut self, index: &Index, sent: &Sent, receipt: &str) {
        let Evidence { outcomes, records, log, .. } = index.evidence;
        let (outcome, record) = (outcomes.get(receipt), records.get(&sent.key));
        let letter = index.letters.get(receipt);
        let all = || format!("{sent:?}: {outcome:?}, in the table {record:?}, dead-lettered {letter:?}");
        let Some(LookUp { outcome, content }) = outcome else {
            self.lost.push(all());
            return;
        };
        let stored = record.filter(|record| record.status == "stored");
        let same = stored.map(|record| is_same(&record.content, &sent.body));
        let (count, legal) = match outcome.status.as_str() {
            "stored" => (&mut self.stored, sent.valid && same == Some(true)),
            "conflict" => (&mut self.conflict, sent.valid && same == Some(false)),
            "rejected" => (&mut self.rejected, !sent.valid),
            "failed" => (&mut self.failed, sent.valid && record.is_some()),
            "queued" => {
                self.queued += 1;
                self.lost.push(all());
                return;
            }
            _ => {
                self.wrong_outcome.push(all());
                return;
            }
        };
        *count += 1;
        let is_stored = outcome.status == "stored";
        let has_reason = outcome.reason.as_ref().is_some_and(|reason| !reason.is_empty());
        if !legal
            || outcome.id != sent.key.1
            || has_reason == is_stored
            || outcome.stored_at.is_some() != is_stored
        {
            self.wrong_outcome.push(all());
        } else if is_stored && outcome.stored_at != stored.and_then(|record| record.stored_at.clone()) {
            self.twice.push(all());
        }
        // A look-up shows the content exactly if the record is about this request.
        let is_own = record.is_some_and(|record| record.receipt == receipt);
        match content {
            Some(content) if !is_own || !is_shown(sent, content) => self.altered.push(all()),
            None if is_own => self.wrong_outcome.push(all()),
            _ => {}
        }
        if outcome.status == "failed" {
            // An operator could not redrive it.
            if letter.is_none() {
                self.lost.push(all());
            }
            if log.recovered.contains(receipt) {
                self.recovered += 1;
                self.killed += usize::from(!log.ended.contains(receipt));
            }
        }
    }

    fn check_table(&mut self, index: &Index) {
        for (key, record) in &index.evidence.records {
            let Record { status, receipt, content, .. } = record;
            let fits = |sent: &&Sent| {
                sent.key == *key && sent.valid == (status != "rejected") && is_kept(sent, content)
            };
            if !index.with_receipt(key, receipt).iter().any(fits) {
                self.altered.push(format!("{key:?}: no client sent {record:?}"));
            }
        }
    }

    fn check_letters(&mut self, index: &Index) {
        for letter in &index.evidence.letters {
            let fits = |sent: &&Sent| sent.key == letter.key && sent.body == letter.body;
            if !index.with_receipt(&letter.key, &letter.receipt).iter().any(fits) {
                self.altered.push(format!("dead-lettered: no client sent {letter:?}"));
            }
        }
    }

    /// An outcome never changes.
    fn check_earlier(&mut self, index: &Index) {
        let mut settled = HashSet::new();
        for (owner, LookUp { outcome, content }) in &index.evidence.earlier {
            let sent = index.by_receipt.get(outcome.receipt.as_str());
            if outcome.status != "queued" {
                settled.insert((owner, &outcome.receipt));
                self.compare(index, owner, outcome, "looked up");
                if sent.is_some_and(|sent| content.as_ref().is_some_and(|content| !is_shown(sent, content))) {
                    self.altered.push(format!("{sent:?}: shown as {content:?}"));
                }
            } else if settled.contains(&(owner, &outcome.receipt)) {
                self.wrong_outcome.push(format!("{sent:?}: queued after it had an outcome"));
            }
        }
    }

    /// A notification says what the look-up says.
    fn check_notifications(&mut self, index: &Index) {
        let mut notified = HashSet::new();
        for Notification { owner, event_id, outcome } in &index.evidence.notifications {
            notified.insert(outcome.receipt.as_str());
            self.compare(index, owner, outcome, "was notified");
            if *event_id != format!("{}:{}", outcome.receipt, outcome.status) {
                self.wrong_outcome.push(format!("the event {event_id}: {outcome:?}"));
            }
        }
        for sent in index.evidence.sent.iter().filter(|sent| sent.after_faults) {
            if sent.receipt().is_some_and(|receipt| !notified.contains(receipt)) {
                self.not_notified.push(format!("{sent:?}"));
            }
        }
    }

    /// Compares what an owner got to know of a request with its look-up in the end.
    fn compare(&mut self, index: &Index, owner: &str, outcome: &Outcome, how: &str) {
        let last = index.evidence.outcomes.get(&outcome.receipt).map(|look_up| &look_up.outcome);
        let sent = index.by_receipt.get(outcome.receipt.as_str());
        let all = || format!("{sent:?}: {owner} {how} {outcome:?}, in the end {last:?}");
        let key = (owner.to_owned(), outcome.id.clone());
        let is_owners = index.with_receipt(&key, &outcome.receipt).iter().any(|sent| sent.key.0 == owner);
        if !is_owners {
            self.wrong_owner.push(all());
        } else if sent.is_some() && last != Some(outcome) {
            let but_for_the_time =
                last.map(|last| Outcome { stored_at: outcome.stored_at.clone(), ..last.clone() });
            let is_second = but_for_the_time.as_ref() == Some(outcome);
            if is_second { &mut self.twice } else { &mut self.wrong_outcome }.push(all());
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accepted, stored, rejected, conflict, failed, recovered, queued, kills, .. } = self;
        write!(
            f,
            "accepted {accepted}, stored {stored}, rejected {rejected}, conflict {conflict}, \
             failed {failed} (recovered {recovered}), queued {queued}, kills {kills}"
        )?;
        self.findings().iter().try_for_each(|(kind, findings)| write!(f, ", {kind} {}", findings.len()))
    }
}

/// Whether the table keeps a message like this: all of it, or the beginning of one that is too long.
fn is_kept(sent: &Sent, text: &str) -> bool {
    *sent.body == *text
        || (!sent.valid && sent.body.len() > Payload::MAX_BYTES && sent.body.starts_with(text))
}

/// Whether a look-up shows a message like this. A JSON value in a response has no white space around it.
fn is_shown(sent: &Sent, content: &str) -> bool {
    if sent.valid { sent.body.trim_ascii() == content } else { is_kept(sent, content) }
}

fn is_same(payload: &str, body: &str) -> bool {
    payload == body || Payload::parse(payload).is_ok_and(|payload| payload.is_same_as(body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::{Accepted, Log, Notification, Text};

    const A: &str = r#"{"a":1}"#;
    const OTHER: &str = r#"{"a":2}"#;
    const INVALID: &str = r#"{"a":NaN}"#;
    const PLAN: Plan = Plan { messages: 1, clients: 1, owners: 1, kills: 2, seed: 1, throttle: None };

    fn key() -> Key {
        ("alice".to_owned(), "m-1".to_owned())
    }

    fn sent(receipt: &str, body: &str) -> Sent {
        Sent {
            key: key(),
            body: Text(body.to_owned()),
            valid: body != INVALID,
            accepted: Some(Accepted { receipt: receipt.to_owned(), status_path: String::new() }),
            after_faults: false,
        }
    }

    /// The look-up of a receipt; with content, the record is about it.
    fn look_up(receipt: &str, status: &str, content: Option<&str>) -> LookUp {
        let outcome = Outcome {
            id: key().1,
            status: status.to_owned(),
            receipt: receipt.to_owned(),
            received_at: Some("early".to_owned()),
            stored_at: (status == "stored").then(|| "then".to_owned()),
            reason: (!matches!(status, "stored" | "queued")).then(|| "because".to_owned()),
        };
        LookUp { outcome, content: content.map(|content| Text(content.to_owned())) }
    }

    fn with(mut look_up: LookUp, change: impl FnOnce(&mut Outcome)) -> LookUp {
        change(&mut look_up.outcome);
        look_up
    }

    fn notification(owner: &str, LookUp { outcome, .. }: LookUp) -> Notification {
        let event_id = format!("{}:{}", outcome.receipt, outcome.status);
        Notification { owner: owner.to_owned(), event_id, outcome }
    }

    fn record(status: &str, receipt: &str, content: &str) -> HashMap<Key, Record> {
        let record = Record {
            status: status.to_owned(),
            receipt: receipt.to_owned(),
            content: Text(content.to_owned()),
            stored_at: (status == "stored").then(|| "then".to_owned()),
        };
        HashMap::from([(key(), record)])
    }

    fn letter(receipt: &str, body: &str) -> Letter {
        Letter { receipt: receipt.to_owned(), key: key(), body: Text(body.to_owned()) }
    }

    fn evidence(sent: &[(&str, &str)], outcomes: &[LookUp], records: HashMap<Key, Record>) -> Evidence {
        Evidence {
            sent: sent.iter().map(|(receipt, body)| self::sent(receipt, body)).collect(),
            outcomes: outcomes.iter().map(|one| (one.outcome.receipt.clone(), one.clone())).collect(),
            records,
            ..Evidence::default()
        }
    }

    /// One message, stored.
    fn stored() -> Evidence {
        evidence(&[("1", A)], &[look_up("1", "stored", Some(A))], record("stored", "1", A))
    }

    /// One message, failed on its last delivery.
    fn failed() -> Evidence {
        let evidence = evidence(&[("1", A)], &[look_up("1", "failed", Some(A))], record("failed", "1", A));
        Evidence { letters: vec![letter("1", A)], ..evidence }
    }

    /// What the account says, without what is accepted and without zeros.
    fn account(evidence: &Evidence) -> String {
        let account = Account::of(evidence).to_string().replace(" (recovered 0)", "");
        let words = account.split(", ").skip(1).filter(|words| !words.ends_with(" 0"));
        words.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn every_accepted_message_has_one_outcome() {
        let evidence = evidence(
            &[("1", A), ("2", r#"{ "a": 1 }"#), ("3", OTHER), ("4", INVALID), ("5", OTHER)],
            &[
                look_up("1", "stored", Some(A)),
                look_up("2", "stored", None),
                look_up("3", "conflict", None),
                look_up("4", "rejected", None),
                look_up("5", "failed", None),
            ],
            record("stored", "1", A),
        );
        let evidence = Evidence { letters: vec![letter("5", OTHER)], ..evidence };
        assert_eq!(account(&evidence), "stored 2, rejected 1, conflict 1, failed 1");
    }

    #[test]
    fn without_an_outcome_a_message_is_lost() {
        let sent = [("1", A)];
        assert_eq!(account(&evidence(&sent, &[], HashMap::new())), "lost 1");
        let queued = look_up("1", "queued", None);
        assert_eq!(account(&evidence(&sent, &[queued], HashMap::new())), "queued 1, lost 1");
        assert_eq!(account(&failed()), "failed 1");
        assert_eq!(account(&Evidence { letters: Vec::new(), ..failed() }), "failed 1, lost 1");
    }

    #[test]
    fn an_outcome_has_to_follow_from_what_is_stored() {
        let conflict = || look_up("1", "conflict", None);
        let duplicate = || look_up("1", "stored", None);
        for (body, outcome, stored) in [
            (A, duplicate(), OTHER),
            (A, conflict(), A),
            (A, look_up("1", "rejected", None), A),
            (INVALID, duplicate(), A),
            (INVALID, look_up("1", "failed", None), A),
            (A, look_up("1", "other", None), A),
            (A, with(conflict(), |it| it.reason = None), OTHER),
            (A, with(conflict(), |it| it.stored_at = Some("then".into())), OTHER),
            (A, with(duplicate(), |it| it.reason = Some("because".into())), A),
            (A, with(duplicate(), |it| it.stored_at = None), A),
            (A, with(duplicate(), |it| it.id = "m-2".into()), A),
        ] {
            let shown = format!("{body} beside {stored}: {outcome:?}");
            let outcomes = [outcome, look_up("2", "stored", Some(stored))];
            let evidence = evidence(&[("1", body), ("2", stored)], &outcomes, record("stored", "2", stored));
            let evidence = Evidence { letters: vec![letter("1", body)], ..evidence };
            assert_eq!(Account::of(&evidence).wrong_outcome.len(), 1, "{shown}");
        }
        let without_content = |status| HashMap::from([("1".to_owned(), look_up("1", status, None))]);
        let evidence = Evidence { outcomes: without_content("stored"), ..stored() };
        assert_eq!(account(&evidence), "stored 1, wrong outcome 1");
        let evidence = Evidence { outcomes: without_content("failed"), records: HashMap::new(), ..failed() };
        assert_eq!(account(&evidence), "failed 1, wrong outcome 1");
    }

    #[test]
    fn what_differs_from_what_was_sent_is_altered() {
        for altered in [r#"{"a":1.0}"#, r#"{ "a":1}"#, OTHER] {
            let evidence = Evidence { records: record("stored", "1", altered), ..stored() };
            assert_eq!(Account::of(&evidence).altered.len(), 1, "{altered}");
            let shown = look_up("1", "stored", Some(altered));
            let outcomes = HashMap::from([("1".to_owned(), shown.clone())]);
            assert_eq!(account(&Evidence { outcomes, ..stored() }), "stored 1, altered 1");
            let earlier = vec![(key().0, shown)];
            assert_eq!(account(&Evidence { earlier, ..stored() }), "stored 1, altered 1");
            let letters = vec![letter("1", altered)];
            assert_eq!(account(&Evidence { letters, ..failed() }), "failed 1, altered 1");
        }
        let spaced = Evidence { records: record("stored", "1", " {}\n"), ..stored() };
        let outcomes = HashMap::from([("1".to_owned(), look_up("1", "stored", Some("{}")))]);
        assert_eq!(account(&Evidence { sent: vec![sent("1", " {}\n")], outcomes, ..spaced }), "stored 1");
        assert_eq!(account(&Evidence { letters: vec![letter("9", A)], ..stored() }), "stored 1, altered 1");
    }

    #[test]
    fn a_conflict_never_shows_the_stored_message() {
        let conflict = |content| {
            let outcomes = [look_up("1", "stored", Some(A)), look_up("2", "conflict", content)];
            account(&evidence(&[("1", A), ("2", OTHER)], &outcomes, record("stored", "1", A)))
        };
        assert_eq!(conflict(None), "stored 1, conflict 1");
        assert_eq!(conflict(Some(A)), "stored 1, conflict 1, altered 1");
        assert_eq!(conflict(Some(OTHER)), "stored 1, conflict 1, altered 1");
    }

    #[test]
    fn a_second_time_of_storing_shows() {
        let later = with(look_up("1", "stored", Some(A)), |it| it.stored_at = Some("later".into()));
        let outcomes = HashMap::from([("1".to_owned(), later.clone())]);
        assert_eq!(account(&Evidence { outcomes, ..stored() }), "stored 1, twice 1");
        let notifications = HashSet::from([notification("alice", later.clone())]);
        assert_eq!(account(&Evidence { notifications, ..stored() }), "stored 1, twice 1");
        let earlier = vec![(key().0, later)];
        assert_eq!(account(&Evidence { earlier, ..stored() }), "stored 1, twice 1");
    }

    #[test]
    fn an_outcome_never_changes() {
        let of = |all: &[LookUp]| {
            let earlier = all.iter().map(|look_up| (key().0, look_up.clone())).collect();
            account(&Evidence { earlier, ..stored() })
        };
        let (queued, stored) = (look_up("1", "queued", None), look_up("1", "stored", Some(A)));
        assert_eq!(of(&[queued.clone(), queued.clone(), stored.clone(), stored.clone()]), "stored 1");
        assert_eq!(of(&[look_up("1", "failed", Some(A))]), "stored 1, wrong outcome 1");
        assert_eq!(of(&[stored, queued]), "stored 1, wrong outcome 1");
    }

    #[test]
    fn a_look_up_by_another_owner_finds_nothing() {
        let of = |look_up| account(&Evidence { earlier: vec![("bob".to_owned(), look_up)], ..stored() });
        assert_eq!(of(look_up("1", "queued", None)), "stored 1");
        assert_eq!(of(look_up("1", "stored", None)), "stored 1, delivered to the wrong owner 1");
    }

    #[test]
    fn a_notification_says_what_the_look_up_says_to_the_owner_alone() {
        let of =
            |notification| account(&Evidence { notifications: HashSet::from([notification]), ..stored() });
        let own = || look_up("1", "stored", None);
        assert_eq!(of(notification("alice", own())), "stored 1");
        for wrong in [notification("bob", own()), notification("alice", look_up("9", "stored", None))] {
            assert_eq!(of(wrong), "stored 1, delivered to the wrong owner 1");
        }
        for wrong in [
            notification("alice", look_up("1", "conflict", None)),
            notification("alice", with(own(), |it| it.received_at = None)),
            notification("alice", with(own(), |it| it.reason = Some("because".into()))),
            notification("alice", with(own(), |it| it.id = "m-2".into())),
            Notification { event_id: "1".into(), ..notification("alice", own()) },
        ] {
            assert_eq!(of(wrong), "stored 1, wrong outcome 1");
        }
    }

    #[test]
    fn a_message_without_a_202_may_have_any_receipt() {
        let without_response = Sent { accepted: None, ..sent("", A) };
        let own = notification("alice", look_up("9", "stored", None));
        let evidence = Evidence {
            sent: vec![without_response],
            notifications: HashSet::from([own]),
            letters: vec![letter("9", A)],
            records: record("stored", "9", A),
            ..Evidence::default()
        };
        assert_eq!(account(&evidence), "");
        let evidence = Evidence { records: record("stored", "9", OTHER), ..evidence };
        assert_eq!(account(&evidence), "altered 1");
    }

    #[test]
    fn after_the_faults_everything_is_notified() {
        let sent = vec![Sent { after_faults: true, ..sent("1", A) }];
        let silent = Evidence { sent, ..stored() };
        assert_eq!(account(&silent), "stored 1, not notified 1");
        let notifications = HashSet::from([notification("alice", look_up("1", "stored", None))]);
        assert_eq!(account(&Evidence { notifications, ..silent }), "stored 1");
    }

    #[test]
    fn a_run_has_to_exercise_what_it_is_for() {
        let two_failed = |recovered: &[&str], ended: &[&str]| {
            let set = |receipts: &[&str]| receipts.iter().map(|receipt| (*receipt).to_owned()).collect();
            let outcomes = [look_up("1", "failed", Some(A)), look_up("2", "failed", None)];
            Evidence {
                letters: vec![letter("1", A), letter("2", A)],
                log: Log { recovered: set(recovered), ended: set(ended) },
                ..evidence(&[("1", A), ("2", A)], &outcomes, record("failed", "1", A))
            }
        };
        let mut account = Account::of(&two_failed(&["1", "2"], &["1"]));
        account.check_run(&PLAN, 2, 5);
        assert_eq!(
            account.to_string(),
            "accepted 2, stored 0, rejected 0, conflict 0, failed 2 (recovered 2), queued 0, kills 7, lost 0, \
             altered 0, twice 0, delivered to the wrong owner 0, wrong outcome 0, not notified 0, incomplete 0"
        );
        for (recovered, ended, random_kills, plan, missing) in [
            (&["1", "2"][..], &["1"][..], 1, PLAN, "1 kills at random instead of 2"),
            (&["2"], &["1"], 2, PLAN, "no last delivery ended unrecorded in the outage"),
            (&["1"], &["1"], 2, PLAN, "no last delivery ended with a kill"),
            (&[], &[], 0, Plan { throttle: Some(60), kills: 0, ..PLAN }, "0 of 2 are stored"),
        ] {
            let mut account = Account::of(&two_failed(recovered, ended));
            account.check_run(&plan, random_kills, 5);
            assert_eq!(account.incomplete, [missing]);
            assert!(!account.is_clean());
        }
    }
}
