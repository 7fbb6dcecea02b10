//! Tables that change while they are followed: the log shows it by their next rows alone.

use anyhow::{Context as _, Result, ensure};
use e2e::{Scene, eventually};
use mysql_async::prelude::Queryable as _;

use super::follow;
use crate::refused::refused;

async fn fill(scene: &Scene<'_>) -> Result<()> {
    write(
        scene,
        [
            format!("CREATE SCHEMA {}", scene.name()),
            "CREATE TABLE t (id integer PRIMARY KEY, a varchar(20), b integer)".to_owned(),
            "CREATE TABLE u (id integer PRIMARY KEY, note text)".to_owned(),
            "ALTER TABLE t REPLICA IDENTITY FULL".to_owned(),
            "ALTER TABLE u REPLICA IDENTITY FULL".to_owned(),
            "INSERT INTO t SELECT g, 'a' || g, g FROM generate_series(1, 20) g".to_owned(),
        ],
    )
    .await
}

async fn write<S: AsRef<str>>(scene: &Scene<'_>, statements: impl IntoIterator<Item = S>) -> Result<()> {
    let source = scene.target().await?;
    for statement in statements {
        let statement = format!("SET search_path = {}; {}", scene.name(), statement.as_ref());
        source.batch_execute(&statement).await.with_context(|| statement.clone())?;
    }
    Ok(())
}

