//! The engine beside pgloader.
//!
//! From MariaDB: Debian's pgloader can't log in to MySQL 9, whose accounts use `caching_sha2_password` alone.

use std::path::Path;
use std::process::Stdio;

use anyhow::Result;
use test_kit::{Peer, Product};
use test_support::process::{Cost, measure};

use crate::data::{self, SYSBENCH, SYSBENCH_TABLES};
use crate::engine;
use crate::measure::Case;
use crate::sides::Sides;

/// Copies the tables of sysbench's shape by both in turn, pgloader with its defaults but for the rows that it reads
/// ahead: with its 100,000 of these it runs out of its heap.
pub(crate) fn compare(
    runtime: &tokio::runtime::Runtime,
    pgloader: &Peer,
    plugin: &Path,
    rows_per_table: u64,
    runs: usize,
) -> Result<Vec<Case>> {
    let sides = Sides::start(Product::MariaDb)?;
    runtime.block_on(data::load_sysbench(&sides, rows_per_table))?;
    let rows = rows_per_table * SYSBENCH_TABLES;
    let mut ours = Case::new("snapshot from MariaDB: engine with mysql2og", rows);
    let mut theirs = Case::new("snapshot from MariaDB: pgloader", rows);
    let copied = || runtime.block_on(sides.expect_rows(SYSBENCH, "sbtest4", rows_per_table));
    for _ in 0..runs {
        runtime.block_on(sides.drop_schema(SYSBENCH))?;
        ours.add(engine::snapshot(&sides, SYSBENCH, &[plugin], None)?);
        copied()?;
        runtime.block_on(sides.drop_schema(SYSBENCH))?;
        theirs.add(sides.measured(|| load(&sides, pgloader))?);
        copied()?;
    }
    Ok(vec![ours, theirs])
}

fn load(sides: &Sides, pgloader: &Peer) -> Result<Cost> {
    let source = sides.source.url_of(SYSBENCH).replacen("mariadb://", "mysql://", 1);
    let mut command = pgloader.command("pgloader");
    command.args(["--with", "prefetch rows = 10000"]).arg(source).arg(sides.target.url());
    measure(command.stdout(Stdio::null()))
}
