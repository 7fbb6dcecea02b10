//! What a set of changes leaves of each key.

use std::collections::HashMap;
use std::sync::Arc;

use engine_core::batch::Batch;
use engine_core::column::Column;
use engine_core::error::Result;
use engine_core::examine::CanonicalRows;

use crate::follow::RoutedTable;
use crate::merge::{self, Entry};

use super::super::hash::{ByHash, Hash, Hashing};
use super::super::subject::Table;
use super::pending::{Expected, KeyRow, Noted};

/// The last state of a key.
#[derive(Clone, Copy)]
enum Last {
    /// A row of the new images.
    There(usize),
    /// It went; a row of the old images that went.
    Gone(usize),
}

/// What the target must have of each key that `entries` touch once they are applied. Each of them has its transaction, as a
/// place in the set, before it.
pub(super) fn noted(
    table: &Table,
    hashing: &Hashing,
    changes: &RoutedTable,
    entries: &[(u32, Entry)],
) -> Result<Vec<Noted>> {
    let Some(key) = &table.key else { return Ok(Vec::new()) };
    // Of old images only those matter whose key the new one does not have.
    let leaves = |entry: &Entry| {
        entry.before.filter(|&before| {
            entry.after.is_none_or(|after| !merge::same(&changes.before, before, &changes.after, after, key))
        })
    };
    let left: Vec<usize> = entries.iter().filter_map(|(_, entry)| leaves(entry)).collect();
    let old = changes.before.take(&left);
    let (mut new_rows, mut old_rows) = (CanonicalRows::default(), CanonicalRows::default());
    if changes.after.rows > 0 {
        table.form.canonical(&changes.after, &mut new_rows)?;
    }
    if old.rows > 0 {
        table.form.canonical(&old, &mut old_rows)?;
    }
    let new_rows: Vec<&[u8]> = new_rows.iter().collect();
    let mut old_rows = old_rows.iter();
    let mut last: HashMap<Hash, (u32, Last), ByHash> = HashMap::default();
    let mut gone = 0;
    for (transaction, entry) in entries {
        if leaves(entry).is_some()
            && let Some(row) = old_rows.next()
        {
            last.insert(hashing.fields(row, key), (*transaction, Last::Gone(gone)));
            gone += 1;
        }
        if let Some(place) = entry.after
            && let Some(row) = new_rows.get(place)
        {
            last.insert(hashing.fields(row, key), (*transaction, Last::There(place)));
        }
    }
    let keys = Arc::new(keys(&changes.after, &old, key, last.values().map(|&(_, last)| last)));
    let letter = |place: usize| {
        let origin = changes.origin.as_ref()?;
        origin.route.key_of(&origin.input, *origin.places.get(place)?)
    };
    let noted = last.into_iter().enumerate().map(|(row, (key, (transaction, last)))| {
        let expected = match last {
            Last::Gone(_) => Expected::default(),
            Last::There(place) => {
                let bytes = new_rows.get(place).copied().unwrap_or_default();
                Expected { hash: Some(hashing.bytes(bytes)), row: Some(bytes.into()), letter: letter(place) }
            }
        };
        Noted { key, at: KeyRow { keys: Arc::clone(&keys), row }, transaction, expected }
    });
    Ok(noted.collect())
}

/// The keys' own columns, in key order.
fn keys(new: &Batch, old: &Batch, key: &[usize], rows: impl ExactSizeIterator<Item = Last>) -> Batch {
    let like = if new.columns.is_empty() { old } else { new };
    let like = key.iter().filter_map(|&place| like.columns.get(place));
    let mut columns: Vec<Column> = like.map(|column| Column::new(column.values.empty_like())).collect();
    let count = rows.len();
    for last in rows {
        let (batch, row) = match last {
            Last::There(row) => (new, row),
            Last::Gone(row) => (old, row),
        };
        for (column, &place) in columns.iter_mut().zip(key) {
            if let Some(from) = batch.columns.get(place) {
                column.push_from(from, row);
            }
        }
    }
    Batch { rows: count, columns }
}
