//! Applies what a statement says to the indexes and foreign keys of a table.

use engine_core::logical::{Layout, LogicalType};
use engine_core::schema::{
    ColumnSchema, ForeignKey, IndexKind, IndexPart, IndexSchema, ReferentialAction, TableName, TableSchema,
};
use engine_core::structure::ColumnOrigin;

use super::parse::Parsed;
use super::syntax::{self, Alteration, Element};
use super::table::same;
use super::types::Context;
use crate::server::Flavor;

/// Brings the ordinals of keys from the columns of `before` to those of now: an index loses its
/// dropped columns, and goes with the last.
pub(super) fn renumber(
    table: &mut TableSchema,
    before: &TableSchema,
    origins: &[ColumnOrigin],
) -> Parsed<()> {
    let place = |ordinal: usize| {
        origins.iter().position(|origin| matches!(origin, ColumnOrigin::Kept(from) if *from == ordinal))
    };
    let columns = &table.columns;
    for column in table.indexes.iter().flat_map(|index| &index.parts).filter_map(|part| part.column) {
        let name = before.columns.get(column).map(|column| column.name.as_str()).unwrap_or_default();
        if place(column).is_none() && columns.iter().any(|column| same(&column.name, name)) {
            return Err(format!("it drops the column {name} of an index and adds another of that name"));
        }
    }
    table.indexes.retain_mut(|index| {
        index.parts.retain_mut(|part| match part.column {
            None => true,
            Some(ordinal) => {
                part.column = place(ordinal);
                // A prefix as long as the column is none.
                part.prefix =
                    part.column.and_then(|new| columns.get(new)).and_then(|new| prefix(part.prefix, new));
                part.column.is_some()
            }
        });
        !index.parts.is_empty()
    });
    for key in &mut table.foreign_keys {
        let moved: Option<Vec<usize>> = key.columns.iter().map(|&ordinal| place(ordinal)).collect();
        key.columns = moved.ok_or_else(|| format!("a column of the foreign key {} is dropped", key.name))?;
        if key.parent == before.name {
            for name in &mut key.parent_columns {
                let old = before.columns.iter().position(|column| same(&column.name, name));
                if let Some(new) = old.and_then(place).and_then(|new| table.columns.get(new)) {
                    name.clone_from(&new.name);
                }
            }
        }
    }
    Ok(())
}

