//! Measures the engine against the physical floor, side by side in one run: `cargo xtask bench`.

mod catch_up;
mod chameleon;
mod crossing;
mod data;
mod decoding;
mod engine;
mod floor;
mod latency;
mod measure;
mod peer;
mod report;
mod reverse;
mod sides;
mod snapshot_mysql;
mod verify;
mod verify_mariadb;
mod verify_mysql;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;

use test_kit::{Peer, Product};

use measure::Case;
use sides::Sides;

/// Measures the engine against the physical floor, side by side
///
/// Each part is run in turn and reported as medians: row code alone, without any database; reading a stream of openGauss's logical
/// decoding, without any either; a snapshot against two
/// streams of the servers' own clients; a snapshot with a plugin that rewrites 2 of 12 columns against the same without
/// it; catching up with row changes; the way back after a cut-over; the time from commit to commit at a steady rate;
/// a full check beside the copy and beside a plain comparer; between two MySQL servers a snapshot beside mysqldump and
/// mydumper, and a full check beside checksums of chunks; and a snapshot from MariaDB beside pgloader; and
/// catching up from MariaDB beside `pg_chameleon`. Peers are fetched where they are not installed. The servers keep their durable defaults. Prints a table in Markdown, fit for docs/benchmarks.md.
#[derive(Debug, Parser)]
#[command(name = "bench", bin_name = "cargo xtask bench", max_term_width = 100)]
struct Options {
    /// A tenth of the data and one run of each: to see that it works, not to quote
    #[arg(long)]
    quick: bool,
    /// Print the figures as JSON instead
    #[arg(long)]
    json: bool,
    /// Runs of each case; the median counts
    #[arg(long, default_value_t = 3, value_name = "N")]
    runs: usize,
    /// Parts to measure
    #[arg(long, value_delimiter = ',', default_values_t = [Part::Crossing, Part::Decoding, Part::Snapshot, Part::Plugin, Part::CatchUp, Part::Reverse, Part::Latency, Part::Verify, Part::SnapshotMysql, Part::VerifyMysql, Part::VerifyMariadb, Part::Pgloader, Part::Chameleon])]
    parts: Vec<Part>,
    /// The plugin that maps types and names
    #[arg(long, default_value = "target/guests/mysql2og.wasm", value_name = "FILE")]
    plugin: PathBuf,
    /// The plugin that keeps types and names as they are
    #[arg(long, default_value = "target/guests/mysql2mysql.wasm", value_name = "FILE")]
    same_plugin: PathBuf,
    /// The plugin that rewrites two columns, chained behind the first
    #[arg(long, default_value = "target/guests/rewrite.wasm", value_name = "FILE")]
    row_plugin: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Row code alone, without any database
    Crossing,
    /// Streams of openGauss's logical decoding alone, in each style
    Decoding,
    /// Snapshot against the floor
    Snapshot,
    /// Snapshot beside pgloader, from MariaDB
    Pgloader,
    /// Snapshot with and without row code
    Plugin,
    /// Catching up with changes, by 8 lanes
    CatchUp,
    /// Catching up beside `pg_chameleon`, from MariaDB
    Chameleon,
    /// The way back: inserts into PostgreSQL, into MySQL
    Reverse,
    /// From commit to commit at 2,000 changes a second
    Latency,
    /// A full check beside copying and beside a plain comparer
    Verify,
    /// Snapshot between two MySQL servers, beside mysqldump and mydumper
    SnapshotMysql,
    /// A full check between two MySQL servers, beside copying and beside checksums of chunks
    VerifyMysql,
    /// A full check between a MariaDB server and its replica, beside pt-table-checksum
    VerifyMariadb,
}

impl Part {
    /// Whether it is between MySQL and PostgreSQL.
    fn is_to_postgres(self) -> bool {
        !matches!(
            self,
            Self::Crossing
                | Self::Decoding
                | Self::SnapshotMysql
                | Self::VerifyMysql
                | Self::VerifyMariadb
                | Self::Pgloader
                | Self::Chameleon
        )
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Crossing => "crossing",
            Self::Decoding => "decoding",
            Self::Snapshot => "snapshot",
            Self::Pgloader => "pgloader",
            Self::Plugin => "plugin",
            Self::CatchUp => "catch-up",
            Self::Chameleon => "chameleon",
            Self::Reverse => "reverse",
            Self::Latency => "latency",
            Self::Verify => "verify",
            Self::SnapshotMysql => "snapshot-mysql",
            Self::VerifyMysql => "verify-mysql",
            Self::VerifyMariadb => "verify-mariadb",
        })
    }
}

