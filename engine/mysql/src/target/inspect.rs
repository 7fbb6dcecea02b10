//! What beside rows is not as planned.

use engine_core::Result;
use engine_core::finding::{Finding, Severity};
use engine_core::plan::TargetTable;
use engine_core::schema::{IndexKind, TableName};
use engine_core::target::BuildStep;
use std::sync::Arc;

use super::control::field;
use super::failure::translate;
use super::session::Session;
use super::{ddl, index};
use crate::sql;

/// Keys, indexes and foreign keys that are not there, and numbering columns that don't number.
pub(super) async fn inspect(session: &mut Session, tables: &[Arc<TargetTable>]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for table in tables {
        let there = index::existing(session, &table.name).await?;
        for index in &table.indexes {
            let definition = ddl::index_definition(table, index)?;
            if !there.has(&definition) {
                let name = if index.kind == IndexKind::Primary { "PRIMARY" } else { &index.name };
                let statement = format!("ALTER TABLE {} ADD {definition}", sql::table(&table.name));
                findings.push(not_there(&table.name, &format!("index {name}"), statement));
            }
        }
    }
    for job in index::jobs(BuildStep::ForeignKeys, tables)? {
        let there = index::existing(session, &job.table).await?;
        let added = job.statements.iter().find(|statement| statement.starts_with("ALTER TABLE"));
        if let Some(statement) = added
            && statement.split_once(" ADD ").is_some_and(|(_, definition)| !there.has(definition))
        {
            let what = job.label.split(" of ").next().unwrap_or_default();
            findings.push(not_there(&job.table, what, statement.clone()));
        }
    }
    for table in tables {
        for column in table.columns.iter().filter(|column| column.identity) {
            findings.extend(identity(session, table, &column.name).await?);
        }
    }
    Ok(findings)
}

fn not_there(table: &TableName, what: &str, statement: String) -> Finding {
    Finding {
        severity: Severity::Warning,
        subject: table.to_string(),
        message: format!("the {what} is not there"),
        fix: Some(statement),
    }
}

/// Whether a column numbers rows, beyond the greatest number that one has.
async fn identity(session: &mut Session, table: &TargetTable, column: &str) -> Result<Option<Finding>> {
    let failed = |error| {
        translate(error, "a numbering column can't be looked at")
            .at("table", &table.name)
            .at("column", column)
    };
    let finding = |message: String, fix: Option<String>| Finding {
        severity: Severity::Warning,
        subject: format!("{}.{column}", table.name),
        message,
        fix,
    };
    // Before the next number is asked for: rows may be written meanwhile.
    let name = sql::identifier(column);
    let query =
        format!("SELECT CAST(MAX({name}) AS SIGNED) FROM {} WHERE {name} > 0", sql::table(&table.name));
    let rows = session.query(query).await.map_err(failed)?;
    let greatest: Option<i64> = match rows.into_iter().next() {
        Some(mut row) => field(&mut row, 0)?,
        None => None,
    };
    let rows = session
        .select(
            "SELECT c.extra LIKE '%auto_increment%', CAST(t.auto_increment AS UNSIGNED) \
             FROM information_schema.columns c JOIN information_schema.tables t \
             ON t.table_schema = c.table_schema AND t.table_name = c.table_name \
             WHERE c.table_schema = ? AND c.table_name = ? AND c.column_name = ?",
            (&table.name.namespace, &table.name.name, column),
        )
        .await
        .map_err(failed)?;
    let Some(mut row) = rows.into_iter().next() else { return Ok(None) };
    let (numbers, next): (bool, Option<u64>) = (field(&mut row, 0)?, field(&mut row, 1)?);
    if !numbers {
        return Ok(Some(finding("the column does not number new rows".to_owned(), None)));
    }
    // A server that has not numbered any row since it was started may tell no next number.
    let (Some(greatest), Some(next)) = (greatest.and_then(|greatest| u64::try_from(greatest).ok()), next)
    else {
        return Ok(None);
    };
    if next > greatest {
        return Ok(None);
    }
    Ok(Some(finding(
        format!("the next number is {next}, and a row has {greatest} already"),
        Some(format!(
            "ALTER TABLE {} AUTO_INCREMENT = {}",
            sql::table(&table.name),
            greatest.saturating_add(1)
        )),
    )))
}
