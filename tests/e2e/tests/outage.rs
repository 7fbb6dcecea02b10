//! Database servers that die under a running engine: it waits for them and goes on by itself.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::{Scene, Writers, eventually};
use test_kit::{Builder, Durability, Product};

/// Waits until a row written now, which nobody changes, has arrived.
async fn follows(scene: &Scene<'_>, mark: &str) -> Result<()> {
    scene.execute([format!("INSERT INTO marks VALUES ('{mark}')")]).await?;
    let query = format!("SELECT count(*)::text FROM {}.marks WHERE v = '{mark}'", scene.name());
    eventually(mark, async || Ok((scene.value(&query).await? == "1").then_some(()))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dying_servers_are_waited_for() -> Result<()> {
    // A source that forgets what it acknowledged can't be followed by anybody.
    let source = Builder::new(Product::MariaDb).durability(Durability::Full).start()?;
    let target = Builder::new(Product::Postgres15).start()?;
    let scene = Scene::new(&source, &target, "outage").await?;
    scene
        .execute([
            "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(40))",
            "CREATE TABLE keyless (n INT)",
            "CREATE TABLE marks (v VARCHAR(40) PRIMARY KEY)",
            "INSERT INTO t (v) VALUES ('a'), ('b')",
        ])
        .await?;
    let mut running = scene.follow().start()?;
    running.phase("streaming").await?;
    let writers = Writers::start(&scene.source_url(), 2, Duration::from_millis(5), |numbers| {
        let number = numbers.below(1000);
        vec![
            format!("INSERT INTO t (v) VALUES ('{number}')"),
            format!("UPDATE t SET v = 'changed' WHERE id = {number}"),
            format!("INSERT INTO keyless VALUES ({})", number % 10),
        ]
    });
    for round in 0..2 {
        writers.commit_more(20).await?;
        target.kill()?;
        writers.commit_more(20).await?;
        target.start()?;
        follows(&scene, &format!("after death {round} of the target")).await?;
    }
    writers.stop().await?;

    source.kill()?;
    source.start()?;
    follows(&scene, "after the death of the source").await?;
    source.restart()?;
    follows(&scene, "after a restart of the source").await?;

    running.interrupt().await?;
    let outcome = running.finish().await?;
    ensure!(outcome.status.code() == Some(130), "{}\n{}", outcome.status, outcome.stderr);
    scene.run().succeed().await?;
    scene.require_equal().await
}
