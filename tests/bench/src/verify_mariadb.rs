//! A full check between a `MariaDB` server and its replica, beside `pt-table-checksum`.
//!
//! That tool sums up chunks by statements, which the replica carries out again: so one server has to follow the
//! other, statement by statement. It asks for `SHOW SLAVE STATUS`, which `MySQL` 9 no longer has.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use mysql_async::prelude::Queryable as _;
use test_kit::{PASSWORD, Peer, Product, USER};
use test_support::process::{Cost, measure};
use test_support::{connect, within};
use tokio::runtime::Runtime;

use crate::data::{SYSBENCH, SYSBENCH_TABLES, load_sysbench};
use crate::engine;
use crate::measure::Case;
use crate::sides::Sides;
use crate::verify_mysql;

/// The replica tells where it is, for the tool to find it by.
const REPORTS: &str = "report_host=127.0.0.1";
const LIMIT: std::time::Duration = std::time::Duration::from_mins(2);

/// Copies 4 tables, has the copy follow its source, and compares both in turn by the engine, by the tool, and by
/// checksums of chunks as the tool makes them.
pub(crate) fn compare(
    runtime: &Runtime,
    toolkit: &Peer,
    plugin: &Path,
    rows_per_table: u64,
    runs: usize,
) -> Result<Vec<Case>> {
    let sides = Sides::with_lines(Product::MariaDb, Product::MariaDb, &[REPORTS])?;
    runtime.block_on(load_sysbench(&sides, rows_per_table))?;
    engine::snapshot(&sides, SYSBENCH, &[plugin], None)?;
    runtime.block_on(replicate(&sides))?;
    let rows = rows_per_table * SYSBENCH_TABLES;
    let mut stream = Case::new("full check of MariaDB: engine verify --method stream", rows);
    let mut push_down = Case::new("full check of MariaDB: engine verify --method push-down", rows);
    let mut theirs = Case::new("full check of MariaDB: pt-table-checksum", rows);
    let mut checksums = Case::new("full check of MariaDB: CRC32 of chunks, one side after the other", rows);
    for _ in 0..runs {
        stream.add(engine::verify(&sides, SYSBENCH, plugin, "stream")?);
        push_down.add(engine::verify(&sides, SYSBENCH, plugin, "push-down")?);
        theirs.add(sides.measured(|| checksum(&sides, toolkit))?);
        checksums.add(sides.measured(|| verify_mysql::compare(&sides, rows_per_table))?);
    }
    Ok(vec![stream, push_down, theirs, checksums])
}

/// Has the target follow the source from now on.
async fn replicate(sides: &Sides) -> Result<()> {
    let mut source = connect::mysql(sides.source.url()).await?;
    let position: String =
        source.query_first("SELECT @@GLOBAL.gtid_current_pos").await?.context("no position")?;
    source.disconnect().await?;
    let mut target = connect::mysql(sides.target.url()).await?;
    target.query_drop(format!("SET GLOBAL gtid_slave_pos = '{position}'")).await?;
    target
        .query_drop(format!(
            "CHANGE MASTER TO MASTER_HOST = '{}', MASTER_PORT = {}, MASTER_USER = '{USER}', \
             MASTER_PASSWORD = '{PASSWORD}', MASTER_USE_GTID = slave_pos",
            sides.source.host(),
            sides.source.port()
        ))
        .await?;
    target.query_drop("START SLAVE").await?;
    within("the replica's connection", LIMIT, async || {
        let running: Option<(String, String)> =
            target.query_first("SHOW STATUS LIKE 'Slave_running'").await?;
        Ok(running.filter(|(_, state)| state == "ON").map(|_| ()))
    })
    .await?;
    target.disconnect().await?;
    Ok(())
}

/// Runs the tool as it comes, but for what it would ask about servers that log rows.
fn checksum(sides: &Sides, toolkit: &Peer) -> Result<Cost> {
    let mut command = toolkit.command("pt-table-checksum");
    command.args(["--databases", SYSBENCH, "--recursion-method", "hosts", "--no-check-binlog-format"]);
    command.args(["--quiet", "--no-version-check", "--no-check-slave-tables"]);
    command.arg(format!("h={},P={},u={USER},p={PASSWORD}", sides.source.host(), sides.source.port()));
    let cost = measure(command.stdout(Stdio::null()).stdin(Stdio::null()))?;
    ensure!(cost.status.success(), "pt-table-checksum found differences or failed: {}", cost.status);
    Ok(cost)
}
