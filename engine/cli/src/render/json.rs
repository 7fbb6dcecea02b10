//! Events as JSON lines on standard output, one object per line, for `engine run --json`.
//!
//! Every event has `event`, `task` and `at_ms` (milliseconds since 1970). Fields are only ever
//! added.
//!
//! | event | when | fields |
//! |---|---|---|
//! | `phase` | a phase begins | `phase`, `resumed` |
//! | `finding` | a check or the plan has something to say | `severity` (`pass`, `note`, `warning`, `failed`), `subject`, `message`, `fix` |
//! | `difference` | with `--check-changes`, a row is not as its last change left it | `table`, `target`, `kind` (`missing`, `extra`, `different`), `key`, `columns` |
//! | `progress` | each second while something changes, each ten seconds otherwise | `phase`, `rows_copied`, `rows_expected`, `rows_per_second`, `copy_left_ms`, `changes_applied`, `changes_per_second`, `transactions_applied`, `builds_done`, `builds_total`, `building`, `lag_ms`, `position`, `check` (`checked`, `wrong`, `not_checked`, `waiting`, `objects_amiss`; `null` without `--check-changes`), `tables` (those that changed since the last event) |
//! | `done` | the run did what it was asked to do | the fields of `progress` with all tables, `phases` with their times, `exit_code` |
//! | `error` | the run ended otherwise | `kind`, `what`, `place`, `why`, `help`, `exit_code`; without `task` and `at_ms` |
//!
//! The last line is `done` or `error`. A number that is not known is `null`.

use serde_json::{Map, Value, json};
use std::io::Write;

use engine_pipeline::progress::{ChangeCheck, Report, TableProgress, WrongRow};

use super::pace::{Pace, rows_expected};
use super::summary::{Asked, Outcome};
use super::{Display, NewFindings};
use crate::exit;

/// Time between two `progress` events while something happens.
const BUSY_MS: u64 = 1_000;
/// Time between two `progress` events while nothing does.
const IDLE_MS: u64 = 10_000;

/// What the check of changes has seen, in figures.
fn check(check: &ChangeCheck) -> Value {
    json!({
        "checked": check.checked,
        "wrong": check.wrong,
        "not_checked": check.not_checked,
        "waiting": check.waiting,
        "objects_amiss": check.objects_amiss,
    })
}

/// A row that is wrong.
fn wrong_row(row: &WrongRow) -> Value {
    let key: Map<String, Value> = row.key.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    json!({"table": row.table, "target": row.target, "kind": row.kind, "key": key, "columns": row.columns})
}

/// Writes the events.
pub(super) struct JsonDisplay<W> {
    output: W,
    pace: Pace,
    findings: NewFindings,
    phases_shown: usize,
    last_ms: u64,
    last_tables: Vec<TableProgress>,
    last_builds: u64,
    last_paused: bool,
    wrong_shown: usize,
}

impl<W: Write> JsonDisplay<W> {
    pub(super) fn new(output: W) -> Self {
        Self {
            output,
            pace: Pace::default(),
            findings: NewFindings::default(),
            phases_shown: 0,
            last_ms: 0,
            last_tables: Vec::new(),
            last_builds: 0,
            last_paused: false,
            wrong_shown: 0,
        }
    }

    /// A reader that went away is no reason to stop a migration.
    fn event(&mut self, report: &Report, name: &str, fields: Value) {
        let mut event = Map::new();
        event.insert("event".to_owned(), json!(name));
        event.insert("task".to_owned(), json!(report.task));
        event.insert("at_ms".to_owned(), json!(report.at_ms));
        if let Value::Object(fields) = fields {
            event.extend(fields);
        }
        drop(writeln!(self.output, "{}", Value::Object(event)).and_then(|()| self.output.flush()));
    }

