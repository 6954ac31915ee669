//! Instruction counts by valgrind's callgrind: unlike times, they repeat, on a busy machine too.

use std::fs;

use crate::{
    Failure,
    contestants::{Contestant, Launch, find_program},
    process::{Case, Setup, run},
};

/// What a function's process executes, kernel excluded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Instructions {
    /// From the start of the process until its first response.
    pub(crate) first: u64,
    /// For each invocation after the first.
    pub(crate) warm: u64,
}

/// Why instructions cannot be counted here.
pub(crate) fn missing() -> Option<&'static str> {
    let found = find_program("valgrind").is_some();
    (!found).then_some("valgrind was not found (Debian, Ubuntu: apt install valgrind)")
}

/// How often the functions of this repository are counted. A client whose connection is busy for a moment opens
/// another one, which depends on time and costs more than a million instructions: the smallest of a few counts
/// repeats. For peers, which are only compared with, one count is good enough.
const TIMES: usize = 5;

/// Counts with no and with `warm` further invocations.
///
/// # Errors
/// If valgrind or the function fails.
pub(crate) async fn count(
    setup: &Setup,
    case: Case,
    launch: &Launch,
    warm: usize,
) -> Result<Instructions, Failure> {
    let times = if case.contestant == Contestant::Intake { TIMES } else { 1 };
    let (mut first, mut all) = (u64::MAX, u64::MAX);
    for _ in 0..times {
        first = first.min(count_once(setup, case, launch, 0).await?);
        all = all.min(count_once(setup, case, launch, warm).await?);
    }
    Ok(Instructions { first, warm: all.saturating_sub(first) / u64::try_from(warm.max(1))? })
}

async fn count_once(setup: &Setup, case: Case, launch: &Launch, warm: usize) -> Result<u64, Failure> {
    let out = setup.folder.join("callgrind.out");
    let valgrind = find_program("valgrind").ok_or("valgrind was not found")?;
    let under = [
        valgrind.to_string_lossy().into_owned(),
        "--tool=callgrind".to_owned(),
        format!("--callgrind-out-file={}", out.display()),
        format!("--log-file={}", setup.folder.join("callgrind.log").display()),
    ];
    // The result of an earlier process must not pass for this one's.
    if out.exists() {
        fs::remove_file(&out)?;
    }
    run(setup, case, launch, warm, &under).await?;
    let text = fs::read_to_string(&out).map_err(|error| format!("callgrind left no result: {error}"))?;
    let total =
        text.lines().find_map(|line| line.strip_prefix("totals: ")).ok_or("callgrind left no total")?;
    Ok(total.trim().parse()?)
}
