//! What became of every message that was accepted: nothing here believes what the functions say of themselves.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use intake::{message::Payload, notification::truncated};

/// Whose message it is and what its owner calls it.
pub(crate) type Key = (String, String);

/// Something that was sent into the queue.
#[derive(Clone)]
pub(crate) struct Sent {
    /// Whose it is, and its id.
    pub(crate) key: Key,
    /// The body, byte for byte.
    pub(crate) body: String,
    /// Whether it is a message that has to be stored. The others have to be rejected.
    pub(crate) valid: bool,
    /// What the `202` called it; none if there was no answer, or not that one. It may be in the queue or not.
    pub(crate) receipt: Option<String>,
}

/// An event that came over a socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Told {
    /// Whose socket it was.
    pub(crate) owner: String,
    /// The last word of the event's type.
    pub(crate) kind: String,
    /// The message's id.
    pub(crate) subject: String,
    /// The receipt in it.
    pub(crate) receipt: String,
    /// The event's own id.
    pub(crate) event_id: String,
    /// Whether it says why.
    pub(crate) has_reason: bool,
}

/// What the table has about a message.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// `stored`, `rejected` or `failed`.
    pub(crate) status: String,
    /// The text that came.
    pub(crate) payload: String,
    /// The receipt of what came.
    pub(crate) receipt: String,
    /// Whether it says why.
    pub(crate) has_reason: bool,
}

/// A record in the dead-letter queue.
#[derive(Clone)]
pub(crate) struct Letter {
    /// The owner and the id in its attributes.
    pub(crate) key: Key,
    /// The body.
    pub(crate) body: String,
}

/// All that was seen from outside.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    /// What the clients sent.
    pub(crate) sent: Vec<Sent>,
    /// What their sockets got; an event that came several times once.
    pub(crate) told: HashSet<Told>,
    /// What looking up messages showed as stored while everything was going on: the payload, without the
    /// blanks around it, which a value inside of an answer cannot have.
    pub(crate) looked_up: Vec<(Key, String)>,
    /// The table in the end.
    pub(crate) found: HashMap<Key, Found>,
    /// The dead-letter queue in the end, by receipt.
    pub(crate) letters: HashMap<String, Letter>,
}

/// The sum of it, each accepted message in one place.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// Got a `202`.
    pub(crate) accepted: usize,
    /// Are in the table as they were sent, or as the same JSON of an earlier one.
    pub(crate) stored: usize,
    /// Are no valid messages, and that is recorded.
    pub(crate) rejected: usize,
    /// Are recorded as failed, and in the dead-letter queue.
    pub(crate) failed: usize,
    /// Are in the dead-letter queue only.
    pub(crate) dead_lettered: usize,
    /// Found another payload stored under their id.
    pub(crate) conflicts: usize,
    /// How often a consumer was killed.
    pub(crate) kills: usize,
    /// Are nowhere.
    pub(crate) lost: Vec<String>,
    /// Are not what was sent.
    pub(crate) altered: Vec<String>,
    /// Had an effect more than once.
    pub(crate) twice: Vec<String>,
    /// Were told to somebody else than their owner.
    pub(crate) strangers: Vec<String>,
    /// Were told to have become something else than they became.
    pub(crate) told_wrongly: Vec<String>,
    /// What was to be shown, and was not.
    pub(crate) not_shown: Vec<String>,
}

impl Account {
    /// Accounts for everything.
    pub(crate) fn of(evidence: &Evidence) -> Self {
        let mut sent_as = HashMap::<&Key, Vec<&Sent>>::new();
        for sent in &evidence.sent {
            sent_as.entry(&sent.key).or_default().push(sent);
        }
        let mut account = Self::default();
        for sent in &evidence.sent {
            if let Some(receipt) = &sent.receipt {
                account.accepted += 1;
                account.enter(evidence, sent, receipt, &sent_as[&sent.key]);
            }
        }
        for (key, found) in &evidence.found {
            if !sent_as.contains_key(key) {
                account.altered.push(format!("{key:?}: nobody sent it, and there is {found:?}"));
            }
        }
        for (key, payload) in &evidence.looked_up {
            let found = evidence.found.get(key);
            if !found.is_some_and(|found| found.status == "stored" && found.payload.trim_ascii() == payload) {
                account.twice.push(format!("{key:?}: stored as {payload}, and then there is {found:?}"));
            }
        }
        account.listen(evidence, &sent_as);
        account
    }

