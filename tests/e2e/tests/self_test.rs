//! `engine verify --self-test`: the check finds what is planted, and nothing of it is left behind.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::{Run, Scene, Writers};
use serde_json::Value;

const TABLES: &[&str] = &[
    "CREATE TABLE everything (id BIGINT PRIMARY KEY, small SMALLINT, flag TINYINT(1) NULL, big BIGINT UNSIGNED, amount DECIMAL(12,3) NULL, \
     ratio DOUBLE, single FLOAT, day DATE, at DATETIME(3), stamp TIMESTAMP(6) NULL, span TIME(2), year YEAR, code CHAR(8), name VARCHAR(12) NULL, \
     note TEXT NULL, hash BINARY(16), data BLOB NULL, bits BIT(9), kind ENUM('a','b') NULL, tags SET('x','y'), doc JSON NULL)",
    "CREATE TABLE texts (code VARCHAR(30) PRIMARY KEY, n INT)",
    "CREATE TABLE pairs (a SMALLINT UNSIGNED, b BINARY(3), v INT, PRIMARY KEY (a, b))",
    "CREATE TABLE loose (n INT NULL, v VARCHAR(20) NULL)",
    "CREATE TABLE single (id INT PRIMARY KEY, v VARCHAR(5) NULL)",
    "CREATE TABLE nothing (id INT PRIMARY KEY)",
    "SET SESSION cte_max_recursion_depth = 5000",
    "INSERT INTO pairs WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 1000) SELECT i DIV 100, UNHEX(LPAD(HEX(i % 100), 6, '0')), i FROM c",
    "INSERT INTO everything SELECT v, v, v % 2, v, v / 7, v / 3, v / 3, '2024-02-01' + INTERVAL v DAY, '2024-02-29' + INTERVAL v SECOND, \
     '2024-02-29' + INTERVAL v MICROSECOND, SEC_TO_TIME(v), 1970 + v % 100, CONCAT('c', v), IF(v % 7 = 0, NULL, CONCAT('n', v)), \
     IF(v % 5 = 0, NULL, REPEAT('é', v % 20)), LEFT(UNHEX(SHA2(v, 256)), 16), IF(v % 5 = 0, NULL, UNHEX(SHA2(v, 224))), v % 512, IF(v % 2, 'a', 'b'), 'x,y', JSON_OBJECT('v', v) FROM pairs",
    "INSERT INTO texts SELECT CONCAT('é', v), v FROM pairs",
    "INSERT INTO loose SELECT v % 50, IF(v % 3 = 0, NULL, CONCAT('v', v)) FROM pairs",
    "INSERT INTO single VALUES (1, 'one')",
];

fn self_test(scene: &Scene<'_>) -> Run {
    let state = scene.state_directory().display().to_string();
    Run::plain(scene.directory())
        .arguments(["verify", "task", "--self-test", "--json", "--state-dir", &state])
        .arguments(["--source", &scene.source_url(), "--target", &scene.target_url()])
        .plugin("mysql2og")
}

async fn report(scene: &Scene<'_>, code: i32) -> Result<Value> {
    let outcome = self_test(scene).finish().await?;
    ensure!(
        outcome.status.code() == Some(code),
        "{:?}, not {code}\n{}",
        outcome.status.code(),
        outcome.said()
    );
    serde_json::from_str(&outcome.stdout).with_context(|| outcome.said())
}

/// All that is in the target's database: relations, and how much was ever written to the task's tables.
async fn everything(scene: &Scene<'_>) -> Result<Vec<Vec<String>>> {
    scene
        .rows(
            "SELECT n.nspname::text, c.relname::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace \
             WHERE n.nspname NOT LIKE 'pg\\_toast%' AND n.nspname <> 'pg_catalog' ORDER BY 1, 2",
        )
        .await
}

/// Sessions that last said something about a copy of rows.
async fn copies(scene: &Scene<'_>) -> Result<String> {
    let session =
        "query LIKE '%\\_migration\\_shadow%' AND pid <> pg_backend_pid() AND datname = current_database()";
    scene.value(&format!("SELECT count(*)::text FROM pg_stat_activity WHERE {session}")).await
}

