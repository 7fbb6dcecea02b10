//! openGauss as the source of a task, with applications that never stop writing.

use anyhow::{Result, ensure};
use test_kit::opengauss::{Compatibility, Settings};
use test_support::engine::Run;

use super::OpenGauss;
use super::place::Place;
use super::writing::{Writing, tables, whole_rows};
use crate::refused::refused;

/// Rows of the table that is copied in several chunks.
const ROWS: u64 = 100_000;
/// Transactions between two kills.
const BETWEEN: u64 = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn is_copied_and_followed_under_fire() -> Result<()> {
    let place = Place::new(OpenGauss::any()?, "source").await?;
    place.execute(tables(place.name(), ROWS)).await?;
    let writing = Writing::start(&place, 3).await?;
    writing.commit_more(BETWEEN).await?;
    let slow = |run: Run| run.arguments(["--max-rows-per-second", "40000"]);
    for phase in ["snapshot", "snapshot", "catch-up", "streaming"] {
        let mut running = slow(place.run()).start()?;
        running.phase(phase).await?;
        writing.commit_more(BETWEEN).await?;
        running.kill().await?;
    }
    let mut running = slow(place.run()).argument("--check-changes").start()?;
    running.phase("streaming").await?;
    writing.commit_more(BETWEEN).await?;
    let committed = writing.stop().await?;
    running.interrupt().await?;
    running.finish().await?.failed(130)?;
    place.catch_up().succeed().await?;
    place.require_equal().await?;
    ensure!(committed > 5 * BETWEEN, "only {committed} transactions");
    place.command("verify").argument("--json").succeed().await?;
    place.drop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_followed_is_refused_before_anything_is_written() -> Result<()> {
    let place = Place::new(OpenGauss::any()?, "refused").await?;
    place.execute(tables(place.name(), 10)).await?;
    let default = |table: &str| format!("ALTER TABLE {}.{table} REPLICA IDENTITY DEFAULT", place.name());
    place.execute([default("orders")]).await?;
    refused(place.run(), 1, &["orders", "REPLICA IDENTITY FULL"]).await?;
    ensure!(place.kept().await? == 0, "something was made");
    place.execute([whole_rows(place.name(), "orders")]).await?;
    place
        .execute(["CREATE TABLE parts (id integer PRIMARY KEY, what text) PARTITION BY RANGE (id) \
                   (PARTITION few VALUES LESS THAN (100), PARTITION many VALUES LESS THAN (MAXVALUE))"])
        .await?;
    refused(place.run(), 1, &["parts", "partition", "--mode offline"]).await?;
    ensure!(place.kept().await? == 0, "something was made");
    place.execute(["DROP TABLE parts"]).await?;
    place.catch_up().succeed().await?;
    place.require_equal().await?;
    place.drop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hard_cases_of_its_log() -> Result<()> {
    let place = Place::new(OpenGauss::any()?, "hard").await?;
    place.execute(tables(place.name(), 3000)).await?;
    place.catch_up().succeed().await?;
    place
        .execute([
            // Out of line: too long, and not to be compressed.
            "UPDATE orders SET note = (SELECT string_agg(md5(g::text || number), '') FROM generate_series(1, 400) g) \
             WHERE shop = 9 AND number <= 40",
            "UPDATE orders SET total = -1 WHERE shop = 9 AND number <= 20",
            "UPDATE orders SET number = -number WHERE shop = 9 AND number BETWEEN 10 AND 30",
            "BEGIN; UPDATE orders SET total = total + 1 WHERE shop = 9; SAVEPOINT a; DELETE FROM orders; \
             ROLLBACK TO a; SAVEPOINT b; DELETE FROM orders WHERE number > 2900; RELEASE b; COMMIT",
            "UPDATE customers SET share = 0.5, score = -0.25 WHERE id = 1",
            "UPDATE customers SET share = NULL, active = NULL, picture = '\\x' WHERE id = 2",
            "TRUNCATE log",
            "INSERT INTO log VALUES (1, 'after')",
        ])
        .await?;
    place.catch_up().succeed().await?;
    place.require_equal().await?;
    // Once it is cut over, the source keeps nothing for it.
    place.command("cutover").arguments(["--json", "--yes"]).succeed().await?;
    ensure!(place.kept().await? == 0, "the source still keeps something");
    place.require_equal().await?;
    place.drop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_mode_is_followed_also_behind_a_pool_of_threads() -> Result<()> {
    for (compatibility, dolphin, test) in [
        (Compatibility::A, false, "mode_a"),
        (Compatibility::B, true, "mode_b"),
        (Compatibility::Pg, false, "mode_pg"),
    ] {
        let settings = Settings { compatibility, dolphin, thread_pool: true, ..Settings::default() };
        let place = Place::new(OpenGauss::double(settings)?, test).await?;
        place.execute(tables(place.name(), 100)).await?;
        place.catch_up().succeed().await?;
        place
            .execute([
                "UPDATE customers SET active = NOT active, share = 0.25, doc = NULL WHERE id <= 20",
                "DELETE FROM log WHERE at = 7",
            ])
            .await?;
        place.catch_up().succeed().await?;
        place.require_equal().await?;
        place.drop().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_opengauss_hides_is_warned_of_and_found() -> Result<()> {
    let place = Place::new(OpenGauss::any()?, "origin").await?;
    place.execute(tables(place.name(), 100)).await?;
    place.catch_up().succeed().await?;
    let origin = format!("'{}'", place.name());
    let sql = place.sql().await?;
    for statement in [
        format!("SELECT pg_replication_origin_create({origin})"),
        format!("SELECT pg_replication_origin_session_setup({origin})"),
        "INSERT INTO log VALUES (78, 'from elsewhere')".to_owned(),
        "SELECT pg_replication_origin_session_reset()".to_owned(),
        "INSERT INTO log VALUES (79, 'from here')".to_owned(),
    ] {
        sql.batch_execute(&statement).await?;
    }
    let checked = place.command("precheck").finish().await?;
    let dropped = sql.batch_execute(&format!("SELECT pg_replication_origin_drop({origin})")).await;
    ensure!(checked.said().contains("replication origins"), "{}", checked.said());
    dropped?;
    drop(sql);
    place.catch_up().succeed().await?;
    // One row is lacking, and only that.
    place.command("verify").argument("--json").finish().await?.failed(4)?;
    place.command("verify").arguments(["--json", "--repair"]).succeed().await?;
    place.require_equal().await?;
    place.drop().await
}
