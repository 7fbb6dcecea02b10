//! Servers that follow each other.

use anyhow::Result;
use e2e::eventually;
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use test_kit::{PASSWORD, Server, USER};
use test_support::connect;

/// Makes `replica` follow `source`, by GTID.
pub(crate) async fn replicate(source: &Server, replica: &Server) -> Result<()> {
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
pub(crate) async fn in_step(source: &Server, replica: &Server) -> Result<()> {
    let wanted = executed(source).await?;
    eventually("the replica", async || Ok((executed(replica).await? == wanted).then_some(()))).await
}

/// Makes `replica` follow `source`, both of `MariaDB`; answers a connection to either.
pub(crate) async fn replicate_mariadb(source: &Server, replica: &Server) -> Result<(Conn, Conn)> {
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
    Ok((at_source, at_replica))
}

/// Waits until the log of `MariaDB`'s replica has all that the source's has.
pub(crate) async fn logged(source: &mut Conn, replica: &mut Conn) -> Result<()> {
    let position = "SELECT @@GLOBAL.gtid_binlog_pos";
    let wanted: Option<String> = source.query_first(position).await?;
    eventually("the replica", async || {
        let reached: Option<String> = replica.query_first(position).await?;
        Ok((reached == wanted).then_some(()))
    })
    .await
}
