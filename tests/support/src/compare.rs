//! Compares tables of both sides row for row.

use std::cmp::Ordering;

use anyhow::{Context, Result, bail, ensure};
use futures_util::{StreamExt as _, pin_mut};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Row, Value};
use tokio_postgres::Client;

use crate::canonical::{Form, canonical, of_mysql, of_postgres};

/// Stands between two columns of a row's text, and for NULL; neither occurs in a canonical text that is compared here.
const SEPARATOR: char = '\u{1f}';
const NULL: &str = "\u{0}NULL";
/// Differences told in full per table.
const EXAMPLES: usize = 5;

/// A table on both sides.
#[derive(Debug, Clone)]
pub struct Pair {
    /// Database of the source.
    pub database: String,
    /// Table of the source.
    pub table: String,
    /// Schema of the target.
    pub target_schema: String,
    /// Table of the target.
    pub target_table: String,
    /// Columns of the source that are not to be found in the target.
    pub without: Vec<String>,
}

impl Pair {
    /// A table that keeps its names: database → schema of the same name.
    pub fn same(database: &str, table: &str) -> Self {
        Self {
            database: database.to_owned(),
            table: table.to_owned(),
            target_schema: database.to_owned(),
            target_table: table.to_owned(),
            without: Vec::new(),
        }
    }
}

/// What was found in one table.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// Table of the source, with its database.
    pub table: String,
    /// Rows read from the source.
    pub source_rows: usize,
    /// Rows read from the target.
    pub target_rows: usize,
    /// Rows only the source has.
    pub missing: usize,
    /// Rows only the target has.
    pub unexpected: usize,
    /// Rows both have, with differing columns.
    pub different: usize,
    /// The first differences, for people.
    pub examples: Vec<String>,
}

impl Comparison {
    /// Whether both sides hold the same rows.
    pub const fn is_equal(&self) -> bool {
        self.source_rows == self.target_rows
            && self.missing == 0
            && self.unexpected == 0
            && self.different == 0
    }
}

/// The base tables of a database, as pairs that keep their names.
pub async fn tables_of(source: &mut Conn, database: &str) -> Result<Vec<Pair>> {
    let names: Vec<String> = source
        .exec(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = ? AND table_type = 'BASE TABLE' \
             ORDER BY table_name",
            (database,),
        )
        .await?;
    Ok(names.iter().map(|name| Pair::same(database, name)).collect())
}

/// Compares every pair. Nothing may write to either side meanwhile.
pub async fn compare(source: &mut Conn, target: &Client, pairs: &[Pair]) -> Result<Vec<Comparison>> {
    let mut comparisons = Vec::with_capacity(pairs.len());
    for pair in pairs {
        let table = format!("{}.{}", pair.database, pair.table);
        comparisons
            .push(compare_table(source, target, pair).await.with_context(|| format!("comparing {table}"))?);
    }
    Ok(comparisons)
}

/// Fails with the differences unless every table is equal.
pub fn require_equal(comparisons: &[Comparison]) -> Result<()> {
    let differences: Vec<String> = comparisons
        .iter()
        .filter(|comparison| !comparison.is_equal())
        .map(|found| {
            format!(
                "{}: {} rows in the source, {} in the target; {} missing, {} unexpected, {} different\n  {}",
                found.table,
                found.source_rows,
                found.target_rows,
                found.missing,
                found.unexpected,
                found.different,
                found.examples.join("\n  ")
            )
        })
        .collect();
    if !differences.is_empty() {
        bail!("source and target differ\n{}", differences.join("\n"));
    }
    Ok(())
}

struct Column {
    name: String,
    data_type: String,
    full_type: String,
    in_key: bool,
}

/// One row: the text of its key (of all of it if the table has none) and of all its columns.
type Line = (String, String);

