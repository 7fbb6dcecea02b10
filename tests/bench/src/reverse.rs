//! The way back: rows inserted into 100 tables of `PostgreSQL`, as sysbench does, into `MySQL`.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mysql_async::prelude::Queryable as _;
use test_support::process::{self, program};
use test_support::{connect, within};

use crate::engine;
use crate::measure::Case;
use crate::sides::Sides;

const DATABASE: &str = "back";
const TASK: &str = "bench";
const TABLES: u64 = 100;
/// Connections that insert.
const WRITERS: u64 = 4;
const LIMIT: Duration = Duration::from_mins(10);

/// A slot that the server's own client reads.
const FLOOR: &str = "floor";

/// Moves empty tables over, with a way back, and measures three of it: what was inserted before it is taken, in
/// transactions of one row each and of ten, and what is inserted while it is, by `INSERT`s of ten rows. Of the first
/// two also how long the server takes to send them to its own client, which throws them away.
pub(crate) fn measure(
    runtime: &tokio::runtime::Runtime,
    sides: &Sides,
    plugin: &Path,
    changes: u64,
    runs: usize,
) -> Result<Vec<Case>> {
    runtime.block_on(tables(sides))?;
    runtime.block_on(sides.drop_schema(DATABASE))?;
    engine::forget(sides)?;
    let copied = engine::command(sides, DATABASE, &[plugin])?.args(["--until", "caught-up"]).status()?;
    ensure!(copied.success(), "the copy of empty tables failed: {copied}");
    let moved = command(sides, plugin, "cutover")?.args(["--yes", "--way-back", "--skip-verify"]).status()?;
    ensure!(moved.success(), "the cut-over failed: {moved}");

    let mut behind = [1, 10].map(|rows| {
        let inserts = format!("inserts of {rows} rows each, 100 tables");
        let floor = Case::new(&format!("reverse: {inserts}, sent to pg_recvlogical alone"), changes);
        (rows, floor, Case::new(&format!("reverse: catching up with {inserts}, 8 lanes"), changes))
    });
    let mut meanwhile =
        Case::new("reverse: following inserts of 10 rows each while they are made, 8 lanes", changes);
    for _ in 0..runs {
        for (rows, floor, caught_up) in &mut behind {
            eprintln!("inserting {changes} rows into 100 tables");
            runtime.block_on(keep(sides))?;
            runtime.block_on(insert(sides, changes, *rows))?;
            let mut receiver = runtime.block_on(receiver(sides))?;
            floor.add(sides.measured(|| process::measure(&mut receiver))?);
            runtime.block_on(forget(sides))?;
            caught_up.add(sides.measured(|| {
                let mut reverse = command(sides, plugin, "reverse")?;
                process::measure(reverse.args(["--until", "caught-up", "--parallelism", "8"]))
            })?);
        }
        meanwhile.add(sides.measured(|| {
            std::thread::scope(|scope| {
                let writer = scope.spawn(|| runtime.block_on(insert(sides, changes, 10)));
                // It ends once it has what was there when it began, so that it is run until all is.
                let mut total: Option<process::Cost> = None;
                loop {
                    let is_last = writer.is_finished();
                    let mut reverse = command(sides, plugin, "reverse")?;
                    let cost =
                        process::measure(reverse.args(["--until", "caught-up", "--parallelism", "8"]))?;
                    total = Some(match total {
                        None => cost,
                        Some(total) => process::Cost {
                            wall: total.wall + cost.wall,
                            cpu_seconds: total.cpu_seconds + cost.cpu_seconds,
                            peak_memory: total.peak_memory.max(cost.peak_memory),
                            ..cost
                        },
                    });
                    if is_last {
                        break;
                    }
                }
                writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
                total.context("nothing was run")
            })
        })?);
        runtime.block_on(expect_equal(sides))?;
    }
    let dropped = command(sides, plugin, "drop")?.arg("--way-back").status()?;
    ensure!(dropped.success(), "the way back can't be dropped: {dropped}");
    let behind = behind.into_iter().flat_map(|(_, floor, caught_up)| [floor, caught_up]);
    Ok(behind.chain([meanwhile]).collect())
}

/// Has the server keep what is written from now on for its own client.
async fn keep(sides: &Sides) -> Result<()> {
    let admin = connect::postgres(sides.target.url()).await?;
    admin.execute("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", &[&FLOOR]).await?;
    Ok(())
}

