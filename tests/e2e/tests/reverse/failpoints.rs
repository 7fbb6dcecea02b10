//! The engine dies between any two durable effects of a way back, and dies there again while it goes on.

use std::os::unix::process::ExitStatusExt as _;

use anyhow::{Context as _, Result, ensure};
use e2e::Scene;
use engine_core::failpoint::Failpoint;

use super::{ROWS, TABLES, caught_up, forward, give_up, moved_over, of_task, write};
use crate::applications::Applications;

const ABORTED: i32 = 6;

/// In the order in which a way back gets to them: first those that it gets to only once in its life.
const PLACES: [Failpoint; 13] = [
    Failpoint::TaskClaimed,
    Failpoint::StructureRecorded,
    Failpoint::TablesCreated,
    Failpoint::ChunkWritten,
    Failpoint::CopyDone,
    Failpoint::PlanStored,
    Failpoint::LanesReplaced,
    Failpoint::LanesOpened,
    Failpoint::ChangesApplied,
    Failpoint::StandingWritten,
    Failpoint::ChangesCommitted,
    Failpoint::StructureChanged,
    Failpoint::StructureCommitted,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_deaths_at_each_place_change_nothing() -> Result<()> {
    let scene = Scene::mysql("reverse_failpoints").await?;
    moved_over(&scene).await?;
    for place in PLACES {
        let name = place.name();
        let applications = Applications::start(&scene, 2);
        for death in 1..=2 {
            applications.commit_more(20).await?;
            if matches!(place, Failpoint::StructureChanged | Failpoint::StructureCommitted) {
                let amid = "BEGIN; INSERT INTO log VALUES (1, 'goes'); TRUNCATE log; INSERT INTO log VALUES (2, 'stays'); COMMIT";
                write(&scene, [amid, "INSERT INTO log VALUES (3, 'after')", "TRUNCATE orders"]).await?;
            }
            let outcome = caught_up(&scene).environment("ENGINE_FAILPOINT", name).finish().await?;
            ensure!(
                outcome.status.signal() == Some(ABORTED),
                "death {death} at {name} was none: {}\n{}",
                outcome.status,
                outcome.said()
            );
        }
        applications.stop().await?;
        // Up to here nobody has followed: the next places are on the way there.
        if !matches!(
            place,
            Failpoint::TaskClaimed
                | Failpoint::StructureRecorded
                | Failpoint::TablesCreated
                | Failpoint::ChunkWritten
        ) {
            caught_up(&scene).succeed().await.with_context(|| format!("after two deaths at {name}"))?;
            scene.require_equal().await.with_context(|| format!("after two deaths at {name}"))?;
        }
    }
    give_up(&scene).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_over_that_died_and_is_redone_without_a_way_back_leaves_no_slot() -> Result<()> {
    let scene = Scene::mysql("reverse_given_up").await?;
    scene.execute(TABLES).await?;
    scene.execute(ROWS).await?;
    forward(&scene).succeed().await?;
    let cutover = || of_task(&scene, "cutover").arguments(["--json", "--yes"]);
    let slots =
        format!("SELECT count(*)::text FROM pg_replication_slots WHERE database = '{}'", scene.name());
    for death in 1..=2 {
        let outcome = cutover()
            .argument("--way-back")
            .environment("ENGINE_FAILPOINT", Failpoint::WayBackBegun.name())
            .finish()
            .await?;
        ensure!(outcome.status.signal() == Some(ABORTED), "death {death} was none: {}", outcome.said());
        ensure!(scene.value(&slots).await? == "1", "the target keeps nothing after death {death}");
    }
    cutover().succeed().await?;
    ensure!(scene.value(&slots).await? == "0", "the slot is there still");
    ensure!(scene.value("SELECT count(*)::text FROM pg_publication").await? == "0", "a publication is left");
    Ok(())
}
