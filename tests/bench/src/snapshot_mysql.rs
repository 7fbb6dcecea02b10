//! A snapshot between two MySQL servers, beside mysqldump and beside mydumper.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use mysql_async::prelude::Queryable as _;
use test_kit::{PASSWORD, Peer, Server, USER};
use test_support::connect;
use test_support::process::{Cost, times_of_children};
use tokio::runtime::Runtime;

use crate::data::{SYSBENCH, SYSBENCH_TABLES, load_sysbench};
use crate::engine;
use crate::measure::Case;
use crate::sides::Sides;

/// Connections of the engine's to each side on a machine of two cores, and so of mydumper's.
const THREADS: &str = "2";

/// Copies 4 tables in three ways, in turn.
pub(crate) fn measure(
    runtime: &Runtime,
    sides: &Sides,
    mydumper: &Peer,
    plugin: &Path,
    rows_per_table: u64,
    runs: usize,
) -> Result<Vec<Case>> {
    runtime.block_on(load_sysbench(sides, rows_per_table))?;
    let rows = rows_per_table * SYSBENCH_TABLES;
    let mut ours = Case::new("snapshot to MySQL: engine with mysql2mysql", rows);
    let mut piped = Case::new("snapshot to MySQL: mysqldump into mysql", rows);
    let mut dumped = Case::new("snapshot to MySQL: mydumper, then myloader, 2 threads", rows);
    let copied = || runtime.block_on(expect_rows(&sides.target, rows_per_table));
    for _ in 0..runs {
        runtime.block_on(empty(&sides.target))?;
        ours.add(engine::snapshot(sides, SYSBENCH, &[plugin], None)?);
        copied()?;
        runtime.block_on(empty(&sides.target))?;
        piped.add(sides.measured(|| pipe(sides))?);
        copied()?;
        runtime.block_on(empty(&sides.target))?;
        dumped.add(sides.measured(|| dump_and_load(sides, mydumper))?);
        copied()?;
    }
    Ok(vec![ours, piped, dumped])
}

/// Takes away what the runs before copied.
pub(crate) async fn empty(target: &Server) -> Result<()> {
    let mut connection = connect::mysql(target.url()).await?;
    connection.query_drop(format!("DROP DATABASE IF EXISTS {SYSBENCH}")).await?;
    connection.query_drop("DROP DATABASE IF EXISTS _migration").await?;
    connection.disconnect().await?;
    Ok(())
}

async fn expect_rows(target: &Server, rows: u64) -> Result<()> {
    let mut connection = connect::mysql(target.url()).await?;
    let query = format!("SELECT COUNT(*) FROM {SYSBENCH}.sbtest{SYSBENCH_TABLES}");
    let found: Option<u64> = connection.query_first(query).await?;
    connection.disconnect().await?;
    ensure!(found == Some(rows), "the last table has {found:?} rows after the copy, not {rows}");
    Ok(())
}

fn pipe(sides: &Sides) -> Result<Cost> {
    let (begin, before) = (Instant::now(), times_of_children());
    let mut dump = sides
        .source
        .dump()?
        .args(["--single-transaction", "--quick", "--no-tablespaces", "--set-gtid-purged=OFF"])
        .args(["--databases", SYSBENCH])
        .stdout(Stdio::piped())
        .spawn()
        .context("starting mysqldump")?;
    let statements = dump.stdout.take().context("mysqldump has no output")?;
    let status = sides.target.client()?.stdin(statements).status().context("running the target's client")?;
    ensure!(dump.wait()?.success(), "mysqldump failed");
    Ok(Cost { status, wall: begin.elapsed(), cpu_seconds: times_of_children() - before, peak_memory: 0 })
}

fn dump_and_load(sides: &Sides, mydumper: &Peer) -> Result<Cost> {
    let (_kept, directory) = mydumper.directory()?;
    let (begin, before) = (Instant::now(), times_of_children());
    let dumped = to(&sides.source, mydumper.command("mydumper"))?
        .args(["--database", SYSBENCH, "--threads", THREADS, "--trx-consistency-only", "--rows", "100000"])
        .arg("--outputdir")
        .arg(&directory)
        .status()
        .context("running mydumper")?;
    ensure!(dumped.success(), "mydumper failed: {dumped}");
    let status = to(&sides.target, mydumper.command("myloader"))?
        .args(["--threads", THREADS, "--directory"])
        .arg(&directory)
        .status()
        .context("running myloader")?;
    Ok(Cost { status, wall: begin.elapsed(), cpu_seconds: times_of_children() - before, peak_memory: 0 })
}

/// Tells the command which server to talk to.
fn to(server: &Server, mut command: Command) -> Result<Command> {
    let (_, port) =
        server.url().trim_end_matches('/').rsplit_once(':').context("the server's URL has no port")?;
    command.args(["--host", server.host(), "--port", port, "--user", USER, "--password", PASSWORD]);
    command.stdout(Stdio::null());
    Ok(command)
}
