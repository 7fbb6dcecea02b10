//! Connections that keep changing the source, whatever happens to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error};
use test_support::connect;
use test_support::numbers::Numbers;
use tokio::task::JoinHandle;

use crate::changes::{FORGET, transaction};
use crate::distributed::{self, Distributed, End};

/// Errors after which a transaction is rolled back and forgotten: duplicate key, deadlock, lock timeout, changed row,
/// a parent that is missing or still referred to.
pub(crate) const EXPECTED: [u16; 6] = [1062, 1213, 1205, 1020, 1451, 1452];
/// Wait before a source that is down is tried again.
const PAUSE: Duration = Duration::from_millis(50);

/// Counts what was committed.
#[derive(Debug, Default)]
struct Counts {
    transactions: AtomicU64,
    changes: AtomicU64,
}

/// Running writers; they stop when dropped.
#[derive(Debug)]
pub(crate) struct Writers {
    stop: Arc<AtomicBool>,
    counts: Arc<Counts>,
    tasks: Vec<JoinHandle<Result<()>>>,
}

/// What writers committed, as far as they know: a commit that a dying source did not answer is not counted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Written {
    /// Transactions.
    pub transactions: u64,
    /// Rows inserted, updated and deleted in them.
    pub changes: u64,
}

impl Writers {
    /// Starts `number` connections to `url`, with `pause` between two transactions of one.
    /// Distributed transactions are prepared only if `prepare`.
    pub(crate) fn start(url: &str, number: u64, pause: Duration, prepare: bool, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let counts = Arc::new(Counts::default());
        let tasks = (0..number)
            .map(|writer| {
                let (url, stop, counts) = (url.to_owned(), Arc::clone(&stop), Arc::clone(&counts));
                let mut numbers = Numbers::new(seed.wrapping_mul(31).wrapping_add(writer));
                tokio::spawn(async move {
                    let mut kinds = Kinds { writer, prepare, distributed: 0 };
                    while !stop.load(Ordering::Relaxed) {
                        match write(&url, pause, &mut numbers, &mut kinds, &stop, &counts).await {
                            Err(error) if is_outage(&error) => tokio::time::sleep(PAUSE).await,
                            result => result?,
                        }
                    }
                    // What an outage left prepared would hold its locks for ever.
                    distributed::settle(&mut connect::mysql(&url).await?, writer).await
                })
            })
            .collect();
        Self { stop, counts, tasks }
    }

    /// Lets each writer end its transaction, and answers what they did together.
    pub(crate) async fn stop(mut self) -> Result<Written> {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks.drain(..) {
            task.await.context("a writer panicked")??;
        }
        Ok(Written {
            transactions: self.counts.transactions.load(Ordering::Relaxed),
            changes: self.counts.changes.load(Ordering::Relaxed),
        })
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// What kinds of transactions a writer makes.
#[derive(Debug)]
struct Kinds {
    writer: u64,
    /// Whether distributed ones are prepared.
    prepare: bool,
    /// How many of them there were.
    distributed: u64,
}

impl Kinds {
    /// Now and then a distributed transaction, else `None`.
    fn draw(&mut self, numbers: &mut Numbers) -> Option<Distributed> {
        if numbers.below(12) > 0 {
            return None;
        }
        self.distributed += 1;
        let commit = numbers.below(3) > 0;
        let end = match numbers.below(4) {
            0 => End::OnePhase,
            _ if !self.prepare => End::OnePhase,
            1 => End::Elsewhere,
            _ => End::AfterPauses(numbers.below(8) as u32),
        };
        Some(Distributed::new(self.writer, self.distributed, commit, end))
    }
}

/// Whether the source was away, is going down or is only just coming up.
fn is_outage(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| match cause.downcast_ref::<Error>() {
        Some(Error::Server(server)) => {
            matches!(server.code, 1053 | 1077..=1080 | 1129 | 1158..=1161 | 1317 | 1927 | 3169)
        }
        Some(Error::Io(_) | Error::Driver(_)) => true,
        _ => cause.is::<std::io::Error>(),
    })
}

async fn write(
    url: &str,
    pause: Duration,
    numbers: &mut Numbers,
    kinds: &mut Kinds,
    stop: &AtomicBool,
    counts: &Counts,
) -> Result<()> {
    let mut connection = connect::mysql(url).await?;
    distributed::settle(&mut connection, kinds.writer).await?;
    while !stop.load(Ordering::Relaxed) {
        let statements = transaction(numbers);
        let committed = match kinds.draw(numbers) {
            None => commit(&mut connection, &statements).await?,
            Some(transaction) => {
                let (changes, left) = transaction.run(connection, &statements, pause).await?;
                connection = match left {
                    Some(connection) => connection,
                    None => connect::mysql(url).await?,
                };
                distributed::settle(&mut connection, kinds.writer).await?;
                changes
            }
        };
        if let Some(changes) = committed {
            counts.transactions.fetch_add(1, Ordering::Relaxed);
            counts.changes.fetch_add(changes, Ordering::Relaxed);
        }
        tokio::time::sleep(pause).await;
    }
    Ok(connection.disconnect().await?)
}

/// Commits the statements as one transaction and answers the number of changed rows; `None` if it was rolled back.
async fn commit(connection: &mut Conn, statements: &[String]) -> Result<Option<u64>> {
    connection.query_drop(FORGET).await?;
    connection.query_drop("BEGIN").await?;
    let Some(changes) = change(connection, statements).await? else {
        connection.query_drop("ROLLBACK").await?;
        return Ok(None);
    };
    connection.query_drop("COMMIT").await?;
    Ok(Some(changes))
}

/// Executes the statements and answers the number of changed rows; `None` if they have to be rolled back.
pub(crate) async fn change(connection: &mut Conn, statements: &[String]) -> Result<Option<u64>> {
    let (mut changes, mut at_savepoint) = (0, 0);
    for statement in statements {
        match connection.query_drop(statement).await {
            Ok(()) if statement.starts_with("SAVEPOINT") => at_savepoint = changes,
            Ok(()) if statement.starts_with("ROLLBACK TO") => changes = at_savepoint,
            Ok(()) if statement.starts_with("SELECT") => {}
            Ok(()) => changes += connection.affected_rows(),
            Err(Error::Server(error)) if EXPECTED.contains(&error.code) => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("writing: {statement}")),
        }
    }
    Ok(Some(changes))
}