fn main() -> ExitCode {
    match bench(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench(options: &Options) -> Result<()> {
    let (scale, runs) = if options.quick { (10, 1) } else { (1, options.runs.max(1)) };
    let runtime = tokio::runtime::Runtime::new()?;
    let mut cases = Vec::new();
    let mut latency = None;
    if options.parts.contains(&Part::Crossing) {
        cases.extend(crossing::measure(&runtime, &options.row_plugin, runs)?);
    }
    if options.parts.contains(&Part::Decoding) {
        cases.extend(decoding::measure(300_000 / scale, runs)?);
    }
    // Fetched first: not to have it should not cost the other parts' time.
    let pgloader = options.parts.contains(&Part::Pgloader).then(Peer::pgloader).transpose()?;
    let toolkit = options.parts.contains(&Part::VerifyMariadb).then(Peer::percona_toolkit).transpose()?;
    let chameleon = options.parts.contains(&Part::Chameleon).then(Peer::chameleon).transpose()?;
    let mydumper = options.parts.contains(&Part::SnapshotMysql).then(Peer::mydumper).transpose()?;
    if options.parts.iter().any(|part| part.is_to_postgres()) {
        let sides = Sides::start(Product::MySql)?;
        if options.parts.contains(&Part::Snapshot) {
            cases.extend(snapshot(options, &runtime, &sides, scale, runs)?);
        }
        if options.parts.contains(&Part::Plugin) {
            cases.extend(row_plugin(options, &runtime, &sides, scale, runs)?);
        }
        if options.parts.contains(&Part::CatchUp) {
            let changes = 300_000 / scale;
            cases.push(catch_up::measure(&runtime, &sides, &options.plugin, 500_000 / scale, changes, runs)?);
        }
        if options.parts.contains(&Part::Reverse) {
            cases.extend(reverse::measure(&runtime, &sides, &options.plugin, 400_000 / scale, runs)?);
        }
        if options.parts.contains(&Part::Verify) {
            cases.extend(verify::measure(&runtime, &sides, &options.plugin, 500_000 / scale, runs)?);
        }
        if options.parts.contains(&Part::Latency) {
            let duration = Duration::from_secs(30 / scale.min(5));
            latency = Some(latency::measure(&runtime, &sides, &options.plugin, 2000, duration)?);
        }
    }
    if options.parts.contains(&Part::VerifyMysql) || mydumper.is_some() {
        let sides = Sides::between(Product::MySql, Product::MySql)?;
        let (plugin, rows) = (&options.same_plugin, 500_000 / scale);
        if let Some(mydumper) = mydumper {
            cases.extend(snapshot_mysql::measure(&runtime, &sides, &mydumper, plugin, rows, runs)?);
        }
        if options.parts.contains(&Part::VerifyMysql) {
            cases.extend(verify_mysql::measure(&runtime, &sides, plugin, rows, runs)?);
        }
    }
    if let Some(toolkit) = toolkit {
        let plugin = &options.same_plugin;
        cases.extend(verify_mariadb::compare(&runtime, &toolkit, plugin, 500_000 / scale, runs)?);
    }
    if let Some(pgloader) = pgloader {
        cases.extend(peer::compare(&runtime, &pgloader, &options.plugin, 500_000 / scale, runs)?);
    }
    if let Some(chameleon) = chameleon {
        let (rows, changes) = (100_000 / scale, 100_000 / scale);
        cases.extend(chameleon::compare(&runtime, &chameleon, &options.plugin, rows, changes, runs)?);
    }
    let latency = latency.as_ref();
    let text = if options.json {
        report::json(&cases, latency)?
    } else {
        report::markdown(&cases, latency, runs, scale)
    };
    println!("{text}");
    Ok(())
}

/// 4 tables of 500,000 rows: floor and engine in turn.
fn snapshot(
    options: &Options,
    runtime: &tokio::runtime::Runtime,
    sides: &Sides,
    scale: u64,
    runs: usize,
) -> Result<Vec<Case>> {
    let rows_per_table = 500_000 / scale;
    runtime.block_on(data::load_sysbench(sides, rows_per_table))?;
    let rows = rows_per_table * data::SYSBENCH_TABLES;
    let mut floor = Case::new("snapshot: two client pipes (the floor)", rows);
    let mut engine = Case::new("snapshot: engine with mysql2og", rows);
    for _ in 0..runs {
        runtime.block_on(floor::prepare(sides))?;
        floor.add(sides.measured(|| floor::copy(sides))?);
        runtime.block_on(sides.drop_schema(data::SYSBENCH))?;
        engine.add(engine::snapshot(sides, data::SYSBENCH, &[options.plugin.as_path()], None)?);
        runtime.block_on(sides.expect_rows(data::SYSBENCH, "sbtest4", rows_per_table))?;
    }
    Ok(vec![floor, engine])
}

/// One table of 12 columns, without and with row code.
fn row_plugin(
    options: &Options,
    runtime: &tokio::runtime::Runtime,
    sides: &Sides,
    scale: u64,
    runs: usize,
) -> Result<Vec<Case>> {
    let rows = 1_000_000 / scale;
    runtime.block_on(data::load_customers(sides, rows))?;
    let configuration = tempfile::Builder::new().suffix(".toml").tempfile()?;
    std::fs::write(configuration.path(), "[rewrite]\ncolumns = ['email', 'note']\n")?;
    let mut without = Case::new("12 columns: engine with mysql2og", rows);
    let mut with = Case::new("12 columns: the same, a row plugin rewriting 2", rows);
    for _ in 0..runs {
        runtime.block_on(sides.drop_schema(data::CUSTOMERS))?;
        without.add(engine::snapshot(sides, data::CUSTOMERS, &[options.plugin.as_path()], None)?);
        runtime.block_on(sides.drop_schema(data::CUSTOMERS))?;
        let plugins = [options.plugin.as_path(), options.row_plugin.as_path()];
        with.add(engine::snapshot(sides, data::CUSTOMERS, &plugins, Some(configuration.path()))?);
    }
    Ok(vec![without, with])
}
