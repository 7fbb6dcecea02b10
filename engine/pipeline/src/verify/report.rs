//! What a check found.

use serde::{Deserialize, Serialize};
use std::sync::{Mutex, PoisonError};

use engine_core::finding::{Finding, Severity};

use crate::progress::now_ms;

/// What is wrong with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The target does not have it.
    Missing,
    /// The target should not have it.
    Extra,
    /// It has other values.
    Different,
}

/// A column whose values differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ColumnDifference {
    /// The column, by its name on the source.
    pub column: String,
    /// What the target should have; `None` for NULL.
    pub expected: Option<String>,
    /// What it has; `None` for NULL.
    pub found: Option<String>,
}

/// A row that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What is wrong with it.
    pub kind: Kind,
    /// Its key, column by column; the whole row where the table has no key. Empty when only its hash is
    /// known, as it was being changed.
    pub key: Vec<(String, Option<String>)>,
    /// What differs, where the row is there.
    pub columns: Vec<ColumnDifference>,
}

/// How both sides of a table were cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cutting {
    /// Ranges of the key, the same on both sides.
    Ranges,
    /// The whole table in one look, more where it does not fit.
    Whole,
}

/// What was found of one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableReport {
    /// Source name, `database.table`.
    pub table: String,
    /// Target name, `schema.table`.
    pub target: String,
    /// Whether it has rows of other tasks too: those of this task's source were compared, and whether there are
    /// more of them than there should be can't be told.
    pub merged: bool,
    /// How the rows came to be compared: `stream`, read from both sides and hashed by the engine; `push-down`,
    /// summed up by both databases; `both`, the one for some parts and the other for others.
    pub method: &'static str,
    /// Parts that both databases summed up.
    pub summed_parts: u64,
    /// How the table was cut.
    pub cutting: Cutting,
    /// Parts compared, by this run or the interrupted one that it went on with.
    pub parts: u64,
    /// Rows compared: those of either side.
    pub rows: u64,
    /// Rows that are equal in every column.
    pub equal: u64,
    /// Rows that the target does not have.
    pub missing: u64,
    /// Rows that the target should not have.
    pub extra: u64,
    /// Rows with other values.
    pub different: u64,
    /// Rows that are missing because the task has set them aside, not counted as missing.
    pub set_aside: u64,
    /// Of the equal rows, those that were just changing: the stream told what the target must have of them
    /// where it stood.
    pub followed: u64,
    /// Rows that were wrong at one look and right at the next, as a change had written them meanwhile.
    pub passed: u64,
    /// The rows that are wrong; not all of them, when there are very many.
    pub differences: Vec<Difference>,
    /// Columns that are not compared, and why.
    pub not_compared: Vec<(String, String)>,
    /// Columns of which something doesn't count, and what.
    pub leniencies: Vec<(String, String)>,
    /// Whether every part was compared.
    pub is_complete: bool,
    /// Why not, where that is known.
    pub unsettled: Option<String>,
}

impl TableReport {
    /// Whether every row was compared and is as it should be.
    pub fn is_equal(&self) -> bool {
        self.is_complete && self.wrong() == 0
    }

    /// Rows that are not as they should be.
    pub fn wrong(&self) -> u64 {
        self.missing + self.extra + self.different
    }
}

/// What was mended.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Repaired {
    /// Rows written.
    pub written: u64,
    /// Rows deleted.
    pub deleted: u64,
    /// Rows that a change had mended before.
    pub untouched: u64,
    /// The statements, of a dry run.
    pub statements: Vec<String>,
    /// Tables that could not be mended, and why.
    pub refused: Vec<(String, String)>,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Task name.
    pub task: String,
    /// Source without its password.
    pub source: String,
    /// Target without its password.
    pub target: String,
    /// Whether the task follows its source, so that both sides were compared at one and the same position.
    /// Otherwise the source must have stood still.
    pub is_exact: bool,
    /// Where the target stood at the last look.
    pub position: Option<String>,
    /// Parts that were found equal by an earlier run of this check, which was interrupted.
    pub parts_before: u64,
    /// Beginning, milliseconds since 1970; of the interrupted run if there was one.
    pub started_ms: u64,
    /// End.
    pub finished_ms: u64,
    /// The tables, by name.
    pub tables: Vec<TableReport>,
    /// Keys, indexes and sequences that are not as planned.
    pub findings: Vec<Finding>,
    /// What was mended, where that was asked for. The tables are as they were found after it.
    pub repaired: Option<Repaired>,
}

impl Report {
    /// Whether every row of every table was compared and is as it should be.
    pub fn is_equal(&self) -> bool {
        !self.tables.is_empty() && self.tables.iter().all(TableReport::is_equal)
    }

    /// Whether keys and indexes are there as well.
    pub fn is_clean(&self) -> bool {
        self.is_equal() && self.findings.iter().all(|finding| finding.severity < Severity::Warning)
    }

    /// Rows that are not as they should be.
    pub fn wrong(&self) -> u64 {
        self.tables.iter().map(TableReport::wrong).sum()
    }
}

/// How far a check is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// What it does.
    pub doing: &'static str,
    /// Beginning, milliseconds since 1970.
    pub started_ms: u64,
    /// Rows read from the source.
    pub rows: u64,
    /// Rows that the source's statistics promise.
    pub rows_estimate: u64,
    /// Rows found wrong so far.
    pub wrong: u64,
    /// Tables of which every part was compared.
    pub tables_done: u64,
    /// Tables to compare.
    pub tables: u64,
    /// Whether the source is too busy right now.
    pub is_waiting: bool,
}

/// The current [`State`], shared with whoever shows it.
#[derive(Debug, Default)]
pub struct Progress(Mutex<State>);

impl Progress {
    /// Progress of a check that is about to begin.
    pub fn new() -> Self {
        Self(Mutex::new(State { doing: "connecting", started_ms: now_ms(), ..State::default() }))
    }

    /// How far it is.
    pub fn state(&self) -> State {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
