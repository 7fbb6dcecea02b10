//! Transactions of every form, and changes that the server makes by itself.

use anyhow::Result;
use e2e::{Scene, eventually};
use mysql_async::prelude::Queryable as _;

#[tokio::test]
async fn transactions_of_every_form_are_followed_on_mysql() -> Result<()> {
    follow_every_form(&Scene::mysql("forms_mysql").await?).await
}

#[tokio::test]
async fn transactions_of_every_form_are_followed_on_mariadb() -> Result<()> {
    follow_every_form(&Scene::mariadb("forms_mariadb").await?).await
}

async fn follow_every_form(scene: &Scene<'_>) -> Result<()> {
    scene
        .execute([
            "CREATE TABLE a (id INT PRIMARY KEY, v VARCHAR(20) UNIQUE)",
            "CREATE TABLE b (id INT, v TEXT)",
            "INSERT INTO a VALUES (1, 'one'), (2, 'two'), (3, 'three'), (4, 'four')",
        ])
        .await?;
    scene.run().succeed().await?;
    scene
        .execute([
            // Rolled back in part and in whole.
            "BEGIN",
            "INSERT INTO a VALUES (10, 'kept')",
            "SAVEPOINT s",
            "INSERT INTO a VALUES (11, 'rolled back')",
            "ROLLBACK TO s",
            "INSERT INTO b VALUES (1, 'kept')",
            "COMMIT",
            "BEGIN",
            "DELETE FROM a",
            "ROLLBACK",
            // One statement, many rows, in an order that no single row can have.
            "UPDATE a SET id = id + 1 ORDER BY id DESC",
            "INSERT INTO a VALUES (2, 'replaced') ON DUPLICATE KEY UPDATE v = 'updated'",
            "REPLACE INTO a VALUES (90, 'updated')",
            "INSERT INTO b SELECT id, v FROM a",
            "INSERT INTO b SELECT id, v FROM b",
            "DELETE FROM b WHERE v = 'kept' LIMIT 1",
            // Names and text that a reader of statements could stumble over.
            "INSERT INTO a VALUES (100, 'BEGIN; COMMIT')",
            "/* ALTER TABLE a */ INSERT INTO a VALUES (101, 'DROP TABLE a')",
            "CREATE TEMPORARY TABLE scratch (id INT)",
            "INSERT INTO scratch VALUES (1)",
            "DROP TEMPORARY TABLE scratch",
        ])
        .await?;
    scene.run().succeed().await?;
    scene.require_equal().await
}

/// `MariaDB` does not log what a foreign key does to the rows that refer to a row: nobody could follow it.
#[tokio::test]
async fn foreign_keys_that_change_rows_are_refused_on_mariadb() -> Result<()> {
    let scene = Scene::mariadb("cascade_mariadb").await?;
    scene
        .execute([
            "CREATE TABLE parents (id INT PRIMARY KEY)",
            "CREATE TABLE children (id INT PRIMARY KEY, parent INT, CONSTRAINT c FOREIGN KEY (parent) \
             REFERENCES parents (id) ON DELETE CASCADE)",
        ])
        .await?;
    let error = scene.run().finish().await?;
    let said = error.stdout.clone();
    error.failed(1)?;
    for part in [format!("{}.children", scene.name()).as_str(), "ON DELETE CASCADE", "--mode offline"] {
        assert!(said.contains(part), "nothing says {part}: {said}");
    }
    let schemas = format!("SELECT count(*)::text FROM pg_namespace WHERE nspname = '{}'", scene.name());
    assert_eq!(scene.value(&schemas).await?, "0");
    // Where nothing is followed, nothing can be missed.
    scene.follow().arguments(["--mode", "offline"]).succeed().await?;
    scene.require_equal().await
}

/// Since `MySQL` 9.6 it is in the log, where a foreign key of the target must not do it once more.
#[tokio::test]
async fn what_foreign_keys_do_is_followed_on_mysql() -> Result<()> {
    follow_cascades(&Scene::mysql("cascade_mysql").await?).await
}