/// Waits until a row has arrived.
async fn arrives(scene: &Scene<'_>, id: i32) -> Result<()> {
    let mut target = scene.source().await?;
    eventually(&format!("the row {id}"), async || {
        Ok(target.query_first::<i32, _>(format!("SELECT id FROM t WHERE id = {id}")).await?.map(drop))
    })
    .await?;
    Ok(target.disconnect().await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn is_carried_over() -> Result<()> {
    let scene = Scene::mysql("from_postgres_altered").await?;
    fill(&scene).await?;
    let mut running = follow(&scene).argument("--accept-warnings").start()?;
    running.phase("streaming").await?;
    for (number, statement) in [
        "ALTER TABLE t ADD c integer NOT NULL DEFAULT 7; INSERT INTO t VALUES ({}, 'c', 1, 8)",
        "ALTER TABLE t ADD d text; UPDATE t SET d = 'x' WHERE id = 1; INSERT INTO t (id) VALUES ({})",
        "ALTER TABLE t RENAME a TO called; INSERT INTO t (id, called) VALUES ({}, 'r')",
        "ALTER TABLE t DROP b; DELETE FROM t WHERE id = 2; INSERT INTO t (id) VALUES ({})",
        // Behind rows of another table, and behind rows that are gone.
        "BEGIN; INSERT INTO u VALUES ({}, 'before'); ALTER TABLE t ADD e date DEFAULT '2020-02-02', DROP d; \
         UPDATE u SET note = 'after'; INSERT INTO t (id) VALUES ({}); COMMIT",
        "BEGIN; INSERT INTO u VALUES ({}, 'goes'); TRUNCATE u; ALTER TABLE t ADD f boolean; \
         INSERT INTO u VALUES (-{}, 'stays'); INSERT INTO t (id, f) VALUES ({}, true); COMMIT",
        // Many at once: columns that swap their names, and one that takes the place of another.
        "ALTER TABLE t ADD g integer DEFAULT 1; ALTER TABLE t ADD h integer DEFAULT 2; ALTER TABLE t RENAME g TO i; \
         ALTER TABLE t RENAME h TO g; ALTER TABLE t RENAME i TO h; INSERT INTO t (id) VALUES ({})",
    ]
    .into_iter()
    .enumerate()
    {
        let id = 100 + number as i32;
        write(&scene, [statement.replace("{}", &id.to_string())]).await?;
        arrives(&scene, id).await.with_context(|| statement.to_owned())?;
    }
    // What nobody looked at meanwhile is carried over by the next run.
    running.kill().await?;
    write(
        &scene,
        [
            "ALTER TABLE t ADD k numeric(8,2) DEFAULT 1.50",
            "INSERT INTO t (id) VALUES (200)",
            "DELETE FROM t WHERE id = 3",
        ],
    )
    .await?;
    follow(&scene).arguments(["--until", "caught-up"]).succeed().await?;
    scene.require_equal().await?;
    let mut target = scene.source().await?;
    let columns: Vec<String> = target
        .query(format!(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = '{}' AND table_name = 't' ORDER BY 1",
            scene.name()
        ))
        .await?;
    ensure!(columns == ["c", "called", "e", "f", "g", "h", "id", "k"], "{columns:?}");
    Ok(target.disconnect().await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_can_not_be_told_stops_the_task_until_it_was_done_by_hand() -> Result<()> {
    let scene = Scene::mysql("from_postgres_retyped").await?;
    fill(&scene).await?;
    let caught_up = || follow(&scene).arguments(["--until", "caught-up"]);
    caught_up().argument("--accept-warnings").succeed().await?;
    write(
        &scene,
        [
            "INSERT INTO t VALUES (300, 'before', 3)",
            "ALTER TABLE t ALTER b TYPE bigint USING b * 10",
            "INSERT INTO t VALUES (301, 'after', 4000000000)",
        ],
    )
    .await?;
    refused(caught_up(), 1, &["its type was changed", "column", "t"]).await?;
    let error = caught_up().fail().await?;
    let (_, rest) = error.split_once("--structure-by-hand ").with_context(|| error.clone())?;
    let token: String = rest.chars().take_while(char::is_ascii_hexdigit).collect();
    let mut target = scene.source().await?;
    for statement in ["ALTER TABLE t MODIFY b BIGINT", "UPDATE t SET b = b * 10"] {
        target.query_drop(statement).await.with_context(|| statement.to_owned())?;
    }
    target.disconnect().await?;
    caught_up().arguments(["--structure-by-hand", &token]).succeed().await?;
    scene.require_equal().await?;
    // What each row was given for itself is in no log.
    write(&scene, ["ALTER TABLE t ADD r uuid DEFAULT gen_random_uuid()", "INSERT INTO t (id) VALUES (302)"])
        .await?;
    refused(caught_up(), 1, &["in the rows that were there can't be told", "--structure-by-hand"]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_the_midst_of_a_transactions_rows_stops_the_task_before_them() -> Result<()> {
    let scene = Scene::mysql("from_postgres_midst").await?;
    fill(&scene).await?;
    let caught_up = || follow(&scene).arguments(["--until", "caught-up"]);
    caught_up().argument("--accept-warnings").succeed().await?;
    write(
        &scene,
        [
            "INSERT INTO t VALUES (399, 'before', 1)",
            "BEGIN; INSERT INTO t VALUES (400, 'x', 1); ALTER TABLE t ADD c integer; INSERT INTO t VALUES (401, 'y', 2, 3); COMMIT",
        ],
    )
    .await?;
    for _ in 0..2 {
        refused(caught_up(), 1, &["in the midst of its rows", "begin a new task", ".t"]).await?;
    }
    let mut target = scene.source().await?;
    let ids: Vec<i32> = target.query("SELECT id FROM t WHERE id >= 399").await?;
    ensure!(ids == [399], "{ids:?}");
    Ok(target.disconnect().await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_which_a_table_is_new_is_noticed_while_following() -> Result<()> {
    let scene = Scene::mysql("from_postgres_new_table").await?;
    fill(&scene).await?;
    for statements in [
        ["CREATE TABLE v (id integer PRIMARY KEY)", "DROP TABLE v"],
        ["ALTER TABLE u RENAME TO w", "ALTER TABLE w RENAME TO u"],
    ] {
        let [change, undone] = statements;
        let mut running = follow(&scene).argument("--accept-warnings").start()?;
        running.phase("streaming").await?;
        write(&scene, [change]).await?;
        let error = running.finish().await?.failed(1)?;
        ensure!(error.contains("came into being") || error.contains("not published any more"), "{error}");
        write(&scene, [undone, "DELETE FROM t WHERE id = (SELECT min(id) FROM t)"]).await?;
        follow(&scene).arguments(["--until", "caught-up"]).succeed().await?;
        scene.require_equal().await?;
    }
    Ok(())
}
