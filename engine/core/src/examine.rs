//! Reading a target back, to compare it with its source: rows in a form that both sides can be
//! brought to, read in a snapshot that knows where it stands.
//!
//! # The canonical form
//! A row is its written columns in order, each as a length of four bytes, big-endian, and that many
//! bytes; [`NULL`] in place of the length stands for NULL. So two rows have the same bytes if and only
//! if they have the same fields. What a field's bytes are is the target's choice for each of its
//! types ([`RowForm`]); it makes the same bytes from a batch that it would write and from a row that
//! it reads. Values are the same where the target's type says so: `1.50` and `1.5` are one number,
//! while NULL and the empty text are two values.

use async_trait::async_trait;
use std::sync::Arc;

use crate::batch::Batch;
use crate::column::Column;
use crate::digest::{Digest, ValueForm, Weights};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::TargetTable;
use crate::position::Position;
use crate::target::NetChanges;
use crate::transaction::TransactionSet;

/// In place of a field's length: NULL.
pub const NULL: u32 = u32::MAX;
/// In place of a field's length: a value that the target can't hold, which is equal to nothing that
/// it does hold.
pub const UNREPRESENTABLE: u32 = u32::MAX - 1;

/// Rows in canonical form, end to end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CanonicalRows {
    data: Vec<u8>,
    ends: Vec<usize>,
}

impl CanonicalRows {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Memory taken by the rows, in bytes.
    pub fn size(&self) -> usize {
        self.data.len()
    }

    /// Forgets the rows and keeps their memory.
    pub fn clear(&mut self) {
        self.data.clear();
        self.ends.clear();
    }

    /// Where the fields of the next row are appended to; [`end_row`](Self::end_row) ends it.
    #[inline]
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.data
    }

    /// Appends a field to the row at hand.
    #[inline]
    pub fn field(&mut self, value: Option<&[u8]>) {
        match value {
            Some(value) => {
                self.data.extend_from_slice(&(value.len() as u32).to_be_bytes());
                self.data.extend_from_slice(value);
            }
            None => self.data.extend_from_slice(&NULL.to_be_bytes()),
        }
    }

    /// Appends a field whose value the target can't hold.
    pub fn unrepresentable(&mut self) {
        self.data.extend_from_slice(&UNREPRESENTABLE.to_be_bytes());
    }

    /// Ends the row whose fields were appended.
    #[inline]
    pub fn end_row(&mut self) {
        self.ends.push(self.data.len());
    }

    /// The rows, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| self.data.get(start..end).unwrap_or_default())
    }
}

/// A field of a canonical row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field<'a> {
    /// NULL.
    Null,
    /// A value that the target can't hold.
    Unrepresentable,
    /// A value.
    Value(&'a [u8]),
}

/// The fields of one row, each with the bytes that it takes in the row, its length included. Ends
/// early where the bytes are no row.
pub fn fields(mut row: &[u8]) -> impl Iterator<Item = (Field<'_>, &[u8])> {
    std::iter::from_fn(move || {
        let (length, rest) = row.split_first_chunk::<4>()?;
        let length = u32::from_be_bytes(*length);
        let size = if length >= UNREPRESENTABLE { 0 } else { length as usize };
        let value = rest.get(..size)?;
        let (whole, after) = row.split_at_checked(4 + size)?;
        row = after;
        let field = match length {
            NULL => Field::Null,
            UNREPRESENTABLE => Field::Unrepresentable,
            _ => Field::Value(value),
        };
        Some((field, whole))
    })
}

/// Makes a table's rows canonical.
pub trait RowForm: Send + Sync {
    /// Appends the rows of a batch of all [written columns](TargetTable::written_columns), in the form
    /// that the target gives them back in once they are written.
    fn canonical(&self, batch: &Batch, out: &mut CanonicalRows) -> Result<()>;

    /// A value of the written column at `place` as people read it.
    fn text(&self, place: usize, value: &[u8]) -> String;

    /// A value of the written column at `place` in the form of batches, one row; `None` for types that no key
    /// has.
    fn value(&self, place: usize, value: &[u8]) -> Option<Column>;

    /// Whether the target orders the values of the written column at `place` as numbers, dates or
    /// raw bytes, whichever its logical type is.
    fn keeps_order(&self, place: usize) -> bool;

    /// Says for the written column at `place` in which respects values that are written in different
    /// ways count as the same; `None` when they are compared byte for byte.
    fn leniency(&self, place: usize) -> Option<&'static str>;
}

/// Where a target stands in a snapshot of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stand {
    /// Digest of the plan that its rows follow.
    pub plan_digest: String,
    /// The target has everything up to here; `None` for a task that does not follow.
    pub position: Option<Position>,
    /// It has these transactions too. Some may be older than the position.
    pub applied: TransactionSet,
}

/// Which rows of a table. Bounds are the first columns of the row key or all of them, one row.
#[derive(Debug, Clone, PartialEq)]
pub enum KeyRange {
    /// All of them.
    All,
    /// Those whose row key lies in `(after, to]`; an open end where there is `None`. The columns are
    /// those at these [ordinals](TargetTable::columns), and the target orders all of them as the
    /// source does.
    Between {
        /// Ordinals of the columns.
        columns: Vec<usize>,
        /// Exclusive lower bound.
        after: Option<Batch>,
        /// Inclusive upper bound.
        to: Option<Batch>,
    },
}

/// Takes canonical rows.
#[async_trait]
pub trait RowSink: Send {
    /// Takes some rows; returns when there is room for the next.
    async fn push(&mut self, rows: &CanonicalRows) -> Result<()>;
}

