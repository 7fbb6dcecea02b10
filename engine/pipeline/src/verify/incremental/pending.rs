//! Keys that changed and have not been compared since, and what the target must have of them.

use std::collections::HashMap;
use std::sync::Arc;

use engine_core::batch::Batch;
use engine_core::error::Result;
use engine_core::position::Position;
use engine_core::source::Source;
use engine_core::transaction::{TransactionId, TransactionSet};

use crate::dead_letter::Values;

use super::super::hash::{ByHash, Hash};
use super::super::sets::{Held, Sets};

/// States of rows that wait at most; at about 200 bytes each, 100 MB.
pub(super) const MOST: usize = 500_000;
/// Bytes of whole rows that are kept beside, to tell which columns differ.
const MOST_IMAGES: usize = 64 << 20;
/// Wrong rows that are looked at again and again.
const MOST_WRONG: usize = 10_000;
/// The set of what was held when the stream was opened anew. Numbers of real ones are greater.
const BEFORE: u64 = 0;

/// A row's key: its place in a batch of the key's columns.
#[derive(Debug, Clone)]
pub(super) struct KeyRow {
    pub(super) keys: Arc<Batch>,
    pub(super) row: usize,
}

/// What there must be under a key once a change is applied.
#[derive(Debug, Clone, Default)]
pub(super) struct Expected {
    /// The row by its hash; `None` when it must be gone.
    pub(super) hash: Option<Hash>,
    /// The row itself, canonical, if there was room.
    pub(super) row: Option<Box<[u8]>>,
    /// The row's key on the source, of a table whose bad rows are set aside.
    pub(super) letter: Option<Values>,
}

/// The last change of a key in a set.
#[derive(Debug)]
pub(super) struct Noted {
    pub(super) key: Hash,
    pub(super) at: KeyRow,
    /// Its transaction, as a place in the set.
    pub(super) transaction: u32,
    pub(super) expected: Expected,
}

#[derive(Debug)]
struct Version {
    set: u64,
    transaction: u32,
    expected: Expected,
    /// The target was found not to have it.
    is_told: bool,
}

#[derive(Debug)]
struct Key {
    at: KeyRow,
    /// In the order of the changes.
    versions: Vec<Version>,
    is_wrong: bool,
}

/// A key that can be compared now.
#[derive(Debug, Clone)]
pub(super) struct Due {
    pub(super) table: usize,
    pub(super) key: Hash,
    pub(super) at: KeyRow,
    pub(super) expected: Expected,
    set: u64,
    transaction: u32,
}

/// What became of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    /// As it must be.
    Right,
    /// As it must be, and was not when it was last looked at.
    RightAgain,
    /// Not as it must be.
    Wrong,
    /// Not as it must be, as was known.
    StillWrong,
    /// It doesn't count: the key was given up meanwhile.
    Void,
}

/// Figures for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    /// Changes whose rows were compared.
    pub(super) checked: u64,
    /// Rows that were not as they must be when they were last looked at.
    pub(super) wrong: u64,
    /// Changes that there was no room to remember.
    pub(super) not_checked: u64,
    /// Changes that wait.
    pub(super) waiting: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Pending {
    sets: Sets,
    tables: Vec<HashMap<Hash, Key, ByHash>>,
    most: usize,
    /// Versions that wait, those told as wrong left out.
    waiting: usize,
    image_bytes: usize,
    checked: u64,
    not_checked: u64,
    /// Rows known to be wrong that are kept.
    wrong: usize,
    /// Rows that were wrong and can't be looked at again.
    given_up_wrong: u64,
}

impl Pending {
    /// Remembers at most `most` changes.
    pub(super) fn new(most: usize) -> Self {
        Self {
            sets: Sets::beginning_at(BEFORE + 1),
            tables: Vec::new(),
            most,
            waiting: 0,
            image_bytes: 0,
            checked: 0,
            not_checked: 0,
            wrong: 0,
            given_up_wrong: 0,
        }
    }