/// Waits until a self-test is at work on its copy.
async fn has_copied(scene: &Scene<'_>) -> Result<()> {
    e2e::eventually("a copy of rows", Duration::from_secs(30), async || {
        Ok((copies(scene).await? != "0").then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_is_planted_is_found_and_nothing_is_left_behind() -> Result<()> {
    let scene = Scene::mysql("self_test").await?;
    scene.execute(TABLES).await?;
    scene.run().succeed().await?;
    let before = everything(&scene).await?;
    let found = report(&scene, 0).await?;
    assert_eq!(found["passed"], true, "{found}");
    assert_eq!((&found["found"], &found["invented"]), (&found["planted"], &0.into()), "{found}");
    ensure!(found["planted"].as_u64() > Some(80), "{found}");
    let kinds: BTreeSet<String> = found["tables"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|table| table["planted"].as_array().cloned().unwrap_or_default())
        .filter_map(|defect| defect["defect"].as_str().map(str::to_owned))
        .collect();
    let all = [
        "NULL for a value",
        "doubled row",
        "empty for NULL",
        "extra row",
        "last digit",
        "missing edge of a part",
        "missing row",
        "one bit",
        "other document",
        "swapped values",
        "trailing space",
    ];
    assert_eq!(kinds.iter().map(String::as_str).collect::<Vec<_>>(), all);
    assert_eq!(everything(&scene).await?, before);
    scene.require_equal().await?;

    // What is wrong with the target itself is told apart.
    scene
        .target()
        .await?
        .batch_execute(&format!("UPDATE {}.texts SET n = -1 WHERE n = 7", scene.name()))
        .await?;
    let found = report(&scene, 4).await?;
    assert_eq!((&found["passed"], &found["wrong_before"]), (&true.into(), &1.into()), "{found}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_passes_under_constant_writes_and_can_be_killed() -> Result<()> {
    let scene = Scene::mysql("self_test_live").await?;
    scene.execute(TABLES).await?;
    let mut running = scene.follow().start()?;
    running.phase("streaming").await?;
    let before = everything(&scene).await?;
    // The first rows of each table, which are those that are copied.
    let writers = Writers::start(&scene.source_url(), 3, Duration::from_millis(10), |numbers| {
        let (one, other) = (1 + numbers.below(300), 1 + numbers.below(300));
        vec![
            format!("UPDATE everything SET small = -small, name = 'w', doc = NULL WHERE id = {one}"),
            format!("DELETE FROM pairs WHERE v = {other}"),
            format!(
                "INSERT INTO pairs VALUES ({other} DIV 100, UNHEX(LPAD(HEX({other} % 100), 6, '0')), {other})"
            ),
            format!("UPDATE texts SET code = CONCAT('m', n, '-', RAND() DIV 0.001) WHERE n = {one}"),
        ]
    });
    writers.commit_more(20).await?;
    for _ in 0..3 {
        let outcome = self_test(&scene)
            .arguments(["--table", "everything", "--table", "pairs", "--table", "texts"])
            .finish()
            .await?;
        let found: Value = serde_json::from_str(&outcome.stdout).with_context(|| outcome.said())?;
        assert_eq!(found["passed"], true, "{found}");
        assert_eq!((&found["invented"], &found["wrong_before"]), (&0.into(), &0.into()), "{found}");
    }
    let killed = self_test(&scene).start()?;
    has_copied(&scene).await?;
    killed.kill().await?;
    e2e::eventually("the killed one's session to end", Duration::from_secs(30), async || {
        Ok((copies(&scene).await? == "0").then_some(()))
    })
    .await?;
    let stopped = self_test(&scene).start()?;
    has_copied(&scene).await?;
    stopped.interrupt().await?;
    stopped.finish().await?;
    writers.stop().await?;
    running.interrupt().await?;
    running.finish().await?;
    e2e::eventually("the server to let go", Duration::from_secs(30), async || {
        Ok((everything(&scene).await? == before).then_some(()))
    })
    .await?;
    scene.run().succeed().await?;
    scene.require_equal().await
}
