//! What the servers' own clients manage.

use std::process::{ExitStatus, Stdio};

use anyhow::{Context, Result, ensure};
use test_support::connect;
use test_support::process::{Cost, times_of_children};

use crate::data::SYSBENCH;
use crate::sides::Sides;

/// Makes the target's tables, without keys, as a loader would.
pub(crate) async fn prepare(sides: &Sides) -> Result<()> {
    sides.drop_schema(SYSBENCH).await?;
    let client = connect::postgres(sides.target.url()).await?;
    client.batch_execute(&format!("CREATE SCHEMA {SYSBENCH}")).await?;
    for table in 1..=4 {
        client
            .batch_execute(&format!(
                "CREATE TABLE {SYSBENCH}.sbtest{table} (id int NOT NULL, k int NOT NULL, c char(120) NOT NULL, pad char(60) NOT NULL)"
            ))
            .await?;
    }
    Ok(())
}

/// Two streams of `SELECT` into `COPY`, each of two tables one after the other, then key and index of each.
pub(crate) fn copy(sides: &Sides) -> Result<Cost> {
    let begin = std::time::Instant::now();
    let before = times_of_children();
    let status = std::thread::scope(|scope| -> Result<ExitStatus> {
        let second = scope.spawn(|| tables(sides, &[3, 4]));
        let status = tables(sides, &[1, 2])?;
        second.join().map_err(|_| anyhow::anyhow!("a stream panicked"))??;
        Ok(status)
    })?;
    Ok(Cost { status, wall: begin.elapsed(), cpu_seconds: times_of_children() - before, peak_memory: 0 })
}

fn tables(sides: &Sides, tables: &[u32]) -> Result<ExitStatus> {
    let mut last = None;
    for table in tables {
        let mut reader = sides
            .source
            .client()?
            .args(["--batch", "--skip-column-names", "--quick", "--execute"])
            .arg(format!("SELECT * FROM {SYSBENCH}.sbtest{table}"))
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the source's client")?;
        let rows = reader.stdout.take().context("the client has no output")?;
        let loaded = sides
            .target
            .client()?
            .args(["--command", &format!("COPY {SYSBENCH}.sbtest{table} FROM STDIN")])
            .stdin(rows)
            .status()
            .context("running the target's client")?;
        ensure!(
            reader.wait()?.success() && loaded.success(),
            "copying sbtest{table} through the clients failed"
        );
        let indexed = sides
            .target
            .client()?
            .args(["--command", &format!("ALTER TABLE {SYSBENCH}.sbtest{table} ADD PRIMARY KEY (id)")])
            .args(["--command", &format!("CREATE INDEX ON {SYSBENCH}.sbtest{table} (k)")])
            .status()?;
        ensure!(indexed.success(), "building the indexes of sbtest{table} failed");
        last = Some(indexed);
    }
    last.context("no tables")
}
