//! The statements that write rows, as texts that hold their values.

use engine_core::Result;
use engine_core::batch::Batch;
use engine_core::column::Vector;
use std::ops::Range;

use super::cell::Encoder;
use super::column_type::ColumnType;
use super::layout::TableLayout;
use super::literal;
use crate::server::Flavor;

/// Size at which a statement is sent, in bytes. Measured: smaller ones cost round trips, bigger ones
/// don't gain.
const STATEMENT: usize = 1 << 20;
/// Most keys in one list; a server that ranges over them keeps each in memory.
const KEYS: usize = 512;
/// Most statements sent at once.
const STATEMENTS: usize = 512;

/// A statement, or several of one round trip, with the rows that it is to find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) sql: Vec<u8>,
    /// How many statements are in it, joined by semicolons.
    pub(super) statements: usize,
    /// Rows of the batch that it is about.
    pub(super) rows: Range<usize>,
    /// Values without a label in it, which a lenient session alone writes.
    pub(super) no_labels: usize,
}

/// Statements that insert rows of a batch of whole rows.
pub(super) fn insert(layout: &TableLayout, batch: &Batch, rows: Range<usize>) -> Result<Vec<Statement>> {
    let stored = layout.stored();
    let names: Vec<&str> =
        stored.iter().filter_map(|&place| Some(layout.columns.get(place)?.name.as_str())).collect();
    let head = format!("INSERT INTO {} ({}) VALUES ", layout.name, names.join(","));
    let lenient = layout.has_labels();
    let mut statements: Vec<Statement> = Vec::new();
    let mut first = rows.start;
    let mut sql = Vec::new();
    let mut no_labels = 0;
    for row in rows.clone() {
        let lacking = if lenient { layout.no_labels(batch, row) } else { 0 };
        if row > first && (sql.len() >= STATEMENT || (lacking > 0) != (no_labels > 0)) {
            let sql = std::mem::take(&mut sql);
            statements.push(Statement { sql, statements: 1, rows: first..row, no_labels });
            (first, no_labels) = (row, 0);
        }
        if row == first {
            sql.reserve(STATEMENT + (STATEMENT >> 3));
            sql.extend_from_slice(head.as_bytes());
        } else {
            sql.push(b',');
        }
        no_labels += lacking;
        values(layout, batch, &stored, row, &mut sql)?;
    }
    if first < rows.end {
        statements.push(Statement { sql, statements: 1, rows: first..rows.end, no_labels });
    }
    Ok(statements)
}

/// `(1,'a',NULL)`
fn values(
    layout: &TableLayout,
    batch: &Batch,
    stored: &[usize],
    row: usize,
    sql: &mut Vec<u8>,
) -> Result<()> {
    sql.push(b'(');
    for (number, &place) in stored.iter().enumerate() {
        if number > 0 {
            sql.push(b',');
        }
        layout
            .literal(batch, (place, place), row, sql)
            .map_err(|fault| layout.fault(batch, &layout.all(), (row, place), fault))?;
    }
    sql.push(b')');
    Ok(())
}

/// Statements that delete the rows with the given keys, a batch of the key's columns.
///
/// A key of one column goes in lists, of several in statements of their own: not every server reads
/// lists of several columns by the index.
pub(super) fn delete(layout: &TableLayout, key: &[usize], keys: &Batch) -> Result<Vec<Statement>> {
    if key.len() > 1 {
        return one_each(keys.rows, STATEMENTS, |row, sql| {
            sql.extend_from_slice(format!("DELETE FROM {} WHERE ", layout.name).as_bytes());
            same_key(layout, key, keys, |index, _| index, row, sql)
        });
    }
    let name = key.first().and_then(|&place| layout.columns.get(place)).map_or("", |column| &column.name);
    let mut statements = Vec::new();
    let mut first = 0;
    while first < keys.rows {
        let mut sql = format!("DELETE FROM {} WHERE {name} IN (", layout.name).into_bytes();
        let mut row = first;
        while row < keys.rows && row - first < KEYS && sql.len() < STATEMENT {
            if row > first {
                sql.push(b',');
            }
            let place = key.first().copied().unwrap_or_default();
            layout
                .literal(keys, (0, place), row, &mut sql)
                .map_err(|fault| layout.fault(keys, key, (row, 0), fault))?;
            row += 1;
        }
        sql.push(b')');
        statements.push(Statement { sql, statements: 1, rows: first..row, no_labels: 0 });
        first = row;
    }
    Ok(statements)
}

