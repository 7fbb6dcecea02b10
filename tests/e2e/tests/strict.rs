//! Beyond the copy every change must find the rows as the source had them: whoever else writes to the target is noticed.

use anyhow::{Context, Result, ensure};
use e2e::Scene;

/// Tables with and without a second unique key, copied.
async fn copied(test: &str) -> Result<Scene<'static>> {
    let scene = Scene::mysql(test).await?;
    scene
        .execute([
            "CREATE TABLE t (id INT PRIMARY KEY, code INT UNIQUE, v VARCHAR(20))",
            "CREATE TABLE keyless (v VARCHAR(20))",
            "INSERT INTO t VALUES (1, 10, 'a'), (2, 20, 'b'), (3, 30, 'c')",
            "INSERT INTO keyless VALUES ('a'), ('b')",
        ])
        .await?;
    scene.run().succeed().await?;
    Ok(scene)
}

/// After `foreign` was done to the target, the source's `change` stops the task with `words`; once `undone`, it goes on.
async fn diverges(
    scene: &Scene<'_>,
    foreign: &str,
    change: &str,
    words: &[&str],
    undone: &str,
) -> Result<()> {
    let target = scene.target().await?;
    target.batch_execute(&format!("SET search_path = {}", scene.name())).await?;
    target.batch_execute(foreign).await.context(foreign.to_owned())?;
    scene.execute([change]).await?;
    let error = scene.run().fail().await.with_context(|| format!("after {foreign}, {change}"))?;
    for word in words.iter().chain(&["position"]) {
        ensure!(error.contains(word), "after {foreign}, {change}: no '{word}' in {error}");
    }
    target.batch_execute(undone).await.context(undone.to_owned())?;
    scene.run().succeed().await?;
    scene.require_equal().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_writes_to_the_target_stop_the_task_at_the_row() -> Result<()> {
    let scene = copied("strict").await?;
    let table = format!("{}.t", scene.name());
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
    diverges(
        &scene,
        "INSERT INTO t VALUES (8, 90, 'foreign')",
        "INSERT INTO t VALUES (9, 90, 'own')",
        &[taken, &table, "id=9"],
        "DELETE FROM t WHERE id = 8",
    )
    .await?;
    diverges(
        &scene,
        "DELETE FROM keyless WHERE v = 'b'",
        "UPDATE keyless SET v = 'B' WHERE v = 'b'",
        &[gone, "keyless", "v='b'"],
        "INSERT INTO keyless VALUES ('b')",
    )
    .await
}
