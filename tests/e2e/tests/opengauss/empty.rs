//! Empty strings in a database of compatibility A, where they are NULL.

use anyhow::{Result, ensure};
use test_kit::opengauss::Compatibility;

use super::scene::GaussScene;
use crate::verify::{check, report};

const TABLES: [&str; 5] = [
    "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20) NOT NULL DEFAULT '', n TEXT NULL, k CHAR(4) NULL, b VARBINARY(9) NULL, \
     s SET('x','y') NULL)",
    "CREATE TABLE loose (v VARCHAR(20) NULL, n TEXT NULL)",
    "INSERT INTO t VALUES (1, '', '', '', '', ''), (2, 'two', 'text', 'c', 'b', 'x'), (3, ' ', NULL, NULL, NULL, NULL)",
    "INSERT INTO loose VALUES ('', ''), ('a', ''), (NULL, 'b')",
    "CREATE TABLE codes (code VARCHAR(9) PRIMARY KEY, v INT)",
];

const CHANGES: [&str; 7] = [
    "INSERT INTO t VALUES (4, '', '', '', '', ''), (5, 'x', 'x', 'x', 'x', 'x')",
    "UPDATE t SET v = '', n = '', k = '', b = '', s = '' WHERE id IN (2, 5)",
    "UPDATE t SET v = 'full' WHERE id = 1",
    "INSERT INTO loose VALUES ('', 'new'), ('gone', '')",
    "UPDATE loose SET n = 'changed' WHERE v = 'a'",
    "DELETE FROM loose WHERE v = 'gone'",
    "INSERT INTO codes VALUES ('a', 1)",
];

/// Each text of `t` and `loose`, NULL as a word.
const ROWS: &str = "SELECT string_agg(row, ';' ORDER BY row) FROM (SELECT concat_ws(',', id::text, COALESCE(v, 'NULL'), \
    COALESCE(n, 'NULL'), COALESCE(k, 'NULL'), COALESCE(encode(b, 'hex'), 'NULL'), COALESCE(s, 'NULL')) AS row FROM DB.t \
    UNION ALL SELECT COALESCE(v, 'NULL') || '/' || COALESCE(n, 'NULL') FROM DB.loose) AS rows";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_stop_the_task_unless_told_otherwise() -> Result<()> {
    let scene = GaussScene::new(Compatibility::A, "og_empty_fail").await?;
    scene.source().execute(TABLES).await?;
    let error = scene.run().fail().await?;
    for words in ["empty string is NULL", "empty_strings", "compatibility B or PG"] {
        ensure!(error.contains(words), "it does not say {words}: {error}");
    }
    scene.close().await?;
    // By the stream too.
    let scene = GaussScene::new(Compatibility::A, "og_empty_stream").await?;
    scene
        .source()
        .execute(["CREATE TABLE t (id INT PRIMARY KEY, v TEXT)", "INSERT INTO t VALUES (1, 'x')"])
        .await?;
    scene.run().succeed().await?;
    scene.source().execute(["UPDATE t SET v = '' WHERE id = 1"]).await?;
    let error = scene.run().fail().await?;
    ensure!(error.contains("empty string is NULL"), "{error}");
    scene.close().await
}

/// By every way of loading: the copy, inserts, updates, and rows without a key, which are found by all of their values.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_become_null_by_every_way_when_asked_for() -> Result<()> {
    let scene = GaussScene::new(Compatibility::A, "og_empty_null").await?;
    scene.source().execute(TABLES).await?;
    scene.configured(scene.run()).succeed().await?;
    let rows = |query: &str| query.replace("DB", scene.name());
    let copied = scene.value(&rows(ROWS)).await?;
    ensure!(copied.contains("1,NULL,NULL,NULL,,NULL") && copied.contains("3, ,NULL"), "{copied}");
    scene.source().execute(CHANGES).await?;
    scene.configured(scene.run()).succeed().await?;
    let changed = scene.value(&rows(ROWS)).await?;
    for row in [
        "1,full,NULL,NULL,,NULL",
        "2,NULL,NULL,NULL,,NULL",
        "4,NULL,NULL,NULL,,NULL",
        "5,NULL,NULL,NULL,,NULL",
        "NULL/NULL",
        "a/changed",
        "NULL/new",
    ] {
        ensure!(changed.split(';').any(|found| found == row), "no {row} in {changed}");
    }
    ensure!(!changed.contains("gone"), "{changed}");
    let none = "SELECT count(*)::text FROM DB.t WHERE length(v) = 0 OR length(n) = 0 OR length(s) = 0";
    ensure!(scene.value(&rows(none)).await? == "0", "a text of no characters was stored");

    // What was planned is what is verified; and a text in its place is found and mended.
    report(scene.configured(check(&scene)), 0).await?;
    let sql = scene.sql().await?;
    sql.batch_execute(&rows(
        "UPDATE DB.t SET n = 'wrong' WHERE id = 4; DELETE FROM DB.loose WHERE n IS NULL",
    ))
    .await?;
    report(scene.configured(check(&scene)), 4).await?;
    report(scene.configured(check(&scene).argument("--repair")), 0).await?;
    ensure!(scene.value(&rows(ROWS)).await? == changed, "it was not mended as it was");

    // A key has no NULL.
    scene.source().execute(["INSERT INTO codes VALUES ('', 2)"]).await?;
    let error = scene.configured(scene.run()).fail().await?;
    ensure!(error.contains("empty string is NULL"), "{error}");
    scene.close().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_are_kept_in_the_other_compatibilities() -> Result<()> {
    for (compatibility, test) in [(Compatibility::B, "og_empty_b"), (Compatibility::Pg, "og_empty_pg")] {
        let scene = GaussScene::new(compatibility, test).await?;
        scene.source().execute(TABLES).await?;
        scene.run().succeed().await?;
        scene.source().execute(CHANGES).await?;
        scene.run().succeed().await?;
        scene.require_equal().await?;
        report(check(&scene), 0).await?;
        scene.close().await?;
    }
    Ok(())
}
