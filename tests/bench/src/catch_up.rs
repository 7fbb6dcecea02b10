//! Catching up with row changes.

use std::path::Path;

use anyhow::{Result, ensure};
use mysql_async::prelude::Queryable as _;
use test_support::connect;
use test_support::numbers::Numbers;
use test_support::process;

use crate::data::{self, SYSBENCH, SYSBENCH_TABLES};
use crate::engine;
use crate::measure::Case;
use crate::sides::Sides;

/// Copies the tables, changes them, and measures how long the engine needs for the changes; each run changes them
/// further.
pub(crate) fn measure(
    runtime: &tokio::runtime::Runtime,
    sides: &Sides,
    plugin: &Path,
    rows: u64,
    changes: u64,
    runs: usize,
) -> Result<Case> {
    runtime.block_on(data::load_sysbench(sides, rows))?;
    runtime.block_on(sides.drop_schema(SYSBENCH))?;
    engine::forget(sides)?;
    let run = || -> Result<std::process::Command> {
        let mut command = engine::command(sides, SYSBENCH, &[plugin])?;
        command.args(["--until", "caught-up", "--parallelism", "8"]);
        Ok(command)
    };
    let copied = run()?.status()?;
    ensure!(copied.success(), "the copy before the changes failed: {copied}");
    let mut case = Case::new("catch-up: mixed changes in transactions of 1-20 rows, 8 lanes", changes);
    for number in 0..runs {
        let done = runtime.block_on(change(sides, rows, changes, number as u64))?;
        let mut measured = sides.measured(|| process::measure(&mut run()?))?;
        measured.moved = done;
        case.add(measured);
    }
    Ok(case)
}

/// Half updates, a quarter inserts, a quarter deletes; answers the rows really changed.
pub(crate) async fn change(sides: &Sides, rows: u64, changes: u64, seed: u64) -> Result<u64> {
    eprintln!("changing {changes} rows of the source");
    let mut connection = connect::mysql(sides.source.url()).await?;
    // Making the changes is not what is measured.
    connection.query_drop("SET GLOBAL sync_binlog = 0, GLOBAL innodb_flush_log_at_trx_commit = 0").await?;
    connection.query_drop(format!("USE {SYSBENCH}")).await?;
    let mut numbers = Numbers::new(1000 + seed);
    let mut done = 0;
    while done < changes {
        connection.query_drop("BEGIN").await?;
        for _ in 0..=numbers.below(20) {
            let table = 1 + numbers.below(SYSBENCH_TABLES);
            let id = 1 + numbers.below(rows);
            let value = numbers.below(500_000);
            let statement = match numbers.below(4) {
                0 => format!(
                    "INSERT INTO sbtest{table} (k, c, pad) VALUES ({value}, '{:0119}', '{id:059}')",
                    numbers.next()
                ),
                1 => format!("DELETE FROM sbtest{table} WHERE id = {id}"),
                2 => format!("UPDATE sbtest{table} SET k = k + 1 WHERE id = {id}"),
                _ => format!("UPDATE sbtest{table} SET c = '{:0119}' WHERE id = {id}", numbers.next()),
            };
            connection.query_drop(statement).await?;
            done += connection.affected_rows();
        }
        connection.query_drop("COMMIT").await?;
    }
    connection.query_drop("SET GLOBAL sync_binlog = 1, GLOBAL innodb_flush_log_at_trx_commit = 1").await?;
    connection.disconnect().await?;
    Ok(done)
}