    fn fields(&self, report: &Report, tables: &[&TableProgress]) -> Value {
        json!({
            "phase": report.phase,
            "rows_copied": report.rows_copied(),
            "rows_expected": rows_expected(report),
            "rows_dead": report.rows_dead(),
            "rows_per_second": self.pace.rows_per_second(report),
            "copy_left_ms": self.pace.copy_left_ms(report),
            "changes_applied": report.changes_applied(),
            "changes_per_second": self.pace.changes_per_second(report),
            "transactions_applied": report.transactions_applied,
            "builds_done": report.builds_done,
            "builds_total": report.builds_total,
            "building": report.building,
            "lag_ms": report.lag_ms,
            "position": report.position,
            "paused": report.paused,
            "waits_for": report.waits_for,
            "check": report.check.as_ref().map(check),
            "tables": tables,
        })
    }

    fn observe(&mut self, report: &Report) {
        self.pace.observe(report);
        for finding in self.findings.take(report) {
            self.event(report, "finding", json!(finding));
        }
        let wrong = report.check.iter().flat_map(|check| &check.rows).skip(self.wrong_shown);
        wrong.clone().for_each(|row| self.event(report, "difference", wrong_row(row)));
        self.wrong_shown += wrong.count();
        let entered = report.phases.get(self.phases_shown..).unwrap_or_default();
        self.phases_shown = report.phases.len();
        for times in entered {
            self.event(report, "phase", json!({"phase": times.phase, "resumed": report.resumed}));
        }
    }

    fn progress(&mut self, report: &Report) {
        let changed: Vec<&TableProgress> =
            report.tables.iter().filter(|table| !self.last_tables.contains(table)).collect();
        let fields = self.fields(report, &changed);
        self.event(report, "progress", fields);
        self.last_ms = report.at_ms;
        self.last_tables.clone_from(&report.tables);
        self.last_builds = report.builds_done;
    }
}

impl<W: Write> Display for JsonDisplay<W> {
    fn show(&mut self, report: &Report) {
        self.observe(report);
        if report.paused != self.last_paused {
            self.last_paused = report.paused;
            self.progress(report);
            return;
        }
        if report.at_ms < self.last_ms + BUSY_MS {
            return;
        }
        let is_busy = report.tables != self.last_tables || report.builds_done != self.last_builds;
        if is_busy || report.at_ms >= self.last_ms + IDLE_MS {
            self.progress(report);
        }
    }

    fn finish(&mut self, report: &Report, outcome: Outcome, _asked: &Asked) {
        self.observe(report);
        if outcome != Outcome::Done {
            // The event `error` that follows says why; this one says how far it came.
            self.progress(report);
            return;
        }
        let tables: Vec<&TableProgress> = report.tables.iter().collect();
        let mut fields = self.fields(report, &tables);
        if let Value::Object(fields) = &mut fields {
            fields.insert("phases".to_owned(), json!(report.phases));
            let is_clean = report.check.as_ref().is_none_or(ChangeCheck::is_clean);
            let code = if is_clean { exit::DONE } else { exit::DIFFERENT };
            fields.insert("exit_code".to_owned(), json!(code));
        }
        self.event(report, "done", fields);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::sample;
    use engine_pipeline::task::{Mode, Until};

    fn asked() -> Asked {
        Asked {
            mode: Mode::Online,
            until: Until::CaughtUp,
            is_way_back: false,
            state_dir: "./engine-state".into(),
        }
    }

    #[test]
    fn a_whole_run() {
        let mut output = Vec::new();
        let mut display = JsonDisplay::new(&mut output);
        display.show(&sample::precheck());
        let mut report = sample::snapshot();
        for _ in 0..15 {
            display.show(&report);
            report.at_ms += 100;
            report.tables[0].rows_copied += 1000;
        }
        display.show(&sample::streaming());
        display.finish(&sample::done(), Outcome::Done, &asked());
        drop(display);
        insta::assert_snapshot!(String::from_utf8(output).expect("text"));
    }

    #[test]
    fn an_idle_stream_is_quiet() {
        let mut output = Vec::new();
        let mut display = JsonDisplay::new(&mut output);
        let mut report = sample::streaming();
        display.show(&report);
        let begun = display.output.len();
        for _ in 0..99 {
            report.at_ms += 100;
            display.show(&report);
        }
        assert_eq!(display.output.len(), begun);
        report.at_ms += 100;
        display.show(&report);
        assert!(display.output.len() > begun);
    }
}
