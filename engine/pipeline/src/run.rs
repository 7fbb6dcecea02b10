//! A task from beginning to end, and on from wherever it was.

use futures_util::{TryStreamExt as _, stream};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use engine_core::change::SchemaChange;
use engine_core::error::{Error, ErrorKind, Result};
use engine_core::failpoint::Failpoint;
use engine_core::finding::{Finding, Severity};
use engine_core::object::ObjectKind;
use engine_core::plan::{RowErrorPolicy, TargetTable};
use engine_core::position::Position;
use engine_core::schema::{TableName, TableSchema};
use engine_core::structure::RecordedTable;
use engine_core::target::{BuildStep, TaskRecord};

use crate::chain::Chain;
use crate::control;
use crate::control::gate::{Gate, Held, Released};
use crate::cut_over::{self, Subject};
use crate::dead_letter::DeadLetters;
use crate::evolve;
use crate::follow::{Followed, Follower};
use crate::identities;
use crate::objects;
use crate::options::RunOptions;
use crate::plan::{self, TaskPlan};
use crate::progress::{Phase, Progress, TableProgress};
use crate::retry::retried;
use crate::route::Route;
use crate::snapshot;
use crate::state::{self, RunContext, Store, TaskDirectory, TaskPlanRecord};
use crate::task::{Mode, TaskSpec, Until};
use crate::throttle::Throttle;
use crate::verify::incremental::Incremental;

/// Runs a task until it is done, fails, or `stop` is cancelled: then it ends with an
/// [`ErrorKind::Interrupted`] error, and the same call later goes on where it was.
///
/// While it runs, others can pause, resume and stop it, see [`control`](crate::control).
pub async fn run(
    spec: TaskSpec,
    options: RunOptions,
    progress: Arc<Progress>,
    stop: CancellationToken,
) -> Result<()> {
    let directory = TaskDirectory::open(&spec.state_dir, &spec.name)?;
    let gate = Gate::new(stop.clone(), Arc::clone(&progress));
    let subject = Subject {
        spec: Arc::new(spec.clone()),
        directory: directory.path().to_owned(),
        gate: Arc::clone(&gate),
        progress: Arc::clone(&progress),
    };
    let server = control::Server::start(subject)?;
    let result = Box::pin(run_in(directory, spec, options, progress, gate)).await;
    server.end().await;
    result
}

async fn run_in(
    directory: TaskDirectory,
    spec: TaskSpec,
    options: RunOptions,
    progress: Arc<Progress>,
    gate: Arc<Gate>,
) -> Result<()> {
    let store = Store::open(directory.path())?;
    let status = {
        let (path, progress) = (directory.path().to_owned(), Arc::clone(&progress));
        tokio::spawn(async move {
            let mut every_second = tokio::time::interval(Duration::from_secs(1));
            loop {
                every_second.tick().await;
                if let Err(error) = state::write_status(&path, &progress.report()) {
                    tracing::warn!("{error}");
                }
            }
        })
    };
    let stop = gate.stop_token().clone();
    let task = Task { spec, options, store, directory, progress, stop, gate, check: OnceLock::new() };
    let result = task.phases().await;
    if result.is_ok()
        && task.gate.is_complete()
        && let Err(error) = task.spec.source.let_go().await
    {
        tracing::warn!("the source may keep its log for the task that was cut over: {error}");
    }
    let result = task.end_check(result).await;
    status.abort();
    task.progress.update(|report| {
        report.pid = None;
        report.waits_for = None;
        let failure = result.as_ref().err().filter(|error| error.kind() != ErrorKind::Interrupted);
        report.error = failure.map(ToString::to_string);
    });
    let written = state::write_status(task.directory.path(), &task.progress.report());
    result.and(written)
}

pub(crate) struct Task {
    pub(crate) spec: TaskSpec,
    pub(crate) options: RunOptions,
    pub(crate) store: Store,
    pub(crate) directory: TaskDirectory,
    pub(crate) progress: Arc<Progress>,
    /// Ends the run.
    pub(crate) stop: CancellationToken,
    /// Where the work is held up.
    pub(crate) gate: Arc<Gate>,
    /// What compares the changes after they were applied, where that was asked for.
    pub(crate) check: OnceLock<Arc<Incremental>>,
}

/// How often in a row the target may lose everything that is copied.
const COPIED_IN_VAIN: u32 = 3;

