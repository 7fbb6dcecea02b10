//! Stopped by a signal: cleanly the first time, at once the second, and the same command goes on.

use std::process::Stdio;

use anyhow::{Result, ensure};
use e2e::{Run, Scene, engine, eventually};
use serde_json::Value;
use tokio::process::Command;

use crate::locks::{another_task, held, hold_chunks};

const FILLED: [&str; 2] = [
    "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(20))",
    "INSERT INTO t (v) VALUES ('a'), ('b'), ('c')",
];

async fn signal(process: u32, name: &str) -> Result<()> {
    let status = Command::new("kill").arg(format!("-{name}")).arg(process.to_string()).status().await?;
    ensure!(status.success(), "kill -{name}: {status}");
    Ok(())
}

/// What `engine status --json` says of the task.
async fn status(scene: &Scene<'_>) -> Result<Value> {
    let state = scene.state_directory();
    let output = Command::new(engine()?)
        .args(["status", "task", "--json", "--state-dir"])
        .arg(state)
        .stdin(Stdio::null())
        .output()
        .await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// `engine run` with lines for people.
fn for_people(scene: &Scene<'_>) -> Result<Run> {
    let plugin = e2e::guest("mysql2og")?.display().to_string();
    Ok(Run::plain(scene.directory())
        .arguments([
            "run",
            "--name",
            "task",
            "--source",
            &scene.source_url(),
            "--target",
            &scene.target_url(),
        ])
        .arguments(["--state-dir", &scene.state_directory().display().to_string(), "--plugin", &plugin]))
}

#[tokio::test]
async fn the_first_signal_stops_the_copy_and_says_how_to_go_on() -> Result<()> {
    for name in ["INT", "TERM"] {
        let scene = Scene::mysql(&format!("interrupted_{}", name.to_lowercase())).await?;
        scene.execute(FILLED).await?;
        another_task(&scene).await?;
        scene.execute(["CREATE TABLE u SELECT * FROM t"]).await?;
        let holder = hold_chunks(&scene).await?;
        let running = for_people(&scene)?.start()?;
        held(&scene).await?;
        signal(running.id()?, name).await?;
        holder.batch_execute("ROLLBACK").await?;
        let outcome = running.finish().await?;
        ensure!(outcome.status.code() == Some(130), "{}\n{}", outcome.status, outcome.stderr);
        ensure!(outcome.stderr.contains("run the same command to go on"), "{}", outcome.stderr);
        ensure!(!outcome.stderr.contains("error:"), "stopping is no error: {}", outcome.stderr);
        scene.run().succeed().await?;
        scene.require_equal().await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_second_signal_aborts_at_once() -> Result<()> {
    let scene = Scene::mysql("aborted").await?;
    scene.execute(FILLED).await?;
    another_task(&scene).await?;
    let holder = hold_chunks(&scene).await?;
    let running = scene.run().start()?;
    held(&scene).await?;
    // The copy waits for the lock and can't end its chunk.
    running.interrupt().await?;
    held(&scene).await?;
    running.interrupt().await?;
    let outcome = running.finish().await?;
    ensure!(outcome.status.code() == Some(130), "{}", outcome.status);
    holder.batch_execute("ROLLBACK").await?;
    let rows = format!("SELECT count(*)::text FROM {}.t", scene.name());
    assert_eq!(scene.value(&rows).await?, "0");
    scene.run().succeed().await?;
    scene.require_equal().await
}

#[tokio::test]
async fn it_follows_until_stopped_and_goes_on_later() -> Result<()> {
    let scene = Scene::mysql("following").await?;
    scene.execute(FILLED).await?;
    let rows = format!("SELECT count(*)::text FROM {}.t", scene.name());
    for (name, expected) in [("INT", "6"), ("TERM", "9")] {
        let mut running = scene.follow().start()?;
        running.phase("streaming").await?;
        scene.execute([FILLED[1]]).await?;
        eventually("rows written while following", async || {
            Ok((scene.value(&rows).await? == expected).then_some(()))
        })
        .await?;
        let process = running.id()?;
        eventually("a status that says it follows", async || {
            let status = status(&scene).await?;
            Ok((status["pid"] == process && status["phase"] == "streaming").then_some(()))
        })
        .await?;
        signal(process, name).await?;
        let error: Value = serde_json::from_str(&running.finish().await?.failed(130)?)?;
        assert_eq!(error["kind"], "interrupted");
        let status = status(&scene).await?;
        ensure!(status["pid"].is_null() && status["error"].is_null(), "after the end: {status}");
        // Written while nobody follows.
        scene.execute(["UPDATE t SET v = CONCAT(v, '+')"]).await?;
    }
    let outcome = scene.run().succeed().await?;
    assert_eq!(outcome.last("done")?["exit_code"], 0);
    assert_eq!(status(&scene).await?["phase"], "done");
    scene.require_equal().await
}
