//! What a run says at its end: what was done, and what comes next.

use std::io::Write;
use std::path::{Path, PathBuf};

use engine_core::finding::Severity;
use engine_pipeline::progress::{Phase, Report};
use engine_pipeline::task::{Mode, Until};

use super::lines::checked;
use super::pace::{Pace, phase_ms};
use super::table::Table;
use crate::settings::STATE_DIR;

use super::units::{bytes, count, duration_ms, per_second, plural};

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It did what it was asked to do.
    Done,
    /// It was stopped.
    Interrupted,
    /// An error ended it.
    Failed,
}

/// What the run was asked to do, as far as the advice at its end depends on it.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// Offline or online.
    pub(crate) mode: Mode,
    /// When it was to end.
    pub(crate) until: Until,
    /// Where the task's state is.
    pub(crate) state_dir: PathBuf,
    /// Whether it is the way back of another task.
    pub(crate) is_way_back: bool,
}

impl Asked {
    /// What other commands need to find the task.
    fn state_dir_option(&self) -> String {
        if self.state_dir == Path::new(STATE_DIR) {
            String::new()
        } else {
            format!(" --state-dir {}", self.state_dir.display())
        }
    }
}

/// Writes the summary for people. A run that failed before it knew its tables has nothing to sum up;
/// an output that can't be written is no failure of the task.
pub(super) fn write(output: &mut impl Write, report: &Report, pace: &Pace, outcome: Outcome, asked: &Asked) {
    if outcome != Outcome::Failed || !report.tables.is_empty() {
        drop(writeln!(output, "{}", text(report, pace, outcome, asked)));
    }
}

fn text(report: &Report, pace: &Pace, outcome: Outcome, asked: &Asked) -> String {
    let began = report.phases.first().map_or(report.at_ms, |times| times.started_ms);
    let took = duration_ms(report.at_ms.saturating_sub(began));
    let end = match outcome {
        Outcome::Done => "done",
        Outcome::Interrupted => "stopped",
        Outcome::Failed => "failed",
    };
    let mut facts = Table::new(&[]);
    let mut fact = |name: &str, value: &str| facts.row(&[&format!("  {name}"), value]);
    fact("source", &report.source);
    fact("target", &report.target);
    let copied = report.tables.iter().filter(|table| table.copied).count();
    fact("tables", &format!("{copied} of {} copied", report.tables.len()));
    fact("rows", &rows(report, pace));
    if asked.mode == Mode::Online {
        fact("changes", &changes(report));
        fact("lag", &report.lag_ms.map_or_else(|| "not known yet".to_owned(), duration_ms));
        fact("position", report.position.as_deref().unwrap_or("none yet"));
    }
    if let Some(check) = &report.check {
        fact("check", &checked(check));
        if !check.tables_without_key.is_empty() {
            let tables = check.tables_without_key.join(", ");
            fact(
                "unchecked",
                &format!("{tables}: their rows have no key, see: engine verify {}", report.task),
            );
        }
    }
    let filtered = report.tables.iter().map(|table| table.rows_filtered).sum::<u64>();
    if filtered > 0 {
        fact("filtered", &format!("{} left out by a plugin", plural(filtered, "row", "rows")));
    }
    if report.rows_dead() > 0 {
        let rows = plural(report.rows_dead(), "row", "rows");
        fact(
            "set aside",
            &format!("{rows}, see: engine dead-letter list {}{}", report.task, asked.state_dir_option()),
        );
    }
    let warnings = report.findings.iter().filter(|finding| finding.severity == Severity::Warning).count();
    if warnings > 0 {
        fact(
            "warnings",
            &format!("{}, see above or 'engine status {}'", count(warnings as u64), report.task),
        );
    }
    let is_over = outcome == Outcome::Done && report.cut_over.is_some();
    let next = if is_over { Some(CUT_OVER) } else { next_step(outcome, asked) };
    let next = next.map(|next| format!("\nnext: {next}")).unwrap_or_default();
    format!("{}: {end} after {took}\n{facts}{next}", report.task)
}

fn rows(report: &Report, pace: &Pace) -> String {
    let of_this_run = pace.rows_of_this_run(report);
    let total = report.rows_copied();
    let volume = report.tables.iter().map(|table| table.bytes_copied).sum::<u64>();
    let rate = phase_ms(report, Phase::Snapshot)
        .and_then(|milliseconds| Some((milliseconds, per_second(of_this_run, milliseconds)?)));
    if of_this_run == 0 && total > 0 {
        return format!("{}, copied by earlier runs", count(total));
    }
    let own = match of_this_run {
        own if own == total => String::new(),
        own => format!(" ({} by this run)", count(own)),
    };
    let copy = rate.map(|(milliseconds, rate)| {
        format!(" copied in {}, {} rows/s, {}", duration_ms(milliseconds), count(rate), bytes(volume))
    });
    format!("{}{own}{}", count(total), copy.unwrap_or_default())
}

fn changes(report: &Report) -> String {
    format!(
        "{} applied, {}",
        count(report.changes_applied()),
        plural(report.transactions_applied, "transaction", "transactions")
    )
}

const CUT_OVER: &str = "the task was cut over; point the applications at the target";

fn next_step(outcome: Outcome, asked: &Asked) -> Option<&'static str> {
    match (outcome, asked.mode, asked.until) {
        // The error brings its own advice.
        (Outcome::Failed, ..) => None,
        (Outcome::Interrupted, ..) => Some("run the same command to go on from here"),
        (Outcome::Done, Mode::Offline, _) => {
            Some("every row is copied; point the applications at the target")
        }
        (Outcome::Done, Mode::Online, _) if asked.is_way_back => Some(
            "the old database has everything up to the position above; the same command goes on from it.\n      \
             To go back: stop the applications, run it once more, and point them at the old database",
        ),
        (Outcome::Done, Mode::Online, _) => Some(
            "the target has everything up to the position above; the same command goes on from it.\n      \
             To move over: engine cutover, with the same options",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::sample;

    fn asked(mode: Mode) -> Asked {
        Asked { mode, until: Until::CaughtUp, is_way_back: false, state_dir: "./engine-state".into() }
    }

    #[test]
    fn summaries() {
        let online = asked(Mode::Online);
        let offline = asked(Mode::Offline);
        let all = [
            text(&sample::done(), &Pace::default(), Outcome::Done, &online),
            text(&sample::done(), &Pace::default(), Outcome::Done, &offline),
            text(&sample::snapshot(), &Pace::default(), Outcome::Interrupted, &online),
            text(&sample::snapshot(), &Pace::default(), Outcome::Failed, &online),
        ];
        insta::assert_snapshot!(all.join("\n\n"));
    }

    #[test]
    fn a_resumed_run_counts_its_own_rows_for_the_rate() {
        let mut pace = Pace::default();
        let mut report = sample::snapshot();
        report.resumed = true;
        pace.observe(&report);
        report.tables[0].rows_copied += 1_000;
        assert_eq!(rows(&report, &pace), "599,304 (1,000 by this run) copied in 20 s, 50 rows/s, 57 MiB");
    }
}
