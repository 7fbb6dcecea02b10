//! Columns of text, each as wide as its widest cell.

use std::fmt::{self, Write};

/// Space between two columns.
const GAP: &str = "  ";

/// A table with an optional heading.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these column names; none = no heading.
    pub(crate) fn new(heading: &[&str]) -> Self {
        let heading: Vec<String> = heading.iter().map(|&name| name.to_owned()).collect();
        Self { rows: if heading.is_empty() { Vec::new() } else { vec![heading] } }
    }

    /// Adds a row. Control characters, which a name in a database may hold, are shown escaped.
    pub(crate) fn row<const N: usize>(&mut self, cells: &[impl AsRef<str>; N]) {
        self.rows.push(cells.iter().map(|cell| printable(cell.as_ref())).collect());
    }
}

fn printable(text: &str) -> String {
    if text.contains(char::is_control) {
        text.chars()
            .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
            .collect()
    } else {
        text.to_owned()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
        };
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        for (index, row) in self.rows.iter().enumerate() {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                write!(line, "{cell:width$}{GAP}")?;
            }
            let end = if index + 1 < self.rows.len() { "\n" } else { "" };
            write!(f, "{}{end}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_control_characters_stay_harmless() {
        let mut table = Table::new(&["NAME", "N"]);
        table.row(&["größe", "1"]);
        table.row(&["a\u{1b}[2J", "22"]);
        assert_eq!(table.to_string(), "NAME        N\ngröße       1\na\\u{1b}[2J  22");
    }
}
