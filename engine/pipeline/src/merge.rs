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

/// Changes of one table after its route, in source order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RoutedChanges {
    /// One entry per change.
    pub entries: Vec<Entry>,
    /// New images.
    pub after: Batch,
    /// Old images.
    pub before: Batch,
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
}

#[derive(Clone, Copy)]
enum Image {
    After(usize),
    Before(usize),
}

/// Merges changes into their net effect.
pub fn merge(changes: &RoutedChanges, keys: &MergeKeys) -> NetChanges {
    let mut places: HashMap<Vec<u8>, usize> = HashMap::with_capacity(changes.entries.len());
    let mut states: Vec<State> = Vec::with_capacity(changes.entries.len());
    let mut key = Vec::new();
    for entry in &changes.entries {
        let moved = match (entry.before, entry.after) {
            (Some(before), Some(after)) => {
                !same(&changes.before, before, &changes.after, after, &keys.key)
                    || !same(&changes.before, before, &changes.after, after, &keys.unique)
            }
            _ => false,
        };
        if let Some(before) = entry.before
            && (moved || entry.after.is_none())
        {
            encode_key(&changes.before, before, &keys.key, &mut key);
            let state = State { last: None, image: Image::Before(before), delete: true };
            put(&mut places, &mut states, &key, state);
        }
        if let Some(after) = entry.after {
            encode_key(&changes.after, after, &keys.key, &mut key);
            // An insert over a key deleted earlier in the set keeps that delete; see `put`.
            let state = State { last: Some(after), image: Image::After(after), delete: false };
            put(&mut places, &mut states, &key, state);
        }
    }
    let upserts: Vec<usize> = states.iter().filter_map(|state| state.last).collect();
    let deleted = states.iter().filter(|state| state.delete);
    let mut deletes = Batch { rows: 0, columns: empty_key_columns(changes, keys) };
    for state in deleted {
        let (batch, row) = match state.image {
            Image::After(row) => (&changes.after, row),
            Image::Before(row) => (&changes.before, row),
        };
        for (column, &place) in deletes.columns.iter_mut().zip(&keys.key) {
            if let Some(from) = batch.columns.get(place) {
                column.push_from(from, row);
            }
        }
        deletes.rows += 1;
    }
    NetChanges { deletes, upserts: changes.after.take(&upserts) }
}

fn empty_key_columns(changes: &RoutedChanges, keys: &MergeKeys) -> Vec<Column> {
    let like = if changes.after.columns.is_empty() { &changes.before } else { &changes.after };
    keys.key
        .iter()
        .filter_map(|&place| like.columns.get(place))
        .map(|column| Column::new(column.values.empty_like()))
        .collect()
}

fn put(places: &mut HashMap<Vec<u8>, usize>, states: &mut Vec<State>, key: &[u8], state: State) {
    if let Some(known) = places.get(key).and_then(|&place| states.get_mut(place)) {
        let delete = known.delete || state.delete;
        *known = State { delete, ..state };
    } else {
        places.insert(key.to_vec(), states.len());
        states.push(state);
    }
}

fn same(left: &Batch, left_row: usize, right: &Batch, right_row: usize, places: &[usize]) -> bool {
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
    use engine_core::bitmap::Bitmap;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const KEYS: [usize; 1] = [0];
    const UNIQUE: [usize; 1] = [1];

    /// `id`, a unique and nullable `code`, and `note`.
    type Row = (i64, Option<i64>, i64);

    fn batch(rows: &[Row]) -> Batch {
        let codes = Column {
            values: Vector::I64(rows.iter().map(|row| row.1.unwrap_or_default()).collect()),
            validity: Some(rows.iter().map(|row| row.1.is_some()).collect::<Bitmap>()),
        };
        Batch {
            rows: rows.len(),
            columns: vec![
                Column::new(Vector::I64(rows.iter().map(|row| row.0).collect())),
                codes,
                Column::new(Vector::I64(rows.iter().map(|row| row.2).collect())),
            ],
        }
    }

    fn rows(batch: &Batch) -> Vec<Row> {
        let number = |place: usize, row: usize| match &batch.columns[place].values {
            Vector::I64(values) => values[row],
            other => panic!("not integers: {other:?}"),
        };
        (0..batch.rows)
            .map(|row| {
                (number(0, row), (!batch.columns[1].is_null(row)).then(|| number(1, row)), number(2, row))
            })
            .collect()
    }

    /// A source table that changes row by row and never breaks its unique key.
    #[derive(Default)]
    struct Source {
        table: BTreeMap<i64, Row>,
        after: Vec<Row>,
        before: Vec<Row>,
        entries: Vec<Entry>,
    }

    impl Source {
        fn write(&mut self, old: Option<i64>, new: Option<Row>) {
            let old = old.and_then(|id| self.table.get(&id).copied());
            let collides = |row: &Row| {
                self.table.values().any(|other| {
                    Some(other.0) != old.map(|old| old.0)
                        && (other.0 == row.0 || (row.1.is_some() && other.1 == row.1))
                })
            };
            if new.as_ref().is_some_and(collides) || (old.is_none() && new.is_none()) {
                return;
            }
            let before = old.map(|old| {
                self.table.remove(&old.0);
                self.before.push(old);
                self.before.len() - 1
            });
            let after = new.map(|new| {
                self.table.insert(new.0, new);
                self.after.push(new);
                self.after.len() - 1
            });
            self.entries.push(Entry { after, before });
        }
    }

    /// What a target with immediate unique checks does with the net effect.
    fn apply(table: &mut BTreeMap<i64, Row>, net: &NetChanges) {
        let Vector::I64(deleted) = &net.deletes.columns[0].values else { panic!("integer keys") };
        deleted.iter().for_each(|id| {
            table.remove(id);
        });
        for row in rows(&net.upserts) {
            let taken = table.values().any(|other| other.0 != row.0 && row.1.is_some() && other.1 == row.1);
            assert!(!taken, "{row:?} collides in {table:?}");
            table.insert(row.0, row);
        }
    }

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
            let changes = RoutedChanges {
                entries: source.entries.clone(),
                after: batch(&source.after),
                before: batch(&source.before),
            };
            let net = merge(&changes, &MergeKeys { key: KEYS.to_vec(), unique: UNIQUE.to_vec() });
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
        let changes = RoutedChanges {
            entries: source.entries.clone(),
            after: batch(&source.after),
            before: batch(&source.before),
        };
        let net = merge(&changes, &MergeKeys { key: KEYS.to_vec(), unique: UNIQUE.to_vec() });
        assert_eq!((net.deletes.rows, net.upserts.rows), (2, 2));
        apply(&mut target, &net);
        assert_eq!(target, source.table);
    }
}
