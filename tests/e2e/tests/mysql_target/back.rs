//! The way back between servers of the MySQL family: applications write to what was the target, and the old source
//! follows its binlog.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::{MysqlScene, Writers};
use mysql_async::prelude::Queryable as _;
use test_kit::{Product, Server};
use test_support::engine::Run;

use super::{fill, transaction};
use crate::refused::refused;
use crate::types::statements;

/// A command about the scene's task.
fn of_task(scene: &MysqlScene<'_>, command: &str) -> Run {
    let state = scene.state_directory().display().to_string();
    Run::plain(scene.directory())
        .arguments([command, "--json", "--name", scene.name()])
        .arguments(["--source", &scene.source_url(), "--target", &scene.target_url()])
        .arguments(["--state-dir", &state])
        .plugin("mysql2mysql")
}

fn cut_over(scene: &MysqlScene<'_>) -> Run {
    of_task(scene, "cutover").arguments(["--yes", "--way-back"])
}

fn caught_up(scene: &MysqlScene<'_>) -> Run {
    of_task(scene, "reverse").arguments(["--until", "caught-up"])
}

async fn goes_back(source: &Server, target: &Server, test: &str) -> Result<()> {
    let scene = MysqlScene::new(source, target, test).await?;
    fill(&scene).await?;
    scene.run().succeed().await?;
    let moved = cut_over(&scene).succeed().await?;
    ensure!(moved.last("cut-over")?["way_back"].is_string(), "{}", moved.said());
    let kept = ["the target keeps its log for 720 hours", "the target drops nothing of its log by the clock"];
    ensure!(kept.iter().any(|words| moved.said().contains(words)), "{}", moved.said());

    // The first of them are written before anybody follows.
    let writers = Writers::start(&scene.target_url(), 2, Duration::from_millis(5), transaction);
    writers.commit_more(50).await?;
    for round in 0..3 {
        let mut running = of_task(&scene, "reverse").start()?;
        if round > 0 {
            running.phase("streaming").await?;
        }
        writers.commit_more(50).await?;
        running.kill().await?;
    }
    let mut running = of_task(&scene, "reverse").start()?;
    running.phase("streaming").await?;
    of_task(&scene, "verify").argument("--way-back").succeed().await.context("beside writers")?;
    writers.stop().await?;
    running.interrupt().await?;
    running.finish().await?.failed(130)?;
    caught_up(&scene).succeed().await?;
    scene.require_equal().await?;

    scene.execute_on_target(["TRUNCATE visits", "INSERT INTO visits VALUES (1, 1, 'after')"]).await?;
    caught_up(&scene).succeed().await?;
    scene.require_equal().await?;
    scene.execute(["UPDATE entries SET note = 'tampered' ORDER BY id LIMIT 1"]).await?;
    of_task(&scene, "verify").argument("--way-back").finish().await?.failed(4)?;
    of_task(&scene, "verify").arguments(["--way-back", "--repair"]).succeed().await?;
    scene.require_equal().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_mysql_to_mysql() -> Result<()> {
    goes_back(test_kit::mysql()?, test_kit::mysql()?, "back_mysql").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_mariadb_to_mysql() -> Result<()> {
    goes_back(test_kit::mysql()?, test_kit::mariadb()?, "back_to_mysql").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_mysql_to_mariadb() -> Result<()> {
    goes_back(test_kit::mariadb()?, test_kit::mysql()?, "back_to_mariadb").await
}

/// What is written over there comes back in the types that it had, to the edges of each.
async fn every_value(source: &Server, target: &Server, own: Option<Product>, test: &str) -> Result<()> {
    let scene = MysqlScene::new(source, target, test).await?;
    let (before, after) = statements(own);
    scene.execute(before).await?;
    scene.run().succeed().await?;
    cut_over(&scene).succeed().await?;
    scene.execute_on_target(after).await?;
    caught_up(&scene).succeed().await?;
    scene.require_equal().await
}

#[tokio::test]
async fn every_value_of_mysql() -> Result<()> {
    let server = test_kit::mysql()?;
    every_value(server, server, Some(Product::MySql), "back_values_mysql").await
}

#[tokio::test]
async fn every_value_of_mariadb() -> Result<()> {
    let server = test_kit::mariadb()?;
    every_value(server, server, Some(Product::MariaDb), "back_values_mariadb").await
}

#[tokio::test]
async fn every_value_that_both_have() -> Result<()> {
    let (mysql, mariadb) = (test_kit::mysql()?, test_kit::mariadb()?);
    every_value(mysql, mariadb, None, "back_values_to_mysql").await?;
    every_value(mariadb, mysql, None, "back_values_to_mariadb").await
}

/// The token of the statement that a task stopped at.
fn token(error: &str) -> Result<String> {
    let (_, rest) = error.split_once("--structure-by-hand ").with_context(|| error.to_owned())?;
    Ok(rest.chars().take_while(char::is_ascii_hexdigit).collect())
}

#[tokio::test]
async fn changes_of_structure_are_not_taken_back() -> Result<()> {
    let scene = MysqlScene::new(test_kit::mysql()?, test_kit::mariadb()?, "back_structure").await?;
    scene
        .execute([
            "CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR(10), other INT)",
            "CREATE TABLE log (id INT PRIMARY KEY)",
            "INSERT INTO t VALUES (1, 'one', 1)",
        ])
        .await?;
    scene.run().succeed().await?;
    cut_over(&scene).succeed().await?;
    scene
        .execute_on_target([
            "ALTER TABLE t ADD COLUMN more INT DEFAULT 7 FIRST, ADD INDEX (other)",
            "INSERT INTO t VALUES (8, 2, 'two', 2)",
            "CREATE TABLE another (id INT)",
            "INSERT INTO another VALUES (1)",
            "TRUNCATE log",
            "INSERT INTO log VALUES (3)",
        ])
        .await?;
    caught_up(&scene).succeed().await?;
    scene
        .execute_on_target(["DROP TABLE another", "ALTER TABLE t DROP COLUMN more, DROP INDEX other"])
        .await?;
    caught_up(&scene).succeed().await?;
    scene.require_equal().await?;

    // A wider column there needs a wider column here.
    scene
        .execute_on_target([
            "ALTER TABLE t MODIFY name VARCHAR(50)",
            "INSERT INTO t VALUES (4, 'more than ten characters', 4)",
        ])
        .await?;
    refused(caught_up(&scene), 1, &["name", "more than ten characters", "varchar(10)", "on a way back"])
        .await?;
    scene.execute(["ALTER TABLE t MODIFY name VARCHAR(50)"]).await?;
    caught_up(&scene).succeed().await?;
    scene.require_equal().await?;

    // Another name stops it, at its place in the log, also when the column has its own again.
    scene
        .execute_on_target([
            "ALTER TABLE t RENAME COLUMN other TO odd",
            "INSERT INTO t (id, odd) VALUES (5, 5)",
            "ALTER TABLE t RENAME COLUMN odd TO other",
        ])
        .await?;
    let error = caught_up(&scene).fail().await?;
    ensure!(error.contains("give the column its name back"), "{error}");
    let error = caught_up(&scene).arguments(["--structure-by-hand", &token(&error)?]).fail().await?;
    ensure!(error.contains("RENAME COLUMN odd TO other"), "{error}");
    caught_up(&scene).arguments(["--structure-by-hand", &token(&error)?]).succeed().await?;
    scene.require_equal().await?;

    // Nobody drops a table of the old database.
    scene.execute_on_target(["DROP TABLE log", "INSERT INTO t (id) VALUES (6)"]).await?;
    let error = caught_up(&scene).fail().await?;
    ensure!(error.contains("no table is created, dropped or renamed"), "{error}");
    caught_up(&scene).arguments(["--structure-by-hand", &token(&error)?]).succeed().await?;
    let mut source = scene.source().await?;
    let rows: Option<(u64, u64)> = source
        .query_first("SELECT (SELECT COUNT(*) FROM log), (SELECT COUNT(*) FROM t WHERE id = 6)")
        .await?;
    ensure!(rows == Some((1, 1)), "{rows:?}");
    source.disconnect().await?;
    Ok(())
}

#[tokio::test]
async fn a_second_round_trip_has_a_way_back_of_its_own() -> Result<()> {
    let scene = MysqlScene::new(test_kit::mysql()?, test_kit::mariadb()?, "back_twice").await?;
    scene.execute(["CREATE TABLE log (id INT PRIMARY KEY)"]).await?;
    for round in 1..=2 {
        scene.run().succeed().await?;
        cut_over(&scene).succeed().await?;
        scene.execute_on_target([format!("INSERT INTO log VALUES ({round})")]).await?;
        caught_up(&scene).succeed().await?;
        scene.require_equal().await?;
        // Over to a fresh target, under the same name.
        let tables = ["lane", "chunk", "source_table", "owned_table", "cut_over"];
        let forget = |table| format!("DELETE FROM _migration.{table} WHERE task = '{}'", scene.name());
        scene.execute_on_target(tables.map(forget)).await?;
        scene
            .execute_on_target([
                format!("DELETE FROM _migration.task WHERE name = '{}'", scene.name()),
                format!("DROP DATABASE {}", scene.target_name()),
            ])
            .await?;
        std::fs::remove_dir_all(scene.state_directory())?;
    }
    Ok(())
}

#[tokio::test]
async fn what_nobody_could_follow_is_refused_before_the_switch() -> Result<()> {
    let scene = MysqlScene::new(test_kit::mysql()?, test_kit::mariadb()?, "back_cascade").await?;
    scene
        .execute([
            "CREATE TABLE parents (id INT PRIMARY KEY)",
            "CREATE TABLE children (id INT PRIMARY KEY, parent INT, \
             FOREIGN KEY (parent) REFERENCES parents (id) ON DELETE CASCADE)",
        ])
        .await?;
    scene.run().succeed().await?;
    refused(cut_over(&scene), 1, &["children", "ON DELETE CASCADE", "cut over without a way back"]).await?;
    // Nothing has happened.
    scene.run().succeed().await?;

    // A text is no uuid unless somebody says so.
    let scene = MysqlScene::new(test_kit::mariadb()?, test_kit::mysql()?, "back_uuid").await?;
    scene.execute(["CREATE TABLE t (id INT PRIMARY KEY, u UUID)"]).await?;
    scene.run().succeed().await?;
    refused(cut_over(&scene), 1, &["column's values", "t", "uuid", "cut over without a way back"]).await
}

#[tokio::test]
async fn what_would_act_on_rows_that_come_back_is_refused() -> Result<()> {
    let scene = MysqlScene::new(test_kit::mysql()?, test_kit::mysql()?, "back_event").await?;
    scene
        .execute([
            "CREATE TABLE log (id INT PRIMARY KEY, at DATETIME)",
            "CREATE EVENT tidy ON SCHEDULE EVERY 1 DAY DO DELETE FROM log WHERE at < NOW()",
        ])
        .await?;
    scene.run().succeed().await?;
    cut_over(&scene).succeed().await?;
    scene.execute_on_target(["INSERT INTO log VALUES (1, '2024-01-01')"]).await?;
    refused(caught_up(&scene), 1, &["an event", "tidy", "DISABLE"]).await?;
    scene.execute(["ALTER EVENT tidy DISABLE"]).await?;
    caught_up(&scene).succeed().await?;
    scene.require_equal().await
}
