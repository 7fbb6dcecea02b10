//! `engine plan`: what a run would do, for people or as JSON.

use engine_core::finding::{Finding, Severity};
use engine_core::{Error, ErrorKind, Result};
use engine_pipeline::plan::{PlanReport, PlannedTable};

use super::{print, to_json};
use crate::arguments::PlanArguments;
use crate::render::table::Table;
use crate::render::units::{count, plural};
use crate::render::{Screen, finding_lines};
use crate::settings::Settings;
use crate::signals::{stop_on_signal, unless_stopped};
use crate::{connect, environment};

pub(super) async fn plan(arguments: PlanArguments, screen: &Screen) -> Result<()> {
    let settings = Settings::gather(arguments.task, None, &environment::variable)?;
    connect::check(&settings)?;
    let stop = stop_on_signal(screen)?;
    let report = unless_stopped(&stop, async {
        let spec = Box::pin(connect::connect(settings)).await?;
        Box::pin(engine_pipeline::plan::plan(&spec)).await
    })
    .await?;
    print(&if arguments.json { to_json(&report)? } else { text(&report) })?;

    let failed = all_findings(&report).filter(|finding| finding.severity == Severity::Failed).count();
    if failed > 0 {
        return Err(Error::new(ErrorKind::Precondition, "a run with this plan would stop at once")
            .because(format!("{} failed", plural(failed as u64, "check", "checks")))
            .help("mend what the plan marks as failed"));
    }
    Ok(())
}

fn all_findings(report: &PlanReport) -> impl Iterator<Item = &Finding> {
    let of_tables = report.tables.iter().flat_map(|table| &table.findings);
    // A plan may list a table's findings in both places.
    let general = report
        .findings
        .iter()
        .filter(|finding| !report.tables.iter().any(|table| table.findings.contains(finding)));
    of_tables.chain(general)
}

/// The plan for people: tables with their decisions, what is left out, findings, DDL.
fn text(report: &PlanReport) -> String {
    let mut parts: Vec<String> = report.tables.iter().map(table_text).collect();
    if !report.skipped.is_empty() {
        let mut skipped = Table::new(&["LEFT OUT", "WHY"]);
        for (table, why) in &report.skipped {
            skipped.row(&[table.to_string(), why.clone()]);
        }
        parts.push(skipped.to_string());
    }
    let general: Vec<&Finding> = report
        .findings
        .iter()
        .filter(|finding| !report.tables.iter().any(|table| table.findings.contains(finding)))
        .collect();
    if !general.is_empty() {
        parts.push(finding_lines(general).join("\n"));
    }
    parts.push(statements_text("Before the rows are loaded", &report.before_load));
    parts.push(statements_text("After the rows are loaded", &report.after_load));
    parts.push(totals(report));
    parts.join("\n\n")
}

fn table_text(table: &PlannedTable) -> String {
    let rows = if table.target.with_rows { "" } else { "  (structure only)" };
    let mut decisions =
        Table::new(&["  COLUMN", "SOURCE TYPE", "TARGET COLUMN", "TARGET TYPE", "DEFAULT", "CONVERSIONS"]);
    for column in &table.columns {
        let kept = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let target = match &column.target_column {
            None => "(dropped)".to_owned(),
            Some(name) => name.clone(),
        };
        decisions.row(&[
            format!("  {}", column.column),
            column.native.clone(),
            target,
            kept(&column.target_type),
            kept(&column.default),
            column.conversions.join(", "),
        ]);
    }
    let mut lines = vec![format!("{} -> {}{rows}", table.source, table.target.name), decisions.to_string()];
    lines.extend(finding_lines(&table.findings).iter().map(|line| format!("  {line}")));
    lines.join("\n")
}

fn statements_text(title: &str, statements: &[String]) -> String {
    let mut lines =
        vec![format!("-- {title}: {}", plural(statements.len() as u64, "statement", "statements"))];
    lines.extend(
        statements.iter().map(|statement| format!("{};", statement.trim_end().trim_end_matches(';'))),
    );
    lines.join("\n")
}

fn totals(report: &PlanReport) -> String {
    let of = |severity| all_findings(report).filter(|finding| finding.severity == severity).count() as u64;
    format!(
        "{}, {} left out, {}, {} failed. Nothing was changed.",
        plural(report.tables.len() as u64, "table", "tables"),
        count(report.skipped.len() as u64),
        plural(of(Severity::Warning), "warning", "warnings"),
        count(of(Severity::Failed)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine_core::plan::{ConflictPolicy, RowErrorPolicy, TargetTable};
    use engine_core::schema::TableName;
    use engine_pipeline::plan::ColumnDecision;

    fn finding(severity: Severity, subject: &str, fix: Option<&str>) -> Finding {
        Finding {
            severity,
            subject: subject.into(),
            message: "holds 3 zero dates".into(),
            fix: fix.map(str::to_owned),
        }
    }

    fn report() -> PlanReport {
        let decision =
            |column: &str, native: &str, target: Option<(&str, &str)>, conversions: &[&str]| ColumnDecision {
                column: column.into(),
                native: native.into(),
                target_column: target.map(|(name, _)| name.to_owned()),
                target_type: target.map(|(_, kind)| kind.to_owned()),
                default: None,
                conversions: conversions.iter().map(|&name| name.to_owned()).collect(),
            };
        let warning = finding(Severity::Warning, "shop.orders.shipped", Some("zero_dates = \"null\""));
        PlanReport {
            tables: vec![PlannedTable {
                source: TableName::new("shop", "orders"),
                target: TargetTable {
                    source: TableName::new("shop", "orders"),
                    name: TableName::new("public", "orders"),
                    columns: Vec::new(),
                    indexes: Vec::new(),
                    foreign_keys: Vec::new(),
                    comment: String::new(),
                    row_key: Some(vec![0]),
                    with_rows: true,
                    on_conflict: ConflictPolicy::Fail,
                    on_row_error: RowErrorPolicy::Fail,
                },
                columns: vec![
                    decision("id", "bigint unsigned", Some(("id", "numeric(20,0)")), &[]),
                    decision("shipped", "date", Some(("shipped", "date")), &["irregular-date-to-null"]),
                    decision("secret", "text", None, &[]),
                ],
                findings: vec![warning.clone()],
            }],
            skipped: vec![(TableName::new("shop", "tmp_1"), "excluded by --exclude tmp_*".into())],
            findings: vec![warning, finding(Severity::Note, "shop.audit", None)],
            before_load: vec![
                "CREATE SCHEMA \"public\"".into(),
                "CREATE TABLE \"public\".\"orders\" ();\n".into(),
            ],
            after_load: vec!["ALTER TABLE \"public\".\"orders\" ADD PRIMARY KEY (\"id\")".into()],
        }
    }

    #[test]
    fn a_plan_for_people() {
        insta::assert_snapshot!(text(&report()));
    }
}
