//! Indexes and foreign keys.

use engine_core::Result;
use engine_core::schema::{ForeignKey, IndexKind, IndexPart, IndexSchema, ReferentialAction, TableName};
use tokio_postgres::Transaction;

use super::Tables;
use crate::failure::translate;
use crate::family::Family;

/// Which indexes other databases have too: trees over all rows, of values that have an order there.
pub(in crate::source) fn carried_index(family: Family) -> String {
    format!(
        "(a.amname IN ({}) AND i.indisvalid AND i.indpred IS NULL AND (i.indisunique OR NOT EXISTS \
         (SELECT 1 FROM pg_catalog.pg_attribute v JOIN pg_catalog.pg_type t ON t.oid = v.atttypid \
          WHERE v.attrelid = i.indrelid AND v.attnum = ANY (i.indkey::int2[]) \
          AND (t.typname = 'jsonb' OR t.typcategory = 'A'))))",
        family.tree_indexes()
    )
}

/// Which foreign keys every row is known to keep, by values that are equal.
pub(in crate::source) fn carried_foreign_key(family: Family) -> &'static str {
    match family {
        Family::PostgreSql => {
            "(k.convalidated AND NOT coalesce((pg_catalog.to_jsonb(k) ->> 'conperiod')::boolean, false))"
        }
        Family::OpenGauss => "k.convalidated",
    }
}

/// Reads the [carried](carried_index) indexes. A key that may be violated for
/// a while is none to tell rows apart by, and is an ordinary index here.
pub(super) async fn read_indexes(
    client: &Transaction<'_>,
    family: Family,
    tables: &mut Tables,
) -> Result<()> {
    let query = format!(
        "SELECT i.indrelid, x.relname, i.indisprimary, i.indisunique AND i.indimmediate, \
         i.indkey::int2[], i.indoption::int2[], i.indnkeyatts::int, \
         ARRAY(SELECT CASE WHEN i.indkey[k - 1] = 0 THEN pg_catalog.pg_get_indexdef(i.indexrelid, k, true) END \
               FROM pg_catalog.generate_series(1, i.indnkeyatts) k ORDER BY k) \
         FROM pg_catalog.pg_index i \
         JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid JOIN pg_catalog.pg_am a ON a.oid = x.relam \
         JOIN pg_catalog.pg_class c ON c.oid = i.indrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE {} AND {} AND {} \
         ORDER BY i.indrelid, NOT i.indisprimary, x.relname::text COLLATE \"C\"",
        family.tables(),
        family.user_schemas(),
        carried_index(family)
    );
    let rows = client
        .query(&query, &[])
        .await
        .map_err(|error| translate(error, "the source's indexes can't be listed"))?;
    for row in &rows {
        let Some((table, ordinals)) = tables.get_mut(row.get(0)) else { continue };
        let kind = match (row.get(2), row.get(3)) {
            (true, true) => IndexKind::Primary,
            (_, true) => IndexKind::Unique,
            _ => IndexKind::Plain,
        };
        let (columns, options): (Vec<i16>, Vec<i16>) = (row.get(4), row.get(5));
        let expressions: Vec<Option<String>> = row.get(7);
        let length = usize::try_from(row.get::<_, i32>(6)).unwrap_or_default();
        let parts = columns.iter().zip(options).zip(expressions).take(length).map(
            |((column, option), expression)| IndexPart {
                column: ordinals.get(column).copied(),
                expression,
                prefix: None,
                descending: option & 1 != 0,
            },
        );
        table.indexes.push(IndexSchema { name: row.get(1), kind, parts: parts.collect() });
    }
    Ok(())
}

/// Reads the [carried](carried_foreign_key) foreign keys.
pub(super) async fn read_foreign_keys(
    client: &Transaction<'_>,
    family: Family,
    tables: &mut Tables,
) -> Result<()> {
    let query = format!(
        "SELECT k.conrelid, k.conname, k.conkey, pn.nspname, p.relname, \
         ARRAY(SELECT a.attname::text FROM pg_catalog.generate_series(1, pg_catalog.array_upper(k.confkey, 1)) AS f (place) \
               JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = k.confkey[f.place] ORDER BY f.place), \
         k.confdeltype::text, k.confupdtype::text \
         FROM pg_catalog.pg_constraint k \
         JOIN pg_catalog.pg_class c ON c.oid = k.conrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_catalog.pg_class p ON p.oid = k.confrelid JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace \
         WHERE k.contype = 'f' AND {} AND {} AND {} AND {} \
         ORDER BY k.conrelid, k.conname::text COLLATE \"C\"",
        family.own_foreign_key(),
        carried_foreign_key(family),
        family.tables(),
        family.user_schemas()
    );
    let rows = client
        .query(&query, &[])
        .await
        .map_err(|error| translate(error, "the source's foreign keys can't be listed"))?;
    for row in &rows {
        let Some((table, ordinals)) = tables.get_mut(row.get(0)) else { continue };
        let columns: Vec<i16> = row.get(2);
        table.foreign_keys.push(ForeignKey {
            name: row.get(1),
            columns: columns.iter().filter_map(|number| ordinals.get(number).copied()).collect(),
            parent: TableName::new(row.get::<_, &str>(3), row.get::<_, &str>(4)),
            parent_columns: row.get(5),
            on_delete: action(row.get(6)),
            on_update: action(row.get(7)),
        });
    }
    Ok(())
}

fn action(code: &str) -> ReferentialAction {
    match code {
        "r" => ReferentialAction::Restrict,
        "c" => ReferentialAction::Cascade,
        "n" => ReferentialAction::SetNull,
        "d" => ReferentialAction::SetDefault,
        _ => ReferentialAction::NoAction,
    }
}