/// Statements that give the rows with the keys of a batch of whole rows the values that it has. None
/// when the key is all there is.
pub(super) fn update(layout: &TableLayout, key: &[usize], batch: &Batch) -> Result<Vec<Statement>> {
    let others: Vec<usize> = layout.stored().into_iter().filter(|place| !key.contains(place)).collect();
    // With nothing to set but the key, that the row is there is all that is left to see.
    let set = if others.is_empty() { key } else { &others };
    let lacking = |row| if layout.has_labels() { layout.no_labels(batch, row) } else { 0 };
    // What a server says of a statement is asked for after the last one of a round trip only.
    let at_once = if (0..batch.rows).any(|row| lacking(row) > 0) { 1 } else { STATEMENTS };
    let mut statements = one_each(batch.rows, at_once, |row, sql| {
        sql.extend_from_slice(format!("UPDATE {} SET ", layout.name).as_bytes());
        assignments(layout, batch, set, row, sql)?;
        sql.extend_from_slice(b" WHERE ");
        same_key(layout, key, batch, |_, place| place, row, sql)
    })?;
    for statement in &mut statements {
        statement.no_labels = statement.rows.clone().map(lacking).sum();
    }
    Ok(statements)
}

fn assignments(
    layout: &TableLayout,
    batch: &Batch,
    places: &[usize],
    row: usize,
    sql: &mut Vec<u8>,
) -> Result<()> {
    for (number, &place) in places.iter().enumerate() {
        if number > 0 {
            sql.push(b',');
        }
        if let Some(column) = layout.columns.get(place) {
            sql.extend_from_slice(column.name.as_bytes());
        }
        sql.push(b'=');
        layout
            .literal(batch, (place, place), row, sql)
            .map_err(|fault| layout.fault(batch, &layout.all(), (row, place), fault))?;
    }
    Ok(())
}

/// A statement for each row, many to a round trip.
fn one_each(
    rows: usize,
    at_once: usize,
    mut write: impl FnMut(usize, &mut Vec<u8>) -> Result<()>,
) -> Result<Vec<Statement>> {
    let mut statements = Vec::new();
    let mut first = 0;
    while first < rows {
        let mut sql = Vec::new();
        let mut row = first;
        while row < rows && row - first < at_once && sql.len() < STATEMENT {
            if row > first {
                sql.push(b';');
            }
            write(row, &mut sql)?;
            row += 1;
        }
        statements.push(Statement { sql, statements: row - first, rows: first..row, no_labels: 0 });
        first = row;
    }
    Ok(statements)
}

/// `id = 5 AND part = 'a'`. `place` says which column of the batch has a column of the key.
pub(super) fn same_key(
    layout: &TableLayout,
    key: &[usize],
    batch: &Batch,
    place: impl Fn(usize, usize) -> usize,
    row: usize,
    sql: &mut Vec<u8>,
) -> Result<()> {
    for (index, &position) in key.iter().enumerate() {
        if index > 0 {
            sql.extend_from_slice(b" AND ");
        }
        if let Some(column) = layout.columns.get(position) {
            sql.extend_from_slice(column.name.as_bytes());
        }
        sql.push(b'=');
        let at = place(index, position);
        layout.literal(batch, (at, position), row, sql).map_err(|fault| {
            let positions = if batch.columns.len() == key.len() { key.to_vec() } else { layout.all() };
            layout.fault(batch, &positions, (row, at), fault)
        })?;
    }
    Ok(())
}

/// Deletes one row by its whole image.
pub(super) fn delete_row(layout: &TableLayout, before: &Batch, row: usize) -> Result<Vec<u8>> {
    let mut sql = format!("DELETE FROM {} WHERE ", layout.name).into_bytes();
    same_row(layout, before, row, &mut sql)?;
    sql.extend_from_slice(b" LIMIT 1");
    Ok(sql)
}

/// Reads a 1 for each row of a whole image, and locks them unless somebody else has one that is looked at.
pub(super) fn find_rows(layout: &TableLayout, image: &Batch) -> Result<Vec<u8>> {
    let mut sql = format!("SELECT 1 FROM {} WHERE ", layout.name).into_bytes();
    same_row(layout, image, 0, &mut sql)?;
    sql.extend_from_slice(b" FOR UPDATE NOWAIT");
    Ok(sql)
}

/// Deletes so many rows of a whole image.
pub(super) fn delete_rows(layout: &TableLayout, image: &Batch, times: u64) -> Result<Vec<u8>> {
    let mut sql = format!("DELETE FROM {} WHERE ", layout.name).into_bytes();
    same_row(layout, image, 0, &mut sql)?;
    sql.extend_from_slice(format!(" LIMIT {times}").as_bytes());
    Ok(sql)
}

