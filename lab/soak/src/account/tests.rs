//! That everything that can be wrong is found.

use e2e::stack::Text;

use super::*;
use crate::evidence::Key;

const A: &str = r#"{"a":1}"#;
const OTHER: &str = r#"{"a":2}"#;
const INVALID: &str = r#"{"a":NaN}"#;
const PLAN: Plan = Plan { messages: 1, clients: 1, owners: 1, kills: 2, seed: 1, throttle: None };

fn key() -> Key {
    ("alice".to_owned(), "m-1".to_owned())
}

fn sent(body: &str) -> Sent {
    Sent { key: key(), body: Text(body.to_owned()), valid: body != INVALID, after_faults: false }
}

/// A request's outcome; with content, the item is about it.
fn found(receipt: &str, status: &str, content: Option<&str>) -> Found {
    let outcome = Outcome {
        id: key().1,
        status: status.to_owned(),
        receipt: receipt.to_owned(),
        received_at: Some("early".to_owned()),
        stored_at: (status == "stored").then(|| "then".to_owned()),
        reason: (!matches!(status, "stored" | "queued")).then(|| "because".to_owned()),
    };
    Found { outcome, content: content.map(|content| Text(content.to_owned())) }
}

fn with(mut found: Found, change: impl FnOnce(&mut Outcome)) -> Found {
    change(&mut found.outcome);
    found
}

fn letter(body: &str) -> (Key, Text) {
    (key(), Text(body.to_owned()))
}

/// Requests with their bodies and outcomes, and what the table has in the end. What failed is a dead letter.
fn evidence(requests: &[(&str, Found)], item: Found) -> Evidence {
    let mut evidence = Evidence { items: HashMap::from([(key(), item)]), ..Evidence::default() };
    for (body, found) in requests {
        let receipt = found.outcome.receipt.clone();
        if found.outcome.status == "failed" {
            evidence.letters.insert(receipt.clone(), letter(body));
        }
        let accepted = Accepted { sent: sent(body), status_path: String::new(), found: Some(found.clone()) };
        evidence.accepted.insert(receipt, accepted);
    }
    evidence
}

/// One message, stored.
fn stored() -> Evidence {
    let stored = found("1", "stored", Some(A));
    evidence(&[(A, stored.clone())], stored)
}

/// One message, failed on its last delivery.
fn failed() -> Evidence {
    let failed = found("1", "failed", Some(A));
    evidence(&[(A, failed.clone())], failed)
}

/// What the account says, without what is accepted and without zeros.
fn account(evidence: &Evidence) -> String {
    let account = Account::of(evidence).to_string();
    let words = account.split(", ").skip(1).filter(|words| !words.ends_with(" 0"));
    words.collect::<Vec<_>>().join(", ")
}

/// The same of other evidence.
fn changed(mut evidence: Evidence, change: impl FnOnce(&mut Evidence)) -> String {
    change(&mut evidence);
    account(&evidence)
}

/// What is found under the only receipt.
fn last(evidence: &mut Evidence) -> &mut Option<Found> {
    &mut evidence.accepted.get_mut("1").expect("it is there").found
}

