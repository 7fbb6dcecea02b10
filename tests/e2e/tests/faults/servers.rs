//! Servers that die under writes, and a target that has no connection left.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::{Scene, Writers};
use test_kit::{Builder, Product};
use test_support::connect;
use tokio::task::block_in_place;

use super::{Lines, TABLES, arrives, transaction};

/// `MySQL` ends a stream in other ways than `MariaDB`, and goes by sets of GTIDs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_dies_in_the_middle_of_its_log_is_followed_on() -> Result<()> {
    // What a process has committed must survive its death, though not that of the machine.
    let source = Builder::new(Product::MySql).line("innodb_flush_log_at_trx_commit=2").start()?;
    let scene = Scene::new(&source, test_kit::postgres()?, "source_death").await?;
    scene.execute(TABLES).await?;
    let mut running = scene.follow().start()?;
    running.phase("streaming").await?;
    for round in 0..2 {
        let writers = Writers::start(&scene.source_url(), 3, Duration::from_millis(2), |numbers| {
            transaction(numbers.below(1000))
        });
        writers.commit_more(100).await?;
        block_in_place(|| source.kill())?;
        // They die with it, in the middle of a transaction.
        ensure!(writers.stop().await.is_err(), "the writers did not notice");
        block_in_place(|| source.start())?;
        arrives(&scene, &format!("after death {round}")).await?;
    }
    running.interrupt().await?;
    running.finish().await?.failed(130)?;
    scene.run().succeed().await?;
    scene.require_equal().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_dies_under_a_stream_from_mysql_is_waited_for() -> Result<()> {
    let target = Builder::new(Product::Postgres15).start()?;
    let scene = Scene::new(test_kit::mysql()?, &target, "target_death").await?;
    scene.execute(TABLES).await?;
    let mut running = scene.follow().start()?;
    running.phase("streaming").await?;
    let writers = Writers::start(&scene.source_url(), 2, Duration::from_millis(5), |numbers| {
        transaction(numbers.below(1000))
    });
    for round in 0..2 {
        writers.commit_more(20).await?;
        // What it did not flush is lost with it: the kit's servers do not wait for the disk.
        block_in_place(|| if round == 0 { target.kill() } else { target.stop() })?;
        writers.commit_more(20).await?;
        block_in_place(|| target.start())?;
        arrives(&scene, &format!("after end {round}")).await?;
    }
    writers.stop().await?;
    running.interrupt().await?;
    running.finish().await?.failed(130)?;
    scene.run().succeed().await?;
    scene.require_equal().await
}

#[tokio::test]
async fn a_target_without_a_free_connection_is_waited_for() -> Result<()> {
    let target = Builder::new(Product::Postgres15).line("max_connections = 14").line("max_wal_senders = 0");
    let target = target.line("superuser_reserved_connections = 0").line("wal_level = replica").start()?;
    let lines = Lines::to(Scene::new(test_kit::mysql()?, &target, "connections").await?)?;
    lines.scene.execute(TABLES).await?;
    let running = lines.streaming().await?;
    arrives(&lines.scene, "before").await?;
    // The engine loses its connections, and others take all there are.
    lines.to_target.refuse(true);
    lines.to_target.cut();
    let mut others = Vec::new();
    while let Ok(connection) = connect::postgres(target.url()).await {
        others.push(connection);
        ensure!(others.len() < 20, "the server takes any number of connections");
    }
    lines.to_target.refuse(false);
    lines.scene.execute(transaction(7)).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    ensure!(connect::postgres(target.url()).await.is_err(), "there was a connection left");
    drop(others);
    arrives(&lines.scene, "after").await?;
    lines.end(running).await
}
