//! Distributed (XA) transactions of the source: what they change counts from their commit on, whenever that is.

use anyhow::{Result, ensure};
use e2e::{Scene, eventually};
use mysql_async::prelude::Queryable as _;
use test_kit::{Builder, Product};
use tokio::task::block_in_place;

use super::{TABLES, arrives};
use crate::refused::refused;

/// Prepares a transaction over all tables and leaves it so.
async fn prepare(scene: &Scene<'_>, name: &str, number: u32) -> Result<()> {
    let mut source = scene.source().await?;
    for statement in [
        format!("XA START '{name}', 'branch', 5"),
        format!("INSERT INTO t (v) VALUES ('{name}')"),
        format!("UPDATE codes SET code = '{name}' WHERE id = {number}"),
        format!("INSERT INTO keyless VALUES ({number}, '{name}'), ({number}, '{name}')"),
        format!("XA END '{name}', 'branch', 5"),
        format!("XA PREPARE '{name}', 'branch', 5"),
    ] {
        source.query_drop(statement).await?;
    }
    source.disconnect().await?;
    Ok(())
}

async fn decide(scene: &Scene<'_>, decision: &str, name: &str) -> Result<()> {
    scene.execute([format!("XA {decision} '{name}', 'branch', 5")]).await
}

/// Rows of the table without a key that the transaction wrote.
async fn rows(scene: &Scene<'_>, name: &str) -> Result<String> {
    scene.value(&format!("SELECT count(*)::text FROM {}.keyless WHERE v = '{name}'", scene.name())).await
}

async fn appears(scene: &Scene<'_>, name: &str) -> Result<()> {
    eventually(name, async || match rows(scene, name).await?.as_str() {
        "0" => Ok(None),
        "2" => Ok(Some(())),
        number => anyhow::bail!("{number} rows of {name} instead of 2"),
    })
    .await
}

/// Prepared transactions, one of which stays so over several ends of the engine.
async fn are_followed(scene: &Scene<'_>) -> Result<()> {
    scene.execute(TABLES).await?;
    scene.execute(["CREATE TABLE beside (id INT PRIMARY KEY)"]).await?;
    let mut running = scene.follow().start()?;
    running.phase("streaming").await?;
    scene.execute(["INSERT INTO beside VALUES (1)"]).await?;

    prepare(scene, "first", 1).await?;
    prepare(scene, "taken back", 2).await?;
    prepare(scene, "long", 3).await?;
    decide(scene, "COMMIT", "first").await?;
    decide(scene, "ROLLBACK", "taken back").await?;
    appears(scene, "first").await?;
    arrives(scene, "while one is prepared").await?;
    scene.execute(["ALTER TABLE beside ADD COLUMN v INT", "INSERT INTO beside VALUES (2, 2)"]).await?;
    arrives(scene, "after a change of structure").await?;
    running.kill().await?;

    let mut running = scene.follow().start()?;
    running.phase("streaming").await?;
    arrives(scene, "after the death").await?;
    ensure!(rows(scene, "long").await? == "0", "what is only prepared is there");
    running.interrupt().await?;
    running.finish().await?.failed(130)?;

    let mut running = scene.follow().start()?;
    running.phase("streaming").await?;
    prepare(scene, "last", 1).await?;
    decide(scene, "COMMIT", "long").await?;
    appears(scene, "long").await?;
    decide(scene, "COMMIT", "last").await?;
    scene
        .execute([
            "XA START 'at once'",
            "INSERT INTO keyless VALUES (7, 'at once'), (8, 'at once')",
            "XA END 'at once'",
            "XA COMMIT 'at once' ONE PHASE",
        ])
        .await?;
    for name in ["long", "last", "at once"] {
        appears(scene, name).await?;
    }
    running.interrupt().await?;
    running.finish().await?.failed(130)?;
    scene.run().succeed().await?;
    scene.require_equal().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_mysql_are_followed() -> Result<()> {
    are_followed(&Scene::mysql("distributed").await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_mariadb_are_followed() -> Result<()> {
    are_followed(&Scene::mariadb("distributed_mariadb").await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_mysql_without_identifiers_are_followed() -> Result<()> {
    let source = Builder::new(Product::MySql)
        .line("gtid_mode = OFF")
        .line("enforce_gtid_consistency = OFF")
        .start()?;
    are_followed(&Scene::new(&source, test_kit::postgres()?, "distributed_places").await?).await
}

/// What is prepared stays so over an orderly restart of the source and over its death, and is decided afterwards.
async fn outlive_the_source(scene: &Scene<'_>) -> Result<()> {
    let source = scene.source_server();
    scene.execute(TABLES).await?;
    let mut running = scene.follow().start()?;
    running.phase("streaming").await?;
    prepare(scene, "over a restart", 1).await?;
    prepare(scene, "taken back", 2).await?;
    prepare(scene, "over a death", 3).await?;
    block_in_place(|| source.restart())?;
    arrives(scene, "after the restart").await?;
    decide(scene, "COMMIT", "over a restart").await?;
    appears(scene, "over a restart").await?;
    decide(scene, "ROLLBACK", "taken back").await?;

    prepare(scene, "of the engine too", 1).await?;
    block_in_place(|| source.kill().and_then(|()| source.start()))?;
    arrives(scene, "after the death").await?;
    running.kill().await?;
    decide(scene, "COMMIT", "of the engine too").await?;
    let mut running = scene.follow().start()?;
    running.phase("streaming").await?;
    appears(scene, "of the engine too").await?;
    for name in ["taken back", "over a death"] {
        ensure!(
            rows(scene, name).await? == "0",
            "what is only prepared, or was rolled back, is there: {name}"
        );
    }
    decide(scene, "COMMIT", "over a death").await?;
    appears(scene, "over a death").await?;
    running.interrupt().await?;
    running.finish().await?.failed(130)?;
    scene.run().succeed().await?;
    scene.require_equal().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_mysql_outlive_the_source() -> Result<()> {
    // What a process has prepared must survive its death, though not that of the machine.
    let source = Builder::new(Product::MySql).line("innodb_flush_log_at_trx_commit=2").start()?;
    outlive_the_source(&Scene::new(&source, test_kit::postgres()?, "distributed_restart").await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_mariadb_outlive_the_source() -> Result<()> {
    let source = Builder::new(Product::MariaDb).line("innodb_flush_log_at_trx_commit=2").start()?;
    outlive_the_source(&Scene::new(&source, test_kit::postgres()?, "distributed_restart_mariadb").await?)
        .await
}

/// The copy can't have seen it, and the log had its rows before the task began.
#[tokio::test]
async fn prepared_before_the_task_began_stop_it() -> Result<()> {
    let source = Builder::new(Product::MySql).start()?;
    let scene = Scene::new(&source, test_kit::postgres()?, "distributed_before").await?;
    scene.execute(TABLES).await?;
    prepare(&scene, "before", 1).await?;
    prepare(&scene, "taken back", 2).await?;
    scene.run().succeed().await?;
    decide(&scene, "ROLLBACK", "taken back").await?;
    scene.run().succeed().await?;
    decide(&scene, "COMMIT", "before").await?;
    refused(scene.run(), 1, &["had been prepared before the task began", "XA RECOVER"]).await?;
    Ok(())
}
