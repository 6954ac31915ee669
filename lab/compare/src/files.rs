//! What a comparison leaves: each file is complete, or not there.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    run::{Outcome, Run},
    schedule::OWNERS,
};

/// The folder of the results.
pub(crate) struct Output(PathBuf);

impl Output {
    /// Makes the folder, and checks that it can be written.
    pub(crate) fn in_folder(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        let output = Self(path.to_owned());
        output.write("writable", "")?;
        fs::remove_file(path.join("writable"))?;
        Ok(output)
    }

    /// Writes a file under another name first.
    pub(crate) fn write(&self, name: &str, text: &str) -> io::Result<()> {
        let path = self.0.join(name);
        let partial = self.0.join(format!(".{name}.partial"));
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

/// Every request of some runs, with what became of its message. Times are milliseconds from the start of a run.
pub(crate) fn requests<'a>(runs: impl IntoIterator<Item = &'a Run>) -> String {
    let columns = [
        "run",
        "id",
        "owner",
        "attempt",
        "intended_ms",
        "sent_ms",
        "answered_ms",
        "status",
        "stored_ms",
        "notified_ms",
    ];
    let number = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.2}"));
    let rows = runs.into_iter().flat_map(|run| {
        run.messages.iter().flat_map(move |message| {
            message.requests.iter().enumerate().map(move |(attempt, request)| {
                let outcome = match message.outcome {
                    Some(Outcome::Stored(at)) => number(Some(at)),
                    Some(Outcome::Failed) => "failed".to_owned(),
                    Some(Outcome::Rejected) => "rejected".to_owned(),
                    None => String::new(),
                };
                vec![
                    run.plan.name.clone(),
                    message.id.clone(),
                    OWNERS[message.owner].0.to_owned(),
                    (attempt + 1).to_string(),
                    number(Some(message.due)),
                    number(Some(request.sent)),
                    number(Some(request.answered)),
                    request.status.map_or_else(|| "none".to_owned(), |status| status.to_string()),
                    outcome,
                    number(message.notified),
                ]
            })
        })
    });
    csv(&columns, rows)
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