/// Drops keys.
pub(super) fn drop(table: &mut TableSchema, alterations: &[Alteration]) -> Parsed<()> {
    for alteration in alterations {
        match alteration {
            // One that isn't known is of the server's own making, for a foreign key: those come and go.
            Alteration::DropIndex { name, .. } => {
                remove(&mut table.indexes, |index| same(&index.name, name));
            }
            Alteration::DropForeignKey { name, if_exists } => {
                let found = remove(&mut table.foreign_keys, |key| same(&key.name, name));
                if !(found || *if_exists) {
                    return Err(format!("at this place of the stream the table has no foreign key {name}"));
                }
            }
            // What is neither is a check of values, which was never carried over.
            Alteration::DropConstraint { name, .. } => {
                let found = remove(&mut table.foreign_keys, |key| same(&key.name, name));
                if !found {
                    remove(&mut table.indexes, |index| same(&index.name, name));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn remove<T>(list: &mut Vec<T>, wanted: impl Fn(&T) -> bool) -> bool {
    let before = list.len();
    list.retain(|item| !wanted(item));
    list.len() < before
}

/// Renames indexes.
pub(super) fn rename(table: &mut TableSchema, alterations: &[Alteration], context: &Context<'_>) {
    let names: Vec<String> = table.indexes.iter().map(|index| index.name.clone()).collect();
    for alteration in alterations {
        if let Alteration::RenameIndex { old, new } = alteration {
            let place = names.iter().position(|name| same(name, old));
            if let Some(index) = place.and_then(|place| table.indexes.get_mut(place)) {
                index.name.clone_from(new);
            }
        }
    }
    sort(&mut table.indexes, context.server.flavor);
}

/// Adds keys, those in columns' own definitions among them.
pub(super) fn add(table: &mut TableSchema, elements: &[Element], context: &Context<'_>) -> Parsed<()> {
    for element in elements {
        if let Element::Column(column) = element {
            for (kind, wanted) in [(IndexKind::Primary, column.primary), (IndexKind::Unique, column.unique)] {
                if wanted {
                    let part =
                        syntax::Part { column: Ok(column.name.clone()), prefix: None, descending: false };
                    let index = syntax::Index { name: None, kind, parts: vec![part], if_not_exists: false };
                    add_index(table, &index)?;
                }
            }
        }
    }
    for element in elements {
        if let Element::Index(index) = element {
            add_index(table, index)?;
        }
    }
    for element in elements {
        if let Element::ForeignKey(key) = element {
            add_foreign_key(table, key, context)?;
        }
    }
    sort(&mut table.indexes, context.server.flavor);
    Ok(())
}

fn position(table: &TableSchema, column: &str) -> Parsed<usize> {
    let found = table.columns.iter().position(|known| same(&known.name, column));
    found.ok_or_else(|| format!("a key names the column {column}, which the table does not have"))
}

fn prefix(given: Option<u32>, column: &ColumnSchema) -> Option<u32> {
    let longest = match &column.logical {
        LogicalType::Text { max_chars, .. } => *max_chars,
        LogicalType::Bytes { max_bytes, .. } => *max_bytes,
        LogicalType::Other(_) => return None,
        logical if logical.layout() != Layout::Varlen => return None,
        _ => None,
    };
    given.filter(|&length| longest.is_none_or(|longest| length < longest))
}

pub(super) fn add_index(table: &mut TableSchema, index: &syntax::Index) -> Parsed<()> {
    let mut parts = Vec::with_capacity(index.parts.len());
    for part in &index.parts {
        parts.push(match &part.column {
            Err(expression) => IndexPart {
                column: None,
                expression: Some(expression.clone()),
                prefix: None,
                descending: part.descending,
            },
            Ok(name) => {
                let column = position(table, name)?;
                let prefix = table.columns.get(column).and_then(|column| prefix(part.prefix, column));
                IndexPart { column: Some(column), expression: None, prefix, descending: part.descending }
            }
        });
    }
    if index.kind == IndexKind::Primary {
        for column in parts.iter().filter_map(|part| part.column) {
            if let Some(column) = table.columns.get_mut(column) {
                column.nullable = false;
            }
        }
    }
    let name = match (&index.name, index.kind) {
        (_, IndexKind::Primary) => "PRIMARY".to_owned(),
        (Some(name), _) => name.clone(),
        (None, _) => free_name(table, index),
    };
    let known = table.indexes.iter().find(|known| same(&known.name, &name));
    if let Some(known) = known {
        // An index of before the task read the structure is the same one.
        if index.if_not_exists || known.kind == index.kind && known.parts == parts {
            return Ok(());
        }
        return Err(format!("at this place of the stream the table has an index {name} already"));
    }
    // The index that a server makes for a foreign key gives way to one that serves as well.
    table.indexes.push(IndexSchema { name, kind: index.kind, parts });
    Ok(())
}

/// The name of an index that was given none: its first column's, with a number where that is taken.
fn free_name(table: &TableSchema, index: &syntax::Index) -> String {
    let base = match index.parts.first().map(|part| &part.column) {
        Some(Ok(column)) => {
            let known = table.columns.iter().find(|known| same(&known.name, column));
            known.map_or_else(|| column.clone(), |known| known.name.clone())
        }
        _ => "functional_index".to_owned(),
    };
    let is_free = |name: &str| table.indexes.iter().all(|known| !same(&known.name, name));
    if is_free(&base) && !same(&base, "PRIMARY") {
        return base;
    }
    let taken = table.indexes.len() + 2;
    (2..=taken).map(|number| format!("{base}_{number}")).find(|name| is_free(name)).unwrap_or(base)
}

fn add_foreign_key(table: &mut TableSchema, key: &syntax::ForeignKey, context: &Context<'_>) -> Parsed<()> {
    let columns = key.columns.iter().map(|name| position(table, name)).collect::<Parsed<Vec<_>>>()?;
    let name = match &key.name {
        Some(name) => name.clone(),
        None => {
            let start = format!("{}_ibfk_", table.name.name);
            let numbers =
                table.foreign_keys.iter().filter_map(|known| known.name.strip_prefix(&start)?.parse().ok());
            let last: u32 = numbers.max().unwrap_or(0);
            format!("{start}{}", last + 1)
        }
    };
    if table.foreign_keys.iter().any(|known| same(&known.name, &name)) {
        return Err(format!("at this place of the stream the table has a foreign key {name} already"));
    }
    // A foreign key needs an index that begins with its columns; the server makes one if need be.
    let serves = |index: &&IndexSchema| {
        !matches!(index.kind, IndexKind::Fulltext | IndexKind::Spatial)
            && index.parts.len() >= columns.len()
            && index
                .parts
                .iter()
                .zip(&columns)
                .all(|(part, column)| part.column == Some(*column) && part.prefix.is_none())
    };
    if !table.indexes.iter().any(|index| serves(&index)) {
        let parts = key
            .columns
            .iter()
            .map(|name| syntax::Part { column: Ok(name.clone()), prefix: None, descending: false })
            .collect();
        let name = key.name.clone().or_else(|| key.index.clone());
        add_index(table, &syntax::Index { name, kind: IndexKind::Plain, parts, if_not_exists: false })?;
    }
    let namespace = key.parent.database.clone().unwrap_or_else(|| table.name.namespace.clone());
    let unspecified = match context.server.flavor {
        Flavor::MySql => ReferentialAction::NoAction,
        Flavor::MariaDb => ReferentialAction::Restrict,
    };
    table.foreign_keys.push(ForeignKey {
        name,
        columns,
        parent: TableName::new(namespace, key.parent.table.clone()),
        parent_columns: key.parent_columns.clone(),
        on_delete: key.on_delete.unwrap_or(unspecified),
        on_update: key.on_update.unwrap_or(unspecified),
    });
    table.foreign_keys.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(())
}

/// The order of the catalog: the primary key, then by name.
fn sort(indexes: &mut [IndexSchema], flavor: Flavor) {
    // The servers fold letters to different cases, between which there is the underscore.
    let folded = |name: &str| match flavor {
        Flavor::MySql => name.to_lowercase(),
        Flavor::MariaDb => name.to_uppercase(),
    };
    indexes.sort_by_key(|index| (index.kind != IndexKind::Primary, folded(&index.name)));
}
