//! How a run shows itself: bars on a terminal, plain lines elsewhere, JSON lines when asked.
//!
//! Every display reads the same [`Report`]; [`pace`] makes rates out of consecutive ones. Progress
//! goes to standard error; the summary, or with `--json` the events, to standard output.

mod bars;
mod json;
pub(crate) mod lines;
mod pace;
#[cfg(test)]
pub(crate) mod sample;
pub(crate) mod summary;
pub(crate) mod table;
pub(crate) mod units;

use indicatif::{MultiProgress, ProgressDrawTarget};
use std::io::{self, IsTerminal, Write};

use engine_core::finding::{Finding, Severity};
use engine_pipeline::progress::Report;

use summary::{Asked, Outcome};

/// Standard error, shared between bars, lines and the log.
#[derive(Debug, Clone)]
pub(crate) struct Screen {
    bars: MultiProgress,
    is_terminal: bool,
}

impl Screen {
    /// A screen that shows bars if it may and standard error is a terminal that can.
    pub(crate) fn new(may_show_bars: bool) -> Self {
        let can_move = std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let is_terminal = may_show_bars && can_move && io::stderr().is_terminal();
        let target = if is_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self { bars: MultiProgress::with_draw_target(target), is_terminal }
    }

    /// Runs `write` while no bar is on the screen.
    pub(crate) fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        self.bars.suspend(write)
    }

    /// Writes a line above the bars. A standard error that can't be written is no reason to stop a
    /// migration.
    pub(crate) fn line(&self, text: &str) {
        self.suspend(|| drop(writeln!(io::stderr(), "{text}")));
    }
}

/// Shows one run.
pub(crate) trait Display {
    /// Is handed the state of the task, several times a second.
    fn show(&mut self, report: &Report);

    /// Is handed the last state; the error of a failed run is shown elsewhere.
    fn finish(&mut self, report: &Report, outcome: Outcome, asked: &Asked);
}

/// The display for what is asked and for what standard error is.
pub(crate) fn display(json: bool, screen: &Screen) -> Box<dyn Display> {
    if json {
        Box::new(json::JsonDisplay::new(io::stdout()))
    } else if screen.is_terminal {
        Box::new(bars::BarDisplay::new(screen.clone(), io::stdout()))
    } else {
        Box::new(lines::LineDisplay::new(io::stderr(), io::stdout()))
    }
}

/// A finding and, on a line of its own, what mends it.
pub(crate) fn finding_lines(finding: &Finding) -> Vec<String> {
    let severity = match finding.severity {
        Severity::Pass => "pass",
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Failed => "failed",
    };
    let mut lines = vec![format!("{severity}: {}: {}", finding.subject, finding.message)];
    lines.extend(finding.fix.iter().flat_map(|fix| fix.lines()).map(|line| format!("  fix: {line}")));
    lines
}

/// The findings that were not there at the last look and that a reader of progress should see.
#[derive(Debug, Default)]
struct NewFindings(usize);

impl NewFindings {
    fn take<'a>(&mut self, report: &'a Report) -> &'a [Finding] {
        let new = report.findings.get(self.0..).unwrap_or_default();
        self.0 = report.findings.len();
        new
    }
}

/// Whether progress shows a finding: what passed and what is merely worth knowing is in the plan.
fn is_worth_a_line(finding: &Finding) -> bool {
    finding.severity >= Severity::Warning
}
