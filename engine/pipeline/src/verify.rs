//! The full check: every row of the target against the source, at one and the same position, while both
//! may be moving.
//!
//! # How
//! A table is cut into [parts](parts). A [look](look) at a part takes a snapshot of the target, which says
//! exactly which of the source's transactions it holds, and then reads the part from the source, through
//! the plan and the plugins. A [stream](trail) of the check's own tells which rows have [changed](changes)
//! on the source around that moment, and what the target must have of them where it stands; all other
//! rows must be equal as they were read. So nothing is locked, nothing has to pause, and nothing is tried
//! again in the hope that it will pass: a row that is not as it must be at that position is wrong.
//!
//! Rows are compared in the target's [canonical form](engine_core::examine) by [hash](hash); wrong ones
//! are looked at a second time as a whole, to tell which columns differ.
//!
//! # Repair
//! [`repair`](Options::repair) writes exactly the wrong rows, as they must be where the target stands, in
//! transactions that hold the task's lanes still meanwhile. The engine that follows goes on as if they
//! had always been so.
//!
//! # Memory
//! Each worker keeps 32 bytes for each of at most 524,288 rows on either side and 32 MiB of whole rows that
//! are wrong; the changes that are not settled take about 100 bytes each, at most 3,000,000 of them.

mod again;
mod changes;
mod describe;
mod hash;
pub(crate) mod incremental;
mod journal;
mod look;
mod order;
mod parts;
mod push_down;
mod repair;
mod report;
mod self_test;
mod sets;
mod side;
mod subject;
mod trail;
mod weigh;
mod worker;

use std::sync::{Arc, Mutex};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use engine_core::error::{Error, ErrorKind, Result};
use engine_core::finding::{Finding, Severity};
use engine_core::selection::Selection;

use crate::progress::now_ms;
use crate::task::TaskSpec;

use again::Altered;
use changes::Changes;
use journal::Journal;
use look::Connections;
use parts::Parts;
use push_down::PushDown;
use subject::Subject;
use trail::Trail;
use worker::{Outcomes, Worker};

pub use push_down::Method;
pub use report::{
    ColumnDifference, Cutting, Difference, Kind, Progress, Repaired, Report, State, TableReport,
};
pub use self_test::{DefectReport, SelfTest, TableTest, self_test};

/// What to check, and how.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Source tables to check, as patterns; all when empty.
    pub tables: Vec<String>,
    /// Parts compared at the same time; the task's own number when `None`.
    pub parallelism: Option<usize>,
    /// Rows of a part; by what they weigh when `None`.
    pub part_rows: Option<u64>,
    /// How rows are compared.
    pub method: Method,
    /// Wait before a part while the source runs more statements than this.
    pub max_load: Option<u64>,
    /// Forget what an interrupted check found and begin anew.
    pub restart: bool,
    /// Mend the rows that are wrong.
    pub repair: bool,
    /// Show the statements that would mend them instead.
    pub dry_run: bool,
}

/// Compares every row of a task's tables. Takes the task's own specification; an engine may be running the
/// task meanwhile. Ends with [`ErrorKind::Interrupted`] when `stop` is cancelled; the same call later
/// goes on with the parts that were not compared yet.
///
/// The report's [`is_equal`](Report::is_equal) is a positive proof: every part of every table that was
/// asked for was compared in every column that the task writes.
pub async fn verify(
    spec: TaskSpec,
    options: Options,
    progress: Arc<Progress>,
    stop: CancellationToken,
) -> Result<Report> {
    let checking = check(spec, options, progress, stop.clone());
    tokio::select! {
        biased;
        result = checking => result,
        () = async {
            stop.cancelled().await;
            // What watches the token itself ends better by itself.
            tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        } => Err(look::interrupted()),
    }
}

/// Begins anew after a change of structure.
async fn check(
    spec: TaskSpec,
    options: Options,
    progress: Arc<Progress>,
    stop: CancellationToken,
) -> Result<Report> {
    for _ in 1..again::MOST {
        let altered = Arc::new(Altered::default());
        match Box::pin(check_once(spec.clone(), &options, &altered, &progress, &stop)).await {
            Err(error) if error.kind() != ErrorKind::Interrupted => {
                if !altered.is_over(&spec, &progress, &stop).await? {
                    return Err(error);
                }
                tracing::info!(%error, "the check begins anew");
            }
            result => return result,
        }
    }
    Box::pin(check_once(spec, &options, &Arc::default(), &progress, &stop)).await
}

