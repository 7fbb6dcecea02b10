//! Reading rows: a [`Batch`] of columns seen as [`Row`]s of typed values.

use crate::RowFailure;
use crate::bindings::exports::migration::plugin::transform as contract;
use crate::temporal::Fields;
use crate::types::{Column, Vector};

/// Rows of one table, holding the columns that the plan asked for, in its order.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    input: &'a contract::Batch,
}

impl<'a> Batch<'a> {
    /// Looks at what the host passed.
    pub fn new(input: &'a contract::Batch) -> Self {
        Self { input }
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
    pub fn rows(self) -> impl Iterator<Item = Row<'a>> {
        (0..self.len()).map(move |index| Row { input: self.input, index })
    }

    /// The column at `position` of the plan's reads.
    pub fn column(&self, position: usize) -> Option<&'a Column> {
        self.input.columns.get(position)
    }
}

/// One row. Every accessor takes a position in the plan's reads and answers `None` for NULL; it
/// fails when the plan reads no such column or the column holds another kind of value.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    input: &'a contract::Batch,
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
    pub fn is_null(&self, position: usize) -> Result<bool, RowFailure> {
        Ok(is_null(self.at(position)?, self.index))
    }

    /// Text, JSON, an enumeration's label, a set's labels, or a decimal's digits.
    ///
    /// # Errors
    /// When the column holds something else.
    pub fn text(&self, position: usize) -> Result<Option<&'a str>, RowFailure> {
        let Some(bytes) = self.bytes(position)? else { return Ok(None) };
        std::str::from_utf8(bytes)
            .map(Some)
            .map_err(|_| RowFailure::new("not-text", format!("read {position} is not UTF-8")))
    }

    /// Raw bytes of anything of variable length.
    ///
    /// # Errors
    /// When the column holds something else.
    pub fn bytes(&self, position: usize) -> Result<Option<&'a [u8]>, RowFailure> {
        self.value(position, "text or bytes", |values, row| match values {
            Vector::Varlen(varlen) => {
                let start = *varlen.offsets.get(row)? as usize;
                let end = *varlen.offsets.get(row + 1)? as usize;
                varlen.data.get(start..end)
            }
            _ => None,
        })
    }

    /// A signed integer.
    ///
    /// # Errors
    /// When the column holds something else.
    pub fn int(&self, position: usize) -> Result<Option<i64>, RowFailure> {
        self.value(position, "a signed integer", |values, row| match values {
            Vector::S64s(values) => values.get(row).copied(),
            _ => None,
        })
    }

    /// An unsigned integer.
    ///
    /// # Errors
    /// When the column holds something else.
    pub fn uint(&self, position: usize) -> Result<Option<u64>, RowFailure> {
        self.value(position, "an unsigned integer", |values, row| match values {
            Vector::U64s(values) => values.get(row).copied(),
            _ => None,
        })
    }

    /// An integer, signed or not.
    ///
    /// # Errors
    /// When the column holds something else.
    pub fn integer(&self, position: usize) -> Result<Option<i128>, RowFailure> {
        self.value(position, "an integer", |values, row| match values {
            Vector::S64s(values) => values.get(row).copied().map(i128::from),
            Vector::U64s(values) => values.get(row).copied().map(i128::from),
            _ => None,
        })
    }

    /// A floating-point number.
    ///
    /// # Errors
    /// When the column holds something else.
    pub fn real(&self, position: usize) -> Result<Option<f64>, RowFailure> {
        self.value(position, "a floating-point number", |values, row| match values {
            Vector::F64s(values) => values.get(row).copied(),
            _ => None,
        })
    }

    /// A boolean.
    ///
    /// # Errors
    /// When the column holds something else.
    pub fn boolean(&self, position: usize) -> Result<Option<bool>, RowFailure> {
        self.value(position, "a boolean", |values, row| match values {
            Vector::Bits(bytes) => bytes.get(row / 8).map(|byte| byte >> (row % 8) & 1 == 1),
            _ => None,
        })
    }

    /// A date, irregular ones included: see [`crate::temporal`].
    ///
    /// # Errors
    /// When the column holds something else.
    pub fn date(&self, position: usize) -> Result<Option<Fields>, RowFailure> {
        Ok(self.int(position)?.map(Fields::from_days))
    }

    /// A timestamp, irregular ones included: see [`crate::temporal`].
    ///
    /// # Errors
    /// When the column holds something else.
    pub fn timestamp(&self, position: usize) -> Result<Option<Fields>, RowFailure> {
        Ok(self.int(position)?.map(Fields::from_micros))
    }

    fn at(&self, position: usize) -> Result<&'a Column, RowFailure> {
        self.input.columns.get(position).ok_or_else(|| {
            RowFailure::new("no-such-read", format!("the plan reads no column at position {position}"))
        })
    }

    fn value<T>(
        &self,
        position: usize,
        wanted: &str,
        read: impl FnOnce(&'a Vector, usize) -> Option<T>,
    ) -> Result<Option<T>, RowFailure> {
        let column = self.at(position)?;
        if is_null(column, self.index) {
            return Ok(None);
        }
        match read(&column.values, self.index) {
            Some(value) => Ok(Some(value)),
            None => Err(RowFailure::new("wrong-kind", format!("read {position} does not hold {wanted}"))),
        }
    }
}

fn is_null(column: &Column, row: usize) -> bool {
    !column.validity.is_empty() && column.validity.get(row / 8).is_none_or(|byte| byte >> (row % 8) & 1 == 0)
}
