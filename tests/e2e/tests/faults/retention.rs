//! A target that is behind for almost as long as the source keeps its log.

use anyhow::{Context as _, Result, ensure};
use e2e::{Run, Scene};
use serde_json::Value;
use test_kit::{Builder, Product};

/// The warning comes while there is time, and the status says for how long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_source_is_about_to_purge_is_warned_of() -> Result<()> {
    let server = Builder::new(Product::MySql).start()?;
    let scene = Scene::new(&server, test_kit::postgres()?, "retention").await?;
    scene
        .execute(["CREATE TABLE t (id INT PRIMARY KEY)", "SET GLOBAL binlog_expire_logs_seconds = 80"])
        .await?;
    let mut running = scene.follow().argument("--accept-warnings").start()?;
    running.phase("streaming").await?;
    let holder = scene.target().await?;
    holder.batch_execute(&format!("BEGIN; LOCK TABLE {}.t IN SHARE MODE", scene.name())).await?;
    scene.execute(["INSERT INTO t VALUES (1)"]).await?;
    let is_warning =
        |event: &Value| event["event"] == "finding" && event["subject"] == "source log retention";
    let warning = running.event(is_warning).await?;
    ensure!(
        warning["severity"] == "warning" && warning["fix"].as_str().is_some_and(|fix| fix.contains("= 320")),
        "{warning}"
    );
    let state = scene.state_directory().display().to_string();
    let status = Run::plain(scene.directory()).arguments(["status", "task", "--state-dir", &state]);
    let said = status.succeed().await?.stdout;
    ensure!(said.contains("the source keeps what comes next for another"), "{said}");
    holder.batch_execute("ROLLBACK").await?;
    scene.execute(["INSERT INTO t VALUES (2)"]).await?;
    running.interrupt().await?;
    running.finish().await?.failed(130)?;
    scene.run().succeed().await?;
    scene.require_equal().await.context("after the warning")
}
