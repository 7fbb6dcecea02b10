//! What has changed on the source since the check began, as far as it matters.
//!
//! The check follows the source by a stream of its own. Of each change it keeps the key's hash and the
//! hashes of the row before and after it, as the target has them; whole rows only of keys that are
//! [watched](Changes::watch). What every look from now on will find in both databases is forgotten.

use std::collections::{HashMap, HashSet, VecDeque};

use engine_core::batch::Batch;
use engine_core::error::{Error, ErrorKind, Result};
use engine_core::position::Position;
use engine_core::source::Source;
use engine_core::transaction::{TransactionId, TransactionSet};

use crate::dead_letter::Values;

use super::hash::{ByHash, Hash};
use super::order::{Interval, OrderKey};
use super::sets::{Held, Sets};
use super::weigh::Between;

/// Changes that are kept at most: about 400 MB.
const MOST_CHANGES: usize = 3_000_000;

/// A change of one row under one key.
#[derive(Debug, Clone)]
pub(super) struct Change {
    /// Number of the set that it came with.
    pub(super) set: u64,
    /// Its transaction, as a place in the set.
    pub(super) transaction: u32,
    /// The row before, by its hash; `None` when there was none under the key.
    pub(super) before: Option<Hash>,
    /// The row after.
    pub(super) after: Option<Hash>,
    /// Both as whole rows of a watched key.
    pub(super) images: Option<Box<(Option<Batch>, Option<Batch>)>>,
}

/// The changes under one key, in order.
#[derive(Debug, Default)]
struct KeyChanges {
    /// The key's fields, canonical, end to end.
    fields: Box<[u8]>,
    /// Where the key lies, in a table that is cut.
    order: Option<OrderKey>,
    /// The row's key on the source, of a table whose bad rows are set aside.
    letter: Option<Values>,
    changes: Vec<Change>,
}

/// A change of how often a table without a key has a row.
#[derive(Debug)]
struct Loose {
    set: u64,
    transaction: u32,
    hash: Hash,
    by: i64,
}

#[derive(Debug, Default)]
struct TableChanges {
    keys: HashMap<Hash, KeyChanges, ByHash>,
    loose: VecDeque<Loose>,
    watched: HashSet<Hash, ByHash>,
}

/// The changes.
#[derive(Debug, Default)]
pub(super) struct Changes {
    sets: Sets,
    tables: Vec<TableChanges>,
    kept: usize,
}

/// A change that is about to be noted.
pub(super) struct Noted {
    pub(super) table: usize,
    /// With its fields, canonical, end to end; `None` in a table without a key.
    pub(super) key: Option<(Hash, Box<[u8]>)>,
    pub(super) order: Option<OrderKey>,
    pub(super) letter: Option<Values>,
    pub(super) transaction: u32,
    pub(super) before: Option<Hash>,
    pub(super) after: Option<Hash>,
    pub(super) images: Option<Box<(Option<Batch>, Option<Batch>)>>,
}

/// What there must be under a key.
pub(super) struct State<'a> {
    pub(super) key: Hash,
    /// The key's fields, canonical, end to end.
    pub(super) fields: &'a [u8],
    /// The row's key on the source, of a table whose bad rows are set aside.
    pub(super) letter: Option<&'a Values>,
    /// The row by its hash; `None` when it must be gone.
    pub(super) expected: Option<Hash>,
}

impl Changes {
    pub(super) fn new(tables: usize) -> Self {
        Self { tables: (0..tables).map(|_| TableChanges::default()).collect(), ..Self::default() }
    }

    /// From now on keeps whole rows of these keys.
    pub(super) fn watch(&mut self, table: usize, keys: impl IntoIterator<Item = Hash>) {
        if let Some(table) = self.tables.get_mut(table) {
            table.watched.extend(keys);
        }
    }

    /// Whether whole rows are wanted of a key.
    pub(super) fn is_watched(&self, table: usize, key: Hash) -> bool {
        self.tables.get(table).is_some_and(|table| table.watched.contains(&key))
    }