async fn follow_cascades(scene: &Scene<'_>) -> Result<()> {
    scene
        .execute([
            "CREATE TABLE parents (id INT PRIMARY KEY, v INT)",
            "CREATE TABLE children (id INT PRIMARY KEY, parent INT, CONSTRAINT c FOREIGN KEY (parent) \
             REFERENCES parents (id) ON DELETE CASCADE ON UPDATE CASCADE)",
            "CREATE TABLE friends (id INT PRIMARY KEY, parent INT, CONSTRAINT f FOREIGN KEY (parent) \
             REFERENCES parents (id) ON DELETE SET NULL ON UPDATE CASCADE)",
            "CREATE TABLE toys (id INT PRIMARY KEY, child INT, CONSTRAINT t FOREIGN KEY (child) \
             REFERENCES children (id) ON DELETE CASCADE)",
            "INSERT INTO parents VALUES (1, 1), (2, 1), (3, 1), (4, 1), (5, 1), (6, 1)",
            "INSERT INTO children VALUES (1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6)",
            "INSERT INTO friends VALUES (1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6)",
            "INSERT INTO toys VALUES (1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6)",
        ])
        .await?;
    scene.run().succeed().await?;
    scene
        .execute([
            "DELETE FROM parents WHERE id = 1",
            "UPDATE parents SET id = 20 WHERE id = 2",
            // Goes and comes back in one transaction: its children don't.
            "BEGIN",
            "DELETE FROM parents WHERE id = 3",
            "INSERT INTO parents VALUES (3, 2)",
            "INSERT INTO children VALUES (30, 3)",
            "COMMIT",
            // Moves, then goes.
            "BEGIN",
            "UPDATE parents SET id = 40 WHERE id = 4",
            "DELETE FROM parents WHERE id = 40",
            "COMMIT",
            "DELETE FROM children WHERE id = 5",
        ])
        .await?;
    scene.run().succeed().await?;
    scene.require_equal().await
}

/// A cascade on the source after the child's rows were copied and before the target has its foreign keys.
#[tokio::test]
async fn what_foreign_keys_do_during_the_copy_is_not_lost_on_mysql() -> Result<()> {
    cascade_during_the_copy(&Scene::mysql("cascade_copy_mysql").await?).await
}

async fn cascade_during_the_copy(scene: &Scene<'_>) -> Result<()> {
    let mut statements = vec![
        "CREATE TABLE a_parents (id INT PRIMARY KEY)".to_owned(),
        "CREATE TABLE a_children (id INT PRIMARY KEY, parent INT, CONSTRAINT c FOREIGN KEY (parent) \
         REFERENCES a_parents (id) ON DELETE CASCADE)"
            .to_owned(),
        "CREATE TABLE z_large (id INT PRIMARY KEY, v LONGBLOB)".to_owned(),
        "INSERT INTO a_parents VALUES (1), (2), (3)".to_owned(),
        "INSERT INTO a_children VALUES (1, 1), (2, 2), (3, 3)".to_owned(),
        "SET SESSION sql_log_bin = 0".to_owned(),
    ];
    // Long enough that the small tables are through before the copy is over.
    statements.extend((0..8).map(|id| format!("INSERT INTO z_large VALUES ({id}, REPEAT('x', 12000000))")));
    scene.execute(statements).await?;
    // One connection is busy with the large table while the other copies the small ones.
    let running = scene.run().arguments(["--parallelism", "2"]).start()?;
    let target = scene.target().await?;
    eventually("the copy of the child's rows", async || {
        let known: bool =
            target.query_one("SELECT to_regclass('_migration.chunk') IS NOT NULL", &[]).await?.get(0);
        if !known {
            return Ok(None);
        }
        let copied = "SELECT 1 FROM _migration.chunk WHERE name = 'a_children'";
        Ok(target.query_opt(copied, &[]).await?.map(|_| ()))
    })
    .await?;
    let mut source = scene.source().await?;
    source.query_drop("DELETE FROM a_parents WHERE id = 2").await?;
    source.disconnect().await?;
    running.finish().await?.succeeded()?;
    scene.run().succeed().await?;
    scene.require_equal().await
}
