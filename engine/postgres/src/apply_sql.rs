//! The statements that apply changes.

use crate::dialect::Dialect;
use crate::identifier;
use crate::layout::{TableLayout, WrittenColumn};
use crate::pg_type::PgType;

/// `unnest($1::int8[], …) AS n(c0, …)` over the columns at `positions`.
fn unnest(layout: &TableLayout, positions: &[usize], alias: &str) -> String {
    let names: Vec<_> = (0..positions.len()).map(|index| format!("c{index}")).collect();
    let arrays = arrays(layout, positions);
    match layout.dialect {
        Dialect::Postgres => format!("unnest({}) AS {alias}({})", arrays.join(", "), names.join(", ")),
        Dialect::OpenGauss(_) => format!("(SELECT {}) AS {alias}", side_by_side(&arrays)),
    }
}

/// The same with the place in the arrays, from one, as `place`.
fn unnest_in_order(layout: &TableLayout, positions: &[usize], alias: &str) -> String {
    let names: Vec<_> = (0..positions.len()).map(|index| format!("c{index}")).collect();
    let arrays = arrays(layout, positions);
    match layout.dialect {
        Dialect::Postgres => {
            format!("unnest({}) WITH ORDINALITY AS {alias}({}, place)", arrays.join(", "), names.join(", "))
        }
        Dialect::OpenGauss(_) => {
            let first = arrays.first().map_or("NULL", String::as_str);
            let place = format!("generate_subscripts({first}, 1)::bigint AS place");
            format!("(SELECT {}, {place}) AS {alias}", side_by_side(&arrays))
        }
    }
}

/// `unnest($1::int8[]) AS c0, …`: functions of sets that are as long as each other go side by side in a list of what is
/// selected, also where `unnest` takes one array at a time.
fn side_by_side(arrays: &[String]) -> String {
    let columns = arrays.iter().enumerate().map(|(index, array)| format!("unnest({array}) AS c{index}"));
    columns.collect::<Vec<_>>().join(", ")
}

/// `$1::int8[]` for each of the columns at `positions`.
fn arrays(layout: &TableLayout, positions: &[usize]) -> Vec<String> {
    let columns = positions.iter().filter_map(|&position| layout.columns.get(position));
    columns
        .enumerate()
        .map(|(index, column)| {
            let element = column.pg_type.array_element().unwrap_or("pg_catalog.text");
            format!("${}::{element}[]", index + 1)
        })
        .collect()
}

/// A value of `unnest`, cast where it came as text.
fn unnested(column: &WrittenColumn, alias: &str, index: usize) -> String {
    match column.pg_type.array_element() {
        Some(_) => format!("{alias}.c{index}"),
        None => format!("{alias}.c{index}::{}", column.type_text),
    }
}

/// `t.id = k.c0 AND …`: that a row of the table has the key of a row of `unnest`. `place` says which
/// of its columns has a column of the key.
fn same_key(
    layout: &TableLayout,
    key: &[usize],
    alias: &str,
    place: impl Fn(usize, usize) -> usize,
) -> String {
    let conditions: Vec<_> = key
        .iter()
        .enumerate()
        .filter_map(|(index, &position)| {
            let column = layout.columns.get(position)?;
            let value = unnested(column, alias, place(index, position));
            Some(format!("t.{} = {value}", column.name))
        })
        .collect();
    conditions.join(" AND ")
}

/// Deletes the rows with the given keys, one array per column of the key.
pub(crate) fn delete_keys(layout: &TableLayout, key: &[usize]) -> String {
    format!(
        "DELETE FROM {} AS t USING {} WHERE {}",
        identifier::qualified(&layout.table.name),
        unnest(layout, key, "k"),
        same_key(layout, key, "k", |index, _| index)
    )
}

