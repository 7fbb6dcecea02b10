//! A commit that is in the binlog and not yet visible: what the copy can't see, the stream brings.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use e2e::{Scene, Writers};
use mysql_async::prelude::Queryable as _;
use test_kit::{Builder, Product};

/// With semi-synchronous replication and no replica to answer, a commit is logged, then held for the timeout before
/// anybody sees it. After a timeout the server gives up waiting for replicas, so it is told again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_held_between_log_and_visibility_are_not_lost() -> Result<()> {
    let source = Builder::new(Product::MySql).line("plugin-load-add=semisync_source.so").start()?;
    let scene = Scene::new(&source, test_kit::postgres()?, "visibility").await?;
    scene
        .execute([
            "SET GLOBAL rpl_semi_sync_source_timeout = 150",
            "CREATE TABLE t (id BIGINT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(40), n INT, filler TEXT)",
            "INSERT INTO t (v, n, filler) SELECT 'old', seq, REPEAT('f', 4000) FROM \
             (WITH RECURSIVE n (seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM n WHERE seq < 999) SELECT seq FROM n) s",
            "INSERT INTO t (v, n, filler) SELECT v, n, filler FROM t",
            "INSERT INTO t (v, n, filler) SELECT v, n, filler FROM t",
            "INSERT INTO t (v, n, filler) SELECT v, n, filler FROM t",
            "INSERT INTO t (v, n, filler) SELECT v, n, filler FROM t",
        ])
        .await?;
    let stop = Arc::new(AtomicBool::new(false));
    let stalling = tokio::spawn({
        let (stop, mut source) = (Arc::clone(&stop), scene.source().await?);
        async move {
            while !stop.load(Ordering::Relaxed) {
                source.query_drop("SET GLOBAL rpl_semi_sync_source_enabled = ON").await?;
                tokio::time::sleep(Duration::from_millis(50)).await;
                source.query_drop("SET GLOBAL rpl_semi_sync_source_enabled = OFF").await?;
            }
            anyhow::Ok(())
        }
    });
    let writers = Writers::start(&scene.source_url(), 32, Duration::from_millis(1), |numbers| {
        let row = 1 + numbers.below(16_000);
        match numbers.below(4) {
            0 | 1 => vec![format!("INSERT INTO t (v, n) VALUES ('new', {row})")],
            2 => vec![format!("UPDATE t SET v = 'changed', n = n + 1 WHERE id = {row}")],
            _ => vec![format!("DELETE FROM t WHERE id = {row}")],
        }
    });
    writers.commit_more(100).await?;
    scene.run().succeed().await?;
    let written = writers.stop().await;
    stop.store(true, Ordering::Relaxed);
    stalling.await??;
    written?;
    scene.run().succeed().await?;
    scene.require_equal().await
}
