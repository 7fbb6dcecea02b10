//! A task from beginning to end, and on from wherever it was.

mod build;
mod copy;
mod prepare;
mod streaming;

use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use engine_core::error::{Error, ErrorKind, Result};
use engine_core::failpoint::Failpoint;
use engine_core::finding::{Finding, Severity};
use engine_core::target::BuildStep;

use crate::control;
use crate::control::gate::Gate;
use crate::cut_over::{self, Subject};
use crate::options::RunOptions;
use crate::progress::{Phase, Progress};
use crate::retention;
use crate::retry::retried;
use crate::state::{self, Store, TaskDirectory};
use crate::task::{Mode, TaskSpec, Until};
use crate::verify::incremental::Incremental;

pub(crate) use prepare::Prepared;

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
    spec.source.keep_files_in(directory.path());
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
    let last = state::status(&spec.state_dir, Some(&spec.name)).unwrap_or_default();
    let applied = last.first().and_then(|report| report.applied_at_ms);
    progress.update(|report| report.applied_at_ms = applied);
    let retention = (spec.mode == Mode::Online)
        .then(|| tokio::spawn(retention::watch(Arc::clone(&spec.source), Arc::clone(&progress))));
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
    if let Some(retention) = retention {
        retention.abort();
    }
    task.progress.update(|report| {
        report.pid = None;
        report.waits_for = None;
        let failure = result.as_ref().err().filter(|error| error.kind() != ErrorKind::Interrupted);
        report.error = failure.map(ToString::to_string);
    });
    let report = task.progress.report();
    let report = match last.into_iter().next() {
        // That a task that is over was refused is nothing to be told instead of how it ended.
        Some(before)
            if result.is_err() && report.cut_over.is_some() && before.cut_over == report.cut_over =>
        {
            before
        }
        _ => report,
    };
    let written = state::write_status(task.directory.path(), &report);
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

/// How long the last look at keys and indexes may take.
const LAST_LOOK: Duration = Duration::from_mins(1);

impl Task {
    async fn phases(&self) -> Result<()> {
        let online = self.spec.mode == Mode::Online;
        self.progress.enter(Phase::Precheck);
        let pass = self.gate.enter().await?;
        let refused = self.unless_stopped(cut_over::refuse_if_over(&self.spec)).await;
        if let Err(error) = &refused {
            let position = error.place().iter().find(|(name, _)| *name == "position");
            let position = position.map(|(_, position)| position.clone());
            self.progress.update(|report| report.cut_over = position);
        }
        refused?;
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