/// Gives the rows with the given keys new values, one array per written column. `None` when the
/// key is all there is.
pub(crate) fn update_rows(layout: &TableLayout, key: &[usize]) -> Option<String> {
    let values: Vec<_> = layout
        .columns
        .iter()
        .enumerate()
        .filter(|(index, _)| !key.contains(index))
        .map(|(index, column)| format!("{} = {}", column.name, unnested(column, "n", index)))
        .collect();
    let sql = format!(
        "UPDATE {} AS t SET {} FROM {} WHERE {}",
        identifier::qualified(&layout.table.name),
        values.join(", "),
        unnest(layout, &layout.all(), "n"),
        same_key(layout, key, "n", |_, position| position)
    );
    (!values.is_empty()).then_some(sql)
}

/// Reads the rows that have one of the keys, each once, as their written columns.
///
/// Parameters: an array for each key column.
pub(crate) fn select_keys(layout: &TableLayout, key: &[usize]) -> String {
    let names: Vec<_> = layout.columns.iter().map(|column| format!("t.{}", column.name)).collect();
    let columns = key.iter().filter_map(|&position| layout.columns.get(position));
    let columns: Vec<_> = columns.map(|column| format!("t.{}", column.name)).collect();
    let values: Vec<_> = key
        .iter()
        .enumerate()
        .filter_map(|(index, &position)| Some(unnested(layout.columns.get(position)?, "k", index)))
        .collect();
    format!(
        "SELECT {} FROM {} AS t WHERE ({}) IN (SELECT {} FROM {})",
        names.join(", "),
        identifier::qualified(&layout.table.name),
        columns.join(", "),
        values.join(", "),
        unnest(layout, key, "k"),
    )
}

/// The place, from one, of a key that no row has, one array per column of the key.
pub(crate) fn missing_key(layout: &TableLayout, key: &[usize]) -> String {
    format!(
        "SELECT k.place FROM {} WHERE NOT EXISTS (SELECT 1 FROM {} AS t WHERE {}) ORDER BY k.place LIMIT 1",
        unnest_in_order(layout, key, "k"),
        identifier::qualified(&layout.table.name),
        same_key(layout, key, "k", |index, _| index)
    )
}

/// Inserts whole rows, one array per written column; `key` given, a row that is already there
/// takes the new values.
pub(crate) fn insert_rows(layout: &TableLayout, key: Option<&[usize]>) -> String {
    let all = layout.all();
    if let (Dialect::OpenGauss(_), Some(key)) = (layout.dialect, key) {
        return merge_rows(layout, key);
    }
    let names: Vec<_> = layout.columns.iter().map(|column| column.name.as_str()).collect();
    let values: Vec<_> =
        layout.columns.iter().enumerate().map(|(index, column)| unnested(column, "n", index)).collect();
    let sql = format!(
        "INSERT INTO {} ({}){} SELECT {} FROM {}",
        identifier::qualified(&layout.table.name),
        names.join(", "),
        layout.dialect.overriding(),
        values.join(", "),
        unnest(layout, &all, "n"),
    );
    if let Some(key) = key {
        let name = |&position: &usize| layout.columns.get(position).map(|column| column.name.as_str());
        let columns: Vec<_> = key.iter().filter_map(name).collect();
        let others: Vec<_> = all
            .iter()
            .filter(|position| !key.contains(position))
            .filter_map(name)
            .map(|column| format!("{column} = EXCLUDED.{column}"))
            .collect();
        let target = columns.join(", ");
        let assignments = if others.is_empty() {
            // Writes the key over itself, so that every row counts as affected.
            let column = columns.first().copied().unwrap_or_default();
            format!("{column} = EXCLUDED.{column}")
        } else {
            others.join(", ")
        };
        return format!("{sql} ON CONFLICT ({target}) DO UPDATE SET {assignments}");
    }
    sql
}

/// Whether [`insert_rows`] by key counts every row: merged ones that are nothing but their key, and that are there
/// already, are left as they are.
pub(crate) fn counts_every_row(layout: &TableLayout, key: &[usize]) -> bool {
    layout.dialect == Dialect::Postgres || layout.columns.len() > key.len()
}

