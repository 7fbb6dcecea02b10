//! Locks in the target that hold the engine at a chosen place.

use anyhow::Result;
use e2e::{Scene, eventually};
use tokio_postgres::Client;

/// Makes the target know a task, so that its records can be locked before the engine under test begins.
pub(crate) async fn another_task(scene: &Scene<'_>) -> Result<()> {
    let state = scene.directory().join("other").display().to_string();
    let elsewhere = serde_json::json!({"mysql2og": {"schemas": {scene.name(): "other"}}});
    scene.run().replace("--name", "other").replace("--state-dir", state).config(elsewhere).succeed().await?;
    Ok(())
}

/// A lock in the target that keeps chunks from being recorded, and so the copy from getting on.
pub(crate) async fn hold_chunks(scene: &Scene<'_>) -> Result<Client> {
    let holder = scene.target().await?;
    holder.batch_execute("BEGIN; LOCK TABLE _migration.chunk IN SHARE MODE").await?;
    Ok(holder)
}

/// Waits until the engine is held by the lock.
pub(crate) async fn held(scene: &Scene<'_>) -> Result<()> {
    let target = scene.target().await?;
    eventually("a chunk that waits for the lock", async || {
        let waiting = target
            .query_one(
                "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = '_migration.chunk'::regclass",
                &[],
            )
            .await?;
        Ok((waiting.get::<_, i64>(0) > 0).then_some(()))
    })
    .await
}

/// Waits until so many statements in the target wait for a lock; answers one of them.
pub(crate) async fn waiting_statements(target: &Client, number: usize) -> Result<String> {
    eventually("statements that wait for the lock", async || {
        let waiting = target
            .query(
                // What a statement says it waits for lags behind; who blocks it doesn't.
                "SELECT query FROM pg_stat_activity WHERE datname = current_database() \
                 AND cardinality(pg_blocking_pids(pid)) > 0",
                &[],
            )
            .await?;
        Ok(if waiting.len() < number { None } else { waiting.first().map(|row| row.get(0)) })
    })
    .await
}
