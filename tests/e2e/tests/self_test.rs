//! `engine verify --self-test`: the check finds what is planted, and nothing of it is left behind.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::{MysqlScene, Run, Scene, Writers, eventually};
use mysql_async::prelude::Queryable as _;
use serde_json::Value;
use test_kit::{mariadb, mysql};

use crate::verify::{Place, check, report};

const TABLES: &[&str] = &[
    "CREATE TABLE everything (id BIGINT PRIMARY KEY, small SMALLINT, flag TINYINT(1) NULL, big BIGINT UNSIGNED, amount DECIMAL(12,3) NULL, \
     ratio DOUBLE, single FLOAT, day DATE, at DATETIME(3), stamp TIMESTAMP(6) NULL, span TIME(2), year YEAR, code CHAR(8), name VARCHAR(12) NULL, \
     note TEXT NULL, hash BINARY(16), data BLOB NULL, bits BIT(9), kind ENUM('a','b') NULL, tags SET('x','y'), doc JSON NULL)",
    "CREATE TABLE texts (code VARCHAR(30) PRIMARY KEY, n INT)",
    "CREATE TABLE pairs (a SMALLINT UNSIGNED, b BINARY(3), v INT, PRIMARY KEY (a, b))",
    "CREATE TABLE loose (n INT NULL, v VARCHAR(20) NULL)",
    "CREATE TABLE alike (n INT NULL, v VARCHAR(20) NULL)",
    "CREATE TABLE single (id INT PRIMARY KEY, v VARCHAR(5) NULL)",
    "CREATE TABLE nothing (id INT PRIMARY KEY)",
    "SET SESSION cte_max_recursion_depth = 5000",
    "INSERT INTO pairs WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 1000) SELECT i DIV 100, UNHEX(LPAD(HEX(i % 100), 6, '0')), i FROM c",
    "INSERT INTO everything SELECT v, v, v % 2, v, v / 7, v / 3, v / 3, '2024-02-01' + INTERVAL v DAY, '2024-02-29' + INTERVAL v SECOND, \
     '2024-02-29' + INTERVAL v MICROSECOND, SEC_TO_TIME(v), 1970 + v % 100, CONCAT('c', v), IF(v % 7 = 0, NULL, CONCAT('n', v)), \
     IF(v % 5 = 0, NULL, REPEAT('é', v % 20)), LEFT(UNHEX(SHA2(v, 256)), 16), IF(v % 5 = 0, NULL, UNHEX(SHA2(v, 224))), v % 512, IF(v % 2, 'a', 'b'), 'x,y', JSON_OBJECT('v', v) FROM pairs",
    "INSERT INTO texts SELECT CONCAT('é', v), v FROM pairs",
    "INSERT INTO loose SELECT v % 50, IF(v % 3 = 0, NULL, CONCAT('v', v)) FROM pairs",
    // Any two of them that have each other's `v` are as before.
    "INSERT INTO alike SELECT 7, CONCAT('v', v % 5) FROM pairs",
    "INSERT INTO single VALUES (1, 'one')",
];

fn self_test(scene: &impl Place) -> Run {
    check(scene).argument("--self-test")
}

/// Sessions of PostgreSQL that last said something about a copy of rows.
async fn copies(scene: &Scene<'_>) -> Result<u64> {
    let session =
        "query LIKE '%\\_migration\\_shadow%' AND pid <> pg_backend_pid() AND datname = current_database()";
    let count = scene.value(&format!("SELECT count(*)::text FROM pg_stat_activity WHERE {session}")).await?;
    Ok(count.parse()?)
}

/// As [`copies`], of MySQL.
async fn copies_in_mysql(scene: &MysqlScene<'_>) -> Result<u64> {
    let mut target = scene.target().await?;
    let count = target
        .query_first(
            "SELECT COUNT(*) FROM performance_schema.events_statements_history AS h \
             JOIN performance_schema.threads AS t USING (thread_id) \
             WHERE h.sql_text LIKE '%\\_migration\\_shadow%' AND t.processlist_id <> CONNECTION_ID()",
        )
        .await?;
    target.disconnect().await?;
    count.context("no answer")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_is_planted_is_found_and_nothing_is_left_behind() -> Result<()> {
    planted(&Scene::mysql("self_test").await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_is_planted_in_mysql_is_found() -> Result<()> {
    planted(&MysqlScene::new(mysql()?, mysql()?, "self_test_mysql").await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_is_planted_in_mariadb_is_found() -> Result<()> {
    planted(&MysqlScene::new(mysql()?, mariadb()?, "self_test_mariadb").await?).await
}

async fn planted(scene: &impl Place) -> Result<()> {
    planted_but(scene, &[]).await
}

/// The same where some kinds of defects can't be planted.
pub(crate) async fn planted_but(scene: &impl Place, without: &[&str]) -> Result<()> {
    scene.execute(TABLES).await?;
    scene.run().succeed().await?;
    let before = scene.relations().await?;
    let found = report(self_test(scene), 0).await?;
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
    let all: Vec<&str> = all.into_iter().filter(|kind| !without.contains(kind)).collect();
    assert_eq!(kinds.iter().map(String::as_str).collect::<Vec<_>>(), all);
    assert_eq!(scene.relations().await?, before);
    scene.require_equal().await?;

    // What is wrong with the target itself is told apart.
    scene.on_target("UPDATE texts SET n = -1 WHERE n = 7").await?;
    let found = report(self_test(scene), 4).await?;
    assert_eq!((&found["passed"], &found["wrong_before"]), (&true.into(), &1.into()), "{found}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_passes_under_constant_writes_and_can_be_killed() -> Result<()> {
    let scene = Scene::mysql("self_test_live").await?;
    live(&scene, async || copies(&scene).await).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_passes_under_constant_writes_to_mysql_and_can_be_killed() -> Result<()> {
    let scene = MysqlScene::new(mysql()?, mysql()?, "self_test_mysql_live").await?;
    live(&scene, async || copies_in_mysql(&scene).await).await
}

async fn live(scene: &impl Place, copies: impl AsyncFn() -> Result<u64>) -> Result<()> {
    scene.execute(TABLES).await?;
    let mut running = scene.follow().start()?;
    running.phase("streaming").await?;
    let before = scene.relations().await?;
    // The first rows of each table, which are those that are copied.
    let writers = Writers::start(&scene.urls().0, 3, Duration::from_millis(10), |numbers| {
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
        let outcome = self_test(scene)
            .arguments(["--table", "everything", "--table", "pairs", "--table", "texts"])
            .finish()
            .await?;
        let found: Value = serde_json::from_str(&outcome.stdout).with_context(|| outcome.said())?;
        assert_eq!(found["passed"], true, "{found}");
        assert_eq!((&found["invented"], &found["wrong_before"]), (&0.into(), &0.into()), "{found}");
    }
    let at_work = async |is_at_work: bool| {
        eventually("a self-test to be at work, or at its end", async || {
            Ok(((copies().await? > 0) == is_at_work).then_some(()))
        })
        .await
    };
    at_work(false).await?;
    let killed = self_test(scene).start()?;
    at_work(true).await?;
    killed.kill().await?;
    at_work(false).await?;
    let stopped = self_test(scene).start()?;
    at_work(true).await?;
    stopped.interrupt().await?;
    stopped.finish().await?;
    writers.stop().await?;
    running.interrupt().await?;
    running.finish().await?;
    eventually("the server to let go", async || Ok((scene.relations().await? == before).then_some(())))
        .await?;
    scene.run().succeed().await?;
    scene.require_equal().await
}
