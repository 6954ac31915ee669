//! A redrive against an SQS that fails: no message is ever lost.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "this crate is nothing but tests")]

mod service;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    time::Duration,
};

use redrive::{
    problem::Problem,
    queues::Queues,
    run::{Account, End, Fate, Order, redrive},
};
use serde_json::{Value, json};
use service::{DELETE, Fault, GIVE_BACK, RECEIVE, SEND, Service, Stored};
use tokio::{task::JoinSet, time::timeout};

/// Without waiting for messages: here they are there at once or not at all.
fn order() -> Order {
    Order { wait: Duration::ZERO, ..Order::default() }
}

async fn run(service: &Service, order: Order) -> (Account, End) {
    redrive(&service.client, &service.queues, order, || false, |_, _, _| {}).await
}

fn bodies(messages: &[Stored]) -> BTreeSet<String> {
    messages.iter().map(|message| message.body.clone()).collect()
}

fn numbered(service: &Service, number: usize) -> BTreeSet<String> {
    let bodies: BTreeSet<_> = (0..number).map(|number| format!("body {number}")).collect();
    for body in &bodies {
        service.die(body);
    }
    bodies
}

#[tokio::test]
async fn all_that_a_sender_gave_a_message_goes_along() {
    let service = Service::start().await;
    let attributes = json!({
        "id": { "DataType": "String", "StringValue": "an-id" },
        "owner": { "DataType": "String", "StringValue": "alice" },
        "number": { "DataType": "Number", "StringValue": "1234567890123456789.5" },
        "bytes": { "DataType": "Binary", "BinaryValue": "AP8=" },
        "own": { "DataType": "String.uuid", "StringValue": "x" },
    });
    let body = "{\"a\": 12345678901234567890}\r\n\t\u{1F600}";
    let trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1";
    service.die_with(body, attributes.clone(), Some(trace));

    let (account, end) = run(&service, order()).await;

    assert_eq!((account, end), (Account { moved: 1, ..Account::default() }, End::Empty));
    assert_eq!(service.dead(), []);
    let [moved] = &service.queued()[..] else { panic!("one message") };
    assert_eq!((moved.body.as_str(), &moved.attributes), (body, &attributes));
    assert_eq!(moved.trace_header.as_deref(), Some(trace));
}

#[tokio::test]
async fn what_sqs_does_not_take_now_is_tried_again() {
    let service = Service::start().await;
    let all = numbered(&service, 10);
    service.next(SEND, [Fault::Fail { places: vec![0, 3, 9], sender_fault: false }]);

    let (account, _) = run(&service, order()).await;

    assert_eq!(account, Account { moved: 10, ..Account::default() });
    assert_eq!(bodies(&service.queued()), all);
    assert_eq!(service.queued().len(), 10);
}

#[tokio::test]
async fn what_sqs_never_takes_stays_and_can_be_received_by_others() {
    let service = Service::start().await;
    numbered(&service, 10);
    service.next(SEND, [Fault::Fail { places: vec![2], sender_fault: true }]);

    let fates = RefCell::new(Vec::new());
    let tell = |_: &_, fate: &Fate, _: &_| fates.borrow_mut().push(fate.clone());
    let (account, end) = redrive(&service.client, &service.queues, order(), || false, tell).await;

    assert_eq!(account, Account { moved: 9, not_sent: 1, ..Account::default() });
    assert_eq!(end, End::Empty);
    assert!(fates.borrow().contains(&Fate::NotSent("Faulty: not now".to_owned())));
    assert_eq!((service.dead().len(), service.visible(), service.queued().len()), (1, 1, 9));
}

#[tokio::test]
async fn what_is_not_said_to_be_sent_is_not_deleted() {
    let service = Service::start().await;
    let all = numbered(&service, 3);
    // Said of none of the attempts at the second message, and of one of those at the third.
    service.next(SEND, [Fault::Forget(vec![1, 2]), Fault::Forget(vec![0]), Fault::Forget(vec![0])]);

    let (account, _) = run(&service, order()).await;

    assert_eq!(account, Account { moved: 2, not_sent: 1, ..Account::default() });
    assert_eq!(service.visible(), 1);
    assert_eq!(bodies(&service.queued()), all);
}

#[tokio::test]
async fn a_delete_that_fails_is_tried_again_then_told() {
    let service = Service::start().await;
    numbered(&service, 2);
    let fail = |sender_fault| Fault::Fail { places: vec![0], sender_fault };
    service.next(DELETE, [fail(false), fail(true)]);

    let (account, end) = run(&service, order()).await;

    assert_eq!(account, Account { moved: 1, not_deleted: 1, ..Account::default() });
    assert_eq!(end, End::Empty);
    assert_eq!((service.visible(), service.queued().len()), (1, 2));

    // The next redrive makes a duplicate of it, and no more.
    let (account, _) = run(&service, order()).await;
    assert_eq!(account, Account { moved: 1, ..Account::default() });
    assert_eq!((service.dead().len(), service.queued().len()), (0, 3));
}

