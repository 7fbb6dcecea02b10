//! The two servers of a measurement.

use anyhow::{Context, Result, ensure};
use test_kit::{Builder, Durability, Product, Server};
use test_support::process::cpu_seconds_of_server;
use test_support::{connect, process};

use crate::measure::Measure;

/// Source and target, with durable settings.
#[derive(Debug)]
pub(crate) struct Sides {
    pub(crate) source: Server,
    pub(crate) target: Server,
    /// The engine's state: tasks come and go, compiled plugins stay, as they do for a user.
    pub(crate) state: tempfile::TempDir,
}

impl Sides {
    pub(crate) fn start(source: Product) -> Result<Self> {
        Self::between(source, Product::Postgres15)
    }

    pub(crate) fn between(source: Product, target: Product) -> Result<Self> {
        Self::with_lines(source, target, &[])
    }

    /// Servers with settings of their own, which those of PostgreSQL don't get.
    pub(crate) fn with_lines(source: Product, target: Product, lines: &[&str]) -> Result<Self> {
        eprintln!("starting {source} and {target}");
        let start = |product: Product| {
            let builder = Builder::new(product).durability(Durability::Full);
            let lines = if product.is_postgres() { &[] } else { lines };
            lines.iter().fold(builder, |builder, line| builder.line(*line)).start()
        };
        Ok(Self { source: start(source)?, target: start(target)?, state: tempfile::tempdir()? })
    }

    /// Runs the work and adds what it cost the servers.
    pub(crate) fn measured(&self, work: impl FnOnce() -> Result<process::Cost>) -> Result<Measure> {
        let servers = || -> Result<(f64, f64)> {
            let cpu =
                |server: &Server| server.process_id().map(cpu_seconds_of_server).context("a server is gone");
            Ok((cpu(&self.source)?, cpu(&self.target)?))
        };
        let before = servers()?;
        let cost = work()?;
        let after = servers()?;
        ensure!(cost.status.success(), "the measured command failed: {}", cost.status);
        Ok(Measure {
            wall: cost.wall.as_secs_f64(),
            tool_cpu: cost.cpu_seconds,
            source_cpu: after.0 - before.0,
            target_cpu: after.1 - before.1,
            peak_memory: cost.peak_memory,
            moved: 0,
        })
    }

    /// Empties the target, and has it write what is pending, so that no run pays for the one before.
    pub(crate) async fn drop_schema(&self, schema: &str) -> Result<()> {
        let client = connect::postgres(self.target.url()).await?;
        let others = client
            .query("SELECT nspname::text FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_%' AND nspname NOT IN ('public', 'information_schema')", &[])
            .await?;
        for row in others {
            client.batch_execute(&format!("DROP SCHEMA \"{}\" CASCADE", row.get::<_, String>(0))).await?;
        }
        client.batch_execute(&format!("DROP SCHEMA IF EXISTS {schema} CASCADE")).await?;
        client.batch_execute("CHECKPOINT").await?;
        Ok(())
    }

    /// A quick run that copies too little would be no quick run.
    pub(crate) async fn expect_rows(&self, schema: &str, table: &str, rows: u64) -> Result<()> {
        let client = connect::postgres(self.target.url()).await?;
        let found: i64 =
            client.query_one(&format!("SELECT count(*) FROM {schema}.{table}"), &[]).await?.get(0);
        ensure!(
            found.cast_unsigned() == rows,
            "{schema}.{table} has {found} rows after the copy, not {rows}"
        );
        Ok(())
    }
}