/// The server's own client, to read all that it kept.
async fn receiver(sides: &Sides) -> Result<Command> {
    let admin = connect::postgres(sides.target.url()).await?;
    let row = admin
        .query_one("SELECT pubname::text, pg_current_wal_lsn()::text FROM pg_publication LIMIT 1", &[])
        .await?;
    let (publication, end): (String, String) = (row.get(0), row.get(1));
    let client = sides.target.client()?;
    let mut command = Command::new(Path::new(client.get_program()).with_file_name("pg_recvlogical"));
    command.args(["--dbname", sides.target.url(), "--slot", FLOOR, "--start", "--no-loop", "--endpos", &end]);
    command.args(["--option", "proto_version=1", "--option", &format!("publication_names={publication}")]);
    // It neither writes to a disk nor waits for one.
    command.args(["--file", "/dev/null", "--fsync-interval", "0"]);
    Ok(command)
}

async fn forget(sides: &Sides) -> Result<()> {
    let admin = connect::postgres(sides.target.url()).await?;
    admin.execute("SELECT pg_drop_replication_slot($1)", &[&FLOOR]).await?;
    Ok(())
}

fn command(sides: &Sides, plugin: &Path, what: &str) -> Result<Command> {
    let mut command = Command::new(program("engine", "ENGINE_BINARY")?);
    command.args([what, "--name", TASK, "--source", &sides.source.url_of(DATABASE)]);
    command.args(["--target", sides.target.url()]).arg("--state-dir").arg(sides.state.path());
    command.arg("--plugin").arg(plugin).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(command)
}

async fn tables(sides: &Sides) -> Result<()> {
    let mut connection = connect::mysql(sides.source.url()).await?;
    connection.query_drop(format!("DROP DATABASE IF EXISTS {DATABASE}")).await?;
    connection.query_drop(format!("CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4")).await?;
    connection.query_drop("DROP DATABASE IF EXISTS _migration").await?;
    for table in 1..=TABLES {
        connection
            .query_drop(format!(
                "CREATE TABLE {DATABASE}.sbtest{table} (id BIGINT NOT NULL PRIMARY KEY AUTO_INCREMENT, k INT NOT NULL, \
                 c CHAR(120) NOT NULL, pad CHAR(60) NOT NULL, KEY k_{table} (k))"
            ))
            .await?;
    }
    connection.disconnect().await?;
    Ok(())
}

/// Inserts rows by several connections, `rows` of them per transaction.
async fn insert(sides: &Sides, changes: u64, rows: u64) -> Result<()> {
    let admin = connect::postgres(sides.target.url()).await?;
    admin
        .batch_execute(&format!(
            "CREATE OR REPLACE PROCEDURE public.fill(times bigint, rows bigint, seed bigint) LANGUAGE plpgsql AS $$ \
             BEGIN FOR i IN 1..times LOOP \
               EXECUTE format('INSERT INTO {DATABASE}.sbtest%s (k, c, pad) SELECT %s + g, repeat(md5(g::text), 3), md5(''%s'') \
                   FROM generate_series(1, %s) g', 1 + (i + seed) % {TABLES}, i, i, rows); \
               COMMIT; END LOOP; END $$"
        ))
        .await?;
    let mut writers = Vec::new();
    for seed in 0..WRITERS {
        let client = connect::postgres(sides.target.url()).await?;
        let call = format!("CALL public.fill({}, {rows}, {})", changes / WRITERS / rows, seed * 25);
        writers.push(tokio::spawn(async move {
            // Making the changes is not what is measured.
            client.batch_execute("SET synchronous_commit = off").await?;
            client.batch_execute(&call).await
        }));
    }
    for writer in writers {
        writer.await??;
    }
    Ok(())
}

/// Both sides have as many rows.
async fn expect_equal(sides: &Sides) -> Result<()> {
    let target = connect::postgres(sides.target.url()).await?;
    let mut connection = connect::mysql(sides.source.url()).await?;
    for table in [1, TABLES / 2, TABLES] {
        let name = format!("{DATABASE}.sbtest{table}");
        let there: i64 = target.query_one(&format!("SELECT count(*) FROM {name}"), &[]).await?.get(0);
        within(&name, LIMIT, async || {
            let here: Option<i64> = connection.query_first(format!("SELECT COUNT(*) FROM {name}")).await?;
            Ok((here == Some(there)).then_some(()))
        })
        .await?;
    }
    connection.disconnect().await?;
    Ok(())
}
