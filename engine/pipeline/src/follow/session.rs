//! One stream and one set of lanes, and what goes from the one to the other.

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use engine_core::change::{ChangeSet, SchemaChange};
use engine_core::error::{Error, ErrorKind, Result};
use engine_core::position::Position;
use engine_core::source::{ChangeStream, LogHold, Source};
use engine_core::target::{Lanes, Target};
use engine_core::transaction::TransactionId;

use crate::merge;
use crate::progress::{Progress, now_ms};
use crate::verify::incremental::{Fed, Watch};

use super::Followed;
use super::dispatch::{Dispatcher, Work};
use super::lane::{self, End, Part, RoutedTable, Shared};
use super::ledger::{self, Ledger};
use super::routing::{RoutedSet, Router};

/// Sets decoded ahead.
const SETS_AHEAD: usize = 2;
/// Sets whose parts the lanes may have at once.
const SETS_OPEN: usize = 8;
/// How long the lanes may go on with what they have when the task is being stopped.
const DRAIN: Duration = Duration::from_secs(20);
/// How often the source is told what it need not keep any more.
const RELEASE: Duration = Duration::from_secs(3);
/// How long nothing comes from a source whose changes are all applied.
const QUIET: Duration = Duration::from_secs(1);
/// How long the target may stand further than it knows while nothing happens.
const SETTLE: Duration = Duration::from_millis(100);

/// What a session asks and tells beside its stream and its lanes.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    /// Where the stream comes from: knows the order of positions.
    pub(super) source: &'a dyn Source,
    /// Where progress is told.
    pub(super) progress: &'a Progress,
    /// When to stop.
    pub(super) stop: &'a CancellationToken,
}

/// See the module.
pub(super) struct Session<'a> {
    context: Context<'a>,
    router: Router,
    sets: mpsc::Receiver<Result<ChangeSet>>,
    dispatcher: Dispatcher,
    shared: Arc<Shared>,
    lanes: Vec<mpsc::Sender<Part>>,
    /// The lanes, and the reader of the stream. Aborted when the session ends.
    running: JoinSet<Result<()>>,
    /// Where the copy ended, until the stream is beyond it.
    copied: Option<Position>,
    /// Where the last set ended.
    fed: Position,
    /// What the first lane was given in pieces and has not had the end of.
    pieces: Option<ledger::Entry>,
    /// What compares the changes after they were applied.
    watch: Option<Watch>,
}

/// Has the source drop from time to time what the target has for good, an interval late: a check that has just
/// asked the target where it stands goes on from there.
async fn release(hold: Arc<dyn LogHold>, target: Arc<dyn Target>, shared: Arc<Shared>) -> Result<()> {
    let mut last: Option<Position> = None;
    loop {
        tokio::time::sleep(RELEASE).await;
        let written = shared.ledger(|ledger| ledger.written_position().clone());
        if last.as_ref() != Some(&written) {
            target.flush().await?;
        }
        if let Some(durable) = last.replace(written) {
            hold.release(&durable)?;
        }
    }
}

impl<'a> Session<'a> {
    /// Starts reader and lanes.
    pub(super) fn begin(
        context: Context<'a>,
        target: Lanes,
        mut stream: Box<dyn ChangeStream>,
        router: Router,
        copied: Option<Position>,
    ) -> Self {
        let count = target.appliers.len();
        let shared = Arc::new(Shared {
            ledger: Mutex::new(Ledger::new(target.position.clone(), &target.applied)),
            progressed: Notify::new(),
            committed: (0..count).map(|_| watch::Sender::new(0)).collect(),
        });
        let mut running = JoinSet::new();
        let mut lanes = Vec::with_capacity(count);
        for (number, applier) in target.appliers.into_iter().enumerate() {
            let (sender, parts) = mpsc::channel(SETS_OPEN);
            running.spawn(lane::run(number, applier, parts, Arc::clone(&shared)));
            lanes.push(sender);
        }
        let (sender, sets) = mpsc::channel(SETS_AHEAD);
        running.spawn(async move {
            loop {
                let set = stream.next().await;
                let failed = set.is_err();
                if sender.send(set).await.is_err() || failed {
                    return std::future::pending().await;
                }
            }
        });
        Self {
            context,
            router,
            sets,
            dispatcher: Dispatcher::new(count),
            shared,
            lanes,
            running,
            copied,
            fed: target.position,
            pieces: None,
            watch: None,
        }
    }

    /// Has the source drop what `target` has for good.
    pub(super) fn release(&mut self, hold: Arc<dyn LogHold>, target: Arc<dyn Target>) {
        self.running.spawn(release(hold, target, Arc::clone(&self.shared)));
    }

    /// What runs beside the session and ends it by failing.
    pub(super) fn running(&mut self) -> &mut JoinSet<Result<()>> {
        &mut self.running
    }

    /// Has the changes compared after they were applied.
    pub(super) fn watch_by(&mut self, watch: Watch) {
        self.watch = Some(watch);
    }

