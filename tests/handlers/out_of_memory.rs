//! A consumer that runs out of memory, which Lambda ends in the middle of a batch. Here it is a process of its
//! own, in which an allocation fails.

use std::{
    collections::HashSet,
    env, fs,
    os::unix::process::ExitStatusExt,
    process::Command,
    time::{Duration, SystemTime},
};

use e2e::{
    database::{CONNECTIONS, MESSAGES, aws_at},
    events::batch,
};
use intake::store::{Connections, Messages};
use nix::sys::resource::{Resource, setrlimit};
use queue_consumer::{Consumer, push::Push};
use tokio::task::spawn_blocking;

use crate::{
    matrix::{PLENTY, Sent, deliver, items, patient},
    process_faults::long,
    queue_consumer::{Bench, MAX_RECEIVE_COUNT},
};

/// What the process of [`a_consumer_that_runs_out_of_memory_loses_nothing`] is told: where the table is, where
/// the sockets are, and how many KiB it has left for a batch.
const ENDPOINT: &str = "INTAKE_TEST_ENDPOINT";
const SOCKETS: &str = "INTAKE_TEST_SOCKETS";
const SPARE_KIB: &str = "INTAKE_TEST_SPARE_KIB";

/// As much as an event may have, in several requests to the table.
fn largest() -> Vec<Sent> {
    long(100, 60_000)
}

#[tokio::test]
async fn a_consumer_that_runs_out_of_memory_loses_nothing() {
    // The last one has enough.
    for (spare_kib, dies) in [(0, true), (1_000, true), (1_000_000, false)] {
        let Bench { database, pushes, consumer } = patient().await;
        let mut process = Command::new(env::current_exe().expect("this program"));
        process
            .args(["--exact", "out_of_memory::consumer_with_little_memory", "--ignored"])
            .env(ENDPOINT, database.faults.url())
            .env(SOCKETS, pushes.url())
            .env(SPARE_KIB, spare_kib.to_string());
        let ended = spawn_blocking(move || process.output()).await.expect("no panic").expect("it starts");
        assert_eq!(ended.status.signal().is_some(), dies, "{spare_kib}: {}", ended.status);
        assert_eq!(ended.status.success(), !dies, "{spare_kib}: {}", ended.status);

        let sent = largest();
        let records: Vec<_> = sent.iter().map(|sent| sent.record(2)).collect();
        assert_eq!(deliver(&consumer, &records, PLENTY).await, HashSet::new(), "{spare_kib}");
        let items = items(&database).await;
        assert!(sent.iter().all(|sent| sent.is_stored(&items)), "{spare_kib}");
        assert_eq!(items.len(), sent.len(), "{spare_kib}");
    }
}

/// Takes all memory that there is, in ever smaller pieces.
fn take_all(taken: &mut Vec<Vec<u8>>) {
    for size in [1 << 20, 1 << 16, 1 << 12, 1 << 8] {
        let mut piece = Vec::new();
        while taken.len() < taken.capacity() && piece.try_reserve_exact(size).is_ok() {
            taken.push(std::mem::take(&mut piece));
        }
    }
}

/// One delivery, by a process that has the batch in its memory and not much more.
#[tokio::test]
#[ignore = "it is a process of a_consumer_that_runs_out_of_memory_loses_nothing"]
async fn consumer_with_little_memory() {
    let given = |name: &str| env::var(name).expect("given by the test that starts it");
    let aws = aws_at(given(ENDPOINT), "nowhere");
    let database = aws.dynamodb(Duration::from_secs(5));
    let messages = Messages::new(database.clone(), MESSAGES, None);
    let push = Push::new(&aws, &given(SOCKETS), Connections::new(database, CONNECTIONS));
    let consumer = Consumer::new(messages.clone(), push, MAX_RECEIVE_COUNT);
    let records: Vec<_> = largest().iter().map(|sent| sent.record(1)).collect();
    let batch = batch(&records);
    messages.probe_write().await.expect("connected");

    let mut taken = Vec::with_capacity(100_000);
    let status = fs::read_to_string("/proc/self/status").expect("Linux has it");
    let size = status.lines().find_map(|line| line.strip_prefix("VmData:")?.trim().strip_suffix(" kB"));
    let size: u64 = size.expect("it has").trim().parse().expect("a number");
    let spare = Vec::<u8>::with_capacity(given(SPARE_KIB).parse::<usize>().expect("a number") * 1024);
    let limit = size * 1024 + u64::try_from(spare.capacity()).expect("small");
    setrlimit(Resource::RLIMIT_DATA, limit, limit).expect("less is always allowed");
    // What has been freed by now could be used again.
    take_all(&mut taken);
    drop(spare);
    let deadline = SystemTime::now() + Duration::from_secs(PLENTY);
    consumer.handle(batch, deadline).await;
}
