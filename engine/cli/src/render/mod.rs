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
use std::collections::BTreeMap;
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

/// A finding and what else it was found of, in the very same words.
#[derive(Debug)]
pub(crate) struct Gathered<'a> {
    /// The first of them.
    pub(crate) finding: &'a Finding,
    others: Vec<&'a str>,
}

impl Gathered<'_> {
    /// `also of shop.a.x, shop.b.y and 12 more, which --json names`
    pub(crate) fn others(&self) -> Option<String> {
        let (named, left) = self.others.split_at(self.others.len().min(OTHERS_NAMED));
        let more = match left.len() {
            0 => String::new(),
            more => format!(" and {more} more, which --json names"),
        };
        (!named.is_empty()).then(|| format!("also of {}{more}", named.join(", ")))
    }
}

/// How many further subjects of one finding are named.
const OTHERS_NAMED: usize = 12;

/// Puts findings together that differ in nothing but their subject, each where its first one is: what a plugin has to
/// say of a type it says of each column that has it.
pub(crate) fn gathered<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> Vec<Gathered<'a>> {
    let mut places = BTreeMap::new();
    let mut gathered: Vec<Gathered<'a>> = Vec::new();
    for finding in findings {
        let place =
            *places.entry((finding.severity, &finding.message, &finding.fix)).or_insert(gathered.len());
        match gathered.get_mut(place) {
            Some(group) => group.others.push(&finding.subject),
            None => gathered.push(Gathered { finding, others: Vec::new() }),
        }
    }
    gathered
}

/// What was found, what mends it and what else it was found of, on a line each; the same of several subjects once.
pub(crate) fn finding_lines<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> Vec<String> {
    let mut lines = Vec::new();
    for group in gathered(findings) {
        let finding = group.finding;
        let severity = match finding.severity {
            Severity::Pass => "pass",
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Failed => "failed",
        };
        lines.push(format!("{severity}: {}: {}", finding.subject, finding.message));
        lines.extend(finding.fix.iter().flat_map(|fix| fix.lines()).map(|line| format!("  fix: {line}")));
        lines.extend(group.others().map(|others| format!("  {others}")));
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_of_many_is_said_once() {
        let finding = |subject: &str, message: &str| Finding {
            severity: Severity::Warning,
            subject: subject.into(),
            message: message.into(),
            fix: Some("set the type".into()),
        };
        let mut findings: Vec<Finding> =
            (0..20).map(|number| finding(&format!("a.t.c{number}"), "it compares otherwise")).collect();
        findings.insert(1, finding("a.t", "it has no key"));
        assert_eq!(
            finding_lines(&findings[..3]),
            [
                "warning: a.t.c0: it compares otherwise",
                "  fix: set the type",
                "  also of a.t.c1",
                "warning: a.t: it has no key",
                "  fix: set the type",
            ]
        );
        let all = finding_lines(&findings).join("\n");
        assert!(all.contains("also of a.t.c1, a.t.c2, "), "{all}");
        assert!(all.contains("a.t.c12 and 7 more, which --json names"), "{all}");
    }
}
