//! Changes of structure, which the log does not have: a row of another shape than the one on record tells of them.
//!
//! What became of which column is told by the numbers that the server gives to columns and never to
//! another one, and by the value that it keeps for rows from before a column was added. Where that does not tell,
//! nothing is guessed.

use engine_core::change::SchemaChange;
use engine_core::column::Column;
use engine_core::schema::{ColumnSchema, IndexSchema, TableName, TableSchema};
use engine_core::selection::Selection;
use engine_core::structure::{ColumnOrigin, Fill, StructureKind, TableEvolution};
use engine_core::{Error, ErrorKind, Result};
use std::collections::HashMap;
use tokio_postgres::Client;

use super::catalog;
use super::reader::decoder;
use crate::failure::translate;
use crate::family::Family;

/// A column as the stream describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) name: String,
    pub(super) type_id: u32,
    pub(super) type_modifier: i32,
}

impl Sent {
    fn is(&self, column: &ColumnSchema) -> bool {
        column.name == self.name && self.has_type_of(column)
    }

    fn has_type_of(&self, column: &ColumnSchema) -> bool {
        catalog::is_type(column, self.type_id, self.type_modifier)
    }
}

const RELATION: &str = "relation";
const COLUMN: &str = "column";

/// The change of a table to these columns, seen in a transaction whose rows follow.
pub(super) fn change(table: &TableSchema, relation: u32, sent: &[Sent]) -> SchemaChange {
    let mut session = vec![(RELATION.to_owned(), relation.to_string())];
    session.extend(sent.iter().map(|column| {
        (COLUMN.to_owned(), format!("{} {} {}", column.type_id, column.type_modifier, column.name))
    }));
    let names = sent.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ");
    SchemaChange {
        namespace: table.name.namespace.clone(),
        tables: vec![table.name.clone()],
        statement: format!("ALTER TABLE {}, which has the columns {names} now", table.name),
        executed_at: None,
        session,
        with_rows: true,
    }
}

/// What a change says: the number of the relation, and its columns. `None` for a change of another kind.
fn read(change: &SchemaChange) -> Option<(u32, Vec<Sent>)> {
    let (mut relation, mut sent) = (None, Vec::new());
    for (name, text) in &change.session {
        if name == RELATION {
            relation = text.parse().ok();
        } else if name == COLUMN {
            let mut parts = text.splitn(3, ' ');
            sent.push(Sent {
                type_id: parts.next()?.parse().ok()?,
                type_modifier: parts.next()?.parse().ok()?,
                name: parts.next()?.to_owned(),
            });
        }
    }
    Some((relation?, sent))
}

/// Whether a table has the columns that a change leaves; what is computed may not be among them.
pub(super) fn is_on_record(change: &SchemaChange, table: &TableSchema) -> bool {
    let Some((_, sent)) = read(change) else { return false };
    let stored = || table.columns.iter().filter(|column| column.generated.is_none());
    let is = |columns: Vec<&ColumnSchema>| {
        columns.len() == sent.len() && columns.iter().zip(&sent).all(|(column, sent)| sent.is(column))
    };
    is(stored().collect()) || is(table.columns.iter().collect())
}

/// A column as the server has it now.
#[derive(Debug, Clone)]
struct Now {
    number: i16,
    sent: Sent,
    /// What rows from before it was added have, as text.
    missing: Option<String>,
    has_default: bool,
    is_nullable: bool,
    is_computed: bool,
}

/// What a change did; `None` for one that isn't of this kind.
pub(super) async fn evolve(
    client: &mut Client,
    family: Family,
    change: &SchemaChange,
    known: &[TableSchema],
) -> Result<Option<Vec<TableEvolution>>> {
    let Some((relation, sent)) = read(change) else { return Ok(None) };
    let Some(before) = change.tables.first().and_then(|name| known.iter().find(|table| table.name == *name))
    else {
        return Ok(None);
    };
    if family.is_opengauss() {
        return Err(Error::new(
            ErrorKind::Unrepresentable,
            "a change of structure on the source can't be followed",
        )
        .at("table", &before.name)
        .because("openGauss keeps other things of its columns than PostgreSQL"));
    }
    let now = columns(client, relation).await?;
    let today = today(client, family, &before.name).await?;
    let described = |name: &str| today.columns.iter().find(|column| column.name == name).cloned();
    let (after, columns) = compare(before, &sent, &now, described)?;
    let kind = StructureKind::AlterTable;
    let (before, after) = (Some(before.name.clone()), Some(after));
    Ok(Some(vec![TableEvolution { kind, before, after, columns, emptied: false }]))
}