#[test]
fn every_accepted_message_has_one_outcome() {
    let requests = [
        (A, found("1", "stored", Some(A))),
        (r#"{ "a": 1 }"#, found("2", "stored", None)),
        (OTHER, found("3", "conflict", None)),
        (INVALID, found("4", "rejected", None)),
        (OTHER, found("5", "failed", None)),
    ];
    let evidence = evidence(&requests, found("1", "stored", Some(A)));
    assert_eq!(account(&evidence), "stored 2, rejected 1, conflict 1, failed 1");
}

#[test]
fn without_an_outcome_a_message_is_lost() {
    assert_eq!(changed(stored(), |it| *last(it) = None), "lost 1");
    assert_eq!(changed(stored(), |it| *last(it) = Some(found("1", "queued", None))), "queued 1, lost 1");
    assert_eq!(account(&failed()), "failed 1");
    assert_eq!(changed(failed(), |it| it.letters.clear()), "failed 1, lost 1");
}

#[test]
fn an_outcome_has_to_follow_from_what_is_stored() {
    let conflict = || found("1", "conflict", None);
    let duplicate = || found("1", "stored", None);
    for (body, outcome, stored) in [
        (A, duplicate(), OTHER),
        (A, conflict(), A),
        (A, found("1", "rejected", None), A),
        (INVALID, duplicate(), A),
        (INVALID, found("1", "failed", None), A),
        (A, found("1", "other", None), A),
        (A, with(conflict(), |it| it.reason = None), OTHER),
        (A, with(conflict(), |it| it.stored_at = Some("then".into())), OTHER),
        (A, with(duplicate(), |it| it.reason = Some("because".into())), A),
        (A, with(duplicate(), |it| it.stored_at = None), A),
        (A, with(duplicate(), |it| it.id = "m-2".into()), A),
    ] {
        let shown = format!("{body} beside {stored}: {outcome:?}");
        let item = found("2", "stored", Some(stored));
        let account = account(&evidence(&[(body, outcome), (stored, item.clone())], item));
        assert!(account.ends_with(", wrong outcome 1"), "{shown}: {account}");
    }
    for (evidence, status) in [(stored(), "stored"), (failed(), "failed")] {
        let without_content = |it: &mut Evidence| *last(it) = Some(found("1", status, None));
        assert_eq!(changed(evidence, without_content), format!("{status} 1, wrong outcome 1"));
    }
    assert_eq!(changed(failed(), |it| it.items.clear()), "failed 1, altered 1, wrong outcome 1");
}

#[test]
fn what_differs_from_what_was_sent_is_altered() {
    for altered in [r#"{"a":1.0}"#, r#"{ "a":1}"#, OTHER] {
        let shown = || found("1", "stored", Some(altered));
        let in_the_table = changed(stored(), |it| _ = it.items.insert(key(), shown()));
        assert!(in_the_table.contains(", altered 1"), "{altered}: {in_the_table}");
        assert_eq!(changed(stored(), |it| *last(it) = Some(shown())), "stored 1, altered 1");
        let earlier = changed(stored(), |it| it.earlier.push((key().0, shown())));
        assert_eq!(earlier, "stored 1, altered 1");
        let dead = changed(failed(), |it| _ = it.letters.insert("1".into(), letter(altered)));
        assert_eq!(dead, "failed 1, altered 1");
    }
    assert_eq!(changed(stored(), |it| _ = it.letters.insert("9".into(), letter(A))), "stored 1, altered 1");
    let spaced =
        evidence(&[(" {}\n", found("1", "stored", Some("{}")))], found("1", "stored", Some(" {}\n")));
    assert_eq!(account(&spaced), "stored 1");
}

#[test]
fn a_conflict_never_shows_the_stored_message() {
    let conflict = |content| {
        let stored = found("1", "stored", Some(A));
        account(&evidence(&[(A, stored.clone()), (OTHER, found("2", "conflict", content))], stored))
    };
    assert_eq!(conflict(None), "stored 1, conflict 1");
    assert_eq!(conflict(Some(A)), "stored 1, conflict 1, altered 1");
    assert_eq!(conflict(Some(OTHER)), "stored 1, conflict 1, altered 1");
}

#[test]
fn a_second_time_of_storing_shows() {
    let later = || with(found("1", "stored", Some(A)), |it| it.stored_at = Some("later".into()));
    for account in [
        changed(stored(), |it| *last(it) = Some(later())),
        changed(stored(), |it| _ = it.notifications.insert((key().0, later().outcome))),
        changed(stored(), |it| it.earlier.push((key().0, later()))),
    ] {
        assert_eq!(account, "stored 1, twice 1");
    }
}

#[test]
fn an_outcome_never_changes() {
    let of = |all: &[&Found]| {
        let earlier = all.iter().map(|found| (key().0, Found::clone(found)));
        changed(stored(), |it| it.earlier = earlier.collect())
    };
    let (queued, stored) = (&found("1", "queued", None), &found("1", "stored", Some(A)));
    assert_eq!(of(&[queued, queued, stored, stored]), "stored 1");
    assert_eq!(of(&[&found("1", "failed", Some(A))]), "stored 1, wrong outcome 1");
    assert_eq!(of(&[stored, queued]), "stored 1, wrong outcome 1");
}

#[test]
fn a_look_up_by_another_owner_finds_nothing() {
    let of = |found| changed(stored(), |it| it.earlier.push(("bob".to_owned(), found)));
    assert_eq!(of(found("1", "queued", None)), "stored 1");
    assert_eq!(of(found("1", "stored", None)), "stored 1, delivered to the wrong owner 1");
}

#[test]
fn a_notification_says_what_the_look_up_says_to_the_owner_alone() {
    let of = |owner: &str, found: Found| {
        changed(stored(), |it| _ = it.notifications.insert((owner.to_owned(), found.outcome)))
    };
    let own = || found("1", "stored", None);
    assert_eq!(of("alice", own()), "stored 1");
    for (owner, found) in [("bob", own()), ("alice", found("9", "stored", None))] {
        assert_eq!(of(owner, found), "stored 1, delivered to the wrong owner 1");
    }
    for wrong in [
        found("1", "conflict", None),
        with(own(), |it| it.received_at = None),
        with(own(), |it| it.reason = Some("because".into())),
        with(own(), |it| it.id = "m-2".into()),
    ] {
        assert_eq!(of("alice", wrong), "stored 1, wrong outcome 1");
    }
}

#[test]
fn a_message_without_a_202_may_have_any_receipt() {
    let own = found("9", "stored", Some(A));
    let mut evidence = evidence(&[], own.clone());
    evidence.unconfirmed.push(sent(A));
    evidence.notifications.insert((key().0, own.outcome));
    evidence.letters.insert("9".to_owned(), letter(A));
    assert_eq!(account(&evidence), "");
    evidence.items.insert(key(), found("9", "stored", Some(OTHER)));
    assert_eq!(account(&evidence), "altered 1");
}

#[test]
fn after_the_faults_everything_is_notified() {
    let mut evidence = stored();
    evidence.accepted.get_mut("1").expect("it is there").sent.after_faults = true;
    assert_eq!(account(&evidence), "stored 1, not notified 1");
    evidence.notifications.insert((key().0, found("1", "stored", None).outcome));
    assert_eq!(account(&evidence), "stored 1");
}

#[test]
fn a_run_has_to_exercise_what_it_is_for() {
    let account = |recovered: &[&str], ended: &[&str], random_kills, plan| {
        let failed = found("1", "failed", Some(A));
        let evidence = evidence(&[(A, failed.clone()), (A, found("2", "failed", None))], failed);
        let set = |receipts: &[&str]| receipts.iter().map(|receipt| (*receipt).to_owned()).collect();
        let (recovered, ended) = (set(recovered), set(ended));
        let mut account =
            Account::of(&Evidence { recovered, ended, random_kills, forced_kills: 5, ..evidence });
        account.check_run(&plan, random_kills);
        account
    };
    let complete = account(&["1", "2"], &["1"], 2, PLAN);
    assert_eq!(
        complete.to_string(),
        "accepted 2, stored 0, rejected 0, conflict 0, failed 2, recovered 2, recovered after a kill 1, queued 0, \
         kills 7, lost 0, altered 0, twice 0, delivered to the wrong owner 0, wrong outcome 0, not notified 0, \
         incomplete 0"
    );
    assert!(complete.findings.is_empty());
    for (recovered, ended, random_kills, plan, missing) in [
        (&["1", "2"][..], &["1"][..], 1, PLAN, "1 kills at random instead of 2"),
        (&["2"], &["1"], 2, PLAN, "no last delivery ended unrecorded in the outage"),
        (&["1"], &["1"], 2, PLAN, "no last delivery ended with a kill"),
        (&[], &[], 0, Plan { throttle: Some(60), kills: 0, ..PLAN }, "0 of 2 are stored"),
    ] {
        let account = account(recovered, ended, random_kills, plan);
        assert_eq!(account.findings, [format!("incomplete: {missing}")]);
    }
}
