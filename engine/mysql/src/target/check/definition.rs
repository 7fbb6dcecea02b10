//! What of a table's definition becomes another than planned.

use engine_core::finding::{Finding, Severity};
use engine_core::plan::TargetTable;
use std::collections::HashMap;
use std::sync::Arc;

use super::finding;
use crate::target::ddl;

/// Looks at each table.
pub(super) fn check(tables: &[Arc<TargetTable>]) -> Vec<Finding> {
    tables.iter().flat_map(|table| of_table(table)).collect()
}

fn of_table(table: &TargetTable) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut names: HashMap<String, &str> = HashMap::new();
    for column in &table.columns {
        let subject = format!("{}.{}", table.name, column.name);
        if let Some(other) = names.insert(column.name.to_lowercase(), &column.name) {
            let message = format!("the target does not tell its name from {other}");
            let fix = "give one of them another name in the plugin's configuration".to_owned();
            findings.push(finding(Severity::Failed, &subject, message, Some(fix)));
        }
        findings.extend(comment(&subject, &column.comment, ddl::LONGEST_COLUMN_COMMENT));
    }
    if let Some(column) = ddl::lone_number(table) {
        findings.push(finding(
            Severity::Note,
            &format!("{}.{}", table.name, column.name),
            format!(
                "the column numbers itself, for which it has to lead an index: it gets one, {}",
                ddl::NUMBER_KEY
            ),
            None,
        ));
    }
    findings.extend(comment(&table.name.to_string(), &table.comment, ddl::LONGEST_TABLE_COMMENT));
    findings
}

fn comment(subject: &str, comment: &str, longest: usize) -> Option<Finding> {
    (ddl::comment(comment, longest) != comment).then(|| {
        let message = format!("its comment has more than {longest} characters, and loses those beyond");
        finding(Severity::Warning, subject, message, None)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::ddl::tests::orders;

    #[test]
    fn what_becomes_another_is_told() {
        let mut odd = orders();
        assert_eq!(of_table(&odd), []);
        odd.indexes.clear();
        odd.row_key = None;
        odd.columns[1].name = "ID".to_owned();
        odd.columns[2].comment = "é".repeat(1025);
        odd.comment = "x".repeat(2049);
        let told: Vec<String> = of_table(&odd).iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(told.join("\n"));
    }
}
