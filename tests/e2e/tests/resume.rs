//! Killed in every phase, again and again, under writes: the same command goes on, and the copy is right.

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::{Run, Running, Scene, Writers, eventually};
use serde_json::json;
use test_support::numbers::Numbers;
use tokio_postgres::Client;

use crate::locks::{another_task, held, hold_chunks, waiting_statements};
use crate::refused::refused;

/// Rows of 8 KiB, of which 16 MiB make a chunk.
const WIDE_ROWS: u64 = 10_000;

/// A table of several chunks, small ones beside it, one of them without a key.
async fn fill(scene: &Scene<'_>) -> Result<()> {
    let digits = "(SELECT 0 d UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 UNION \
                  SELECT 6 UNION SELECT 7 UNION SELECT 8 UNION SELECT 9)";
    let numbers = format!(
        "(SELECT 1 + a.d + 10 * b.d + 100 * c.d + 1000 * e.d AS n FROM {digits} a, {digits} b, {digits} c, {digits} e) s"
    );
    scene
        .execute([
            "CREATE TABLE wide (id INT UNSIGNED PRIMARY KEY AUTO_INCREMENT, v TEXT NOT NULL, n INT NOT NULL, \
             KEY by_n (n))"
                .to_owned(),
            format!("INSERT INTO wide (v, n) SELECT REPEAT(SHA2(n, 256), 128), n FROM {numbers}"),
            "CREATE TABLE codes (code VARCHAR(20) PRIMARY KEY, rank_ INT NOT NULL, UNIQUE KEY by_rank (rank_))"
                .to_owned(),
            format!("INSERT INTO codes SELECT CONCAT('c', n), n FROM {numbers} WHERE n <= 200"),
            "CREATE TABLE notes (at INT NOT NULL, note VARCHAR(40) NOT NULL)".to_owned(),
            format!("INSERT INTO notes SELECT n DIV 2, 'note' FROM {numbers} WHERE n <= 300"),
            "ANALYZE TABLE wide".to_owned(),
        ])
        .await
}

/// A transaction over all tables: inserts, updates, deletes, a key change, a swap of unique values.
fn transaction(numbers: &mut Numbers) -> Vec<String> {
    let row = 1 + numbers.below(WIDE_ROWS);
    let number = numbers.below(1_000_000);
    let (one, other) = (1 + numbers.below(200), 1 + numbers.below(200));
    match numbers.below(5) {
        0 => vec![format!("INSERT INTO wide (v, n) VALUES (REPEAT('y', 3000), {number})")],
        1 => vec![
            format!("UPDATE wide SET n = {number}, v = REPEAT('z', 500) WHERE id = {row}"),
            format!("INSERT INTO notes VALUES ({number}, 'changed')"),
        ],
        2 => vec![
            format!("DELETE FROM wide WHERE id = {row}"),
            format!("DELETE FROM notes WHERE at = {} LIMIT 1", number % 150),
        ],
        3 => vec![format!("UPDATE wide SET id = id + 1000000 WHERE id = {row}")],
        _ => vec![
            format!("UPDATE codes SET rank_ = rank_ + 1000 WHERE code = 'c{one}' AND rank_ < 1000"),
            format!("UPDATE codes SET code = CONCAT(code, 'x') WHERE code = 'c{other}'"),
        ],
    }
}

