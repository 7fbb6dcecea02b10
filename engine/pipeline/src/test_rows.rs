//! A table small enough to think through: what tests of merging and of lanes change.

use std::collections::BTreeMap;

use engine_core::batch::Batch;
use engine_core::bitmap::Bitmap;
use engine_core::column::{Column, Vector};
use engine_core::target::NetChanges;

use crate::merge::{Changes, Entry, MergeKeys, merge};

/// `id`, a unique and nullable `code`, and `note`.
pub(crate) type Row = (i64, Option<i64>, i64);

/// Rows as columns.
pub(crate) fn batch(rows: &[Row]) -> Batch {
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
        .map(|row| (number(0, row), (!batch.columns[1].is_null(row)).then(|| number(1, row)), number(2, row)))
        .collect()
}

/// The keys of the table: `id`, and `code` beside it.
pub(crate) fn merge_keys() -> MergeKeys {
    MergeKeys { key: vec![0], unique: vec![1] }
}

/// A source table that changes row by row and never breaks its unique key.
#[derive(Debug, Clone, Default)]
pub(crate) struct Source {
    /// Its rows by `id`.
    pub(crate) table: BTreeMap<i64, Row>,
    /// New images of the changes.
    pub(crate) after: Vec<Row>,
    /// Old images.
    pub(crate) before: Vec<Row>,
    /// The changes.
    pub(crate) entries: Vec<Entry>,
}

impl Source {
    /// Replaces the row `old` by `new`, where that breaks no key and does something.
    pub(crate) fn write(&mut self, old: Option<i64>, new: Option<Row>) {
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

    /// The net effect of the changes.
    pub(crate) fn net(&self, strict: bool) -> NetChanges {
        let (after, before) = (batch(&self.after), batch(&self.before));
        let changes = Changes { entries: &self.entries, after: &after, before: &before };
        merge(changes, &merge_keys(), strict)
    }
}

/// What a target with immediate unique checks does with the net effect. Counts are asserted
/// where it is strict.
pub(crate) fn apply(table: &mut BTreeMap<i64, Row>, net: &NetChanges) {
    let ids = |batch: &Batch| match &batch.columns[0].values {
        Vector::I64(ids) => ids.clone(),
        other => panic!("not integers: {other:?}"),
    };
    let writes = match net {
        NetChanges::Idempotent { deletes, upserts } => {
            ids(deletes).iter().for_each(|id| {
                table.remove(id);
            });
            rows(upserts)
        }
        NetChanges::Strict { deletes, updates, inserts } => {
            for id in ids(deletes) {
                assert!(table.remove(&id).is_some(), "{id} is deleted and was not in {table:?}");
            }
            let (updates, inserts) = (rows(updates), rows(inserts));
            assert!(
                updates.iter().all(|row| table.contains_key(&row.0)),
                "{updates:?} are not all in {table:?}"
            );
            assert!(
                inserts.iter().all(|row| !table.contains_key(&row.0)),
                "of {inserts:?} some are in {table:?}"
            );
            [updates, inserts].concat()
        }
    };
    for row in writes {
        let taken = table.values().any(|other| other.0 != row.0 && row.1.is_some() && other.1 == row.1);
        assert!(!taken, "{row:?} collides in {table:?}");
        table.insert(row.0, row);
    }
}
