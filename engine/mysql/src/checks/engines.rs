//! Whether the rows of a table and the log of its changes can be brought together.
//!
//! Positions say what a read of a *transactional* table has seen. Of other engines' tables a row
//! can be seen before it is logged. Where a key tells rows apart that does no harm: the change
//! arrives once more and has the same result. Without a key it would be applied twice.

use std::collections::HashSet;

use engine_core::Result;
use engine_core::finding::{Finding, Severity};
use engine_core::schema::TableName;
use engine_core::selection::Selection;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::finding;
use crate::error::server_error;

/// Tables that a finding names.
const NAMED: usize = 10;

/// How an engine's rows become visible and logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Visibility {
    /// By a commit, after they are logged.
    Commit,
    /// At once, before they are logged.
    Statement,
    /// Changes may be made elsewhere, and be in no log of this server.
    Elsewhere,
}

fn visibility(engine: &str) -> Visibility {
    match engine.to_ascii_lowercase().as_str() {
        "innodb" | "rocksdb" | "tokudb" => Visibility::Commit,
        "myisam" | "aria" | "memory" | "csv" | "archive" => Visibility::Statement,
        _ => Visibility::Elsewhere,
    }
}

/// Finds the tables of the selection whose engines need more than the usual care.
pub(super) async fn check(conn: &mut Conn, selection: &Selection, scope: &str) -> Result<Vec<Finding>> {
    let failed = |error| server_error("the tables' storage engines can't be listed", error);
    let query = format!(
        "SELECT table_schema, table_name, engine FROM information_schema.tables \
         WHERE table_schema {scope} AND table_type = 'BASE TABLE' AND engine <> 'InnoDB'"
    );
    let rows: Vec<(String, String, String)> = conn.query(query).await.map_err(failed)?;
    let others: Vec<(TableName, Visibility)> = rows
        .into_iter()
        .map(|(namespace, name, engine)| (TableName::new(namespace, name), visibility(&engine)))
        .filter(|(table, visibility)| *visibility != Visibility::Commit && selection.matches(table))
        .collect();
    if others.is_empty() {
        return Ok(Vec::new());
    }
    // Whole columns only, none of them nullable: what tells every row from every other.
    let query = format!(
        "SELECT DISTINCT table_schema, table_name FROM (SELECT table_schema, table_name, index_name \
         FROM information_schema.statistics WHERE table_schema {scope} AND non_unique = 0 \
         GROUP BY table_schema, table_name, index_name \
         HAVING SUM(nullable = 'YES' OR sub_part IS NOT NULL OR column_name IS NULL) = 0) AS unique_keys"
    );
    let rows: Vec<(String, String)> = conn.query(query).await.map_err(failed)?;
    let with_key = rows.into_iter().map(|(namespace, name)| TableName::new(namespace, name)).collect();
    Ok(judge(&others, &with_key))
}

fn judge(others: &[(TableName, Visibility)], with_key: &HashSet<TableName>) -> Vec<Finding> {
    let of = |wanted: Visibility, keyed: Option<bool>| {
        let chosen = others.iter().filter(|(table, visibility)| {
            *visibility == wanted && keyed.is_none_or(|keyed| keyed == with_key.contains(table))
        });
        chosen.map(|(table, _)| table).collect::<Vec<_>>()
    };
    let judgements = [
        (
            Severity::Warning,
            of(Visibility::Statement, Some(true)),
            "not transactional: a crash of the source, or a statement that fails halfway, can leave its rows and its \
             log different",
            "ALTER TABLE … ENGINE = InnoDB",
        ),
        (
            Severity::Failed,
            of(Visibility::Statement, Some(false)),
            "neither transactional nor with a key that tells rows apart: a row can be seen before it is logged, and \
             would be there twice",
            "add a primary key, ALTER TABLE … ENGINE = InnoDB, exclude the table, or migrate with --mode offline",
        ),
        (
            Severity::Failed,
            of(Visibility::Elsewhere, None),
            "of a storage engine whose rows can change without this server's log knowing",
            "exclude the table, or migrate with --mode offline",
        ),
    ];
    let told = judgements.into_iter().filter(|(_, tables, ..)| !tables.is_empty());
    told.map(|(severity, tables, what, fix)| {
        finding(severity, "tables", format!("{}: {what}", list(&tables)), Some(fix))
    })
    .collect()
}

fn list(tables: &[&TableName]) -> String {
    let names: Vec<String> = tables.iter().take(NAMED).map(ToString::to_string).collect();
    let names = names.join(", ");
    match tables.len().saturating_sub(NAMED) {
        0 => names,
        more => format!("{names} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_judged_by_engine_and_key() {
        let table = |name: &str| TableName::new("shop", name);
        let others: Vec<(TableName, Visibility)> =
            [("log", "Aria"), ("cart", "MyISAM"), ("view", "MRG_MyISAM"), ("far", "SPIDER")]
                .map(|(name, engine)| (table(name), visibility(engine)))
                .into();
        let findings = judge(&others, &[table("cart"), table("far")].into());
        let told: Vec<(Severity, &str)> = findings
            .iter()
            .map(|finding| (finding.severity, finding.message.split(':').next().unwrap_or_default()))
            .collect();
        assert_eq!(
            told,
            [
                (Severity::Warning, "shop.cart"),
                (Severity::Failed, "shop.log"),
                (Severity::Failed, "shop.view, shop.far")
            ]
        );
        assert_eq!(visibility("InnoDB"), Visibility::Commit);
    }

    #[test]
    fn a_long_list_is_cut() {
        let tables: Vec<TableName> =
            (0..12).map(|number| TableName::new("shop", format!("t{number}"))).collect();
        let text = list(&tables.iter().collect::<Vec<_>>());
        assert!(text.ends_with("shop.t9 and 2 more"), "{text}");
    }
}
