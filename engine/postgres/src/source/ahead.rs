//! What a stream has found in the midst of transactions and what has to be done before their first row: for the
//! stream that reads them again.

use engine_core::change::SchemaChange;
use engine_core::schema::TableName;
use engine_core::{Error, ErrorKind, Result};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use crate::replication::lsn::Lsn;

/// Transactions that are remembered. One that is forgotten is looked through once more.
const KEPT: usize = 64;

/// See the module; by the places of the transactions' commit records.
#[derive(Debug, Default)]
pub(super) struct Ahead(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    found: HashMap<u64, Found>,
    /// Columns that a table had on record when its change was told, by transaction and relation.
    told: HashMap<(u64, u32), Vec<String>>,
    /// Relations that were not known to a stream.
    asked: HashSet<u32>,
}

/// What was found in a transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Tables that it empties, each with the number of the message that does so last.
    pub(super) emptied: BTreeMap<TableName, u64>,
    /// Changes of structure that are seen behind its first rows.
    pub(super) altered: Vec<SchemaChange>,
}

impl Found {
    /// Adds a change of structure, once for each table.
    pub(super) fn alter(&mut self, change: SchemaChange) {
        if !self.altered.iter().any(|known| known.tables == change.tables) {
            self.altered.push(change);
        }
    }
}

impl Ahead {
    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was found in a transaction.
    pub(super) fn get(&self, commit: Lsn) -> Found {
        self.seen().found.get(&commit.0).cloned().unwrap_or_default()
    }

    /// Remembers what was found.
    pub(super) fn put(&self, commit: Lsn, found: Found) {
        let mut seen = self.seen();
        if seen.found.len() >= KEPT {
            seen.found.clear();
        }
        seen.found.insert(commit.0, found);
    }

    /// Has a relation looked up by the streams that follow.
    pub(super) fn ask(&self, relation: u32) {
        self.seen().asked.insert(relation);
    }

    /// The relations that a stream that begins now looks up.
    pub(super) fn asked(&self) -> HashSet<u32> {
        self.seen().asked.clone()
    }

    /// Says that a table's change of structure is told at a transaction, of columns that are on record. Told
    /// again after the record has changed, it would go on for ever: the transaction has rows from before and after.
    pub(super) fn tell(&self, commit: Lsn, relation: u32, columns: &[String]) -> Result<()> {
        let mut seen = self.seen();
        if seen.told.len() >= KEPT {
            seen.told.clear();
        }
        let known = seen.told.entry((commit.0, relation)).or_insert_with(|| columns.to_vec());
        if *known == columns {
            return Ok(());
        }
        Err(amid_rows())
    }
}

/// The error of a transaction that has rows of a table from before and after its structure changed.
pub(super) fn amid_rows() -> Error {
    Error::new(
        ErrorKind::Unrepresentable,
        "a transaction changes the structure of a table in the midst of its rows",
    )
    .because("the target can take the structure of before or of after, and not both in one transaction")
    .help("begin a new task with another --name; change structure in transactions of its own")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_again_until_it_is_on_record() {
        let ahead = Ahead::default();
        let (one, two) = (["a".to_owned()], ["a".to_owned(), "b".to_owned()]);
        ahead.tell(Lsn(7), 1, &one).expect("the first time");
        ahead.tell(Lsn(7), 1, &one).expect("nothing came of it");
        ahead.tell(Lsn(8), 1, &two).expect("another transaction");
        assert!(ahead.tell(Lsn(7), 1, &two).is_err());
    }

    #[test]
    fn what_is_found_is_kept_by_transaction() {
        let ahead = Ahead::default();
        let emptied = BTreeMap::from([(TableName::new("s", "t"), 3)]);
        let found = Found { emptied, altered: Vec::new() };
        ahead.put(Lsn(7), found.clone());
        assert_eq!((ahead.get(Lsn(7)), ahead.get(Lsn(8))), (found, Found::default()));
    }
}