/// [`insert_rows`] by key in the words of a server without `ON CONFLICT`. Unlike openGauss's `ON DUPLICATE KEY UPDATE`,
/// which goes by any unique value that a row has in common with another, this goes by the row key alone.
fn merge_rows(layout: &TableLayout, key: &[usize]) -> String {
    let values: Vec<_> =
        layout.columns.iter().enumerate().map(|(index, column)| unnested(column, "n", index)).collect();
    let rows = unnest(layout, &layout.all(), "n");
    merge(layout, key, &rows, &same_key(layout, key, "n", |_, position| position), &values)
}

/// A `MERGE` of `rows`, an item of a `FROM`, into the table. `values` are the written columns.
fn merge(layout: &TableLayout, key: &[usize], rows: &str, same_key: &str, values: &[String]) -> String {
    let names: Vec<_> = layout.columns.iter().map(|column| column.name.as_str()).collect();
    let others: Vec<_> = names
        .iter()
        .zip(values)
        .enumerate()
        .filter(|(place, _)| !key.contains(place))
        .map(|(_, (name, value))| format!("{name} = {value}"))
        .collect();
    let update = if others.is_empty() {
        String::new()
    } else {
        format!("WHEN MATCHED THEN UPDATE SET {} ", others.join(", "))
    };
    format!(
        "MERGE INTO {} AS t USING {rows} ON ({same_key}) \
         {update}WHEN NOT MATCHED THEN INSERT ({}) VALUES ({})",
        identifier::qualified(&layout.table.name),
        names.join(", "),
        values.join(", "),
    )
}

/// One row of those that are alike in every column to the image that parameters `$first` and on hold.
fn same_row(layout: &TableLayout, first: usize) -> String {
    let table = identifier::qualified(&layout.table.name);
    format!("(SELECT t.ctid FROM {table} AS t WHERE {} LIMIT 1)", alike(layout, first))
}

/// The condition that a row is alike in every column.
fn alike(layout: &TableLayout, first: usize) -> String {
    let conditions: Vec<_> = layout
        .columns
        .iter()
        .enumerate()
        .map(|(index, column)| {
            let number = first + index;
            let operator = if column.nullable { "IS NOT DISTINCT FROM" } else { "=" };
            let name = &column.name;
            match &column.pg_type {
                // Without an equality of their own, or one that means something else.
                PgType::Json | PgType::Xml | PgType::Geometry => {
                    let value = scalar(column, number);
                    format!("t.{name}::pg_catalog.text {operator} {value}::pg_catalog.text")
                }
                _ => format!("t.{name} {operator} {}", scalar(column, number)),
            }
        })
        .collect();
    conditions.join(" AND ")
}

/// Counts the rows of a whole image, and locks them unless somebody else has one.
pub(crate) fn count_rows(layout: &TableLayout) -> String {
    let table = identifier::qualified(&layout.table.name);
    let found = format!("SELECT 1 FROM {table} AS t WHERE {} FOR UPDATE NOWAIT", alike(layout, 1));
    format!("SELECT pg_catalog.count(*) FROM ({found}) AS found")
}

/// Deletes so many rows of a whole image.
pub(crate) fn delete_rows(layout: &TableLayout, times: u64) -> String {
    let table = identifier::qualified(&layout.table.name);
    let some = format!("SELECT t.ctid FROM {table} AS t WHERE {} LIMIT {times}", alike(layout, 1));
    format!("DELETE FROM {table} WHERE ctid = ANY (ARRAY({some}))")
}

/// Parameter `number` as a value of the column.
pub(crate) fn scalar(column: &WrittenColumn, number: usize) -> String {
    match column.pg_type.array_element() {
        Some(element) => format!("${number}::{element}"),
        None => format!("${number}::pg_catalog.text::{}", column.type_text),
    }
}

/// Deletes one row by its whole image.
pub(crate) fn delete_row(layout: &TableLayout) -> String {
    format!("DELETE FROM {} WHERE ctid = {}", identifier::qualified(&layout.table.name), same_row(layout, 1))
}

