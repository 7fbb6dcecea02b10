//! What comes before the first row: the plan, and what is missing in the target.

use engine_core::error::{Error, ErrorKind, Result};
use engine_core::failpoint::Failpoint;
use engine_core::finding::Finding;
use engine_core::plan::{RowErrorPolicy, TargetTable};
use engine_core::position::Position;
use engine_core::schema::{TableName, TableSchema};
use engine_core::structure::RecordedTable;
use engine_core::target::TaskRecord;
use std::sync::Arc;

use super::Task;
use crate::chain::Chain;
use crate::dead_letter::DeadLetters;
use crate::plan::{self, TaskPlan, difference};
use crate::progress::{TableProgress, now_ms};
use crate::route::Route;
use crate::snapshot;
use crate::state::{self, BegunWith, RunContext, TaskPlanRecord};
use crate::task::TaskSpec;

/// What a task begins or goes on with.
struct Begun {
    plan: TaskPlan,
    start: Option<Position>,
    /// Tables to put on record.
    recorded: Option<Vec<RecordedTable>>,
}

/// What the schema phase leaves to the others.
pub(crate) struct Prepared {
    pub(crate) routes: Vec<Arc<Route>>,
    pub(crate) targets: Vec<Arc<TargetTable>>,
    pub(super) skipped: Vec<TableName>,
    pub(super) record: TaskRecord,
    /// Whether an earlier run had finished the copy.
    pub(crate) copied_before: bool,
    pub(super) chain: Chain,
    pub(super) dead_letters: Arc<DeadLetters>,
}

impl Prepared {
    /// Takes on the tables of a plan.
    pub(super) async fn adopt(&mut self, plan: TaskPlan, spec: &TaskSpec) -> Result<()> {
        self.targets = targets(&plan);
        let code = self.chain.row_code(&plan.tables, spec.parallelism)?;
        self.routes = Vec::with_capacity(code.len());
        for ((table, code), target) in plan.tables.into_iter().zip(code).zip(&self.targets) {
            let sets_aside = target.with_rows && target.on_row_error == RowErrorPolicy::DeadLetter;
            let check = if sets_aside { Some(spec.target.row_check(target).await?) } else { None };
            let dead_letters = Arc::clone(&self.dead_letters);
            self.routes.push(Arc::new(Route::new(Arc::new(table), code, dead_letters, check)));
        }
        self.skipped = plan.skipped.into_iter().map(|(table, _)| table).collect();
        Ok(())
    }
}

fn targets(plan: &TaskPlan) -> Vec<Arc<TargetTable>> {
    plan.tables.iter().map(|table| Arc::new(table.target.clone())).collect()
}

impl Task {
    /// Plans, and creates what is missing in the target. `checked` is what the checks of the source
    /// found, for the question before a task begins; without it, nobody is asked.
    pub(crate) async fn prepare(&self, online: bool, checked: Option<Vec<Finding>>) -> Result<Prepared> {
        let (spec, store) = (&self.spec, &self.store);
        let stored = store.plan()?;
        let context =
            stored.as_ref().map_or_else(|| RunContext::of_task(&spec.name), |plan| plan.context.clone());
        let chain = Chain::load(spec, &context).await?;
        let known = spec.target.task(&spec.name).await?;
        let bound = known.as_ref().filter(|record| record.is_bound);
        let Begun { plan: task_plan, start, recorded } = self.begin(online, bound, &chain).await?;
        let targets = targets(&task_plan);
        let plan_findings = task_plan.tables.iter().flat_map(|table| table.findings.clone()).collect();
        self.note(plan_findings)?;
        if online {
            self.note(task_plan.unlogged_cascades(spec.source.endpoint()))?;
        }
        let of_target = spec.target.check(&spec.name, &targets, online).await?;
        self.note(of_target.clone())?;
        if online && bound.is_none() {
            self.progress.update(|report| report.applied_at_ms = Some(now_ms()));
        }
        if let Some(mut checked) = checked
            && known.is_none()
        {
            checked.extend(of_target);
            self.ask_to_begin(&chain, &task_plan, &targets, &checked).await?;
        }

        self.accept(bound, stored.as_ref(), &chain, &task_plan)?;
        let record = TaskPlanRecord {
            digest: task_plan.digest.clone(),
            plugins: chain.records(),
            context,
            tables: task_plan.tables.clone(),
        };
        store.put_plan(&record)?;
        state::write_context(self.directory.path(), &BegunWith::from(&record))?;
        Failpoint::PlanStored.reach();
        // Both servers have answered: from here on a failure may pass. Claiming twice is claiming.
        self.persistently(|| spec.target.claim(&spec.name, &task_plan.digest, start.as_ref())).await?;
        Failpoint::TaskClaimed.reach();
        if online {
            // Of a cut-over that was killed: the task goes on.
            self.persistently(|| spec.target.withdraw_triggers()).await?;
        }
        if let Some(recorded) = recorded {
            self.persistently(|| spec.target.record_structure(&recorded)).await?;
            Failpoint::StructureRecorded.reach();
        }
        self.persistently(|| spec.target.create_tables(&targets)).await?;
        Failpoint::TablesCreated.reach();

        // Only now is the record final: until the claim another engine could still commit.
        let record = self.persistently(|| spec.target.task(&spec.name)).await?.ok_or_else(|| {
            Error::new(ErrorKind::State, "the target does not know the task that was just registered")
                .at("task", &spec.name)
        })?;
        let resumed = !record.chunks.is_empty();
        let copied_before = resumed && snapshot::is_complete(task_plan.tables.iter(), &record.chunks);
        let (file, limit) = (self.directory.dead_letters(), spec.dead_letter_limit);
        let dead_letters =
            self.persistently(|| DeadLetters::restored(&file, &spec.name, limit, &spec.target)).await?;
        let dead_letters = Arc::new(dead_letters);
        self.progress.update(|report| {
            report.resumed = resumed;
            report.position = record.position.as_ref().map(ToString::to_string);
            report.tables = task_plan.tables.iter().map(|table| line(table, &dead_letters)).collect();
        });
        let (routes, targets, skipped) = (Vec::new(), Vec::new(), Vec::new());
        let mut prepared = Prepared { routes, targets, skipped, record, copied_before, chain, dead_letters };
        prepared.adopt(task_plan, spec).await?;
        Ok(prepared)
    }

