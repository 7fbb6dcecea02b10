//! Compares tables of two servers of the MySQL family, every column of every row, by what the servers themselves
//! say each value's bytes are.

use std::fmt::Write as _;

use anyhow::{Context, Result, bail};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Row, Value};

/// Differences told in full per table.
const EXAMPLES: usize = 5;

/// Fails with the differences unless every base table of `database` is in `into`, with the same columns and rows.
/// Nothing may write to either side meanwhile.
pub async fn require_same(source: &mut Conn, database: &str, target: &mut Conn, into: &str) -> Result<()> {
    for conn in [&mut *source, &mut *target] {
        conn.query_drop(
            "SET SESSION time_zone = '+00:00', sql_mode = 'ALLOW_INVALID_DATES', NAMES utf8mb4, \
             group_concat_max_len = 1048576",
        )
        .await?;
    }
    let tables: Vec<String> = source
        .exec(
            "SELECT CONVERT(table_name USING utf8mb4) FROM information_schema.tables \
             WHERE table_schema = ? AND table_type = 'BASE TABLE' ORDER BY 1",
            (database,),
        )
        .await?;
    if tables.is_empty() {
        bail!("{database} has no table to compare");
    }
    let mut differences = Vec::new();
    for table in tables {
        let found = difference(source, database, target, into, &table)
            .await
            .with_context(|| format!("comparing {database}.{table} with {into}.{table}"))?;
        differences.extend(found);
    }
    if differences.is_empty() {
        Ok(())
    } else {
        bail!("source and target differ\n{}", differences.join("\n"))
    }
}

async fn difference(
    source: &mut Conn,
    database: &str,
    target: &mut Conn,
    into: &str,
    table: &str,
) -> Result<Option<String>> {
    let columns: Vec<(String, String)> = source
        .exec(
            "SELECT CONVERT(column_name USING utf8mb4), CONVERT(data_type USING utf8mb4) FROM information_schema.columns \
             WHERE table_schema = ? AND table_name = ? ORDER BY ordinal_position",
            (database, table),
        )
        .await?;
    let there: Vec<(String, String)> = target
        .exec(
            "SELECT CONVERT(column_name USING utf8mb4), CONVERT(data_type USING utf8mb4) FROM information_schema.columns \
             WHERE table_schema = ? AND table_name = ? ORDER BY ordinal_position",
            (into, table),
        )
        .await?;
    let names = |columns: &[(String, String)]| -> Vec<String> {
        columns.iter().map(|(name, _)| name.clone()).collect()
    };
    if names(&columns) != names(&there) {
        return Ok(Some(format!("{table}: columns {columns:?} became {there:?}")));
    }
    let mut left = rows(source, database, table, &columns).await?;
    let mut right = rows(target, into, table, &there).await?;
    left.sort_unstable();
    right.sort_unstable();
    if left == right {
        return Ok(None);
    }
    let lacking = |these: &[Vec<String>], those: &[Vec<String>]| -> Vec<Vec<String>> {
        let lacking = these.iter().filter(|row| those.binary_search(row).is_err());
        lacking.take(EXAMPLES).cloned().collect()
    };
    let (lost, found) = (lacking(&left, &right), lacking(&right, &left));
    let mut told = format!("{table}: {} rows in the source, {} in the target", left.len(), right.len());
    for row in 0..lost.len().max(found.len()) {
        match (lost.get(row), found.get(row)) {
            (Some(lost), Some(found)) => {
                for ((name, lost), found) in names(&columns).iter().zip(lost).zip(found) {
                    if lost != found {
                        let _ = write!(told, "\n  {name}: {} became {}", shown(lost), shown(found));
                    }
                }
            }
            (Some(lost), None) => {
                let _ = write!(told, "\n  missing: {}", shown(&lost.join(" | ")));
            }
            (None, Some(found)) => {
                let _ = write!(told, "\n  unexpected: {}", shown(&found.join(" | ")));
            }
            (None, None) => {}
        }
    }
    Ok(Some(told))
}

fn shown(text: &str) -> String {
    text.chars().take(200).collect()
}

async fn rows(
    conn: &mut Conn,
    database: &str,
    table: &str,
    columns: &[(String, String)],
) -> Result<Vec<Vec<String>>> {
    let expressions: Vec<String> = columns.iter().map(|(name, kind)| expression(name, kind)).collect();
    let query = format!("SELECT {} FROM `{database}`.`{table}`", expressions.join(", "));
    let rows: Vec<Row> = conn.query(&query).await.with_context(|| query.clone())?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let text = |value: Value| match value {
                Value::NULL => "NULL".to_owned(),
                Value::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                other => other.as_sql(true),
            };
            row.unwrap().into_iter().map(text).collect()
        })
        .collect())
}

/// A text that two values share only if they are the same to the last bit.
fn expression(name: &str, kind: &str) -> String {
    let name = format!("`{}`", name.replace('`', "``"));
    match kind.to_ascii_lowercase().as_str() {
        "float" | "double" => format!("HEX(ST_AsBinary(POINT({name} + 0e0, 0)))"),
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" | "json" | "set" => {
            format!("HEX(CONVERT({name} USING utf8mb4))")
        }
        "enum" => format!("CONCAT({name} + 0, ':', HEX(CONVERT({name} USING utf8mb4)))"),
        "bit" | "year" | "tinyint" | "smallint" | "mediumint" | "int" | "bigint" => {
            format!("CAST({name} + 0 AS CHAR)")
        }
        "date" | "time" | "datetime" | "timestamp" | "decimal" | "uuid" | "inet4" | "inet6" => {
            format!("CAST({name} AS CHAR)")
        }
        // Binary strings, geometries, vectors: their bytes.
        _ => format!("HEX({name})"),
    }
}
