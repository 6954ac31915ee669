//! That everything that can be wrong is found.

use super::*;

const A: &str = r#"{"a":1}"#;
const OTHER: &str = r#"{"a":2}"#;
const INVALID: &str = r#"{"a":NaN}"#;
const PLAN: Plan = Plan { messages: 1, clients: 1, owners: 1, kills: 2, seed: 1, throttle: None };

fn key() -> Key {
    ("alice".to_owned(), "m-1".to_owned())
}

fn sent(body: &str, found: Option<Found>) -> Sent {
    Sent { key: key(), body: Text(body.to_owned()), valid: body != INVALID, after_faults: false, found }
}

/// What is found of a request; with content, the item is about it.
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

/// Requests with their bodies and outcomes, and what the table has in the end. What failed is a dead letter.
fn evidence(requests: &[(&str, &Found)], item: &Found) -> Evidence {
    let mut evidence = Evidence { items: HashMap::from([(key(), item.clone())]), ..Evidence::default() };
    for (body, found) in requests {
        let (receipt, sent) = (&found.outcome.receipt, sent(body, Some(Found::clone(found))));
        if found.outcome.status == "failed" {
            evidence.dead_letters.insert(receipt.clone(), (key(), sent.body.clone()));
        }
        evidence.accepted.insert(receipt.clone(), sent);
    }
    evidence
}

/// What the account says, without what is accepted and without zeros.
fn account(evidence: &Evidence) -> String {
    let account = Account::of(evidence).to_string();
    let words = account.split(", ").skip(1).filter(|words| !words.ends_with(" 0"));
    words.collect::<Vec<_>>().join(", ")
}

/// What it says of one message with this outcome, if something else was seen of it, too.
fn changed(status: &str, change: impl FnOnce(&mut Evidence)) -> String {
    let found = found("1", status, Some(A));
    let mut evidence = evidence(&[(A, &found)], &found);
    change(&mut evidence);
    account(&evidence)
}

/// The same, if this was found in the end.
fn in_the_end(status: &str, found: Option<Found>) -> String {
    changed(status, |it| it.accepted.get_mut("1").expect("it is there").found = found)
}

/// The same of a stored message, if an owner has got to know this before.
fn before(owner: &str, source: Source, found: &[&Found]) -> String {
    let statement =
        |found: &&Found| Statement { owner: owner.to_owned(), source, found: Found::clone(found) };
    changed("stored", |it| it.statements.extend(found.iter().map(statement)))
}

#[test]
fn every_accepted_message_has_one_outcome() {
    let requests = [
        (A, &found("1", "stored", Some(A))),
        (r#"{ "a": 1 }"#, &found("2", "stored", None)),
        (OTHER, &found("3", "conflict", None)),
        (INVALID, &found("4", "rejected", None)),
        (OTHER, &found("5", "failed", None)),
    ];
    let account = account(&evidence(&requests, &found("1", "stored", Some(A))));
    assert_eq!(account, "stored 2, rejected 1, conflict 1, failed 1");
}

#[test]
fn without_an_outcome_a_message_is_lost() {
    assert_eq!(in_the_end("stored", None), "lost 1");
    assert_eq!(in_the_end("stored", Some(found("1", "queued", None))), "queued 1, lost 1");
    assert_eq!(changed("failed", |_| {}), "failed 1");
    assert_eq!(changed("failed", |it| it.dead_letters.clear()), "failed 1, lost 1");
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
        let item = found("2", "stored", Some(stored));
        let account = account(&evidence(&[(body, &outcome), (stored, &item)], &item));
        assert!(account.ends_with(", wrong outcome 1"), "{body} beside {stored}: {outcome:?}: {account}");
    }
    for status in ["stored", "failed"] {
        let without_content = in_the_end(status, Some(found("1", status, None)));
        assert_eq!(without_content, format!("{status} 1, wrong outcome 1"));
    }
    let of_another = in_the_end("stored", Some(found("2", "stored", Some(A))));
    assert_eq!(of_another, "stored 1, wrong outcome 1");
    let without_item = changed("failed", |it| it.items.clear());
    assert_eq!(without_item, "failed 1, altered 1, wrong outcome 1");
}

