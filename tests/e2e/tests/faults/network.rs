//! Networks that break, fall silent or are slow.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::{Scene, Writers, eventually};
use test_kit::Proxy;

use super::{Lines, TABLES, arrives, transaction};
use crate::big::peak_memory;

/// Lines with an engine that streams, and somebody who writes.
async fn under_writes(
    test: &str,
    break_it: impl AsyncFn(&Lines<'static>, &Writers) -> Result<()>,
) -> Result<()> {
    let lines = Lines::to(Scene::mysql(test).await?)?;
    lines.scene.execute(TABLES).await?;
    let mut running = lines.streaming().await?;
    let writers = Writers::start(&lines.scene.source_url(), 2, Duration::from_millis(10), |numbers| {
        transaction(numbers.below(1000))
    });
    break_it(&lines, &writers).await?;
    writers.stop().await?;
    lines.arrives(&mut running, "afterwards").await?;
    lines.end(running).await
}

/// Waits until so many connections were broken off.
async fn truncated(proxy: &Proxy, number: u32) -> Result<()> {
    let broken = async || Ok((proxy.truncated() == number).then_some(()));
    eventually("a connection that breaks off", broken).await
}

/// Waits until something is on its way that is not delivered.
async fn held_back(proxy: &Proxy) -> Result<()> {
    eventually("something held back", async || Ok((proxy.held_back() > 0).then_some(()))).await
}

/// Cuts all connections and refuses new ones for a moment.
async fn cut(proxy: &Proxy, writers: &Writers) -> Result<()> {
    writers.commit_more(10).await?;
    proxy.refuse(true);
    proxy.cut();
    writers.commit_more(10).await?;
    proxy.refuse(false);
    Ok(())
}

#[tokio::test]
async fn cut_connections_are_made_again() -> Result<()> {
    under_writes("network_cut", async |lines, writers| {
        for round in 0..3 {
            cut(&lines.to_source, writers).await?;
            arrives(&lines.scene, &format!("source {round}")).await?;
            cut(&lines.to_target, writers).await?;
            arrives(&lines.scene, &format!("target {round}")).await?;
            // Both at once, in the middle of a packet.
            writers.commit_more(10).await?;
            lines.to_source.truncate_after(700);
            lines.to_target.truncate_after(50);
            arrives(&lines.scene, &format!("both {round}")).await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn connections_cut_during_the_copy_cost_no_more_than_their_chunk() -> Result<()> {
    let lines = Lines::to(Scene::mysql("network_copy").await?)?;
    lines.scene.execute(TABLES).await?;
    let large = (0..40).map(|id| format!("INSERT INTO large VALUES ({id}, REPEAT('{}', 100000))", id % 10));
    lines
        .scene
        .execute(["CREATE TABLE large (id INT PRIMARY KEY, v LONGTEXT)".to_owned()].into_iter().chain(large))
        .await?;
    // In the middle of a row, twice, and in the middle of an answer.
    lines.to_source.truncate_after(500_000);
    let running = lines.follow()?.arguments(["--until", "caught-up"]).start()?;
    truncated(&lines.to_source, 1).await?;
    lines.to_source.truncate_after(1_500_000);
    lines.scene.execute(transaction(1)).await?;
    truncated(&lines.to_source, 2).await?;
    lines.to_target.truncate_after(10);
    lines.scene.execute(transaction(2)).await?;
    truncated(&lines.to_target, 1).await?;
    running.finish().await?.succeeded()?;
    lines.scene.run().succeed().await?;
    lines.scene.require_equal().await
}

#[tokio::test]
async fn slow_networks_are_only_slow() -> Result<()> {
    under_writes("network_slow", async |lines, writers| {
        // A round trip of 300 ms, and 1 Mbit/s.
        for proxy in [&lines.to_source, &lines.to_target] {
            proxy.delay(Duration::from_millis(150));
            proxy.limit(Some(125_000));
        }
        writers.commit_more(40).await?;
        arrives(&lines.scene, "slowly").await?;
        lines.to_source.heal();
        lines.to_target.heal();
        Ok(())
    })
    .await
}

/// Everything that was held back arrives in the end, as it does after packets were dropped for a while.
#[tokio::test]
async fn a_silence_that_ends_is_waited_for() -> Result<()> {
    under_writes("network_silence", async |lines, writers| {
        for (proxy, name) in [(&lines.to_source, "source"), (&lines.to_target, "target")] {
            proxy.hold(true);
            held_back(proxy).await?;
            // For some seconds.
            writers.commit_more(250).await?;
            proxy.hold(false);
            arrives(&lines.scene, name).await?;
        }
        Ok(())
    })
    .await
}

/// A connection to the source that stays open and says nothing any more, not even that it is idle, is given up: the way
/// to the source is clear again for new ones.
#[tokio::test]
async fn a_source_that_falls_silent_for_good_is_connected_to_again() -> Result<()> {
    under_writes("network_silent_source", async |lines, writers| {
        arrives(&lines.scene, "over the first connection").await?;
        writers.commit_more(10).await?;
        lines.to_source.hold_open_connections();
        arrives(&lines.scene, "over a new connection").await
    })
    .await
}

/// Stopping takes a bounded time whatever the network does, and the same command goes on.
#[tokio::test]
async fn a_stop_does_not_wait_for_a_silent_target() -> Result<()> {
    let lines = Lines::to(Scene::mysql("network_stop").await?)?;
    lines.scene.execute(TABLES).await?;
    let mut running = lines.streaming().await?;
    lines.arrives(&mut running, "before").await?;
    lines.to_target.hold(true);
    lines.scene.execute(transaction(1)).await?;
    held_back(&lines.to_target).await?;
    running.interrupt().await?;
    let begin = Instant::now();
    running.finish().await?.failed(130)?;
    ensure!(begin.elapsed() < Duration::from_secs(40), "stopping took {:?}", begin.elapsed());
    lines.to_target.hold(false);
    lines.scene.run().succeed().await?;
    lines.scene.require_equal().await
}

/// What is lost is sent again by TCP: it comes late, and everything after it waits.
#[tokio::test]
async fn lost_packets_are_only_late() -> Result<()> {
    under_writes("network_loss", async |lines, writers| {
        for proxy in [&lines.to_source, &lines.to_target] {
            proxy.lose(Some(20));
        }
        for round in 0..3 {
            writers.commit_more(100).await?;
            arrives(&lines.scene, &format!("over losses {round}")).await?;
        }
        lines.to_source.heal();
        lines.to_target.heal();
        Ok(())
    })
    .await
}

/// A target that takes far less than the source gives: the engine says how far behind it is, and does not gather what
/// it can't write.
#[tokio::test]
async fn a_target_slower_than_its_source_falls_behind_and_catches_up() -> Result<()> {
    let lines = Lines::to(Scene::mysql("network_behind").await?)?;
    lines.scene.execute(TABLES).await?;
    let mut running = lines.streaming().await?;
    lines.arrives(&mut running, "before").await?;
    let before = peak_memory(running.id()?)?;
    lines.to_target.limit(Some(40_000));
    let wide = "INSERT INTO t (v) SELECT REPEAT(CHAR(97 + seq % 26), 200) FROM \
                (WITH RECURSIVE n (seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM n WHERE seq < 500) SELECT seq FROM n) s";
    let writers = Writers::start(&lines.scene.source_url(), 2, Duration::from_millis(40), |numbers| {
        transaction(numbers.below(1000)).into_iter().chain([wide.to_owned()]).collect()
    });
    running
        .event(|event| event["event"] == "progress" && event["lag_ms"].as_u64() > Some(10_000))
        .await
        .context("the lag is not shown")?;
    let written = writers.stop().await?;
    ensure!(written.changes > 20_000, "only {} changes were written", written.changes);
    let grown = peak_memory(running.id()?)? - before;
    ensure!(grown < 250 << 20, "the engine took {} MiB more", grown >> 20);
    lines.to_target.heal();
    lines.arrives(&mut running, "afterwards").await?;
    lines.end(running).await
}
