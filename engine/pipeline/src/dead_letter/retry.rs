//! Trying rows that were set aside again.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use tokio_util::sync::CancellationToken;

use engine_core::batch::Batch;
use engine_core::error::{Error, ErrorKind, Result};
use engine_core::plan::TargetTable;
use engine_core::source::{KeyedRequest, Reader};
use engine_core::target::{BuildStep, Mender, NetChanges, Refusal};
use engine_plugin::Origin;

use crate::control::gate::Gate;
use crate::options::RunOptions;
use crate::progress::{Progress, now_ms};
use crate::route::{Met, Route, Routed};
use crate::run::{Prepared, Task};
use crate::state::{self, Store, TaskDirectory};
use crate::task::TaskSpec;

use super::letter::Letter;
use super::{key, read};

/// Rows read, converted and written together.
const ROWS_AT_ONCE: usize = 256;

/// What became of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retried {
    /// Rows that the target has as the source has them now.
    pub settled: u64,
    /// Those of them that the source does not have any more.
    pub gone: u64,
    /// Rows that stay set aside.
    pub left: u64,
    /// Those of them that can't be tried again, as they have no key to be read by.
    pub without_key: u64,
}

/// Reads each row that was set aside as the source has it now, takes it through its route and writes
/// it to the target. What succeeds is taken off the list; the others stay with their new reason.
///
/// The source may be further than the target: what happened to the row between is applied once
/// more when the task goes on, in order and ending at the same row. That is right only because
/// tables whose bad rows are set aside are always applied idempotently, and because a refused change
/// deletes its row.
///
/// The task must not be running, and its copy must be complete.
pub async fn retry(spec: TaskSpec, stop: CancellationToken) -> Result<Retried> {
    let directory = TaskDirectory::open_existing(&spec.state_dir, &spec.name)?;
    let known = spec.target.task(&spec.name).await?.ok_or_else(|| {
        Error::new(ErrorKind::State, "the target does not know the task")
            .at("task", &spec.name)
            .at("target", &spec.target_label)
            .help("give the target that the task was run with")
    })?;
    crate::cut_over::refuse_if_over(&spec).await?;
    let store = Store::open(directory.path())?;
    let progress = Arc::new(Progress::new(&spec.name, &spec.source_label, &spec.target_label));
    let gate = Gate::new(stop.clone(), Arc::clone(&progress));
    let options = RunOptions::default();
    let task = Task { spec, options, store, directory, progress, stop, gate, check: OnceLock::new() };
    let prepared = task.unless_stopped(task.prepare(known.start.is_some(), None)).await?;
    if !prepared.copied_before {
        return Err(Error::new(ErrorKind::Precondition, "the copy is not complete")
            .at("task", &task.spec.name)
            .because("until then the target has no keys to write single rows by")
            .help("run the task until its copy is complete, then try again"));
    }
    // As the target remembers them.
    let letters = read(&task.directory.dead_letters())?;
    let retried = task.retry(&prepared, letters).await;
    task.show(&prepared)?;
    retried
}

/// The rows of one table that are tried together.
struct Rows<'a> {
    route: &'a Arc<Route>,
    target: &'a Arc<TargetTable>,
    /// What is known of them.
    letters: Vec<&'a Letter>,
    /// The rows as they are now; for each the place in `letters`.
    found: Batch,
    places: Vec<usize>,
    /// For each row its key in the target, where it follows from the source's.
    keys: Vec<Option<Batch>>,
    /// How many the source has no more.
    gone: u64,
}

impl Task {
    async fn retry(&self, prepared: &Prepared, letters: Vec<Letter>) -> Result<Retried> {
        let mut tables: BTreeMap<String, Vec<Letter>> = BTreeMap::new();
        let mut retried = Retried::default();
        let by_name = |table: &str| {
            let mut routes = prepared.routes.iter().zip(&prepared.targets);
            routes.find(|(route, _)| route.composed().schema.name.to_string() == table)
        };
        for letter in letters {
            let has_key = by_name(&letter.table).is_some_and(|(route, target)| {
                let key = letter.key.as_ref().and_then(|key| key::of_source(route.composed(), key));
                target.row_key.is_some() && key.is_some()
            });
            if has_key {
                tables.entry(letter.table.clone()).or_default().push(letter);
            } else {
                retried.left += 1;
                retried.without_key += 1;
            }
        }
        if tables.is_empty() {
            return Ok(retried);
        }
        let touched: Vec<_> = prepared
            .targets
            .iter()
            .filter(|target| tables.contains_key(&target.source.to_string()))
            .cloned()
            .collect();
        self.build(BuildStep::RowKeys, &touched).await?;
        let mut reader = self.spec.source.open_reader().await?;
        let mut mender = self.spec.target.open_mender().await?;
        for (table, letters) in &tables {
            let Some((route, target)) = by_name(table) else { continue };
            for letters in letters.chunks(ROWS_AT_ONCE) {
                let some = async {
                    let rows = Rows::read(reader.as_mut(), route, target, letters).await?;
                    rows.settle(mender.as_mut()).await
                };
                let (settled, gone, left) = self.unless_stopped(some).await?;
                retried.settled += settled;
                retried.gone += gone;
                retried.left += left;
            }
        }
        Ok(retried)
    }

