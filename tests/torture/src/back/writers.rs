//! Connections that keep changing a `PostgreSQL`, whatever happens to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use test_support::connect;
use test_support::numbers::Numbers;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Error};

use super::changes::transaction;
use crate::tables::DATABASE;
use crate::writers::Written;

/// Errors after which a transaction is rolled back and forgotten: a key that is there already or still referred to, a
/// deadlock, a lock that is not to be had.
const EXPECTED: [&str; 5] = ["23505", "23503", "40P01", "55P03", "40001"];
/// Wait before a server that is down is tried again.
const PAUSE: Duration = Duration::from_millis(50);

/// Running writers; they stop when dropped.
#[derive(Debug)]
pub(crate) struct Writers {
    stop: Arc<AtomicBool>,
    transactions: Arc<AtomicU64>,
    changes: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<Result<()>>>,
}

impl Writers {
    /// Starts `number` connections to `url`, with `pause` between two transactions of one.
    pub(crate) fn start(url: &str, number: u64, pause: Duration, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (transactions, changes) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let tasks = (0..number)
            .map(|writer| {
                let writer = Writer {
                    url: url.to_owned(),
                    number: writer,
                    pause,
                    stop: Arc::clone(&stop),
                    transactions: Arc::clone(&transactions),
                    changes: Arc::clone(&changes),
                };
                let numbers = Numbers::new(seed.wrapping_mul(31).wrapping_add(writer.number));
                tokio::spawn(writer.run(numbers))
            })
            .collect();
        Self { stop, transactions, changes, tasks }
    }

    /// Lets each writer end its transaction, and answers what they did together.
    pub(crate) async fn stop(mut self) -> Result<Written> {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks.drain(..) {
            task.await.context("a writer panicked")??;
        }
        Ok(Written {
            transactions: self.transactions.load(Ordering::Relaxed),
            changes: self.changes.load(Ordering::Relaxed),
        })
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Writer {
    url: String,
    number: u64,
    pause: Duration,
    stop: Arc<AtomicBool>,
    transactions: Arc<AtomicU64>,
    changes: Arc<AtomicU64>,
}

impl Writer {
    async fn run(self, mut numbers: Numbers) -> Result<()> {
        loop {
            let written = async {
                let client = self.connect().await?;
                while !self.stop.load(Ordering::Relaxed) {
                    self.write(&client, &mut numbers).await?;
                    tokio::time::sleep(self.pause).await;
                }
                Ok(())
            };
            match written.await {
                Err(error) if is_outage(&error) => tokio::time::sleep(PAUSE).await,
                result => return result,
            }
        }
    }

    /// Connects, and decides about what an outage has left prepared, which would hold its locks for ever.
    async fn connect(&self) -> Result<Client> {
        let client = connect::postgres(&self.url).await?;
        client.batch_execute(&format!("SET search_path = {DATABASE}; SET lock_timeout = '5s'")).await?;
        let prepared = client
            .query("SELECT gid FROM pg_prepared_xacts WHERE gid LIKE $1", &[&format!("{} %", self.number)])
            .await?;
        for row in prepared {
            let name: String = row.get(0);
            let end = if name.len().is_multiple_of(2) { "COMMIT" } else { "ROLLBACK" };
            client.batch_execute(&format!("{end} PREPARED '{name}'")).await?;
        }
        Ok(client)
    }

    async fn write(&self, client: &Client, numbers: &mut Numbers) -> Result<()> {
        let statements = transaction(numbers);
        // What has a temporary table can't be prepared.
        let in_two_phases =
            numbers.below(12) == 0 && !statements.iter().any(|statement| statement.contains("TEMPORARY"));
        client.batch_execute("BEGIN").await?;
        let (mut changes, mut at_savepoint) = (0, 0);
        for statement in &statements {
            match client.execute(statement.as_str(), &[]).await {
                Ok(_) if statement.starts_with("CREATE") || statement.starts_with("TRUNCATE") => {}
                Ok(_) if statement.starts_with("SAVEPOINT") => at_savepoint = changes,
                Ok(_) if statement.starts_with("ROLLBACK TO") => changes = at_savepoint,
                Ok(rows) => changes += rows,
                Err(error) if is_expected(&error) => return Ok(client.batch_execute("ROLLBACK").await?),
                Err(error) => return Err(error).with_context(|| format!("writing: {statement}")),
            }
        }
        if in_two_phases {
            let name = format!("{} {}", self.number, numbers.next());
            client.batch_execute(&format!("PREPARE TRANSACTION '{name}'")).await?;
            tokio::time::sleep(self.pause).await;
            let commit = numbers.below(3) > 0;
            let end = if commit { "COMMIT" } else { "ROLLBACK" };
            client.batch_execute(&format!("{end} PREPARED '{name}'")).await?;
            if !commit {
                return Ok(());
            }
        } else {
            client.batch_execute("COMMIT").await?;
        }
        self.transactions.fetch_add(1, Ordering::Relaxed);
        self.changes.fetch_add(changes, Ordering::Relaxed);
        Ok(())
    }
}

fn is_expected(error: &Error) -> bool {
    error.code().is_some_and(|code| EXPECTED.contains(&code.code()))
}

/// Whether the server was away, is going down or is only just coming up.
fn is_outage(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| match cause.downcast_ref::<Error>() {
        Some(error) => match error.code() {
            Some(code) => matches!(code.code(), "57P01" | "57P02" | "57P03" | "53300"),
            None => true,
        },
        None => cause.is::<std::io::Error>(),
    })
}