/// The records of finished chunks, with the moment each was finished.
async fn chunks(target: &Client) -> Result<Vec<String>> {
    let there: bool =
        target.query_one("SELECT to_regclass('_migration.chunk') IS NOT NULL", &[]).await?.get(0);
    if !there {
        return Ok(Vec::new());
    }
    let rows = target
        .query(
            "SELECT concat_ws(' ', name, number, row_count, finished_at) FROM _migration.chunk ORDER BY 1",
            &[],
        )
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

async fn chunks_recorded(target: &Client, number: usize) -> Result<()> {
    eventually("finished chunks", async || Ok((chunks(target).await?.len() >= number).then_some(()))).await
}

fn slowly(scene: &Scene<'_>) -> Run {
    scene.follow().arguments(["--parallelism", "1"])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_every_phase_of_mysql() -> Result<()> {
    killed_in_every_phase(Scene::mysql("killed_mysql").await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_every_phase_of_mariadb() -> Result<()> {
    killed_in_every_phase(Scene::mariadb("killed_mariadb").await?).await
}

async fn killed_in_every_phase(scene: Scene<'static>) -> Result<()> {
    fill(&scene).await?;
    let target = scene.target().await?;
    let writers = Writers::start(&scene.source_url(), 2, Duration::from_millis(30), transaction);

    // Snapshot: each run ends after at least one more chunk than the one before.
    let mut recorded = Vec::new();
    for number in 1..=3 {
        let running = slowly(&scene).start()?;
        chunks_recorded(&target, recorded.len() + 1).await?;
        running.kill().await?;
        recorded = chunks(&target).await?;
        if number == 2 {
            fs::remove_dir_all(scene.state_directory())?;
        }
    }

    // Catch-up, then indexes: this lock lets rows be written, but neither the row key nor an index be built. What
    // waits for it outlives its engine, and is done behind the back of the next one.
    let mut complete = Vec::new();
    let mut phases = Vec::new();
    while phases.last().is_none_or(|waiting: &String| !waiting.starts_with("CREATE INDEX")) {
        ensure!(phases.len() < 4, "the indexes are never reached: {phases:?}");
        let blocker = scene.target().await?;
        blocker
            .batch_execute(&format!("BEGIN; LOCK TABLE {}.wide IN ROW EXCLUSIVE MODE", scene.name()))
            .await?;
        let running = slowly(&scene).start()?;
        phases.push(waiting_statements(&target, 1).await?);
        complete = chunks(&target).await?;
        running.kill().await?;
        blocker.batch_execute("ROLLBACK").await?;
    }
    ensure!(phases.len() > 1, "no kill met the catch-up: {phases:?}");
    ensure!(recorded.len() < complete.len(), "no kill met the snapshot: {complete:?}");
    for chunk in &recorded {
        ensure!(complete.contains(chunk), "the chunk '{chunk}' was copied again: {complete:?}");
    }

    // Streaming, twice: once changes arrive.
    for _ in 0..2 {
        let mut running = slowly(&scene).start()?;
        running.phase("streaming").await?;
        follows(&scene, &running, &writers).await?;
        running.kill().await?;
    }
    fs::remove_dir_all(scene.state_directory())?;

    writers.stop().await?;
    scene.run().succeed().await?;
    scene.require_equal().await?;
    ensure!(chunks(&target).await? == complete, "chunks were copied again");
    Ok(())
}

/// Waits until a row written now is in the target.
async fn follows(scene: &Scene<'_>, running: &Running, writers: &Writers) -> Result<()> {
    running.id()?;
    writers.commit_more(20).await?;
    let mark = format!("mark {}", running.id()?);
    scene.execute([format!("INSERT INTO notes VALUES (0, '{mark}')")]).await?;
    let query = format!("SELECT count(*)::text FROM {}.notes WHERE note = '{mark}'", scene.name());
    eventually(
        "a row written while following",
        async || Ok((scene.value(&query).await? == "1").then_some(())),
    )
    .await
}

#[tokio::test]
async fn another_plan_is_refused_and_the_old_one_goes_on() -> Result<()> {
    let scene = Scene::mysql("other_plan").await?;
    scene
        .execute([
            "CREATE TABLE t (id INT PRIMARY KEY, flag TINYINT(1), email VARCHAR(50))",
            "INSERT INTO t VALUES (1, 1, 'a@b.c')",
        ])
        .await?;
    let old = || scene.run().config(json!({"mysql2og": {"tinyint1": "smallint"}}));
    old().succeed().await?;
    let why = "the plan is not the one that the task was begun with";
    let other_setting = scene.run().config(json!({"mysql2og": {"tinyint1": "boolean"}}));
    refused(other_setting, 1, &[why, "the configuration of plugin mysql2og changed", "go back", "--name"])
        .await?;
    let one_more = scene.run().without_plugins().plugin("misbehave").plugin("mysql2og");
    refused(one_more, 1, &[why, "begun with 1 plugins, now there are 2", "go back"]).await?;
    let without_state = scene.directory().join("another-state").display().to_string();
    let other_setting = scene.run().config(json!({"mysql2og": {"tinyint1": "boolean"}}));
    refused(other_setting.replace("--state-dir", without_state), 1, &[why, "go back"]).await?;
    scene.execute(["INSERT INTO t VALUES (2, 0, NULL)"]).await?;
    old().succeed().await?;
    scene.require_equal().await
}

#[tokio::test]
async fn of_two_engines_on_one_task_one_goes_on() -> Result<()> {
    let scene = Scene::mysql("two_engines").await?;
    scene.execute(["CREATE TABLE t (id INT PRIMARY KEY)", "INSERT INTO t VALUES (1)"]).await?;
    let mut first = scene.follow().start()?;
    first.phase("streaming").await?;
    refused(scene.run(), 1, &["another engine is running this task", "engine status task"]).await?;

    // The lock is on the state directory; an engine with another one takes the task over.
    let elsewhere = scene.directory().join("elsewhere").display().to_string();
    let mut second = scene.follow().replace("--state-dir", elsewhere).start()?;
    second.phase("streaming").await?;
    scene.execute(["INSERT INTO t VALUES (2)"]).await?;
    let error = first.finish().await?.failed(1)?;
    ensure!(error.contains("another engine has taken over this task"), "{error}");
    let rows = format!("SELECT count(*)::text FROM {}.t", scene.name());
    eventually("the second engine's row", async || Ok((scene.value(&rows).await? == "2").then_some(())))
        .await?;
    second.interrupt().await?;
    second.finish().await?.failed(130)?;
    scene.require_equal().await
}

#[tokio::test]
async fn what_a_killed_engine_left_building_is_waited_for() -> Result<()> {
    let scene = Scene::mysql("left_building").await?;
    scene
        .execute([
            "CREATE TABLE t (id INT PRIMARY KEY, n INT, KEY by_n (n))",
            "INSERT INTO t VALUES (1, 1), (2, 2)",
        ])
        .await?;
    another_task(&scene).await?;
    let holder = hold_chunks(&scene).await?;
    let first = scene.run().start()?;
    held(&scene).await?;
    // Now the table is there, and its row key not yet.
    let (target, blocker) = (scene.target().await?, scene.target().await?);
    blocker.batch_execute(&format!("BEGIN; LOCK TABLE {}.t IN ROW EXCLUSIVE MODE", scene.name())).await?;
    holder.batch_execute("ROLLBACK").await?;
    waiting_statements(&target, 1).await?;
    first.kill().await?;
    let second = scene.run().start()?;
    waiting_statements(&target, 2).await?;
    blocker.batch_execute("ROLLBACK").await?;
    second.finish().await?.succeeded()?;
    scene.require_equal().await
}