    /// Whether there is anything that was not looked at yet.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting > 0
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            checked: self.checked,
            wrong: self.wrong as u64 + self.given_up_wrong,
            not_checked: self.not_checked,
            waiting: self.waiting as u64,
        }
    }

    /// Notes a set, or a piece of one, by table. What there is no room for is counted, and nothing is known any
    /// more of its keys.
    pub(super) fn note(
        &mut self,
        end: Option<Position>,
        transactions: Vec<TransactionId>,
        tables: Vec<(usize, Vec<Noted>)>,
    ) {
        if transactions.is_empty() {
            return;
        }
        let (set, offset) = self.sets.add(end, transactions);
        for (table, changes) in tables {
            for change in changes {
                self.note_one(table, set, offset, change);
            }
        }
    }

    fn note_one(&mut self, table: usize, set: u64, offset: u32, change: Noted) {
        let is_full = self.waiting + self.wrong >= self.most;
        let Some(keys) = self.tables.get_mut(table) else { return };
        if is_full {
            self.not_checked += 1;
            if let Some(key) = keys.remove(&change.key) {
                self.not_checked += self.drop_key(&key);
            }
            return;
        }
        let mut expected = change.expected;
        if self.image_bytes >= MOST_IMAGES {
            expected.row = None;
        }
        self.image_bytes += image(&expected);
        let transaction = offset + change.transaction;
        let at = change.at;
        let key = keys.entry(change.key).or_insert_with(|| Key { at, versions: Vec::new(), is_wrong: false });
        // Pieces of one transaction have one number: the last state counts.
        if let Some(last) = key.versions.last_mut().filter(|last| last.set == set) {
            self.image_bytes -= image(&last.expected);
            *last = Version { set, transaction, expected, is_told: false };
        } else {
            key.versions.push(Version { set, transaction, expected, is_told: false });
            self.waiting += 1;
        }
    }

    /// Takes on what a target has had from the beginning and nobody compared; `None` is what can't be compared.
    pub(super) fn recall(&mut self, table: usize, states: impl Iterator<Item = Option<Noted>>) {
        for state in states {
            match state {
                Some(state) => self.note_one(table, BEFORE, 0, state),
                None => self.not_checked += 1,
            }
        }
    }

    /// Takes a key's figures out; how many of its changes were never compared.
    fn drop_key(&mut self, key: &Key) -> u64 {
        let waiting = key.versions.iter().filter(|version| !version.is_told).count();
        self.waiting -= waiting;
        self.image_bytes -= key.versions.iter().map(|version| image(&version.expected)).sum::<usize>();
        if key.is_wrong {
            self.wrong -= 1;
            self.given_up_wrong += 1;
        }
        waiting as u64
    }

    /// Where a target stands that has everything up to `position`, and `applied`.
    pub(super) fn held(
        &self,
        source: &dyn Source,
        position: &Position,
        applied: &TransactionSet,
    ) -> Result<Held> {
        self.sets.held(source, position, applied)
    }

    /// What a target that holds this must have, of every key that is not settled. Lanes commit the changes of one key in
    /// their order, so that what is held of them are always the first ones.
    pub(super) fn due(&self, held: &Held) -> Vec<Due> {
        let mut due = Vec::new();
        for (table, keys) in self.tables.iter().enumerate() {
            for (&hash, key) in keys {
                let holds = |version: &&Version| held.holds(version.set, version.transaction);
                if let Some(last) = key.versions.iter().rev().find(holds) {
                    due.push(Due {
                        table,
                        key: hash,
                        at: key.at.clone(),
                        expected: last.expected.clone(),
                        set: last.set,
                        transaction: last.transaction,
                    });
                }
            }
        }
        due
    }

    /// Takes in what the target had of a key.
    pub(super) fn judge(&mut self, due: &Due, is_right: bool) -> Judgement {
        let Some(keys) = self.tables.get_mut(due.table) else { return Judgement::Void };
        let Some(key) = keys.get_mut(&due.key) else { return Judgement::Void };
        let is_due = |version: &Version| version.set == due.set && version.transaction == due.transaction;
        let Some(place) = key.versions.iter().position(is_due) else { return Judgement::Void };
        let settled = if is_right { place + 1 } else { place };
        for version in key.versions.drain(..settled) {
            self.image_bytes -= image(&version.expected);
            if !version.is_told {
                self.waiting -= 1;
                self.checked += 1;
            }
        }
        let was_wrong = std::mem::replace(&mut key.is_wrong, !is_right);
        if is_right {
            if key.versions.is_empty() {
                keys.remove(&due.key);
            }
            self.wrong -= usize::from(was_wrong);
            return if was_wrong { Judgement::RightAgain } else { Judgement::Right };
        }
        if let Some(version) = key.versions.first_mut().filter(|version| !version.is_told) {
            version.is_told = true;
            self.waiting -= 1;
            self.checked += 1;
        }
        if was_wrong {
            return Judgement::StillWrong;
        }
        self.wrong += 1;
        // One that is alone, so that a batch of many keys is not kept for it.
        key.at = KeyRow { keys: Arc::new(key.at.keys.take(&[key.at.row])), row: 0 };
        if self.wrong > MOST_WRONG
            && let Some(key) = keys.remove(&due.key)
        {
            self.not_checked += self.drop_key(&key);
        }
        Judgement::Wrong
    }

    /// Forgets the names of transactions that every snapshot from now on holds.
    pub(super) fn forget(&mut self, held: &Held) {
        self.sets.forget(held.sets);
    }

    /// Begins anew on a target that stands there: what it does not hold will come again.
    pub(super) fn rewind(
        &mut self,
        source: &dyn Source,
        position: &Position,
        applied: &TransactionSet,
    ) -> Result<()> {
        let held = self.sets.held(source, position, applied)?;
        for keys in &mut self.tables {
            keys.retain(|_, key| {
                key.versions.retain(|version| held.holds(version.set, version.transaction));
                let versions = key.versions.pop();
                key.versions.clear();
                key.versions.extend(versions.map(|last| Version { set: BEFORE, transaction: 0, ..last }));
                !key.versions.is_empty()
            });
        }
        self.sets.clear();
        self.recount();
        Ok(())
    }

    /// Takes on other tables, `from` having for each of them its number before if it is still the same. What is
    /// known of the others can't be compared any more.
    pub(super) fn adopt(&mut self, from: &[Option<usize>]) {
        let mut old: Vec<Option<HashMap<Hash, Key, ByHash>>> =
            std::mem::take(&mut self.tables).into_iter().map(Some).collect();
        self.tables = from
            .iter()
            .map(|place| place.and_then(|place| old.get_mut(place)?.take()).unwrap_or_default())
            .collect();
        for key in old.into_iter().flatten().flat_map(HashMap::into_values) {
            self.not_checked += self.drop_key(&key);
        }
    }

    /// Gives up what was not looked at.
    pub(super) fn give_up(&mut self) {
        self.not_checked += self.waiting as u64;
        for keys in &mut self.tables {
            keys.retain(|_, key| {
                key.versions.retain(|version| version.is_told);
                key.is_wrong
            });
        }
        self.recount();
    }

    fn recount(&mut self) {
        let keys = || self.tables.iter().flat_map(HashMap::values);
        let versions = || keys().flat_map(|key| &key.versions);
        self.waiting = versions().filter(|version| !version.is_told).count();
        self.image_bytes = versions().map(|version| image(&version.expected)).sum();
        self.wrong = keys().filter(|key| key.is_wrong).count();
    }
}

