//! What a comparison prints and leaves: lines, tables and CSV files.

use std::io::{self, Write};

/// Rows of cells; the first is the header.
pub(crate) type Rows = Vec<Vec<String>>;

/// The files that a part leaves, by name.
pub(crate) type Files = Vec<(String, String)>;

pub(crate) fn say(line: &str) {
    // A reader that is gone is no reason to fail.
    let _ = writeln!(io::stdout().lock(), "{line}");
}

pub(crate) fn header(names: &[&str]) -> Rows {
    vec![names.iter().map(|&name| name.to_owned()).collect()]
}

/// With at most two decimals.
pub(crate) fn number(value: f64) -> String {
    ((100.0 * value).round() / 100.0).to_string()
}

/// A table for people: the first column to the left, the others to the right.
pub(crate) fn table(rows: &Rows) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..rows[0].len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ") + "\n"
    };
    rows.iter().map(line).collect()
}

pub(crate) fn csv(rows: &Rows) -> String {
    rows.iter().map(|row| row.join(",") + "\n").collect()
}
