//! `engine verify`: compares both sides of a task, and mends what differs.

mod self_test;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine_core::{Error, ErrorKind, Result};
use engine_pipeline::progress::now_ms;
use engine_pipeline::verify::{self, Difference, Kind, Options, Progress, Report, State};
use engine_pipeline::{reverse, state};

use super::{known, print, to_json};
use crate::arguments::VerifyArguments;
use crate::render::table::Table;
use crate::render::units::{count, duration_ms, per_second, percent, plural};
use crate::render::{Screen, finding_lines};
use crate::signals::{stop_on_signal, unless_stopped};
use crate::{connect, exit};

/// How long a check is silent.
const SILENT: Duration = Duration::from_secs(2);
/// How often a line of progress is written then.
const EVERY: Duration = Duration::from_secs(2);
/// Wrong rows that are shown of each table.
const SHOWN: usize = 20;
/// Longest part of a value that is shown, in characters.
const WIDTH: usize = 60;

pub(super) async fn verify(arguments: VerifyArguments, screen: &Screen) -> Result<u8> {
    let settings = known::settings(arguments.named, arguments.task, None)?;
    connect::check(&settings)?;
    let is_back = arguments.way_back;
    let (name, state_dir) = (&settings.name, &settings.state_dir);
    let way_back = is_back.then(|| reverse::task_name(name));
    if let Some(unknown) =
        [Some(name), way_back.as_ref()].into_iter().flatten().find(|name| !state::is_known(state_dir, name))
    {
        return Err(state::unknown_task(state_dir, unknown));
    }
    let options = Options {
        tables: arguments.tables,
        parallelism: None,
        part_rows: arguments.part_rows,
        method: arguments.method.into(),
        max_load: arguments.max_load,
        restart: arguments.restart,
        repair: arguments.repair,
        dry_run: arguments.dry_run,
    };
    let stop = stop_on_signal(screen)?;
    let spec = if is_back {
        unless_stopped(&stop, Box::pin(super::reverse::way_back(settings))).await?
    } else {
        unless_stopped(&stop, Box::pin(connect::connect(settings))).await?
    };
    let progress = Arc::new(Progress::new());
    if arguments.self_test {
        return self_test::run(spec, options, progress, stop, arguments.json).await;
    }
    let mut work = tokio::spawn(verify::verify(spec, options, Arc::clone(&progress), stop));
    let began = Instant::now();
    let mut every = tokio::time::interval_at((began + SILENT).into(), EVERY);
    let report = loop {
        tokio::select! {
            joined = &mut work => break joined.map_err(|error| {
                Error::new(ErrorKind::Internal, "the check made a mistake").because(error)
            })??,
            _ = every.tick() => screen.line(&line(&progress.state(), now_ms())),
        }
    };
    if arguments.json {
        print(&to_json(&with_verdict(&report)?)?)?;
    } else {
        print(&text(&report))?;
    }
    Ok(if report.is_clean() { exit::DONE } else { exit::DIFFERENT })
}

/// The report, and what follows from it.
fn with_verdict(report: &Report) -> Result<serde_json::Value> {
    let mut value = serde_json::to_value(report).map_err(|error| {
        Error::new(ErrorKind::Internal, "the report can't be written as JSON").caused_by(error)
    })?;
    if let Some(object) = value.as_object_mut() {
        object.insert("equal".into(), report.is_equal().into());
        object.insert("clean".into(), report.is_clean().into());
        // Keys and values as objects, by column.
        for table in object.get_mut("tables").and_then(|tables| tables.as_array_mut()).into_iter().flatten() {
            for name in ["not_compared", "leniencies"] {
                pairs_to_object(table, name);
            }
            for difference in
                table.get_mut("differences").and_then(|all| all.as_array_mut()).into_iter().flatten()
            {
                pairs_to_object(difference, "key");
            }
        }
    }
    Ok(value)
}

fn pairs_to_object(parent: &mut serde_json::Value, name: &str) {
    let Some(pairs) = parent.get_mut(name) else { return };
    let map = pairs
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|pair| Some((pair.get(0)?.as_str()?.to_owned(), pair.get(1)?.clone())));
    *pairs = serde_json::Value::Object(map.collect());
}

