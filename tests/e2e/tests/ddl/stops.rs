//! What can't be carried over stops the task before it does harm, and says what to do.

use anyhow::{Context, Result, ensure};
use e2e::Scene;
use serde_json::Value;

use crate::locks::{another_task, waiting_statements};
use crate::refused::refused;

const TABLE: &str = "CREATE TABLE t (id INT PRIMARY KEY, n INT NOT NULL, v VARCHAR(10))";

/// Each changes rows in a way that its text does not tell, or can't be told from what the engine knows.
const STATEMENTS: &[&str] = &[
    "ALTER TABLE t ADD COLUMN g INT AS (n + 1) STORED",
    "ALTER TABLE t ADD COLUMN u VARCHAR(36) DEFAULT (CONCAT('a', n))",
    "ALTER TABLE t ADD COLUMN number INT NOT NULL AUTO_INCREMENT UNIQUE",
    "ALTER TABLE t MODIFY v VARCHAR(3)",
    "ALTER TABLE t MODIFY n VARCHAR(20)",
    "ALTER TABLE t CONVERT TO CHARACTER SET latin1",
    "ALTER TABLE t ENGINE = MyISAM",
    "ALTER TABLE t ADD COLUMN d DECIMAL(4,2) DEFAULT 1.239",
    "RENAME TABLE outside TO inside",
];

#[tokio::test]
async fn what_cannot_be_told_stops_the_task_with_the_statement() -> Result<()> {
    for (number, statement) in STATEMENTS.iter().enumerate() {
        let scene = Scene::mysql(&format!("ddl_stop_{number}")).await?;
        scene.execute([TABLE, "CREATE TABLE outside (id INT)", "INSERT INTO t VALUES (1, 1, 'abc')"]).await?;
        let run = || scene.run().arguments(["--exclude", "outside"]);
        run().succeed().await?;
        scene
            .execute(["INSERT INTO t VALUES (2, 2, 'x')", statement, "INSERT INTO outside VALUES (1)"])
            .await
            .ok();
        for _ in 0..2 {
            refused(run(), 1, &[statement, "position", "--structure-by-hand", "--name"]).await?;
        }
        let rows =
            scene.rows(&format!("SELECT id::text, n::text, v FROM {}.t ORDER BY 1", scene.name())).await?;
        ensure!(rows == [["1", "1", "abc"], ["2", "2", "x"]], "{statement}: {rows:?}");
    }
    Ok(())
}

#[tokio::test]
async fn what_was_done_by_hand_is_gone_on_from() -> Result<()> {
    let scene = Scene::mysql("ddl_by_hand").await?;
    scene.execute([TABLE, "INSERT INTO t VALUES (1, 1, 'abc'), (2, 2, 'x')"]).await?;
    scene.run().succeed().await?;
    scene
        .execute([
            "ALTER TABLE t ADD COLUMN g INT AS (n + 1) STORED",
            "INSERT INTO t (id, n, v) VALUES (3, 3, NULL)",
        ])
        .await?;
    let error: Value = serde_json::from_str(&scene.run().fail().await?)?;
    let help = error["help"].as_str().context("the error has no help")?;
    let token = help.split("--structure-by-hand ").nth(1).and_then(|rest| rest.split([';', ' ']).next());
    let token = token.context("the help has no token")?;
    let by_hand = || scene.run().arguments(["--structure-by-hand", token]);
    // Saying so is not enough.
    refused(by_hand(), 1, &["not as planned", "g"]).await?;
    scene
        .target()
        .await?
        .batch_execute(&format!(
            "ALTER TABLE {0}.t ADD COLUMN g integer; UPDATE {0}.t SET g = n + 1",
            scene.name()
        ))
        .await?;
    by_hand().succeed().await?;
    scene.require_equal().await?;
    // Later changes are carried over as ever, and the word is not needed any more.
    scene
        .execute([
            "ALTER TABLE t ADD COLUMN later INT NOT NULL DEFAULT 5",
            "INSERT INTO t (id, n, later) VALUES (4, 4, 6)",
        ])
        .await?;
    scene.run().succeed().await?;
    scene.require_equal().await
}

#[tokio::test]
async fn a_table_that_changes_while_it_is_copied_stops_the_task() -> Result<()> {
    for scene in [Scene::mysql("ddl_copy_mysql").await?, Scene::mariadb("ddl_copy_mariadb").await?] {
        scene
            .execute([TABLE, "INSERT INTO t VALUES (1, 1, 'abc')", "CREATE TABLE u (id INT PRIMARY KEY)"])
            .await?;
        another_task(&scene).await?;
        let holder = scene.target().await?;
        holder.batch_execute("BEGIN; LOCK TABLE _migration.owned_table IN SHARE MODE").await?;
        let running = scene.run().start()?;
        waiting_statements(&scene.target().await?, 1).await?;
        scene.execute(["ALTER TABLE t ADD INDEX (n)", "ALTER TABLE t ADD COLUMN w INT"]).await?;
        holder.batch_execute("ROLLBACK").await?;
        let error = running.finish().await?.failed(1)?;
        for word in ["ADD COLUMN w", "being copied", "begin a new task"] {
            ensure!(error.contains(word), "the error doesn't say '{word}': {error}");
        }
    }
    Ok(())
}
