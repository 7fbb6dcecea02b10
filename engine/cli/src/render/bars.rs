//! Progress bars: one line for the phase, one for each of the busiest tables.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::Write;

use engine_pipeline::progress::{Phase, Report, TableProgress};

use super::lines::{phase_line, progress_line};
use super::pace::{Pace, phase_ms, rows_expected};
use super::summary::{self, Asked, Outcome};
use super::units::{count, duration_ms, percent};
use super::{Display, NewFindings, Screen, finding_lines, is_worth_a_line};

/// Tables that have a line of their own.
const TABLES_SHOWN: usize = 8;
/// Parts of a full bar, so that a bar needs no total of its own.
const WHOLE: u64 = 10_000;
/// Widest name of a table before it is cut.
const NAME_WIDTH: usize = 36;

/// Draws bars on the screen and writes the summary to `summary`.
pub(super) struct BarDisplay<S> {
    screen: Screen,
    summary: S,
    pace: Pace,
    findings: NewFindings,
    phases_shown: usize,
    phase: ProgressBar,
    tables: Vec<ProgressBar>,
}

impl<S: Write> BarDisplay<S> {
    pub(super) fn new(screen: Screen, summary: S) -> Self {
        let phase = screen.bars.add(ProgressBar::new(WHOLE));
        phase.set_style(style("{spinner} {msg}"));
        Self {
            screen,
            summary,
            pace: Pace::default(),
            findings: NewFindings::default(),
            phases_shown: 0,
            phase,
            tables: Vec::new(),
        }
    }

    fn draw_tables(&mut self, report: &Report) {
        let lines = busiest(report, &self.pace);
        while self.tables.len() > lines.len() {
            if let Some(bar) = self.tables.pop() {
                bar.finish_and_clear();
                self.screen.bars.remove(&bar);
            }
        }
        while self.tables.len() < lines.len() {
            let bar = self.screen.bars.add(ProgressBar::new(WHOLE));
            self.tables.push(bar);
        }
        for (bar, line) in self.tables.iter().zip(lines) {
            bar.set_style(match line.part {
                Some(_) => style("  {prefix} [{bar:24}] {msg}"),
                None => style("  {prefix} {msg}"),
            });
            bar.set_prefix(line.name);
            bar.set_message(line.text);
            bar.set_position(line.part.unwrap_or(0));
        }
    }
}

impl<S: Write> Display for BarDisplay<S> {
    fn show(&mut self, report: &Report) {
        self.pace.observe(report);
        for line in
            finding_lines(self.findings.take(report).iter().filter(|finding| is_worth_a_line(finding)))
        {
            self.screen.line(&line);
        }
        if report.phases.len() > self.phases_shown {
            let entered = report.phases.get(self.phases_shown..).unwrap_or_default();
            // What ended stays on the screen, above the bars.
            for times in
                report.phases.iter().take(report.phases.len() - 1).skip(self.phases_shown.saturating_sub(1))
            {
                let took = phase_ms(report, times.phase).unwrap_or(0);
                self.screen.line(&format!("{:<10} {}", times.phase.name(), duration_ms(took)));
            }
            if let Some(last) = entered.last() {
                self.phase.set_message(phase_line(report, last.phase));
            }
            self.phases_shown = report.phases.len();
        }
        if let Some(line) = progress_line(report, &self.pace) {
            self.phase.set_message(line);
        }
        self.phase.tick();
        self.draw_tables(report);
    }

