//! The source's place is taken by a replica: the same task goes on from it, unless the replica lacks what was applied.

use anyhow::{Result, ensure};
use e2e::Scene;
use mysql_async::prelude::Queryable as _;
use test_kit::{Builder, Product};
use test_support::connect;

use crate::replication::{in_step, logged, replicate, replicate_mariadb};

/// The same from MariaDB, whose transactions are known by domain and number.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_of_mariadb_takes_over_unless_it_is_behind() -> Result<()> {
    let server = || Builder::new(Product::MariaDb).line("log_slave_updates=ON").start();
    let (source, replica) = (server()?, server()?);
    let (mut at_source, mut at_replica) = replicate_mariadb(&source, &replica).await?;
    let scene = Scene::new(&source, test_kit::postgres()?, "failover_mariadb").await?;
    scene
        .execute([
            "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, code INT UNIQUE, v VARCHAR(20))",
            "CREATE TABLE keyless (v VARCHAR(20))",
            "INSERT INTO t (code, v) VALUES (1, 'a'), (2, 'b')",
            "INSERT INTO keyless VALUES ('k')",
        ])
        .await?;
    scene.run().succeed().await?;
    scene.execute(["INSERT INTO t (code, v) VALUES (3, 'c')", "UPDATE t SET v = 'B' WHERE id = 2"]).await?;
    logged(&mut at_source, &mut at_replica).await?;

    at_replica.query_drop("STOP SLAVE").await?;
    scene.execute(["INSERT INTO t (code, v) VALUES (4, 'd')", "UPDATE keyless SET v = 'K'"]).await?;
    scene.run().succeed().await?;
    let on_replica = || scene.run().replace("--source", replica.url_of(scene.name()));
    let error = on_replica().fail().await?;
    ensure!(error.contains("the source lacks transactions that the task has applied"), "{error}");

    at_replica.query_drop("START SLAVE").await?;
    logged(&mut at_source, &mut at_replica).await?;
    at_replica.query_drop("STOP SLAVE").await?;
    at_replica.query_drop(format!("USE {}", scene.name())).await?;
    at_replica.query_drop("INSERT INTO t (code, v) VALUES (5, 'e')").await?;
    at_replica.query_drop("DELETE FROM t WHERE id = 1").await?;
    at_replica.query_drop("INSERT INTO keyless VALUES ('l')").await?;
    on_replica().succeed().await?;
    let query = format!("SELECT string_agg(code || v, ',' ORDER BY code) FROM {}.t", scene.name());
    let rows = scene.value(&query).await?;
    ensure!(rows == "2B,3c,4d,5e", "{rows}");
    let rows =
        scene.value(&format!("SELECT string_agg(v, ',' ORDER BY v) FROM {}.keyless", scene.name())).await?;
    ensure!(rows == "K,l", "{rows}");
    let server: Option<u64> = at_replica.query_first("SELECT @@server_id").await?;
    stands_on(&scene, &server.unwrap_or_default().to_string()).await?;
    at_source.disconnect().await?;
    at_replica.disconnect().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_takes_over_unless_it_is_behind() -> Result<()> {
    let source = Builder::new(Product::MySql).start()?;
    let replica = Builder::new(Product::MySql).start()?;
    replicate(&source, &replica).await?;
    let scene = Scene::new(&source, test_kit::postgres()?, "failover").await?;
    scene
        .execute([
            "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, code INT UNIQUE, v VARCHAR(20))",
            "INSERT INTO t (code, v) VALUES (1, 'a'), (2, 'b')",
        ])
        .await?;
    scene.run().succeed().await?;
    scene.execute(["INSERT INTO t (code, v) VALUES (3, 'c')", "UPDATE t SET v = 'B' WHERE id = 2"]).await?;
    in_step(&source, &replica).await?;

    // The replica stands still, the task goes on at the source.
    let mut at_replica = connect::mysql(&replica.url_of(scene.name())).await?;
    at_replica.query_drop("STOP REPLICA").await?;
    scene.execute(["INSERT INTO t (code, v) VALUES (4, 'd')"]).await?;
    scene.run().succeed().await?;
    let on_replica = || scene.run().replace("--source", replica.url_of(scene.name()));
    let error = on_replica().fail().await?;
    ensure!(error.contains("the source lacks transactions that the task has applied"), "{error}");

    // Once it has what the task has, it can take the source's place, and take writes.
    at_replica.query_drop("START REPLICA").await?;
    in_step(&source, &replica).await?;
    at_replica.query_drop("STOP REPLICA").await?;
    at_replica.query_drop("INSERT INTO t (code, v) VALUES (5, 'e')").await?;
    at_replica.query_drop("DELETE FROM t WHERE id = 1").await?;
    on_replica().succeed().await?;
    let query = format!("SELECT string_agg(code || v, ',' ORDER BY code) FROM {}.t", scene.name());
    let rows = scene.value(&query).await?;
    ensure!(rows == "2B,3c,4d,5e", "{rows}");
    let server: Option<String> = at_replica.query_first("SELECT @@server_uuid").await?;
    stands_on(&scene, &server.unwrap_or_default()).await?;
    at_replica.disconnect().await?;
    Ok(())
}

/// Fails unless where the task stands is told as a place in the log of that server.
async fn stands_on(scene: &Scene<'_>, server: &str) -> Result<()> {
    let position = scene.value("SELECT position FROM _migration.lane ORDER BY sequence DESC LIMIT 1").await?;
    ensure!(position.starts_with(&format!("server={server};file=")), "{position}, not of {server}");
    Ok(())
}
