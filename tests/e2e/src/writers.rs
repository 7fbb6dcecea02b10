//! Connections that keep writing to the source.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error, TxOpts};
use test_support::connect;
use test_support::eventually;
use test_support::numbers::Numbers;
use tokio::task::JoinHandle;

/// Errors after which a writer rolls back and goes on: duplicate key, deadlock, lock timeout, changed row, a server that
/// refuses writes.
const EXPECTED: [u16; 6] = [1062, 1213, 1205, 1020, 1290, 1836];

/// Running writers; they stop when dropped.
#[derive(Debug)]
pub struct Writers {
    stop: Arc<AtomicBool>,
    committed: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<Result<Written>>>,
}

/// What the writers did.
#[derive(Debug, Clone, Copy, Default)]
pub struct Written {
    /// Committed transactions.
    pub transactions: u64,
    /// Rows inserted, updated and deleted in them.
    pub changes: u64,
}

impl Writers {
    /// Starts `number` connections to `url` that each commit one transaction after the other, of the statements that
    /// `transaction` answers, with `pause` in between.
    pub fn start(
        url: &str,
        number: u64,
        pause: Duration,
        transaction: impl Fn(&mut Numbers) -> Vec<String> + Send + Sync + 'static,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let committed = Arc::new(AtomicU64::new(0));
        let transaction = Arc::new(transaction);
        let tasks = (0..number)
            .map(|seed| {
                let (url, transaction) = (url.to_owned(), Arc::clone(&transaction));
                let (stop, committed) = (Arc::clone(&stop), Arc::clone(&committed));
                tokio::spawn(async move {
                    let mut connection = connect::mysql(&url).await?;
                    let mut numbers = Numbers::new(seed);
                    let mut written = Written::default();
                    while !stop.load(Ordering::Relaxed) {
                        let statements = transaction(&mut numbers);
                        if let Some(changes) = commit(&mut connection, &statements).await? {
                            written.changes += changes;
                            written.transactions += 1;
                            committed.fetch_add(1, Ordering::Relaxed);
                        }
                        tokio::time::sleep(pause).await;
                    }
                    connection.disconnect().await?;
                    Ok(written)
                })
            })
            .collect();
        Self { stop, committed, tasks }
    }

    /// Waits until `number` more transactions have been committed.
    pub async fn commit_more(&self, number: u64) -> Result<()> {
        let goal = self.committed.load(Ordering::Relaxed) + number;
        eventually("the writers' commits", async || {
            if self.tasks.iter().any(JoinHandle::is_finished) {
                bail!("a writer has ended; stop() says why");
            }
            Ok((self.committed.load(Ordering::Relaxed) >= goal).then_some(()))
        })
        .await
    }

    /// Lets each writer end its transaction, and answers what they did together.
    pub async fn stop(mut self) -> Result<Written> {
        self.stop.store(true, Ordering::Relaxed);
        let mut total = Written::default();
        for task in self.tasks.drain(..) {
            let written = task.await.context("a writer panicked")??;
            total.transactions += written.transactions;
            total.changes += written.changes;
        }
        Ok(total)
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Commits the statements as one transaction and answers the number of changed rows; `None` if it was rolled back
/// because of another writer.
async fn commit(connection: &mut Conn, statements: &[String]) -> Result<Option<u64>> {
    let mut transaction = connection.start_transaction(TxOpts::default()).await?;
    let mut changes = 0;
    for statement in statements {
        match transaction.query_drop(statement).await {
            Ok(()) => changes += transaction.affected_rows(),
            Err(Error::Server(error)) if EXPECTED.contains(&error.code) => {
                transaction.rollback().await?;
                return Ok(None);
            }
            Err(error) => return Err(error).with_context(|| format!("writing: {statement}")),
        }
    }
    match transaction.commit().await {
        Ok(()) => Ok(Some(changes)),
        Err(Error::Server(error)) if EXPECTED.contains(&error.code) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