    fn finish(&mut self, report: &Report, outcome: Outcome, asked: &Asked) {
        self.show(report);
        self.phase.finish_and_clear();
        for bar in self.tables.drain(..) {
            bar.finish_and_clear();
        }
        drop(self.screen.bars.clear());
        summary::write(&mut self.summary, report, &self.pace, outcome, asked);
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

/// A table's line: name, part of the bar that is full, figures.
#[derive(Debug, PartialEq)]
struct TableLine {
    name: String,
    part: Option<u64>,
    text: String,
}

/// The tables in which most happens now, in the report's order; what is left is summed up in a
/// last line.
fn busiest(report: &Report, pace: &Pace) -> Vec<TableLine> {
    let is_copy = report.phase == Phase::Snapshot;
    let is_follow = matches!(report.phase, Phase::CatchUp | Phase::Streaming);
    let mut active: Vec<(usize, &TableProgress, u64)> = report
        .tables
        .iter()
        .enumerate()
        .map(|(index, table)| (index, table, pace.table_per_second(report, index).unwrap_or(0)))
        .filter(|(_, table, rate)| {
            (is_copy && !table.copied && (table.rows_copied > 0 || *rate > 0)) || (is_follow && *rate > 0)
        })
        .collect();
    active.sort_by_key(|(index, _, rate)| (std::cmp::Reverse(*rate), *index));
    active.truncate(TABLES_SHOWN);
    active.sort_by_key(|(index, ..)| *index);

    let width =
        active.iter().map(|(_, table, _)| table.table.chars().count()).max().unwrap_or(0).min(NAME_WIDTH);
    let mut lines: Vec<TableLine> = active
        .iter()
        .map(|(_, table, rate)| TableLine {
            name: format!("{:width$}", shortened(&table.table)),
            part: if is_copy { copied_part(table) } else { None },
            text: if is_copy { copy_text(table, *rate) } else { format!("{} changes/s", count(*rate)) },
        })
        .collect();
    if is_copy {
        let copied = report.tables.iter().filter(|table| table.copied).count();
        let waiting = report.tables.len() - copied - active.len().min(report.tables.len() - copied);
        let all = rows_expected(report).map(|expected| percent(report.rows_copied(), expected));
        lines.push(TableLine {
            name: "all tables".to_owned(),
            part: None,
            text: format!(
                "{copied} copied, {} at work, {waiting} waiting{}",
                active.len(),
                all.map(|all| format!(", {all} of the rows")).unwrap_or_default()
            ),
        });
    }
    lines
}

fn copied_part(table: &TableProgress) -> Option<u64> {
    let expected = table.rows_estimate.filter(|&estimate| estimate > 0)?.max(table.rows_copied);
    Some((u128::from(table.rows_copied) * u128::from(WHOLE) / u128::from(expected)) as u64)
}

fn copy_text(table: &TableProgress, rate: u64) -> String {
    let rows = match table.rows_estimate {
        Some(estimate) => {
            format!("{} of about {}", count(table.rows_copied), count(estimate.max(table.rows_copied)))
        }
        None => count(table.rows_copied),
    };
    let left = table
        .rows_estimate
        .and_then(|estimate| (estimate.saturating_sub(table.rows_copied) * 1000).checked_div(rate))
        .map(|left| format!(", {} left", duration_ms(left)))
        .unwrap_or_default();
    format!("{rows} rows, {} rows/s{left}", count(rate))
}

fn shortened(name: &str) -> String {
    if name.chars().count() <= NAME_WIDTH {
        return name.to_owned();
    }
    let kept: String = name.chars().take(NAME_WIDTH - 3).collect();
    format!("{kept}...")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::sample;

    #[test]
    fn only_the_busiest_tables_have_a_line() {
        let mut report = sample::snapshot();
        let mut pace = Pace::default();
        let one = report.tables[0].clone();
        report
            .tables
            .extend((0..20).map(|number| TableProgress { table: format!("shop.t{number}"), ..one.clone() }));
        pace.observe(&report);
        report.at_ms += 1000;
        for (index, table) in report.tables.iter_mut().enumerate().skip(3) {
            table.rows_copied += index as u64 * 100;
        }
        let lines = busiest(&report, &pace);
        assert_eq!(lines.len(), TABLES_SHOWN + 1);
        assert_eq!(lines[0].name, "shop.t12");
        assert_eq!(lines[0].text, "501,500 of about 2,000,000 rows, 1,500 rows/s, 16m 39s left");
        assert_eq!(lines[8].text, "1 copied, 8 at work, 14 waiting, 21 % of the rows");
    }

    #[test]
    fn bars_stay_inside_their_frame() {
        let mut table = sample::snapshot().tables[0].clone();
        assert_eq!(copied_part(&table), Some(2500));
        table.rows_copied = 9_000_000;
        assert_eq!(copied_part(&table), Some(WHOLE));
        table.rows_estimate = Some(0);
        assert_eq!(copied_part(&table), None);
    }
}