/// How long the last look at keys and indexes may take.
const LAST_LOOK: Duration = Duration::from_mins(1);

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
    skipped: Vec<TableName>,
    record: TaskRecord,
    /// Whether an earlier run had finished the copy.
    pub(crate) copied_before: bool,
    chain: Chain,
    dead_letters: Arc<DeadLetters>,
}

impl Prepared {
    /// Takes on the tables of a plan.
    async fn adopt(&mut self, plan: TaskPlan, spec: &TaskSpec) -> Result<()> {
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
    async fn phases(&self) -> Result<()> {
        let online = self.spec.mode == Mode::Online;
        self.progress.enter(Phase::Precheck);
        let pass = self.gate.enter().await?;
        self.unless_stopped(cut_over::refuse_if_over(&self.spec)).await?;
        let left_over = cut_over::left_over(&self.spec, self.directory.path());
        self.note(self.unless_stopped(left_over).await?.into_iter().collect())?;
        let checked = self.unless_stopped(self.spec.source.check(&self.spec.selection, online)).await?;
        self.note(checked.clone())?;
        if online && self.options.check_changes {
            let opening = Incremental::open(&self.spec, Arc::clone(&self.progress));
            drop(self.check.set(Arc::new(self.unless_stopped(opening).await?)));
        } else {
            Incremental::forget(&self.spec)?;
        }
        let (pass, question) = match self.options.start_at {
            None => (pass, Some(checked)),
            Some(hour) => {
                self.unless_stopped(Box::pin(self.rehearse(checked))).await?;
                drop(pass);
                self.wait_until(hour).await?;
                let pass = self.gate.enter().await?;
                // What was fine then may have changed; what was asked is not asked again.
                self.note(self.unless_stopped(self.spec.source.check(&self.spec.selection, online)).await?)?;
                (pass, None)
            }
        };
        self.progress.enter(Phase::Schema);
        let prepared = self.unless_stopped(self.prepare(online, question)).await;
        if prepared.is_err() && online {
            self.let_go_unless_begun().await;
        }
        let mut prepared = prepared?;
        drop(pass);
        self.progress.enter(Phase::Snapshot);
        self.copy(&prepared, online).await?;
        Failpoint::CopyDone.reach();
        if online {
            self.progress.enter(Phase::CatchUp);
            if !prepared.record.built {
                self.build(BuildStep::RowKeys, &prepared.targets).await?;
            }
            // Indexes other than row keys must wait until no row can be both in an old and a new place.
            let copied = self.patiently(|| self.spec.source.high_watermark()).await?;
            self.follow(&mut prepared, Some(&copied)).await?;
        }
        self.progress.enter(Phase::Indexes);
        self.finish(&prepared, online).await?;
        if online {
            self.progress.enter(Phase::Streaming);
            match self.spec.until {
                Until::CaughtUp => {
                    let now = self.patiently(|| self.spec.source.high_watermark()).await?;
                    self.follow(&mut prepared, Some(&now)).await?;
                    // Of a target that is in use by now they are nobody's business but its own.
                    if !self.gate.is_complete() {
                        self.set_identities(&prepared.targets).await?;
                    }
                }
                Until::Stopped => self.follow(&mut prepared, None).await?,
            }
        }
        self.progress.enter(Phase::Done);
        Ok(())
    }

    /// Ends the check of changes, of a run that ends as it was asked to.
    async fn end_check(&self, result: Result<()>) -> Result<()> {
        let Some(check) = self.check.get() else { return result };
        let was_stopped = match &result {
            Ok(()) => false,
            Err(error) if error.kind() == ErrorKind::Interrupted => true,
            Err(_) => return result,
        };
        // Before, indexes are not built; of a target that is in use by now they are nobody's business.
        let is_built = self.progress.report().phase >= Phase::Streaming && !self.gate.is_complete();
        match timeout(LAST_LOOK, check.finish(is_built, !was_stopped)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) if !was_stopped => return Err(error),
            Ok(Err(error)) => tracing::warn!("keys and indexes could not be looked at: {error}"),
            Err(_) => tracing::warn!("looking at keys and indexes took too long and was given up"),
        }
        result
    }

