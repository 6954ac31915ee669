//! What a comparison leaves: each file is complete, or not there.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    figures::Figures,
    run::{Outcome, Run},
    schedule::OWNERS,
};

/// The folder in it of the requests, a file for each run.
const REQUESTS: &str = "requests";

/// The folder of the results.
pub(crate) struct Output(PathBuf);

impl Output {
    /// Makes the folder, and checks that it can be written.
    pub(crate) fn in_folder(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path.join(REQUESTS))?;
        let output = Self(path.to_owned());
        output.write("writable", "")?;
        fs::remove_file(path.join("writable"))?;
        Ok(output)
    }

    /// Writes a file under another name first.
    pub(crate) fn write(&self, name: &str, text: &str) -> io::Result<()> {
        let path = self.0.join(name);
        let partial = path.with_extension("partial");
        fs::write(&partial, text)?;
        fs::rename(partial, path)
    }
}

/// A CSV file.
pub(crate) fn csv(columns: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut text = columns.join(",") + "\n";
    for row in rows {
        text += &(row.join(",") + "\n");
    }
    text
}

/// A file for each run, with every request and the outcome of its message. Times are milliseconds from the start of
/// the run.
pub(crate) fn requests<'a>(runs: impl IntoIterator<Item = &'a Run>) -> Vec<(String, String)> {
    let file = |run: &Run| format!("{REQUESTS}/{}.csv", run.plan.name);
    runs.into_iter().map(|run| (file(run), requests_of(run))).collect()
}

fn requests_of(run: &Run) -> String {
    let columns = [
        "id",
        "owner",
        "attempt",
        "intended_ms",
        "sent_ms",
        "responded_ms",
        "status",
        "outcome",
        "stored_ms",
        "notified_ms",
    ];
    let number = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.1}"));
    let rows = run.messages.iter().flat_map(|message| {
        message.requests.iter().enumerate().map(move |(attempt, request)| {
            let outcome = match message.outcome {
                Some(Outcome::Stored(_)) => "stored",
                Some(Outcome::Failed) => "failed",
                Some(Outcome::Rejected) => "rejected",
                None => "none",
            };
            vec![
                message.id.clone(),
                OWNERS[message.owner].0.to_owned(),
                (attempt + 1).to_string(),
                number(Some(message.due)),
                number(Some(request.sent)),
                number(Some(request.responded)),
                request.status.map_or_else(|| "none".to_owned(), |status| status.to_string()),
                outcome.to_owned(),
                number(message.stored()),
                number(message.notified),
            ]
        })
    });
    csv(&columns, rows)
}

/// The figures of some runs.
pub(crate) fn figures<'a>(runs: impl IntoIterator<Item = &'a Run>) -> String {
    let columns = [&["run"], &Figures::COLUMNS[..]].concat();
    csv(
        &columns,
        runs.into_iter().map(|run| [vec![run.plan.name.clone()], Figures::of(run).row(run)].concat()),
    )
}

/// A table for people: the first column to the left, the others to the right.
pub(crate) fn table(columns: &[&str], rows: &[Vec<String>]) -> String {
    let width = |place: usize| {
        let cells = rows.iter().map(|row| row[place].chars().count());
        cells.chain([columns[place].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..columns.len()).map(width).collect();
    let line = |cells: &[String]| {
        let cells = cells.iter().zip(&widths).enumerate().map(|(place, (cell, width))| {
            if place == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        cells.collect::<Vec<_>>().join("  ") + "\n"
    };
    let head: Vec<_> = columns.iter().map(|&column| column.to_owned()).collect();
    line(&head) + &rows.iter().map(|row| line(row)).collect::<String>()
}
