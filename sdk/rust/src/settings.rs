//! Settings that planners have in common.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::planning::{Finding, RowErrorPolicy, TablePlan};
use crate::{PluginError, TableSchema, selection};

/// What becomes of a row that can't be carried over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum OnRowError {
    /// It stops the task.
    #[default]
    Fail,
    /// It is set aside: missing in the target, and listed.
    DeadLetter,
}

impl OnRowError {
    /// Has the plan do so, and say so.
    pub fn apply(self, plan: &mut TablePlan) {
        if self == Self::DeadLetter {
            plan.on_row_error = RowErrorPolicy::DeadLetter;
            plan.findings.push(Finding::note(
                None,
                "rows that can't be carried over are set aside: see them with 'engine dead-letter list'",
            ));
        }
    }
}

/// What is set for a table: under its own name, "namespace.table", else under the first pattern that matches it.
pub fn of_table<'a, T>(tables: &'a BTreeMap<String, T>, table: &TableSchema) -> Option<&'a T> {
    let name = table.full_name();
    let by_pattern = || tables.iter().find(|(pattern, _)| selection::matches(pattern, &name));
    tables.get(&name).or_else(|| by_pattern().map(|(_, set)| set))
}

/// Refuses settings at "/tables/NAMESPACE.TABLE/columns/COLUMN" of a column that the table has not.
pub fn known_columns<'a>(
    table: &TableSchema,
    mut named: impl Iterator<Item = &'a String>,
) -> Result<(), PluginError> {
    let Some(unknown) = named.find(|name| table.column_index(name).is_none()) else { return Ok(()) };
    let full_name = table.full_name();
    Err(PluginError::InvalidConfig((
        format!("/tables/{}/columns/{}", pointer(&full_name), pointer(unknown)),
        format!("the table {full_name} has no column {unknown}"),
    )))
}

/// A name as a part of a JSON pointer.
fn pointer(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::of_table;
    use crate::testing;

    #[test]
    fn a_tables_own_name_is_before_a_pattern() {
        let tables =
            [("shop.orders_*", 1), ("shop.orders_7", 7)].map(|(name, set)| (name.to_owned(), set)).into();
        for (table, expected) in [
            (("shop", "orders_1"), Some(&1)),
            (("shop", "orders_7"), Some(&7)),
            (("shop", "orders"), None),
            (("other", "orders_1"), None),
        ] {
            let schema = testing::table(table.0, table.1, []);
            assert_eq!(of_table(&tables, &schema), expected, "{table:?}");
        }
    }
}