/// How far the check is.
fn line(state: &State, now_ms: u64) -> String {
    let elapsed = now_ms.saturating_sub(state.started_ms);
    let mut line = format!(
        "{}: {} of {}",
        state.doing,
        count(state.tables_done),
        plural(state.tables, "table", "tables")
    );
    let _ = write!(line, ", {} rows", count(state.rows));
    if state.rows_estimate > 0 {
        let _ =
            write!(line, " (about {})", percent(state.rows.min(state.rows_estimate), state.rows_estimate));
    }
    if let Some(rate) = per_second(state.rows, elapsed) {
        let _ = write!(line, ", {}/s", count(rate));
    }
    if state.wrong > 0 {
        let _ = write!(line, ", {} wrong", count(state.wrong));
    }
    if state.is_waiting {
        line.push_str(", waiting: the source is busy");
    }
    line
}

/// The report for people.
fn text(report: &Report) -> String {
    let mut out = String::new();
    let mut tables = Table::new(&["TABLE", "ROWS", "EQUAL", "MISSING", "EXTRA", "DIFFERENT", "METHOD"]);
    for table in &report.tables {
        let number = |number: u64| if number == 0 { "-".to_owned() } else { count(number) };
        tables.row(&[
            table.table.clone(),
            count(table.rows),
            count(table.equal),
            number(table.missing),
            number(table.extra),
            number(table.different),
            table.method.to_owned(),
        ]);
    }
    let _ = writeln!(out, "{tables}");
    for table in report.tables.iter().filter(|table| !table.differences.is_empty()) {
        let _ = writeln!(out, "\n{} -> {}", table.table, table.target);
        for difference in table.differences.iter().take(SHOWN) {
            let _ = writeln!(out, "  {}", row(difference));
        }
        let more = table.wrong().saturating_sub(table.differences.len().min(SHOWN) as u64);
        if more > 0 {
            let _ = writeln!(out, "  and {} more; --json has the first 10,000", count(more));
        }
    }
    for table in report.tables.iter().filter(|table| !table.is_complete) {
        let why = table.unsettled.as_deref().unwrap_or("not every part of it was compared");
        let _ = writeln!(out, "\nnot compared: {}: {why}", table.table);
    }
    for table in report.tables.iter().filter(|table| table.merged) {
        let _ = writeln!(
            out,
            "\nnote: {}: {} is merged from several tables: the rows of this one were compared, and none is called extra",
            table.table, table.target
        );
    }
    for table in report.tables.iter().filter(|table| table.set_aside > 0) {
        let set_aside = plural(table.set_aside, "row is", "rows are");
        let _ = writeln!(
            out,
            "\nnote: {}: {set_aside} set aside; see: engine dead-letter list {}",
            table.table, report.task
        );
    }
    for table in report.tables.iter().filter(|table| table.passed > 0) {
        let rows = plural(table.passed, "row was", "rows were");
        let _ =
            writeln!(out, "\nnote: {}: {rows} wrong at first and right when looked at again", table.table);
    }
    if !report.findings.is_empty() {
        let _ = writeln!(out, "\n{}", finding_lines(&report.findings).join("\n"));
    }
    if let Some(repaired) = &report.repaired {
        for statement in &repaired.statements {
            let _ = writeln!(out, "{statement}");
        }
        for (table, why) in &repaired.refused {
            let _ = writeln!(out, "not repaired: {table}: {why}");
        }
        if repaired.statements.is_empty() {
            let _ = writeln!(
                out,
                "\nrepaired: {} written, {} deleted",
                plural(repaired.written, "row", "rows"),
                count(repaired.deleted)
            );
        }
    }
    let elapsed = duration_ms(report.finished_ms.saturating_sub(report.started_ms));
    let rows: u64 = report.tables.iter().map(|table| table.rows).sum();
    let compared = format!(
        "{} of {} compared in {elapsed}",
        plural(rows, "row", "rows"),
        plural(report.tables.len() as u64, "table", "tables")
    );
    let verdict = match (report.is_equal(), report.wrong()) {
        (true, _) if report.is_clean() => "equal".to_owned(),
        (true, _) => "rows equal, structure not as planned".to_owned(),
        (false, 0) => "NOT PROVEN EQUAL".to_owned(),
        (false, wrong) => format!("NOT EQUAL: {}", plural(wrong, "row is wrong", "rows are wrong")),
    };
    let _ = write!(out, "\n{}: {verdict}; {compared}", report.task);
    out
}