#[test]
fn what_differs_from_what_was_sent_is_altered() {
    let of_bob = || ("bob".to_owned(), key().1);
    let in_the_table = |key, item| changed("stored", |it| _ = it.items.insert(key, item));
    let dead = |receipt: &str, key, body: &str| {
        changed("failed", |it| _ = it.dead_letters.insert(receipt.to_owned(), (key, Text(body.to_owned()))))
    };
    for altered in [r#"{"a":1.0}"#, r#"{ "a":1}"#, OTHER] {
        let shown = found("1", "stored", Some(altered));
        assert!(in_the_table(key(), shown.clone()).contains(", altered 1"), "{altered}");
        assert_eq!(before("alice", Source::Receipt, &[&shown]), "stored 1, altered 1");
        assert_eq!(in_the_end("stored", Some(shown)), "stored 1, altered 1");
        assert_eq!(dead("1", key(), altered), "failed 1, altered 1");
    }
    for (receipt, key) in [("9", key()), ("1", of_bob())] {
        assert_eq!(dead(receipt, key, A), "failed 1, altered 1");
    }
    assert_eq!(in_the_table(of_bob(), found("1", "stored", Some(A))), "stored 1, altered 1");
    assert!(in_the_table(key(), found("1", "rejected", Some(A))).contains(", altered 1"));
    let spaced = [(" {\"a\":1}\n", &found("1", "stored", Some(A)))];
    assert_eq!(account(&evidence(&spaced, &found("1", "stored", Some(" {\"a\":1}\n")))), "stored 1");
}

#[test]
fn a_conflict_never_shows_the_stored_message() {
    for (content, expected) in [(None, ""), (Some(A), ", altered 1"), (Some(OTHER), ", altered 1")] {
        let (stored, conflict) = (found("1", "stored", Some(A)), found("2", "conflict", content));
        let account = account(&evidence(&[(A, &stored), (OTHER, &conflict)], &stored));
        assert_eq!(account, format!("stored 1, conflict 1{expected}"));
    }
}

#[test]
fn a_second_time_of_storing_shows() {
    let later = with(found("1", "stored", Some(A)), |it| it.stored_at = Some("later".into()));
    assert_eq!(before("alice", Source::Notification, &[&later]), "stored 1, twice 1");
    assert_eq!(before("alice", Source::Receipt, &[&later]), "stored 1, twice 1");
    assert_eq!(in_the_end("stored", Some(later)), "stored 1, twice 1");
}

#[test]
fn an_outcome_never_changes() {
    let (queued, stored) = (&found("1", "queued", None), &found("1", "stored", Some(A)));
    assert_eq!(before("alice", Source::Receipt, &[queued, queued, stored, stored]), "stored 1");
    let failed = before("alice", Source::Receipt, &[&found("1", "failed", Some(A))]);
    assert_eq!(failed, "stored 1, wrong outcome 1");
    assert_eq!(before("alice", Source::Receipt, &[stored, queued]), "stored 1, wrong outcome 1");
}

#[test]
fn what_is_under_the_id_of_an_open_bulk_is_no_outcome_yet_unless_it_is_stored() {
    let then_queued = |body: &str, status: &str, source| {
        let last = found("bulk-1", status, Some(body));
        let mut evidence = evidence(&[(body, &last)], &last);
        let sent = evidence.accepted.remove("bulk-1").expect("it is there");
        evidence.accepted.insert(request_key("bulk-1", &key().1), sent);
        let queued = (Source::Receipt, found("bulk-1", "queued", None));
        let statements = [(source, last), queued];
        evidence.statements =
            statements.map(|(source, found)| Statement { owner: key().0, source, found }).into();
        account(&evidence)
    };
    assert_eq!(then_queued(INVALID, "rejected", Source::Id), "rejected 1");
    assert_eq!(then_queued(INVALID, "rejected", Source::Receipt), "rejected 1, wrong outcome 1");
    assert_eq!(then_queued(A, "stored", Source::Id), "stored 1, wrong outcome 1");
}

#[test]
fn a_redrive_replaces_a_failure_and_nothing_else() {
    let after_redrive = |status: &str, before: &str, redriven| {
        changed(status, |it| {
            let found = found("1", before, Some(A));
            it.redriven = Some(redriven);
            it.statements.push(Statement { owner: "alice".to_owned(), source: Source::Notification, found });
        })
    };
    assert_eq!(after_redrive("stored", "failed", "alice"), "stored 1");
    assert_eq!(after_redrive("stored", "failed", "bob"), "stored 1, wrong outcome 1");
    assert_eq!(after_redrive("stored", "conflict", "alice"), "stored 1, wrong outcome 1");
    assert_eq!(after_redrive("failed", "stored", "alice"), "failed 1, wrong outcome 1");
}

#[test]
fn an_owner_gets_to_know_the_outcomes_of_own_messages_alone() {
    let (queued, stored) = (&found("1", "queued", None), &found("1", "stored", None));
    assert_eq!(before("bob", Source::Receipt, &[queued]), "stored 1");
    let unknown = &found("9", "stored", None);
    for (owner, found) in [("bob", stored), ("alice", unknown)] {
        for source in [Source::Notification, Source::Receipt, Source::Id] {
            let account = before(owner, source, &[found]);
            assert_eq!(account, "stored 1, delivered to the wrong owner 1");
        }
    }
}

