//! Measuring in rounds: each case once, then each again, so that other work of the machine disturbs all of them
//! alike. The figures are medians.

use std::{
    fs::{self, File},
    io,
};

use flate2::{Compression, read::DeflateEncoder};

use crate::{
    Failure,
    cases::{Case, Contestant},
    figures::{self, Figures},
    process::run,
    setup::Setup,
};

/// How often the instructions of our functions are counted. A client whose connection is busy for a moment opens
/// another one, which depends on time and costs more than a million instructions: the smallest of a few counts
/// repeats. For peers, which are only compared with, one count is good enough.
const COUNTS: usize = 5;

/// The figures of a case.
pub(crate) type Measured = (&'static Case, Figures);

/// Measures cases. A peer that does not do the work is left out, with the reason. If a function of this repository
/// does not, nothing else is worth knowing.
pub(crate) async fn measure(
    setup: &Setup,
    cases: &[&'static Case],
    rounds: usize,
    with_instructions: bool,
) -> Result<Vec<Measured>, Failure> {
    let mut results = Vec::new();
    for &case in cases {
        // The first run reads the program from the disk. Its times do not count.
        match run(setup, case, case.warm, &[]).await {
            Err(error) if case.contestant != Contestant::Intake => {
                eprintln!("left out: {error}");
                continue;
            }
            first => first?,
        };
        let mut figures = Figures::new();
        if case.contestant == Contestant::Intake {
            let (folder, _) = case.command();
            // Deflated as in the archive that Lambda gets.
            let program = File::open(folder.join("bootstrap"))?;
            let mut deflated = DeflateEncoder::new(program, Compression::default());
            figures.insert(figures::ZIP_BYTES, io::copy(&mut deflated, &mut io::sink())? as f64);
        }
        if with_instructions && case.is_counted() {
            eprintln!("counting instructions: {}", case.name());
            figures.extend(count_instructions(setup, case).await?);
        }
        results.push((case, figures));
    }
    let mut runs = vec![Vec::with_capacity(rounds); results.len()];
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        for ((case, _), runs) in results.iter().zip(&mut runs) {
            runs.push(run(setup, case, case.warm, &[]).await?);
        }
    }
    for ((_, figures), runs) in results.iter_mut().zip(runs) {
        figures.extend(runs[0].keys().map(|name| (*name, median(runs.iter().map(|run| run[name])))));
    }
    Ok(results)
}

/// The middle one; of an even number, the lower of the two in the middle.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[(values.len() - 1) / 2]
}

/// Counts what a process executes, the kernel excluded. Unlike times, that repeats.
async fn count_instructions(setup: &Setup, case: &Case) -> Result<Figures, Failure> {
    let counts = if case.contestant == Contestant::Intake { COUNTS } else { 1 };
    let (mut first, mut all) = (u64::MAX, u64::MAX);
    for _ in 0..counts {
        first = first.min(instructions(setup, case, 0).await?);
        all = all.min(instructions(setup, case, case.warm).await?);
    }
    let warm = (all.saturating_sub(first) / case.warm as u64) as f64;
    Ok(Figures::from([
        (figures::FIRST_INSTRUCTIONS, first as f64),
        (figures::WARM_INSTRUCTIONS, warm),
        (figures::MESSAGE_INSTRUCTIONS, warm / case.messages() as f64),
    ]))
}

/// The instructions of a whole process, by valgrind's callgrind.
async fn instructions(setup: &Setup, case: &Case, warm: usize) -> Result<u64, Failure> {
    let out = setup.logs.join("callgrind.out");
    // The result of an earlier process must not pass for this one's.
    fs::write(&out, "")?;
    let out_option = format!("--callgrind-out-file={}", out.display());
    run(setup, case, warm, &["valgrind", "--quiet", "--tool=callgrind", &out_option]).await?;
    let text = fs::read_to_string(&out)?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
    Ok(total.ok_or("callgrind left no total")?.trim().parse()?)
}
