//! A running task, paused, resumed and stopped from another terminal; begun at an hour; kept to limits.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{Outcome, PATIENCE, Run, Scene, Writers, eventually};
use mysql_async::prelude::Queryable as _;
use serde_json::Value;
use test_support::connect;
use test_support::numbers::Numbers;

use crate::locks::{another_task, waiting_statements};

const ROWS: u64 = 20_000;

async fn fill(scene: &Scene<'_>) -> Result<()> {
    let digits = "(SELECT 0 d UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 UNION \
                  SELECT 6 UNION SELECT 7 UNION SELECT 8 UNION SELECT 9)";
    scene
        .execute([
            "CREATE TABLE t (id INT UNSIGNED PRIMARY KEY AUTO_INCREMENT, v VARCHAR(100) NOT NULL, n INT, KEY (n))"
                .to_owned(),
            format!(
                "INSERT INTO t (v, n) SELECT REPEAT('x', 100), a.d FROM {digits} a, {digits} b, {digits} c, {digits} e, \
                 (SELECT 0 d UNION SELECT 1) f"
            ),
            "ANALYZE TABLE t".to_owned(),
        ])
        .await
}

fn transaction(numbers: &mut Numbers) -> Vec<String> {
    let row = 1 + numbers.below(ROWS);
    match numbers.below(3) {
        0 => vec![format!("INSERT INTO t (v, n) VALUES ('new', {row})")],
        1 => vec![format!("UPDATE t SET v = CONCAT('changed ', n), n = n + 1 WHERE id = {row}")],
        _ => vec![format!("DELETE FROM t WHERE id = {row}")],
    }
}

/// `engine COMMAND task --json`
fn command(scene: &Scene<'_>, name: &str) -> Run {
    let state = scene.state_directory().display().to_string();
    Run::plain(scene.directory()).arguments([name, "task", "--json", "--state-dir", &state])
}

async fn ask(scene: &Scene<'_>, name: &str) -> Result<Value> {
    let outcome = command(scene, name).succeed().await?;
    serde_json::from_str(&outcome.stdout).with_context(|| outcome.said())
}

/// Statements that the engine has under way on the target.
async fn at_work(scene: &Scene<'_>) -> Result<i64> {
    let target = scene.target().await?;
    let row = target
        .query_one(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() \
             AND (state <> 'idle' OR xact_start IS NOT NULL)",
            &[],
        )
        .await?;
    Ok(row.get(0))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused_in_the_copy_and_in_the_stream_nothing_is_lost() -> Result<()> {
    for scene in [Scene::mysql("paused_mysql").await?, Scene::mariadb("paused_mariadb").await?] {
        fill(&scene).await?;
        let writers = Writers::start(&scene.source_url(), 2, Duration::from_millis(5), transaction);
        let mut running = scene.follow().arguments(["--max-rows-per-second", "8000"]).start()?;
        running
            .event(|event| event["event"] == "progress" && event["rows_copied"].as_u64() > Some(0))
            .await?;
        ensure!(ask(&scene, "pause").await?["condition"] == "paused");
        let paused = ask(&scene, "status").await?;
        ensure!(paused["paused"] == true && paused["phase"] == "snapshot", "{paused}");
        ensure!(at_work(&scene).await? == 0, "the target is still being written to");
        running.event(|event| event["event"] == "progress" && event["paused"] == true).await?;
        writers.commit_more(50).await?;
        let later = ask(&scene, "status").await?;
        ensure!(later["position"] == paused["position"], "the position moved: {later}");
        ensure!(ask(&scene, "resume").await?["condition"] == "running");

        running.phase("streaming").await?;
        writers.commit_more(50).await?;
        ask(&scene, "pause").await?;
        ensure!(at_work(&scene).await? == 0, "the target is still being written to");
        let rows = scene.value(&format!("SELECT count(*)::text || max(id) FROM {}.t", scene.name())).await?;
        writers.commit_more(100).await?;
        let same = scene.value(&format!("SELECT count(*)::text || max(id) FROM {}.t", scene.name())).await?;
        ensure!(rows == same, "rows were written while paused: {rows}, then {same}");
        ask(&scene, "resume").await?;
        writers.stop().await?;

        ensure!(ask(&scene, "stop").await?["condition"] == "stopped");
        running.finish().await?.failed(130)?;
        scene.run().succeed().await?;
        scene.require_equal().await?;
    }
    Ok(())
}

/// What is done for all tables at once is finished before a pause is answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused_while_tables_are_created_it_comes_to_rest() -> Result<()> {
    let scene = Scene::mysql("paused_creating").await?;
    scene.execute(["CREATE TABLE t (id INT PRIMARY KEY)", "INSERT INTO t VALUES (1)"]).await?;
    another_task(&scene).await?;
    let holder = scene.target().await?;
    holder.batch_execute("BEGIN; LOCK TABLE _migration.owned_table IN SHARE MODE").await?;
    let mut running = scene.run().environment("ENGINE_LOG", "info").start()?;
    waiting_statements(&scene.target().await?, 1).await?;
    let pausing = command(&scene, "pause").start()?;
    running.complaint("asked over the control socket").await?;
    holder.batch_execute("ROLLBACK").await?;
    tokio::time::timeout(PATIENCE, pausing.finish())
        .await
        .context("the pause was not answered")??
        .succeeded()?;
    ask(&scene, "resume").await?;
    running.finish().await?.succeeded()?;
    scene.require_equal().await
}