#[test]
fn a_notification_says_what_the_look_up_says() {
    let own = || found("1", "stored", None);
    assert_eq!(before("alice", Source::Notification, &[&own()]), "stored 1");
    for wrong in [
        found("1", "conflict", None),
        with(own(), |it| it.received_at = None),
        with(own(), |it| it.reason = Some("because".into())),
        with(own(), |it| it.id = "m-2".into()),
    ] {
        assert_eq!(before("alice", Source::Notification, &[&wrong]), "stored 1, wrong outcome 1");
    }
}

#[test]
fn a_message_without_a_202_may_have_any_receipt() {
    let found_under_9 = |body| {
        let found = found("9", "stored", Some(body));
        let mut evidence = evidence(&[], &found);
        evidence.unconfirmed.push(sent(A, None));
        evidence.dead_letters.insert("9".to_owned(), (key(), Text(A.to_owned())));
        evidence.statements.push(Statement { owner: key().0, source: Source::Notification, found });
        account(&evidence)
    };
    assert_eq!(found_under_9(A), "");
    assert_eq!(found_under_9(OTHER), "altered 1");
}

#[test]
fn after_the_faults_everything_is_notified() {
    for (source, expected) in
        [(Source::Receipt, "stored 1, not notified 1"), (Source::Notification, "stored 1")]
    {
        let statement = Statement { owner: key().0, source, found: found("1", "stored", None) };
        let account = changed("stored", |it| {
            it.accepted.get_mut("1").expect("it is there").after_faults = true;
            it.statements.push(statement);
        });
        assert_eq!(account, expected);
    }
}

#[test]
fn a_kill_counts_for_a_bulk_if_some_of_it_was_stored_before_and_some_after() {
    let at = |receipt: &str, time: &str| {
        with(found(receipt, "stored", Some(A)), |outcome| outcome.stored_at = Some(time.to_owned()))
    };
    let stored = [
        at("bulk-1", "12:01"),
        at("bulk-1", "12:03"),
        at("bulk-2", "12:05"),
        at("3", "12:00"),
        at("3", "12:09"),
    ];
    let items = stored.into_iter().enumerate().map(|(number, item)| ((key().0, number.to_string()), item));
    let evidence = Evidence {
        items: items.collect(),
        kills: ["12:00", "12:02", "12:02", "12:03", "12:04", "12:06"].map(str::to_owned).to_vec(),
        ..Evidence::default()
    };
    assert_eq!(evidence.kills_with_half_stored_bulks(), 2);
}

#[test]
fn a_run_has_to_exercise_what_it_is_for() {
    let account = |recovered: &[&str], ended: &[&str], random_kills, redrive_kills, plan| {
        let failed = found("1", "failed", Some(A));
        let evidence = evidence(&[(A, &failed), (A, &found("2", "failed", None))], &failed);
        let [recovered, ended] =
            [recovered, ended].map(|receipts| receipts.iter().map(|receipt| (*receipt).to_owned()).collect());
        let evidence = Evidence {
            recovered,
            ended,
            random_kills,
            kills: vec!["then".to_owned(); random_kills + 5],
            interrupted: [(RECORDER, 3), (REDRIVE, redrive_kills)].into(),
            ..evidence
        };
        let mut account = Account::of(&evidence);
        account.check_run(&plan, random_kills);
        account
    };
    let complete = account(&["1", "2"], &["1"], 2, 1, PLAN);
    assert_eq!(
        complete.to_string(),
        "accepted 2, bulks 0, stored 0, rejected 0, conflict 0, failed 2, recovered 2, recovered after a kill 1, queued 0, \
         kills 7, with a bulk half stored 0, of the recorder 3, of redrives 1, lost 0, altered 0, twice 0, delivered to the wrong owner 0, wrong outcome 0, not notified 0, \
         incomplete 0"
    );
    assert!(complete.findings.is_empty());
    for (recovered, ended, random_kills, redrive_kills, plan, missing) in [
        (&["1", "2"][..], &["1"][..], 1, 1, PLAN, "1 kills at random instead of 2"),
        (&["2"], &["1"], 2, 1, PLAN, "no last delivery ended unrecorded in the outage"),
        (&["1"], &["1"], 2, 1, PLAN, "no last delivery ended with a kill"),
        (&["1", "2"], &["1"], 2, 0, PLAN, "no kill of redrives"),
        (&[], &[], 0, 0, Plan { throttle: Some(60), kills: 0, ..PLAN }, "0 of 2 are stored"),
    ] {
        let account = account(recovered, ended, random_kills, redrive_kills, plan);
        assert_eq!(account.findings, [format!("incomplete: {missing}")]);
    }
}
