//! Foreign keys: the statements that make them, and what InnoDB does not have of them.

use engine_core::Result;
use engine_core::finding::{Finding, Severity};
use engine_core::plan::{TargetColumn, TargetForeignKey, TargetTable};
use engine_core::schema::{ReferentialAction, TableName};
use std::collections::HashMap;
use std::mem::discriminant;
use std::sync::Arc;

use super::column_type::{ColumnType, Declared};
use super::ddl;
use crate::sql;

/// First a query for a row without a parent, of which there must be none, then the key.
pub(super) fn statements(table: &TargetTable, key: &TargetForeignKey, name: &str) -> Result<Vec<String>> {
    let columns: Vec<String> =
        key.columns.iter().map(|&ordinal| ddl::column_name(table, ordinal)).collect::<Result<_>>()?;
    let parents: Vec<String> = key.parent_columns.iter().map(|name| sql::identifier(name)).collect();
    let parent = sql::table(&key.parent);
    let joined: Vec<String> =
        columns.iter().zip(&parents).map(|(column, parent)| format!("p.{parent} = c.{column}")).collect();
    let present: Vec<String> = columns.iter().map(|column| format!("c.{column} IS NOT NULL")).collect();
    let orphan = format!(
        "SELECT 1 FROM {} c LEFT JOIN {parent} p ON {} WHERE {} AND p.{} IS NULL LIMIT 1",
        sql::table(&table.name),
        joined.join(" AND "),
        present.join(" AND "),
        parents.first().map_or("", String::as_str),
    );
    let add = format!(
        "ALTER TABLE {} ADD CONSTRAINT {} FOREIGN KEY ({}) REFERENCES {parent} ({}) ON DELETE {} ON UPDATE {}",
        sql::table(&table.name),
        sql::identifier(name),
        columns.join(", "),
        parents.join(", "),
        action(table, key, key.on_delete),
        action(table, key, key.on_update),
    );
    Ok(vec![orphan, add])
}

fn action(table: &TargetTable, key: &TargetForeignKey, action: ReferentialAction) -> &'static str {
    match action {
        _ if lacking(table, key, action).is_some() => "NO ACTION",
        ReferentialAction::NoAction => "NO ACTION",
        ReferentialAction::Restrict => "RESTRICT",
        ReferentialAction::Cascade => "CASCADE",
        ReferentialAction::SetNull => "SET NULL",
        ReferentialAction::SetDefault => "SET DEFAULT",
    }
}

/// Why the server refuses a key with this action.
fn lacking(table: &TargetTable, key: &TargetForeignKey, action: ReferentialAction) -> Option<String> {
    match action {
        ReferentialAction::SetDefault => Some("InnoDB has no SET DEFAULT".to_owned()),
        ReferentialAction::SetNull => {
            let mut columns = key.columns.iter().filter_map(|&ordinal| table.columns.get(ordinal));
            let never = columns.find(|column| !column.nullable)?;
            Some(format!("there is no SET NULL where a column is NOT NULL, as {} is", never.name))
        }
        _ => None,
    }
}

/// Actions that are not taken, and keys that the server would refuse once all rows are there.
pub(super) fn check(tables: &[Arc<TargetTable>]) -> Vec<Finding> {
    let parents: HashMap<&TableName, &Arc<TargetTable>> =
        tables.iter().map(|table| (&table.name, table)).collect();
    let mut findings = Vec::new();
    for table in tables {
        for key in &table.foreign_keys {
            let subject = format!("{}.{}", table.name, key.name);
            for (event, action) in [("DELETE", key.on_delete), ("UPDATE", key.on_update)] {
                if let Some(why) = lacking(table, key, action) {
                    findings.push(Finding {
                        severity: Severity::Warning,
                        subject: subject.clone(),
                        message: format!(
                            "ON {event} of a parent is refused while the row refers to it (NO ACTION): {why}"
                        ),
                        fix: None,
                    });
                }
            }
            let Some(parent) = parents.get(&key.parent) else { continue };
            for (&ordinal, name) in key.columns.iter().zip(&key.parent_columns) {
                let child = table.columns.get(ordinal);
                let parent = parent.columns.iter().find(|column| column.name == *name);
                if let (Some(child), Some(parent)) = (child, parent)
                    && let Some(why) = unlike(child, parent)
                {
                    findings.push(Finding {
                        severity: Severity::Failed,
                        subject: subject.clone(),
                        message: format!("{} can't refer to {}.{name}: {why}", child.name, key.parent),
                        fix: Some("give both columns one type in the plugin's configuration".to_owned()),
                    });
                }
            }
        }
    }
    findings
}