async fn compare_table(source: &mut Conn, target: &Client, pair: &Pair) -> Result<Comparison> {
    let columns = columns_of(source, pair).await?;
    let key: Vec<bool> = columns.iter().map(|column| column.in_key).collect();
    let mut expected = read_source(source, pair, &columns, &key).await?;
    let mut found = read_target(target, pair, &columns, &key).await?;
    expected.sort_unstable();
    found.sort_unstable();
    let mut comparison = Comparison {
        table: format!("{}.{}", pair.database, pair.table),
        source_rows: expected.len(),
        target_rows: found.len(),
        missing: 0,
        unexpected: 0,
        different: 0,
        examples: Vec::new(),
    };
    merge(&expected, &found, &columns, &mut comparison);
    Ok(comparison)
}

/// Walks both sorted sides at once.
fn merge(expected: &[Line], found: &[Line], columns: &[Column], comparison: &mut Comparison) {
    let (mut left, mut right) = (expected.iter().peekable(), found.iter().peekable());
    loop {
        let order = match (left.peek(), right.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(ours), Some(theirs)) => ours.0.cmp(&theirs.0),
        };
        let example = match order {
            Ordering::Less => {
                comparison.missing += 1;
                left.next().map(|line| format!("missing: {}", readable(&line.0)))
            }
            Ordering::Greater => {
                comparison.unexpected += 1;
                right.next().map(|line| format!("unexpected: {}", readable(&line.0)))
            }
            Ordering::Equal => match (left.next(), right.next()) {
                (Some(ours), Some(theirs)) if ours.1 != theirs.1 => {
                    comparison.different += 1;
                    Some(format!("{}: {}", readable(&ours.0), difference(&ours.1, &theirs.1, columns)))
                }
                _ => None,
            },
        };
        if let Some(example) = example.filter(|_| comparison.examples.len() < EXAMPLES) {
            comparison.examples.push(example);
        }
    }
}

fn difference(ours: &str, theirs: &str, columns: &[Column]) -> String {
    let differing: Vec<String> = columns
        .iter()
        .zip(ours.split(SEPARATOR).zip(theirs.split(SEPARATOR)))
        .filter(|(_, (expected, found))| expected != found)
        .map(|(column, (expected, found))| {
            format!("{} is {}, not {}", column.name, readable(found), readable(expected))
        })
        .collect();
    differing.join("; ")
}

fn readable(text: &str) -> String {
    let text = text.replace(SEPARATOR, ", ").replace(NULL, "NULL");
    if text.chars().count() > 120 { text.chars().take(120).chain("…".chars()).collect() } else { text }
}

async fn columns_of(source: &mut Conn, pair: &Pair) -> Result<Vec<Column>> {
    let rows: Vec<(String, String, String, String)> = source
        .exec(
            "SELECT column_name, data_type, column_type, column_key FROM information_schema.columns \
             WHERE table_schema = ? AND table_name = ? ORDER BY ordinal_position",
            (&pair.database, &pair.table),
        )
        .await?;
    ensure!(!rows.is_empty(), "the source has no such table");
    let columns: Vec<Column> = rows
        .into_iter()
        .filter(|(name, ..)| !pair.without.contains(name))
        .map(|(name, data_type, column_type, key)| Column {
            name,
            data_type: data_type.to_lowercase(),
            full_type: column_type.to_lowercase(),
            in_key: key == "PRI",
        })
        .collect();
    Ok(columns)
}

async fn read_source(source: &mut Conn, pair: &Pair, columns: &[Column], key: &[bool]) -> Result<Vec<Line>> {
    let (expressions, mut forms): (Vec<String>, Vec<Form>) =
        columns.iter().map(|column| of_mysql(&column.name, &column.data_type, &column.full_type)).unzip();
    // MariaDB's JSON is text with a check; only the target knows that it is meant as JSON.
    if source.server_version() >= (10, 0, 0) {
        for (form, column) in forms.iter_mut().zip(columns) {
            if column.data_type == "longtext" && is_json_in_mariadb(source, pair, &column.name).await? {
                *form = Form::Json;
            }
        }
    }
    let statement = format!("SELECT {} FROM `{}`.`{}`", expressions.join(", "), pair.database, pair.table);
    let mut result = source.query_iter(statement).await?;
    let mut lines = Vec::new();
    while let Some(row) = result.next().await? {
        lines.push(line(key, &forms, source_texts(row)?));
    }
    Ok(lines)
}

