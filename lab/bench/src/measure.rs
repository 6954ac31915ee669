//! The cases, in rounds: each contestant once, then each again, so that whatever else the machine does meets
//! all of them alike. What counts is the median.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::{
    Failure,
    contestants::{Contestant, Function, launch, sizes},
    instructions,
    progress::Progress,
    sandbox::{Case, Life, Surroundings, live},
};

const KB: usize = 1024;

/// Cases that are measured side by side.
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
        // Beyond what peers are compared at: whether size changes anything.
        group(QueueConsumer, &[Intake], 1_000, KB, 5, 3, 0),
        group(QueueConsumer, &[Intake], 10_000, KB, 3, 2, 0),
        group(QueueConsumer, &[Intake], 4, 200 * KB, 5, 5, 0),
        group(QueueConsumer, &[Intake], 10, 100 * KB, 5, 5, 0),
        // The largest event that Lambda takes has 6 MB.
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
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) function: Function,
    pub(crate) contestant: Contestant,
    pub(crate) batch: usize,
    pub(crate) payload_bytes: usize,
    /// The size of an event.
    pub(crate) event_bytes: u64,
    /// From the start of the process until it asks for an event.
    pub(crate) init_ms: f64,
    pub(crate) init_cpu_ms: f64,
    /// From the start of the process until its first answer: init is part of it.
    pub(crate) first_answer_ms: f64,
    pub(crate) first_cpu_ms: f64,
    /// An invocation after the first.
    pub(crate) warm_ms: f64,
    pub(crate) warm_cpu_ms: f64,
    pub(crate) peak_memory_bytes: u64,
    pub(crate) binary_bytes: Option<u64>,
    pub(crate) zip_bytes: Option<u64>,
    /// From the start of the process until its first answer.
    pub(crate) instructions_first: Option<u64>,
    /// An invocation after the first.
    pub(crate) instructions_warm: Option<u64>,
    /// TLS handshakes before the process asks for its first event.
    pub(crate) handshakes_init: u64,
    /// Until its first answer.
    pub(crate) handshakes_first: u64,
    /// In its life.
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
    /// How people name the case.
    pub(crate) fn label(&self) -> String {
        let Self { function, contestant, batch, payload_bytes, .. } = *self;
        Case { function, contestant, batch, payload_bytes }.label()
    }
}

/// Measures a group. A contestant that fails is left out, and named with the reason.
///
/// # Errors
/// If one of ours fails: nothing else is worth knowing then.
pub(crate) async fn measure(
    surroundings: &Surroundings,
    group: &Group,
    count: bool,
    progress: &Progress,
) -> Result<(Vec<Figures>, Vec<String>), Failure> {
    let mut entrants = Vec::new();
    let mut failures = Vec::new();
    for &case in &group.cases {
        match launch(case.function, case.contestant) {
            Ok(launch) => entrants.push((case, launch, Vec::<Life>::new())),
            Err(error) => fail(case, &error, &mut failures)?,
        }
    }
    // One round more: the first brings programs from the disk, and is forgotten.
    for round in 0..=group.rounds {
        let mut still_in = Vec::with_capacity(entrants.len());
        for (case, launch, mut lives) in entrants {
            progress.now(&format!("{}: round {round} of {}", case.label(), group.rounds));
            match live(surroundings, case, &launch, group.warm, &[]).await {
                Ok(life) => {
                    if round > 0 {
                        lives.push(life);
                    }
                    still_in.push((case, launch, lives));
                }
                Err(error) => fail(case, &error, &mut failures)?,
            }
        }
        entrants = still_in;
    }
    let mut measured = Vec::new();
    for (case, launch, lives) in entrants {
        let mut figures = summarize(case, &lives, group.warm).ok_or("there were no rounds")?;
        if let Some((binary, zip)) = sizes(&launch)? {
            figures.binary_bytes = Some(binary);
            figures.zip_bytes = Some(zip);
        }
        if count && group.counted > 0 && case.contestant.is_native() {
            let start = Instant::now();
            progress.now(&format!("{}: counting instructions", case.label()));
            match instructions::count(surroundings, case, &launch, group.counted).await {
                Ok(instructions) => {
                    figures.instructions_first = Some(instructions.first);
                    figures.instructions_warm = Some(instructions.warm);
                }
                Err(error) => failures.push(format!("{}: no instructions: {error}", case.label())),
            }
            progress.done(&format!("{}: counted instructions", case.label()), start.elapsed());
        }
        measured.push(figures);
    }
    Ok((measured, failures))
}

fn fail(case: Case, error: &Failure, failures: &mut Vec<String>) -> Result<(), Failure> {
    if case.contestant == Contestant::Intake {
        return Err(format!("{}: {error}", case.label()).into());
    }
    failures.push(format!("{}: {error}", case.label()));
    Ok(())
}

/// The medians; none of nothing.
fn summarize(case: Case, lives: &[Life], warm: usize) -> Option<Figures> {
    let Case { function, contestant, batch, payload_bytes } = case;
    let time = |of: fn(&Life) -> Duration| median(lives.iter().map(of)).map(milliseconds);
    let number = |of: fn(&Life) -> u64| median(lives.iter().map(of));
    let last = lives.last()?;
    let per_invocation = |requests: &BTreeMap<String, u64>, invocations: usize| {
        let share = |count: u64| count as f64 / invocations as f64;
        requests.iter().map(|(operation, count)| (operation.clone(), share(*count))).collect()
    };
    Some(Figures {
        function,
        contestant,
        batch,
        payload_bytes,
        event_bytes: last.event_bytes,
        pushed_bytes: last.pushed_bytes,
        init_ms: time(|life| life.init)?,
        init_cpu_ms: time(|life| life.init_cpu)?,
        first_answer_ms: time(|life| life.first_answer)?,
        first_cpu_ms: time(|life| life.first_cpu)?,
        warm_ms: median(lives.iter().flat_map(|life| life.warm.iter().copied())).map(milliseconds)?,
        warm_cpu_ms: time(|life| life.warm_cpu)?,
        peak_memory_bytes: number(|life| life.peak_memory)?,
        binary_bytes: None,
        zip_bytes: None,
        instructions_first: None,
        instructions_warm: None,
        handshakes_init: number(|life| life.handshakes_init)?,
        handshakes_first: number(|life| life.handshakes_first)?,
        handshakes_total: number(|life| life.handshakes_total)?,
        requests_init: per_invocation(&last.requests_init, 1),
        requests_first: per_invocation(&last.requests_first, 1),
        requests: per_invocation(&last.requests_warm, warm),
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
