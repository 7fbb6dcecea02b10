//! The set of changes that a stream is gathering.

use std::time::{Duration, Instant};

use crate::change::{ChangeSet, Op, SchemaChange, TableChanges};
use crate::position::Position;
use crate::source::StreamRequest;
use crate::transaction::TransactionId;

/// Longest time for which transactions are gathered into one set.
const LONGEST: Duration = Duration::from_millis(5);

/// What a [`ChangeStream`](crate::source::ChangeStream) has read and not handed over yet.
#[derive(Debug, Default)]
pub struct Gathering {
    /// By table of the request.
    tables: Vec<Option<TableChanges>>,
    rows: usize,
    bytes: usize,
    transactions: u64,
    changing: Vec<TransactionId>,
    passed_over: Vec<TransactionId>,
    committed_at: Option<i64>,
    schema_change: Option<SchemaChange>,
    has_moved: bool,
    /// When it has to be handed over.
    until: Option<Instant>,
}

impl Gathering {
    /// Whether there is nothing to say, not even a new position.
    pub fn is_empty(&self) -> bool {
        self.transactions == 0 && self.rows == 0 && !self.has_moved && self.schema_change.is_none()
    }

    /// Whether a transaction ended in it.
    pub fn has_transactions(&self) -> bool {
        self.transactions > 0
    }

    /// Whether a change of structure ends it.
    pub fn has_schema_change(&self) -> bool {
        self.schema_change.is_some()
    }

    /// Whether not even a part of a transaction may be added.
    pub fn is_too_big(&self, request: &StreamRequest) -> bool {
        self.bytes >= request.set_bytes
    }

    /// Whether no transaction more may be added, or none be waited for.
    pub fn is_full(&self, request: &StreamRequest) -> bool {
        self.is_too_big(request)
            || self.rows >= request.set_rows
            || self.schema_change.is_some()
            || self.until.is_some_and(|until| Instant::now() >= until)
    }

    /// Says that the position has moved without a transaction.
    pub fn moved(&mut self) {
        self.has_moved = true;
        self.begin_to_wait();
    }

    /// Says that a transaction has ended, committed at this time in microseconds since 1970.
    pub fn ended(&mut self, committed_at: Option<i64>) {
        self.transactions += 1;
        self.passed(committed_at);
    }

    /// Says that a transaction has ended which an earlier stream had.
    pub fn passed(&mut self, committed_at: Option<i64>) {
        self.committed_at = committed_at.or(self.committed_at);
        self.begin_to_wait();
    }

    fn begin_to_wait(&mut self) {
        self.until.get_or_insert_with(|| Instant::now() + LONGEST);
    }

    /// Says that changes of a transaction are left out, since the target has them.
    pub fn pass_over(&mut self, transaction: TransactionId) {
        if self.passed_over.last() != Some(&transaction) {
            self.passed_over.push(transaction);
        }
    }

    /// The place of one more transaction among those with changes.
    pub fn place_of(&mut self, transaction: TransactionId) -> u32 {
        self.changing.push(transaction);
        (self.changing.len() - 1) as u32
    }

    /// The changes of a table of the request, for one more of the transaction at `place`, which is `bytes` large in
    /// the log. Its rows are the caller's to add.
    pub fn change(
        &mut self,
        table: usize,
        op: Op,
        place: u32,
        bytes: usize,
        empty: impl FnOnce() -> TableChanges,
    ) -> &mut TableChanges {
        self.count(1, bytes);
        let changes = self.changes(table, empty);
        changes.ops.push(op);
        changes.transactions.push(place);
        changes
    }

    /// The changes of a table of the request, made by `empty` if there are none yet. What is added is
    /// [counted](Self::count) by the caller.
    pub fn changes(&mut self, table: usize, empty: impl FnOnce() -> TableChanges) -> &mut TableChanges {
        if self.tables.len() <= table {
            self.tables.resize_with(table + 1, || None);
        }
        self.tables[table].get_or_insert_with(empty)
    }

    /// Says how many changes were added, and how large they were in the log.
    pub fn count(&mut self, rows: usize, bytes: usize) {
        self.rows += rows;
        self.bytes += bytes;
    }

    /// Ends it with a change of structure.
    pub fn end_with(&mut self, change: SchemaChange) {
        self.schema_change = Some(change);
    }

    /// Forgets the changes of the last transaction, whose place this is. The last row of it may be there in part.
    pub fn take_back(&mut self, place: u32) {
        for slot in &mut self.tables {
            let Some(changes) = slot else { continue };
            let kept = changes.transactions.partition_point(|&transaction| transaction < place);
            changes.transactions.truncate(kept);
            changes.ops.truncate(kept);
            let rows_without = |op: Op| changes.ops.iter().filter(|&&other| other != op).count();
            let (after, before) = (rows_without(Op::Delete), rows_without(Op::Insert));
            changes.after = changes.after.take(&(0..after).collect::<Vec<_>>());
            changes.before = changes.before.take(&(0..before).collect::<Vec<_>>());
            if kept == 0 {
                *slot = None;
            }
        }
        self.changing.truncate(place as usize);
        self.rows = self.tables.iter().flatten().map(|changes| changes.ops.len()).sum();
    }

    /// What was gathered; the position says where it ends, if not within a transaction.
    pub fn into_set(self, position: Option<Position>) -> ChangeSet {
        ChangeSet {
            tables: self.tables.into_iter().flatten().collect(),
            position,
            transactions: self.transactions,
            changing: self.changing,
            passed_over: self.passed_over,
            committed_at: self.committed_at,
            schema_change: self.schema_change,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batch;

    #[test]
    fn the_last_transaction_can_be_taken_back() {
        let transaction = |number| TransactionId { origin: "server".into(), number };
        let empty = |table| TableChanges {
            table,
            ops: Vec::new(),
            transactions: Vec::new(),
            after: Batch::default(),
            before: Batch::default(),
        };
        let mut set = Gathering::default();
        let first = set.place_of(transaction(1));
        set.change(0, Op::Delete, first, 10, || empty(0)).before.rows += 1;
        set.ended(Some(5));
        let second = set.place_of(transaction(2));
        set.change(0, Op::Update, second, 10, || empty(0)).before.rows += 1;
        set.change(2, Op::Insert, second, 10, || empty(2)).after.rows += 1;
        set.take_back(second);
        let set = set.into_set(None);
        assert_eq!(set.changing, [transaction(1)]);
        assert_eq!(set.tables.len(), 1);
        assert_eq!((set.tables[0].ops.as_slice(), set.tables[0].before.rows), ([Op::Delete].as_slice(), 1));
    }
}
