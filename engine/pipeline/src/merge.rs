//! The net effect of consecutive changes: for each row key its last state.
//!
//! Applying the net effect in one target transaction gives the same rows as applying each change,
//! with far fewer writes. Two things have to be kept right: a key that goes, and a value of another
//! unique key that moves from row to row (`UPDATE … SET code = …` swapping two rows' codes). Both
//! are deleted before anything is written.

use std::collections::HashMap;

use engine_core::batch::Batch;
use engine_core::change::Op;
use engine_core::column::{Column, Vector};
use engine_core::plan::TargetTable;
use engine_core::schema::IndexKind;
use engine_core::target::NetChanges;

/// Changes of one table after its route: the images, and for each change, in source order, which
/// of them are its own.
#[derive(Debug, Clone, Copy)]
pub struct Changes<'a> {
    /// One entry per change.
    pub entries: &'a [Entry],
    /// New images.
    pub after: &'a Batch,
    /// Old images.
    pub before: &'a Batch,
}

/// One change: the images it has, by their place in the batches. An image that a filter left out
/// is not there, so an update can come to be an insert or a delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Row of `after`.
    pub after: Option<usize>,
    /// Row of `before`.
    pub before: Option<usize>,
}

impl Entry {
    /// What is left of the change; `None` when both images were left out.
    pub fn op(&self) -> Option<Op> {
        match (self.before, self.after) {
            (None, Some(_)) => Some(Op::Insert),
            (Some(_), Some(_)) => Some(Op::Update),
            (Some(_), None) => Some(Op::Delete),
            (None, None) => None,
        }
    }
}

/// Places in a batch of the columns that matter for merging.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergeKeys {
    /// The row key.
    pub key: Vec<usize>,
    /// Columns of other unique keys.
    pub unique: Vec<usize>,
}

impl MergeKeys {
    /// The columns of `table`; `None` when it has no row key.
    pub fn of(table: &TargetTable) -> Option<Self> {
        let place = |column: usize| table.written_columns().position(|written| written == column);
        let key: Vec<usize> = table.row_key.as_ref()?.iter().copied().map(place).collect::<Option<_>>()?;
        let mut unique: Vec<usize> = table
            .indexes
            .iter()
            .filter(|index| matches!(index.kind, IndexKind::Unique | IndexKind::Primary))
            .flat_map(|index| index.parts.iter().filter_map(|part| place(part.column)))
            .filter(|place| !key.contains(place))
            .collect();
        unique.sort_unstable();
        unique.dedup();
        Some(Self { key, unique })
    }
}

#[derive(Clone, Copy)]
struct State {
    /// Row of `after` that is the key's last state; `None` when it went.
    last: Option<usize>,
    /// Any image that has the key, to write the delete from.
    image: Image,
    /// Whether the old row has to be deleted before anything is written.
    delete: bool,
    /// Whether the first change found a row under the key.
    existed: bool,
}

impl State {
    /// Whether an existing row keeps its place and takes new values.
    fn updates(&self) -> bool {
        self.existed && !self.delete
    }
}

#[derive(Clone, Copy)]
enum Image {
    After(usize),
    Before(usize),
}

/// Merges changes into their net effect; `strict` when the target has none of them yet.
pub fn merge(changes: Changes<'_>, keys: &MergeKeys, strict: bool) -> NetChanges {
    let states = states(changes, keys);
    let rows = |wanted: &dyn Fn(&State) -> bool| {
        let rows: Vec<usize> =
            states.iter().filter(|state| wanted(state)).filter_map(|state| state.last).collect();
        changes.after.take(&rows)
    };
    let deletes = |wanted: &dyn Fn(&State) -> bool| {
        let mut deletes = Batch { rows: 0, columns: empty_key_columns(changes, keys) };
        for state in states.iter().filter(|state| wanted(state)) {
            let (batch, row) = match state.image {
                Image::After(row) => (changes.after, row),
                Image::Before(row) => (changes.before, row),
            };
            for (column, &place) in deletes.columns.iter_mut().zip(&keys.key) {
                if let Some(from) = batch.columns.get(place) {
                    column.push_from(from, row);
                }
            }
            deletes.rows += 1;
        }
        deletes
    };
    if strict {
        NetChanges::Strict {
            deletes: deletes(&|state| state.existed && state.delete),
            updates: rows(&State::updates),
            inserts: rows(&|state| !state.updates()),
        }
    } else {
        NetChanges::Idempotent { deletes: deletes(&|state| state.delete), upserts: rows(&|_| true) }
    }
}

/// For each upsert of the net effect the row of `after` that it is.
pub fn upserted(changes: Changes<'_>, keys: &MergeKeys) -> Vec<usize> {
    states(changes, keys).iter().filter_map(|state| state.last).collect()
}

/// What becomes of each key.
fn states(changes: Changes<'_>, keys: &MergeKeys) -> Vec<State> {
    let mut places: HashMap<Vec<u8>, usize> = HashMap::with_capacity(changes.entries.len());
    let mut states: Vec<State> = Vec::with_capacity(changes.entries.len());
    let mut key = Vec::new();
    for entry in changes.entries {
        let same = |places| match (entry.before, entry.after) {
            (Some(before), Some(after)) => same(changes.before, before, changes.after, after, places),
            _ => true,
        };
        let key_moved = !same(&keys.key);
        let moved = key_moved || !same(&keys.unique);
        if let Some(before) = entry.before
            && (moved || entry.after.is_none())
        {
            encode_key(changes.before, before, &keys.key, &mut key);
            let state = State { last: None, image: Image::Before(before), delete: true, existed: true };
            put(&mut places, &mut states, &key, state);
        }
        if let Some(after) = entry.after {
            encode_key(changes.after, after, &keys.key, &mut key);
            let existed = entry.before.is_some() && !key_moved;
            // An insert over a key deleted earlier in the set keeps that delete; see `put`.
            let state = State { last: Some(after), image: Image::After(after), delete: false, existed };
            put(&mut places, &mut states, &key, state);
        }
    }
    states
}

