//! Reading rows: a [`Batch`] of columns seen as [`Row`]s of typed values.

use std::cell::OnceCell;

use crate::RowFailure;
use crate::bindings::exports::migration::plugin::transform as contract;
use crate::temporal::Fields;

pub use crate::column::Column;

/// Rows of one table, holding the columns that the plan asked for, in its order.
#[derive(Debug, Clone)]
pub struct Batch<'a> {
    input: &'a contract::Batch,
    /// The columns with their text checked, made when rows are first asked for.
    read_by_row: OnceCell<Vec<Column<'a>>>,
}

impl<'a> Batch<'a> {
    /// Looks at what the host passed.
    pub fn new(input: &'a contract::Batch) -> Self {
        Self { input, read_by_row: OnceCell::new() }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.input.rows as usize
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the rows come from the change stream rather than the snapshot.
    pub fn is_change(&self) -> bool {
        matches!(self.input.origin, contract::Origin::ChangeStream)
    }

    /// The rows, in order.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        let columns = self.read_by_row.get_or_init(|| {
            let columns = self.input.columns.iter().enumerate();
            columns.map(|(position, column)| Column::new(column, position).with_text()).collect()
        });
        (0..self.len()).map(move |index| Row { columns, index })
    }

    /// The column at `position` of the plan's reads.
    pub fn column(&self, position: usize) -> Option<Column<'a>> {
        self.input.columns.get(position).map(|column| Column::new(column, position))
    }
}

/// One row. Every accessor takes a position in the plan's reads and answers `None` for NULL; it
/// fails when the plan reads no such column or the column holds another kind of value.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    columns: &'a [Column<'a>],
    index: usize,
}

impl<'a> Row<'a> {
    /// Position in the batch.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Whether the value is NULL.
    ///
    /// # Errors
    /// When the plan reads no such column.
    #[inline]
    pub fn is_null(&self, position: usize) -> Result<bool, RowFailure> {
        Ok(self.at(position)?.is_null(self.index))
    }

    /// Text, JSON, an enumeration's label, a set's labels, or a decimal's digits.
    ///
    /// # Errors
    /// When the column holds something else.
    #[inline]
    pub fn text(&self, position: usize) -> Result<Option<&'a str>, RowFailure> {
        self.at(position)?.text(self.index)
    }

    /// Raw bytes of anything of variable length.
    ///
    /// # Errors
    /// When the column holds something else.
    #[inline]
    pub fn bytes(&self, position: usize) -> Result<Option<&'a [u8]>, RowFailure> {
        self.at(position)?.bytes(self.index)
    }

    /// A signed integer.
    ///
    /// # Errors
    /// When the column holds something else.
    #[inline]
    pub fn int(&self, position: usize) -> Result<Option<i64>, RowFailure> {
        self.at(position)?.int(self.index)
    }

    /// An unsigned integer.
    ///
    /// # Errors
    /// When the column holds something else.
    #[inline]
    pub fn uint(&self, position: usize) -> Result<Option<u64>, RowFailure> {
        self.at(position)?.uint(self.index)
    }

    /// An integer, signed or not.
    ///
    /// # Errors
    /// When the column holds something else.
    #[inline]
    pub fn integer(&self, position: usize) -> Result<Option<i128>, RowFailure> {
        self.at(position)?.integer(self.index)
    }

    /// A floating-point number.
    ///
    /// # Errors
    /// When the column holds something else.
    #[inline]
    pub fn real(&self, position: usize) -> Result<Option<f64>, RowFailure> {
        self.at(position)?.real(self.index)
    }

    /// A boolean.
    ///
    /// # Errors
    /// When the column holds something else.
    #[inline]
    pub fn boolean(&self, position: usize) -> Result<Option<bool>, RowFailure> {
        self.at(position)?.boolean(self.index)
    }

    /// A date, irregular ones included: see [`crate::temporal`].
    ///
    /// # Errors
    /// When the column holds something else.
    #[inline]
    pub fn date(&self, position: usize) -> Result<Option<Fields>, RowFailure> {
        self.at(position)?.date(self.index)
    }

    /// A timestamp, irregular ones included: see [`crate::temporal`].
    ///
    /// # Errors
    /// When the column holds something else.
    #[inline]
    pub fn timestamp(&self, position: usize) -> Result<Option<Fields>, RowFailure> {
        self.at(position)?.timestamp(self.index)
    }

    #[inline]
    fn at(&self, position: usize) -> Result<&'a Column<'a>, RowFailure> {
        match self.columns.get(position) {
            Some(column) => Ok(column),
            None => Err(no_such_read(position)),
        }
    }
}

#[cold]
fn no_such_read(position: usize) -> RowFailure {
    RowFailure::new("no-such-read", format!("the plan reads no column at position {position}"))
}