async fn is_json_in_mariadb(source: &mut Conn, pair: &Pair, column: &str) -> Result<bool> {
    let found: Option<u64> = source
        .exec_first(
            "SELECT 1 FROM information_schema.check_constraints WHERE constraint_schema = ? AND table_name = ? \
             AND check_clause = ?",
            (&pair.database, &pair.table, format!("json_valid(`{column}`)")),
        )
        .await?;
    Ok(found.is_some())
}

/// The text protocol sends every value as text.
fn source_texts(row: Row) -> Result<Vec<Option<String>>> {
    row.unwrap()
        .into_iter()
        .map(|value| match value {
            Value::NULL => Ok(None),
            Value::Bytes(bytes) => {
                Ok(Some(String::from_utf8(bytes).context("the source sent text that is not UTF-8")?))
            }
            _ => bail!("the source sent a value that is not text"),
        })
        .collect()
}

async fn read_target(target: &Client, pair: &Pair, columns: &[Column], key: &[bool]) -> Result<Vec<Line>> {
    let types = target
        .query(
            "SELECT a.attname::text, t.typname::text FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
             JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = $1 AND c.relname = $2 AND a.attnum > 0 AND NOT a.attisdropped",
            &[&pair.target_schema, &pair.target_table],
        )
        .await?;
    ensure!(!types.is_empty(), "the target has no table {}.{}", pair.target_schema, pair.target_table);
    let mut expressions = Vec::with_capacity(columns.len());
    let mut forms = Vec::with_capacity(columns.len());
    for column in columns {
        let found = types.iter().find(|row| row.get::<_, String>(0).eq_ignore_ascii_case(&column.name));
        let row = found.with_context(|| format!("the target has no column {}", column.name))?;
        let (name, type_name): (String, String) = (row.get(0), row.get(1));
        let (expression, form) = match (column.data_type.as_str(), type_name.as_str()) {
            // A date of openGauss may have a time of day, and then is none of the source's.
            ("date", "timestamp") => {
                let name = format!("\"{}\"", name.replace('"', "\"\""));
                let day = format!("to_char({name}, 'YYYY-MM-DD')");
                (
                    format!("CASE WHEN {name} = date_trunc('day', {name}) THEN {day} ELSE {name}::text END"),
                    Form::Text,
                )
            }
            _ => of_postgres(&name, &type_name),
        };
        expressions.push(expression);
        forms.push(form);
    }
    let statement = format!(
        "SELECT {} FROM \"{}\".\"{}\"",
        expressions.join(", "),
        pair.target_schema.replace('"', "\"\""),
        pair.target_table.replace('"', "\"\"")
    );
    let rows = target.query_raw(&statement, Vec::<String>::new()).await?;
    pin_mut!(rows);
    let mut lines = Vec::new();
    while let Some(row) = rows.next().await {
        let row = row?;
        let texts =
            (0..forms.len()).map(|index| row.try_get(index)).collect::<Result<Vec<Option<String>>, _>>()?;
        lines.push(line(key, &forms, texts));
    }
    Ok(lines)
}

fn line(key: &[bool], forms: &[Form], texts: Vec<Option<String>>) -> Line {
    let canonical: Vec<String> = forms
        .iter()
        .zip(texts)
        .map(|(form, text)| text.map_or_else(|| NULL.to_owned(), |text| canonical(*form, text)))
        .collect();
    let separator = SEPARATOR.to_string();
    let all = canonical.join(&separator);
    let of_key: Vec<&str> =
        canonical.iter().zip(key).filter(|(_, in_key)| **in_key).map(|(text, _)| text.as_str()).collect();
    if of_key.is_empty() { (all.clone(), all) } else { (of_key.join(&separator), all) }
}