async fn check_once(
    spec: TaskSpec,
    options: &Options,
    altered: &Arc<Altered>,
    progress: &Arc<Progress>,
    stop: &CancellationToken,
) -> Result<Report> {
    progress.update(|state| state.doing = "planning");
    let wanted = Selection { database: None, include: options.tables.clone(), exclude: Vec::new() };
    let journal = Journal::open(&spec.state_dir, &spec.name)?;
    let mut subject =
        Subject::open(spec, &wanted, options.part_rows, journal.hashing(options.restart)?).await?;
    subject.altered = Arc::clone(altered);
    let subject = Arc::new(subject);
    let before = journal.resume(&subject, &options.tables)?;
    let is_compared = |table: &&subject::Table| table.is_compared();
    progress.update(|state| {
        state.doing = "comparing";
        state.tables = subject.tables.iter().filter(is_compared).count() as u64;
        let estimates = subject.tables.iter().filter(is_compared);
        state.rows_estimate = estimates.filter_map(|table| table.route.composed().schema.row_estimate).sum();
    });

    let mut connections = Connections::open(&subject).await?;
    let push_down = PushDown::plan(&subject, &mut connections, options.method).await?;
    let nothing = || Changes::new(subject.tables.len());
    let (examiner, copied) = (connections.examiner.as_mut(), subject.copied.as_ref());
    let trail = trail::from_stand(&subject, examiner, copied, nothing, stop).await?;
    drop(connections);
    let mut findings = subject.spec.target.inspect(&subject.targets()).await?;
    if before.outdated > 0 {
        findings.push(Finding {
            severity: Severity::Note,
            subject: "check".into(),
            message: format!(
                "begun anew: the structure of the tables has changed since an interrupted check, whose {} equal parts \
                 count for nothing",
                before.outdated
            ),
            fix: None,
        });
    }
    if trail.is_none() {
        findings.push(Finding {
            severity: Severity::Note,
            subject: "source".into(),
            message: "the task does not follow its source, so that the check is right only if the source stood still \
                      since the copy"
                .into(),
            fix: None,
        });
    }

    let mut outcomes =
        compare(&subject, options, (trail, push_down), &journal, &before.parts, progress, stop).await?;
    let mut repaired = None;
    if options.repair && outcomes.wrong() > 0 {
        progress
            .update(|state| state.doing = if options.dry_run { "planning the repair" } else { "repairing" });
        let mended = repair::mend(&subject, outcomes.suspects(), options.dry_run, progress, stop).await?;
        if !options.dry_run {
            progress.update(|state| state.doing = "looking again");
            outcomes = repair::look_again(&subject, outcomes, progress, stop).await?;
        }
        repaired = Some(mended);
    }
    let position = outcomes.position().map(ToString::to_string);
    let tables = outcomes.reports(&subject);
    journal.finish()?;
    Ok(Report {
        task: subject.spec.name.clone(),
        source: subject.spec.source_label.clone(),
        target: subject.spec.target_label.clone(),
        is_exact: subject.is_followed,
        position,
        parts_before: before.count(),
        started_ms: before.started_ms,
        finished_ms: now_ms(),
        tables,
        findings,
        repaired,
    })
}

/// Compares all parts but those that were found equal before.
async fn compare(
    subject: &Arc<Subject>,
    options: &Options,
    (trail, push_down): (Option<Trail>, PushDown),
    journal: &Journal,
    before: &[Vec<journal::PartRecord>],
    progress: &Arc<Progress>,
    stop: &CancellationToken,
) -> Result<Outcomes> {
    let done: Vec<Vec<_>> =
        before.iter().map(|parts| parts.iter().map(journal::PartRecord::range).collect()).collect();
    let parts = Arc::new(Parts::new(subject, &done));
    let outcomes = Outcomes::new(subject.tables.len(), before);
    let is_done = |table: &&subject::Table| table.is_compared() && outcomes.is_complete(table.place);
    progress.update(|state| state.tables_done = subject.tables.iter().filter(is_done).count() as u64);
    let outcomes = Arc::new(Mutex::new(outcomes));
    let trail = trail.map(Arc::new);
    let push_down = Arc::new(push_down);
    // The workers stop each other: the first real reason is the one to tell.
    let halt = stop.child_token();
    let count = options.parallelism.unwrap_or(subject.spec.parallelism).max(1);
    let floors = Arc::new(Mutex::new((0..count).map(|_| worker::Floor::None).collect::<Vec<_>>()));
    let mut workers = JoinSet::new();
    for number in 0..count {
        let worker = Worker {
            number,
            subject: Arc::clone(subject),
            parts: Arc::clone(&parts),
            trail: trail.clone(),
            push_down: Arc::clone(&push_down),
            outcomes: Arc::clone(&outcomes),
            floors: Arc::clone(&floors),
            journal: journal.clone(),
            max_load: options.max_load,
            progress: Arc::clone(progress),
            stop: halt.clone(),
        };
        workers.spawn(worker.run());
    }
    let mut failure: Option<Error> = None;
    while let Some(ended) = workers.join_next().await {
        let result = ended.unwrap_or_else(|error| {
            Err(Error::new(ErrorKind::Internal, "a part of the check ended unexpectedly").caused_by(error))
        });
        if let Err(error) = result {
            halt.cancel();
            if failure.as_ref().is_none_or(|known| known.kind() == ErrorKind::Interrupted) {
                failure = Some(error);
            }
        }
    }
    if let Some(error) = failure {
        if trail.is_some() && error.kind() != ErrorKind::Interrupted {
            subject.altered.settle().await;
        }
        return Err(error);
    }
    let mut outcomes = outcomes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    Ok(std::mem::take(&mut *outcomes))
}
