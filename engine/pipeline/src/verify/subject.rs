//! What is checked: the task as the target has it, without taking it over.

use std::collections::HashSet;
use std::sync::Arc;

use engine_core::error::{Error, ErrorKind, Result};
use engine_core::examine::RowForm;
use engine_core::plan::{RowErrorPolicy, TargetTable};
use engine_core::position::Position;
use engine_core::schema::TableName;
use engine_core::selection::Selection;
use engine_core::source::{KeyBound, Source};
use engine_core::target::TaskRecord;

use crate::chain::Chain;
use crate::dead_letter::DeadLetters;
use crate::plan::{self, difference};
use crate::route::Route;
use crate::snapshot;
use crate::state;
use crate::task::TaskSpec;

use super::again::Altered;
use super::hash::Hashing;
use super::order::Cut;
use super::parts;

/// A table of the task.
pub(super) struct Table {
    /// Its number in the task.
    pub(super) place: usize,
    pub(super) route: Arc<Route>,
    pub(super) target: Arc<TargetTable>,
    pub(super) form: Arc<dyn RowForm>,
    /// Places of the row key among the written columns; `None` when the full row is the key.
    pub(super) key: Option<Vec<usize>>,
    /// How both sides are cut alike, and the first bound; `None` when the table is looked at as a whole.
    pub(super) cut: Option<(Cut, KeyBound)>,
    /// Whether it was asked for.
    pub(super) is_wanted: bool,
}

impl Table {
    /// Whether there are rows to compare.
    pub(super) fn is_compared(&self) -> bool {
        self.target.with_rows && self.is_wanted
    }

    /// Its name on the source.
    pub(super) fn name(&self) -> &TableName {
        &self.route.composed().schema.name
    }
}

/// What is checked.
pub(super) struct Subject {
    pub(super) spec: TaskSpec,
    pub(super) tables: Vec<Table>,
    /// Tables of the selection that the plan leaves out.
    pub(super) skipped: Vec<TableName>,
    pub(super) plan_digest: String,
    /// Whether the task follows its source.
    pub(super) is_followed: bool,
    /// A position beyond which no chunk has a change.
    pub(super) copied: Option<Position>,
    pub(super) hashing: Hashing,
    /// Rows of a part, where that was asked for.
    pub(super) part_rows: Option<u64>,
    /// Where it is noted that the plan is not that of the rows any more.
    pub(super) altered: Arc<Altered>,
}

