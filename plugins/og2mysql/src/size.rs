//! Keys and rows have limits in MySQL: 3072 bytes a key, 65,535 bytes a row.

use std::collections::BTreeMap;

use migration_sdk::{Finding, TableSchema, types::IndexKind};

use crate::types::Type;

/// Longest key, in bytes (`InnoDB` with pages of 16 KiB).
const KEY: u32 = 3072;
/// Longest row, in bytes, but for what `TEXT`, `BLOB` and `JSON` hold.
const ROW: u32 = 65_535;
/// What a row has of a text, blob or document.
const POINTER: u32 = 12;
/// Attribute of a column with the name of a foreign key that it is part of.
const FOREIGN_KEY: &str = "foreign-key";

/// The columns of something that MySQL makes a key of, and what it is called.
struct Key {
    columns: Vec<u32>,
    name: String,
}

/// Gives columns of keys a length where they have none, and takes it from columns of rows that are too
/// long. `Err` says which column has no place, and why.
pub(crate) fn fit(
    table: &TableSchema,
    types: &mut [Option<Type>],
    findings: &mut Vec<Finding>,
) -> Result<(), (u32, String)> {
    let keys = keys(table);
    let mut given: Vec<(u32, u32)> = Vec::new();
    for key in &keys {
        let of = |column: u32| types.get(column as usize).and_then(Option::as_ref);
        let known: u32 = key.columns.iter().filter_map(|&column| of(column)).filter_map(key_bytes).sum();
        let open: Vec<u32> =
            key.columns.iter().copied().filter(|&column| of(column).is_some_and(is_open)).collect();
        if let Some(&column) = key.columns.iter().find(|&&column| matches!(of(column), Some(Type::Json))) {
            return Err((
                column,
                format!(
                    "MySQL makes no key of JSON, and the column is one of {}; set the column's type",
                    key.name
                ),
            ));
        }
        let rest = KEY.saturating_sub(known);
        let share = rest / (open.len() as u32).max(1);
        if known > KEY || (!open.is_empty() && share < 4) {
            let longest = key.columns.iter().copied().max_by_key(|&column| of(column).and_then(key_bytes));
            let reason = format!(
                "{} is longer than the {KEY} bytes that a key of MySQL has; set a shorter type for one of its columns, or drop the key",
                key.name
            );
            return Err((longest.unwrap_or(0), reason));
        }
        given.extend(open.into_iter().map(|column| (column, share)));
    }
    given.sort_unstable();
    // Of several keys, the narrowest; its entry comes first.
    given.dedup_by_key(|(column, _)| *column);
    for (ordinal, bytes) in given {
        let Some(Some(target)) = types.get_mut(ordinal as usize) else { continue };
        let (length, what) = match target {
            Type::Bytes { max_bytes } => (max_bytes.insert(bytes), "bytes"),
            Type::Text { max_chars, ascii, .. } => {
                (max_chars.insert(if *ascii { bytes } else { bytes / 4 }), "characters")
            }
            _ => continue,
        };
        findings.push(
            Finding::warning(
                Some(ordinal),
                format!("the column is one of a key, for which MySQL wants a length: a value of more than {length} {what} stops the task"),
            )
            .with_fix("set the column's type"),
        );
    }
    shorten(table, &keys, types, findings)
}

fn keys(table: &TableSchema) -> Vec<Key> {
    let of_indexes = table
        .indexes
        .iter()
        .filter(|index| matches!(index.kind, IndexKind::Primary | IndexKind::Unique))
        .map(|index| Key {
            columns: index.parts.iter().filter_map(|part| part.column).collect(),
            name: format!("the key {}", index.name),
        });
    of_indexes.chain(foreign_keys(table)).collect()
}

/// The server makes an index for each foreign key, of whole columns.
fn foreign_keys(table: &TableSchema) -> Vec<Key> {
    let mut keys: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for (ordinal, column) in (0..).zip(&table.columns) {
        for (_, key) in column.attributes.iter().filter(|(name, _)| name == FOREIGN_KEY) {
            keys.entry(key).or_default().push(ordinal);
        }
    }
    keys.into_iter().map(|(name, columns)| Key { columns, name: format!("the foreign key {name}") }).collect()
}

/// Whether a type has no length.
fn is_open(target: &Type) -> bool {
    matches!(target, Type::Text { max_chars: None, .. } | Type::Bytes { max_bytes: None })
}

/// Bytes that a column takes of a key, when they are known.
fn key_bytes(target: &Type) -> Option<u32> {
    match target {
        Type::Plain { bytes, .. } => Some(*bytes),
        Type::Enumeration { .. } => Some(2),
        Type::Text { max_chars: Some(length), ascii: false, .. } => Some(length.saturating_mul(4)),
        Type::Text { max_chars: Some(length), .. } | Type::Bytes { max_bytes: Some(length) } => Some(*length),
        Type::Text { .. } | Type::Bytes { .. } | Type::Json | Type::Decided(_) => None,
    }
}

/// Bytes that a column takes of a row.
fn row_bytes(target: &Type) -> u32 {
    match target {
        Type::Text { max_chars: Some(_), .. } | Type::Bytes { max_bytes: Some(_) } => {
            let bytes = key_bytes(target).unwrap_or(u32::MAX);
            // Longer ones are no VARCHAR.
            if bytes > ROW - 3 { POINTER } else { bytes + if bytes > 255 { 2 } else { 1 } }
        }
        _ => key_bytes(target).unwrap_or(POINTER),
    }
}

fn shorten(
    table: &TableSchema,
    keys: &[Key],
    types: &mut [Option<Type>],
    findings: &mut Vec<Finding>,
) -> Result<(), (u32, String)> {
    let nulls = (table.columns.len() as u32).div_ceil(8);
    loop {
        let sum: u32 = types.iter().flatten().map(row_bytes).fold(nulls, u32::saturating_add);
        if sum <= ROW {
            return Ok(());
        }
        let free = |ordinal: u32| {
            let indexed = table.indexes.iter().flat_map(|index| &index.parts);
            !keys.iter().any(|key| key.columns.contains(&ordinal))
                && !indexed.into_iter().any(|part| part.column == Some(ordinal))
        };
        let longest = (0..)
            .zip(types.iter_mut())
            .filter_map(|(ordinal, target)| Some((ordinal, target.as_mut()?)))
            .filter(|(ordinal, target)| {
                matches!(target, Type::Text { max_chars: Some(_), .. })
                    && row_bytes(target) > POINTER
                    && free(*ordinal)
            })
            .max_by_key(|(_, target)| row_bytes(target));
        let Some((ordinal, target)) = longest else {
            return Err((
                0,
                format!(
                    "the table's columns take more than the {ROW} bytes that a row of MySQL has; set \"longtext\" as type of the longest"
                ),
            ));
        };
        *target = Type::Text { max_chars: None, fixed: false, ascii: false };
        findings.push(Finding::note(
            Some(ordinal),
            "a row of MySQL has no room for the column beside the others, so it becomes a text without a limit",
        ));
    }
}
