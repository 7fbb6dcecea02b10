//! The source's log itself: many files, other checksums, parts that are gone.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::{Scene, Writers, eventually};
use mysql_async::Row;
use mysql_async::prelude::Queryable as _;
use test_kit::{Builder, Product};

use super::{Lines, TABLES, arrives, transaction};
use crate::refused::refused;

#[tokio::test]
async fn many_files_and_changing_checksums_are_followed() -> Result<()> {
    for product in [Product::MySql, Product::MariaDb] {
        let server = Builder::new(product).start()?;
        let scene = Scene::new(&server, test_kit::postgres()?, "rotation").await?;
        scene.execute(TABLES).await?;
        let mut running = scene.follow().start()?;
        running.phase("streaming").await?;
        let writers = Writers::start(&scene.source_url(), 2, Duration::from_millis(5), |numbers| {
            transaction(numbers.below(1000))
        });
        for round in 0..3 {
            // Setting it begins a new file, whose events have the new kind of checksum.
            for checksum in ["NONE", "CRC32"] {
                writers.commit_more(5).await?;
                scene.execute([format!("SET GLOBAL binlog_checksum = {checksum}")]).await?;
            }
            for _ in 0..20 {
                scene.execute(["FLUSH BINARY LOGS"]).await?;
            }
            arrives(&scene, &format!("round {round}")).await?;
        }
        // Ended without checksums, begun again with them, and the other way round.
        for checksum in ["NONE", "CRC32"] {
            scene.execute([format!("SET GLOBAL binlog_checksum = {checksum}")]).await?;
            arrives(&scene, checksum).await?;
            running.kill().await?;
            writers.commit_more(5).await?;
            let other = if checksum == "NONE" { "CRC32" } else { "NONE" };
            scene.execute([format!("SET GLOBAL binlog_checksum = {other}")]).await?;
            running = scene.follow().start()?;
            arrives(&scene, &format!("{checksum} to {other}")).await?;
        }
        writers.stop().await?;
        running.interrupt().await?;
        running.finish().await?.failed(130)?;
        scene.run().succeed().await?;
        scene.require_equal().await?;
    }
    Ok(())
}

/// All rows of the target, and the records of the copy.
async fn contents(scene: &Scene<'_>) -> Result<Vec<Vec<String>>> {
    let name = scene.name();
    scene
        .rows(&format!(
            "SELECT 'keyless', n::text, v FROM {name}.keyless UNION ALL SELECT 't', id::text, v FROM {name}.t \
             UNION ALL SELECT name, number::text, finished_at::text FROM _migration.chunk ORDER BY 1, 2, 3"
        ))
        .await
}

/// Purges all files of the log but the last.
async fn purge(scene: &Scene<'_>) -> Result<()> {
    let mut source = scene.source().await?;
    // A file that a stream was sent from is kept until the source has noticed the stream's end.
    eventually("a log of one file", async || {
        let files: Vec<Row> = source.query("SHOW BINARY LOGS").await?;
        let last: String = files.last().and_then(|file| file.get(0)).context("the last file of the log")?;
        source.query_drop(format!("PURGE BINARY LOGS TO '{last}'")).await?;
        Ok((files.len() == 1).then_some(()))
    })
    .await?;
    Ok(source.disconnect().await?)
}