#[tokio::test]
async fn a_paused_task_can_be_stopped_and_goes_on_later() -> Result<()> {
    let scene = Scene::mysql("paused_stopped").await?;
    scene.execute(["CREATE TABLE t (id INT PRIMARY KEY)", "INSERT INTO t VALUES (1)"]).await?;
    let mut running = scene.follow().start()?;
    running.phase("streaming").await?;
    ask(&scene, "pause").await?;
    scene.execute(["INSERT INTO t VALUES (2)"]).await?;
    ask(&scene, "stop").await?;
    running.finish().await?.failed(130)?;
    let error = command(&scene, "pause").finish().await?.failed(1)?;
    ensure!(error.contains("no engine is running this task"), "{error}");
    scene.run().succeed().await?;
    scene.require_equal().await
}

#[tokio::test]
async fn the_socket_of_a_killed_engine_is_told_from_a_living_one() -> Result<()> {
    let scene = Scene::mysql("stale_socket").await?;
    scene.execute(["CREATE TABLE t (id INT PRIMARY KEY)"]).await?;
    let mut running = scene.follow().start()?;
    running.phase("streaming").await?;
    running.kill().await?;
    let socket = scene.state_directory().join("task/control");
    ensure!(fs::exists(&socket)?, "a killed engine leaves its socket");
    for name in ["pause", "resume", "stop"] {
        let error = command(&scene, name).finish().await?.failed(1)?;
        ensure!(error.contains("no engine is running this task"), "{error}");
    }
    let mut running = scene.follow().start()?;
    running.phase("streaming").await?;
    ask(&scene, "pause").await?;
    ask(&scene, "resume").await?;
    ask(&scene, "stop").await?;
    running.finish().await?.failed(130)?;
    ensure!(!fs::exists(&socket)?, "an engine that ended leaves its socket");
    let unknown = Run::plain(scene.directory()).arguments(["stop", "other", "--state-dir"]);
    let unknown = unknown.argument(scene.state_directory().display().to_string());
    let error = unknown.finish().await?.failed(1)?;
    ensure!(error.contains("there is no task 'other'") && error.contains("task"), "{error}");
    Ok(())
}

#[tokio::test]
async fn the_work_begins_at_its_hour_and_the_checks_at_once() -> Result<()> {
    let scene = Scene::mysql("start_at").await?;
    scene.execute(["CREATE TABLE t (id INT PRIMARY KEY)", "INSERT INTO t VALUES (1)"]).await?;
    let now =
        scene.value("SELECT to_char(now() + interval '6 seconds', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')").await?;
    let mut running = scene.run().arguments(["--start-at", &now]).start()?;
    running.event(|event| event["event"] == "finding" && event["subject"] == "target version").await?;
    eventually("a countdown", async || {
        let status = ask(&scene, "status").await?;
        Ok(status["waits_for"].as_str().is_some_and(|why| why.starts_with("it begins in")).then_some(()))
    })
    .await?;
    crate::refused::require_untouched(&scene).await?;
    // What is written meanwhile belongs to the copy.
    scene.execute(["INSERT INTO t VALUES (2)", "ALTER TABLE t ADD COLUMN v INT"]).await?;
    running.finish().await?.succeeded()?;
    scene.require_equal().await?;

    let over = scene.run().arguments(["--start-at", "2020-01-01T00:00:00Z"]).finish().await?;
    ensure!(over.status.code() == Some(2), "{}", over.said());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_copy_waits_while_the_source_is_busy() -> Result<()> {
    let scene = Scene::mysql("busy").await?;
    fill(&scene).await?;
    let url = scene.source_url();
    let mut sleepers = Vec::new();
    for _ in 0..12 {
        let mut connection = connect::mysql(&url).await?;
        let id = connection.id();
        let sleeping = tokio::spawn(async move {
            // Ends when it is killed.
            let _ = connection.query_drop("SELECT SLEEP(120)").await;
        });
        sleepers.push((id, sleeping));
    }
    let mut running = scene
        .run()
        .arguments(["--max-load", "10", "--max-rows-per-second", "4000", "--parallelism", "1"])
        .start()?;
    running
        .event(|event| {
            let why = event["waits_for"].as_str().unwrap_or_default();
            why.starts_with("the source is busy") && why.ends_with("the limit is 10")
        })
        .await?;
    let mut admin = scene.source().await?;
    for (id, sleeping) in sleepers {
        admin.query_drop(format!("KILL {id}")).await?;
        sleeping.await?;
    }
    let outcome: Outcome = running.finish().await?.succeeded()?;
    ensure!(outcome.last("done")?["waits_for"].is_null(), "{}", outcome.said());
    scene.require_equal().await
}

/// With a limit under which the copy would take minutes it says what it waits for, and goes on once the limit is
/// gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_keeps_to_its_bytes_per_second() -> Result<()> {
    let scene = Scene::mysql("limited_bytes").await?;
    fill(&scene).await?;
    let mut running = scene.follow().arguments(["--max-mb-per-second", "0.02"]).start()?;
    let limited = |event: &Value| event["waits_for"] == "limited to 0.02 MB/s";
    let copied = |event: &Value| event["rows_copied"].as_u64().unwrap_or(u64::MAX);
    let first = running
        .event(|event| event["event"] == "progress" && limited(event) && (1..ROWS).contains(&copied(event)))
        .await?;
    let next = running
        .event(|event| event["event"] == "progress" && limited(event) && copied(event) > copied(&first))
        .await?;
    ensure!(copied(&next) < ROWS, "{next}");
    ensure!(limited(&ask(&scene, "status").await?), "status does not say what is waited for");
    running.interrupt().await?;
    running.finish().await?.failed(130)?;
    let there = scene.value(&format!("SELECT count(*)::text FROM {}.t", scene.name())).await?;
    ensure!(there.parse::<u64>()? < ROWS, "the copy was complete: {there}");
    let outcome = scene.run().succeed().await?;
    ensure!(outcome.last("done")?["waits_for"].is_null(), "{}", outcome.said());
    scene.require_equal().await
}
