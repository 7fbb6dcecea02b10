//! Beyond the copy every change must find the rows as the source had them: whoever else writes to the target is noticed.

use anyhow::{Context as _, Result, ensure};
use e2e::MysqlScene;
use test_kit::Server;

/// After `foreign` was done to the target, the source's `change` stops the task with `words`; once `undone`, it goes on.
async fn diverges(
    scene: &MysqlScene<'_>,
    foreign: &str,
    change: &str,
    words: &[&str],
    undone: &str,
) -> Result<()> {
    scene.execute_on_target([foreign]).await?;
    scene.execute([change]).await?;
    let error = scene.run().fail().await.with_context(|| format!("after {foreign}, {change}"))?;
    for word in words.iter().chain(&["position"]) {
        ensure!(error.contains(word), "after {foreign}, {change}: no '{word}' in {error}");
    }
    scene.execute_on_target([undone]).await?;
    scene.run().succeed().await?;
    scene.require_equal().await
}

async fn foreign_writes_are_noticed(source: &Server, target: &Server, test: &str) -> Result<()> {
    let scene = MysqlScene::new(source, target, test).await?;
    scene
        .execute([
            "CREATE TABLE t (id INT PRIMARY KEY, code INT UNIQUE, v VARCHAR(20))",
            "CREATE TABLE keyless (v VARCHAR(20))",
            "INSERT INTO t VALUES (1, 10, 'a'), (2, 20, 'b'), (3, 30, 'c')",
            "INSERT INTO keyless VALUES ('a'), ('b')",
        ])
        .await?;
    scene.run().succeed().await?;
    let table = format!("{}.t", scene.target_name());
    let gone = "the target does not have a row that the source changed";
    let taken = "the target has a row in the place of one that the source wrote";
    diverges(
        &scene,
        "DELETE FROM t WHERE id = 2",
        "UPDATE t SET v = 'changed'",
        &[gone, &table, "id=2"],
        "INSERT INTO t VALUES (2, 20, 'b')",
    )
    .await?;
    diverges(
        &scene,
        "DELETE FROM t WHERE id = 1",
        "DELETE FROM t WHERE id = 1",
        &[gone, &table, "id=1"],
        "INSERT INTO t VALUES (1, 10, 'a')",
    )
    .await?;
    diverges(
        &scene,
        "INSERT INTO t VALUES (7, 70, 'foreign')",
        "INSERT INTO t VALUES (6, 60, 'own'), (7, 77, 'own')",
        &[taken, &table, "id=7"],
        "DELETE FROM t WHERE id = 7",
    )
    .await?;
    // Never by the way of another unique key.
    diverges(
        &scene,
        "INSERT INTO t VALUES (8, 90, 'foreign')",
        "INSERT INTO t VALUES (9, 90, 'own')",
        &[taken, &table, "id=9"],
        "DELETE FROM t WHERE id = 8",
    )
    .await?;
    // Equal by the collation is not equal.
    diverges(
        &scene,
        "UPDATE keyless SET v = 'B' WHERE v = 'b'",
        "DELETE FROM keyless WHERE v = 'b'",
        &[gone, "keyless", "v='b'"],
        "UPDATE keyless SET v = 'b' WHERE v = 'b'",
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_writes_to_a_mysql_stop_the_task_at_the_row() -> Result<()> {
    foreign_writes_are_noticed(test_kit::mysql()?, test_kit::mysql()?, "to_mysql_strict").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_writes_to_a_mariadb_stop_the_task_at_the_row() -> Result<()> {
    foreign_writes_are_noticed(test_kit::mysql()?, test_kit::mariadb()?, "to_mariadb_strict").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_somebody_else_made_is_not_touched() -> Result<()> {
    let server = test_kit::mysql()?;
    let scene = MysqlScene::new(server, server, "to_mysql_foreign_table").await?;
    scene.execute(["CREATE TABLE t (id INT PRIMARY KEY)", "INSERT INTO t VALUES (1)"]).await?;
    let target = scene.target_name();
    scene
        .execute([
            format!("CREATE DATABASE {target}"),
            format!("CREATE TABLE {target}.t (id INT PRIMARY KEY)"),
            format!("INSERT INTO {target}.t VALUES (5)"),
        ])
        .await?;
    let error = scene.run().fail().await?;
    ensure!(error.contains("did not create") && error.contains(&format!("{target}.t")), "{error}");
    scene.execute_on_target(["DROP TABLE t"]).await?;
    scene.run().succeed().await?;
    scene.require_equal().await
}