    /// Feeds the lanes until `until` is covered, or, without one, until stopped, or up to a change of
    /// structure.
    pub(super) async fn run(mut self, until: Option<&Position>) -> Result<Followed> {
        let followed = self.follow(until).await;
        let is_over = match &followed {
            Ok(_) => true,
            Err(error) => error.kind() == ErrorKind::Interrupted,
        };
        if let Some(watch) = self.watch.take().filter(|_| is_over) {
            watch.settle(self.context.stop).await?;
        }
        followed
    }

    async fn follow(&mut self, until: Option<&Position>) -> Result<Followed> {
        loop {
            self.advance();
            // What a lane has a part of must not be committed, as telling where it stands would.
            let is_whole = self.pieces.is_none();
            if let Some(until) = until
                && is_whole
                && self.context.source.covers(&self.position(), until)?
            {
                self.drain().await?;
                self.context.progress.update(|report| report.lag_ms = Some(0));
                return Ok(Followed::Reached);
            }
            let (open, settled) = self.shared.ledger(|ledger| (ledger.open_sets(), !ledger.is_unwritten()));
            tokio::select! {
                biased;
                () = self.context.stop.cancelled() => {
                    if self.pieces.is_none() && let Ok(drained) = timeout(DRAIN, self.drain()).await {
                        drained?;
                    }
                    return Err(Error::new(ErrorKind::Interrupted, "stopped while following the source"));
                }
                ended = self.running.join_next() => return Err(failure(ended)),
                () = self.shared.progressed.notified() => {}
                set = self.sets.recv(), if open < SETS_OPEN => {
                    let ended = || Err(Error::new(ErrorKind::Internal, "the change stream ended unexpectedly"));
                    match set.unwrap_or_else(ended) {
                        Ok(mut set) => match set.schema_change.take() {
                            Some(change) => return self.structure(change, set).await,
                            None => self.feed(set).await?,
                        },
                        Err(error) => {
                            // What came before the failure is applied, so that it shows what is left.
                            if self.pieces.is_none() {
                                let _ = timeout(DRAIN, self.drain()).await;
                            }
                            return Err(error);
                        }
                    }
                }
                () = tokio::time::sleep(SETTLE), if open == 0 && !settled && is_whole => self.settle().await?,
                () = tokio::time::sleep(QUIET), if open == 0 && settled && is_whole => {
                    self.context.progress.update(|report| report.applied_at_ms = Some(now_ms()));
                }
            }
        }
    }

    fn position(&self) -> Position {
        self.shared.ledger(|ledger| ledger.position().clone())
    }

    /// Moves the position over what is committed, and tells.
    fn advance(&mut self) {
        let (advance, position) = self.shared.ledger(|ledger| (ledger.advance(), ledger.position().clone()));
        self.context.progress.update(|report| {
            report.transactions_applied += advance.transactions;
            report.position = Some(position.to_string());
            if let Some(at) = advance.committed_at {
                let at_ms = (at / 1000).max(0) as u64;
                report.lag_ms = Some(now_ms().saturating_sub(at_ms));
                report.applied_at_ms = Some(at_ms);
            } else if report.lag_ms.is_none() {
                report.lag_ms = Some(0);
            }
            self.router.tell_dead(report);
            for &(place, changes) in &advance.changes {
                if let Some(line) = report.tables.get_mut(place) {
                    line.changes_applied += changes;
                }
            }
        });
    }

    /// Waits until the lanes have committed all they were given and the target knows it.
    async fn drain(&mut self) -> Result<()> {
        self.wait(Ledger::is_idle).await?;
        self.advance();
        self.settle().await
    }

    /// Has the target told where it stands, where it doesn't know yet.
    async fn settle(&mut self) -> Result<()> {
        if self.shared.ledger(|ledger| ledger.is_unwritten()) {
            let part = Part {
                tables: Arc::default(),
                entries: Vec::new(),
                waits: Vec::new(),
                end: End::Standing,
                position: None,
            };
            self.give(0, part).await?;
            self.wait(|ledger| !ledger.is_unwritten()).await?;
        }
        Ok(())
    }

    /// Waits until the ledger is as it should be, or a lane fails.
    async fn wait(&mut self, is_so: impl Fn(&Ledger) -> bool) -> Result<()> {
        while !self.shared.ledger(|ledger| is_so(ledger)) {
            tokio::select! {
                biased;
                ended = self.running.join_next() => return Err(failure(ended)),
                () = self.shared.progressed.notified() => {}
            }
        }
        Ok(())
    }

    async fn give(&mut self, lane: usize, part: Part) -> Result<()> {
        let Some(sender) = self.lanes.get(lane) else { return Err(failure(None)) };
        if sender.send(part).await.is_err() {
            return Err(failure(self.running.join_next().await));
        }
        Ok(())
    }

    /// Ends before a change of structure, with everything before it committed.
    async fn structure(&mut self, change: SchemaChange, set: ChangeSet) -> Result<Followed> {
        match set.position {
            Some(position) if set.tables.is_empty() && self.pieces.is_none() => {
                self.drain().await?;
                Ok(Followed::Structure(Box::new(change), position))
            }
            _ => Err(Error::new(ErrorKind::Internal, "a change of structure came together with rows")
                .at("statement", change.statement)),
        }
    }