/// The table as it is after a change, whatever became of its rows; `None` for one that isn't of this kind.
pub(super) async fn structure(
    client: &mut Client,
    family: Family,
    change: &SchemaChange,
    known: &[TableSchema],
) -> Result<Option<TableSchema>> {
    let Some((_, sent)) = read(change) else { return Ok(None) };
    let Some(before) = change.tables.first().and_then(|name| known.iter().find(|table| table.name == *name))
    else {
        return Ok(None);
    };
    let today = today(client, family, &before.name).await?;
    let mut after = Vec::with_capacity(sent.len());
    for sent in &sent {
        let mut columns = before.columns.iter().chain(&today.columns);
        let column = columns.find(|column| sent.is(column)).cloned();
        after.push(column.ok_or_else(|| refused(&before.name, &sent.name, "it has changed again since"))?);
    }
    let origins: Vec<Option<usize>> = after
        .iter()
        .map(|column| before.columns.iter().position(|known| known.name == column.name))
        .collect();
    Ok(Some(rebuilt(before, after, &origins)))
}

async fn today(client: &mut Client, family: Family, name: &TableName) -> Result<TableSchema> {
    let selection = Selection { database: None, include: vec![name.to_string()], exclude: Vec::new() };
    let tables = catalog::read(client, family, &selection).await?;
    tables.into_iter().find(|table| table.name == *name).ok_or_else(|| {
        Error::new(ErrorKind::Unrepresentable, "a table that has changed is not there any more")
            .at("table", name)
    })
}

/// The columns of a table. What rows from before one was added have, a partitioned table's partitions know.
async fn columns(client: &Client, relation: u32) -> Result<Vec<Now>> {
    let rows = client
        .query(
            "SELECT a.attnum, a.attname::text, a.atttypid, a.atttypmod, \
             CASE WHEN t.typdelim <> ',' THEN NULL \
                  WHEN a.atthasmissing THEN (a.attmissingval::text::text[])[1] \
                  ELSE (SELECT CASE WHEN count(DISTINCT p.value) = 1 THEN min(p.value) END FROM \
                        (SELECT (l.attmissingval::text::text[])[1] AS value \
                         FROM pg_catalog.pg_partition_tree(a.attrelid) p \
                         JOIN pg_catalog.pg_attribute l ON l.attrelid = p.relid AND l.attname = a.attname \
                         WHERE p.isleaf AND l.atthasmissing) p) END, \
             a.atthasdef OR a.atthasmissing, NOT a.attnotnull, a.attgenerated <> '' OR a.attidentity <> '' \
             FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
             WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped",
            &[&relation],
        )
        .await
        .map_err(|error| translate(error, "the source's columns can't be listed"))?;
    let column = |row: &tokio_postgres::Row| Now {
        number: row.get(0),
        sent: Sent { name: row.get(1), type_id: row.get(2), type_modifier: row.get(3) },
        missing: row.get(4),
        has_default: row.get(5),
        is_nullable: row.get(6),
        is_computed: row.get(7),
    };
    Ok(rows.iter().map(column).collect())
}

