//! A wrong row as people read it.

use std::cmp::Ordering;

use engine_core::examine::{Field, fields};

use super::hash::Hash;
use super::look::Seen;
use super::report::{ColumnDifference, Difference, Kind};
use super::subject::Table;
use super::weigh::Wrong;

impl From<Wrong> for Kind {
    fn from(wrong: Wrong) -> Self {
        match wrong {
            Wrong::Missing => Self::Missing,
            Wrong::Extra => Self::Extra,
            Wrong::Different => Self::Different,
        }
    }
}

/// Describes a row that is wrong, as far as both sides were seen in the very states that differ: a row
/// that is just changing on the source is told by its key alone.
pub(super) fn difference(
    table: &Table,
    seen: &Seen,
    (key, wrong, expected): (Hash, Wrong, Option<Hash>),
    changed: Option<Vec<u8>>,
) -> Difference {
    let source = seen.source.whole.get(&key).and_then(|rows| {
        rows.iter().find(|(hash, _)| Some(*hash) == expected).map(|(_, row)| row.canonical.as_slice())
    });
    let target = seen.target.whole.get(&key).and_then(|rows| {
        rows.iter().find(|(hash, _)| Some(*hash) != expected).or(rows.first()).map(|(_, row)| row.as_slice())
    });
    let any_row = source.or(target).or_else(|| {
        seen.source.whole.get(&key).and_then(|rows| rows.first()).map(|(_, row)| row.canonical.as_slice())
    });
    let columns = match (wrong, source, target) {
        (Wrong::Different, Some(source), Some(target)) => differing(table, source, target),
        _ => Vec::new(),
    };
    let key = match (any_row, changed) {
        (Some(row), _) => key_of(table, row),
        // The key alone, as a change had it.
        (None, Some(key)) => {
            named(table, table.key.iter().flatten().copied().zip(fields(&key).map(|(field, _)| field)))
        }
        (None, None) => Vec::new(),
    };
    Difference { kind: wrong.into(), key, columns }
}

/// By key; numbers come in the order of their values.
pub(super) fn in_order(one: &Difference, other: &Difference) -> Ordering {
    let parts = |difference: &Difference| -> Vec<(usize, Option<String>)> {
        let number = |text: &str| text.parse::<i128>().is_ok();
        let keys = difference.key.iter().map(|(_, value)| value.clone());
        keys.map(|value| (value.as_deref().filter(|text| number(text)).map_or(0, str::len), value)).collect()
    };
    parts(one).cmp(&parts(other))
}

/// The name that a written column has on the source.
fn name(table: &Table, place: usize) -> String {
    let column =
        table.target.written_columns().nth(place).and_then(|ordinal| table.target.columns.get(ordinal));
    column.map_or_else(String::new, |column| column.source_name.clone())
}

fn text(table: &Table, place: usize, field: Field<'_>) -> Option<String> {
    match field {
        Field::Null => None,
        Field::Unrepresentable => Some("(a value that the target can't hold)".to_owned()),
        Field::Value(value) => Some(table.form.text(place, value)),
    }
}

fn key_of(table: &Table, row: &[u8]) -> Vec<(String, Option<String>)> {
    let fields: Vec<Field<'_>> = fields(row).map(|(field, _)| field).collect();
    let all: Vec<usize> = (0..fields.len()).collect();
    let places = table.key.as_ref().unwrap_or(&all).iter();
    named(table, places.filter_map(|&place| Some((place, *fields.get(place)?))))
}

/// Fields with their columns' names, as text.
fn named<'a>(
    table: &Table,
    fields: impl Iterator<Item = (usize, Field<'a>)>,
) -> Vec<(String, Option<String>)> {
    fields.map(|(place, field)| (name(table, place), text(table, place, field))).collect()
}

pub(super) fn differing(table: &Table, source: &[u8], target: &[u8]) -> Vec<ColumnDifference> {
    let pairs = fields(source).zip(fields(target)).enumerate();
    pairs
        .filter(|(_, ((_, source), (_, target)))| source != target)
        .map(|(place, ((source, _), (target, _)))| ColumnDifference {
            column: name(table, place),
            expected: text(table, place, source),
            found: text(table, place, target),
        })
        .collect()
}