#[tokio::test]
async fn a_crash_between_sending_and_deleting_leaves_messages_in_both() {
    let service = Service::start().await;
    let all = numbered(&service, 10);
    service.next(DELETE, [Fault::Hang]);

    // Ended in the middle, as by a kill.
    let crashed = timeout(Duration::from_secs(1), run(&service, order())).await;
    assert!(crashed.is_err());
    assert_eq!(service.requests(DELETE), 1);
    assert_eq!((bodies(&service.dead()), bodies(&service.queued())), (all.clone(), all.clone()));

    service.show_all();
    let (account, _) = run(&service, order()).await;
    assert_eq!(account, Account { moved: 10, ..Account::default() });
    assert_eq!(service.dead(), []);
    assert_eq!((bodies(&service.queued()), service.queued().len()), (all, 20));
}

#[tokio::test]
async fn a_lost_answer_to_a_send_loses_nothing() {
    let service = Service::start().await;
    let all = numbered(&service, 10);
    service.next(SEND, [Fault::CutAfter, Fault::CutAfter]);

    let (account, end) = run(&service, order()).await;

    assert_eq!(account, Account { not_sent: 10, ..Account::default() });
    assert!(matches!(end, End::Stopped(Problem::Unreachable(_))), "{end:?}");
    assert_eq!((bodies(&service.dead()), service.visible()), (all, 10));
}

#[tokio::test]
async fn a_queue_that_refuses_everything_ends_it_at_once() {
    let service = Service::start().await;
    numbered(&service, 25);
    service.next(SEND, [Fault::Refuse("AccessDenied")]);

    let (account, end) = run(&service, order()).await;

    assert_eq!(account, Account { not_sent: 10, ..Account::default() });
    let End::Stopped(problem) = end else { panic!("{end:?}") };
    let text = problem.to_string();
    assert!(text.starts_with("access denied to SendMessageBatch on http"), "{text}");
    assert_eq!((service.requests(SEND), service.visible(), service.queued().len()), (1, 25, 0));
}

#[tokio::test]
async fn one_message_that_spoils_a_batch_does_not_hold_up_the_others() {
    let service = Service::start().await;
    numbered(&service, 3);
    service.next(SEND, [Fault::Refuse("InvalidMessageContents"), Fault::Refuse("InvalidMessageContents")]);

    let (account, end) = run(&service, order()).await;

    assert_eq!(account, Account { moved: 2, not_sent: 1, ..Account::default() });
    assert_eq!(end, End::Empty);
    assert_eq!((service.visible(), service.queued().len()), (1, 2));
}

#[tokio::test]
async fn a_batch_never_has_more_than_a_mebibyte() {
    let service = Service::start().await;
    for number in 0..10 {
        service.die(&number.to_string().repeat(256 * 1024));
    }

    let (account, _) = run(&service, order()).await;

    assert_eq!(account.moved, 10);
    let batches = service.state().batches.clone();
    // Four would be exactly a mebibyte, without their attributes.
    assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 3, 1]);
}

#[tokio::test]
async fn no_more_than_asked_for_is_moved_or_even_received() {
    let service = Service::start().await;
    numbered(&service, 30);

    let (account, end) = run(&service, Order { max: Some(12), ..order() }).await;

    assert_eq!((account, end), (Account { moved: 12, ..Account::default() }, End::Enough));
    assert_eq!((service.dead().len(), service.visible(), service.queued().len()), (18, 18, 12));
    assert_eq!(service.requests(RECEIVE), 2);
}

#[tokio::test]
async fn a_dry_run_gives_back_all_and_changes_nothing() {
    let service = Service::start().await;
    numbered(&service, 25);
    service.die_with("nobody's", Value::Null, None);

    let (account, end) = run(&service, Order { dry_run: true, ..order() }).await;

    assert_eq!((account, end), (Account { moved: 25, nobodys: 1, ..Account::default() }, End::Empty));
    assert_eq!((service.dead().len(), service.visible(), service.queued().len()), (26, 26, 0));
    assert_eq!(service.requests(SEND) + service.requests(DELETE), 0);
}

#[tokio::test]
async fn what_names_nobody_stays_unless_asked_for() {
    let service = Service::start().await;
    service.die("somebody's");
    for _ in 0..25 {
        service.die_with("nobody's", Value::Null, None);
    }

    let (account, _) = run(&service, order()).await;
    assert_eq!(account, Account { moved: 1, nobodys: 25, ..Account::default() });
    assert_eq!(service.visible(), 25);

    let (account, _) = run(&service, Order { nobodys_too: true, ..order() }).await;
    assert_eq!(account, Account { moved: 25, ..Account::default() });
}

