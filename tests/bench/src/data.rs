//! Data to measure with, the same in every run, loaded by `LOAD DATA`.

use std::fmt::Write as _;

use anyhow::Result;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use mysql_async::prelude::Queryable as _;
use test_support::connect;
use test_support::numbers::Numbers;

use crate::sides::Sides;

/// Database of the tables in sysbench's shape.
pub(crate) const SYSBENCH: &str = "sbtest";
/// How many there are: `sbtest1` …
pub(crate) const SYSBENCH_TABLES: u64 = 4;
/// Database of the table with 12 columns.
pub(crate) const CUSTOMERS: &str = "wide";

/// Rows per piece sent to the server.
const PIECE: u64 = 5_000;

/// Loads the tables of sysbench's shape anew.
pub(crate) async fn load_sysbench(sides: &Sides, rows: u64) -> Result<()> {
    recreate(sides, SYSBENCH).await?;
    for table in 1..=SYSBENCH_TABLES {
        let create = format!(
            "CREATE TABLE {SYSBENCH}.sbtest{table} (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, k INT NOT NULL DEFAULT 0, \
             c CHAR(120) NOT NULL DEFAULT '', pad CHAR(60) NOT NULL DEFAULT '', KEY k_{table} (k))"
        );
        load(sides, &create, &format!("{SYSBENCH}.sbtest{table}"), rows, table, sysbench_row).await?;
    }
    Ok(())
}

/// Loads the table of 12 columns anew.
pub(crate) async fn load_customers(sides: &Sides, rows: u64) -> Result<()> {
    recreate(sides, CUSTOMERS).await?;
    let create = format!(
        "CREATE TABLE {CUSTOMERS}.customers (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, email VARCHAR(120) NOT NULL, \
         name VARCHAR(80) NOT NULL, phone VARCHAR(30) NULL, city VARCHAR(60) NOT NULL, country CHAR(2) NOT NULL, \
         balance DECIMAL(14,2) NOT NULL, score DOUBLE NULL, visits INT NOT NULL, joined DATETIME(6) NOT NULL, \
         seen TIMESTAMP NULL, note VARCHAR(200) NULL)"
    );
    load(sides, &create, &format!("{CUSTOMERS}.customers"), rows, 9, customer_row).await
}

async fn recreate(sides: &Sides, database: &str) -> Result<()> {
    let mut connection = connect::mysql(sides.source.url()).await?;
    connection.query_drop(format!("DROP DATABASE IF EXISTS {database}")).await?;
    connection.query_drop(format!("CREATE DATABASE {database} CHARACTER SET utf8mb4")).await?;
    connection.disconnect().await?;
    Ok(())
}

async fn load(
    sides: &Sides,
    create: &str,
    table: &str,
    rows: u64,
    seed: u64,
    row: fn(u64, &mut Numbers, &mut String),
) -> Result<()> {
    eprintln!("loading {rows} rows into {table}");
    let mut connection = connect::mysql(sides.source.url()).await?;
    connection.query_drop("SET SESSION sql_log_bin = 0").await?;
    connection.query_drop(create).await?;
    let mut numbers = Numbers::new(seed);
    let pieces = (0..rows.div_ceil(PIECE)).map(move |piece| {
        let mut text = String::new();
        for id in piece * PIECE + 1..=((piece + 1) * PIECE).min(rows) {
            row(id, &mut numbers, &mut text);
        }
        Ok(Bytes::from(text))
    });
    connection.set_infile_handler(async move { Ok(stream::iter(pieces).boxed()) });
    connection
        .query_drop(format!("LOAD DATA LOCAL INFILE 'rows' INTO TABLE {table} CHARACTER SET utf8mb4"))
        .await?;
    connection.query_drop(format!("ANALYZE NO_WRITE_TO_BINLOG TABLE {table}")).await?;
    connection.disconnect().await?;
    Ok(())
}

/// Groups of 11 digits joined by `-`, as sysbench fills its columns.
fn groups(count: usize, numbers: &mut Numbers, text: &mut String) {
    for group in 0..count {
        let separator = if group == 0 { "" } else { "-" };
        let _ = write!(text, "{separator}{:011}", numbers.below(100_000_000_000));
    }
}

fn sysbench_row(id: u64, numbers: &mut Numbers, text: &mut String) {
    let _ = write!(text, "{id}\t{}\t", 1 + numbers.below(500_000));
    groups(10, numbers, text);
    text.push('\t');
    groups(5, numbers, text);
    text.push('\n');
}

fn customer_row(id: u64, numbers: &mut Numbers, text: &mut String) {
    let number = numbers.next();
    let phone =
        if id.is_multiple_of(5) { "\\N".to_owned() } else { format!("+49 {}", number % 10_000_000_000) };
    let _ = writeln!(
        text,
        "{id}\tuser{id}.{}@example.org\tJo Müller {id}\t{phone}\tcity {}\tde\t{}.{:02}\t{}\t{}\t2020-02-29 12:{:02}:{:02}.{:06}\t\
         2024-01-31 10:{:02}:00\tsome words about nobody, {number:016x}{:016x}",
        number % 10_000,
        number % 5_000,
        number % 1_000_000,
        number % 100,
        number % 1_000_003,
        number % 77,
        number % 60,
        id % 60,
        number % 1_000_000,
        id % 60,
        numbers.next(),
    );
}