/// A connection that reads a target in snapshots.
#[async_trait]
pub trait Examiner: Send {
    /// Takes a new snapshot, in which the target stays as it is now for all that is read until the next
    /// one, and says where the task stands in it: its rows are those of exactly these transactions.
    async fn begin(&mut self, task: &str) -> Result<Stand>;

    /// Reads rows of the snapshot, each once, in any order.
    async fn read(
        &mut self,
        table: &Arc<TargetTable>,
        range: &KeyRange,
        sink: &mut dyn RowSink,
    ) -> Result<()>;

    /// Whether [`read_keys`](Self::read_keys) is there.
    fn reads_keys(&self) -> bool {
        false
    }

    /// Reads those rows of the snapshot that have one of `keys`, each row once, in any order: a batch of the
    /// row key's columns in key order, as of the rows that [go](NetChanges::Strict). A key without a row is
    /// passed over.
    async fn read_keys(
        &mut self,
        table: &Arc<TargetTable>,
        _keys: &Batch,
        _sink: &mut dyn RowSink,
    ) -> Result<()> {
        Err(Error::new(ErrorKind::Precondition, "single rows of a target of this kind can't be read back")
            .at("table", &table.name))
    }

    /// How the server can write down the written columns of a table in a [digest](crate::digest), in their
    /// order; `None` for columns that it can't.
    async fn value_forms(&mut self, table: &Arc<TargetTable>) -> Result<Vec<Option<ValueForm>>> {
        Ok(table.written_columns().map(|_| None).collect())
    }

    /// Has the server sum up rows of the snapshot, each of whose written columns has a form.
    async fn digest(
        &mut self,
        table: &Arc<TargetTable>,
        _range: &KeyRange,
        _weights: &Weights,
    ) -> Result<Digest> {
        Err(Error::new(ErrorKind::Internal, "a target of this kind sums up no rows").at("table", &table.name))
    }

    /// Lets go of the snapshot.
    async fn end(&mut self) -> Result<()>;
}

/// What became of an attempt to write under the eyes of a running task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// Done.
    Done,
    /// Somebody holds a row or a lane; everything was given up. Trying again later is right.
    Busy,
}

/// A connection that mends single rows of a task's tables, whether or not an engine runs the task.
#[async_trait]
pub trait Repairer: Send {
    /// Begins a transaction during which the task's position can't move, and says where it stands;
    /// `None` when a transaction of the task is about to commit. Foreign keys and triggers stay silent in it.
    async fn hold(&mut self, task: &str) -> Result<Option<Stand>>;

    /// Applies [idempotent](NetChanges::Idempotent) changes in the transaction. Never waits for a row that a
    /// transaction of the task has locked: that one may in turn be waiting for this.
    async fn write(&mut self, table: &Arc<TargetTable>, changes: &NetChanges) -> Result<Attempt>;

    /// How often a table without a row key has each of these rows, whole ones of which each batch holds one. None of
    /// them comes or goes until the transaction ends. `None` when somebody holds one; everything was given up then.
    async fn count(&mut self, table: &Arc<TargetTable>, rows: &[Batch]) -> Result<Option<Vec<u64>>> {
        let _ = rows;
        Err(needs_key(table))
    }

    /// Inserts each of these rows of a table without a row key so many times or, of a number below zero, deletes so
    /// many of those that equal it. As [`write`](Self::write) otherwise.
    async fn write_times(&mut self, table: &Arc<TargetTable>, rows: &[(Batch, i64)]) -> Result<Attempt> {
        let _ = rows;
        Err(needs_key(table))
    }

    /// Commits, durably, and lets the task go on.
    async fn commit(&mut self) -> Result<()>;

    /// Gives up what was not committed, and lets the task go on.
    async fn give_up(&mut self) -> Result<()>;

    /// The statements that apply `changes`, for people.
    fn render(&self, table: &TargetTable, changes: &NetChanges) -> Vec<String>;

    /// The statements that [`write_times`](Self::write_times) stands for, for people.
    fn render_times(&self, table: &TargetTable, rows: &[(Batch, i64)]) -> Vec<String> {
        let _ = (table, rows);
        Vec::new()
    }
}

fn needs_key(table: &TargetTable) -> Error {
    Error::new(ErrorKind::Precondition, "rows without a key can't be mended in a target of this kind")
        .at("table", &table.name)
        .help("copy the table again")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn fields_are_read_as_they_were_written(
            rows in proptest::collection::vec(
                proptest::collection::vec(
                    proptest::option::of(proptest::collection::vec(any::<u8>(), 0..9)), 1..5,
                ),
                0..6,
            ),
        ) {
            let mut canonical = CanonicalRows::default();
            for row in &rows {
                row.iter().for_each(|value| canonical.field(value.as_deref()));
                canonical.end_row();
            }
            let read: Vec<Vec<Option<Vec<u8>>>> = canonical
                .iter()
                .map(|row| {
                    fields(row)
                        .map(|(field, _)| match field {
                            Field::Value(value) => Some(value.to_vec()),
                            Field::Null | Field::Unrepresentable => None,
                        })
                        .collect()
                })
                .collect();
            prop_assert_eq!(read, rows);
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let taken: usize = fields(&bytes).map(|(_, whole)| whole.len()).sum();
            prop_assert!(taken <= bytes.len());
        }
    }

    #[test]
    fn null_empty_and_unrepresentable_are_three() {
        let mut rows = CanonicalRows::default();
        rows.field(None);
        rows.end_row();
        rows.field(Some(b""));
        rows.end_row();
        rows.unrepresentable();
        rows.end_row();
        let kinds: Vec<_> = rows.iter().flat_map(|row| fields(row).map(|(field, _)| field)).collect();
        assert_eq!(kinds, [Field::Null, Field::Value(b""), Field::Unrepresentable]);
    }
}
