//! Empty strings where they are NULL: in an openGauss database of compatibility A.

use migration_sdk::{ColumnSchema, Endpoint, Finding, LogicalType};

/// What else can be done.
pub(crate) const WAY_OUT: &str =
    "a database of compatibility B or PG keeps empty strings: CREATE DATABASE … DBCOMPATIBILITY 'B'";

/// Whether the target takes an empty string in this column for NULL.
pub(crate) fn matters(column: &ColumnSchema, target_type: &str, target: &Endpoint) -> bool {
    let is_text =
        matches!(column.logical, LogicalType::Text(_) | LogicalType::Enumeration(_) | LogicalType::Set(_));
    // char(n) pads it to a text of spaces, which it is in the source too.
    let keeps = target_type.starts_with("char(") || target_type.starts_with("bytea");
    is_text && !keeps && are_null(target)
}

fn are_null(target: &Endpoint) -> bool {
    let attribute = |wanted: &str| {
        target.attributes.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
    };
    target.engine == "opengauss"
        && attribute("sql_compatibility") == Some("A")
        && attribute("empty_strings") != Some("kept")
}

/// What is to be said of a table with so many columns whose empty strings stop the task.
pub(crate) fn stopping(columns: usize) -> Option<Finding> {
    (columns > 0).then(|| {
        Finding::warning(
            None,
            format!(
                "an empty string in one of {columns} columns of text stops the task: in a database of compatibility A \
                 it is NULL"
            ),
        )
        .with_fix("set empty_strings = \"null\" to make them NULL, or take a database of compatibility B or PG")
    })
}
