//! Following the source: changes are converted, merged and applied, each set of them in one target
//! transaction together with the source position at which it ends.

use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use engine_core::bitmap::Bitmap;
use engine_core::change::{ChangeSet, Op, SchemaChange, TableChanges};
use engine_core::error::{Error, ErrorKind, Result};
use engine_core::plan::TargetTable;
use engine_core::position::Position;
use engine_core::source::{StreamRequest, StreamTable};
use engine_core::target::{Applier, OrderedChanges, TaskRecord};

use crate::merge::{self, Entry, MergeKeys, RoutedChanges};
use crate::progress::{Progress, now_ms};
use crate::retry::{Backoff, may_pass};
use crate::route::Route;
use crate::state::Store;
use crate::task::TaskSpec;
use engine_plugin::Origin;

/// Sets decoded ahead of the one being applied.
const SETS_AHEAD: usize = 2;
const SET_BYTES: usize = 4 << 20;
const SET_ROWS: usize = 8192;

/// Follows a source on behalf of a task.
pub struct Follower<'a> {
    /// The task.
    pub spec: &'a TaskSpec,
    /// The tables.
    pub routes: &'a [Arc<Route>],
    /// Tables of the selection that the plan leaves out.
    pub skipped: &'a [engine_core::schema::TableName],
    /// The task's store.
    pub store: &'a Store,
    /// Where progress is told.
    pub progress: &'a Progress,
    /// When to stop.
    pub stop: &'a CancellationToken,
}

impl Follower<'_> {
    /// Applies changes until `until` is covered, or, without one, until stopped.
    pub async fn follow(&self, until: Option<&Position>) -> Result<()> {
        let mut backoff = Backoff::new();
        loop {
            let before = self.progress.report().transactions_applied;
            match self.session(until).await {
                Err(error) if may_pass(&error) => {
                    if self.progress.report().transactions_applied > before {
                        backoff = Backoff::new();
                    }
                    backoff.wait(error, self.stop).await?;
                }
                result => return result,
            }
        }
    }

    /// Follows over one stream and one target connection. Where to begin is for the target to say.
    async fn session(&self, until: Option<&Position>) -> Result<()> {
        let missing = || Error::new(ErrorKind::State, "the target does not know where the task stands");
        let record = self.spec.target.task(&self.spec.name).await?.ok_or_else(missing)?;
        let from = record.position.clone().or_else(|| record.start.clone()).ok_or_else(missing)?;
        self.spec.source.check_position(&from).await?;
        let mut reached = from.clone();
        if let Some(until) = until
            && self.spec.source.covers(&reached, until)?
        {
            self.progress.update(|report| report.lag_ms = Some(0));
            return Ok(());
        }
        let (request, places) = self.request(from, &record);
        let mut stream = self.spec.source.open_stream(request).await?;
        let mut applier = self.spec.target.open_applier().await?;
        let (sender, mut sets) = mpsc::channel::<Result<ChangeSet>>(SETS_AHEAD);
        let reader: JoinHandle<()> = tokio::spawn(async move {
            loop {
                let set = stream.next().await;
                let failed = set.is_err();
                if sender.send(set).await.is_err() || failed {
                    return;
                }
            }
        });
        let _abort = AbortOnDrop(reader);
        let mut tables: Vec<Table> =
            places.iter().filter_map(|&place| self.routes.get(place)).map(Table::new).collect();
        loop {
            let set = tokio::select! {
                biased;
                () = self.stop.cancelled() => {
                    return Err(Error::new(ErrorKind::Interrupted, "stopped while following the source"));
                }
                set = sets.recv() => set,
            };
            let set = set.unwrap_or_else(|| {
                Err(Error::new(ErrorKind::Internal, "the change stream ended unexpectedly"))
            })?;
            let changes = set.rows();
            for table_changes in set.tables {
                let place = places.get(table_changes.table).copied();
                if let (Some(place), Some(table)) = (place, tables.get_mut(table_changes.table)) {
                    let count = table_changes.ops.len() as u64;
                    let done = table.apply(table_changes, applier.as_mut()).await?;
                    self.progress.update_table(place, |line| {
                        line.changes_applied += count;
                        line.rows_filtered += done.filtered;
                        line.rows_dead += done.dead;
                    });
                } else {
                    return Err(Error::new(
                        ErrorKind::Internal,
                        "the change stream names a table that was not asked for",
                    ));
                }
            }
            if let Some(change) = &set.schema_change {
                return Err(refuse(change, set.position.as_ref()));
            }
            if let Some(position) = set.position {
                if changes > 0 || set.transactions > 0 || position != reached {
                    applier.commit(&position).await?;
                }
                self.note(&position, set.transactions, set.committed_at)?;
                reached = position;
                if let Some(until) = until
                    && self.spec.source.covers(&reached, until)?
                {
                    self.progress.update(|report| report.lag_ms = Some(0));
                    return Ok(());
                }
            }
        }
    }

    fn note(&self, position: &Position, transactions: u64, committed_at: Option<i64>) -> Result<()> {
        let lag = committed_at.map_or(0, |at| now_ms().saturating_sub((at / 1000).max(0) as u64));
        self.progress.update(|report| {
            report.transactions_applied += transactions;
            report.lag_ms = Some(lag);
            report.position = Some(position.to_string());
        });
        if transactions > 0 { self.store.note_position(position) } else { Ok(()) }
    }

    /// The stream to ask for, and for each of its tables the table's number in the task.
    fn request(&self, from: Position, record: &TaskRecord) -> (StreamRequest, Vec<usize>) {
        let mut tables = Vec::new();
        let mut places = Vec::new();
        let mut skipped = self.skipped.to_vec();
        for (place, route) in self.routes.iter().enumerate() {
            let composed = route.composed();
            if !composed.target.with_rows {
                skipped.push(composed.schema.name.clone());
                continue;
            }
            // Only an exact read can do without the changes it already has; the others take them again.
            let since = match composed.target.row_key {
                Some(_) => None,
                None => record
                    .chunks
                    .iter()
                    .find(|chunk| chunk.table == composed.schema.name)
                    .map(|chunk| chunk.watermarks.low.clone()),
            };
            tables.push(StreamTable {
                schema: Arc::new(composed.schema.clone()),
                columns: composed.reads.clone().into(),
                since,
            });
            places.push(place);
        }
        let selection = self.spec.selection.clone();
        (StreamRequest { from, tables, selection, skipped, set_bytes: SET_BYTES, set_rows: SET_ROWS }, places)
    }
}

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn refuse(change: &SchemaChange, position: Option<&Position>) -> Error {
    let table = change.table.as_ref().map_or_else(|| change.namespace.clone(), ToString::to_string);
    let mut error =
        Error::new(ErrorKind::Precondition, "the source's structure changed while it was followed")
            .at("table", table)
            .because(&change.statement);
    if let Some(position) = position {
        error = error.at("position", position);
    }
    error.help(
        "structure changes are not carried over while following: begin a new task under another --name, \
         or leave the table out with --exclude in a new task",
    )
}