/// One wrong row.
fn row(difference: &Difference) -> String {
    let key: Vec<String> =
        difference.key.iter().map(|(name, value)| format!("{name}={}", shown(value.as_deref()))).collect();
    let key = if key.is_empty() { "(a row that is just changing)".to_owned() } else { key.join(", ") };
    let what = match difference.kind {
        Kind::Missing => "missing  ",
        Kind::Extra => "extra    ",
        Kind::Different => "different",
    };
    let columns: Vec<String> = difference
        .columns
        .iter()
        .map(|column| {
            format!(
                "{}: {} should be {}",
                column.column,
                shown(column.found.as_deref()),
                shown(column.expected.as_deref())
            )
        })
        .collect();
    if columns.is_empty() {
        format!("{what}  {key}")
    } else {
        format!("{what}  {key}  {}", columns.join("; "))
    }
}

fn shown(value: Option<&str>) -> String {
    let Some(value) = value else { return "NULL".to_owned() };
    let mut text: String = value.chars().take(WIDTH).flat_map(char::escape_debug).collect();
    if value.chars().nth(WIDTH).is_some() {
        text.push('…');
    }
    format!("'{text}'")
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine_pipeline::verify::{ColumnDifference, Cutting, TableReport};

    fn report() -> Report {
        let key = |id: &str| vec![("id".to_owned(), Some(id.to_owned()))];
        let column = |column: &str, expected: Option<&str>, found: Option<&str>| ColumnDifference {
            column: column.into(),
            expected: expected.map(str::to_owned),
            found: found.map(str::to_owned),
        };
        Report {
            task: "shop-to-postgres".into(),
            source: "mysql://u@h/shop".into(),
            target: "postgres://u@h/shop".into(),
            is_exact: true,
            position: Some("server=1;gtid=a:1-9".into()),
            parts_before: 0,
            started_ms: 1_000,
            finished_ms: 3_400,
            tables: vec![TableReport {
                table: "shop.orders".into(),
                target: "shop.orders".into(),
                method: "stream",
                summed_parts: 0,
                cutting: Cutting::Ranges,
                parts: 12,
                rows: 1_000_003,
                equal: 1_000_000,
                missing: 1,
                extra: 1,
                different: 1,
                set_aside: 2,
                followed: 17,
                passed: 0,
                differences: vec![
                    Difference {
                        kind: Kind::Different,
                        key: key("7"),
                        columns: vec![
                            column("note", Some("a "), Some("a")),
                            column("paid", Some("1.5"), None),
                        ],
                    },
                    Difference { kind: Kind::Missing, key: key("8"), columns: Vec::new() },
                    Difference { kind: Kind::Extra, key: key("9"), columns: Vec::new() },
                ],
                not_compared: Vec::new(),
                leniencies: vec![("paid".into(), "the number counts".into())],
                is_complete: true,
                merged: false,
                unsettled: None,
            }],
            findings: Vec::new(),
            repaired: None,
        }
    }

    #[test]
    fn a_report_for_people() {
        insta::assert_snapshot!(text(&report()));
    }

    #[test]
    fn a_report_for_programs() {
        let value = with_verdict(&report()).expect("a report");
        assert_eq!(value["equal"], false);
        assert_eq!(value["tables"][0]["differences"][0]["key"]["id"], "7");
        assert_eq!(value["tables"][0]["differences"][0]["columns"][1]["found"], serde_json::Value::Null);
    }

    #[test]
    fn a_line_of_progress() {
        let state = State {
            doing: "comparing",
            started_ms: 0,
            rows: 500_000,
            rows_estimate: 1_000_000,
            wrong: 2,
            tables_done: 1,
            tables: 3,
            is_waiting: true,
        };
        assert_eq!(
            line(&state, 2_000),
            "comparing: 1 of 3 tables, 500,000 rows (about 50 %), 250,000/s, 2 wrong, waiting: the source is busy"
        );
    }
}