/// Updates one row by its whole old image: first the new values, then the old ones.
pub(crate) fn update_row(layout: &TableLayout) -> String {
    let values: Vec<_> = layout
        .columns
        .iter()
        .enumerate()
        .map(|(index, column)| format!("{} = {}", column.name, scalar(column, index + 1)))
        .collect();
    format!(
        "UPDATE {} SET {} WHERE ctid = {}",
        identifier::qualified(&layout.table.name),
        values.join(", "),
        same_row(layout, layout.columns.len() + 1)
    )
}

/// Locks the rows that have one of the keys, unless somebody else has one.
pub(crate) fn lock_keys(layout: &TableLayout, key: &[usize]) -> String {
    format!(
        "SELECT 1 FROM {} AS t, {} WHERE {} FOR UPDATE OF t NOWAIT",
        identifier::qualified(&layout.table.name),
        unnest(layout, key, "k"),
        same_key(layout, key, "k", |index, _| index)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn layout(dialect: Dialect, columns: usize) -> TableLayout {
        let mut table = crate::ddl::tests::orders();
        table.columns.truncate(columns);
        let types = table.columns.iter().map(|column| PgType::parse(&column.target_type)).collect();
        TableLayout::new(dialect, &Arc::new(table), types).expect("a table that can be written")
    }

    #[test]
    fn opengauss_merges() {
        let dialect = crate::dialect::tests::opengauss("PG", "");
        insta::assert_snapshot!(
            insert_rows(&layout(dialect, 2), Some(&[0])),
            @r#"MERGE INTO "shop"."orders" AS t USING (SELECT unnest($1::pg_catalog.int8[]) AS c0, unnest($2::pg_catalog.int4[]) AS c1) AS n ON (t."id" = n.c0) WHEN MATCHED THEN UPDATE SET "customer" = n.c1 WHEN NOT MATCHED THEN INSERT ("id", "customer") VALUES (n.c0, n.c1)"#
        );
        insta::assert_snapshot!(
            insert_rows(&layout(dialect, 1), Some(&[0])),
            @r#"MERGE INTO "shop"."orders" AS t USING (SELECT unnest($1::pg_catalog.int8[]) AS c0) AS n ON (t."id" = n.c0) WHEN NOT MATCHED THEN INSERT ("id") VALUES (n.c0)"#
        );
        assert!(!counts_every_row(&layout(dialect, 1), &[0]));
        assert!(counts_every_row(&layout(Dialect::Postgres, 1), &[0]));
        insta::assert_snapshot!(
            missing_key(&layout(dialect, 1), &[0]),
            @r#"SELECT k.place FROM (SELECT unnest($1::pg_catalog.int8[]) AS c0, generate_subscripts($1::pg_catalog.int8[], 1)::bigint AS place) AS k WHERE NOT EXISTS (SELECT 1 FROM "shop"."orders" AS t WHERE t."id" = k.c0) ORDER BY k.place LIMIT 1"#
        );
    }

    #[test]
    fn postgres_inserts_on_conflict() {
        insta::assert_snapshot!(
            insert_rows(&layout(Dialect::Postgres, 2), Some(&[0])),
            @r#"INSERT INTO "shop"."orders" ("id", "customer") OVERRIDING SYSTEM VALUE SELECT n.c0, n.c1 FROM unnest($1::pg_catalog.int8[], $2::pg_catalog.int4[]) AS n(c0, c1) ON CONFLICT ("id") DO UPDATE SET "customer" = EXCLUDED."customer""#
        );
        insta::assert_snapshot!(
            missing_key(&layout(Dialect::Postgres, 1), &[0]),
            @r#"SELECT k.place FROM unnest($1::pg_catalog.int8[]) WITH ORDINALITY AS k(c0, place) WHERE NOT EXISTS (SELECT 1 FROM "shop"."orders" AS t WHERE t."id" = k.c0) ORDER BY k.place LIMIT 1"#
        );
    }
}
