//! Rows and transactions far bigger than what the engine holds at a time.

use anyhow::{Context, Result, ensure};
use e2e::{Running, Scene};
use mysql_async::prelude::Queryable as _;
use test_kit::{Builder, Product};

const MIB: usize = 1 << 20;

fn peak(running: &Running) -> Result<usize> {
    peak_memory(running.id()?)
}

/// The most memory that a process ever had, in bytes.
pub(crate) fn peak_memory(process: u32) -> Result<usize> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kib: usize = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib << 10)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_of_many_sets_goes_through_in_pieces() -> Result<()> {
    let scene = Scene::mysql("big_transaction").await?;
    scene
        .execute([
            "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, code INT UNIQUE, v VARCHAR(600))",
            "CREATE TABLE mark (id INT PRIMARY KEY)",
            "INSERT INTO t (code, v) VALUES (1, 'a')",
        ])
        .await?;
    let mut running = scene.follow().start()?;
    running.phase("streaming").await?;
    let before = peak(&running)?;
    let mut source = scene.source().await?;
    source.query_drop("SET SESSION cte_max_recursion_depth = 1000000").await?;
    source.query_drop("BEGIN").await?;
    // About 50 MiB in the log, a dozen sets; then some of it once more, and a swap across all of it.
    source
        .query_drop(
            "INSERT INTO t (code, v) SELECT seq, REPEAT('v', 600) FROM (WITH RECURSIVE n (seq) AS \
             (SELECT 2 UNION ALL SELECT seq + 1 FROM n WHERE seq < 60000) SELECT seq FROM n) s",
        )
        .await?;
    source.query_drop("UPDATE t SET v = 'changed' WHERE id % 10 = 0").await?;
    source.query_drop("UPDATE t SET code = -code").await?;
    source.query_drop("DELETE FROM t WHERE id % 7 = 0").await?;
    source.query_drop("INSERT INTO mark VALUES (1)").await?;
    source.query_drop("COMMIT").await?;
    source.query_drop("INSERT INTO mark VALUES (2)").await?;
    source.disconnect().await?;
    let marks = format!("SELECT count(*)::text FROM {}.mark", scene.name());
    e2e::eventually("the end of the transaction", async || {
        Ok((scene.value(&marks).await? == "2").then_some(()))
    })
    .await?;
    let grown = peak(&running)? - before;
    let applied = running
        .event(|event| event["event"] == "progress" && event["changes_applied"].as_u64() > Some(100_000));
    applied.await.context("the pieces are not counted")?;
    ensure!(grown < 250 * MIB, "the engine took {} MiB more", grown / MIB);
    running.interrupt().await?;
    running.finish().await?;
    scene.run().succeed().await?;
    scene.require_equal().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_of_64_mib_is_copied_and_followed() -> Result<()> {
    let source = Builder::new(Product::MySql).line("max_allowed_packet=256M").start()?;
    let scene = Scene::new(&source, test_kit::postgres()?, "big_row").await?;
    scene
        .execute([
            "CREATE TABLE t (id INT PRIMARY KEY, v LONGTEXT, b LONGBLOB)",
            "INSERT INTO t VALUES (1, REPEAT('0123456789abcdef', 4194304), NULL), (2, 'small', 'small')",
        ])
        .await?;
    let mut running = scene.follow().start()?;
    running.phase("streaming").await?;
    scene
        .execute([
            "INSERT INTO t VALUES (3, NULL, REPEAT('fedcba98', 8388608))",
            "UPDATE t SET v = CONCAT(v, '!') WHERE id = 1",
            "INSERT INTO t VALUES (4, 'last', NULL)",
        ])
        .await?;
    let rows = format!("SELECT count(*)::text FROM {}.t", scene.name());
    e2e::eventually("the last row", async || Ok((scene.value(&rows).await? == "4").then_some(()))).await?;
    let peak = peak(&running)?;
    ensure!(peak < 1200 * MIB, "the engine took {} MiB", peak / MIB);
    running.interrupt().await?;
    running.finish().await?;
    let mut connection = scene.source().await?;
    let wanted: Vec<(String, Option<String>, Option<String>)> =
        connection.query("SELECT CAST(id AS CHAR), SHA2(v, 256), SHA2(b, 256) FROM t ORDER BY id").await?;
    connection.disconnect().await?;
    let query = format!(
        "SELECT id::text, encode(sha256(convert_to(v, 'UTF8')), 'hex'), encode(sha256(b), 'hex') FROM {}.t ORDER BY id",
        scene.name()
    );
    let null = || "NULL".to_owned();
    let wanted: Vec<Vec<String>> = wanted
        .into_iter()
        .map(|(id, v, b)| vec![id, v.unwrap_or_else(null), b.unwrap_or_else(null)])
        .collect();
    ensure!(scene.rows(&query).await? == wanted, "the values differ");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_wider_than_the_target_takes_is_refused_at_the_start() -> Result<()> {
    let scene = Scene::mysql("wide").await?;
    let columns: Vec<String> = (0..1700).map(|number| format!("c{number} TINYINT")).collect();
    scene.execute([format!("CREATE TABLE wide ({}) ENGINE = MyISAM", columns.join(", "))]).await?;
    let error = scene.follow().arguments(["--mode", "offline"]).fail().await?;
    for words in ["1700 columns", "at most 1600", "wide"] {
        ensure!(error.contains(words), "no '{words}' in {error}");
    }
    Ok(())
}