/// What the route did with changes beside letting them through.
struct Done {
    filtered: u64,
    dead: u64,
}

struct Table {
    route: Arc<Route>,
    target: Arc<TargetTable>,
    keys: Option<MergeKeys>,
}

impl Table {
    fn new(route: &Arc<Route>) -> Self {
        let target = Arc::new(route.composed().target.clone());
        Self { route: Arc::clone(route), keys: MergeKeys::of(&target), target }
    }

    async fn apply(&mut self, changes: TableChanges, applier: &mut dyn Applier) -> Result<Done> {
        let after = self.route.run(changes.after, Origin::ChangeStream).await?;
        let before = self.route.run(changes.before, Origin::ChangeStream).await?;
        let done = Done { filtered: after.filtered, dead: after.dead };
        let entries = entries(&changes.ops, after.kept.as_ref(), before.kept.as_ref());
        match &self.keys {
            Some(keys) => {
                let net =
                    merge::merge(&RoutedChanges { entries, after: after.batch, before: before.batch }, keys);
                if net.deletes.rows > 0 || net.upserts.rows > 0 {
                    applier.apply(&self.target, &net).await?;
                }
            }
            None => {
                // Filters leave out whole images, so what is left of each batch is in order already.
                let ops: Vec<Op> = entries.iter().filter_map(Entry::op).collect();
                if !ops.is_empty() {
                    let ordered = OrderedChanges { ops, after: after.batch, before: before.batch };
                    applier.apply_ordered(&self.target, &ordered).await?;
                }
            }
        }
        Ok(done)
    }
}

/// For each change the rows of its images in the routed batches.
fn entries(ops: &[Op], after_kept: Option<&Bitmap>, before_kept: Option<&Bitmap>) -> Vec<Entry> {
    let mut after = Places::new(after_kept);
    let mut before = Places::new(before_kept);
    ops.iter()
        .map(|op| match op {
            Op::Insert => Entry { before: None, after: after.next() },
            Op::Update => Entry { before: before.next(), after: after.next() },
            Op::Delete => Entry { before: before.next(), after: None },
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