#[tokio::test]
async fn a_log_that_is_gone_stops_the_task_for_good() -> Result<()> {
    for product in [Product::MySql, Product::MariaDb] {
        let server = Builder::new(product).start()?;
        let scene = Scene::new(&server, test_kit::postgres()?, "purged").await?;
        scene.execute(TABLES).await?;
        scene.execute(["INSERT INTO t (v) VALUES ('copied')"]).await?;
        scene.run().succeed().await?;
        let before = contents(&scene).await?;
        scene.execute(["INSERT INTO keyless VALUES (1, 'purged')", "FLUSH BINARY LOGS"]).await?;
        scene.execute(["INSERT INTO keyless VALUES (2, 'there')", "FLUSH BINARY LOGS"]).await?;
        purge(&scene).await?;
        for _ in 0..2 {
            refused(scene.run(), 1, &["precondition", "purged", "binlog_expire_logs_seconds"]).await?;
            ensure!(contents(&scene).await? == before, "{product}: the target was changed");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_log_that_was_reset_stops_the_task() -> Result<()> {
    let server = Builder::new(Product::MySql).start()?;
    let scene = Scene::new(&server, test_kit::postgres()?, "reset").await?;
    scene.execute(TABLES).await?;
    scene.execute(["INSERT INTO t (v) VALUES ('copied')"]).await?;
    scene.run().succeed().await?;
    let before = contents(&scene).await?;
    scene.execute(["RESET BINARY LOGS AND GTIDS", "INSERT INTO keyless VALUES (1, 'new')"]).await?;
    refused(scene.run(), 1, &["lacks transactions that the task has applied", "start a new task"]).await?;
    ensure!(contents(&scene).await? == before, "the target was changed");
    Ok(())
}

/// A log that was reset soon has transactions under the numbers that the task knows: they are others.
#[tokio::test]
async fn a_log_that_was_reset_and_has_grown_since_stops_the_task() -> Result<()> {
    for (product, reset) in
        [(Product::MySql, "RESET BINARY LOGS AND GTIDS"), (Product::MariaDb, "RESET MASTER")]
    {
        let server = Builder::new(product).start()?;
        let scene = Scene::new(&server, test_kit::postgres()?, "overtaken").await?;
        scene.execute(TABLES).await?;
        scene.execute(["FLUSH BINARY LOGS", "INSERT INTO t (v) VALUES ('copied')"]).await?;
        scene.run().succeed().await?;
        scene.execute(["INSERT INTO t (v) VALUES ('followed')"]).await?;
        scene.run().succeed().await?;
        let before = contents(&scene).await?;
        scene.execute([reset]).await?;
        scene.execute((0..30).map(|number| format!("INSERT INTO keyless VALUES ({number}, 'new')"))).await?;
        refused(scene.run(), 1, &["shorter than the task has read", "start a new task"]).await?;
        ensure!(contents(&scene).await? == before, "{product}: the target was changed");
    }
    Ok(())
}

/// A wrong bit in an event, which the network's own checksums did not find, is found by the log's.
#[tokio::test]
async fn a_wrong_bit_in_the_log_stops_the_task_at_its_event() -> Result<()> {
    for scene in [Scene::mysql("wrong_bit").await?, Scene::mariadb("wrong_bit_mariadb").await?] {
        let lines = Lines::to(scene)?;
        lines.scene.execute(TABLES).await?;
        lines.scene.execute(["CREATE TABLE large (id INT PRIMARY KEY, v LONGTEXT)"]).await?;
        // TLS would not let it through.
        let source = format!("{}?ssl-mode=disabled", lines.to_source.url(&lines.scene.source_url())?);
        let run = || lines.follow().map(|run| run.replace("--source", source.clone()));
        let mut running = run()?.start()?;
        running.phase("streaming").await?;
        lines.arrives(&mut running, "before").await?;
        lines.scene.execute(["INSERT INTO keyless VALUES (1, 'just before')"]).await?;
        // Everything else that comes in the meantime is far smaller.
        lines.to_source.corrupt_after(600_000);
        lines.scene.execute(["INSERT INTO large VALUES (1, REPEAT('x', 1000000))"]).await?;
        let error = running.finish().await?.failed(1)?;
        for word in ["position", "can't be read", "checksum does not match"] {
            ensure!(error.contains(word), "the error doesn't say '{word}': {error}");
        }
        let name = lines.scene.name();
        let rows = format!(
            "SELECT (SELECT count(*)::text FROM {name}.large) || (SELECT count(*)::text FROM {name}.keyless)"
        );
        let found = lines.scene.value(&rows).await?;
        ensure!(found == "02", "rows of the event, and before it: {found}");
        run()?.arguments(["--until", "caught-up"]).succeed().await?;
        lines.scene.require_equal().await?;
    }
    Ok(())
}
