//! Rows are read from a replica while the changes of its source are followed.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{Scene, Writers};
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use test_kit::{Builder, Product, Server};
use test_support::connect;
use test_support::numbers::Numbers;

use crate::replication::{in_step, logged, replicate, replicate_mariadb};
use crate::verify::{check, report};

const TABLES: [&str; 4] = [
    "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, code INT UNIQUE, v VARCHAR(40))",
    "CREATE TABLE keyless (v VARCHAR(40))",
    "INSERT INTO t (code, v) WITH RECURSIVE n AS (SELECT 1 i UNION ALL SELECT i + 1 FROM n WHERE i < 900) \
     SELECT i, CONCAT('old ', i) FROM n",
    "INSERT INTO keyless VALUES ('a'), ('a'), (NULL)",
];

fn transaction(numbers: &mut Numbers) -> Vec<String> {
    let id = 1 + numbers.below(900);
    match numbers.below(4) {
        0 => vec![format!("UPDATE t SET code = -code, v = 'new' WHERE id = {id}")],
        1 => vec![format!("DELETE FROM t WHERE id = {id}"), "INSERT INTO t (v) VALUES ('in')".to_owned()],
        2 => vec![format!("INSERT INTO keyless VALUES ('{id}')")],
        _ => vec![format!("UPDATE keyless SET v = CONCAT('k', {id}) LIMIT 1")],
    }
}

/// Statements prepared on the server: chunks are read by nothing else.
async fn chunks_read(server: &mut Conn) -> Result<u64> {
    let row: Option<(String, u64)> = server.query_first("SHOW GLOBAL STATUS LIKE 'Com_stmt_prepare'").await?;
    Ok(row.context("the server counts no statements")?.1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_is_read_while_its_source_is_followed() -> Result<()> {
    let server = || Builder::new(Product::MySql).start();
    let (source, replica) = (server()?, server()?);
    replicate(&source, &replica).await?;
    let scene = Scene::new(&source, test_kit::postgres()?, "replica").await?;
    scene.execute(TABLES).await?;
    in_step(&source, &replica).await?;
    let mut at_replica = connect::mysql(replica.url()).await?;

    // What is written from now on, the replica hasn't got when its rows are read.
    at_replica.query_drop("STOP REPLICA SQL_THREAD").await?;
    let mut at_source = connect::mysql(source.url()).await?;
    copied_under_writers(&scene, &replica, (&mut at_source, &mut at_replica)).await?;

    // The lag is waited for when a limit is set.
    let run = || from(&scene, &replica).replace("--name", "later").config(elsewhere(&scene));
    let mut waiting = run().arguments(["--accept-warnings", "--max-replica-lag", "30"]).start()?;
    waiting
        .event(|event| {
            event["waits_for"].as_str().is_some_and(|why| why.contains("the replica does not replicate"))
        })
        .await?;
    at_replica.query_drop("START REPLICA SQL_THREAD").await?;
    waiting.finish().await?.succeeded()?;

    // A transaction of its own would never come in the source's log.
    in_step(&source, &replica).await?;
    at_replica.query_drop(format!("DELETE FROM {}.t WHERE id = 900", scene.name())).await?;
    let error = run().replace("--name", "never").fail().await?;
    ensure!(error.contains("transactions that the source does not have"), "{error}");
    at_source.disconnect().await?;
    at_replica.disconnect().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_of_mariadb_is_read_while_its_source_is_followed() -> Result<()> {
    let server = || Builder::new(Product::MariaDb).line("log_slave_updates=ON").start();
    let (source, replica) = (server()?, server()?);
    let (mut at_source, mut at_replica) = replicate_mariadb(&source, &replica).await?;
    let scene = Scene::new(&source, test_kit::postgres()?, "replica_mariadb").await?;
    scene.execute(TABLES).await?;
    logged(&mut at_source, &mut at_replica).await?;
    at_replica.query_drop("STOP SLAVE SQL_THREAD").await?;
    copied_under_writers(&scene, &replica, (&mut at_source, &mut at_replica)).await?;
    at_source.disconnect().await?;
    at_replica.disconnect().await?;
    Ok(())
}

/// Then nobody can tell what a read of it contains.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_does_not_log_what_it_replicates_is_refused() -> Result<()> {
    let source = Builder::new(Product::MySql).start()?;
    let replica = Builder::new(Product::MySql).line("log_replica_updates=OFF").start()?;
    replicate(&source, &replica).await?;
    let scene = Scene::new(&source, test_kit::postgres()?, "replica_unlogged").await?;
    scene.execute(TABLES).await?;
    in_step(&source, &replica).await?;
    let error = from(&scene, &replica).argument("--accept-warnings").fail().await?;
    ensure!(error.contains("what it replicates is not in its own log"), "{error}");
    Ok(())
}

fn from(scene: &Scene<'_>, replica: &Server) -> test_support::engine::Run {
    scene.run().arguments(["--read-from", &replica.url_of(scene.name())])
}

fn elsewhere(scene: &Scene<'_>) -> serde_json::Value {
    serde_json::json!({"mysql2og": {"schemas": {scene.name(): "elsewhere"}}})
}

/// Copies from the replica, which stands still, while the source is written to; both sides are equal then, and
/// the check, which reads the source itself, agrees.
async fn copied_under_writers(
    scene: &Scene<'_>,
    replica: &Server,
    (at_source, at_replica): (&mut Conn, &mut Conn),
) -> Result<()> {
    let writers = Writers::start(&scene.source_url(), 2, Duration::from_millis(5), transaction);
    writers.commit_more(40).await?;
    let before = (chunks_read(at_source).await?, chunks_read(at_replica).await?);
    from(scene, replica).argument("--accept-warnings").succeed().await?;
    let after = (chunks_read(at_source).await?, chunks_read(at_replica).await?);
    writers.commit_more(20).await?;
    writers.stop().await?;
    ensure!(after.1 > before.1, "nothing was read from the replica");
    ensure!(after.0 == before.0, "{} chunks were read from the source", after.0 - before.0);
    from(scene, replica).succeed().await?;
    scene.require_equal().await?;
    let verify = check(scene).arguments(["--read-from", &replica.url_of(scene.name())]);
    let report = report(verify, 0).await?;
    ensure!(report["equal"] == true, "{report}");
    Ok(())
}
