//! What can't be gone back from, or not any more: one clear error each.

use anyhow::{Result, ensure};
use e2e::Scene;
use mysql_async::prelude::Queryable as _;

use super::{ROWS, TABLES, caught_up, forward, give_up, moved_over, of_task, write};
use crate::refused::refused;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_was_not_cut_over_so() -> Result<()> {
    let scene = Scene::mysql("reverse_refused").await?;
    scene.execute(TABLES).await?;
    scene.execute(ROWS).await?;
    forward(&scene).succeed().await?;
    refused(caught_up(&scene), 1, &["was not cut over", "--way-back"]).await?;
    of_task(&scene, "cutover").arguments(["--json", "--yes"]).succeed().await?;
    refused(caught_up(&scene), 1, &["cut over without a way back"]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_gone() -> Result<()> {
    let scene = Scene::mysql("reverse_gone").await?;
    moved_over(&scene).await?;
    caught_up(&scene).succeed().await?;
    give_up(&scene).await?;
    refused(caught_up(&scene), 1, &["can't be followed any more", "another --name"]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publication_that_lacks_a_table() -> Result<()> {
    let scene = Scene::mysql("reverse_published").await?;
    moved_over(&scene).await?;
    caught_up(&scene).succeed().await?;
    let publication = scene.value("SELECT pubname::text FROM pg_publication").await?;
    write(&scene, [format!("ALTER PUBLICATION {publication} DROP TABLE log")]).await?;
    refused(caught_up(&scene), 1, &["not published any more", "log", &publication]).await?;
    give_up(&scene).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_structure_that_the_old_database_can_not_have() -> Result<()> {
    let scene = Scene::mysql("reverse_structure").await?;
    moved_over(&scene).await?;
    caught_up(&scene).succeed().await?;
    write(
        &scene,
        [
            "INSERT INTO log VALUES (1, 'before')",
            "ALTER TABLE log DROP what",
            "INSERT INTO log VALUES (2)",
            "INSERT INTO log VALUES (3)",
        ],
    )
    .await?;
    refused(caught_up(&scene), 1, &["can't be followed on the way back", "log", "what"]).await?;
    // All that was before it has arrived, and nothing else.
    let mut source = scene.source().await?;
    let at: Vec<Option<i32>> = source.query("SELECT at FROM log ORDER BY at").await?;
    ensure!(at == [None, Some(1), Some(1), Some(1)], "{at:?}");
    source.disconnect().await?;
    give_up(&scene).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_whose_old_values_are_not_logged() -> Result<()> {
    let scene = Scene::mysql("reverse_identity").await?;
    moved_over(&scene).await?;
    caught_up(&scene).succeed().await?;
    write(&scene, ["ALTER TABLE orders REPLICA IDENTITY DEFAULT", "UPDATE orders SET total = 3"]).await?;
    refused(caught_up(&scene), 1, &["REPLICA IDENTITY FULL", "orders"]).await?;
    give_up(&scene).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_the_old_database_can_not_have() -> Result<()> {
    let scene = Scene::mysql("reverse_value").await?;
    moved_over(&scene).await?;
    write(&scene, ["UPDATE customers SET mood = 'worse' WHERE id = 1"]).await?;
    refused(caught_up(&scene), 1, &["customers", "mood", "worse"]).await?;
    write(&scene, ["UPDATE customers SET mood = 'bad' WHERE id = 1"]).await?;
    give_up(&scene).await
}
