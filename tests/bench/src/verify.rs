//! A full check of identical rows, beside copying them and beside the plainest comparer there is.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use test_support::process::{Cost, times_of_children};
use tokio::runtime::Runtime;

use crate::data::{SYSBENCH, SYSBENCH_TABLES, load_sysbench};
use crate::engine;
use crate::measure::Case;
use crate::sides::Sides;

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
    for _ in 0..runs {
        runtime.block_on(sides.drop_schema(SYSBENCH))?;
        copy.add(engine::snapshot(sides, SYSBENCH, &[plugin], None)?);
        check.add(engine::verify(sides, SYSBENCH, plugin, "stream")?);
        plain.add(sides.measured(|| compare(sides))?);
    }
    Ok(vec![copy, check, plain])
}

/// Two comparisons at a time, of two tables one after the other.
fn compare(sides: &Sides) -> Result<Cost> {
    let begin = std::time::Instant::now();
    let before = times_of_children();
    let status = std::thread::scope(|scope| {
        let second = scope.spawn(|| tables(sides, &[3, 4]));
        let status = tables(sides, &[1, 2])?;
        second.join().map_err(|_| anyhow::anyhow!("a comparison panicked"))??;
        anyhow::Ok(status)
    })?;
    Ok(Cost { status, wall: begin.elapsed(), cpu_seconds: times_of_children() - before, peak_memory: 0 })
}

fn tables(sides: &Sides, tables: &[u32]) -> Result<std::process::ExitStatus> {
    let mut last = None;
    for table in tables {
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
        ensure!(std::process::Command::new("mkfifo").arg(&pipe).status()?.success(), "mkfifo failed");
        let mut target = sides.target.client()?;
        target.args(["--quiet", "--command"]).arg(format!(
            "\\copy (SELECT id, k, c::text, pad::text FROM {SYSBENCH}.sbtest{table} ORDER BY id) TO '{}'",
            pipe.display()
        ));
        let mut target = target.stdout(Stdio::null()).spawn().context("starting the target's client")?;
        let compared = std::process::Command::new("cmp").arg("-").arg(&pipe).stdin(rows).status()?;
        ensure!(source.wait()?.success() && target.wait()?.success(), "reading sbtest{table} failed");
        last = Some(compared);
    }
    last.context("no tables")
}
