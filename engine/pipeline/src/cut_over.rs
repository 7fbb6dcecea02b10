//! The guided end of a task: the source takes no more writes, the target has all of it, and nothing
//! but applications has to be moved.
//!
//! It runs in the process that runs the task, on behalf of somebody at the other end of the control
//! socket, and follows §"cut-over" of the documentation: each [`Step`] is told and timed. Until the
//! last one, which records the end in the target and fences every engine, all of it can be undone, and
//! is when a step fails, when the time for which writes may be stopped is over, and when whoever asked
//! goes away.

mod counts;
mod intent;
mod steps;
mod verified;
mod way_back;

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use engine_core::error::{Error, ErrorKind, Result};
use engine_core::finding::{Finding, Severity};

use crate::control::gate::Gate;
use crate::progress::Progress;
use crate::state::TaskDirectory;
use crate::task::TaskSpec;

pub(crate) use steps::run;

/// How a task is to be cut over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CutOverOptions {
    /// Writes are stopped once the target is behind by no more than this, in milliseconds.
    pub max_lag_ms: u64,
    /// How long writes may be stopped before everything is undone, in milliseconds.
    pub freeze_budget_ms: u64,
    /// Whether the engine has the source refuse writes.
    pub set_source_read_only: bool,
    /// Whether the full check and the last count are left out.
    pub skip_verify: bool,
    /// Whether rows that are set aside, and so are missing in the target, may be left behind.
    pub leave_set_aside: bool,
    /// Whether a way back is prepared.
    #[serde(default)]
    pub way_back: bool,
    /// Whether nobody is asked.
    pub yes: bool,
}

/// What is done, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Nothing speaks against it.
    Ready,
    /// Every row is the same on both sides, while they move.
    Verify,
    /// The target is close behind.
    Lag,
    /// Writes are stopped.
    Freeze,
    /// They have stopped indeed.
    Quiet,
    /// The target has everything.
    Drain,
    /// Identity columns go on after the source's.
    Sequences,
    /// Foreign keys are there and validated, triggers on.
    Constraints,
    /// Both sides have the same numbers of rows.
    Check,
    /// Nothing was written meanwhile.
    StillQuiet,
    /// Triggers are created.
    Triggers,
    /// From here on the target keeps its log for the way back.
    WayBack,
    /// The end is on record, and engines are fenced.
    Commit,
    /// Events run.
    Events,
    /// Everything is as it was.
    RollBack,
}

impl Step {
    /// The word that people and scripts see.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Verify => "verify",
            Self::Lag => "lag",
            Self::Freeze => "freeze",
            Self::Quiet => "quiet",
            Self::Drain => "drain",
            Self::Sequences => "sequences",
            Self::Constraints => "constraints",
            Self::Check => "check",
            Self::StillQuiet => "still-quiet",
            Self::Triggers => "triggers",
            Self::WayBack => "way-back",
            Self::Commit => "commit",
            Self::Events => "events",
            Self::RollBack => "roll-back",
        }
    }
}

/// How far a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Progressed {
    /// It has begun, or goes on.
    Underway,
    /// It is done.
    Done,
    /// It failed.
    Failed,
}

/// What is told while a task is cut over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A step began, goes on, or ended.
    Step {
        /// The step.
        step: Step,
        /// How far it is.
        state: Progressed,
        /// What was seen or done.
        detail: String,
        /// Since its beginning.
        took_ms: u64,
        /// From now on, the statement that has the source take writes again.
        undo: Option<String>,
    },
    /// Somebody has to answer.
    Question {
        /// The question, to be answered by yes or no.
        text: String,
    },
    /// It is over.
    CutOver(Completed),
}

/// A task that was cut over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Completed {
    /// Task.
    pub task: String,
    /// Source without its password.
    pub source: String,
    /// Target without its password.
    pub target: String,
    /// Source position of the last change.
    pub position: String,
    /// Where the way back begins in the target's log, when one was asked for.
    #[serde(default)]
    pub way_back: Option<String>,
    /// How long writes had been stopped when it was done.
    pub frozen_ms: u64,
    /// The statement that has the source take writes again, when the engine forbade them.
    pub undo: Option<String>,
}

/// The other end: whoever asked for the cut-over.
pub(crate) struct Talk {
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) answers: mpsc::Receiver<bool>,
    /// Cancelled when they want it undone, or have gone.
    pub(crate) abort: CancellationToken,
}

/// What a cut-over works on.
#[derive(Clone)]
pub(crate) struct Subject {
    pub(crate) spec: Arc<TaskSpec>,
    pub(crate) directory: PathBuf,
    pub(crate) gate: Arc<Gate>,
    pub(crate) progress: Arc<Progress>,
}

/// A warning when a cut-over of the task was killed and the source is still read-only.
pub(crate) async fn left_over(spec: &TaskSpec, directory: &Path) -> Result<Option<Finding>> {
    let Some(intent) = intent::read(directory)? else { return Ok(None) };
    if spec.source.write_state().await.is_ok_and(|state| !state.frozen) {
        // Somebody has undone it.
        intent::remove(directory)?;
        return Ok(None);
    }
    Ok(Some(Finding {
        severity: Severity::Warning,
        subject: "cut-over".into(),
        message: "one of this task was killed before its end, and has left the source read-only".into(),
        fix: Some(format!(
            "engine cutover goes on with it; to have the source take writes: {}",
            intent.before.statement
        )),
    }))
}

/// What an earlier cut-over did that was killed after its last step; `None` when there was none.
/// Told once.
pub async fn completed_unheard(spec: &TaskSpec) -> Result<Option<Completed>> {
    let Some(over) = spec.target.cut_over(&spec.name).await? else { return Ok(None) };
    let directory = TaskDirectory::open(&spec.state_dir, &spec.name)?;
    let Some(intent) = intent::read(directory.path())? else { return Ok(None) };
    spec.target.enable_events(&spec.name).await?;
    intent::remove(directory.path())?;
    Ok(Some(Completed {
        task: over.task,
        source: spec.source_label.clone(),
        target: spec.target_label.clone(),
        position: over.position.to_string(),
        way_back: over.way_back.as_ref().map(ToString::to_string),
        frozen_ms: over.at_ms.saturating_sub(intent.since_ms),
        undo: over.before.map(|before| before.statement),
    }))
}

/// Refuses to go on with a task that was cut over.
pub(crate) async fn refuse_if_over(spec: &TaskSpec) -> Result<()> {
    let Some(over) = spec.target.cut_over(&spec.name).await? else { return Ok(()) };
    Err(Error::new(ErrorKind::State, "the task was cut over and can't go on")
        .at("task", &spec.name)
        .at("position", &over.position)
        .because("its target has been in use since, and changes of the source would overwrite that")
        .help(format!(
            "begin another task with --name; or, if nobody has written to the target since, take the cut-over back \
             in the target: DELETE FROM _migration.cut_over WHERE task = '{}'",
            spec.name
        )))
}
