//! One model of how far a task is, for every reader: bars, lines, JSON, the status file.

use serde::{Deserialize, Serialize};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use engine_core::finding::Finding;

use crate::verify::Kind;

/// The phases of a task, in order. Offline tasks have no catch-up and no streaming.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Accounts and settings are checked; nothing is written.
    Precheck,
    /// Plugins plan every table; tables are created.
    Schema,
    /// Rows are copied in chunks.
    Snapshot,
    /// Row keys are built and the changes made during the copy are applied.
    CatchUp,
    /// Indexes and foreign keys are built, identity columns set.
    Indexes,
    /// Changes are applied as they come.
    Streaming,
    /// The task did what it was asked to do.
    Done,
}

impl Phase {
    /// The name that people and scripts see.
    pub fn name(self) -> &'static str {
        match self {
            Self::Precheck => "precheck",
            Self::Schema => "schema",
            Self::Snapshot => "snapshot",
            Self::CatchUp => "catch-up",
            Self::Indexes => "indexes",
            Self::Streaming => "streaming",
            Self::Done => "done",
        }
    }
}

/// When a phase began and ended, milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseTimes {
    /// The phase.
    pub phase: Phase,
    /// Its beginning.
    pub started_ms: u64,
    /// Its end, once it is over.
    pub finished_ms: Option<u64>,
}

/// How far one table is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableProgress {
    /// Source name, `database.table`.
    pub table: String,
    /// Target name, `schema.table`.
    pub target: String,
    /// Rows as the source's statistics have it.
    pub rows_estimate: Option<u64>,
    /// Rows copied, those of earlier runs of the task among them.
    pub rows_copied: u64,
    /// Bytes copied by this run, in the engine's own form.
    pub bytes_copied: u64,
    /// Whether the copy is complete.
    pub copied: bool,
    /// Changes applied by this run.
    pub changes_applied: u64,
    /// Rows left out by a plugin's filter in this run.
    pub rows_filtered: u64,
    /// Rows set aside in the dead-letter file and not settled, by this run or an earlier one.
    pub rows_dead: u64,
}

/// A row that is not as its last change left it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrongRow {
    /// Source name, `database.table`.
    pub table: String,
    /// Target name, `schema.table`.
    pub target: String,
    /// What is wrong with it.
    pub kind: Kind,
    /// Its key, column by column.
    pub key: Vec<(String, Option<String>)>,
    /// The columns that differ, where that is known.
    pub columns: Vec<String>,
}

/// What the check of changes has seen in this run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ChangeCheck {
    /// Changes whose rows were compared after they were applied.
    pub checked: u64,
    /// Rows that were not as they must be when they were last looked at.
    pub wrong: u64,
    /// Changes that were applied and not compared.
    pub not_checked: u64,
    /// Changes that wait to be compared.
    pub waiting: u64,
    /// Keys, indexes, foreign keys and identity columns that were not as planned at the end; `None` before it.
    pub objects_amiss: Option<u64>,
    /// Tables whose changes are not checked, since their rows have no key.
    pub tables_without_key: Vec<String>,
    /// The first rows that were found wrong, also those that are right again.
    pub rows: Vec<WrongRow>,
    /// Whether there were more.
    pub is_cut_short: bool,
}

impl ChangeCheck {
    /// Whether nothing was found that is not as it must be.
    pub fn is_clean(&self) -> bool {
        self.wrong == 0 && self.objects_amiss.unwrap_or(0) == 0
    }
}

