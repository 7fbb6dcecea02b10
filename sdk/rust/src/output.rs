//! Writing rows: columns filled one row at a time, or as a whole.

use crate::RowFailure;
use crate::bindings::exports::migration::plugin::transform as contract;
use crate::planning::{TablePlan, WriteColumn};
use crate::temporal::Fields;
use crate::types::{Column, RowError, TableSchema};

pub use crate::builder::ColumnOutput;

/// The columns of a plan's [`TablePlan::transform_writes`].
#[derive(Debug)]
pub struct Output {
    columns: Vec<ColumnOutput>,
    /// Rows written by [`Output::row`].
    rows: usize,
    errors: Vec<RowError>,
}

impl Output {
    /// Builders for what `plan` says its transform writes, with room for `rows`. `None` when the
    /// plan names a column that neither the schema nor the plan has.
    pub fn new(schema: &TableSchema, plan: &TablePlan, rows: usize) -> Option<Self> {
        let builder = |(position, write): (usize, &WriteColumn)| {
            let logical = match write {
                WriteColumn::Input(index) => &schema.columns.get(*index as usize)?.logical,
                WriteColumn::Extra(index) => &plan.extra_columns.get(*index as usize)?.logical,
            };
            Some(ColumnOutput::new(logical, position, rows))
        };
        let columns = plan.transform_writes.iter().enumerate().map(builder).collect::<Option<_>>()?;
        Some(Self { columns, rows: 0, errors: Vec::new() })
    }

    /// Appends one row, written by `write`. When it fails, or leaves a column unwritten, the row
    /// becomes a row error and its slots are filled with NULLs that the host ignores.
    #[inline]
    pub fn row(&mut self, index: usize, write: impl FnOnce(&mut RowOutput<'_>) -> Result<(), RowFailure>) {
        let before = self.rows;
        self.rows += 1;
        let outcome = write(&mut RowOutput { columns: &mut self.columns, row: before });
        if outcome.is_err() || self.columns.iter().any(|column| column.len() == before) {
            self.spoilt(index, before, outcome);
        }
    }

    #[cold]
    fn spoilt(&mut self, index: usize, before: usize, outcome: Result<(), RowFailure>) {
        let unwritten = self.columns.iter().position(|column| column.len() == before);
        let failure = match (outcome, unwritten) {
            (Err(failure), _) => failure,
            (Ok(()), Some(position)) => {
                RowFailure::new("not-written", format!("the plugin did not write column {position}"))
            }
            (Ok(()), None) => return,
        };
        for column in self.columns.iter_mut().filter(|column| column.len() == before) {
            // A column handed over as a whole takes no more rows; its row is in error all the same.
            let _ = column.null();
        }
        self.fail(index, failure);
    }

    /// The column at `position` of the plan's writes, to be filled by itself: exactly one value for
    /// each row of the batch, the rows in error included.
    pub fn column(&mut self, position: usize) -> Option<&mut ColumnOutput> {
        self.columns.get_mut(position)
    }

    /// Makes a row an error, whatever its columns hold: the table's row-error policy decides about it.
    pub fn fail(&mut self, row: usize, failure: RowFailure) {
        self.errors.push(RowError {
            row: row as u32,
            column: failure.column,
            code: failure.code,
            message: failure.message,
        });
    }

    /// Hands everything over to the host.
    pub fn finish(self) -> contract::BatchOutput {
        contract::BatchOutput {
            columns: self.columns.into_iter().map(ColumnOutput::finish).collect(),
            errors: self.errors,
        }
    }

    /// Makes room for as many bytes as the columns of the same position in `input` hold: what is
    /// rewritten mostly keeps its size.
    pub(crate) fn expect(&mut self, input: &[Column]) {
        for (column, input) in self.columns.iter_mut().zip(input) {
            column.expect(input);
        }
    }
}

/// Writes one row. Every function takes a position in the plan's writes; each has to be written
/// exactly once, and fails when it is written twice or takes another kind of value.
#[derive(Debug)]
pub struct RowOutput<'a> {
    columns: &'a mut [ColumnOutput],
    row: usize,
}

