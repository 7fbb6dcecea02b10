//! One stream and one set of lanes, and what goes from the one to the other.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use engine_core::bitmap::Bitmap;
use engine_core::change::{ChangeSet, Op, SchemaChange, TableChanges};
use engine_core::error::{Error, ErrorKind, Result};
use engine_core::plan::{RowErrorPolicy, TargetTable};
use engine_core::position::Position;
use engine_core::source::{ChangeStream, LogHold};
use engine_core::target::{Lanes, Target};
use engine_core::transaction::TransactionId;
use engine_plugin::Origin;

use crate::dead_letter::Occurrences;
use crate::merge::{self, MergeKeys};
use crate::merged::{self, Company};
use crate::progress::now_ms;
use crate::route::Route;
use crate::verify::incremental::{Fed, Watch};

use super::dispatch::{Dispatcher, Work};
use super::keys::ConflictKeys;
use super::lane::{self, End, Part, RoutedTable, Shared};
use super::ledger::{self, Ledger};
use super::{Followed, Follower, set_aside};

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

/// See the module.
pub(super) struct Session<'a> {
    follower: &'a Follower<'a>,
    tables: Vec<Table>,
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
    /// Rows set aside of the transactions at hand.
    occurrences: Occurrences,
    /// What compares the changes after they were applied.
    watch: Option<Watch>,
}

/// A table of the stream.
struct Table {
    route: Arc<Route>,
    target: Arc<TargetTable>,
    merge_keys: Option<MergeKeys>,
    conflict_keys: ConflictKeys,
    company: Option<Arc<Company>>,
    /// Number in the task.
    place: usize,
}