    /// Writes what is left into the task's status, where it has one.
    fn show(&self, prepared: &Prepared) -> Result<()> {
        let reports = state::status(&self.spec.state_dir, Some(&self.spec.name)).unwrap_or_default();
        let Some(mut report) = reports.into_iter().next() else { return Ok(()) };
        for line in &mut report.tables {
            let route =
                prepared.routes.iter().find(|route| route.composed().schema.name.to_string() == line.table);
            if let Some(route) = route {
                line.rows_dead = route.dead_letters().count(&line.table);
            }
        }
        state::write_status(self.directory.path(), &report)
    }
}

impl<'a> Rows<'a> {
    async fn read(
        reader: &mut dyn Reader,
        route: &'a Arc<Route>,
        target: &'a Arc<TargetTable>,
        letters: &'a [Letter],
    ) -> Result<Self> {
        let composed = route.composed();
        let table = Arc::new(composed.schema.clone());
        let columns: Arc<[usize]> = composed.reads.clone().into();
        let schemas = columns.iter().filter_map(|&ordinal| composed.schema.columns.get(ordinal));
        let found = Batch {
            rows: 0,
            columns: schemas.map(|column| column.logical.layout().empty_column()).collect(),
        };
        let mut rows = Self {
            route,
            target,
            letters: Vec::with_capacity(letters.len()),
            found,
            places: Vec::new(),
            keys: Vec::with_capacity(letters.len()),
            gone: 0,
        };
        for letter in letters {
            let known = letter.key.as_ref().and_then(|known| key::of_source(composed, known));
            let Some((key, values)) = known else { continue };
            rows.keys.push(key::of_target(composed, &key, &values));
            let (table, columns) = (Arc::clone(&table), Arc::clone(&columns));
            let found = reader.read_by_key(&KeyedRequest { table, columns, key: key.into(), values }).await?;
            if found.rows == 0 {
                rows.gone += 1;
            } else {
                append(&mut rows.found, &found);
                rows.places.push(rows.letters.len());
            }
            rows.letters.push(letter);
        }
        Ok(rows)
    }

    /// Writes the rows and then the file; how many rows are settled, how many of them as gone, and how
    /// many are left.
    async fn settle(self, mender: &mut dyn Mender) -> Result<(u64, u64, u64)> {
        let found = self.found.clone();
        let routed = self.route.run(self.found, Origin::Snapshot).await?;
        let Routed { batch: upserts, refused, .. } = &routed;
        let mut refused: Vec<Refusal> = refused.clone();
        let places = routed.places();
        let written: Vec<usize> = places.iter().filter_map(|&row| self.places.get(row).copied()).collect();
        // What an earlier state of a row may have left. A row that is written is not deleted first:
        // foreign keys of the target may hang on it.
        let key = self.target.row_key.iter().flatten();
        let columns =
            key.filter_map(|&column| Some(self.target.columns.get(column)?.logical.layout().empty_column()));
        let mut deletes = Batch { rows: 0, columns: columns.collect() };
        for (place, key) in self.keys.iter().enumerate() {
            if let Some(key) = key.as_ref().filter(|_| !written.contains(&place)) {
                append(&mut deletes, key);
            }
        }
        let changes = NetChanges::Idempotent { deletes, upserts: upserts.clone() };
        let refusals = mender
            .mend(self.target, &changes)
            .await
            .map_err(|error| error.at("table", &self.target.source))?;
        refused.extend(refusals.into_iter().filter_map(|refusal| {
            let row = *places.get(refusal.row)?;
            Some(Refusal { row, ..refusal })
        }));
        let mut kept: Vec<Letter> = Vec::new();
        for refusal in &refused {
            let before = self.places.get(refusal.row).and_then(|&place| self.letters.get(place));
            let Some(before) = before else { continue };
            let met =
                Met { operation: before.operation, position: before.position.clone(), chunk: before.chunk };
            kept.push(Letter { at_ms: now_ms(), ..self.route.letter(&found, refusal, met) });
        }
        self.route.dead_letters().replace(&self.letters, &kept).await?;
        let (all, left) = (self.letters.len() as u64, kept.len() as u64);
        Ok((all.saturating_sub(left), self.gone, left))
    }
}

fn append(to: &mut Batch, from: &Batch) {
    for row in 0..from.rows {
        for (to, from) in to.columns.iter_mut().zip(&from.columns) {
            to.push_from(from, row);
        }
        to.rows += 1;
    }
}