impl RowOutput<'_> {
    /// NULL.
    ///
    /// # Errors
    /// When the column is unknown or already written.
    #[inline]
    pub fn null(&mut self, position: usize) -> Result<(), RowFailure> {
        self.at(position)?.null()
    }

    /// Text, or any other value held as text; `None` is NULL.
    ///
    /// # Errors
    /// When the column takes another kind of value.
    #[inline]
    pub fn text<'t>(&mut self, position: usize, value: impl Into<Option<&'t str>>) -> Result<(), RowFailure> {
        self.at(position)?.text(value)
    }

    /// Raw bytes; `None` is NULL.
    ///
    /// # Errors
    /// When the column takes another kind of value.
    #[inline]
    pub fn bytes<'b>(
        &mut self,
        position: usize,
        value: impl Into<Option<&'b [u8]>>,
    ) -> Result<(), RowFailure> {
        self.at(position)?.bytes(value)
    }

    /// A signed integer; `None` is NULL.
    ///
    /// # Errors
    /// When the column takes another kind of value.
    #[inline]
    pub fn int(&mut self, position: usize, value: impl Into<Option<i64>>) -> Result<(), RowFailure> {
        self.at(position)?.int(value)
    }

    /// An unsigned integer; `None` is NULL.
    ///
    /// # Errors
    /// When the column takes another kind of value.
    #[inline]
    pub fn uint(&mut self, position: usize, value: impl Into<Option<u64>>) -> Result<(), RowFailure> {
        self.at(position)?.uint(value)
    }

    /// A floating-point number; `None` is NULL.
    ///
    /// # Errors
    /// When the column takes another kind of value.
    #[inline]
    pub fn real(&mut self, position: usize, value: impl Into<Option<f64>>) -> Result<(), RowFailure> {
        self.at(position)?.real(value)
    }

    /// A boolean; `None` is NULL.
    ///
    /// # Errors
    /// When the column takes another kind of value.
    #[inline]
    pub fn boolean(&mut self, position: usize, value: impl Into<Option<bool>>) -> Result<(), RowFailure> {
        self.at(position)?.boolean(value)
    }

    /// A date; `None` is NULL.
    ///
    /// # Errors
    /// When the column takes another kind of value.
    #[inline]
    pub fn date(&mut self, position: usize, value: impl Into<Option<Fields>>) -> Result<(), RowFailure> {
        self.at(position)?.date(value)
    }

    /// A timestamp; `None` is NULL.
    ///
    /// # Errors
    /// When the column takes another kind of value.
    #[inline]
    pub fn timestamp(&mut self, position: usize, value: impl Into<Option<Fields>>) -> Result<(), RowFailure> {
        self.at(position)?.timestamp(value)
    }

    #[inline]
    fn at(&mut self, position: usize) -> Result<&mut ColumnOutput, RowFailure> {
        match self.columns.get_mut(position) {
            Some(column) if column.len() == self.row => Ok(column),
            column => Err(not_writable(position, column.is_some())),
        }
    }
}

#[cold]
fn not_writable(position: usize, exists: bool) -> RowFailure {
    if exists {
        RowFailure::new("written-twice", format!("column {position} was written twice"))
    } else {
        RowFailure::new("no-such-write", format!("the plan writes no column at position {position}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{column, integer, table, text};
    use crate::types::{Varlen, Vector};

    /// Writes a text and a number.
    fn output() -> Output {
        let schema = table("shop", "orders", [column("note", text(20)), column("count", integer(32))]);
        let mut plan = TablePlan::unchanged(&schema);
        plan.transform_writes = vec![WriteColumn::Input(0), WriteColumn::Input(1)];
        Output::new(&schema, &plan, 3).expect("both columns exist")
    }

    fn words() -> Column {
        let values = Varlen { offsets: vec![0, 1, 2, 3], data: b"abc".to_vec() };
        Column { values: Vector::Varlen(values), validity: Vec::new() }
    }

    #[test]
    fn rows_in_error_keep_their_place() {
        let mut output = output();
        output.row(0, |row| row.text(0, "a").and_then(|()| row.int(1, 1)));
        output.row(1, |row| row.text(0, "b").and_then(|()| row.text(1, "b")));
        output.row(2, |row| row.text(0, "c"));
        output.row(3, |row| row.int(1, 4).and_then(|()| row.int(1, 4)));
        let done = output.finish();
        let codes: Vec<_> = done.errors.iter().map(|error| (error.row, error.code.as_str())).collect();
        assert_eq!(codes, [(1, "wrong-kind"), (2, "not-written"), (3, "written-twice")]);
        assert_eq!(
            done.columns[1],
            Column { values: Vector::S64s(vec![1, 0, 0, 4]), validity: vec![0b1001] }
        );
    }

    #[test]
    fn a_whole_column_goes_out_as_it_is() {
        let mut output = output();
        output.column(0).expect("a column").whole(words(), 3).expect("nothing written yet");
        let counts = output.column(1).expect("a column");
        counts.int(1).expect("a number");
        counts.null().expect("NULL");
        counts.int(3).expect("a number");
        output.fail(1, RowFailure::new("bad-count", "it has none"));
        let done = output.finish();
        assert_eq!(done.columns[0], words());
        assert_eq!(done.columns[1], Column { values: Vector::S64s(vec![1, 0, 3]), validity: vec![0b101] });
        assert_eq!(done.errors.len(), 1);
    }

    #[test]
    fn a_whole_column_takes_nothing_more() {
        let mut output = output();
        let column = output.column(0).expect("a column");
        column.whole(words(), 3).expect("nothing written yet");
        assert_eq!(column.text("d").expect_err("full").code, "wrong-kind");
        assert_eq!(column.whole(words(), 3).expect_err("full").code, "written-twice");
    }
}
