//! A full check of identical rows, beside copying them, beside the plainest comparer there is, and, where it is
//! installed, beside data-diff, which has the databases sum up segments.

use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, ensure};
use test_support::process::{Cost, times_of_children};
use tokio::runtime::Runtime;

use crate::data::{SYSBENCH, SYSBENCH_TABLES, load_sysbench};
use crate::engine;
use crate::measure::Case;
use crate::sides::Sides;

const DATA_DIFF: &str = "data-diff";

/// Copies 4 tables, then compares them with the engine and with the servers' own clients.
pub(crate) fn measure(
    runtime: &Runtime,
    sides: &Sides,
    plugin: &Path,
    rows_per_table: u64,
    runs: usize,
) -> Result<Vec<Case>> {
    runtime.block_on(load_sysbench(sides, rows_per_table))?;
    let rows = rows_per_table * SYSBENCH_TABLES;
    let mut copy = Case::new("full check: the copy, for comparison", rows);
    let mut check = Case::new("full check: engine verify", rows);
    let mut plain = Case::new("full check: both clients' sorted rows into cmp", rows);
    let mut data_diff = Case::new("full check: data-diff", rows);
    let is_there =
        Command::new(DATA_DIFF).arg("--version").output().is_ok_and(|output| output.status.success());
    for _ in 0..runs {
        runtime.block_on(sides.drop_schema(SYSBENCH))?;
        copy.add(engine::snapshot(sides, SYSBENCH, &[plugin], None)?);
        check.add(engine::verify(sides, SYSBENCH, plugin, "stream")?);
        plain.add(sides.measured(|| compare(|table| by_clients(sides, table)))?);
        if is_there {
            data_diff.add(sides.measured(|| compare(|table| by_data_diff(sides, table)))?);
        }
    }
    Ok([copy, check, plain].into_iter().chain(is_there.then_some(data_diff)).collect())
}

/// Two comparisons at a time, of two tables one after the other.
fn compare(table: impl Fn(u32) -> Result<ExitStatus> + Sync) -> Result<Cost> {
    let begin = std::time::Instant::now();
    let before = times_of_children();
    let status = std::thread::scope(|scope| {
        let second = scope.spawn(|| table(3).and_then(|_| table(4)));
        let status = table(1).and_then(|_| table(2))?;
        second.join().map_err(|_| anyhow::anyhow!("a comparison panicked"))??;
        anyhow::Ok(status)
    })?;
    Ok(Cost { status, wall: begin.elapsed(), cpu_seconds: times_of_children() - before, peak_memory: 0 })
}

fn by_clients(sides: &Sides, table: u32) -> Result<ExitStatus> {
    let mut source = sides
        .source
        .client()?
        .args(["--batch", "--skip-column-names", "--quick", "--execute"])
        .arg(format!("SELECT id, k, c, pad FROM {SYSBENCH}.sbtest{table} ORDER BY id"))
        .stdout(Stdio::piped())
        .spawn()
        .context("starting the source's client")?;
    let rows = source.stdout.take().context("the client has no output")?;
    // cmp reads the one side from its standard input, the other from a pipe with a name.
    let directory = tempfile::tempdir()?;
    let pipe = directory.path().join("rows");
    ensure!(Command::new("mkfifo").arg(&pipe).status()?.success(), "mkfifo failed");
    let mut target = sides.target.client()?;
    target.args(["--quiet", "--command"]).arg(format!(
        "\\copy (SELECT id, k, c::text, pad::text FROM {SYSBENCH}.sbtest{table} ORDER BY id) TO '{}'",
        pipe.display()
    ));
    let mut target = target.stdout(Stdio::null()).spawn().context("starting the target's client")?;
    let compared = Command::new("cmp").arg("-").arg(&pipe).stdin(rows).status()?;
    ensure!(source.wait()?.success() && target.wait()?.success(), "reading sbtest{table} failed");
    Ok(compared)
}

/// With its defaults, but for the columns, of which it compares the key alone unless it is told.
fn by_data_diff(sides: &Sides, table: u32) -> Result<ExitStatus> {
    let target = sides.target.url().replacen("postgres://", "postgresql://", 1);
    let output = Command::new(DATA_DIFF)
        .args([sides.source.url_of(SYSBENCH), format!("sbtest{table}")])
        .args([target, format!("{SYSBENCH}.sbtest{table}")])
        .args(["--key-columns", "id", "--columns", "k", "--columns", "c", "--columns", "pad"])
        .stderr(Stdio::inherit())
        .output()
        .context("starting data-diff")?;
    ensure!(output.stdout.is_empty(), "data-diff finds what is equal to differ");
    Ok(output.status)
}