    /// Has the source keep nothing for a task that its target did not get to know.
    pub(super) async fn let_go_unless_begun(&self) {
        if let Ok(None) = self.spec.target.task(&self.spec.name).await
            && let Err(error) = self.spec.source.let_go().await
        {
            tracing::warn!("the source may keep its log for a task that was not begun: {error}");
        }
    }

    /// Where a task begins, or the tables that it went on with: those on record in the target, since
    /// today's may be ahead of its rows.
    async fn begin(&self, online: bool, bound: Option<&TaskRecord>, chain: &Chain) -> Result<Begun> {
        let spec = &self.spec;
        let mut start = bound.and_then(|record| record.start.clone());
        if !online {
            return Ok(Begun { plan: plan::build(spec, chain).await?, start, recorded: None });
        }
        match bound {
            Some(_) if start.is_none() => {
                return Err(Error::new(
                    ErrorKind::Usage,
                    "the task was begun offline and can't go on online",
                )
                .at("task", &spec.name)
                .help("run it with --mode offline, or begin another task with --name"));
            }
            Some(_) => {
                let recorded = spec.target.structure(&spec.name).await?;
                if let Some(out) = recorded.iter().find(|table| !spec.selection.matches(&table.schema.name)) {
                    return Err(Error::new(ErrorKind::State, "the task was begun with other tables")
                        .at("table", &out.schema.name)
                        .because("it is not in what is selected now")
                        .help("go back to the same --include and --exclude, or begin a new task with another --name"));
                }
                if !recorded.is_empty() {
                    let schemas = recorded.into_iter().map(|table| table.schema).collect();
                    let plan = plan::from_schemas(spec, chain, schemas).await?;
                    return Ok(Begun { plan, start, recorded: None });
                }
            }
            // Before the structure is read, so that every later change of it is in the stream.
            None => start = Some(spec.source.begin_following(&spec.selection).await?),
        }
        let schemas = plan::catalog(spec).await?;
        let as_of = Some(spec.source.high_watermark().await?);
        let record = |schema: &TableSchema| RecordedTable { schema: schema.clone(), as_of: as_of.clone() };
        let recorded = schemas.iter().map(record).collect();
        Ok(Begun { plan: plan::from_catalog(spec, chain, schemas).await?, start, recorded: Some(recorded) })
    }

    /// Refuses to go on under another plan than the task was begun with.
    fn accept(
        &self,
        bound: Option<&TaskRecord>,
        stored: Option<&TaskPlanRecord>,
        chain: &Chain,
        plan: &TaskPlan,
    ) -> Result<()> {
        let Some(bound) = bound else { return Ok(()) };
        if bound.plan_digest == plan.digest {
            return Ok(());
        }
        Err(difference::refused(&self.spec.name, stored, &chain.records(), plan))
    }
}

pub(super) fn line(table: &crate::compose::Composed, dead_letters: &DeadLetters) -> TableProgress {
    TableProgress {
        table: table.schema.name.to_string(),
        target: table.target.name.to_string(),
        rows_estimate: table.schema.row_estimate.filter(|_| table.target.with_rows),
        rows_copied: 0,
        bytes_copied: 0,
        copied: false,
        changes_applied: 0,
        rows_filtered: 0,
        rows_dead: dead_letters.count(&table.schema.name.to_string()),
    }
}
