//! Progress where no bars can be drawn: a line per phase, and now and then how far it is.

use std::io::Write;

use engine_pipeline::progress::{ChangeCheck, Phase, Report};

use super::pace::{Pace, phase_ms, rows_expected};
use super::summary::{self, Asked, Outcome};
use super::units::{count, duration_ms, percent, plural};
use super::{Display, NewFindings, finding_lines, is_worth_a_line};

/// Time between two lines while something happens.
const BUSY_MS: u64 = 5_000;
/// Time between two lines while nothing does.
const IDLE_MS: u64 = 60_000;

/// Writes progress to one stream and the summary to another.
pub(super) struct LineDisplay<P, S> {
    progress: P,
    summary: S,
    pace: Pace,
    findings: NewFindings,
    phases_shown: usize,
    last_ms: u64,
    last_paused: bool,
    last_waited: bool,
    last_done: (u64, u64, u64),
}

impl<P: Write, S: Write> LineDisplay<P, S> {
    pub(super) fn new(progress: P, summary: S) -> Self {
        Self {
            progress,
            summary,
            pace: Pace::default(),
            findings: NewFindings::default(),
            phases_shown: 0,
            last_ms: 0,
            last_paused: false,
            last_waited: false,
            last_done: (0, 0, 0),
        }
    }

    /// A progress line that can't be written is no reason to stop a migration.
    fn line(&mut self, text: &str) {
        drop(writeln!(self.progress, "{text}"));
    }
}

impl<P: Write, S: Write> Display for LineDisplay<P, S> {
    fn show(&mut self, report: &Report) {
        self.pace.observe(report);
        for line in
            finding_lines(self.findings.take(report).iter().filter(|finding| is_worth_a_line(finding)))
        {
            self.line(&line);
        }
        let entered = report.phases.get(self.phases_shown..).unwrap_or_default();
        self.phases_shown = report.phases.len();
        for times in entered {
            self.last_ms = report.at_ms;
            self.line(&phase_line(report, times.phase));
        }
        if report.paused != self.last_paused {
            self.last_paused = report.paused;
            self.last_ms = report.at_ms;
            let line = progress_line(report, &self.pace);
            self.line(&line.unwrap_or_else(|| phase_line(report, report.phase)));
        }
        // A copy that is held to a limit has its lines anyway; before it, nothing else tells why nothing happens.
        let waits = report.waits_for.is_some() && matches!(report.phase, Phase::Precheck | Phase::Schema);
        if waits != self.last_waited {
            self.last_waited = waits;
            if let Some(line) = progress_line(report, &self.pace).filter(|_| waits) {
                self.last_ms = report.at_ms;
                self.line(&line);
            }
        }
        let done = (report.rows_copied(), report.changes_applied(), report.builds_done);
        let wait = if done == self.last_done { IDLE_MS } else { BUSY_MS };
        if report.at_ms >= self.last_ms + wait {
            self.last_ms = report.at_ms;
            self.last_done = done;
            if let Some(line) = progress_line(report, &self.pace) {
                self.line(&line);
            }
        }
    }

    fn finish(&mut self, report: &Report, outcome: Outcome, asked: &Asked) {
        self.last_ms = report.at_ms;
        self.show(report);
        summary::write(&mut self.summary, report, &self.pace, outcome, asked);
    }
}

/// What begins, in a line.
pub(super) fn phase_line(report: &Report, phase: Phase) -> String {
    let what = match phase {
        Phase::Precheck => format!("checking {} and {}", report.source, report.target),
        Phase::Schema => "planning and creating tables".to_owned(),
        Phase::Snapshot => format!(
            "copying {}{}",
            plural(report.tables.len() as u64, "table", "tables"),
            if report.resumed { ", going on with an earlier run" } else { "" }
        ),
        Phase::CatchUp => "applying the changes made meanwhile".to_owned(),
        Phase::Indexes => "building indexes and foreign keys".to_owned(),
        Phase::Streaming => "following the source".to_owned(),
        Phase::Done => "everything asked for is done".to_owned(),
    };
    format!("{}: {what}", phase.name())
}

/// How far the current phase is; `None` where there is nothing to count.
pub(super) fn progress_line(report: &Report, pace: &Pace) -> Option<String> {
    if report.paused {
        return Some(format!("{}: paused; engine resume {} goes on", report.phase.name(), report.task));
    }
    let mut line = phase_progress(report, pace)?;
    if let Some(why) = &report.waits_for {
        line = format!("{line}; {why}");
    }
    if let Some(check) = &report.check
        && matches!(report.phase, Phase::CatchUp | Phase::Streaming)
    {
        line = format!("{line}, {}", checked(check));
    }
    match report.rows_dead() {
        0 => Some(line),
        dead => Some(format!("{line}, {} set aside", plural(dead, "row", "rows"))),
    }
}

