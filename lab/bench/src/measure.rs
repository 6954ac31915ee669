//! The cases, in rounds: each contestant once, then each again, so that other work of the machine disturbs all of
//! them alike. The figures are medians.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use crate::{
    Failure,
    contestants::{Contestant, Function, launch, sizes},
    endpoints::Counts,
    instructions::{self, Instructions},
    process::{Case, Run, Setup, run},
};

const KB: usize = 1024;

/// Cases that are measured in turns.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) cases: Vec<Case>,
    /// Processes of each case.
    pub(crate) rounds: usize,
    /// Invocations of each process after its first.
    pub(crate) warm: usize,
    /// Invocations after the first for which instructions are counted; 0 for no counting.
    pub(crate) counted: usize,
}

/// How thoroughly to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Full,
    /// Few rounds, and no large batches.
    Quick,
    /// Only what the committed figures hold.
    Check,
}

/// Everything that is measured.
pub(crate) fn groups(mode: Mode) -> Vec<Group> {
    use Contestant::{HandSigned, Intake, Node, Python, RuntimeFloor, RustDefault};
    use Function::{Authorizer, QueueConsumer, StatusLookup, SyncInsert, Websocket};

    let everybody = [Intake, HandSigned, RustDefault, Python, Node];
    let consumers = [Intake, RustDefault, Python, Node];
    let group = |function, contestants: &[Contestant], batch, payload_bytes, rounds, warm, counted| {
        let case = |&contestant| Case { function, contestant, batch, payload_bytes };
        Group { cases: contestants.iter().map(case).collect(), rounds, warm, counted }
    };
    let with_floor: Vec<_> = everybody.into_iter().chain([RuntimeFloor]).collect();
    let mut groups = vec![
        group(SyncInsert, &with_floor, 1, KB, 21, 40, 10),
        group(SyncInsert, &everybody, 1, 100 * KB, 7, 20, 10),
        group(StatusLookup, &[Intake], 1, KB, 9, 40, 10),
        group(Websocket, &[Intake], 1, KB, 9, 40, 10),
        group(Authorizer, &[Intake], 1, KB, 9, 40, 10),
        group(QueueConsumer, &consumers, 10, KB, 11, 20, 10),
        group(QueueConsumer, &consumers, 100, KB, 7, 8, 4),
        // Larger than what peers are compared with: these show whether size changes anything.
        group(QueueConsumer, &[Intake], 1_000, KB, 5, 3, 0),
        group(QueueConsumer, &[Intake], 10_000, KB, 3, 2, 0),
        group(QueueConsumer, &[Intake], 4, 200 * KB, 5, 5, 0),
        group(QueueConsumer, &[Intake], 10, 100 * KB, 5, 5, 0),
        // Close to the largest event that Lambda accepts, 6 MB.
        group(QueueConsumer, &[Intake], 50, 100 * KB, 5, 3, 0),
    ];
    match mode {
        Mode::Full => {}
        Mode::Quick => {
            groups.retain(|group| group.cases.iter().all(|case| case.batch <= 1_000));
            for group in &mut groups {
                group.rounds = 3;
                group.warm = group.warm.min(8);
            }
        }
        Mode::Check => {
            groups.retain(|group| group.counted > 0);
            for group in &mut groups {
                group.cases.retain(|case| matches!(case.contestant, Intake | RustDefault));
                // Times do not matter here, but handshakes vary a little, too.
                group.rounds = 9;
                group.warm = group.counted;
            }
        }
    }
    groups
}

/// What was measured of a case. Times are in milliseconds, and medians.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    #[serde(flatten)]
    pub(crate) case: Case,
    /// The size of an event.
    pub(crate) event_bytes: u64,
    /// From the start of the process until it asks for an event.
    pub(crate) init_ms: f64,
    pub(crate) init_cpu_ms: f64,
    /// From the start of the process until its first response: init is part of it.
    pub(crate) first_response_ms: f64,
    pub(crate) first_cpu_ms: f64,
    /// An invocation after the first.
    pub(crate) warm_ms: f64,
    pub(crate) warm_cpu_ms: f64,
    pub(crate) peak_memory_bytes: u64,
    pub(crate) binary_bytes: Option<u64>,
    pub(crate) zip_bytes: Option<u64>,
    /// From the start of the process until its first response.
    pub(crate) instructions_first: Option<u64>,
    /// An invocation after the first.
    pub(crate) instructions_warm: Option<u64>,
    /// TLS handshakes before the process asks for its first event.
    pub(crate) handshakes_init: u64,
    /// Until its first response.
    pub(crate) handshakes_first: u64,
    /// Until its last response.
    pub(crate) handshakes_total: u64,
    /// Requests to AWS during init.
    pub(crate) requests_init: BTreeMap<String, f64>,
    /// Those of the first invocation.
    pub(crate) requests_first: BTreeMap<String, f64>,
    /// Those of an invocation after the first.
    pub(crate) requests: BTreeMap<String, f64>,
    /// Bytes in the frames that an invocation pushes.
    pub(crate) pushed_bytes: u64,
}

impl Figures {
    /// TLS handshakes in the first invocation.
    pub(crate) fn handshakes_in_first(&self) -> u64 {
        self.handshakes_first - self.handshakes_init
    }
}