fn image(expected: &Expected) -> usize {
    expected.row.as_ref().map_or(0, |row| row.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_source::{Counting, name, position};
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    /// A transaction of the model: it gives a key a value, or none.
    type Write = (u8, Option<u8>);

    fn hash(key: u8, value: u8) -> Hash {
        Hash::from(key) << 8 | Hash::from(value)
    }

    fn noted(transaction: u32, (key, value): Write) -> Noted {
        let at = KeyRow { keys: Arc::new(Batch { rows: 1, columns: Vec::new() }), row: 0 };
        let expected = Expected { hash: value.map(|value| hash(key, value)), ..Expected::default() };
        Noted { key: Hash::from(key), at, transaction, expected }
    }

    /// Notes those transactions of a set, which comes after `from` others, that are not passed over.
    fn feed(pending: &mut Pending, from: usize, set: &[Write], comes: impl Fn(usize) -> bool) {
        let mut last: BTreeMap<u8, Noted> = BTreeMap::new();
        let coming: Vec<usize> = (0..set.len()).filter(|&place| comes(place)).collect();
        for (transaction, &place) in (0_u32..).zip(&coming) {
            last.insert(set[place].0, noted(transaction, set[place]));
        }
        let names = coming.iter().map(|&place| name((from + place) as u64 + 1)).collect();
        pending.note(
            Some(position((from + set.len()) as u64)),
            names,
            vec![(0, last.into_values().collect())],
        );
    }

    /// What a target has that holds some transactions.
    fn rows(writes: &[Write], holds: impl Fn(usize) -> bool) -> BTreeMap<u8, u8> {
        let mut rows = BTreeMap::new();
        for (number, &(key, value)) in writes.iter().enumerate() {
            if holds(number) {
                match value {
                    Some(value) => drop(rows.insert(key, value)),
                    None => drop(rows.remove(&key)),
                }
            }
        }
        rows
    }

    /// One look at a target; the keys that are wrong now.
    fn look(
        pending: &mut Pending,
        at: u64,
        applied: &TransactionSet,
        found: &BTreeMap<u8, u8>,
    ) -> BTreeSet<u8> {
        let held = pending.held(&Counting, &position(at), applied).expect("comparable");
        let mut wrong = BTreeSet::new();
        for due in pending.due(&held) {
            let key = due.key as u8;
            let is_right = found.get(&key).map(|&value| hash(key, value)) == due.expected.hash;
            match pending.judge(&due, is_right) {
                Judgement::Wrong | Judgement::StillWrong => drop(wrong.insert(key)),
                Judgement::Right | Judgement::RightAgain | Judgement::Void => {}
            }
        }
        pending.forget(&held);
        let mut counted = Pending { tables: std::mem::take(&mut pending.tables), ..Pending::new(MOST) };
        counted.recount();
        pending.tables = std::mem::take(&mut counted.tables);
        assert_eq!((counted.waiting, counted.wrong), (pending.waiting, pending.wrong));
        wrong
    }

    proptest! {
        /// Sets are noted, lanes apply the changes of some keys ahead of others, somebody breaks a row, the stream
        /// breaks and begins anew, there is little room: whatever is called wrong is, and in the end what is
        /// broken and was not given up is called wrong.
        #[test]
        fn wrong_rows_are_found_and_no_others(
            writes in proptest::collection::vec((0_u8..6, proptest::option::of(0_u8..4)), 1..60),
            size in 1_usize..7,
            steps in proptest::collection::vec((0_usize..4, 0_usize..4, proptest::array::uniform6(0_usize..4), any::<bool>()), 0..8),
            broken in proptest::option::of(0_u8..6),
            most in prop_oneof![Just(3_usize), Just(1000)],
        ) {
            let mut pending = Pending::new(most);
            pending.adopt(&[None]);
            let sets: Vec<&[Write]> = writes.chunks(size).collect();
            // Sets fed, sets before the position, and for each key the sets that it is applied of.
            let (mut fed, mut reached, mut applied) = (0, 0, [0_usize; 6]);
            let last_of = |key: u8| writes.iter().rposition(|write| write.0 == key);
            let end = (sets.len(), sets.len(), [sets.len(); 6], false);
            let mut wrong = BTreeSet::new();
            for (more, moves, ahead, breaks) in steps.into_iter().chain([end]) {
                for (number, set) in sets.iter().enumerate().skip(fed).take(more) {
                    feed(&mut pending, number * size, set, |_| true);
                }
                fed = (fed + more).min(sets.len());
                reached = (reached + moves).min(fed);
                for (applied, ahead) in applied.iter_mut().zip(ahead) {
                    *applied = (*applied + ahead).min(fed).max(reached);
                }
                let holds = |number: usize| number / size < applied[usize::from(writes[number].0)];
                let beyond = (reached * size..writes.len()).filter(|&number| holds(number));
                let names: Vec<_> = beyond.map(|number| name(number as u64 + 1)).collect();
                let names: TransactionSet = names.iter().collect();
                let mut found = rows(&writes, holds);
                // From its last change on, somebody else has given the row another value.
                if let Some(key) = broken.filter(|&key| last_of(key).is_some_and(holds)) {
                    found.insert(key, 9);
                }
                let at = (reached * size).min(writes.len()) as u64;
                wrong = look(&mut pending, at, &names, &found);
                prop_assert!(wrong.iter().all(|&key| Some(key) == broken && last_of(key).is_some_and(holds)));
                if breaks {
                    pending.rewind(&Counting, &position(at), &names).expect("comparable");
                    // What is not held comes again, the rest is passed over.
                    for (number, set) in sets.iter().enumerate().take(fed).skip(reached) {
                        feed(&mut pending, number * size, set, |place| !holds(number * size + place));
                    }
                }
            }
            prop_assert_eq!(pending.counts().waiting, 0);
            if most > writes.len() {
                prop_assert_eq!(pending.counts().not_checked, 0);
                prop_assert_eq!(wrong.into_iter().collect::<Vec<_>>(), broken.filter(|&key| last_of(key).is_some()).into_iter().collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_row_that_is_mended_is_right_again() {
        let mut pending = Pending::new(MOST);
        pending.adopt(&[None]);
        feed(&mut pending, 0, &[(1, Some(1)), (2, Some(2))], |_| true);
        let none = TransactionSet::default();
        assert_eq!(look(&mut pending, 2, &none, &BTreeMap::from([(1, 1)])), BTreeSet::from([2]));
        let counts = Counts { checked: 2, wrong: 1, not_checked: 0, waiting: 0 };
        assert_eq!(pending.counts(), counts);
        // Nothing new, and it is still looked at.
        assert_eq!(look(&mut pending, 2, &none, &BTreeMap::from([(1, 1)])), BTreeSet::from([2]));
        assert!(look(&mut pending, 2, &none, &BTreeMap::from([(1, 1), (2, 2)])).is_empty());
        assert_eq!(pending.counts(), Counts { wrong: 0, ..counts });
    }

    #[test]
    fn what_there_is_no_room_for_is_counted() {
        let mut pending = Pending::new(2);
        pending.adopt(&[None]);
        feed(&mut pending, 0, &[(1, Some(1)), (2, Some(2)), (3, Some(3))], |_| true);
        assert_eq!((pending.counts().waiting, pending.counts().not_checked), (2, 1));
        // Nothing is known any more of a key that changes again.
        feed(&mut pending, 3, &[(1, Some(5))], |_| true);
        assert_eq!((pending.counts().waiting, pending.counts().not_checked), (1, 3));
        let found = BTreeMap::from([(1, 7), (2, 2), (3, 3)]);
        assert!(look(&mut pending, 4, &TransactionSet::default(), &found).is_empty());
        assert_eq!(pending.counts(), Counts { checked: 1, wrong: 0, not_checked: 3, waiting: 0 });
    }

    #[test]
    fn a_table_that_changed_its_structure_is_given_up() {
        let mut pending = Pending::new(MOST);
        pending.adopt(&[None]);
        feed(&mut pending, 0, &[(1, Some(1)), (2, Some(2))], |_| true);
        pending.adopt(&[None, Some(0)]);
        assert_eq!(pending.counts().waiting, 2);
        pending.adopt(&[Some(0), None]);
        assert_eq!((pending.counts().waiting, pending.counts().not_checked), (0, 2));
    }

    #[test]
    fn a_transaction_in_pieces_is_held_when_it_has_ended() {
        let mut pending = Pending::new(MOST);
        pending.adopt(&[None]);
        pending.note(None, vec![name(1)], vec![(0, vec![noted(0, (1, Some(1)))])]);
        pending.note(None, vec![name(1)], vec![(0, vec![noted(0, (1, Some(2)))])]);
        let none = TransactionSet::default();
        let held = pending.held(&Counting, &position(0), &none).expect("comparable");
        assert!(pending.due(&held).is_empty());
        pending.note(Some(position(1)), vec![name(1)], vec![(0, vec![noted(0, (2, None))])]);
        assert!(look(&mut pending, 1, &none, &BTreeMap::from([(1, 2)])).is_empty());
        assert_eq!(pending.counts().checked, 2);
    }
}