    /// Notes how many kills there were. With fewer than there were to be, the account shows less than it
    /// was made for.
    pub(crate) fn killed(&mut self, kills: usize, to_be: usize) {
        self.kills = kills;
        if kills < to_be {
            self.not_shown.push(format!("{kills} kills instead of {to_be}"));
        }
    }

    /// Every accepted message has to be stored: no other outcome is good enough.
    pub(crate) fn all_stored(&mut self) {
        if self.accepted == 0 || self.stored < self.accepted {
            self.not_shown.push(format!("{} of {} are stored", self.stored, self.accepted));
        }
    }

    /// Whether nothing is wrong.
    pub(crate) fn is_clean(&self) -> bool {
        self.findings().all(|(_, findings)| findings.is_empty())
    }

    /// What is wrong, by kind.
    pub(crate) fn findings(&self) -> impl Iterator<Item = (&'static str, &[String])> {
        [
            ("lost", &*self.lost),
            ("altered", &*self.altered),
            ("twice", &*self.twice),
            ("told to a stranger", &*self.strangers),
            ("told wrongly", &*self.told_wrongly),
            ("not shown", &*self.not_shown),
        ]
        .into_iter()
    }

    fn enter(&mut self, evidence: &Evidence, sent: &Sent, receipt: &str, all: &[&Sent]) {
        let found = evidence.found.get(&sent.key);
        let letter = evidence.letters.get(receipt);
        let is_one = |valid: bool, text: &str| all.iter().any(|one| one.valid == valid && is_kept(one, text));
        let knows = || format!("{sent:?}: there is {found:?}, and as a dead letter {letter:?}");
        if letter.is_some_and(|letter| letter.body != sent.body || letter.key != sent.key) {
            self.altered.push(knows());
            return;
        }
        match found.map(|found| (found.status.as_str(), found)) {
            Some(("stored", found)) if !is_one(true, &found.payload) => self.altered.push(knows()),
            Some(("rejected", found)) if !found.has_reason || !is_one(false, &found.payload) => {
                self.altered.push(knows());
            }
            Some(("failed", found)) if !found.has_reason || !is_one(true, &found.payload) => {
                self.altered.push(knows());
            }
            Some(("stored", found)) if sent.valid => {
                if is_same(&found.payload, &sent.body) {
                    self.stored += 1;
                } else {
                    self.conflicts += 1;
                }
            }
            // A record about the id stays, or gives way to a better one: it is of this or of another message.
            Some(_) if !sent.valid => self.rejected += 1,
            Some(("failed", found)) if letter.is_some() && found.receipt == receipt => self.failed += 1,
            _ if letter.is_some() => self.dead_lettered += 1,
            _ => self.lost.push(knows()),
        }
    }

    fn listen(&mut self, evidence: &Evidence, sent_as: &HashMap<&Key, Vec<&Sent>>) {
        let by_receipt: HashMap<_, _> =
            evidence.sent.iter().filter_map(|sent| Some((sent.receipt.as_deref()?, sent))).collect();
        let mut stored = HashMap::<Key, HashSet<&str>>::new();
        for told in &evidence.told {
            let key = (told.owner.clone(), told.subject.clone());
            let Some(sent) = by_receipt.get(told.receipt.as_str()) else {
                let unanswered = |sent: &&Sent| sent.receipt.is_none();
                if !sent_as.get(&key).is_some_and(|all| all.iter().any(unanswered)) {
                    self.strangers.push(format!("{told:?}: nobody was given this receipt"));
                }
                continue;
            };
            if sent.key.0 != told.owner {
                self.strangers.push(format!("{told:?}: it is {sent:?}"));
                continue;
            }
            let found = evidence.found.get(&key);
            let there = found.filter(|found| found.status == "stored");
            let is_so = match told.kind.as_str() {
                "stored" => {
                    stored.entry(key.clone()).or_default().insert(&told.receipt);
                    there.is_some_and(|found| sent.valid && is_same(&found.payload, &sent.body))
                }
                "conflict" => {
                    told.has_reason
                        && there.is_some_and(|found| sent.valid && !is_same(&found.payload, &sent.body))
                }
                "rejected" => told.has_reason && !sent.valid,
                "failed" => {
                    let settled = there.is_some() || evidence.letters.contains_key(&told.receipt);
                    told.has_reason && sent.valid && settled
                }
                _ => false,
            };
            let named = told.event_id == format!("{}:{}", told.receipt, told.kind);
            if !is_so || !named || sent.key != key {
                self.told_wrongly.push(format!("{told:?}: it is {sent:?}, and there is {found:?}"));
            }
        }
        for (key, receipts) in stored {
            let of = evidence.found.get(&key).map(|found| found.receipt.as_str());
            if receipts.len() > 1 || receipts.iter().any(|receipt| of.is_some_and(|of| of != *receipt)) {
                self.twice.push(format!("{key:?}: told as stored by {receipts:?}, and stored by {of:?}"));
            }
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accepted, stored, rejected, failed, dead_lettered, conflicts, kills, .. } = self;
        write!(
            f,
            "accepted {accepted}, stored {stored}, rejected {rejected}, failed {failed}, \
             dead-lettered {dead_lettered}, conflicts {conflicts}, kills {kills}"
        )?;
        self.findings().try_for_each(|(kind, findings)| write!(f, ", {kind} {}", findings.len()))
    }
}

