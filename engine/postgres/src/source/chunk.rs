//! Reading a table in ranges of its row key.
//!
//! A chunk is `after < key <= to`, compared by the server alone, as rows, in the types and collations of
//! the key's columns. A bound holds the values as the server writes them.

use engine_core::batch::Batch;
use engine_core::schema::{TableName, TableSchema};
use engine_core::source::{ChunkRange, KeyBound};
use engine_core::{Error, ErrorKind, Result};
use std::fmt::Write as _;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::failure::translate;
use crate::identifier::{literal, quote};

/// `"schema"."table"`.
pub(super) fn relation(name: &TableName) -> String {
    format!("{}.{}", quote(&name.namespace), quote(&name.name))
}

/// ` WHERE …` for the rows of the range; nothing for the whole table.
pub(super) fn condition(table: &TableSchema, range: &ChunkRange) -> Result<String> {
    let mut clause = String::new();
    for (bound, operator) in [(&range.after, ">"), (&range.to, "<=")] {
        let Some(bound) = bound else { continue };
        let key = key(table)?;
        let names: Vec<String> = names(table, &key);
        let values =
            decode(bound).filter(|values| values.len() == key.len()).ok_or_else(|| damaged(table))?;
        let types = key.iter().filter_map(|&column| table.columns.get(column)).map(|column| &column.native);
        let values: Vec<String> =
            values.iter().zip(types).map(|(value, native)| format!("{}::{native}", literal(value))).collect();
        let _ = write!(
            clause,
            "{} ({}) {operator} ({})",
            if clause.is_empty() { " WHERE" } else { " AND" },
            names.join(", "),
            values.join(", ")
        );
    }
    Ok(clause)
}

/// The upper bound of a chunk of `rows` rows after `after`; `None` when fewer are left.
pub(super) async fn end(
    client: &Client,
    table: &TableSchema,
    after: Option<&KeyBound>,
    rows: u64,
) -> Result<Option<KeyBound>> {
    let names = names(table, &key(table)?).join(", ");
    let condition = condition(table, &ChunkRange { after: after.cloned(), to: None })?;
    let query = format!(
        "SELECT {names} FROM {}{condition} ORDER BY {names} LIMIT 1 OFFSET {}",
        relation(&table.name),
        rows.saturating_sub(1)
    );
    // As text, in which every type can be written down and read again.
    let answer = client
        .simple_query(&query)
        .await
        .map_err(|error| translate(error, "the end of a chunk can't be found").at("table", &table.name))?;
    let Some(row) = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    }) else {
        return Ok(None);
    };
    let values: Option<Vec<&str>> = (0..row.len()).map(|place| row.get(place)).collect();
    let values = values.ok_or_else(|| {
        Error::new(ErrorKind::Divergence, "a key value is NULL where the table's columns could not be")
            .at("table", &table.name)
            .help("the table was changed during the copy; run again")
    })?;
    encode(&values).map(Some)
}

/// The columns of a bound's key and its values, one row.
pub(super) fn values(table: &TableSchema, bound: &KeyBound) -> Result<Option<(Vec<usize>, Batch)>> {
    let key = key(table)?;
    let texts = decode(bound).filter(|values| values.len() == key.len()).ok_or_else(|| damaged(table))?;
    let mut columns = Vec::with_capacity(key.len());
    for (&ordinal, text) in key.iter().zip(&texts) {
        let column = table.columns.get(ordinal).ok_or_else(|| damaged(table))?;
        let mut values = column.logical.layout().empty_column();
        let decoder = super::reader::decoder(&table.name, column)?;
        decoder.push(text.as_bytes(), &mut values).map_err(|_| damaged(table))?;
        columns.push(values);
    }
    Ok(Some((key, Batch { rows: 1, columns })))
}

fn key(table: &TableSchema) -> Result<Vec<usize>> {
    table.row_key().ok_or_else(|| {
        Error::new(ErrorKind::Internal, "a table without a usable key was asked for in chunks")
            .at("table", &table.name)
    })
}

fn names(table: &TableSchema, key: &[usize]) -> Vec<String> {
    key.iter().filter_map(|&column| table.columns.get(column)).map(|column| quote(&column.name)).collect()
}

fn encode(values: &[&str]) -> Result<KeyBound> {
    serde_json::to_vec(values).map(KeyBound).map_err(|error| {
        Error::new(ErrorKind::Internal, "the bound of a chunk can't be written down").because(error)
    })
}

fn decode(bound: &KeyBound) -> Option<Vec<String>> {
    serde_json::from_slice(&bound.0).ok()
}

fn damaged(table: &TableSchema) -> Error {
    Error::new(ErrorKind::State, "the bound of a chunk can't be read")
        .at("table", &table.name)
        .because("it does not fit the table's key, or the record is damaged")
        .help("if the key of the table was changed, start the task anew")
}
