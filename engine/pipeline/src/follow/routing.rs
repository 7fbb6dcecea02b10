//! Changes of the stream on their way to the lanes: the plugins' and the plan's work on them, and what they
//! touch.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use engine_core::bitmap::Bitmap;
use engine_core::change::{Op, TableChanges};
use engine_core::error::{Error, ErrorKind, Result};
use engine_core::plan::{RowErrorPolicy, TargetTable};
use engine_core::source::Source;
use engine_core::transaction::TransactionId;
use engine_plugin::Origin;

use crate::dead_letter::Occurrences;
use crate::merge::{self, MergeKeys};
use crate::merged::{self, Company};
use crate::progress::{Progress, Report};
use crate::route::Route;

use super::dispatch::Work;
use super::keys::ConflictKeys;
use super::lane::RoutedTable;
use super::set_aside;

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
pub(super) struct RoutedSet {
    pub(super) tables: Vec<RoutedTable>,
    /// For each table its changes, and for each change its transaction.
    pub(super) changes: Vec<Vec<(u32, merge::Entry)>>,
    pub(super) work: Work,
    /// Changes by table of the task.
    pub(super) counts: Vec<(usize, u64)>,
}

/// Brings changes to the form in which lanes apply them.
pub(super) struct Router {
    tables: Vec<Table>,
    /// Rows set aside of the transaction at hand.
    occurrences: Occurrences,
    /// Whether it matters which changes meet: a single lane meets only itself.
    claims_keys: bool,
}

impl Router {
    /// A router for a stream of the tables that have these numbers in the task, to so many lanes.
    pub(super) fn new(
        source: &Arc<dyn Source>,
        routes: &[Arc<Route>],
        places: Vec<usize>,
        lanes: usize,
    ) -> Result<Self> {
        let mut keys = conflict_keys(routes);
        let tables = places.into_iter().map(|place| {
            let route = routes.get(place).ok_or_else(unknown_table)?;
            let target = Arc::new(route.composed().target.clone());
            Ok(Table {
                route: Arc::clone(route),
                merge_keys: MergeKeys::of(&target),
                conflict_keys: keys.remove(&place).ok_or_else(unknown_table)?,
                company: Company::of(source, routes, route),
                target,
                place,
            })
        });
        Ok(Self {
            tables: tables.collect::<Result<_>>()?,
            occurrences: Occurrences::default(),
            claims_keys: lanes > 1,
        })
    }

    /// Says that what comes next begins a transaction.
    pub(super) fn begin_transaction(&mut self) {
        self.occurrences.clear();
    }

    /// Tells how many rows of each table are set aside.
    pub(super) fn tell_dead(&self, report: &mut Report) {
        for table in &self.tables {
            if table.target.on_row_error == RowErrorPolicy::DeadLetter
                && let Some(line) = report.tables.get_mut(table.place)
            {
                line.rows_dead = table.route.dead_letters().count(&line.table);
            }
        }
    }

    /// What becomes of the changes of a set. With `strict` no chunk can have read any of them.
    pub(super) async fn route(
        &mut self,
        changes: Vec<TableChanges>,
        transactions: &[TransactionId],
        strict: bool,
        progress: &Progress,
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
            progress.update_table(table.place, |line| {
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
                if self.claims_keys {
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
