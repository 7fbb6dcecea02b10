//! Rates and the time that is left, from consecutive reports.

use std::collections::VecDeque;

use engine_pipeline::progress::{Phase, Report};

use super::units::per_second;

/// Rates are averages over this many milliseconds.
const WINDOW_MS: u64 = 10_000;
/// Reports nearer to the last sample than this add nothing.
const SAMPLE_MS: u64 = 500;

#[derive(Debug, Clone)]
struct Sample {
    at_ms: u64,
    rows: u64,
    changes: u64,
    /// Rows and changes of each table.
    tables: Vec<u64>,
}

impl Sample {
    fn of(report: &Report) -> Self {
        Self {
            at_ms: report.at_ms,
            rows: report.rows_copied(),
            changes: report.changes_applied(),
            tables: report.tables.iter().map(|table| table.rows_copied + table.changes_applied).collect(),
        }
    }
}

/// Rates over the last seconds of the current phase.
#[derive(Debug, Default)]
pub(super) struct Pace {
    window: VecDeque<Sample>,
    phase: Option<Phase>,
    rows_before: Option<u64>,
}

impl Pace {
    /// Takes note of a report.
    pub(super) fn observe(&mut self, report: &Report) {
        let tables_before = self.window.back().map_or(report.tables.len(), |last| last.tables.len());
        if self.phase != Some(report.phase) || tables_before != report.tables.len() {
            self.phase = Some(report.phase);
            self.window.clear();
        }
        self.observe_earlier_rows(report);
        if self.window.back().is_some_and(|last| report.at_ms < last.at_ms + SAMPLE_MS) {
            return;
        }
        while self.window.front().is_some_and(|first| first.at_ms + WINDOW_MS < report.at_ms) {
            self.window.pop_front();
        }
        self.window.push_back(Sample::of(report));
    }

    /// Bytes are of this run alone, so that rows without any are of earlier ones.
    fn observe_earlier_rows(&mut self, report: &Report) {
        let bytes = report.tables.iter().map(|table| table.bytes_copied).sum::<u64>();
        if report.resumed && report.phase >= Phase::Snapshot && (bytes == 0 || self.rows_before.is_none()) {
            self.rows_before = Some(report.rows_copied());
        }
    }

    fn rate(&self, report: &Report, number: impl Fn(&Sample) -> u64) -> Option<u64> {
        let first = self.window.front()?;
        let now = Sample::of(report);
        per_second(number(&now).saturating_sub(number(first)), now.at_ms.saturating_sub(first.at_ms))
    }

    /// Rows copied per second.
    pub(super) fn rows_per_second(&self, report: &Report) -> Option<u64> {
        self.rate(report, |sample| sample.rows)
    }

    /// Changes applied per second.
    pub(super) fn changes_per_second(&self, report: &Report) -> Option<u64> {
        self.rate(report, |sample| sample.changes)
    }

    /// Rows copied and changes applied per second of one table.
    pub(super) fn table_per_second(&self, report: &Report, index: usize) -> Option<u64> {
        self.rate(report, |sample| sample.tables.get(index).copied().unwrap_or(0))
    }

    /// Milliseconds until the copy is complete, if the source's statistics are right.
    pub(super) fn copy_left_ms(&self, report: &Report) -> Option<u64> {
        let rate = self.rows_per_second(report).filter(|&rate| rate > 0)?;
        let mut left = 0u64;
        for table in report.tables.iter().filter(|table| !table.copied) {
            left += table.rows_estimate?.saturating_sub(table.rows_copied);
        }
        Some(left.saturating_mul(1000) / rate)
    }

    /// Rows that this run copied, those of earlier runs left out.
    pub(super) fn rows_of_this_run(&self, report: &Report) -> u64 {
        report.rows_copied().saturating_sub(self.rows_before.unwrap_or(0))
    }
}

/// Milliseconds that `phase` has taken in this run, `None` when it was not part of it.
pub(super) fn phase_ms(report: &Report, phase: Phase) -> Option<u64> {
    let times: Vec<_> = report.phases.iter().filter(|times| times.phase == phase).collect();
    let took = |from: u64, to: Option<u64>| to.unwrap_or(report.at_ms).saturating_sub(from);
    (!times.is_empty()).then(|| times.iter().map(|times| took(times.started_ms, times.finished_ms)).sum())
}

/// Rows that the tables are thought to have, never fewer than were copied; `None` when the source
/// has no statistics.
pub(super) fn rows_expected(report: &Report) -> Option<u64> {
    let expected = |table: &engine_pipeline::progress::TableProgress| {
        if table.copied {
            Some(table.rows_copied)
        } else {
            table.rows_estimate.map(|estimate| estimate.max(table.rows_copied))
        }
    };
    report.tables.iter().map(expected).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::sample;

    #[test]
    fn rates_are_of_the_last_seconds() {
        let mut pace = Pace::default();
        let mut report = sample::snapshot();
        for _ in 0..40 {
            pace.observe(&report);
            report.at_ms += 1000;
            report.tables[0].rows_copied += 500;
        }
        assert_eq!(pace.rows_per_second(&report), Some(500));
        assert_eq!(pace.table_per_second(&report, 1), Some(0));
    }

    #[test]
    fn rows_of_earlier_runs_are_told_apart() {
        let mut pace = Pace::default();
        let mut report = sample::snapshot();
        report.resumed = true;
        report.phase = Phase::Schema;
        let copied_earlier = std::mem::take(&mut report.tables[0].rows_copied);
        report.tables.truncate(1);
        report.tables[0].bytes_copied = 0;
        pace.observe(&report);
        report.phase = Phase::Snapshot;
        pace.observe(&report);
        report.tables[0].rows_copied = copied_earlier;
        pace.observe(&report);
        report.tables[0].rows_copied += 700;
        report.tables[0].bytes_copied += 70_000;
        pace.observe(&report);
        assert_eq!(pace.rows_of_this_run(&report), 700);
    }

    #[test]
    fn a_new_phase_begins_anew() {
        let mut pace = Pace::default();
        let mut report = sample::snapshot();
        pace.observe(&report);
        report.phase = Phase::CatchUp;
        report.at_ms += 5000;
        pace.observe(&report);
        assert_eq!(pace.rows_per_second(&report), None);
    }

    #[test]
    fn the_time_left_needs_statistics() {
        let mut pace = Pace::default();
        let mut report = sample::snapshot();
        pace.observe(&report);
        report.at_ms += 1000;
        report.tables[0].rows_copied += 1000;
        assert!(pace.copy_left_ms(&report).is_some());
        report.tables[1].rows_estimate = None;
        report.tables[1].copied = false;
        assert_eq!(pace.copy_left_ms(&report), None);
    }
}
