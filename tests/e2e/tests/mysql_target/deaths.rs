//! The engine dies between any two durable effects, and dies there again while it goes on: nothing is lost or doubled.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::{MysqlScene, Writers};
use engine_core::failpoint::Failpoint;

use super::{fill, transaction};

const ABORTED: i32 = 6;

async fn dies_twice_at(places: &[Failpoint]) -> Result<()> {
    let (source, target) = (test_kit::mysql()?, test_kit::mariadb()?);
    for (number, place) in places.iter().enumerate() {
        let name = place.name();
        // Each server in turn: what one does in a transaction the other may not.
        let target = if number % 2 == 0 { source } else { target };
        let scene = MysqlScene::new(source, target, &format!("death_{}", name.replace('-', "_"))).await?;
        fill(&scene).await?;
        let at_structure = matches!(place, Failpoint::StructureChanged | Failpoint::StructureCommitted);
        if at_structure {
            scene.run().succeed().await?;
        }
        let writers = Writers::start(&scene.source_url(), 2, Duration::from_millis(2), transaction);
        // What is on record is not recorded again.
        let deaths = if *place == Failpoint::StructureRecorded { 1 } else { 2 };
        for death in 1..=deaths {
            writers.commit_more(20).await?;
            if at_structure {
                let change = format!("ALTER TABLE entries ADD COLUMN c{death} INT DEFAULT {death}");
                scene.execute([change]).await?;
            }
            let outcome = scene.run().environment("ENGINE_FAILPOINT", name).finish().await?;
            ensure!(
                outcome.status.signal() == Some(ABORTED),
                "death {death} at {name} was none: {}\n{}\n{}",
                outcome.status,
                outcome.stdout,
                outcome.stderr
            );
        }
        writers.stop().await?;
        scene.run().succeed().await.with_context(|| format!("after two deaths at {name}"))?;
        scene.require_equal().await.with_context(|| format!("after two deaths at {name}"))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_deaths_at_each_place_of_the_copy_change_nothing() -> Result<()> {
    let (copy, _) = Failpoint::ALL.split_at(Failpoint::ALL.len() / 2);
    dies_twice_at(copy).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_deaths_at_each_place_after_it_change_nothing() -> Result<()> {
    let (_, beyond) = Failpoint::ALL.split_at(Failpoint::ALL.len() / 2);
    dies_twice_at(beyond).await
}
