//! The check during one session of the stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use engine_core::error::{Error, ErrorKind, Result};
use engine_core::position::Position;
use engine_core::transaction::{TransactionId, TransactionSet};

use crate::follow::RoutedTable;
use crate::merge::Entry;
use crate::retry::{Backoff, may_pass};
use crate::route::Route;

use super::Incremental;
use super::note::noted;

/// Sets that wait to be noted.
const SETS_AHEAD: usize = 4;
/// Time between two looks, so that the target is not asked all the time. Nothing depends on it.
const BREATH: Duration = Duration::from_millis(250);
/// How long the last look may take when the task is being stopped.
const LAST_LOOK: Duration = Duration::from_secs(20);

/// A set that the lanes are about to get.
pub(crate) struct Fed {
    /// Where it ends.
    pub(crate) position: Option<Position>,
    /// Its transactions that changed something.
    pub(crate) transactions: Vec<TransactionId>,
    /// Its tables.
    pub(crate) tables: Arc<Vec<RoutedTable>>,
    /// For each of them its number in the task, and its changes.
    pub(crate) changes: Vec<(usize, Vec<(u32, Entry)>)>,
}

#[derive(Debug)]
struct Counters {
    fed: AtomicU64,
    noted: watch::Sender<u64>,
}

impl Counters {
    /// Waits until all that was fed until now is noted.
    async fn caught_up(&self) -> Result<()> {
        let fed = self.fed.load(Ordering::SeqCst);
        let ended = |_| Error::new(ErrorKind::Internal, "the check of changes ended unexpectedly");
        self.noted.subscribe().wait_for(|&noted| noted >= fed).await.map_err(ended)?;
        Ok(())
    }
}

/// See the module.
pub(crate) struct Watch {
    check: Arc<Incremental>,
    sets: mpsc::Sender<Fed>,
    counters: Arc<Counters>,
}

impl Watch {
    /// Begins to look, in tasks among `running`, at a target that stands there.
    pub(crate) async fn begin(
        check: &Arc<Incremental>,
        routes: &[Arc<Route>],
        position: &Position,
        applied: &TransactionSet,
        running: &mut JoinSet<Result<()>>,
        stop: &CancellationToken,
    ) -> Result<Self> {
        check.adopt(routes, position, applied).await?;
        check.recall(stop).await?;
        let (sender, sets) = mpsc::channel(SETS_AHEAD);
        let counters = Arc::new(Counters { fed: AtomicU64::new(0), noted: watch::Sender::new(0) });
        running.spawn(note(Arc::clone(check), Arc::clone(&counters), sets));
        running.spawn(look_now_and_then(Arc::clone(check), Arc::clone(&counters)));
        Ok(Self { check: Arc::clone(check), sets: sender, counters })
    }

    /// Takes a set in, before the lanes get it; false when the check has failed.
    pub(crate) async fn take(&self, set: Fed) -> bool {
        self.counters.fed.fetch_add(1, Ordering::SeqCst);
        self.sets.send(set).await.is_ok()
    }

    /// Looks at all that waits, once the lanes have committed it. With `stop` cancelled there is one attempt.
    pub(crate) async fn settle(&self, stop: &CancellationToken) -> Result<()> {
        let mut backoff = Backoff::new();
        loop {
            let look = self.check.look(|| self.counters.caught_up());
            if stop.is_cancelled() {
                match timeout(LAST_LOOK, look).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::warn!("the last look at what changed failed: {error}"),
                    Err(_) => tracing::warn!("the last look at what changed took too long and was given up"),
                }
                break;
            }
            match look.await {
                Err(error) if may_pass(&error) => match backoff.wait(error, stop).await {
                    Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                    _ => {}
                },
                result => {
                    result?;
                    break;
                }
            }
        }
        self.check.rest().await;
        self.check.tell();
        Ok(())
    }
}

/// Notes what the lanes are about to get.
async fn note(check: Arc<Incremental>, counters: Arc<Counters>, mut sets: mpsc::Receiver<Fed>) -> Result<()> {
    let tables = check.tables();
    while let Some(set) = sets.recv().await {
        let mut changes = Vec::with_capacity(set.changes.len());
        for (routed, (place, entries)) in set.tables.iter().zip(&set.changes) {
            let table = tables.get(*place).ok_or_else(|| {
                Error::new(ErrorKind::Internal, "a set has changes of a table that is not the task's")
            })?;
            changes.push((*place, noted(table, &check.hashing, routed, entries)?));
            tokio::task::yield_now().await;
        }
        check.pending().note(set.position, set.transactions, changes);
        counters.noted.send_modify(|noted| *noted += 1);
    }
    // The session is over and aborts this.
    std::future::pending().await
}

/// Looks whenever something waits.
async fn look_now_and_then(check: Arc<Incremental>, counters: Arc<Counters>) -> Result<()> {
    let mut noted = counters.noted.subscribe();
    let never = CancellationToken::new();
    let mut backoff = Backoff::new();
    loop {
        noted.mark_unchanged();
        if !check.pending().is_waiting() {
            if noted.changed().await.is_err() {
                return std::future::pending().await;
            }
            continue;
        }
        match check.look(|| counters.caught_up()).await {
            Ok(()) => backoff = Backoff::new(),
            Err(error) if may_pass(&error) => backoff.wait(error, &never).await?,
            Err(error) => return Err(error),
        }
        tokio::time::sleep(BREATH).await;
    }
}