    /// Keeps findings for whoever watches, and fails when one of them says so.
    pub(crate) fn note(&self, findings: Vec<Finding>) -> Result<()> {
        let failed: Vec<&Finding> =
            findings.iter().filter(|finding| finding.severity == Severity::Failed).collect();
        let error = failed.first().map(|first| {
            let mut error = Error::new(ErrorKind::Precondition, "the task can't run as things are")
                .at("check", &first.subject)
                .because(
                    failed.iter().map(|finding| finding.message.as_str()).collect::<Vec<_>>().join("; "),
                );
            let fixes: Vec<&str> = failed.iter().filter_map(|finding| finding.fix.as_deref()).collect();
            if !fixes.is_empty() {
                error = error.help(fixes.join("; "));
            }
            error
        });
        self.progress.update(|report| {
            // Some checks are made more than once.
            let new: Vec<Finding> =
                findings.into_iter().filter(|finding| !report.findings.contains(finding)).collect();
            report.findings.extend(new);
        });
        error.map_or(Ok(()), Err)
    }

    /// Plans, and creates what is missing in the target. `checked` is what the checks of the source
    /// found, for the question before a task begins; without it, nobody is asked.
    pub(crate) async fn prepare(&self, online: bool, checked: Option<Vec<Finding>>) -> Result<Prepared> {
        let (spec, store) = (&self.spec, &self.store);
        let stored = store.plan()?;
        let context =
            stored.as_ref().map_or_else(|| RunContext::of_task(&spec.name), |plan| plan.context.clone());
        let chain = Chain::load(spec, &context).await?;
        let known = spec.target.task(&spec.name).await?;
        let Begun { plan: task_plan, start, recorded } = self.begin(online, known.as_ref(), &chain).await?;
        let targets = targets(&task_plan);
        let plan_findings = task_plan.tables.iter().flat_map(|table| table.findings.clone()).collect();
        self.note(plan_findings)?;
        if online {
            self.note(task_plan.unlogged_cascades(spec.source.endpoint()))?;
        }
        let of_target = spec.target.check(&spec.name, &targets, online).await?;
        self.note(of_target.clone())?;
        if let Some(mut checked) = checked
            && known.is_none()
        {
            checked.extend(of_target);
            self.ask_to_begin(&chain, &task_plan, &targets, &checked).await?;
        }

        self.accept(known.as_ref(), stored.as_ref(), &chain, &task_plan)?;
        let record = TaskPlanRecord {
            digest: task_plan.digest.clone(),
            plugins: chain.records(),
            context,
            tables: task_plan.tables.clone(),
        };
        store.put_plan(&record)?;
        state::write_context(self.directory.path(), &record.context)?;
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
    async fn let_go_unless_begun(&self) {
        if let Ok(None) = self.spec.target.task(&self.spec.name).await
            && let Err(error) = self.spec.source.let_go().await
        {
            tracing::warn!("the source may keep its log for a task that was not begun: {error}");
        }
    }

    /// Where a task begins, or the tables that it went on with: those on record in the target, since
    /// today's may be ahead of its rows.
    async fn begin(&self, online: bool, known: Option<&TaskRecord>, chain: &Chain) -> Result<Begun> {
        let spec = &self.spec;
        let mut start = known.and_then(|record| record.start.clone());
        if !online {
            return Ok(Begun { plan: plan::build(spec, chain).await?, start, recorded: None });
        }
        match known {
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
        Ok(Begun { plan: plan::from_schemas(spec, chain, schemas).await?, start, recorded: Some(recorded) })
    }

    /// Refuses to go on under another plan than the task was begun with.
    fn accept(
        &self,
        known: Option<&TaskRecord>,
        stored: Option<&TaskPlanRecord>,
        chain: &Chain,
        plan: &TaskPlan,
    ) -> Result<()> {
        // A plan that was stored but never registered with the target bound nothing yet.
        let Some(known) = known else { return Ok(()) };
        if known.plan_digest == plan.digest {
            return Ok(());
        }
        let what = plan::difference(stored, &chain.records(), plan);
        Err(Error::new(ErrorKind::State, "the plan is not the one that the task was begun with")
            .at("task", &self.spec.name)
            .because(what)
            .help(
                "rows already copied followed the old plan: go back to the same plugins and configuration, \
                 or begin a new task with another --name after dropping this task's target tables",
            ))
    }

    async fn copy(&self, prepared: &Prepared, online: bool) -> Result<()> {
        let spec = &self.spec;
        // A source without a log can't tell; then nothing is said about it.
        let before = if online { None } else { spec.source.high_watermark().await.ok() };
        let mut done = prepared.record.chunks.clone();
        let mut in_vain = 0;
        let throttle = Throttle::new(self.options.limits, Arc::clone(&self.progress));
        loop {
            let pass = self.gate.enter().await?;
            let copied = tokio::select! {
                copied = snapshot::copy(spec, &prepared.routes, &done, online, &throttle, &pass.stop) => copied,
                () = throttle.watch(spec.source.as_ref()) => Ok(()),
            };
            drop(pass);
            throttle.over();
            let mut was_paused = false;
            match copied {
                Err(error) if self.gate.is_ours(&error) => {
                    was_paused = true;
                    drop(self.gate.enter().await?);
                }
                other => other?,
            }
            // What a loader was told was committed may be gone since, if the server crashed.
            self.patiently(|| spec.target.flush()).await?;
            let record = self.patiently(|| spec.target.task(&spec.name)).await?;
            let there = record.map(|record| record.chunks).unwrap_or_default();
            let tables = prepared.routes.iter().map(|route| route.composed().as_ref());
            if snapshot::is_complete(tables, &there) {
                break;
            }
            // A crash can take all that was copied since the last look, but hardly again and again.
            in_vain = if there == done && !was_paused { in_vain + 1 } else { 0 };
            if in_vain > COPIED_IN_VAIN {
                return Err(Error::new(ErrorKind::State, "the target does not keep what is copied into it")
                    .at("task", &spec.name)
                    .because("chunks that it confirmed are not on record there")
                    .help("see whether somebody else changes or restores the target, then run the same command again"));
            }
            if !was_paused {
                tracing::warn!("the target has lost chunks in a crash, which are copied again");
            }
            done = there;
        }
        self.progress.update(|report| report.tables.iter_mut().for_each(|table| table.copied = true));
        if let Some(before) = before
            && spec.source.high_watermark().await.ok().is_some_and(|after| after != before)
        {
            self.note(vec![Finding {
                severity: Severity::Warning,
                subject: "source".into(),
                message:
                    "it was written to while it was copied offline, so tables may be from different moments"
                        .into(),
                fix: Some("stop writes and copy again, or use --mode online".into()),
            }])?;
        }
        Ok(())
    }

    /// Follows the source, over changes of structure too.
    async fn follow(&self, prepared: &mut Prepared, until: Option<&Position>) -> Result<()> {
        loop {
            let pass = self.gate.enter().await?;
            let goal = self.gate.goal();
            self.gate.show(Held { routes: prepared.routes.clone(), targets: prepared.targets.clone() });
            match self.follower(prepared, &pass.stop).follow(goal.as_ref().or(until)).await {
                Err(error) if self.gate.is_ours(&error) => {}
                Err(error) => return Err(error),
                Ok(Followed::Structure(change, position)) => {
                    self.evolve(prepared, &change, &position).await?;
                }
                Ok(Followed::Reached) => {
                    drop(pass);
                    let Some(goal) = goal else { return Ok(()) };
                    if self.gate.hold(&goal).await? == Released::Complete {
                        return Ok(());
                    }
                }
            }
        }
    }

    async fn evolve(
        &self,
        prepared: &mut Prepared,
        change: &SchemaChange,
        position: &Position,
    ) -> Result<()> {
        let chain = &prepared.chain;
        let applied = retried(&self.stop, || evolve::apply(&self.spec, chain, change, position));
        let plan = self.unless_stopped(applied).await?;
        if let Some(mut stored) = self.store.plan()? {
            stored.digest.clone_from(&plan.digest);
            stored.tables.clone_from(&plan.tables);
            self.store.put_plan(&stored)?;
        }
        self.progress.update(|report| {
            let known = std::mem::take(&mut report.tables);
            report.position = Some(position.to_string());
            report.tables = plan
                .tables
                .iter()
                .map(|table| {
                    let fresh = line(table, &prepared.dead_letters);
                    let old = known.iter().find(|old| old.table == fresh.table);
                    old.map_or(TableProgress { copied: true, ..fresh.clone() }, |old| TableProgress {
                        target: fresh.target,
                        ..old.clone()
                    })
                })
                .collect();
        });
        prepared.adopt(plan, &self.spec).await
    }

    fn follower<'a>(&'a self, prepared: &'a Prepared, stop: &'a CancellationToken) -> Follower<'a> {
        Follower {
            spec: &self.spec,
            routes: &prepared.routes,
            skipped: &prepared.skipped,
            progress: &self.progress,
            stop,
            check: self.check.get(),
        }
    }

