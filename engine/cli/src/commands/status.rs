//! `engine status`: how far tasks are, from what their runs left on disk.

use engine_core::Result;
use engine_core::finding::Severity;
use engine_pipeline::progress::{Phase, Report, now_ms};
use engine_pipeline::state;

use super::{print, to_json};
use crate::arguments::StatusArguments;
use crate::render::finding_lines;
use crate::render::lines::checked;
use crate::render::table::Table;
use crate::render::units::{count, duration_ms, plural};
use crate::settings::check_name;

/// Tables that the full view lists; more than that hides what matters.
const TABLES_SHOWN: usize = 40;

pub(super) fn status(arguments: &StatusArguments) -> Result<()> {
    let Some(name) = &arguments.name else { return all(arguments) };
    let name = check_name(name.clone())?;
    let reports = state::status(&arguments.state_dir, Some(&name))?;
    let report = reports.first().ok_or_else(|| state::unknown_task(&arguments.state_dir, &name))?;
    print(&if arguments.json { to_json(report)? } else { full(report, now_ms()) })
}

fn all(arguments: &StatusArguments) -> Result<()> {
    let reports = state::status(&arguments.state_dir, None)?;
    if arguments.json {
        print(&to_json(&reports)?)
    } else if reports.is_empty() {
        print(&format!("no tasks in {}", arguments.state_dir.display()))
    } else {
        print(&overview(&reports, now_ms()))
    }
}

/// What the task is doing, in a word or two.
fn condition(report: &Report) -> &'static str {
    match (report.pid, &report.error, report.phase) {
        (Some(_), ..) if report.paused => "paused",
        (Some(_), ..) => "running",
        (None, ..) if report.cut_over.is_some() => "cut over",
        (None, Some(_), _) => "failed",
        (None, None, Phase::Done) => "done",
        (None, None, _) => "stopped",
    }
}

fn lag(report: &Report) -> String {
    report.lag_ms.map_or_else(|| "-".to_owned(), duration_ms)
}

/// All tasks, one line each.
fn overview(reports: &[Report], now: u64) -> String {
    let mut table = Table::new(&["TASK", "STATE", "PHASE", "TABLES", "ROWS", "CHANGES", "LAG", "SEEN"]);
    for report in reports {
        let copied = report.tables.iter().filter(|table| table.copied).count();
        table.row(&[
            report.task.clone(),
            condition(report).to_owned(),
            report.phase.name().to_owned(),
            format!("{copied}/{}", report.tables.len()),
            count(report.rows_copied()),
            count(report.changes_applied()),
            lag(report),
            format!("{} ago", duration_ms(now.saturating_sub(report.at_ms))),
        ]);
    }
    table.to_string()
}

/// One task in full.
fn full(report: &Report, now: u64) -> String {
    let running = report.pid.map(|pid| format!(", process {pid}")).unwrap_or_default();
    let mut facts = Table::new(&[]);
    facts.row(&["task", &report.task]);
    facts.row(&["source", &report.source]);
    facts.row(&["target", &report.target]);
    facts.row(&["state", &format!("{}{running}", condition(report))]);
    facts.row(&["phase", report.phase.name()]);
    if let Some(why) = report.waits_for.as_ref().filter(|_| report.pid.is_some()) {
        facts.row(&["waits", why]);
    }
    facts.row(&["rows", &count(report.rows_copied())]);
    facts.row(&[
        "changes",
        &format!(
            "{} in {}",
            count(report.changes_applied()),
            plural(report.transactions_applied, "transaction", "transactions")
        ),
    ]);
    if let Some(check) = &report.check {
        facts.row(&["check", &checked(check)]);
        if !check.tables_without_key.is_empty() {
            let tables = check.tables_without_key.join(", ");
            facts.row(&["unchecked", &format!("{tables}: their rows have no key")]);
        }
    }
    if report.rows_dead() > 0 {
        let rows = plural(report.rows_dead(), "row", "rows");
        facts.row(&["set aside", &format!("{rows}, see: engine dead-letter list {}", report.task)]);
    }
    if report.builds_total > 0 {
        facts.row(&["built", &format!("{} of {}", report.builds_done, report.builds_total)]);
    }
    facts.row(&["lag", &lag(report)]);
    if let Some(until) = report.log_kept_until_ms {
        let kept = match until.checked_sub(now) {
            Some(left @ 1..) => format!("the source keeps what comes next for another {}", duration_ms(left)),
            _ => format!(
                "the source may have purged what comes next since {}",
                duration_ms(now.saturating_sub(until))
            ),
        };
        facts.row(&["log", &kept]);
    }
    facts.row(&["position", report.position.as_deref().unwrap_or("-")]);
    facts.row(&["seen", &format!("{} ago", duration_ms(now.saturating_sub(report.at_ms)))]);
    if let Some(error) = &report.error {
        facts.row(&["error", &error.replace('\n', "; ")]);
    }
    let mut parts = vec![facts.to_string()];

    if !report.phases.is_empty() {
        let mut phases = Table::new(&["PHASE", "TOOK"]);
        for times in &report.phases {
            let end = times.finished_ms.unwrap_or(report.at_ms);
            phases.row(&[times.phase.name().to_owned(), duration_ms(end.saturating_sub(times.started_ms))]);
        }
        parts.push(phases.to_string());
    }
    if !report.tables.is_empty() {
        let mut tables = Table::new(&[
            "TABLE",
            "TARGET",
            "COPIED",
            "ROWS",
            "ESTIMATE",
            "CHANGES",
            "FILTERED",
            "SET ASIDE",
        ]);
        for table in report.tables.iter().take(TABLES_SHOWN) {
            tables.row(&[
                table.table.clone(),
                table.target.clone(),
                if table.copied { "yes" } else { "no" }.to_owned(),
                count(table.rows_copied),
                table.rows_estimate.map_or_else(|| "-".to_owned(), count),
                count(table.changes_applied),
                count(table.rows_filtered),
                count(table.rows_dead),
            ]);
        }
        parts.push(tables.to_string());
        if let Some(more @ 1..) = report.tables.len().checked_sub(TABLES_SHOWN) {
            parts.push(format!(
                "... and {}; --json has all",
                plural(more as u64, "more table", "more tables")
            ));
        }
    }
    let findings =
        finding_lines(report.findings.iter().filter(|finding| finding.severity >= Severity::Warning));
    if !findings.is_empty() {
        parts.push(findings.join("\n"));
    }
    parts.join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::sample;

    #[test]
    fn one_task_in_full() {
        insta::assert_snapshot!(full(&sample::streaming(), sample::START_MS + 200_000));
    }

    #[test]
    fn all_tasks() {
        let mut ended = sample::snapshot();
        ended.pid = None;
        ended.error = Some("the source went away".into());
        insta::assert_snapshot!(overview(&[ended, sample::streaming()], sample::START_MS + 200_000));
    }

    #[test]
    fn the_documented_names() {
        let value = serde_json::json!(sample::streaming());
        for name in ["task", "phase", "tables", "lag_ms", "position", "pid", "error"] {
            assert!(value.get(name).is_some(), "{name}");
        }
    }
}
