//! Foreign keys, once every table of the task is known.

use std::collections::HashMap;

use engine_core::finding::{Finding, Severity};
use engine_core::plan::{TargetForeignKey, TargetIndex, TargetTable};
use engine_core::schema::{IndexKind, TableName};

use super::Composed;

/// Gives foreign keys the target names of their parents, in the order of a key of theirs, and leaves out, with a
/// warning, those whose parent is not part of the task.
pub fn resolve_foreign_keys(tables: &mut [Composed]) {
    let parents: HashMap<TableName, TargetTable> =
        tables.iter().map(|table| (table.schema.name.clone(), table.target.clone())).collect();
    for table in tables {
        let subject = table.schema.name.to_string();
        let findings = &mut table.findings;
        table.target.foreign_keys.retain_mut(|key| {
            let resolved = parents.get(&key.parent).and_then(|parent| {
                let columns: Option<Vec<String>> = key
                    .parent_columns
                    .iter()
                    .map(|name| parent.columns.iter().find(|column| column.source_name == *name))
                    .map(|column| column.map(|column| column.name.clone()))
                    .collect();
                Some((parent, columns?))
            });
            match resolved {
                Some((parent, columns)) => {
                    key.parent = parent.name.clone();
                    key.parent_columns = columns;
                    order_as_parent(key, parent);
                    true
                }
                None => {
                    findings.push(Finding {
                        severity: Severity::Warning,
                        subject: format!("{subject}.{}", key.name),
                        message: format!(
                            "the foreign key is left out: its parent {} (or a column of it) is not part of the task",
                            key.parent
                        ),
                        fix: Some("include the parent table".into()),
                    });
                    false
                }
            }
        });
    }
}

/// Puts the columns of a foreign key in the order of a key of its parent, unless an index of the parent begins with
/// them as they are: some databases find no key otherwise.
fn order_as_parent(key: &mut TargetForeignKey, parent: &TargetTable) {
    let columns = |index: &TargetIndex| -> Vec<Option<&String>> {
        index.parts.iter().map(|part| parent.columns.get(part.column).map(|column| &column.name)).collect()
    };
    let place = |column: Option<&String>| key.parent_columns.iter().position(|name| Some(name) == column);
    let mut orders = Vec::new();
    for index in &parent.indexes {
        let columns = columns(index);
        let places: Option<Vec<usize>> =
            columns.iter().take(key.parent_columns.len()).copied().map(place).collect();
        let Some(places) = places.filter(|places| places.len() == key.parent_columns.len()) else { continue };
        if places.is_sorted() {
            return;
        }
        if columns.len() == places.len() && index.kind != IndexKind::Plain {
            orders.push(places);
        }
    }
    if let Some(order) = orders.into_iter().next() {
        key.columns = order.iter().filter_map(|&place| key.columns.get(place).copied()).collect();
        key.parent_columns =
            order.iter().filter_map(|&place| key.parent_columns.get(place).cloned()).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine_core::logical::LogicalType;
    use engine_core::plan::{ConflictPolicy, RowErrorPolicy, TargetColumn, TargetIndexPart};
    use engine_core::schema::ReferentialAction;

    fn parent(indexes: &[(IndexKind, &[usize])]) -> TargetTable {
        let column = |name: &str| TargetColumn {
            name: name.to_owned(),
            source_name: name.to_owned(),
            target_type: "int".to_owned(),
            logical: LogicalType::Integer { bits: 32, signed: true },
            nullable: false,
            default: None,
            generated: None,
            identity: false,
            comment: String::new(),
        };
        let part = |&column: &usize| TargetIndexPart { column, prefix: None, descending: false };
        let index = |&(kind, parts): &(IndexKind, &[usize])| TargetIndex {
            name: "i".to_owned(),
            kind,
            parts: parts.iter().map(part).collect(),
        };
        TargetTable {
            source: TableName::new("s", "p"),
            name: TableName::new("s", "p"),
            columns: ["a", "b", "c"].map(column).into(),
            indexes: indexes.iter().map(index).collect(),
            foreign_keys: Vec::new(),
            comment: String::new(),
            row_key: None,
            with_rows: true,
            on_conflict: ConflictPolicy::Fail,
            on_row_error: RowErrorPolicy::Fail,
        }
    }

    /// The columns of a key that are 5 and 6, and refer to b and a.
    fn ordered(indexes: &[(IndexKind, &[usize])]) -> (Vec<usize>, String) {
        let mut key = TargetForeignKey {
            name: "k".to_owned(),
            columns: vec![5, 6],
            parent: TableName::new("s", "p"),
            parent_columns: vec!["b".to_owned(), "a".to_owned()],
            on_delete: ReferentialAction::NoAction,
            on_update: ReferentialAction::NoAction,
        };
        order_as_parent(&mut key, &parent(indexes));
        (key.columns, key.parent_columns.concat())
    }

    #[test]
    fn columns_take_the_order_of_a_key_of_the_parent_where_they_have_none() {
        let turned = (vec![6, 5], "ab".to_owned());
        let kept = (vec![5, 6], "ba".to_owned());
        assert_eq!(ordered(&[(IndexKind::Unique, &[2]), (IndexKind::Primary, &[0, 1])]), turned);
        assert_eq!(ordered(&[(IndexKind::Primary, &[0, 1]), (IndexKind::Plain, &[1, 0, 2])]), kept);
        // No key of the parent, and one that is longer.
        assert_eq!(ordered(&[(IndexKind::Plain, &[0, 1]), (IndexKind::Unique, &[0, 1, 2])]), kept);
    }
}
