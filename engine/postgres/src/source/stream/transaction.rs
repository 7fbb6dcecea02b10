//! A transaction of the stream, as far as it has come.

use engine_core::schema::TableName;
use engine_core::transaction::TransactionId;
use std::collections::HashSet;

use crate::replication::lsn::Lsn;
use crate::source::ahead::Found;
use crate::source::position::Numbers;

/// A transaction that has begun and not ended.
pub(super) struct Transaction {
    /// Named after the place of its commit record, which is unique and the same each time.
    pub(super) id: TransactionId,
    pub(super) numbers: Numbers,
    /// Its place in the set that is being gathered, once that has rows of it.
    pub(super) place: Option<u32>,
    /// The target has it already.
    pub(super) is_applied: bool,
    /// The tables that it empties are empty already.
    pub(super) is_begun: bool,
    /// It has changed rows of a wanted table.
    pub(super) has_rows: bool,
    /// Those tables, by their places in the request, the last one apart.
    pub(super) touched: HashSet<usize>,
    pub(super) touched_last: Option<usize>,
    /// Some of its rows were handed over.
    pub(super) is_in_pieces: bool,
    /// Messages of changes so far.
    pub(super) messages: u64,
    /// It has emptied these wanted tables, each by this message, and done nothing else.
    pub(super) truncated: Vec<(TableName, u64)>,
    /// What was found in it when it was read before.
    pub(super) found: Found,
    /// It is only looked through, for what goes before its rows.
    pub(super) looking: Option<Found>,
}

impl Transaction {
    /// One that has just begun.
    pub(super) fn new(id: TransactionId, numbers: Numbers) -> Self {
        Self {
            id,
            numbers,
            place: None,
            is_applied: false,
            is_begun: false,
            has_rows: false,
            touched: HashSet::new(),
            touched_last: None,
            is_in_pieces: false,
            messages: 0,
            truncated: Vec::new(),
            found: Found::default(),
            looking: None,
        }
    }

    /// Where its commit record begins.
    pub(super) fn commit(&self) -> Lsn {
        Lsn(self.id.number)
    }

    /// Says that it changes rows of a table.
    pub(super) fn touch(&mut self, table: usize) {
        self.has_rows = true;
        if self.touched_last != Some(table) {
            self.touched_last = Some(table);
            self.touched.insert(table);
        }
    }

    /// From here on it is only looked through.
    pub(super) fn look_through(&mut self) -> &mut Found {
        let (truncated, found) = (std::mem::take(&mut self.truncated), &self.found);
        let looking = self.looking.get_or_insert_with(|| found.clone());
        looking.emptied.extend(truncated);
        looking
    }
}