impl Subject {
    /// Reads what the target knows of the task, and plans as the task did.
    pub(super) async fn open(
        mut spec: TaskSpec,
        wanted: &Selection,
        part_rows: Option<u64>,
        hashing: Hashing,
    ) -> Result<Self> {
        // A replica that was copied from may itself be wrong.
        if let Some(source) = spec.source.followed() {
            spec.source = source;
        }
        let directory = spec.state_dir.join(&spec.name);
        if directory.is_dir() {
            spec.source.keep_files_in(&directory);
        }
        let record = spec.target.task(&spec.name).await?.ok_or_else(|| {
            Error::new(ErrorKind::State, "the target does not know the task")
                .at("task", &spec.name)
                .at("target", &spec.target_label)
                .help("give the name and the target that the task was run with")
        })?;
        let begun = state::context(&directory, &spec.name)?;
        let chain = Chain::load(&spec, &begun.context).await?;
        let is_followed = record.start.is_some();
        let recorded = if is_followed { spec.target.structure(&spec.name).await? } else { Vec::new() };
        let plan = if recorded.is_empty() {
            plan::build(&spec, &chain).await?
        } else {
            plan::from_schemas(&spec, &chain, recorded.into_iter().map(|table| table.schema).collect())
                .await?
        };
        if plan.digest != record.plan_digest {
            return Err(difference::refused_by_files(&spec.name, begun.plugins.as_deref(), &chain.records()));
        }
        if !snapshot::is_complete(&plan.tables, &record.chunks) {
            return Err(Error::new(ErrorKind::Precondition, "the copy is not complete")
                .at("task", &spec.name)
                .because("there is nothing yet that both sides should have in common")
                .help("run the task until its copy is complete, then check again"));
        }
        let dead_letters = directory.join("dead-letter.jsonl");
        let dead_letters =
            Arc::new(DeadLetters::remembered(&dead_letters, &spec.name, spec.target.as_ref()).await?);
        let copied = end_of_copy(spec.source.as_ref(), &record, is_followed)?;
        let code = chain.row_code(&plan.tables, spec.parallelism)?;
        let mut tables = Vec::with_capacity(plan.tables.len());
        for (place, (composed, code)) in plan.tables.into_iter().zip(code).enumerate() {
            let target = Arc::new(composed.target.clone());
            let sets_aside = target.with_rows && target.on_row_error == RowErrorPolicy::DeadLetter;
            let check = if sets_aside { Some(spec.target.row_check(&target).await?) } else { None };
            let form = spec.target.row_form(&target).await?;
            let written: Vec<usize> = target.written_columns().collect();
            let place_of = |ordinal: &usize| written.iter().position(|column| column == ordinal);
            let key = target.row_key.as_ref().map(|key| key.iter().filter_map(place_of).collect());
            let is_wanted = wanted.matches(&composed.schema.name);
            let route = Arc::new(Route::new(Arc::new(composed), code, Arc::clone(&dead_letters), check));
            let mut table = Table { place, route, target, form, key, cut: None, is_wanted };
            if table.is_compared() {
                table.cut = cut(spec.source.as_ref(), &table, part_rows).await?;
            }
            tables.push(table);
        }
        if !tables.iter().any(|table| table.is_wanted) {
            return Err(Error::new(ErrorKind::Usage, "no table of the task is to be checked")
                .at("task", &spec.name)
                .at("option", format!("--table {}", wanted.include.join(" --table ")))
                .help(format!(
                    "see its tables with: engine status {}, and give one of them with --table",
                    spec.name
                )));
        }
        let skipped = plan.skipped.into_iter().map(|(name, _)| name).collect();
        let plan_digest = plan.digest;
        let altered = Arc::default();
        Ok(Self { spec, tables, skipped, plan_digest, is_followed, copied, hashing, part_rows, altered })
    }

    /// The table of this number.
    pub(super) fn table(&self, place: usize) -> Result<&Table> {
        self.tables
            .get(place)
            .ok_or_else(|| Error::new(ErrorKind::Internal, "the task has no table of this number"))
    }

    /// The target's tables that were asked for.
    pub(super) fn targets(&self) -> Vec<Arc<TargetTable>> {
        self.tables.iter().filter(|table| table.is_wanted).map(|table| Arc::clone(&table.target)).collect()
    }
}

/// How a table is cut, if that is worth it. Known before the first change is noted, whose place it tells.
async fn cut(source: &dyn Source, table: &Table, part_rows: Option<u64>) -> Result<Option<(Cut, KeyBound)>> {
    let composed = table.route.composed();
    if table.key.is_none() || !source.can_chunk(&composed.schema) {
        return Ok(None);
    }
    let rows = parts::rows_per_part(&composed.schema, part_rows);
    let Some(first) = source.chunk_end(&composed.schema, None, rows).await? else { return Ok(None) };
    Ok(Cut::of(source, composed, table.form.as_ref(), &first)?.map(|cut| (cut, first)))
}

/// A position beyond which no chunk has a change; `None` when there is nothing to compare it with.
fn end_of_copy(source: &dyn Source, record: &TaskRecord, is_followed: bool) -> Result<Option<Position>> {
    let mut end: Option<&Position> = None;
    // Many chunks end at one position.
    let highs: HashSet<&Position> = record.chunks.iter().map(|chunk| &chunk.watermarks.high).collect();
    for high in highs.into_iter().filter(|_| is_followed) {
        let is_earlier = match end {
            Some(end) => source.covers(end, high)?,
            None => false,
        };
        if !is_earlier {
            end = Some(high);
        }
    }
    Ok(end.cloned())
}
