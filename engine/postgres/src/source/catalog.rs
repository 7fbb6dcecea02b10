//! The tables of a source, from the system catalogs: a fixed number of queries however many tables
//! there are.

mod column;
mod constraint;

use engine_core::schema::{TableName, TableSchema};
use engine_core::selection::Selection;
use engine_core::{Error, ErrorKind, Result};
use std::collections::HashMap;
use tokio_postgres::Client;

use crate::failure::translate;
use crate::family::Family;
use crate::identifier::quote;

#[cfg(test)]
pub(super) use column::attributes_for_tests;
pub(super) use column::{is_type, number, type_number};
pub(super) use constraint::{carried_foreign_key, carried_index};

/// The statement by which a table logs whole rows of what changes.
pub(super) fn full_identity(table: &TableName) -> String {
    format!("ALTER TABLE {}.{} REPLICA IDENTITY FULL", quote(&table.namespace), quote(&table.name))
}

/// Tables while the parts of their schemas come in.
struct Tables {
    list: Vec<TableSchema>,
    by_oid: HashMap<u32, Place>,
}

/// A table among others, and its columns by the numbers that the server has for them.
struct Place {
    index: usize,
    ordinals: HashMap<i16, usize>,
}

impl Tables {
    fn get_mut(&mut self, oid: u32) -> Option<(&mut TableSchema, &mut HashMap<i16, usize>)> {
        let place = self.by_oid.get_mut(&oid)?;
        Some((self.list.get_mut(place.index)?, &mut place.ordinals))
    }
}

/// Reads the tables of the selection, by name.
pub(super) async fn read(
    client: &mut Client,
    family: Family,
    selection: &Selection,
) -> Result<Vec<TableSchema>> {
    let failed = |error| translate(error, "the source's tables can't be listed");
    // One snapshot, so that the parts fit together.
    let transaction = client
        .build_transaction()
        .isolation_level(tokio_postgres::IsolationLevel::RepeatableRead)
        .read_only(true)
        .start()
        .await
        .map_err(failed)?;
    let mut tables = list(&transaction, family, selection).await?;
    column::read(&transaction, family, &mut tables).await?;
    constraint::read_indexes(&transaction, family, &mut tables).await?;
    constraint::read_foreign_keys(&transaction, family, &mut tables).await?;
    transaction.commit().await.map_err(failed)?;
    if let Some(empty) = tables.list.iter().find(|table| table.columns.is_empty()) {
        return Err(Error::new(ErrorKind::Unrepresentable, "a table without columns can't be moved")
            .at("table", &empty.name)
            .help("leave it out with --exclude"));
    }
    Ok(tables.list)
}

/// Names of the tables of the selection.
pub(super) async fn names(client: &Client, family: Family, selection: &Selection) -> Result<Vec<TableName>> {
    let query = format!(
        "SELECT n.nspname::text, c.relname::text FROM pg_catalog.pg_class c \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE {} AND {} ORDER BY 1, 2",
        family.tables(),
        family.user_schemas()
    );
    let rows = client
        .query(&query, &[])
        .await
        .map_err(|error| translate(error, "the source's tables can't be listed"))?;
    let names = rows.iter().map(|row| TableName::new(row.get::<_, &str>(0), row.get::<_, &str>(1)));
    Ok(names.filter(|name| selection.matches(name)).collect())
}

async fn list(
    client: &tokio_postgres::Transaction<'_>,
    family: Family,
    selection: &Selection,
) -> Result<Tables> {
    let query = format!(
        "SELECT c.oid, n.nspname, c.relname, pg_catalog.obj_description(c.oid, 'pg_class'), \
         {} FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE {} AND {} ORDER BY n.nspname::text COLLATE \"C\", c.relname::text COLLATE \"C\"",
        family.estimates(),
        family.tables(),
        family.user_schemas()
    );
    let rows = client
        .query(&query, &[])
        .await
        .map_err(|error| translate(error, "the source's tables can't be listed"))?;
    let mut tables = Tables { list: Vec::new(), by_oid: HashMap::new() };
    for row in &rows {
        let name = TableName::new(row.get::<_, &str>(1), row.get::<_, &str>(2));
        if !selection.matches(&name) {
            continue;
        }
        // Of a table that was never analysed both are a guess at best.
        let estimate: f64 = row.get(4);
        let is_known = estimate > 0.0;
        tables.by_oid.insert(row.get(0), Place { index: tables.list.len(), ordinals: HashMap::new() });
        tables.list.push(TableSchema {
            name,
            columns: Vec::new(),
            indexes: Vec::new(),
            foreign_keys: Vec::new(),
            comment: row.get::<_, Option<String>>(3).unwrap_or_default(),
            collation: None,
            row_estimate: is_known.then_some(estimate as u64),
            byte_estimate: is_known.then(|| row.get::<_, i64>(5).max(0).cast_unsigned()),
            next_identity: None,
        });
    }
    Ok(tables)
}
