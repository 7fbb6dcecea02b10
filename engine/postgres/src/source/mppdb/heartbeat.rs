//! What keeps a parallel stream going of which nothing is written.
//!
//! Its signs of life tell of places that are ahead of what was sent. Only a transaction that arrives says that all
//! before it has; so where nobody writes, the engine does: a row of its own, once a second.

use engine_core::{Error, ErrorKind, Result};
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval};
use tokio_postgres::Client;

use crate::connect::Connector;
use crate::failure::translate;

/// The row's table, as a list of tables names it.
pub(in crate::source) const TABLE: &str = "_migration.heartbeat";
/// How often it beats.
const EVERY: Duration = Duration::from_secs(1);

/// Of one stream.
pub(in crate::source) struct Heartbeat(AbortHandle);

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Heartbeat {
    /// Begins to beat for a task's slot.
    pub(in crate::source) async fn start(connector: Connector, slot: &str) -> Result<Self> {
        let client = connector.connect().await?;
        begin(&client, slot).await.map_err(|error| {
            Error::new(ErrorKind::Precondition, "the engine can't keep a row of its own at the source")
                .at("table", TABLE)
                .because(error.why().unwrap_or_else(|| error.what()).to_owned())
                .help(
                    "a parallel decoding says only by transactions how far it is: GRANT CREATE ON DATABASE to the \
                     account, or use decoding=mppdb-serial or pgoutput",
                )
        })?;
        let slot = slot.to_owned();
        let running = tokio::spawn(async move {
            let mut every = interval(EVERY);
            every.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut connection = Some(client);
            loop {
                every.tick().await;
                let beaten = async {
                    let client = match connection.take().filter(|client| !client.is_closed()) {
                        Some(client) => client,
                        None => connector.connect().await?,
                    };
                    beat(&client, &slot).await?;
                    Ok::<_, Error>(client)
                };
                match beaten.await {
                    Ok(client) => connection = Some(client),
                    // The stream notices by itself what is wrong with the server.
                    Err(error) => tracing::debug!("the source's heartbeat has missed a beat: {error}"),
                }
            }
        });
        Ok(Self(running.abort_handle()))
    }
}

/// Makes the row, and what it is in.
async fn begin(client: &Client, slot: &str) -> Result<()> {
    let failed = |error| translate(error, "a table can't be made");
    if !exists(client, "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = '_migration'").await? {
        client.batch_execute("CREATE SCHEMA _migration").await.map_err(failed)?;
    }
    client
        .batch_execute(&format!(
            "CREATE TABLE IF NOT EXISTS {TABLE} (slot varchar(64) PRIMARY KEY, beats bigint NOT NULL)"
        ))
        .await
        .map_err(failed)?;
    if beat(client, slot).await? == 0 {
        client
            .execute(&format!("INSERT INTO {TABLE} (slot, beats) VALUES ($1, 1)"), &[&slot])
            .await
            .map_err(failed)?;
    }
    Ok(())
}

async fn beat(client: &Client, slot: &str) -> Result<u64> {
    client
        .execute(&format!("UPDATE {TABLE} SET beats = beats + 1 WHERE slot = $1"), &[&slot])
        .await
        .map_err(|error| translate(error, "the heartbeat's row can't be written"))
}

/// Removes the row, and what it was in once nothing else is.
pub(in crate::source) async fn remove(client: &Client, slot: &str) -> Result<()> {
    let failed = |error| translate(error, "the heartbeat's row can't be removed").at("table", TABLE);
    let is_there = "SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                    WHERE n.nspname = '_migration'";
    if !exists(client, &format!("{is_there} AND c.relname = 'heartbeat'")).await? {
        return Ok(());
    }
    client.execute(&format!("DELETE FROM {TABLE} WHERE slot = $1"), &[&slot]).await.map_err(failed)?;
    if exists(client, &format!("SELECT 1 FROM {TABLE} LIMIT 1")).await? {
        return Ok(());
    }
    client.batch_execute(&format!("DROP TABLE {TABLE}")).await.map_err(failed)?;
    if !exists(client, &format!("{is_there} LIMIT 1")).await? {
        client.batch_execute("DROP SCHEMA _migration").await.map_err(failed)?;
    }
    Ok(())
}

async fn exists(client: &Client, query: &str) -> Result<bool> {
    let row = client.query_opt(query, &[]).await;
    Ok(row.map_err(|error| translate(error, "the source's catalog can't be read"))?.is_some())
}