fn empty_key_columns(changes: Changes<'_>, keys: &MergeKeys) -> Vec<Column> {
    let like = if changes.after.columns.is_empty() { changes.before } else { changes.after };
    keys.key
        .iter()
        .filter_map(|&place| like.columns.get(place))
        .map(|column| Column::new(column.values.empty_like()))
        .collect()
}

fn put(places: &mut HashMap<Vec<u8>, usize>, states: &mut Vec<State>, key: &[u8], state: State) {
    if let Some(known) = places.get(key).and_then(|&place| states.get_mut(place)) {
        *known = State { delete: known.delete || state.delete, existed: known.existed, ..state };
    } else {
        places.insert(key.to_vec(), states.len());
        states.push(state);
    }
}

/// Whether two rows have the same values in the columns at `places`, bit for bit.
pub(crate) fn same(left: &Batch, left_row: usize, right: &Batch, right_row: usize, places: &[usize]) -> bool {
    places.iter().all(|&place| match (left.columns.get(place), right.columns.get(place)) {
        (Some(left), Some(right)) => same_value(left, left_row, right, right_row),
        _ => false,
    })
}

/// Whether two values are the same, bit for bit; two NULLs are.
fn same_value(left: &Column, left_row: usize, right: &Column, right_row: usize) -> bool {
    match (left.is_null(left_row), right.is_null(right_row)) {
        (true, true) => true,
        (false, false) => match (&left.values, &right.values) {
            (Vector::Bits(left), Vector::Bits(right)) => left.get(left_row) == right.get(right_row),
            (Vector::I64(left), Vector::I64(right)) => left.get(left_row) == right.get(right_row),
            (Vector::U64(left), Vector::U64(right)) => left.get(left_row) == right.get(right_row),
            (Vector::F64(left), Vector::F64(right)) => {
                left.get(left_row).map(|value| value.to_bits())
                    == right.get(right_row).map(|value| value.to_bits())
            }
            (Vector::Varlen(left), Vector::Varlen(right)) => left.get(left_row) == right.get(right_row),
            _ => false,
        },
        _ => false,
    }
}

/// An injective encoding of a key, for the hash map alone.
fn encode_key(batch: &Batch, row: usize, places: &[usize], out: &mut Vec<u8>) {
    out.clear();
    for &place in places {
        let Some(column) = batch.columns.get(place) else { continue };
        if column.is_null(row) {
            out.push(0);
            continue;
        }
        out.push(1);
        match &column.values {
            Vector::Bits(values) => out.push(u8::from(values.get(row))),
            Vector::I64(values) => {
                out.extend_from_slice(&values.get(row).copied().unwrap_or_default().to_le_bytes());
            }
            Vector::U64(values) => {
                out.extend_from_slice(&values.get(row).copied().unwrap_or_default().to_le_bytes());
            }
            Vector::F64(values) => {
                out.extend_from_slice(&values.get(row).copied().unwrap_or_default().to_le_bytes());
            }
            Vector::Varlen(values) => {
                let value = values.get(row);
                out.extend_from_slice(&(value.len() as u32).to_le_bytes());
                out.extend_from_slice(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_rows::{Source, apply};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_net_effect_is_the_effect(
            start in proptest::collection::vec((0_i64..6, proptest::option::of(0_i64..6), 0_i64..3), 0..6),
            writes in proptest::collection::vec(
                (proptest::option::of(0_i64..6), proptest::option::of((0_i64..6, proptest::option::of(0_i64..6), 0_i64..3))),
                1..40,
            ),
        ) {
            let mut source = Source::default();
            start.into_iter().for_each(|row| source.write(None, Some(row)));
            let mut target = source.table.clone();
            source = Source { table: source.table, ..Source::default() };
            writes.into_iter().for_each(|(old, new)| source.write(old, new));
            let mut counted = target.clone();
            apply(&mut counted, &source.net(true));
            prop_assert_eq!(&counted, &source.table);
            let net = source.net(false);
            apply(&mut target, &net);
            prop_assert_eq!(&target, &source.table);
            // The target may hold the changes already, when they are taken again after a crash.
            apply(&mut target, &net);
            prop_assert_eq!(&target, &source.table);
        }
    }

    #[test]
    fn swapped_values_are_freed_before_they_are_taken() {
        let mut source = Source::default();
        source.write(None, Some((1, Some(10), 0)));
        source.write(None, Some((2, Some(20), 0)));
        let mut target = source.table.clone();
        source = Source { table: source.table, ..Source::default() };
        source.write(Some(1), Some((1, None, 0)));
        source.write(Some(2), Some((2, Some(10), 0)));
        source.write(Some(1), Some((1, Some(20), 0)));
        let net = source.net(true);
        let NetChanges::Strict { deletes, updates, inserts } = &net else { panic!("not strict") };
        assert_eq!((deletes.rows, updates.rows, inserts.rows), (2, 0, 2));
        apply(&mut target, &net);
        assert_eq!(target, source.table);
    }
}
