//! Transactions that are sent before they are committed.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use e2e::{Scene, eventually};
use mysql_async::prelude::Queryable as _;
use tokio_postgres::Client;

use super::follow;
use crate::bad_state::SmallDisk;

/// More than the engine keeps in memory of them.
const ROWS: u32 = 10_000;
/// Of one row, with its text out of line.
const LARGE: &str = "(SELECT string_agg(md5(g::text), '') FROM generate_series(1, 20000) g)";

async fn rows(client: &Client, from: u32, to: u32) -> Result<()> {
    let rows = format!(
        "INSERT INTO t SELECT g, g % 7, repeat(md5(g::text), 32) FROM generate_series({from}, {to}) g"
    );
    Ok(client.batch_execute(&rows).await?)
}

async fn session(scene: &Scene<'_>) -> Result<Client> {
    let client = scene.target().await?;
    client.batch_execute(&format!("SET search_path = {}", scene.name())).await?;
    Ok(client)
}

async fn arrives(scene: &Scene<'_>, id: u32) -> Result<()> {
    let mut target = scene.source().await?;
    eventually(&format!("the row {id}"), async || {
        Ok(target.query_first::<u32, _>(format!("SELECT id FROM t WHERE id = {id}")).await?.map(drop))
    })
    .await?;
    Ok(target.disconnect().await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn arrive_whole_or_not_at_all() -> Result<()> {
    let scene = Scene::mysql("from_postgres_in_progress").await?;
    let (small, large, other, given_up) =
        (session(&scene).await?, session(&scene).await?, session(&scene).await?, session(&scene).await?);
    small
        .batch_execute(&format!(
            "CREATE SCHEMA {name}; ALTER DATABASE {name} SET logical_decoding_work_mem = '64kB'; \
             CREATE TABLE t (id integer PRIMARY KEY, a integer, note text); \
             CREATE TABLE u (id integer PRIMARY KEY, note text); \
             ALTER TABLE t REPLICA IDENTITY FULL; ALTER TABLE u REPLICA IDENTITY FULL; \
             INSERT INTO t VALUES (1, 1, 'one'), (2, 2, {LARGE})",
            name = scene.name()
        ))
        .await?;
    let disk = SmallDisk::mount(scene.directory().join("disk"), "128m")?;
    let state = disk.0.join("state");
    let start = || {
        follow(&scene)
            .replace("--state-dir", state.display().to_string())
            .argument("--accept-warnings")
            .start()
    };
    let mut running = start()?;
    running.phase("streaming").await?;
    for client in [&large, &other, &given_up] {
        client.batch_execute("BEGIN").await?;
    }
    rows(&large, 1000, 1000 + ROWS).await?;
    rows(&given_up, 200_000, 202_000).await?;
    large
        .batch_execute("UPDATE t SET a = -1 WHERE id = 2; SAVEPOINT a; DELETE FROM t WHERE id < 5000")
        .await?;
    rows(&other, 300_000, 302_000).await?;
    large.batch_execute("SAVEPOINT b").await?;
    rows(&large, 100_000, 101_000).await?;
    large.batch_execute("RELEASE b; ROLLBACK TO a; SAVEPOINT c; DELETE FROM t WHERE id > 9000").await?;
    other
        .batch_execute("INSERT INTO u VALUES (1, 'first'); SAVEPOINT a; DELETE FROM u; ROLLBACK TO a")
        .await?;
    rows(&small, 400_000, 400_000).await?;
    arrives(&scene, 400_000).await?;
    // Behind a new beginning it does keep what was there before.
    let spilled = "SELECT (sum(spill_bytes) = 0 AND sum(stream_bytes) > 0)::text FROM pg_stat_replication_slots \
                   JOIN pg_replication_slots USING (slot_name) WHERE database = current_database()";
    ensure!(scene.value(spilled).await? == "true", "the server kept it on its own disk");
    running.kill().await?;

    // It outlives the one that was killed, and goes on.
    let mut running = start()?;
    running.phase("streaming").await?;
    disk.fill()?;
    rows(&large, 500_000, 500_000 + ROWS).await?;
    let error = running.finish().await?.failed(1)?;
    ensure!(error.contains("No space left on device") && error.contains("disk/state"), "{error}");
    disk.make_room()?;
    let mut running = start()?;
    running.phase("streaming").await?;
    given_up.batch_execute("ROLLBACK").await?;
    other.batch_execute("UPDATE t SET note = 'other' WHERE id >= 300000 AND id < 301000; COMMIT").await?;
    arrives(&scene, 302_000).await?;
    large.batch_execute("TRUNCATE u; INSERT INTO u VALUES (2, 'second'); COMMIT").await?;
    rows(&small, 600_000, 600_000).await?;
    arrives(&scene, 600_000).await?;
    let status = fs::read_to_string(format!("/proc/{}/status", running.id()?))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse()?;
    ensure!(peak < 400_000, "the engine took {peak} kB");
    running.interrupt().await?;
    running.finish().await?.failed(130)?;
    scene.require_equal().await?;
    let left: Vec<_> =
        fs::read_dir(state.join(scene.name()))?.map(|entry| Ok(entry?.file_name())).collect::<Result<_>>()?;
    ensure!(!left.iter().any(|name| name.to_string_lossy().starts_with(".tmp")), "left: {left:?}");
    Ok(())
}