    /// Notes the changes of a set that ends at `end`.
    pub(super) fn note(
        &mut self,
        end: Position,
        transactions: Vec<TransactionId>,
        changes: Vec<Noted>,
    ) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let (set, _) = self.sets.add(Some(end), transactions);
        self.kept += changes.len();
        for noted in changes {
            let Some(table) = self.tables.get_mut(noted.table) else { continue };
            let (transaction, before, after) = (noted.transaction, noted.before, noted.after);
            let Some((key, fields)) = noted.key else {
                for (hash, by) in [(before, -1), (after, 1)] {
                    table.loose.extend(hash.map(|hash| Loose { set, transaction, hash, by }));
                }
                continue;
            };
            let known = table.keys.entry(key).or_default();
            known.fields = fields;
            known.order = known.order.take().or(noted.order);
            known.letter = noted.letter.or(known.letter.take());
            known.changes.push(Change { set, transaction, before, after, images: noted.images });
        }
        if self.kept <= MOST_CHANGES {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Precondition,
            "the source is too far ahead of the target to be compared with it",
        )
        .because(format!("more than {MOST_CHANGES} changes lie between them"))
        .help("let the engine catch up (engine run, engine status), then check again"))
    }

    /// Exactly those transactions that `position` holds or that are among `applied`.
    pub(super) fn held(
        &self,
        source: &dyn Source,
        position: &Position,
        applied: &TransactionSet,
    ) -> Result<Held> {
        self.sets.held(source, position, applied)
    }

    /// What the changes mean for a part of a table: `target` is what the target holds, `low` what the
    /// source's rows are known to contain.
    pub(super) fn between(
        &self,
        source: &dyn Source,
        table: usize,
        part: Option<&Interval>,
        target: &Held,
        low: &Position,
    ) -> Result<Between> {
        let mut between = Between::default();
        let Some(table) = self.tables.get(table) else { return Ok(between) };
        if !table.loose.is_empty() {
            let read = self.held(source, low, &TransactionSet::default())?;
            for loose in &table.loose {
                let holds = |held: &Held| i64::from(held.holds(loose.set, loose.transaction));
                let times = loose.by * (holds(target) - holds(&read));
                if times != 0 {
                    *between.more.entry(loose.hash).or_default() += times;
                }
            }
            between.more.retain(|_, times| *times != 0);
        }
        // What both sides have been seen to hold needs no accounting: the rows themselves tell.
        let settled = self.sets.within(source, low)?.min(target.sets);
        for (&key, known) in &table.keys {
            let is_last_settled = known.changes.last().is_some_and(|last| last.set < settled);
            let is_elsewhere = match (part, &known.order) {
                (Some(part), Some(order)) => !part.holds(order),
                _ => false,
            };
            if !is_last_settled && !is_elsewhere {
                between.expected.insert(key, expected(&known.changes, target).map(|(hash, _)| hash));
            }
        }
        Ok(between)
    }

    /// How many more of a row of a table without a key there are after the transactions of `target` than after those
    /// of `read`.
    pub(super) fn times(&self, table: usize, row: Hash, target: &Held, read: &Held) -> i64 {
        let loose = self.tables.get(table).into_iter().flat_map(|table| &table.loose);
        let holds = |held: &Held, loose: &Loose| i64::from(held.holds(loose.set, loose.transaction));
        loose
            .filter(|loose| loose.hash == row)
            .map(|loose| loose.by * (holds(target, loose) - holds(read, loose)))
            .sum()
    }

    /// What the target must have under a watched key, of which there are changes: the row, if any.
    pub(super) fn expected_row(&self, table: usize, key: Hash, target: &Held) -> Result<Option<Batch>> {
        let known = self.tables.get(table).and_then(|table| table.keys.get(&key));
        match known.and_then(|known| expected(&known.changes, target)) {
            None => Ok(None),
            Some((_, Some(row))) => Ok(Some(row.clone())),
            Some((_, None)) => Err(Error::new(ErrorKind::Internal, "a changed row was not kept")),
        }
    }

    /// What the target must have under each key that a transaction of `target` has changed.
    pub(super) fn states(&self, table: usize, target: &Held) -> Vec<State<'_>> {
        let keys = self.tables.get(table).into_iter().flat_map(|table| &table.keys);
        keys.filter_map(|(&key, known)| {
            let held =
                known.changes.iter().rev().find(|change| target.holds(change.set, change.transaction))?;
            Some(State { key, fields: &known.fields, letter: known.letter.as_ref(), expected: held.after })
        })
        .collect()
    }

    /// Whether a change under a watched key is not in what the source's rows are known to contain, or not in
    /// the target.
    pub(super) fn is_between(
        &self,
        source: &dyn Source,
        table: usize,
        key: Hash,
        target: &Held,
        low: &Position,
    ) -> Result<bool> {
        let Some(known) = self.tables.get(table).and_then(|table| table.keys.get(&key)) else {
            return Ok(false);
        };
        let settled = self.sets.within(source, low)?.min(target.sets);
        Ok(known.changes.iter().any(|change| change.set >= settled))
    }

    /// The key's fields of a row that changed, canonical, end to end.
    pub(super) fn key_fields(&self, table: usize, key: Hash) -> Option<Vec<u8>> {
        Some(self.tables.get(table)?.keys.get(&key)?.fields.to_vec())
    }

    /// The key on the source of a row that changed.
    pub(super) fn letter(&self, table: usize, key: Hash) -> Option<&Values> {
        self.tables.get(table)?.keys.get(&key)?.letter.as_ref()
    }

    /// Forgets the sets that are within all of these positions, those of the target and what the source's
    /// rows contained: every look from now on will be further.
    pub(super) fn forget(&mut self, source: &dyn Source, floors: &[(Position, Position)]) -> Result<()> {
        let mut end = self.sets.end();
        for (target, low) in floors {
            end = end.min(self.sets.within(source, target)?).min(self.sets.within(source, low)?);
        }
        // Now and then, since all keys are gone through.
        if floors.is_empty() || end < self.sets.first() + 32 {
            return Ok(());
        }
        self.sets.forget(end);
        self.kept = 0;
        for table in &mut self.tables {
            table.loose.retain(|loose| loose.set >= end);
            table.keys.retain(|_, known| {
                known.changes.retain(|change| change.set >= end);
                !known.changes.is_empty()
            });
            self.kept +=
                table.loose.len() + table.keys.values().map(|known| known.changes.len()).sum::<usize>();
        }
        Ok(())
    }
}

