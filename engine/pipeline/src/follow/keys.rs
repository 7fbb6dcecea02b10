//! What changes must not overtake each other for: the values of a table's unique keys, hashed.
//!
//! Two changes that meet under a key of the target have a hash in common. The opposite need not
//! hold: letter case, trailing spaces and what lies beyond an indexed prefix are left out, whatever
//! the target's collation does with them. A false meeting costs time, a missed one would cost data.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use engine_core::batch::Batch;
use engine_core::column::{Column, Vector};
use engine_core::plan::TargetTable;
use engine_core::schema::IndexKind;

/// The unique keys of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConflictKeys {
    /// Tells tables apart.
    pub(super) table: usize,
    /// For each key its columns by place in a batch, with the length of an indexed prefix. Without
    /// any, the table as a whole is one key.
    pub(super) keys: Vec<Vec<(usize, Option<u32>)>>,
}

impl ConflictKeys {
    /// The keys of `target`, table number `table` of the task, or the first that becomes the same one.
    pub(crate) fn of(table: usize, target: &TargetTable) -> Self {
        let place = |column: usize| target.written_columns().position(|written| written == column);
        let Some(row_key) = &target.row_key else { return Self { table, keys: Vec::new() } };
        let row_key: Vec<_> = row_key.iter().filter_map(|&column| Some((place(column)?, None))).collect();
        let mut keys = vec![row_key];
        for index in &target.indexes {
            if !matches!(index.kind, IndexKind::Primary | IndexKind::Unique) {
                continue;
            }
            // A key over a column that the target computes is one of what it is computed from,
            // which is not known here: all rows meet.
            let parts: Option<Vec<_>> =
                index.parts.iter().map(|part| Some((place(part.column)?, part.prefix))).collect();
            let Some(parts) = parts else { return Self { table, keys: Vec::new() } };
            if !keys.contains(&parts) {
                keys.push(parts);
            }
        }
        Self { table, keys }
    }

    /// Adds the hashes of a row's values to `out`. A key with a NULL meets nothing.
    pub(crate) fn hash(&self, batch: &Batch, row: usize, mut out: impl FnMut(u64)) {
        if self.keys.is_empty() {
            let mut hasher = DefaultHasher::new();
            self.table.hash(&mut hasher);
            out(hasher.finish());
        }
        for (number, key) in self.keys.iter().enumerate() {
            let mut hasher = DefaultHasher::new();
            (self.table, number).hash(&mut hasher);
            let complete = key.iter().all(|&(place, prefix)| {
                batch.columns.get(place).is_some_and(|column| hash_value(column, row, prefix, &mut hasher))
            });
            if complete {
                out(hasher.finish());
            }
        }
    }
}

/// Hashes a value; false when it is NULL.
fn hash_value(column: &Column, row: usize, prefix: Option<u32>, hasher: &mut DefaultHasher) -> bool {
    if column.is_null(row) {
        return false;
    }
    match &column.values {
        Vector::Bits(values) => values.get(row).hash(hasher),
        Vector::I64(values) => values.get(row).hash(hasher),
        Vector::U64(values) => values.get(row).hash(hasher),
        // Zero and minus zero are equal.
        Vector::F64(values) => values.get(row).map(|value| (value + 0.0).to_bits()).hash(hasher),
        Vector::Varlen(values) => hash_text(values.get(row), prefix, hasher),
    }
    true
}

fn hash_text(value: &[u8], prefix: Option<u32>, hasher: &mut DefaultHasher) {
    let ascii = value.iter().position(|byte| !byte.is_ascii()).unwrap_or(value.len());
    let trimmed = value.trim_ascii_end();
    match (prefix, std::str::from_utf8(trimmed)) {
        // As many bytes as characters are indexed are certainly among the indexed ones. Where letters
        // beyond ASCII begin, case may change lengths, so nothing after that counts.
        (Some(prefix), _) => {
            let end = trimmed.len().min(ascii).min(prefix as usize);
            let lead = trimmed.get(..end).unwrap_or_default().trim_ascii_end();
            lead.to_ascii_lowercase().hash(hasher);
        }
        (None, Ok(text)) if ascii < value.len() => text.to_lowercase().hash(hasher),
        (None, _) => trimmed.to_ascii_lowercase().hash(hasher),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine_core::column::Varlen;

    fn texts(values: &[&str]) -> Batch {
        let mut column = Varlen::default();
        values.iter().for_each(|value| column.push(value.as_bytes()));
        Batch { rows: values.len(), columns: vec![Column::new(Vector::Varlen(column))] }
    }

    fn hashes(keys: &ConflictKeys, batch: &Batch) -> Vec<Vec<u64>> {
        let of = |row| {
            let mut out = Vec::new();
            keys.hash(batch, row, |hash| out.push(hash));
            out
        };
        (0..batch.rows).map(of).collect()
    }

    #[test]
    fn what_may_be_equal_meets() {
        let keys = ConflictKeys { table: 0, keys: vec![vec![(0, None)]] };
        let batch = texts(&["Straße", "STRASSE", "straße  ", "STRAßE", "a", "A ", "b"]);
        let hashes = hashes(&keys, &batch);
        assert_eq!(hashes[0], hashes[2]);
        assert_eq!(hashes[0], hashes[3]);
        assert_eq!(hashes[4], hashes[5]);
        assert_ne!(hashes[4], hashes[6]);
    }

    #[test]
    fn what_lies_beyond_a_prefix_does_not_count() {
        let keys = ConflictKeys { table: 0, keys: vec![vec![(0, Some(3))]] };
        let hashes = hashes(&keys, &texts(&["abcd", "ABCe", "ab", "abd", "aé", "aÉx"]));
        assert_eq!(hashes[0], hashes[1]);
        assert_ne!(hashes[0], hashes[3]);
        assert_eq!(hashes[4], hashes[5]);
    }

    #[test]
    fn a_table_without_a_key_is_one() {
        let keys = ConflictKeys { table: 3, keys: Vec::new() };
        let hashes = hashes(&keys, &texts(&["a", "b"]));
        assert_eq!((hashes[0].len(), &hashes[0]), (1, &hashes[1]));
    }
}