    async fn finish(&self, prepared: &Prepared, online: bool) -> Result<()> {
        if !prepared.record.built {
            if !online {
                self.build(BuildStep::RowKeys, &prepared.targets).await?;
            }
            self.build(BuildStep::Indexes, &prepared.targets).await?;
            self.build(BuildStep::ForeignKeys, &prepared.targets).await?;
            let with_rows = prepared.targets.iter().filter(|target| target.with_rows).map(Ok::<_, Error>);
            stream::iter(with_rows)
                .try_for_each_concurrent(self.spec.parallelism.max(1), |target| {
                    self.patiently(|| self.spec.target.analyze(target))
                })
                .await?;
            self.patiently(|| self.spec.target.record_built()).await?;
        }
        self.create_objects(prepared, online).await?;
        self.set_identities(&prepared.targets).await
    }

    /// Creates views, routines and events; triggers too when nothing is applied any more.
    async fn create_objects(&self, prepared: &Prepared, online: bool) -> Result<()> {
        let spec = &self.spec;
        let tables = || prepared.routes.iter().map(|route| route.composed().as_ref());
        let Some(plan) = self.patiently(|| objects::plan(spec, &prepared.chain, tables())).await? else {
            return Ok(());
        };
        let now = plan.only(|kind| !online || kind != ObjectKind::Trigger);
        let refused = self.patiently(|| spec.target.create_objects(&now)).await?;
        self.note(refused)?;
        Failpoint::ObjectsCreated.reach();
        if !online {
            self.patiently(|| spec.target.enable_events(&spec.name)).await?;
        }
        Ok(())
    }

