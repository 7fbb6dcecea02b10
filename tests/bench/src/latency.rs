//! How long a commit takes from the source to the target while the engine follows.

use std::fmt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mysql_async::prelude::Queryable as _;
use test_support::connect;

use crate::engine;
use crate::sides::Sides;

const DATABASE: &str = "latency";
const WRITERS: u64 = 4;
/// Row changes of a transaction.
const CHANGES: u64 = 5;
/// How often the target is asked what has arrived: the figures are late by no more than this.
const POLL: Duration = Duration::from_millis(2);
const LIMIT: Duration = Duration::from_mins(1);
/// What is committed in this time at the beginning does not count: the engine still builds its indexes.
const WARM_UP: Duration = Duration::from_secs(3);

/// Times from the answer to a commit at the source until the target shows it, shortest first.
#[derive(Debug)]
pub(crate) struct Latency {
    times: Vec<Duration>,
    /// Changes a second that were really made.
    rate: f64,
}

impl Latency {
    fn percentile(&self, percent: usize) -> f64 {
        let last = self.times.len().saturating_sub(1);
        self.times.get(last * percent / 100).map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
    }

    /// The figures as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::json!({"name": "latency", "changes_per_s": self.rate, "p50_ms": self.percentile(50),
               "p95_ms": self.percentile(95), "p99_ms": self.percentile(99), "longest_ms": self.percentile(100)})
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "From commit to commit at {:.0} changes/s, {} transactions: median {:.0} ms, p95 {:.0} ms, p99 {:.0} ms, \
             longest {:.0} ms.",
            self.rate,
            self.times.len(),
            self.percentile(50),
            self.percentile(95),
            self.percentile(99),
            self.percentile(100),
        )
    }
}

/// Follows `rate` changes a second for `duration`.
pub(crate) fn measure(
    runtime: &tokio::runtime::Runtime,
    sides: &Sides,
    plugin: &Path,
    rate: u64,
    duration: Duration,
) -> Result<Latency> {
    runtime.block_on(sides.drop_schema(DATABASE))?;
    engine::forget(sides)?;
    runtime.block_on(tables(sides))?;
    let mut command = engine::command(sides, DATABASE, &[plugin])?;
    let mut engine = command.args(["--parallelism", "8"]).stderr(Stdio::null()).spawn()?;
    let measured = runtime.block_on(follow(sides, rate, duration));
    engine.kill()?;
    engine.wait()?;
    measured
}

async fn tables(sides: &Sides) -> Result<()> {
    let mut source = connect::mysql(sides.source.url()).await?;
    source.query_drop(format!("DROP DATABASE IF EXISTS {DATABASE}")).await?;
    source.query_drop(format!("CREATE DATABASE {DATABASE}")).await?;
    for writer in 0..WRITERS {
        source
            .query_drop(format!(
                "CREATE TABLE {DATABASE}.t{writer} (id BIGINT PRIMARY KEY, v VARCHAR(100) NOT NULL)"
            ))
            .await?;
    }
    source.disconnect().await?;
    Ok(())
}

async fn follow(sides: &Sides, rate: u64, duration: Duration) -> Result<Latency> {
    // A first row, so that the engine is known to follow.
    let begin = Instant::now();
    let mut source = connect::mysql(&sides.source.url_of(DATABASE)).await?;
    source.query_drop("INSERT INTO t0 VALUES (0, 'first')").await?;
    source.disconnect().await?;
    let target = connect::postgres(sides.target.url()).await?;
    let arrived = format!("SELECT to_regclass('{DATABASE}.t0') IS NOT NULL");
    while !target.query_one(&arrived, &[]).await?.get::<_, bool>(0)
        || target.query(&format!("SELECT FROM {DATABASE}.t0"), &[]).await?.is_empty()
    {
        ensure!(begin.elapsed() < LIMIT, "the engine does not follow");
        tokio::time::sleep(POLL).await;
    }
    let begin = Instant::now();
    let pause = Duration::from_secs_f64((WRITERS * CHANGES) as f64 / rate as f64);
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| tokio::spawn(write(sides.source.url_of(DATABASE), writer, pause, duration)))
        .collect();
    let watchers: Vec<_> = (0..WRITERS)
        .map(|writer| tokio::spawn(watch(sides.target.url().to_owned(), writer, duration)))
        .collect();
    let mut times = Vec::new();
    for (writer, watcher) in writers.into_iter().zip(watchers) {
        let (committed, seen) = (writer.await??, watcher.await??);
        let mut seen = seen.into_iter();
        let mut last = seen.next();
        for (id, at) in committed {
            while last.is_some_and(|(seen, _)| seen < id) {
                last = seen.next();
            }
            let (_, arrived) = last.context("a row never arrived")?;
            if at - begin >= WARM_UP {
                times.push(arrived.saturating_duration_since(at));
            }
        }
    }
    let rate = (times.len() as u64 * CHANGES) as f64 / duration.saturating_sub(WARM_UP).as_secs_f64();
    times.sort_unstable();
    Ok(Latency { times, rate })
}

/// Commits transactions of an insert and updates, and notes each one's row and the moment of its commit.
async fn write(url: String, writer: u64, pause: Duration, duration: Duration) -> Result<Vec<(i64, Instant)>> {
    let mut source = connect::mysql(&url).await?;
    let begin = Instant::now();
    let mut committed = Vec::new();
    let mut ticks = tokio::time::interval(pause);
    while begin.elapsed() < duration {
        ticks.tick().await;
        let id = committed.len() as i64 + 1;
        source.query_drop("BEGIN").await?;
        source.query_drop(format!("INSERT INTO t{writer} VALUES ({id}, REPEAT('v', 100))")).await?;
        for change in 1..CHANGES as i64 {
            let row = id - change * 50;
            source.query_drop(format!("UPDATE t{writer} SET v = '{id}' WHERE id = {}", row.max(1))).await?;
        }
        source.query_drop("COMMIT").await?;
        committed.push((id, Instant::now()));
    }
    source.disconnect().await?;
    Ok(committed)
}

/// Notes the latest row of a writer's table whenever it is another, until nothing comes any more.
async fn watch(url: String, writer: u64, duration: Duration) -> Result<Vec<(i64, Instant)>> {
    let target = connect::postgres(&url).await?;
    let query = target.prepare(&format!("SELECT coalesce(max(id), 0) FROM {DATABASE}.t{writer}")).await?;
    let (begin, mut last_change) = (Instant::now(), Instant::now());
    let mut seen = Vec::new();
    let mut last = 0;
    while begin.elapsed() < duration || last_change.elapsed() < Duration::from_secs(3) {
        let id: i64 = target.query_one(&query, &[]).await?.get(0);
        if id != last {
            last = id;
            last_change = Instant::now();
            seen.push((id, last_change));
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(seen)
}