/// What there must be under a key in a target that holds these transactions: what the last of them left,
/// else what the first of the others found.
fn expected<'a>(changes: &'a [Change], target: &Held) -> Option<(Hash, Option<&'a Batch>)> {
    let last = changes.iter().rev().find(|change| target.holds(change.set, change.transaction));
    match (last, changes.first()) {
        (Some(last), _) => Some((last.after?, last.images.as_ref().and_then(|images| images.1.as_ref()))),
        (None, Some(first)) => {
            Some((first.before?, first.images.as_ref().and_then(|images| images.0.as_ref())))
        }
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    use crate::test_source::{Counting, name, position};

    /// A transaction of the model: it gives a key a value, or none.
    type Write = (u8, Option<u8>);

    /// The rows after those of the transactions that `has` names.
    fn table(writes: &[Write], has: impl Fn(u64) -> bool) -> BTreeMap<u8, u8> {
        let mut rows = BTreeMap::new();
        for (number, &(key, value)) in (1_u64..).zip(writes) {
            if has(number) {
                match value {
                    Some(value) => drop(rows.insert(key, value)),
                    None => drop(rows.remove(&key)),
                }
            }
        }
        rows
    }

    /// All changes from the first transaction on, in sets of `size` transactions.
    fn noted(writes: &[Write], size: usize, is_loose: bool) -> Changes {
        let mut changes = Changes::new(1);
        let mut rows: BTreeMap<u8, u8> = BTreeMap::new();
        let mut at = 0_u64;
        for set in writes.chunks(size) {
            let mut entries = Vec::new();
            for (transaction, &(key, value)) in (0_u32..).zip(set) {
                let before = rows.get(&key).copied();
                match value {
                    Some(value) => drop(rows.insert(key, value)),
                    None => drop(rows.remove(&key)),
                }
                let hash = |value: Option<u8>| value.map(|value| Hash::from(key) << 8 | Hash::from(value));
                entries.push(Noted {
                    table: 0,
                    key: (!is_loose).then(|| (Hash::from(key), Box::default())),
                    order: None,
                    letter: None,
                    transaction,
                    before: hash(before),
                    after: hash(value),
                    images: None,
                });
            }
            let names = (at + 1..).take(set.len()).map(name).collect();
            at += set.len() as u64;
            changes.note(position(at), names, entries).expect("few changes");
        }
        changes
    }

    fn model() -> impl Strategy<Value = (Vec<Write>, usize, u64, u64, u64, Vec<bool>)> {
        let writes = proptest::collection::vec((0_u8..5, proptest::option::of(0_u8..4)), 1..40);
        (writes, 1_usize..6, 0_u64..41, 0_u64..41, 0_u64..41, proptest::collection::vec(any::<bool>(), 40))
    }

    proptest! {
        /// Whatever the target holds, in order or out of order, and whenever the source is read: a row that changes
        /// concern is as it must be, and any other is the same on both sides.
        #[test]
        fn every_row_is_accounted_for((writes, size, p, low, seen, ahead) in model(), forgotten: bool) {
            let end = writes.len() as u64;
            let (p, low) = (p.min(end), low.min(end));
            let seen = low + seen % (end - low + 1);
            // Beyond its position the target has some transactions, of each key the first ones.
            let mut applied = TransactionSet::default();
            let mut blocked = Vec::new();
            for (number, &(key, _)) in (1_u64..).zip(&writes).filter(|(number, _)| *number > p) {
                if ahead[number as usize - 1] && !blocked.contains(&key) {
                    applied.insert(&name(number));
                } else {
                    blocked.push(key);
                }
            }
            let target = table(&writes, |number| number <= p || applied.contains(&name(number)));
            let source = table(&writes, |number| number <= seen);
            let mut changes = noted(&writes, size, false);
            if forgotten {
                changes.forget(&Counting, &[(position(p.saturating_sub(3)), position(low.saturating_sub(3)))]).expect("comparable");
            }
            let held = changes.held(&Counting, &position(p), &applied).expect("comparable");
            let between = changes.between(&Counting, 0, None, &held, &position(low)).expect("comparable");
            for key in 0..5_u8 {
                let hash = |rows: &BTreeMap<u8, u8>| rows.get(&key).map(|&value| Hash::from(key) << 8 | Hash::from(value));
                match between.expected.get(&Hash::from(key)) {
                    Some(expected) => prop_assert_eq!(*expected, hash(&target)),
                    None => prop_assert_eq!(hash(&source), hash(&target)),
                }
            }
        }

        /// Without a key, a row's number on the source and what the changes add give its number in the target.
        #[test]
        fn rows_without_a_key_are_counted((writes, size, p, low, _, _) in model()) {
            let end = writes.len() as u64;
            let (p, low) = (p.min(end), low.min(end));
            let target = table(&writes, |number| number <= p);
            let source = table(&writes, |number| number <= low);
            let changes = noted(&writes, size, true);
            let held = changes.held(&Counting, &position(p), &TransactionSet::default()).expect("comparable");
            let between = changes.between(&Counting, 0, None, &held, &position(low)).expect("comparable");
            for (key, value) in (0..5_u8).flat_map(|key| (0..4_u8).map(move |value| (key, value))) {
                let count = |rows: &BTreeMap<u8, u8>| i64::from(rows.get(&key) == Some(&value));
                let more = between.more.get(&(Hash::from(key) << 8 | Hash::from(value))).copied().unwrap_or(0);
                prop_assert_eq!(count(&source) + more, count(&target));
            }
        }
    }
}
