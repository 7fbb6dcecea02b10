//! A full check between two servers of one kind, by either method, beside copying the rows and beside checksums of
//! chunks as they are widely made.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use anyhow::{Context, Result, ensure};
use test_kit::Server;
use test_support::process::{Cost, times_of_children};
use tokio::runtime::Runtime;

use crate::data::{SYSBENCH, SYSBENCH_TABLES, load_sysbench};
use crate::engine;
use crate::measure::Case;
use crate::sides::Sides;
use crate::snapshot_mysql::empty;

/// Rows of a chunk of the peer's.
const CHUNK: u64 = 50_000;

/// Copies 4 tables, then compares them with the engine, reading and summing up, and by chunks' checksums.
pub(crate) fn measure(
    runtime: &Runtime,
    sides: &Sides,
    plugin: &Path,
    rows_per_table: u64,
    runs: usize,
) -> Result<Vec<Case>> {
    runtime.block_on(load_sysbench(sides, rows_per_table))?;
    let rows = rows_per_table * SYSBENCH_TABLES;
    let mut copy = Case::new("full check of MySQL: the copy, for comparison", rows);
    let mut stream = Case::new("full check of MySQL: engine verify --method stream", rows);
    let mut push_down = Case::new("full check of MySQL: engine verify --method push-down", rows);
    let mut checksums = Case::new("full check of MySQL: CRC32 of chunks, one side after the other", rows);
    for _ in 0..runs {
        runtime.block_on(empty(&sides.target))?;
        copy.add(engine::snapshot(sides, SYSBENCH, &[plugin], None)?);
        stream.add(engine::verify(sides, SYSBENCH, plugin, "stream")?);
        push_down.add(engine::verify(sides, SYSBENCH, plugin, "push-down")?);
        checksums.add(sides.measured(|| compare(sides, rows_per_table))?);
    }
    Ok(vec![copy, stream, push_down, checksums])
}

/// Every chunk's number of rows and the XOR of their CRC32: cheap, and blind to values that were swapped.
pub(crate) fn compare(sides: &Sides, rows_per_table: u64) -> Result<Cost> {
    let mut queries = String::new();
    for table in 1..=SYSBENCH_TABLES {
        for first in (0..rows_per_table).step_by(usize::try_from(CHUNK)?) {
            write!(
                queries,
                "SELECT COUNT(*), BIT_XOR(CRC32(CONCAT_WS('#', id, k, c, pad, \
                 CONCAT(ISNULL(id), ISNULL(k), ISNULL(c), ISNULL(pad))))) \
                 FROM {SYSBENCH}.sbtest{table} FORCE INDEX (PRIMARY) WHERE id > {first} AND id <= {};",
                first + CHUNK
            )?;
        }
    }
    let begin = std::time::Instant::now();
    let before = times_of_children();
    let (source, _) = answers(&sides.source, &queries)?;
    let (target, status) = answers(&sides.target, &queries)?;
    ensure!(source == target, "the checksums differ");
    Ok(Cost { status, wall: begin.elapsed(), cpu_seconds: times_of_children() - before, peak_memory: 0 })
}

fn answers(server: &Server, queries: &str) -> Result<(Vec<u8>, ExitStatus)> {
    let output = server
        .client()?
        .args(["--batch", "--skip-column-names", "--execute", queries])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("starting a client")?;
    ensure!(output.status.success(), "the checksums failed: {}", output.status);
    Ok((output.stdout, output.status))
}