    /// Converts a set and gives it to the lanes.
    async fn feed(&mut self, set: ChangeSet) -> Result<()> {
        let strict = self.is_beyond_copy()?;
        if self.pieces.is_none() {
            self.router.begin_transaction();
        }
        let routed = self.router.route(set.tables, &set.changing, strict, self.context.progress).await?;
        for (lane, committed) in self.shared.committed.iter().enumerate() {
            self.dispatcher.committed(lane, *committed.borrow());
        }
        let RoutedSet { tables, changes, work, counts } = routed;
        let tables = Arc::new(tables);
        if let Some(watch) = &self.watch {
            let places = counts.iter().map(|&(place, _)| place);
            let fed = Fed {
                position: set.position.clone(),
                transactions: set.changing.clone(),
                tables: Arc::clone(&tables),
                changes: places.zip(changes.iter().cloned()).collect(),
            };
            if !watch.take(fed).await {
                return Err(failure(self.running.join_next().await));
            }
        }
        let entry = ledger::Entry {
            position: set.position.clone(),
            parts: Vec::new(),
            passed_over: set.passed_over,
            transactions: set.transactions,
            committed_at: set.committed_at,
            changes: counts,
        };
        if set.position.is_none() || self.pieces.is_some() {
            self.give_piece(tables, changes, set.changing, entry).await?;
        } else {
            self.spread(tables, &changes, &work, &set.changing, entry).await?;
        }
        if let Some(position) = set.position {
            self.fed = position;
        }
        Ok(())
    }

    /// Gives the first lane a piece of a transaction that is too big for a set.
    async fn give_piece(
        &mut self,
        tables: Arc<Vec<RoutedTable>>,
        changes: Vec<Vec<(u32, merge::Entry)>>,
        transactions: Vec<TransactionId>,
        mut entry: ledger::Entry,
    ) -> Result<()> {
        // Nobody knows what the rest will touch: the other lanes wait till it is over.
        self.wait(Ledger::is_idle).await?;
        let position = entry.position.clone();
        entry.parts.push((0, transactions));
        let entry = match self.pieces.take() {
            Some(pieces) => pieces.followed_by(entry),
            None => entry,
        };
        let end = if position.is_none() {
            self.pieces = Some(entry);
            End::More
        } else {
            self.dispatcher.assign_all(0);
            End::Set(self.shared.ledger(|ledger| ledger.open(entry)))
        };
        let entries =
            changes.into_iter().map(|changes| changes.into_iter().map(|(_, entry)| entry).collect());
        let part = Part { tables, entries: entries.collect(), waits: Vec::new(), end, position };
        self.give(0, part).await?;
        if end != End::More {
            self.wait(Ledger::is_idle).await?;
        }
        Ok(())
    }

    /// Spreads whole transactions over the lanes.
    async fn spread(
        &mut self,
        tables: Arc<Vec<RoutedTable>>,
        changes: &[Vec<(u32, merge::Entry)>],
        work: &Work,
        transactions: &[TransactionId],
        mut entry: ledger::Entry,
    ) -> Result<()> {
        let position = entry.position.clone();
        let assignments = self.dispatcher.assign(work);
        let mut lane_of = vec![0; transactions.len()];
        for assignment in &assignments {
            for &transaction in &assignment.transactions {
                if let Some(slot) = lane_of.get_mut(transaction as usize) {
                    *slot = assignment.lane;
                }
            }
            let names = assignment.transactions.iter();
            let names = names.filter_map(|&number| transactions.get(number as usize)).cloned().collect();
            entry.parts.push((assignment.lane, names));
        }
        let sequence = self.shared.ledger(|ledger| ledger.open(entry));
        for assignment in assignments {
            let of_lane = |changes: &Vec<(u32, merge::Entry)>| {
                let own = |&&(number, _): &&(u32, _)| lane_of.get(number as usize) == Some(&assignment.lane);
                changes.iter().filter(own).map(|&(_, entry)| entry).collect()
            };
            let part = Part {
                tables: Arc::clone(&tables),
                entries: changes.iter().map(of_lane).collect(),
                waits: assignment.waits,
                end: End::Set(sequence),
                position: position.clone(),
            };
            self.give(assignment.lane, part).await?;
        }
        Ok(())
    }

    /// Whether no chunk can have read any of what comes now.
    fn is_beyond_copy(&mut self) -> Result<bool> {
        if let Some(copied) = &self.copied
            && self.context.source.covers(&self.fed, copied)?
        {
            self.copied = None;
        }
        Ok(self.copied.is_none())
    }
}

/// The error of a task of the session that ended, which none does by itself.
fn failure(ended: Option<Result<Result<()>, tokio::task::JoinError>>) -> Error {
    match ended {
        Some(Ok(Err(error))) => error,
        Some(Err(error)) => Error::new(ErrorKind::Internal, "a lane ended unexpectedly").caused_by(error),
        Some(Ok(Ok(()))) | None => Error::new(ErrorKind::Internal, "a lane ended unexpectedly"),
    }
}
