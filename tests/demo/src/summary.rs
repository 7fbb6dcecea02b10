//! What the demo tells at its end.

use std::fmt;
use std::time::Duration;

use test_support::compare::Comparison;
use test_support::writer::Written;

/// Figures of one demonstration.
#[derive(Debug)]
pub(crate) struct Summary {
    /// Rows of the shop before the migration.
    pub(crate) rows: u64,
    /// The first run, while the shop was written to.
    pub(crate) copying: Duration,
    /// What was written meanwhile.
    pub(crate) written: Written,
    /// The second run, from the last write to the end.
    pub(crate) catching_up: Duration,
    pub(crate) comparisons: Vec<Comparison>,
    pub(crate) comparing: Duration,
}

impl Summary {
    /// Whether both sides hold the same rows.
    pub(crate) fn is_equal(&self) -> bool {
        !self.comparisons.is_empty() && self.comparisons.iter().all(Comparison::is_equal)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.copying.as_secs_f64();
        writeln!(out)?;
        writeln!(out, "  table                 source     target  verdict")?;
        for table in &self.comparisons {
            let verdict = if table.is_equal() {
                "equal".to_owned()
            } else {
                format!(
                    "{} missing, {} unexpected, {} different",
                    table.missing, table.unexpected, table.different
                )
            };
            writeln!(
                out,
                "  {:<18} {:>9}  {:>9}  {verdict}",
                table.table, table.source_rows, table.target_rows
            )?;
            for example in &table.examples {
                writeln!(out, "      {example}")?;
            }
        }
        let compared: usize = self.comparisons.iter().map(|table| table.source_rows).sum();
        writeln!(out)?;
        writeln!(
            out,
            "  copied     {} rows and caught up in {seconds:.1} s: {:.0} rows/s",
            self.rows,
            self.rows as f64 / seconds
        )?;
        writeln!(
            out,
            "  meanwhile  {} transactions changed {} rows of the source",
            self.written.transactions, self.written.changes
        )?;
        writeln!(
            out,
            "  lag        {:.1} s from the last write until it was applied, the engine's start included",
            self.catching_up.as_secs_f64()
        )?;
        writeln!(out, "  compared   {compared} rows in {:.1} s", self.comparing.as_secs_f64())?;
        writeln!(out)?;
        if self.is_equal() {
            write!(out, "SOURCE AND TARGET ARE EQUAL, row for row")
        } else {
            write!(out, "SOURCE AND TARGET DIFFER")
        }
    }
}