/// The table after, and where its columns come from. `described` describes a column of today.
fn compare(
    before: &TableSchema,
    sent: &[Sent],
    now: &[Now],
    described: impl Fn(&str) -> Option<ColumnSchema>,
) -> Result<(TableSchema, Vec<ColumnOrigin>)> {
    let refuse = |column: &str, why: &str| Err(refused(&before.name, column, why));
    let numbers: HashMap<i16, usize> = before
        .columns
        .iter()
        .enumerate()
        .filter_map(|(ordinal, column)| Some((catalog::number(column)?, ordinal)))
        .collect();
    let again = "the table has changed again since, so that what became of it can't be told";
    let (mut after, mut origins) = (Vec::with_capacity(sent.len()), Vec::with_capacity(sent.len()));
    for sent in sent {
        let Some(today) = now.iter().find(|now| now.sent == *sent) else {
            let is_retyped =
                before.columns.iter().any(|known| known.name == sent.name && !sent.has_type_of(known));
            return refuse(&sent.name, if is_retyped { RETYPED } else { again });
        };
        if let Some(&ordinal) = numbers.get(&today.number) {
            let Some(known) = before.columns.get(ordinal) else { return refuse(&sent.name, again) };
            if !sent.has_type_of(known) {
                return refuse(&sent.name, RETYPED);
            }
            after.push(ColumnSchema { name: sent.name.clone(), ..known.clone() });
            origins.push(ColumnOrigin::Kept(ordinal));
            continue;
        }
        if before.columns.iter().any(|known| known.name == sent.name) {
            return refuse(
                &sent.name,
                "it was dropped and added anew, and which of the two is meant can't be told",
            );
        }
        let Some(column) = described(&sent.name) else { return refuse(&sent.name, again) };
        origins.push(ColumnOrigin::Added(fill(before, &column, today)?));
        after.push(column);
    }
    // What is computed may not be sent, and is there all the same.
    for (ordinal, known) in before.columns.iter().enumerate() {
        let is_kept = origins.contains(&ColumnOrigin::Kept(ordinal));
        let number = catalog::number(known);
        let is_there = now.iter().any(|now| Some(now.number) == number);
        if is_kept {
            continue;
        }
        if known.generated.is_some() && is_there {
            after.push(known.clone());
            origins.push(ColumnOrigin::Kept(ordinal));
        } else if is_there || number.is_none() {
            return refuse(&known.name, again);
        }
    }
    let places: Vec<Option<usize>> = origins
        .iter()
        .map(|origin| match origin {
            ColumnOrigin::Kept(ordinal) => Some(*ordinal),
            ColumnOrigin::Added(_) => None,
        })
        .collect();
    Ok((rebuilt(before, after, &places), origins))
}

const RETYPED: &str = "its type was changed, and with it perhaps every value, which is not in the log";

fn refused(table: &TableName, column: &str, why: &str) -> Error {
    Error::new(ErrorKind::Unrepresentable, "a change of structure on the source can't be followed")
        .at("table", table)
        .at("column", column)
        .because(why)
}

/// What rows from before the column was added have in it.
fn fill(table: &TableSchema, column: &ColumnSchema, now: &Now) -> Result<Fill> {
    let mut value: Column = column.logical.layout().empty_column();
    if now.is_computed {
        return Ok(Fill::Unknown(format!("the source computes the column {}", column.name)));
    }
    match &now.missing {
        Some(text) => {
            let decoder = decoder(&table.name, column)?;
            if decoder.push(text.as_bytes(), &mut value).is_err() {
                return Ok(Fill::Unknown(format!(
                    "the default of the column {} can't be decoded",
                    column.name
                )));
            }
        }
        None if now.has_default || !now.is_nullable => {
            return Ok(Fill::Unknown(format!(
                "the column {} has a default that was another one for each row, or was set later",
                column.name
            )));
        }
        None => value.push_null(),
    }
    Ok(Fill::Value(value))
}

/// The table with other columns. Its indexes and foreign keys are those whose columns are there still.
fn rebuilt(before: &TableSchema, columns: Vec<ColumnSchema>, origins: &[Option<usize>]) -> TableSchema {
    let place = |ordinal: usize| origins.iter().position(|origin| *origin == Some(ordinal));
    let index = |index: &IndexSchema| {
        let mut index = index.clone();
        for part in &mut index.parts {
            if let Some(column) = part.column {
                part.column = Some(place(column)?);
            }
        }
        Some(index)
    };
    let foreign_keys = before.foreign_keys.iter().filter_map(|key| {
        let mut key = key.clone();
        key.columns = key.columns.iter().map(|&column| place(column)).collect::<Option<_>>()?;
        Some(key)
    });
    TableSchema {
        columns,
        indexes: before.indexes.iter().filter_map(index).collect(),
        foreign_keys: foreign_keys.collect(),
        ..before.clone()
    }
}

#[cfg(test)]
mod tests;
