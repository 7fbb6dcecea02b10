//! Connections to both sides, by URL.

use anyhow::{Context, Result};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts};
use tokio_postgres::{Client, NoTls};

/// Connects to a `mysql://` or `mariadb://` URL; times are UTC, text is utf8mb4 and no SQL mode changes it.
pub async fn mysql(url: &str) -> Result<Conn> {
    let opts = Opts::from_url(&url.replacen("mariadb://", "mysql://", 1)).context("the URL of the source")?;
    let mut connection = Conn::new(opts).await.context("connecting to the source")?;
    connection.query_drop("SET NAMES utf8mb4").await?;
    connection.query_drop("SET SESSION time_zone = '+00:00'").await?;
    Ok(connection)
}

/// Connects to a `postgres://` URL; times are UTC.
pub async fn postgres(url: &str) -> Result<Client> {
    let (client, connection) =
        tokio_postgres::connect(url, NoTls).await.context("connecting to the target")?;
    tokio::spawn(connection);
    client.batch_execute("SET timezone = 'UTC'; SET intervalstyle = 'postgres'").await?;
    Ok(client)
}
