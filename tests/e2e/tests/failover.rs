//! The source's place is taken by a replica: the same task goes on from it, unless the replica lacks what was applied.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::{Scene, eventually};
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use test_kit::{Builder, PASSWORD, Product, Server, USER};
use test_support::connect;

const LIMIT: Duration = Duration::from_mins(1);

/// Makes `replica` follow `source`, by GTID.
async fn replicate(source: &Server, replica: &Server) -> Result<()> {
    let (_, port) = source.url().trim_end_matches('/').rsplit_once(':').unwrap_or_default();
    let mut connection = connect::mysql(replica.url()).await?;
    let follow = format!(
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '{}', SOURCE_PORT = {port}, SOURCE_USER = '{USER}', \
         SOURCE_PASSWORD = '{PASSWORD}', SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1",
        source.host()
    );
    connection.query_drop(follow).await?;
    connection.query_drop("START REPLICA").await?;
    connection.disconnect().await?;
    Ok(())
}

async fn executed(server: &Server) -> Result<String> {
    let mut connection = connect::mysql(server.url()).await?;
    let set: Option<String> = connection.query_first("SELECT @@GLOBAL.gtid_executed").await?;
    connection.disconnect().await?;
    Ok(set.unwrap_or_default())
}

/// Waits until the replica has all that the source has.
async fn in_step(source: &Server, replica: &Server) -> Result<()> {
    let wanted = executed(source).await?;
    eventually("the replica", LIMIT, async || Ok((executed(replica).await? == wanted).then_some(()))).await
}

/// The same from MariaDB, whose transactions are known by domain and number.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_of_mariadb_takes_over_unless_it_is_behind() -> Result<()> {
    let server = || Builder::new(Product::MariaDb).line("log_slave_updates=ON").start();
    let (source, replica) = (server()?, server()?);
    let (_, port) = source.url().trim_end_matches('/').rsplit_once(':').unwrap_or_default();
    let mut at_replica = connect::mysql(replica.url()).await?;
    // The accounts that each server begins with are no history that they share.
    let mut at_source = connect::mysql(source.url()).await?;
    at_source.query_drop("RESET MASTER").await?;
    at_replica.query_drop("RESET MASTER").await?;
    let follow = format!(
        "CHANGE MASTER TO MASTER_HOST = '{}', MASTER_PORT = {port}, MASTER_USER = '{USER}', \
         MASTER_PASSWORD = '{PASSWORD}', MASTER_USE_GTID = slave_pos",
        source.host()
    );
    at_replica.query_drop(follow).await?;
    at_replica.query_drop("START SLAVE").await?;
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
    at_source.disconnect().await?;
    at_replica.disconnect().await?;
    Ok(())
}

/// Waits until the log of `MariaDB`'s replica has all that the source's has.
async fn logged(source: &mut Conn, replica: &mut Conn) -> Result<()> {
    let position = "SELECT @@GLOBAL.gtid_binlog_pos";
    let wanted: Option<String> = source.query_first(position).await?;
    eventually("the replica", LIMIT, async || {
        let reached: Option<String> = replica.query_first(position).await?;
        Ok((reached == wanted).then_some(()))
    })
    .await
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
    at_replica.disconnect().await?;
    Ok(())
}