    pub(crate) async fn build(&self, step: BuildStep, targets: &[Arc<TargetTable>]) -> Result<()> {
        let jobs = self.spec.target.render_step(step, targets)?;
        self.progress.update(|report| report.builds_total += jobs.len() as u64);
        let slots = Arc::new(Semaphore::new(self.spec.parallelism.max(1)));
        let mut running = JoinSet::new();
        for job in jobs {
            let (target, progress) = (Arc::clone(&self.spec.target), Arc::clone(&self.progress));
            let (slots, stop, gate) = (Arc::clone(&slots), self.stop.clone(), Arc::clone(&self.gate));
            running.spawn(async move {
                let _slot = slots.acquire_owned().await;
                let _pass = gate.enter().await?;
                progress.update(|report| report.building.push(job.label.clone()));
                let result = retried(&stop, || target.build(&job)).await;
                progress.update(|report| {
                    report.building.retain(|label| *label != job.label);
                    report.builds_done += u64::from(result.is_ok());
                });
                result
            });
        }
        let all = async {
            while let Some(ended) = running.join_next().await {
                ended.map_err(|error| {
                    Error::new(ErrorKind::Internal, "building an index ended unexpectedly").caused_by(error)
                })??;
            }
            Ok(())
        };
        self.unless_stopped(all).await
    }

    async fn set_identities(&self, targets: &[Arc<TargetTable>]) -> Result<()> {
        if self.patiently(|| identities::set(&self.spec, targets)).await? == 0 {
            return Ok(());
        }
        Failpoint::IdentitiesSet.reach();
        Ok(())
    }

    /// As [`patiently`](Self::patiently), of work that has a pass already: another one would not be had
    /// while a pause waits for the first.
    async fn persistently<T, F: Future<Output = Result<T>>>(&self, work: impl FnMut() -> F) -> Result<T> {
        self.unless_stopped(retried(&self.stop, work)).await
    }

    /// What a running task asks of a server that may be down for a while.
    async fn patiently<T, F: Future<Output = Result<T>>>(&self, work: impl FnMut() -> F) -> Result<T> {
        let _pass = self.gate.enter().await?;
        self.persistently(work).await
    }

    pub(crate) async fn unless_stopped<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Error::new(ErrorKind::Interrupted, "stopped")),
            result = work => result,
        }
    }
}

fn line(table: &crate::compose::Composed, dead_letters: &DeadLetters) -> TableProgress {
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