/// Why a column can't refer to another, as far as their types tell.
fn unlike(child: &TargetColumn, parent: &TargetColumn) -> Option<String> {
    let types = [&child.target_type, &parent.target_type];
    let [one, other] = types.map(|text| Declared::parse(text).column_type);
    for (text, column_type) in types.into_iter().zip([&one, &other]) {
        let is_blob = *column_type == ColumnType::Blob && !first_word(text).starts_with("var");
        if is_blob || matches!(column_type, ColumnType::Text | ColumnType::Json | ColumnType::Geometry) {
            return Some(format!("no foreign key can be on a {}", first_word(text)));
        }
    }
    let is_alike = match (&one, &other) {
        (ColumnType::Integer, ColumnType::Integer) => integer(types[0]) == integer(types[1]),
        (
            ColumnType::Char { .. } | ColumnType::Varchar { .. },
            ColumnType::Char { .. } | ColumnType::Varchar { .. },
        ) => match types.map(|text| collation(text)) {
            [Some(one), Some(other)] => one == other,
            _ => true,
        },
        (ColumnType::Unknown(_), _)
        | (_, ColumnType::Unknown(_))
        | (ColumnType::Binary { .. } | ColumnType::Blob, ColumnType::Binary { .. } | ColumnType::Blob) => {
            true
        }
        (one, other) => discriminant(one) == discriminant(other),
    };
    (!is_alike).then(|| format!("the one is {}, the other {}", types[0], types[1]))
}

fn first_word(text: &str) -> String {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(text.len());
    text.get(..end).unwrap_or_default().to_ascii_lowercase()
}

/// Size and sign of an integer type.
fn integer(text: &str) -> (String, bool) {
    let word = match first_word(text).as_str() {
        "integer" => "int".to_owned(),
        "bool" | "boolean" => "tinyint".to_owned(),
        "serial" => return ("bigint".to_owned(), true),
        _ => first_word(text),
    };
    let lower = text.to_ascii_lowercase();
    (word, lower.contains("unsigned") || lower.contains("zerofill"))
}

/// The collation that a type names.
fn collation(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let (_, rest) = lower.split_once(" collate ")?;
    rest.split_whitespace().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::super::ddl::tests::{named, orders};
    use super::*;
    use engine_core::logical::LogicalType;

    fn unlike(child: &str, parent: &str) -> Option<String> {
        let column = |target_type| named("c", target_type, LogicalType::Json);
        super::unlike(&column(child), &column(parent))
    }

    #[test]
    fn what_the_server_would_refuse_after_the_load_is_told_before() {
        for (child, parent) in [
            ("int", "int(11)"),
            ("INTEGER", "int"),
            ("bigint unsigned", "bigint(20) unsigned zerofill"),
            ("varchar(20) COLLATE utf8mb4_bin", "char(3) COLLATE utf8mb4_bin"),
            ("varchar(20)", "varchar(30) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"),
            ("binary(16)", "varbinary(20)"),
            ("datetime(3)", "datetime(6)"),
        ] {
            assert_eq!(unlike(child, parent), None, "{child} to {parent}");
        }
        for (child, parent) in [
            ("int", "bigint"),
            ("int", "int unsigned"),
            ("varchar(20) COLLATE utf8mb4_bin", "varchar(20) COLLATE utf8mb4_0900_bin"),
            ("date", "datetime"),
            ("int", "decimal(10,0)"),
            ("longtext", "varchar(20)"),
            ("longblob", "longblob"),
            ("json", "json"),
        ] {
            assert!(unlike(child, parent).is_some(), "{child} to {parent}");
        }
    }

    #[test]
    fn an_action_that_innodb_has_not_is_told_and_not_asked_for() {
        let mut orders = orders();
        for (action, nullable, rendered) in [
            (ReferentialAction::SetDefault, true, "ON DELETE NO ACTION"),
            (ReferentialAction::SetNull, false, "ON DELETE NO ACTION"),
            (ReferentialAction::SetNull, true, "ON DELETE SET NULL"),
        ] {
            orders.columns[1].nullable = nullable;
            orders.foreign_keys[0].on_delete = action;
            let key = &orders.foreign_keys[0];
            let statements = statements(&orders, key, "k").expect("a good key");
            assert!(statements[1].contains(rendered), "{statements:?}");
            let told = check(&[Arc::new(orders.clone())]);
            let warned = told.iter().filter(|finding| finding.severity == Severity::Warning).count();
            assert_eq!(warned, usize::from(rendered.ends_with("NO ACTION")), "{told:?}");
        }
    }
}
