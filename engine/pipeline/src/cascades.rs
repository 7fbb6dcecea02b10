//! Foreign keys whose actions change rows behind the log's back: a table with one can be copied, but
//! not followed.

use engine_core::endpoint::{Endpoint, FOREIGN_KEY_CASCADES, UNLOGGED};
use engine_core::finding::{Finding, Severity};
use engine_core::schema::{ForeignKey, ReferentialAction, TableSchema};

/// A failure for each foreign key of `tables` whose actions write rows that `source` does not log.
///
/// It is the child that goes wrong, so a parent outside the task makes no difference.
pub(crate) fn check<'a>(
    source: &Endpoint,
    tables: impl IntoIterator<Item = &'a TableSchema>,
) -> Vec<Finding> {
    if source.attribute(FOREIGN_KEY_CASCADES) != Some(UNLOGGED) {
        return Vec::new();
    }
    let with_keys =
        tables.into_iter().flat_map(|table| table.foreign_keys.iter().map(move |key| (table, key)));
    with_keys
        .filter_map(|(table, key)| actions(key).map(|actions| finding(source, table, key, &actions)))
        .collect()
}

fn finding(source: &Endpoint, table: &TableSchema, key: &ForeignKey, actions: &str) -> Finding {
    Finding {
        severity: Severity::Failed,
        subject: table.name.to_string(),
        message: format!(
            "the foreign key {} to {} has {actions}, and what that changes in {} is not in the log of {} {}, \
             so following would miss it",
            key.name, key.parent, table.name, source.engine, source.version
        ),
        fix: Some(format!(
            "leave it out with --exclude {}, or drop the action from {} on the source, or stop writes and use \
             --mode offline",
            table.name, key.name
        )),
    }
}

/// The actions of a key that write rows, in SQL; `None` when it has none.
fn actions(key: &ForeignKey) -> Option<String> {
    let written = [("DELETE", key.on_delete), ("UPDATE", key.on_update)]
        .into_iter()
        .filter_map(|(event, action)| {
            let action = match action {
                ReferentialAction::NoAction | ReferentialAction::Restrict => return None,
                ReferentialAction::Cascade => "CASCADE",
                ReferentialAction::SetNull => "SET NULL",
                ReferentialAction::SetDefault => "SET DEFAULT",
            };
            Some(format!("ON {event} {action}"))
        })
        .collect::<Vec<_>>();
    (!written.is_empty()).then(|| written.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine_core::schema::TableName;

    fn source(cascades: &str) -> Endpoint {
        Endpoint {
            engine: "mariadb".into(),
            version: "10.11.6".into(),
            attributes: vec![(FOREIGN_KEY_CASCADES.into(), cascades.into())],
        }
    }

    fn child(on_delete: ReferentialAction, on_update: ReferentialAction) -> TableSchema {
        let key = ForeignKey {
            name: "line_order".into(),
            columns: Vec::new(),
            parent: TableName::new("crm", "orders"),
            parent_columns: Vec::new(),
            on_delete,
            on_update,
        };
        TableSchema {
            name: TableName::new("shop", "lines"),
            columns: Vec::new(),
            indexes: Vec::new(),
            foreign_keys: vec![key],
            comment: String::new(),
            collation: None,
            row_estimate: None,
            byte_estimate: None,
            next_identity: None,
        }
    }

    #[test]
    fn actions_that_write_are_refused_by_name() {
        let table = child(ReferentialAction::SetNull, ReferentialAction::Cascade);
        let findings = check(&source(UNLOGGED), [&table]);
        assert_eq!(findings.len(), 1);
        let text = findings[0].to_string();
        for part in
            ["line_order", "crm.orders", "ON DELETE SET NULL ON UPDATE CASCADE", "--exclude shop.lines"]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn actions_that_write_nothing_or_are_logged_pass() {
        let harmless = child(ReferentialAction::Restrict, ReferentialAction::NoAction);
        assert_eq!(check(&source(UNLOGGED), [&harmless]), []);
        let logged = child(ReferentialAction::Cascade, ReferentialAction::Cascade);
        assert_eq!(check(&source("logged"), [&logged]), []);
    }
}
