//! A consumer that runs out of memory: Lambda ends it in the middle of a batch. Here it is a process of its own, in
//! which an allocation fails.

use std::{
    collections::BTreeSet,
    env, fs,
    os::unix::process::ExitStatusExt,
    process::Command,
    time::{Duration, SystemTime},
};

use intake_platform::{
    push::Push,
    settling::Settler,
    tables::{Connections, Messages, Outcomes},
};
use jiff::SignedDuration;
use nix::sys::resource::{Resource, setrlimit};
use queue_consumer::{Consumer, redelivery::Redelivery};
use tokio::task::spawn_blocking;

use crate::{
    fixtures::{
        consumer::{AMPLE_TIME, MAX_RECEIVE_COUNT, TestConsumer},
        database::{CONNECTIONS, MESSAGES, aws_at},
        events::batch,
    },
    sent::{Sent, assert_stored, records},
};

/// What the process of [`a_consumer_that_runs_out_of_memory_loses_nothing`] has to know: where the tables are, where
/// to push to, and how many KiB it has left for a batch.
const ENDPOINT: &str = "INTAKE_TEST_ENDPOINT";
const PUSH_ENDPOINT: &str = "INTAKE_TEST_PUSH_ENDPOINT";
const SPARE_KIB: &str = "INTAKE_TEST_SPARE_KIB";

/// As much as an event may hold, half of it in bulks, in several requests to the table.
fn largest() -> Vec<Sent> {
    Sent::in_bulks(Sent::large(100, 60_000), 5, 10)
}

#[tokio::test]
async fn a_consumer_that_runs_out_of_memory_loses_nothing() {
    // The last one has enough.
    for (spare_kib, dies) in [(0, true), (1_000, true), (1_000_000, false)] {
        let consumer = TestConsumer::start().await;
        let TestConsumer { database, pushes, .. } = &consumer;
        let mut process = Command::new(env::current_exe().expect("this program"));
        process
            .args(["--exact", "out_of_memory::consumer_with_little_memory", "--ignored"])
            .env(ENDPOINT, database.faults.url())
            .env(PUSH_ENDPOINT, pushes.url())
            .env(SPARE_KIB, spare_kib.to_string());
        let ended = spawn_blocking(move || process.output()).await.expect("no panic").expect("it starts");
        assert_eq!(ended.status.signal().is_some(), dies, "{spare_kib}: {}", ended.status);
        assert_eq!(ended.status.success(), !dies, "{spare_kib}: {}", ended.status);

        let sent = largest();
        assert_eq!(consumer.consume(&records(&sent, 2)).await, BTreeSet::new(), "{spare_kib}");
        assert_stored(database, &sent, &format!("{spare_kib} KiB")).await;
    }
}

/// Allocates all memory that is left, in ever smaller pieces.
fn allocate_all(allocated: &mut Vec<Vec<u8>>) {
    for size in [1 << 20, 1 << 16, 1 << 12, 1 << 8] {
        let mut piece = Vec::new();
        while allocated.len() < allocated.capacity() && piece.try_reserve_exact(size).is_ok() {
            allocated.push(std::mem::take(&mut piece));
        }
    }
}

/// One delivery, to a process that has the batch in its memory and little left.
#[tokio::test]
#[ignore = "it is a process of a_consumer_that_runs_out_of_memory_loses_nothing"]
async fn consumer_with_little_memory() {
    let given = |name: &str| env::var(name).expect("given by the test that starts it");
    let aws = aws_at(given(ENDPOINT), "nowhere");
    let database = aws.dynamodb(Duration::from_secs(5));
    let messages = Messages::new(database.clone(), MESSAGES, None);
    let outcomes = Outcomes::new(database.clone(), MESSAGES);
    let settler = Settler::new(messages.clone(), outcomes, SignedDuration::from_hours(24));
    let push = Push::new(&aws, &given(PUSH_ENDPOINT), Connections::new(database, CONNECTIONS), AMPLE_TIME);
    // Whatever responds there: what is not hidden is delivered again as well.
    let queue = aws.config(Some(given(PUSH_ENDPOINT)), Duration::from_secs(1));
    let redelivery = Redelivery::new(queue, "nowhere", Duration::from_secs(30), MAX_RECEIVE_COUNT);
    let consumer = Consumer::new(settler, push, redelivery);
    let batch = batch(&records(&largest(), 1));
    messages.probe_write().await.expect("connected");

    let mut allocated = Vec::with_capacity(100_000);
    let status = fs::read_to_string("/proc/self/status").expect("Linux has it");
    let size = status.lines().find_map(|line| line.strip_prefix("VmData:")?.trim().strip_suffix(" kB"));
    let size: u64 = size.expect("it has").trim().parse().expect("a number");
    let spare = Vec::<u8>::with_capacity(given(SPARE_KIB).parse::<usize>().expect("a number") * 1024);
    let limit = size * 1024 + u64::try_from(spare.capacity()).expect("small");
    setrlimit(Resource::RLIMIT_DATA, limit, limit).expect("less is always allowed");
    // Without this, the consumer could use again what has been freed by now.
    allocate_all(&mut allocated);
    drop(spare);
    let deadline = SystemTime::now() + AMPLE_TIME;
    consumer.handle(batch, deadline).await;
}