/// Everything there is to say about a task at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Task name.
    pub task: String,
    /// Source without its password.
    pub source: String,
    /// Target without its password.
    pub target: String,
    /// The phase it is in.
    pub phase: Phase,
    /// The phases of this run so far.
    pub phases: Vec<PhaseTimes>,
    /// Whether this run goes on with an earlier one.
    pub resumed: bool,
    /// The tables, by name.
    pub tables: Vec<TableProgress>,
    /// Objects to build in the phase that builds, and how many are done.
    pub builds_total: u64,
    /// See `builds_total`.
    pub builds_done: u64,
    /// What is being built now.
    pub building: Vec<String>,
    /// Source transactions applied by this run.
    pub transactions_applied: u64,
    /// Age of the last applied change when it was applied, in milliseconds; zero when nothing
    /// waits. `None` before the stream was opened.
    pub lag_ms: Option<u64>,
    /// Source position at which the target stands.
    pub position: Option<String>,
    /// When the last change that the target has was committed on the source, milliseconds since 1970; the present
    /// while nothing waits.
    #[serde(default)]
    pub applied_at_ms: Option<u64>,
    /// Until when the source keeps the changes after it, by its settings; `None` when it keeps them for ever, or
    /// for the task.
    #[serde(default)]
    pub log_kept_until_ms: Option<u64>,
    /// What checks and plan had to say.
    pub findings: Vec<Finding>,
    /// Milliseconds since 1970 of this report.
    pub at_ms: u64,
    /// Process that runs the task; `None` once it ended.
    pub pid: Option<u32>,
    /// Whether it holds, as it was asked to.
    #[serde(default)]
    pub paused: bool,
    /// What it waits for, or what slows it down, in words.
    #[serde(default)]
    pub waits_for: Option<String>,
    /// Where it was cut over, once it was.
    #[serde(default)]
    pub cut_over: Option<String>,
    /// What the check of changes has seen, where that was asked for.
    #[serde(default)]
    pub check: Option<ChangeCheck>,
    /// The error that ended the run.
    pub error: Option<String>,
}

impl Report {
    /// Rows copied over all tables.
    pub fn rows_copied(&self) -> u64 {
        self.tables.iter().map(|table| table.rows_copied).sum()
    }

    /// Rows set aside over all tables.
    pub fn rows_dead(&self) -> u64 {
        self.tables.iter().map(|table| table.rows_dead).sum()
    }

    /// Changes applied over all tables by this run.
    pub fn changes_applied(&self) -> u64 {
        self.tables.iter().map(|table| table.changes_applied).sum()
    }
}

/// The current [`Report`], shared between the task and whoever shows it.
#[derive(Debug)]
pub struct Progress(Mutex<Report>);

impl Progress {
    /// Progress of a task that is about to begin.
    pub fn new(task: &str, source: &str, target: &str) -> Self {
        Self(Mutex::new(Report {
            task: task.to_owned(),
            source: source.to_owned(),
            target: target.to_owned(),
            phase: Phase::Precheck,
            phases: Vec::new(),
            resumed: false,
            tables: Vec::new(),
            builds_total: 0,
            builds_done: 0,
            building: Vec::new(),
            transactions_applied: 0,
            lag_ms: None,
            position: None,
            applied_at_ms: None,
            log_kept_until_ms: None,
            findings: Vec::new(),
            at_ms: now_ms(),
            pid: Some(std::process::id()),
            paused: false,
            waits_for: None,
            cut_over: None,
            check: None,
            error: None,
        }))
    }

    /// A copy of the report as it is now.
    pub fn report(&self) -> Report {
        let mut report = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        report.at_ms = now_ms();
        report
    }

    /// Changes the report.
    pub fn update(&self, change: impl FnOnce(&mut Report)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Changes one table's line.
    pub fn update_table(&self, index: usize, change: impl FnOnce(&mut TableProgress)) {
        self.update(|report| {
            if let Some(table) = report.tables.get_mut(index) {
                change(table);
            }
        });
    }

    /// Ends the current phase and begins another.
    pub fn enter(&self, phase: Phase) {
        let now = now_ms();
        self.update(|report| {
            if let Some(last) = report.phases.last_mut() {
                last.finished_ms.get_or_insert(now);
            }
            report.phases.push(PhaseTimes { phase, started_ms: now, finished_ms: None });
            report.phase = phase;
        });
        tracing::info!(phase = phase.name(), "phase");
    }
}

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as u64)
}