/// Measures a group, and returns the figures and what was left out. A contestant that fails is left out, with the
/// reason.
///
/// # Errors
/// If a function of this repository fails: then nothing else is worth knowing.
pub(crate) async fn measure(
    setup: &Setup,
    group: &Group,
    count: bool,
) -> Result<(Vec<Figures>, Vec<String>), Failure> {
    let mut entrants = Vec::new();
    let mut left_out = Vec::new();
    for &case in &group.cases {
        match launch(case.function, case.contestant) {
            Ok(launch) => entrants.push((case, launch, Vec::<Run>::new())),
            Err(error) => leave_out(case, &error, &mut left_out)?,
        }
    }
    // One round more: the first reads programs from the disk, and does not count.
    for round in 0..=group.rounds {
        let mut still_in = Vec::with_capacity(entrants.len());
        for (case, launch, mut runs) in entrants {
            match run(setup, case, &launch, group.warm, &[]).await {
                Ok(run) => {
                    if round > 0 {
                        runs.push(run);
                    }
                    still_in.push((case, launch, runs));
                }
                Err(error) => leave_out(case, &error, &mut left_out)?,
            }
        }
        entrants = still_in;
    }
    let mut measured = Vec::new();
    for (case, launch, runs) in entrants {
        let mut figures = summarize(case, &runs, group.warm).ok_or("there were no rounds")?;
        (figures.binary_bytes, figures.zip_bytes) = sizes(&launch)?.unzip();
        if count && group.counted > 0 && case.contestant.is_native() {
            match instructions::count(setup, case, &launch, group.counted).await {
                Ok(Instructions { first, warm }) => {
                    (figures.instructions_first, figures.instructions_warm) = (Some(first), Some(warm));
                }
                Err(error) => left_out.push(format!("{case}: no instructions: {error}")),
            }
        }
        measured.push(figures);
    }
    Ok((measured, left_out))
}

fn leave_out(case: Case, error: &Failure, left_out: &mut Vec<String>) -> Result<(), Failure> {
    let reason = format!("{case}: {error}");
    if case.contestant == Contestant::Intake {
        return Err(reason.into());
    }
    left_out.push(reason);
    Ok(())
}

/// The medians; none without runs.
fn summarize(case: Case, runs: &[Run], warm: usize) -> Option<Figures> {
    let time = |of: &dyn Fn(&Run) -> Duration| median(runs.iter().map(of)).map(milliseconds);
    let number = |of: fn(&Run) -> u64| median(runs.iter().map(of));
    let warm_invocations = u32::try_from(warm.max(1)).ok()?;
    let Run { ready, first, last, event_bytes, .. } = runs.last()?;
    let between = |earlier: &Counts, later: &Counts, invocations: u32| {
        let share = |count: u64| count as f64 / f64::from(invocations);
        let requests = later.requests_since(earlier).into_iter();
        requests.map(|(operation, count)| (operation, share(count))).collect()
    };
    Some(Figures {
        case,
        event_bytes: *event_bytes,
        pushed_bytes: first.counts.pushed_bytes - ready.counts.pushed_bytes,
        init_ms: time(&|run| run.ready.at - run.started)?,
        init_cpu_ms: time(&|run| run.ready.cpu)?,
        first_response_ms: time(&|run| run.first.at - run.started)?,
        first_cpu_ms: time(&|run| run.first.cpu)?,
        warm_ms: median(runs.iter().flat_map(|run| run.warm.iter().copied())).map(milliseconds)?,
        warm_cpu_ms: time(&|run| run.last.cpu.saturating_sub(run.first.cpu) / warm_invocations)?,
        peak_memory_bytes: number(|run| run.peak_memory)?,
        binary_bytes: None,
        zip_bytes: None,
        instructions_first: None,
        instructions_warm: None,
        handshakes_init: number(|run| run.ready.counts.handshakes)?,
        handshakes_first: number(|run| run.first.counts.handshakes)?,
        handshakes_total: number(|run| run.last.counts.handshakes)?,
        requests_init: between(&Counts::default(), &ready.counts, 1),
        requests_first: between(&ready.counts, &first.counts, 1),
        requests: between(&first.counts, &last.counts, warm_invocations),
    })
}

/// The middle one; of an even number, the lower of the two in the middle.
fn median<T: Ord>(values: impl Iterator<Item = T>) -> Option<T> {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable();
    let middle = values.len().checked_sub(1)? / 2;
    values.into_iter().nth(middle)
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median([3, 1, 2].into_iter()), Some(2));
        assert_eq!(median([4, 1, 3, 2].into_iter()), Some(2));
        assert_eq!(median(std::iter::empty::<u8>()), None);
    }

    #[test]
    fn a_quick_run_has_every_contestant() {
        let contestants = |mode| {
            let mut all: Vec<_> = groups(mode)
                .iter()
                .flat_map(|group| group.cases.iter().map(|case| (case.function, case.contestant)))
                .collect();
            all.sort_unstable();
            all.dedup();
            all
        };
        assert_eq!(contestants(Mode::Quick), contestants(Mode::Full));
        assert!(contestants(Mode::Check).iter().all(|(_, contestant)| contestant.is_native()));
    }
}