#[tokio::test]
async fn messages_that_fail_again_are_not_redriven_for_ever() {
    let service = Service::start().await;
    let all = numbered(&service, 15);
    service.state().all_fails = true;

    let (account, end) = run(&service, order()).await;

    assert_eq!((account, end), (Account { moved: 15, came_back: 15, ..Account::default() }, End::Empty));
    assert_eq!((bodies(&service.dead()), service.visible()), (all, 15));
}

/// As when a run takes longer than messages stay hidden.
#[tokio::test]
async fn what_is_left_and_shows_again_is_counted_once_and_does_not_keep_it_going() {
    let service = Service::start().await;
    numbered(&service, 5);
    for _ in 0..5 {
        service.die_with("nobody's", Value::Null, None);
    }

    let stop = || {
        service.show_all();
        false
    };
    let (account, end) = redrive(&service.client, &service.queues, order(), stop, |_, _, _| {}).await;

    assert_eq!((account, end), (Account { moved: 5, nobodys: 5, ..Account::default() }, End::Empty));
    assert_eq!(service.visible(), 5);
}

#[tokio::test]
async fn an_interruption_ends_it_after_the_messages_in_hand() {
    let service = Service::start().await;
    numbered(&service, 30);

    let moved = Cell::new(0);
    let tell = |_: &_, _: &Fate, account: &Account| moved.set(account.moved);
    let (account, end) = redrive(&service.client, &service.queues, order(), || moved.get() > 0, tell).await;

    assert_eq!((account, end), (Account { moved: 10, ..Account::default() }, End::Interrupted));
    assert_eq!((service.dead().len(), service.visible(), service.queued().len()), (20, 20, 10));
}

#[tokio::test]
async fn what_cannot_be_given_back_is_told() {
    let service = Service::start().await;
    service.die_with("nobody's", Value::Null, None);
    service.next(GIVE_BACK, [Fault::Refuse("AccessDenied")]);

    let (account, _) = run(&service, order()).await;

    assert_eq!(account, Account { nobodys: 1, still_hidden: 1, ..Account::default() });
}

#[tokio::test]
async fn queues_are_checked_before_anything_is_moved() {
    let service = Service::start().await;
    let Queues { from, to } = service.queues.clone();
    let check = async |from: &str, to: &str| {
        let queues = Queues { from: from.to_owned(), to: to.to_owned() };
        queues.check(&service.client).await.map_err(|problem| problem.to_string())
    };
    assert!(check(&from, &to).await.is_ok_and(|checked| checked.belong_together));
    assert!(check(&to, &from).await.is_err_and(|text| text.contains("wrong way round")));
    assert!(check(&from, &from).await.is_err_and(|text| text.contains("the same queue")));
    let missing = format!("{from}-not");
    assert_eq!(
        check(&missing, &to).await,
        Err(format!("there is no queue {missing} in this account and region"))
    );
}

/// Faults at random, and kills at random, as often as it takes to get everything through.
#[tokio::test]
async fn whatever_happens_every_message_is_in_one_of_the_queues_at_least() {
    let mut seeds = JoinSet::new();
    for seed in 0..24 {
        seeds.spawn(async move {
            let mut random = fastrand::Rng::with_seed(seed);
            let service = Service::start().await;
            let all = numbered(&service, random.usize(1..40));
            for round in 0.. {
                assert!(round < 200, "seed {seed} does not end");
                for operation in [SEND, DELETE, RECEIVE, GIVE_BACK] {
                    // The fewer, the longer it takes: in the end everything is to pass.
                    let number = random.usize(0..4).saturating_sub(round / 4);
                    service.next(operation, (0..number).map(|_| fault(&mut random)).collect::<Vec<_>>());
                }
                let life = Duration::from_millis(random.u64(5..1500));
                let ended = timeout(life, run(&service, order())).await;
                let there = &bodies(&service.dead()) | &bodies(&service.queued());
                assert_eq!(there, all, "seed {seed}, round {round}");
                service.show_all();
                if service.dead().is_empty() && ended.is_ok() {
                    break;
                }
            }
            assert_eq!(bodies(&service.queued()), all, "seed {seed}");
        });
    }
    seeds.join_all().await;
}

fn fault(random: &mut fastrand::Rng) -> Fault {
    let places = (0..10).filter(|_| random.bool()).collect();
    match random.u8(0..8) {
        0 => Fault::None,
        1 => Fault::Fail { places, sender_fault: false },
        2 => Fault::Fail { places, sender_fault: true },
        3 => Fault::Forget(places),
        4 => {
            Fault::Refuse(random.choice(["AccessDenied", "InvalidMessageContents"]).unwrap_or("AccessDenied"))
        }
        5 => Fault::CutBefore,
        6 => Fault::CutAfter,
        _ => Fault::Hang,
    }
}
