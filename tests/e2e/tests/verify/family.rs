//! What only targets of the `MySQL` family have: names that a collation takes for the same, triggers that nobody can
//! silence, their own words for indexes.

use anyhow::{Context as _, Result, ensure};
use e2e::MysqlScene;
use test_kit::mysql;

use super::place::check;
use super::{report, set, wrong};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_keys_and_indexes_of_mysql_are_told() -> Result<()> {
    let scene = MysqlScene::new(mysql()?, mysql()?, "verify_mysql_index").await?;
    scene
        .execute([
            "CREATE TABLE parents (id INT PRIMARY KEY)",
            "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, v INT, p INT, KEY by_v (v), \
             CONSTRAINT of_parent FOREIGN KEY (p) REFERENCES parents (id))",
            "INSERT INTO t VALUES (1, 2, NULL)",
        ])
        .await?;
    scene.run().succeed().await?;
    report(check(&scene), 0).await?;
    scene
        .execute_on_target([
            "ALTER TABLE t DROP FOREIGN KEY of_parent",
            "ALTER TABLE t DROP INDEX by_v",
            "ALTER TABLE t MODIFY id INT NOT NULL, DROP PRIMARY KEY",
        ])
        .await?;
    let found = report(check(&scene), 4).await?;
    assert_eq!((found["equal"].as_bool(), found["clean"].as_bool()), (Some(true), Some(false)));
    let findings = found["findings"].as_array().context("no findings")?;
    let told = |what: &str| {
        findings.iter().any(|finding| finding["message"].as_str().is_some_and(|m| m.contains(what)))
    };
    for what in ["PRIMARY", "by_v", "of_parent", "does not number"] {
        ensure!(told(what), "{what}: {findings:?}");
    }
    // What is told to be done makes it so.
    let fixes: Vec<&str> = findings.iter().filter_map(|finding| finding["fix"].as_str()).collect();
    scene.execute_on_target(fixes).await?;
    scene.execute_on_target(["ALTER TABLE t MODIFY id INT NOT NULL AUTO_INCREMENT"]).await?;
    report(check(&scene), 0).await?;
    Ok(())
}

/// To the key's collation both are one key; to the check they are two, and the one is not mended by deleting the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_a_collation_takes_for_one_are_mended() -> Result<()> {
    let scene = MysqlScene::new(mysql()?, mysql()?, "verify_mysql_keys").await?;
    scene
        .execute([
            "CREATE TABLE t (code VARCHAR(20) PRIMARY KEY, other VARCHAR(20), UNIQUE KEY (other))",
            "INSERT INTO t WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 900) \
             SELECT CONCAT('E', i), i FROM c",
        ])
        .await?;
    scene.run().succeed().await?;
    // More than are mended in one transaction, so that a row is deleted in another than it is written in.
    scene.execute_on_target(["UPDATE t SET code = LOWER(code)"]).await?;
    let found = report(check(&scene), 4).await?;
    assert_eq!(wrong(&found).len(), 1800);
    let mended = report(check(&scene).argument("--repair"), 0).await?;
    assert_eq!(wrong(&mended), set(&[]));
    scene.require_equal().await
}

/// What a dry run prints does what the repair would do, for values of all kinds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_statements_of_a_dry_run_mend() -> Result<()> {
    let scene = MysqlScene::new(mysql()?, mysql()?, "verify_mysql_dry").await?;
    scene
        .execute([
            "CREATE TABLE t (id BINARY(2) PRIMARY KEY, v TEXT, b BLOB, d DOUBLE, j JSON, e ENUM('x', 'y'), \
             p POINT, t TIMESTAMP(3) NULL, twice DOUBLE GENERATED ALWAYS AS (d * 2) VIRTUAL)",
            "INSERT INTO t (id, v, b, d, j, e, p, t) VALUES \
             (x'0001', 'it''s \\\\ \"é\"', x'00FF5C27', -0.1e-300, '[1.5, \"a\"]', 'y', POINT(1, 2), '2024-05-06 07:08:09.123'), \
             (x'5C27', NULL, NULL, NULL, NULL, NULL, NULL, NULL), (x'0003', '', '', 0, '{}', 'x', NULL, NULL)",
        ])
        .await?;
    scene.run().succeed().await?;
    scene
        .execute_on_target([
            "DELETE FROM t WHERE id = x'0001'",
            "INSERT INTO t (id, v) VALUES (x'0009', 'x')",
            "UPDATE t SET d = 7, v = NULL",
        ])
        .await?;
    let planned = report(check(&scene).arguments(["--repair", "--dry-run"]), 4).await?;
    let statements = planned["repaired"]["statements"].as_array().context("no statements")?;
    let statements: Vec<&str> = statements.iter().filter_map(|statement| statement.as_str()).collect();
    scene.execute_on_target([&["SET time_zone = '+00:00'"], &statements[..]].concat()).await?;
    report(check(&scene), 0).await?;
    scene.require_equal().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_a_table_with_triggers_are_not_mended() -> Result<()> {
    let scene = MysqlScene::new(mysql()?, mysql()?, "verify_mysql_triggers").await?;
    scene.execute(["CREATE TABLE t (id INT PRIMARY KEY, v INT)", "INSERT INTO t VALUES (1, 2)"]).await?;
    scene.run().succeed().await?;
    scene
        .execute_on_target([
            "UPDATE t SET v = 3",
            "CREATE TRIGGER doubled BEFORE INSERT ON t FOR EACH ROW SET NEW.v = NEW.v * 2",
        ])
        .await?;
    let refused = check(&scene).argument("--repair").fail().await?;
    ensure!(
        refused.contains("with triggers can't be mended") && refused.contains("drop the table's triggers"),
        "{refused}"
    );
    assert_eq!(wrong(&report(check(&scene), 4).await?), set(&["t different 1 v"]));
    Ok(())
}