// What is shown of a finding: not all of a text, which may have 256 KiB.

impl fmt::Debug for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key: (owner, id), body, valid, receipt } = self;
        let kind = if *valid { "valid" } else { "invalid" };
        write!(f, "{owner}'s {id}, {kind}, receipt {receipt:?}, {:?}", beginning(body))
    }
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, payload, receipt, .. } = self;
        write!(f, "{status} by receipt {receipt}, {:?}", beginning(payload))
    }
}

impl fmt::Debug for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key: (owner, id), body } = self;
        write!(f, "{owner}'s {id}, {:?}", beginning(body))
    }
}

fn beginning(text: &str) -> &str {
    truncated(text, 80)
}

/// Whether this is what is kept of what was sent: all of it, or the beginning of what is too long.
fn is_kept(sent: &Sent, text: &str) -> bool {
    sent.body == text || (!sent.valid && sent.body.len() > Payload::MAX_BYTES && sent.body.starts_with(text))
}

fn is_same(payload: &str, body: &str) -> bool {
    payload == body || Payload::parse(payload).is_ok_and(|payload| payload.is_same_as(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        ("alice".to_owned(), "m-1".to_owned())
    }

    fn sent(receipt: &str, body: &str) -> Sent {
        let valid = !body.contains("NaN");
        Sent { key: key(), body: body.to_owned(), valid, receipt: Some(receipt.to_owned()) }
    }

    fn found(status: &str, receipt: &str, payload: &str) -> HashMap<Key, Found> {
        let (status, receipt) = (status.to_owned(), receipt.to_owned());
        let has_reason = status != "stored";
        HashMap::from([(key(), Found { status, payload: payload.to_owned(), receipt, has_reason })])
    }

    fn letters(receipt: &str, body: &str) -> HashMap<String, Letter> {
        HashMap::from([(receipt.to_owned(), Letter { key: key(), body: body.to_owned() })])
    }

    fn told(owner: &str, kind: &str, receipt: &str) -> Told {
        Told {
            owner: owner.to_owned(),
            kind: kind.to_owned(),
            subject: key().1,
            receipt: receipt.to_owned(),
            event_id: format!("{receipt}:{kind}"),
            has_reason: kind != "stored",
        }
    }

    fn account(evidence: &Evidence) -> String {
        let account = Account::of(evidence).to_string();
        let words = account.split(", ").filter(|words| !words.ends_with(" 0"));
        words.skip(1).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn every_accepted_message_has_one_place() {
        let (a, same, b, nan) = (r#"{"a":1}"#, r#"{ "a": 1 }"#, r#"{"a":2}"#, r#"{"a":NaN}"#);
        let stored = found("stored", "1", a);
        let sent_all = vec![sent("1", a), sent("2", same), sent("3", b), sent("4", nan)];
        let evidence = Evidence { sent: sent_all, found: stored, ..Evidence::default() };
        assert_eq!(account(&evidence), "stored 2, rejected 1, conflicts 1");

        let (failed, letters) = (found("failed", "1", a), letters("1", a));
        let evidence = Evidence { sent: vec![sent("1", a)], found: failed, letters, ..Evidence::default() };
        assert_eq!(account(&evidence), "failed 1");

        let evidence = Evidence { found: HashMap::new(), ..evidence };
        assert_eq!(account(&evidence), "dead-lettered 1");

        let evidence =
            Evidence { sent: vec![sent("4", nan)], found: found("rejected", "4", nan), ..evidence };
        assert_eq!(account(&evidence), "rejected 1");
    }

    #[test]
    fn what_is_nowhere_is_lost() {
        let evidence = Evidence { sent: vec![sent("1", "{}")], ..Evidence::default() };
        assert_eq!(account(&evidence), "lost 1");
        // An operator could not put it back.
        let evidence = Evidence { found: found("failed", "1", "{}"), ..evidence };
        assert_eq!(account(&evidence), "lost 1");
    }

    #[test]
    fn what_is_not_as_it_was_sent_is_altered() {
        let sent = vec![sent("1", r#"{"a":1.0}"#)];
        for altered in [
            Evidence { found: found("stored", "1", r#"{"a":1}"#), ..Evidence::default() },
            Evidence { found: found("stored", "1", r#"{"a": 1.0}"#), ..Evidence::default() },
            Evidence { letters: letters("1", "{}"), ..Evidence::default() },
        ] {
            assert_eq!(account(&Evidence { sent: sent.clone(), ..altered }), "altered 1");
        }
    }

    #[test]
    fn an_account_of_fewer_kills_or_of_messages_that_are_not_stored_is_not_what_was_asked_for() {
        let mut account = Account::default();
        account.killed(20, 20);
        assert!(account.is_clean());
        account.killed(19, 20);
        assert_eq!(account.not_shown, ["19 kills instead of 20"]);
        assert!(!account.is_clean());

        let sent = vec![sent("1", "{}")];
        let stored = Evidence { sent, found: found("stored", "1", "{}"), ..Evidence::default() };
        let mut account = Account::of(&stored);
        account.all_stored();
        assert!(account.is_clean());
        let failed = Evidence { found: found("failed", "1", "{}"), letters: letters("1", "{}"), ..stored };
        let mut account = Account::of(&failed);
        assert!(account.is_clean());
        account.all_stored();
        assert_eq!(account.not_shown, ["0 of 1 are stored"]);
    }

    #[test]
    fn a_second_effect_shows() {
        let sent = vec![sent("1", "{}"), sent("2", "{ }")];
        let told = HashSet::from([told("alice", "stored", "1"), told("alice", "stored", "2")]);
        let evidence = Evidence { sent, told, found: found("stored", "1", "{}"), ..Evidence::default() };
        assert_eq!(account(&evidence), "stored 2, twice 1");

        let looked_up = vec![(key(), "{ }".to_owned())];
        let evidence = Evidence { told: HashSet::new(), looked_up, ..evidence };
        assert_eq!(account(&evidence), "stored 2, twice 1");

        let sent = vec![self::sent("1", " {}\n")];
        let evidence = Evidence {
            sent,
            looked_up: vec![(key(), "{}".to_owned())],
            found: found("stored", "1", " {}\n"),
            ..Evidence::default()
        };
        assert_eq!(account(&evidence), "stored 1");
    }

    #[test]
    fn what_was_told_has_to_be_so_and_to_be_the_listeners_own() {
        let of = |told| Evidence {
            sent: vec![sent("1", "{}")],
            told: HashSet::from([told]),
            found: found("stored", "1", "{}"),
            ..Evidence::default()
        };
        assert_eq!(account(&of(told("alice", "stored", "1"))), "stored 1");
        assert_eq!(account(&of(told("bob", "stored", "1"))), "stored 1, told to a stranger 1");
        assert_eq!(account(&of(told("alice", "stored", "9"))), "stored 1, told to a stranger 1");
        assert_eq!(account(&of(told("alice", "conflict", "1"))), "stored 1, told wrongly 1");
        let evidence = Evidence { found: HashMap::new(), ..of(told("alice", "stored", "1")) };
        assert_eq!(account(&evidence), "lost 1, told wrongly 1");
    }
}
