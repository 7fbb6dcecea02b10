//! The transaction that the stream is in.

use super::gtid::Origin;
use super::position::Transactions;

/// The identifier of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TransactionId {
    /// MySQL with GTIDs.
    MySql(Origin, u64),
    /// MariaDB.
    MariaDb { domain: u32, server: u32, sequence: u64 },
    /// MySQL without GTIDs.
    Anonymous,
}

impl TransactionId {
    /// Whether it is in `transactions`; false where that can't be said.
    pub(crate) fn is_in(&self, transactions: &Transactions) -> bool {
        match (self, transactions) {
            (Self::MySql(origin, number), Transactions::Set(set)) => set.contains(origin, *number),
            (Self::MariaDb { domain, sequence, .. }, Transactions::State(state)) => {
                state.contains(*domain, *sequence)
            }
            _ => false,
        }
    }

    /// Adds it to `transactions`.
    pub(crate) fn add_to(&self, transactions: &mut Transactions) {
        match (self, transactions) {
            (Self::MySql(origin, number), Transactions::Set(set)) => set.insert(origin, *number, *number),
            (Self::MariaDb { domain, server, sequence }, Transactions::State(state)) => {
                state.advance(*domain, *server, *sequence);
            }
            _ => {}
        }
    }
}

/// A transaction that has begun and not ended.
#[derive(Debug, Clone)]
pub(crate) struct Transaction {
    pub(crate) id: TransactionId,
    /// Offset in the file at which it begins.
    pub(crate) start: u64,
    /// When it was committed, microseconds since 1970; MySQL says so at its beginning.
    pub(crate) committed_at: Option<i64>,
    /// Events that change rows may come: after BEGIN, but not in a transaction that is one
    /// statement.
    pub(crate) open: bool,
    /// It is the first phase of a distributed transaction.
    pub(crate) distributed: bool,
    /// It changed rows of a wanted table.
    pub(crate) has_rows: bool,
}

impl Transaction {
    pub(crate) fn new(id: TransactionId, start: u64) -> Self {
        Self { id, start, committed_at: None, open: false, distributed: false, has_rows: false }
    }
}