/// `checked 12,345, wrong 0`
pub(crate) fn checked(check: &ChangeCheck) -> String {
    let mut text = format!("checked {}, wrong {}", count(check.checked), count(check.wrong));
    if check.not_checked > 0 {
        text = format!("{text}, not checked {}", count(check.not_checked));
    }
    text
}

fn phase_progress(report: &Report, pace: &Pace) -> Option<String> {
    let name = report.phase.name();
    match report.phase {
        Phase::Snapshot => {
            let copied = report.rows_copied();
            let expected = rows_expected(report)
                .map(|expected| format!(" of about {} ({})", count(expected), percent(copied, expected)))
                .unwrap_or_default();
            let rate = rate(pace.rows_per_second(report), "rows/s");
            let left = pace
                .copy_left_ms(report)
                .map(|left| format!(", about {} left", duration_ms(left)))
                .unwrap_or_default();
            let tables = report.tables.iter().filter(|table| table.copied).count();
            Some(format!(
                "{name}: {} rows{expected}{rate}{left}, {tables} of {} tables",
                count(copied),
                report.tables.len()
            ))
        }
        // Rows are found by their keys, so these come first.
        Phase::CatchUp if report.builds_done < report.builds_total => Some(built(name, report)),
        Phase::CatchUp | Phase::Streaming => Some(format!(
            "{name}: {}{}, lag {}",
            plural(report.changes_applied(), "change", "changes"),
            rate(pace.changes_per_second(report), "changes/s"),
            report.lag_ms.map_or_else(|| "not known yet".to_owned(), duration_ms),
        )),
        Phase::Indexes => Some(built(name, report)),
        Phase::Precheck | Phase::Schema => {
            let took = phase_ms(report, report.phase)?;
            Some(format!("{name}: {} so far", duration_ms(took)))
        }
        Phase::Done => None,
    }
}

/// `indexes: 2 of 5 built, now primary key of public.items and 1 more`
fn built(name: &str, report: &Report) -> String {
    let building = match report.building.as_slice() {
        [] => String::new(),
        [first] => format!(", now {first}"),
        [first, rest @ ..] => format!(", now {first} and {} more", rest.len()),
    };
    format!("{name}: {} of {} built{building}", report.builds_done, report.builds_total)
}

fn rate(rate: Option<u64>, unit: &str) -> String {
    rate.map(|rate| format!(", {} {unit}", count(rate))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::sample;
    use engine_pipeline::task::{Mode, Until};

    #[test]
    fn a_whole_run() {
        let (mut progress, mut summary) = (Vec::new(), Vec::new());
        let mut display = LineDisplay::new(&mut progress, &mut summary);
        display.show(&sample::precheck());
        let mut report = sample::snapshot();
        for _ in 0..30 {
            display.show(&report);
            report.at_ms += 400;
            report.tables[0].rows_copied += 4000;
        }
        let mut report = sample::streaming();
        report.building = vec!["index by_date of public.orders".into()];
        for _ in 0..1000 {
            display.show(&report);
            report.at_ms += 100;
        }
        let asked = Asked {
            mode: Mode::Online,
            until: Until::CaughtUp,
            is_way_back: false,
            state_dir: "./engine-state".into(),
        };
        display.finish(&sample::done(), Outcome::Done, &asked);
        drop(display);
        let text = |bytes| String::from_utf8(bytes).expect("text");
        insta::assert_snapshot!(format!("{}--- standard output\n{}", text(progress), text(summary)));
    }

    #[test]
    fn a_start_later_is_told_at_once() {
        let mut progress = Vec::new();
        let mut display = LineDisplay::new(&mut progress, Vec::new());
        let mut report = sample::precheck();
        display.show(&report);
        report.waits_for = Some("it begins in 2:00:00".into());
        for _ in 0..50 {
            display.show(&report);
            report.at_ms += 100;
        }
        drop(display);
        let text = String::from_utf8(progress).expect("text");
        assert_eq!(text.matches("so far; it begins in 2:00:00\n").count(), 1, "{text}");
    }

    #[test]
    fn row_keys_are_built_before_anything_is_applied() {
        let mut report = sample::streaming();
        report.phase = Phase::CatchUp;
        (report.builds_done, report.builds_total) = (4, 5);
        report.building = vec!["primary key of public.items".into()];
        assert_eq!(
            progress_line(&report, &Pace::default()).as_deref(),
            Some("catch-up: 4 of 5 built, now primary key of public.items, 3 rows set aside")
        );
    }

    #[test]
    fn building() {
        let mut report = sample::streaming();
        report.phase = Phase::Indexes;
        report.builds_done = 2;
        report.building = vec!["primary key of public.items".into(), "index a of public.orders".into()];
        assert_eq!(
            progress_line(&report, &Pace::default()).as_deref(),
            Some("indexes: 2 of 5 built, now primary key of public.items and 1 more, 3 rows set aside")
        );
    }
}