/// Updates one row, found by its whole old image.
pub(super) fn update_row(
    layout: &TableLayout,
    (after, new): (&Batch, usize),
    (before, old): (&Batch, usize),
) -> Result<Vec<u8>> {
    let mut sql = format!("UPDATE {} SET ", layout.name).into_bytes();
    assignments(layout, after, &layout.stored(), new, &mut sql)?;
    sql.extend_from_slice(b" WHERE ");
    same_row(layout, before, old, &mut sql)?;
    sql.extend_from_slice(b" LIMIT 1");
    Ok(sql)
}

/// The condition that a row is the image, value for value.
fn same_row(layout: &TableLayout, before: &Batch, row: usize, sql: &mut Vec<u8>) -> Result<()> {
    for (number, place) in layout.stored().into_iter().enumerate() {
        let (Some(written), Some(column)) = (layout.columns.get(place), before.columns.get(place)) else {
            continue;
        };
        if number > 0 {
            sql.extend_from_slice(b" AND ");
        }
        let name = &written.name;
        if column.is_null(row) {
            sql.extend_from_slice(format!("{name} IS NULL").as_bytes());
            continue;
        }
        let (before_value, after_value) = comparison(&written.column_type, &written.encoder, layout.flavor);
        sql.extend_from_slice(before_value.replace("{}", name).as_bytes());
        let mut value = Vec::new();
        layout
            .literal(before, (place, place), row, &mut value)
            .map_err(|fault| layout.fault(before, &layout.all(), (row, place), fault))?;
        match after_value {
            Value::Plain => sql.extend_from_slice(&value),
            Value::Labels => {
                if let Vector::Varlen(labels) = &column.values {
                    literal::binary(labels.get(row), sql);
                }
            }
            Value::Bytes => {
                sql.extend_from_slice(b"_binary");
                sql.extend_from_slice(&value);
            }
            Value::Hex => {
                sql.extend_from_slice(b"HEX(");
                sql.extend_from_slice(&value);
                sql.push(b')');
            }
            Value::Json => {
                sql.extend_from_slice(b"CAST(CAST(CAST(");
                sql.extend_from_slice(&value);
                sql.extend_from_slice(b" AS JSON) AS CHAR) AS BINARY)");
            }
        }
    }
    Ok(())
}

/// How the other side of a comparison is made of a literal.
enum Value {
    Plain,
    Bytes,
    /// Of the text of the labels.
    Labels,
    Hex,
    Json,
}

/// The column's side of a comparison of bytes rather than of what a collation, a label's text or a
/// document make of them; `{}` is its name.
fn comparison(column_type: &ColumnType, encoder: &Encoder, flavor: Flavor) -> (&'static str, Value) {
    match (column_type, encoder) {
        (_, Encoder::Label(_) | Encoder::Bits) | (ColumnType::Bit, _) => ("{}+0=", Value::Plain),
        (ColumnType::Json, _) if flavor == Flavor::MySql => {
            ("CAST(CAST({} AS CHAR) AS BINARY)=", Value::Json)
        }
        (ColumnType::Geometry | ColumnType::Vector, _) => ("HEX({})=", Value::Hex),
        (ColumnType::Address, _) => ("{}=", Value::Plain),
        // A set of 64 labels is too great a number for MariaDB's arithmetic.
        (_, Encoder::Labels(_)) => ("CAST(CONVERT({} USING utf8mb4) AS BINARY)=", Value::Labels),
        (_, Encoder::Text { .. } | Encoder::Json { .. }) => {
            ("CAST(CONVERT({} USING utf8mb4) AS BINARY)=", Value::Bytes)
        }
        _ => ("{}=", Value::Plain),
    }
}

/// Deletes the row with a key, if its key has these very bytes: what a collation takes for the same is
/// another row.
pub(super) fn delete_exactly(
    layout: &TableLayout,
    key: &[usize],
    keys: &Batch,
    row: usize,
) -> Result<Vec<u8>> {
    let mut sql = format!("DELETE FROM {} WHERE ", layout.name).into_bytes();
    exact_key(layout, key, keys, row, &mut sql)?;
    Ok(sql)
}

