//! The transaction that the stream is in.

use engine_core::transaction::TransactionId as Name;
use std::sync::Arc;

use super::gtid::Origin;
use super::position::{FilePosition, Transactions};
use super::stream::KeptRows;

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

    /// Its name for the rest of the engine. One without an identifier is named after the place
    /// where it begins.
    pub(crate) fn name(&self, place: Option<&FilePosition>, start: u64) -> Name {
        match self {
            Self::MySql(origin, number) => Name { origin: Arc::from(origin.to_string()), number: *number },
            // Without gtid_strict_mode two servers may give the same number in one domain.
            Self::MariaDb { domain, server, sequence } => {
                Name { origin: Arc::from(format!("{domain}-{server}")), number: *sequence }
            }
            Self::Anonymous => {
                Name { origin: Arc::from(place.map_or("", |place| &place.file)), number: start }
            }
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
    /// The rows of one.
    pub(crate) kept: Vec<KeptRows>,
    /// Number of the connection that changes rows in it, where the log says so.
    pub(crate) session: Option<u32>,
    /// It changed rows of a wanted table.
    pub(crate) has_rows: bool,
    /// The target has it already; known from its first row on.
    pub(crate) applied: Option<bool>,
    /// Its place in the set that is being gathered, once that has rows of it.
    pub(crate) place: Option<u32>,
}

impl Transaction {
    pub(crate) fn new(id: TransactionId, start: u64) -> Self {
        Self {
            id,
            start,
            committed_at: None,
            open: false,
            distributed: false,
            kept: Vec::new(),
            session: None,
            has_rows: false,
            applied: None,
            place: None,
        }
    }
}