/// A set after the routes.
struct RoutedSet {
    tables: Vec<RoutedTable>,
    /// For each table its changes, and for each change its transaction.
    changes: Vec<Vec<(u32, merge::Entry)>>,
    work: Work,
    /// Changes by table of the task.
    counts: Vec<(usize, u64)>,
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
    /// Starts reader and lanes. `places` has the number in the task of each table of the stream.
    pub(super) fn begin(
        follower: &'a Follower<'a>,
        target: Lanes,
        mut stream: Box<dyn ChangeStream>,
        places: Vec<usize>,
        copied: Option<Position>,
    ) -> Result<Self> {
        let mut keys = conflict_keys(follower.routes);
        let tables = places.into_iter().map(|place| {
            let route = follower.routes.get(place).ok_or_else(unknown_table)?;
            let target = Arc::new(route.composed().target.clone());
            Ok(Table {
                route: Arc::clone(route),
                merge_keys: MergeKeys::of(&target),
                conflict_keys: keys.remove(&place).ok_or_else(unknown_table)?,
                company: Company::of(&follower.spec.source, follower.routes, route),
                target,
                place,
            })
        });
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
        if let Some(hold) = stream.hold() {
            running.spawn(release(hold, Arc::clone(&follower.spec.target), Arc::clone(&shared)));
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
        Ok(Self {
            follower,
            tables: tables.collect::<Result<_>>()?,
            sets,
            dispatcher: Dispatcher::new(count),
            shared,
            lanes,
            running,
            copied,
            fed: target.position,
            pieces: None,
            occurrences: Occurrences::default(),
            watch: None,
        })
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
            watch.settle(self.follower.stop).await?;
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
                && self.follower.spec.source.covers(&self.position(), until)?
            {
                self.drain().await?;
                self.follower.progress.update(|report| report.lag_ms = Some(0));
                return Ok(Followed::Reached);
            }
            let (open, settled) = self.shared.ledger(|ledger| (ledger.open_sets(), !ledger.is_unwritten()));
            tokio::select! {
                biased;
                () = self.follower.stop.cancelled() => {
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
                    self.follower.progress.update(|report| report.applied_at_ms = Some(now_ms()));
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
        self.follower.progress.update(|report| {
            report.transactions_applied += advance.transactions;
            report.position = Some(position.to_string());
            if let Some(at) = advance.committed_at {
                let at_ms = (at / 1000).max(0) as u64;
                report.lag_ms = Some(now_ms().saturating_sub(at_ms));
                report.applied_at_ms = Some(at_ms);
            } else if report.lag_ms.is_none() {
                report.lag_ms = Some(0);
            }
            for table in &self.tables {
                if table.target.on_row_error == RowErrorPolicy::DeadLetter
                    && let Some(line) = report.tables.get_mut(table.place)
                {
                    line.rows_dead = table.route.dead_letters().count(&line.table);
                }
            }
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
        let Some(sender) = self.lanes.get(lane) else { return Err(unknown_table()) };
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
        let is_piece = set.position.is_none();
        if self.pieces.is_none() {
            self.occurrences.clear();
        }
        let routed = self.route(set.tables, &set.changing, strict).await?;
        for (lane, committed) in self.shared.committed.iter().enumerate() {
            self.dispatcher.committed(lane, *committed.borrow());
        }
        let mut entry = ledger::Entry {
            position: set.position.clone(),
            parts: Vec::new(),
            passed_over: set.passed_over,
            transactions: set.transactions,
            committed_at: set.committed_at,
            changes: routed.counts,
        };
        let tables = Arc::new(routed.tables);
        if let Some(watch) = &self.watch {
            let places = entry.changes.iter().map(|&(place, _)| place);
            let fed = Fed {
                position: set.position.clone(),
                transactions: set.changing.clone(),
                tables: Arc::clone(&tables),
                changes: places.zip(routed.changes.iter().cloned()).collect(),
            };
            if !watch.take(fed).await {
                return Err(failure(self.running.join_next().await));
            }
        }
        if is_piece || self.pieces.is_some() {
            // Nobody knows what the rest will touch: the other lanes wait till it is over.
            self.wait(Ledger::is_idle).await?;
            entry.parts.push((0, set.changing));
            let entry = match self.pieces.take() {
                Some(pieces) => pieces.followed_by(entry),
                None => entry,
            };
            let end = if is_piece {
                self.pieces = Some(entry);
                End::More
            } else {
                self.dispatcher.assign_all(0);
                End::Set(self.shared.ledger(|ledger| ledger.open(entry)))
            };
            let entries =
                routed.changes.into_iter().map(|changes| changes.into_iter().map(|(_, entry)| entry));
            let entries = entries.map(Iterator::collect).collect();
            let part = Part { tables, entries, waits: Vec::new(), end, position: set.position.clone() };
            self.give(0, part).await?;
            if !is_piece {
                self.wait(Ledger::is_idle).await?;
            }
        } else {
            let assignments = self.dispatcher.assign(&routed.work);
            let mut lane_of = vec![0; set.changing.len()];
            for assignment in &assignments {
                for &transaction in &assignment.transactions {
                    if let Some(slot) = lane_of.get_mut(transaction as usize) {
                        *slot = assignment.lane;
                    }
                }
                let names = assignment.transactions.iter();
                let names = names.filter_map(|&number| set.changing.get(number as usize)).cloned().collect();
                entry.parts.push((assignment.lane, names));
            }
            let sequence = self.shared.ledger(|ledger| ledger.open(entry));
            for assignment in assignments {
                let of_lane = |changes: &Vec<(u32, merge::Entry)>| {
                    let own =
                        |&&(number, _): &&(u32, _)| lane_of.get(number as usize) == Some(&assignment.lane);
                    changes.iter().filter(own).map(|&(_, entry)| entry).collect()
                };
                let part = Part {
                    tables: Arc::clone(&tables),
                    entries: routed.changes.iter().map(of_lane).collect(),
                    waits: assignment.waits,
                    end: End::Set(sequence),
                    position: set.position.clone(),
                };
                self.give(assignment.lane, part).await?;
            }
        }
        if let Some(position) = set.position {
            self.fed = position;
        }
        Ok(())
    }

    /// Whether no chunk can have read any of what comes now.
    fn is_beyond_copy(&mut self) -> Result<bool> {
        if let Some(copied) = &self.copied
            && self.follower.spec.source.covers(&self.fed, copied)?
        {
            self.copied = None;
        }
        Ok(self.copied.is_none())
    }

    async fn route(
        &mut self,
        changes: Vec<TableChanges>,
        transactions: &[TransactionId],
        strict: bool,
    ) -> Result<RoutedSet> {
        let mut set = RoutedSet {
            tables: Vec::with_capacity(changes.len()),
            changes: Vec::with_capacity(changes.len()),
            work: Work {
                rows: vec![0; transactions.len()],
                tables: vec![u32::MAX; transactions.len()],
                keys: Vec::new(),
            },
            counts: Vec::with_capacity(changes.len()),
        };
        for changes in changes {
            let table = self.tables.get(changes.table).ok_or_else(unknown_table)?;
            let mut after = table.route.run(changes.after, Origin::ChangeStream).await?;
            let before = table.route.run_before(changes.before).await?;
            let origin = set_aside::refused(
                &table.route,
                (&changes.ops, &changes.transactions, transactions),
                (&mut after, &before),
                &mut self.occurrences,
            )
            .await?;
            self.follower.progress.update_table(table.place, |line| {
                line.rows_filtered += after.filtered;
            });
            set.counts.push((table.place, changes.ops.len() as u64));
            let entries = entries(&changes.ops, after.kept.as_ref(), before.kept.as_ref());
            let entries: Vec<_> = changes.transactions.into_iter().zip(entries).collect();
            for &(transaction, entry) in &entries {
                if let Some(rows) = set.work.rows.get_mut(transaction as usize) {
                    *rows += 1;
                }
                if let Some(first) = set.work.tables.get_mut(transaction as usize) {
                    *first = (*first).min(changes.table as u32);
                }
                // A single lane meets only itself.
                if self.lanes.len() > 1 {
                    let mut claim = |key| set.work.keys.push((transaction, key));
                    if let Some(row) = entry.after {
                        table.conflict_keys.hash(&after.batch, row, &mut claim);
                    }
                    if let Some(row) = entry.before {
                        table.conflict_keys.hash(&before.batch, row, &mut claim);
                    }
                }
            }
            // What an exact read had is not in the stream.
            let strict = strict || table.target.is_shared();
            // A row that was set aside is not in the target when it changes again.
            let is_complete = table.target.on_row_error == RowErrorPolicy::Fail;
            set.tables.push(RoutedTable {
                target: Arc::clone(&table.target),
                keys: table.merge_keys.clone(),
                strict: strict && is_complete,
                after: after.batch,
                before: before.batch,
                company: table.company.clone(),
                origin,
            });
            set.changes.push(entries);
        }
        Ok(set)
    }
}

/// The conflict keys of every table, by its number. Tables that become one have the same.
fn conflict_keys(routes: &[Arc<Route>]) -> HashMap<usize, ConflictKeys> {
    let targets = || routes.iter().map(|route| &route.composed().target);
    let firsts = merged::firsts(targets());
    let mut keys: HashMap<usize, ConflictKeys> =
        targets().zip(&firsts).map(|(target, &first)| ConflictKeys::of(first, target)).enumerate().collect();
    // Where only some of them have a key yet, values of it are not told from others'.
    let uneven: HashSet<usize> = firsts
        .iter()
        .enumerate()
        .filter(|(place, first)| keys.get(place) != keys.get(first))
        .map(|(_, &first)| first)
        .collect();
    for (place, first) in firsts.iter().enumerate().filter(|(_, first)| uneven.contains(first)) {
        keys.insert(place, ConflictKeys { table: *first, keys: Vec::new() });
    }
    keys
}

fn unknown_table() -> Error {
    Error::new(ErrorKind::Internal, "the change stream names a table that was not asked for")
}

/// The error of a task of the session that ended, which none does by itself.
fn failure(ended: Option<Result<Result<()>, tokio::task::JoinError>>) -> Error {
    match ended {
        Some(Ok(Err(error))) => error,
        Some(Err(error)) => Error::new(ErrorKind::Internal, "a lane ended unexpectedly").caused_by(error),
        Some(Ok(Ok(()))) | None => Error::new(ErrorKind::Internal, "a lane ended unexpectedly"),
    }
}

/// For each change the rows of its images in the routed batches.
fn entries(ops: &[Op], after_kept: Option<&Bitmap>, before_kept: Option<&Bitmap>) -> Vec<merge::Entry> {
    let mut after = Places::new(after_kept);
    let mut before = Places::new(before_kept);
    ops.iter()
        .map(|op| match op {
            Op::Insert => merge::Entry { before: None, after: after.next() },
            Op::Update => merge::Entry { before: before.next(), after: after.next() },
            Op::Delete => merge::Entry { before: before.next(), after: None },
        })
        .collect()
}

/// Walks the images that went into a route and says where each is in what came out.
struct Places<'a> {
    kept: Option<&'a Bitmap>,
    input: usize,
    output: usize,
}

impl<'a> Places<'a> {
    fn new(kept: Option<&'a Bitmap>) -> Self {
        Self { kept, input: 0, output: 0 }
    }

    fn next(&mut self) -> Option<usize> {
        let kept = self.kept.is_none_or(|kept| kept.get(self.input));
        self.input += 1;
        let place = kept.then_some(self.output);
        self.output += usize::from(kept);
        place
    }
}
