//! The set that is being gathered.

use engine_core::change::{ChangeSet, Op, SchemaChange, TableChanges};
use engine_core::position::Position;
use engine_core::transaction::TransactionId;
use tokio::time::Instant;

use super::GATHER;
use super::relation::Wanted;

/// See the module.
#[derive(Default)]
pub(super) struct Gathering {
    /// By table of the request.
    tables: Vec<Option<TableChanges>>,
    pub(super) rows: usize,
    /// Of messages that changed rows.
    pub(super) bytes: usize,
    pub(super) transactions: u64,
    changing: Vec<TransactionId>,
    passed_over: Vec<TransactionId>,
    committed_at: Option<i64>,
    pub(super) schema_change: Option<SchemaChange>,
    /// The position has moved without a transaction.
    has_moved: bool,
    /// When the set has to be handed over.
    pub(super) until: Option<Instant>,
}

impl Gathering {
    pub(super) fn is_empty(&self) -> bool {
        self.transactions == 0 && self.rows == 0 && !self.has_moved && self.schema_change.is_none()
    }

    /// Says that the position has moved.
    pub(super) fn moved(&mut self) {
        self.has_moved = true;
        self.until.get_or_insert_with(|| Instant::now() + GATHER);
    }

    /// Says that a transaction has ended.
    pub(super) fn ended(&mut self, committed_at: i64) {
        self.transactions += 1;
        self.committed_at = Some(committed_at);
        self.until.get_or_insert_with(|| Instant::now() + GATHER);
    }

    /// Says that changes of a transaction are left out.
    pub(super) fn passed_over(&mut self, transaction: &TransactionId) {
        if self.passed_over.last() != Some(transaction) {
            self.passed_over.push(transaction.clone());
        }
    }

    /// The place of a transaction among those with changes.
    pub(super) fn place_of(&mut self, transaction: &TransactionId) -> u32 {
        self.changing.push(transaction.clone());
        (self.changing.len() - 1) as u32
    }

    /// The changes of a table, for one more of the transaction at `place`; the rows are the caller's to add.
    pub(super) fn change(&mut self, wanted: &Wanted, op: Op, place: u32, bytes: usize) -> &mut TableChanges {
        if self.tables.len() <= wanted.table {
            self.tables.resize_with(wanted.table + 1, || None);
        }
        self.rows += 1;
        self.bytes += bytes;
        let changes = self.tables[wanted.table].get_or_insert_with(|| wanted.empty_changes());
        changes.ops.push(op);
        changes.transactions.push(place);
        changes
    }

    pub(super) fn into_set(self, position: Option<Position>) -> ChangeSet {
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