/// Conditions for the rows that have these keys, byte for byte, so many to each.
pub(super) fn exact_keys(layout: &TableLayout, keys: &Batch) -> Result<Vec<Vec<u8>>> {
    let key = layout.key.clone().unwrap_or_default();
    let mut conditions = Vec::new();
    for first in (0..keys.rows).step_by(KEYS) {
        let mut sql = b"(".to_vec();
        for row in first..keys.rows.min(first + KEYS) {
            if row > first {
                sql.extend_from_slice(b") OR (");
            }
            exact_key(layout, &key, keys, row, &mut sql)?;
        }
        sql.push(b')');
        conditions.push(sql);
    }
    Ok(conditions)
}

fn exact_key(layout: &TableLayout, key: &[usize], keys: &Batch, row: usize, sql: &mut Vec<u8>) -> Result<()> {
    same_key(layout, key, keys, |index, _| index, row, sql)?;
    for (index, &place) in key.iter().enumerate() {
        let (Some(written), Some(column)) = (layout.columns.get(place), keys.columns.get(index)) else {
            continue;
        };
        if let (Encoder::Text { .. }, Vector::Varlen(values)) = (&written.encoder, &column.values) {
            let name = &written.name;
            sql.extend_from_slice(format!(" AND CAST(CONVERT({name} USING utf8mb4) AS BINARY)=").as_bytes());
            literal::binary(values.get(row), sql);
        }
    }
    Ok(())
}

/// Locks the rows with these keys, unless somebody else has one of them.
pub(super) fn lock(layout: &TableLayout, key: &[usize], keys: &Batch) -> Result<Vec<Vec<u8>>> {
    let mut statements = Vec::new();
    for first in (0..keys.rows).step_by(KEYS) {
        let mut sql = format!("SELECT 1 FROM {} WHERE (", layout.name).into_bytes();
        for row in first..keys.rows.min(first + KEYS) {
            if row > first {
                sql.extend_from_slice(b") OR (");
            }
            same_key(layout, key, keys, |index, _| index, row, &mut sql)?;
        }
        sql.extend_from_slice(b") FOR UPDATE NOWAIT");
        statements.push(sql);
    }
    Ok(statements)
}

/// A value as a literal that is text itself, to be read by people or prepared.
pub(super) fn readable(
    layout: &TableLayout,
    batch: &Batch,
    (index, place): (usize, usize),
    row: usize,
) -> Option<String> {
    let mut out = Vec::new();
    layout.literal(batch, (index, place), row, &mut out).ok()?;
    let column = batch.columns.get(index)?;
    match (&layout.columns.get(place)?.encoder, &column.values) {
        (Encoder::Bytes { .. }, Vector::Varlen(values)) if !column.is_null(row) => {
            Some(format!("x'{}'", hex::encode(values.get(row))))
        }
        _ => String::from_utf8(out).ok(),
    }
}

/// Finds the first of `keys` that no row has: for each a row that says whether it is there.
pub(super) fn is_there(layout: &TableLayout, key: &[usize], keys: &Batch, row: usize) -> Result<Vec<u8>> {
    let mut sql = format!("SELECT EXISTS (SELECT 1 FROM {} WHERE ", layout.name).into_bytes();
    same_key(layout, key, keys, |index, _| index, row, &mut sql)?;
    sql.push(b')');
    Ok(sql)
}

/// The value of a column as a default of it: plain where every server takes that, else in parentheses.
pub(super) fn expression(layout: &TableLayout, batch: &Batch, place: usize) -> Result<String> {
    let mut out = Vec::new();
    layout
        .literal(batch, (0, place), 0, &mut out)
        .map_err(|fault| layout.fault(batch, &[place], (0, 0), fault))?;
    let column = layout.columns.get(place);
    let encoder = column.map(|column| &column.encoder);
    if let Some(Vector::Varlen(values)) = batch.columns.first().map(|column| &column.values) {
        match encoder {
            // Statements of structure are text.
            Some(Encoder::Bytes { .. }) => {
                out = format!("x'{}'", hex::encode(values.get(0))).into_bytes();
            }
            // A default is no place for a label's place.
            Some(Encoder::Label(_) | Encoder::Labels(_)) => {
                out.clear();
                literal::quoted(values.get(0), &mut out);
            }
            _ => {}
        }
    }
    let text = String::from_utf8(out).map_err(|error| {
        engine_core::Error::new(engine_core::ErrorKind::Internal, "a value has no text").caused_by(error)
    })?;
    let plain = column.is_some_and(|column| {
        !matches!(column.encoder, Encoder::Json { .. })
            && !matches!(
                column.column_type,
                ColumnType::Text | ColumnType::Blob | ColumnType::Geometry | ColumnType::Json
            )
    });
    Ok(if plain { text } else { format!("({text})") })
}
