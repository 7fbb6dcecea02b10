//! The engine dies between any two durable effects of a way back, and dies there again while it goes on.

use std::os::unix::process::ExitStatusExt as _;

use anyhow::{Context as _, Result, ensure};
use e2e::Scene;
use engine_core::failpoint::Failpoint;

use super::{caught_up, give_up, moved_over, write};
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
