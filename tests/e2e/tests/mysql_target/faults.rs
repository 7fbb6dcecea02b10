//! What can happen to the target and the way to it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::{MysqlScene, Run, Writers};
use mysql_async::prelude::Queryable as _;
use serde_json::json;
use test_kit::{Builder, Product, Proxy};

use super::{fill, transaction};

/// Commits whose answer is lost among them: the target is asked what became of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_is_cut_again_and_again_changes_nothing() -> Result<()> {
    let (source, target) = (test_kit::mysql()?, test_kit::mariadb()?);
    let scene = MysqlScene::new(source, target, "to_mysql_cut").await?;
    fill(&scene).await?;
    let proxy = Proxy::to(target)?;
    let through = proxy.url(&scene.target_url())?;
    let writers = Writers::start(&scene.source_url(), 3, Duration::from_millis(1), transaction);
    let mut running = scene.follow().replace("--target", through.as_str()).start()?;
    running.phase("streaming").await?;
    for _ in 0..15 {
        writers.commit_more(30).await?;
        proxy.cut();
    }
    writers.stop().await?;
    running.interrupt().await?;
    running.finish().await?;
    scene.run().succeed().await?;
    scene.require_equal().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_crashes_gets_all_that_it_forgot() -> Result<()> {
    let target = Builder::new(Product::MySql).start()?;
    let scene = MysqlScene::new(test_kit::mysql()?, &target, "to_mysql_crash").await?;
    fill(&scene).await?;
    let writers = Writers::start(&scene.source_url(), 2, Duration::from_millis(2), transaction);
    let mut running = scene.follow().start()?;
    running.phase("streaming").await?;
    for _ in 0..2 {
        writers.commit_more(50).await?;
        target.kill()?;
        writers.commit_more(20).await?;
        target.start()?;
        writers.commit_more(20).await?;
    }
    writers.stop().await?;
    running.interrupt().await?;
    running.finish().await?;
    scene.run().succeed().await?;
    scene.require_equal().await
}

#[tokio::test]
async fn rows_that_the_target_refuses_are_set_aside() -> Result<()> {
    let server = test_kit::mysql()?;
    let scene = MysqlScene::new(server, server, "to_mysql_aside").await?;
    scene
        .execute([
            "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20), n BIGINT)",
            "INSERT INTO t VALUES (1, 'short', 1), (2, 'much too long', 2), (3, 'fine', 5000000000), (4, 'four', 4)",
        ])
        .await?;
    let columns = json!({"v": {"type": "varchar(5)"}, "n": {"type": "int"}});
    let table = format!("{}.t", scene.name());
    let config =
        json!({"mysql2mysql": {"on_row_error": "dead-letter", "tables": {table: {"columns": columns}}}});
    let error = scene
        .run()
        .config(json!({"mysql2mysql": {"tables": {format!("{}.t", scene.name()):
        {"columns": {"v": {"type": "varchar(5)"}}}}}}))
        .fail()
        .await?;
    ensure!(error.contains("id=2") && error.contains("longer than the type"), "{error}");
    scene.execute_on_target(["DROP TABLE t"]).await?;

    let name = format!("{}_aside", scene.name());
    let run = || scene.run().replace("--name", name.as_str()).config(config.clone());
    run().succeed().await?;
    scene
        .execute([
            "UPDATE t SET v = 'this is too long too' WHERE id = 4",
            "UPDATE t SET v = 'now' WHERE id = 2",
            "INSERT INTO t VALUES (5, 'five', -5000000000), (6, 'six', 6)",
        ])
        .await?;
    run().succeed().await?;
    let mut conn = scene.target().await?;
    let rows: Vec<(u32, String)> = conn.query("SELECT id, v FROM t ORDER BY id").await?;
    let rows: Vec<(u32, &str)> = rows.iter().map(|(id, v)| (*id, v.as_str())).collect();
    ensure!(rows == [(1, "short"), (2, "now"), (6, "six")], "{rows:?}");

    // The target remembers them without the file.
    let list = || {
        let state = scene.state_directory().display().to_string();
        Run::plain(scene.directory()).arguments(["dead-letter", "list", &name, "--state-dir", &state])
    };
    let count = list().succeed().await?.stdout.lines().count();
    std::fs::remove_dir_all(scene.state_directory())?;
    let error = run().arguments(["--dead-letter-limit", "1"]).succeed().await.map(drop);
    ensure!(error.is_ok(), "a limit is for further rows: {error:?}");
    let listed = list().succeed().await?.stdout;
    ensure!(listed.lines().count() == count && listed.contains("id=5"), "{listed}");
    Ok(())
}

/// Two lanes that lock each other's places in a unique index give way to each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_that_meet_in_a_unique_index_go_on() -> Result<()> {
    let server = test_kit::mysql()?;
    let scene = MysqlScene::new(server, server, "to_mysql_lanes").await?;
    scene
        .execute([
            "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, a INT UNIQUE, b INT UNIQUE)",
            "INSERT INTO t (a, b) SELECT 2 * i, -2 * i FROM \
             (WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100) SELECT i FROM n) s",
        ])
        .await?;
    scene.run().succeed().await?;
    let writers = Writers::start(&scene.source_url(), 6, Duration::ZERO, |numbers| {
        let (one, other) = (1 + numbers.below(100), numbers.below(1_000_000));
        match numbers.below(3) {
            0 => vec![format!("DELETE FROM t WHERE id = {one}")],
            1 => vec![format!(
                "INSERT INTO t (id, a, b) VALUES ({one}, {}, {})",
                other % 300,
                -(i64::from(other as i32) % 300)
            )],
            _ => vec![format!("UPDATE t SET a = {}, b = {} WHERE id = {one}", other % 300, other % 400)],
        }
    });
    let mut running = scene.follow().argument("--parallelism").argument("8").start()?;
    running.phase("streaming").await?;
    writers.commit_more(2000).await?;
    writers.stop().await?;
    running.interrupt().await?;
    running.finish().await?.failed(130).context("it followed to the end")?;
    scene.run().succeed().await?;
    scene.require_equal().await
}
