//! Changes of a source, in the order in which they were committed.

use crate::batch::Batch;
use crate::position::Position;
use crate::schema::{TableName, TableSchema};
use crate::transaction::TransactionId;

/// What happened to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Op {
    /// A new row.
    Insert = 0,
    /// A row changed, its key perhaps too.
    Update = 1,
    /// A row went.
    Delete = 2,
}

/// Consecutive changes of one table, in source order.
#[derive(Debug, Clone, PartialEq)]
pub struct TableChanges {
    /// Index into [`StreamRequest::tables`](crate::source::StreamRequest::tables).
    pub table: usize,
    /// The changes, in source order.
    pub ops: Vec<Op>,
    /// For each change its transaction, as a place in [`ChangeSet::changing`]; never decreasing.
    pub transactions: Vec<u32>,
    /// New images, the requested columns: one row for each insert and each update, in order.
    pub after: Batch,
    /// Old images, the requested columns: one row for each update and each delete, in order.
    pub before: Batch,
}

impl TableChanges {
    /// No changes of the table that is the request's one of index `table`, of these of its columns.
    pub fn none(table: usize, schema: &TableSchema, columns: &[usize]) -> Self {
        let columns = columns.iter().filter_map(|&ordinal| schema.columns.get(ordinal));
        let batch = Batch {
            rows: 0,
            columns: columns.map(|column| column.logical.layout().empty_column()).collect(),
        };
        Self { table, ops: Vec::new(), transactions: Vec::new(), after: batch.clone(), before: batch }
    }
}

/// A change of structure in the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaChange {
    /// Database in which the statement ran.
    pub namespace: String,
    /// The tables that the statement names, as it spells them, where that could be read.
    pub tables: Vec<TableName>,
    /// The statement as logged.
    pub statement: String,
    /// When it ran, microseconds since 1970 by the source's clock.
    pub executed_at: Option<i64>,
    /// What else its meaning depends on, such as the session's SQL mode, in the connector's own words.
    pub session: Vec<(String, String)>,
    /// Rows that the statement itself writes, or others, follow in the same transaction, whose beginning is
    /// the position of the set: which does not tell whether the change was carried out before. The source tells it
    /// again only if it has to be.
    pub with_rows: bool,
}

/// A piece of the stream: whole transactions, or part of one that is too big to hold.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ChangeSet {
    /// The changes. Entries of different tables are not ordered among each other; a table appears
    /// once.
    pub tables: Vec<TableChanges>,
    /// The position after the last transaction, when the set ends where one does. `None` means
    /// that more of the same transaction follows and nothing may be committed as applied yet.
    pub position: Option<Position>,
    /// Transactions that end in this set.
    pub transactions: u64,
    /// The transactions that `tables` has changes of, in source order.
    pub changing: Vec<TransactionId>,
    /// Transactions left out because [`StreamRequest::applied`] has them.
    ///
    /// [`StreamRequest::applied`]: crate::source::StreamRequest::applied
    pub passed_over: Vec<TransactionId>,
    /// When the last of them was committed, microseconds since 1970 by the source's clock.
    pub committed_at: Option<i64>,
    /// A change of structure that concerns the task, after everything in `tables`.
    pub schema_change: Option<SchemaChange>,
}

impl ChangeSet {
    /// Number of row changes.
    pub fn rows(&self) -> usize {
        self.tables.iter().map(|changes| changes.ops.len()).sum()
    }
}
