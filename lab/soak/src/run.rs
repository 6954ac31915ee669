//! What the tasks of a run share.

use std::{
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use clap::Parser;
use e2e::stack::Stack;
use tokio::sync::watch;

use crate::evidence::{Evidence, LookUp, Notification, Sent};

/// How many sockets an owner has open, while they are open.
pub(crate) const SOCKETS: usize = 2;

/// What to do.
#[derive(Parser, Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// How many messages have to be accepted during the flood.
    #[arg(long)]
    pub(crate) messages: usize,
    /// How many clients send at once.
    #[arg(long)]
    pub(crate) clients: usize,
    /// How many owners there are.
    #[arg(long)]
    pub(crate) owners: usize,
    /// How many kills there are at random.
    #[arg(long)]
    pub(crate) kills: usize,
    /// The seed of everything random.
    #[arg(long)]
    pub(crate) seed: u64,
    /// Instead of all the faults: the database throttles every request for so many seconds, from the beginning. The
    /// functions keep their timeouts, each client sends a valid message every second, and every one of them has to
    /// be stored in the end.
    #[arg(long)]
    pub(crate) throttle: Option<u64>,
}

/// An identity that sends messages and listens for notifications.
pub(crate) struct Owner {
    pub(crate) name: String,
    pub(crate) token: String,
    /// The number of its ids.
    pub(crate) ids: AtomicUsize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Everything may fail.
    Faults,
    /// Nothing fails any more; the rest of the messages is handled.
    Calm,
    /// Nothing is left.
    Over,
}

/// What the tasks share.
pub(crate) struct Run {
    pub(crate) plan: Plan,
    pub(crate) http_url: String,
    pub(crate) websocket_url: String,
    pub(crate) owners: Vec<Owner>,
    /// The variable that only the consumers of this stack have, as `NAME=value`.
    pub(crate) mark: String,
    pub(crate) phase: watch::Sender<Phase>,
    pub(crate) counts: Counts,
    evidence: Mutex<Evidence>,
}

/// What the tasks count.
#[derive(Default)]
pub(crate) struct Counts {
    /// How many messages still have to be accepted.
    pub(crate) turns: AtomicUsize,
    pub(crate) accepted: AtomicUsize,
    /// How many of the accepted are not in the queue any more.
    pub(crate) settled: AtomicUsize,
    pub(crate) dead_letters: AtomicUsize,
    /// Requests without a response.
    pub(crate) without_response: AtomicUsize,
    /// Messages that were not accepted after many requests.
    pub(crate) abandoned: AtomicUsize,
    pub(crate) random_kills: AtomicUsize,
    pub(crate) forced_kills: AtomicUsize,
    pub(crate) open_sockets: AtomicUsize,
    pub(crate) notifications: AtomicUsize,
}

impl Run {
    pub(crate) fn new(stack: &Stack, plan: Plan, mark: String) -> Self {
        let owner = |number| {
            let name = format!("owner-{number}");
            let token = stack.caller_named(&name).token;
            Owner { name, token, ids: AtomicUsize::new(0) }
        };
        Self {
            plan,
            http_url: stack.at.http_url.clone(),
            websocket_url: stack.at.websocket_url.clone(),
            owners: (0..plan.owners).map(owner).collect(),
            mark,
            phase: watch::Sender::new(Phase::Faults),
            counts: Counts { turns: AtomicUsize::new(plan.messages), ..Counts::default() },
            evidence: Mutex::default(),
        }
    }

    pub(crate) fn is(&self, phase: Phase) -> bool {
        *self.phase.borrow() == phase
    }

    pub(crate) fn owner(&self, name: &str) -> &Owner {
        self.owners.iter().find(|owner| owner.name == name).expect("an owner of this run")
    }

    pub(crate) fn kills(&self) -> usize {
        self.counts.random_kills.load(Ordering::Relaxed) + self.counts.forced_kills.load(Ordering::Relaxed)
    }

    pub(crate) fn evidence(&self) -> MutexGuard<'_, Evidence> {
        self.evidence.lock().expect("not poisoned")
    }

    pub(crate) fn note_sent(&self, sent: Sent) {
        if sent.accepted.is_some() {
            self.counts.accepted.fetch_add(1, Ordering::Relaxed);
        }
        self.evidence().sent.push(sent);
    }

    pub(crate) fn note_notification(&self, notification: Notification) {
        self.counts.notifications.fetch_add(1, Ordering::Relaxed);
        self.evidence().notifications.insert(notification);
    }

    pub(crate) fn note_earlier(&self, owner: &Owner, look_up: LookUp) {
        self.evidence().earlier.push((owner.name.clone(), look_up));
    }
}

/// A client of the API, with connections of its own.
pub(crate) fn http_client() -> reqwest::Client {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30));
    client.build().expect("a client")
}
