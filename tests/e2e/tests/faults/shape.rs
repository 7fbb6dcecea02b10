//! A target whose tables somebody alters, and a source's table that comes back as another one while it is copied.

use anyhow::{Context as _, Result, ensure};
use e2e::{MysqlScene, Scene};

use crate::locks::{another_task, waiting_statements};

const TABLE: &str = "CREATE TABLE t (id INT PRIMARY KEY, n INT NOT NULL, v VARCHAR(10))";
const ROWS: &str = "INSERT INTO t VALUES (1, 1, 'a'), (2, 2, 'b')";

/// What somebody does to the target's table, how it is undone, and the column that the error must name.
const ALTERED: [(&str, &str, &str); 3] = [
    ("ALTER TABLE t RENAME COLUMN v TO w", "ALTER TABLE t RENAME COLUMN w TO v", "v"),
    ("ALTER TABLE t RENAME COLUMN id TO number", "ALTER TABLE t RENAME COLUMN number TO id", "id"),
    ("ALTER TABLE t ADD COLUMN must INT NOT NULL", "ALTER TABLE t DROP COLUMN must", "must"),
];

/// Rows that come, change and go, of numbers that no other call uses.
fn changes(round: usize) -> [String; 3] {
    let new = 10 + round;
    [
        format!("INSERT INTO t VALUES ({new}, {new}, 'new')"),
        format!("UPDATE t SET v = '{round}' WHERE id = 1"),
        "DELETE FROM t WHERE id > 10 AND id % 5 = 0".to_owned(),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_column_that_is_missing_or_more_on_postgres_stops_the_task() -> Result<()> {
    let scene = Scene::mysql("shape_postgres").await?;
    scene.execute([TABLE, ROWS]).await?;
    scene.run().succeed().await?;
    let target = scene.target().await?;
    target.batch_execute(&format!("SET search_path = {}", scene.name())).await?;
    for (round, (altered, undone, column)) in ALTERED.iter().enumerate() {
        // A row that is there can't get a column without a value by one statement.
        let altered =
            altered.replace("must INT NOT NULL", "must INT NOT NULL DEFAULT 0, ALTER must DROP DEFAULT");
        let altered = altered.replace("DEFAULT 0, ALTER", "DEFAULT 0; ALTER TABLE t ALTER");
        target.batch_execute(&altered).await.context(altered.clone())?;
        scene.execute(changes(round)).await?;
        for _ in 0..2 {
            let error = scene.run().fail().await.with_context(|| altered.clone())?;
            for word in [column, "position"] {
                ensure!(error.contains(word), "after {altered}: no '{word}' in {error}");
            }
        }
        target.batch_execute(undone).await?;
        scene.run().succeed().await?;
        scene.require_equal().await?;
    }
    // One that does without a value is in nobody's way.
    target.batch_execute("ALTER TABLE t ADD COLUMN own INT").await?;
    scene.execute(changes(7)).await?;
    scene.run().succeed().await?;
    target.batch_execute("ALTER TABLE t DROP COLUMN own").await?;
    scene.require_equal().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_column_that_is_missing_or_more_on_mysql_stops_the_task() -> Result<()> {
    for (server, test) in [(test_kit::mysql()?, "shape_mysql"), (test_kit::mariadb()?, "shape_mariadb")] {
        let scene = MysqlScene::new(server, server, test).await?;
        scene.execute([TABLE, ROWS]).await?;
        scene.run().succeed().await?;
        for (round, (altered, undone, column)) in ALTERED.iter().enumerate() {
            scene.execute_on_target([altered]).await?;
            scene.execute(changes(round)).await?;
            for _ in 0..2 {
                let error = scene.run().fail().await.with_context(|| (*altered).to_owned())?;
                for word in [column, "position"] {
                    ensure!(error.contains(word), "after {altered}: no '{word}' in {error}");
                }
            }
            scene.execute_on_target([undone]).await?;
            scene.run().succeed().await?;
            scene.require_equal().await?;
        }
        scene.execute_on_target(["ALTER TABLE t ADD COLUMN own INT"]).await?;
        scene.execute(changes(7)).await?;
        scene.run().succeed().await?;
        scene.execute_on_target(["ALTER TABLE t DROP COLUMN own"]).await?;
        scene.require_equal().await?;
    }
    Ok(())
}

/// The plan knows the first table, the copy meets the second: with one more column, with one less, and with another
/// type under the same name.
#[tokio::test]
async fn a_table_that_comes_back_as_another_while_it_is_copied_stops_the_task() -> Result<()> {
    for (number, shape) in [
        "CREATE TABLE t (id INT PRIMARY KEY, n INT NOT NULL, v VARCHAR(10), more INT)",
        "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(10))",
        "CREATE TABLE t (id INT PRIMARY KEY, n VARCHAR(20) NOT NULL, v VARCHAR(10))",
    ]
    .into_iter()
    .enumerate()
    {
        let scene = Scene::mysql(&format!("shape_copy_{number}")).await?;
        scene.execute([TABLE, ROWS]).await?;
        another_task(&scene).await?;
        let holder = scene.target().await?;
        holder.batch_execute("BEGIN; LOCK TABLE _migration.owned_table IN SHARE MODE").await?;
        let running = scene.run().start()?;
        waiting_statements(&scene.target().await?, 1).await?;
        scene.execute(["DROP TABLE t", shape, "INSERT INTO t (id, v) VALUES (7, 'x')"]).await.ok();
        scene
            .execute([if number == 1 { "DO 0" } else { "INSERT INTO t (id, n, v) VALUES (8, '9', 'y')" }])
            .await?;
        holder.batch_execute("ROLLBACK").await?;
        let error = running.finish().await?.failed(1)?;
        let table = format!("{}.t", scene.name());
        ensure!(error.contains(&table), "{shape}: no '{table}' in {error}");
        // It does not go on as if nothing had been, either.
        let error = scene.run().fail().await?;
        ensure!(error.contains(&table), "{shape}: no '{table}' in {error}");
        scene.target().await?.batch_execute(&format!("DROP SCHEMA {} CASCADE", scene.name())).await?;
        scene.run().replace("--name", "anew").succeed().await?;
        scene.require_equal().await?;
    }
    Ok(())
}
