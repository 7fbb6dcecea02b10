//! Writers on the target that never stop, and engines that are killed.

use anyhow::{Result, ensure};
use e2e::Scene;

use super::{caught_up, give_up, moved_over, reverse};
use crate::applications::Applications;

/// Kills of the engine.
const KILLS: u64 = 6;
/// Transactions between two of them.
const BETWEEN: u64 = 150;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_by_kills() -> Result<()> {
    let scene = Scene::mysql("reverse_kills").await?;
    moved_over(&scene).await?;
    let applications = Applications::start(&scene, 3);
    for round in 0..KILLS {
        let mut running = reverse(&scene).start()?;
        if round % 2 == 1 {
            running.phase("streaming").await?;
        }
        applications.commit_more(BETWEEN).await?;
        running.kill().await?;
    }
    // A check beside writers and a running engine sees no difference.
    let mut running = reverse(&scene).argument("--check-changes").start()?;
    running.phase("streaming").await?;
    applications.commit_more(BETWEEN).await?;
    super::of_task(&scene, "verify").arguments(["--way-back", "--json"]).succeed().await?;
    let committed = applications.stop().await?;
    running.interrupt().await?;
    running.finish().await?.failed(130)?;
    caught_up(&scene).succeed().await?;
    scene.require_equal().await?;
    ensure!(committed > KILLS * BETWEEN, "only {committed} transactions");
    give_up(&scene).await
}
