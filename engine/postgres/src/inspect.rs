//! What beside rows is not as planned.

use engine_core::Result;
use engine_core::finding::{Finding, Severity};
use engine_core::plan::TargetTable;
use engine_core::target::BuildJob;
use std::sync::Arc;
use tokio_postgres::Client;

use crate::failure::translate;
use crate::identifier::{self, fit, literal, qualified};

/// An object that is not there.
pub(crate) fn missing(job: &BuildJob, statement: &str) -> Finding {
    Finding {
        severity: Severity::Warning,
        subject: job.table.to_string(),
        message: format!("the {} is not there", job.label),
        fix: Some(statement.to_owned()),
    }
}

/// Identity columns whose next number a row has already, or that can't number rows.
pub(crate) async fn identities(client: &Client, tables: &[Arc<TargetTable>]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for table in tables {
        for column in table.columns.iter().filter(|column| column.identity) {
            let failed = |error| {
                translate(error, "an identity column can't be looked at")
                    .at("table", &table.name)
                    .at("column", &column.name)
            };
            let finding = |message: String, fix: Option<String>| Finding {
                severity: Severity::Warning,
                subject: format!("{}.{}", table.name, column.name),
                message,
                fix,
            };
            let sequence: Option<String> = client
                .query_one(
                    "SELECT pg_catalog.pg_get_serial_sequence($1, $2)",
                    &[&qualified(&table.name), &fit(&column.name)],
                )
                .await
                .map_err(failed)?
                .get(0);
            let Some(sequence) = sequence else {
                findings.push(finding("the column has no sequence to number new rows by".to_owned(), None));
                continue;
            };
            let name = identifier::column(&column.name);
            let row = client
                .query_one(
                    &format!(
                        "SELECT COALESCE(max({name}), 0)::bigint, (SELECT last_value + is_called::int FROM {sequence})::bigint \
                         FROM {}",
                        qualified(&table.name)
                    ),
                    &[],
                )
                .await
                .map_err(failed)?;
            let (greatest, next): (i64, i64) = (row.get(0), row.get(1));
            if next <= greatest {
                findings.push(finding(
                    format!("the next number is {next}, and a row has {greatest} already"),
                    Some(format!("SELECT setval({}, {greatest})", literal(&sequence))),
                ));
            }
        }
    }
    Ok(findings)
}
