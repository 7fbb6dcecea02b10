//! The statements that apply changes.

use crate::identifier;
use crate::layout::{TableLayout, WrittenColumn};
use crate::pg_type::PgType;

/// `unnest($1::int8[], …) AS n(c0, …)` over the columns at `positions`.
fn unnest(layout: &TableLayout, positions: &[usize], alias: &str) -> String {
    let names: Vec<_> = (0..positions.len()).map(|index| format!("c{index}")).collect();
    format!("{} AS {alias}({})", arrays(layout, positions), names.join(", "))
}

/// `unnest($1::int8[], …)` over the columns at `positions`.
fn arrays(layout: &TableLayout, positions: &[usize]) -> String {
    let columns = positions.iter().filter_map(|&position| layout.columns.get(position));
    let arrays: Vec<_> = columns
        .enumerate()
        .map(|(index, column)| {
            let element = column.pg_type.array_element().unwrap_or("pg_catalog.text");
            format!("${}::{element}[]", index + 1)
        })
        .collect();
    format!("unnest({})", arrays.join(", "))
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
    let names: Vec<_> = (0..key.len()).map(|index| format!("c{index}")).collect();
    format!(
        "SELECT k.place FROM {} WITH ORDINALITY AS k({}, place) \
         WHERE NOT EXISTS (SELECT FROM {} AS t WHERE {}) ORDER BY k.place LIMIT 1",
        arrays(layout, key),
        names.join(", "),
        identifier::qualified(&layout.table.name),
        same_key(layout, key, "k", |index, _| index)
    )
}

/// Inserts whole rows, one array per written column; `key` given, a row that is already there
/// takes the new values.
pub(crate) fn insert_rows(layout: &TableLayout, key: Option<&[usize]>) -> String {
    let all = layout.all();
    let names: Vec<_> = layout.columns.iter().map(|column| column.name.as_str()).collect();
    let values: Vec<_> =
        layout.columns.iter().enumerate().map(|(index, column)| unnested(column, "n", index)).collect();
    let sql = format!(
        "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {}",
        identifier::qualified(&layout.table.name),
        names.join(", "),
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
    let found = format!("SELECT FROM {table} AS t WHERE {} FOR UPDATE NOWAIT", alike(layout, 1));
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
