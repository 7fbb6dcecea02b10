//! Objects of the selection that aren't tables, and so stay behind.

use engine_core::Result;
use engine_core::finding::{Finding, Severity};
use engine_core::schema::TableName;
use engine_core::selection::Selection;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::finding;
use crate::error::server_error;

/// Names that a finding lists.
const NAMED: usize = 10;

/// A kind of object: what a finding calls it, where it is listed, what becomes of doing without.
const KINDS: [(&str, &str, &str); 4] = [
    (
        "views",
        "SELECT table_schema, table_name, table_name FROM information_schema.views WHERE table_schema",
        "queries that read them fail on the target",
    ),
    (
        "triggers",
        "SELECT trigger_schema, trigger_name, event_object_table FROM information_schema.triggers \
         WHERE trigger_schema",
        "what they do on the source arrives with the data; after the switch nothing does it",
    ),
    (
        "routines",
        "SELECT routine_schema, routine_name, routine_name FROM information_schema.routines WHERE routine_schema",
        "calls of them fail on the target",
    ),
    (
        "events",
        "SELECT event_schema, event_name, event_name FROM information_schema.events WHERE event_schema",
        "nothing runs them after the switch, and the source goes on doing so",
    ),
];

/// Sequences of `MariaDB`, which are tables to `information_schema`.
const SEQUENCES: &str = "SELECT table_schema, table_name FROM information_schema.tables \
                         WHERE table_type = 'SEQUENCE' AND table_schema";

/// A warning when there are sequences: no task carries any, whatever becomes of other objects.
pub(super) async fn sequences(
    conn: &mut Conn,
    selection: &Selection,
    scope: &str,
) -> Result<Option<Finding>> {
    let rows: Vec<(String, String)> = conn
        .query(format!("{SEQUENCES} {scope} ORDER BY 1, 2"))
        .await
        .map_err(|error| server_error("the source's sequences can't be listed", error))?;
    let sequences = rows.into_iter().map(|(namespace, name)| TableName::new(namespace, name));
    let names: Vec<String> =
        sequences.filter(|name| selection.matches(name)).map(|name| name.to_string()).collect();
    let consequence =
        "a column whose default takes numbers from one can be made only where it is there already";
    Ok(judge("sequences", &names, consequence).map(|finding| Finding {
        fix: Some(
            "create them in the target before the run, as SHOW CREATE SEQUENCE prints them, and have them go on after \
             the cut-over: ALTER SEQUENCE … RESTART WITH the source's next_not_cached_value"
                .to_owned(),
        ),
        ..finding
    }))
}

/// A warning for each kind of which there are some.
pub(super) async fn left_behind(conn: &mut Conn, selection: &Selection, scope: &str) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (kind, query, consequence) in KINDS {
        let rows: Vec<(String, String, String)> = conn
            .query(format!("{query} {scope} ORDER BY 1, 2"))
            .await
            .map_err(|error| server_error(format!("the source's {kind} can't be listed"), error))?;
        let names: Vec<String> = rows
            .into_iter()
            .filter(|(namespace, _, table)| {
                // Routines and events belong to a database; --include and --exclude are about tables.
                let of_table = matches!(kind, "views" | "triggers");
                !of_table || selection.matches(&TableName::new(namespace.as_str(), table.as_str()))
            })
            .map(|(namespace, name, _)| format!("{namespace}.{name}"))
            .collect();
        findings.extend(judge(kind, &names, consequence));
    }
    if findings.is_empty() {
        let none = "no views, triggers, routines or events";
        findings.push(finding(Severity::Pass, "objects", none, None));
    }
    Ok(findings)
}

fn judge(kind: &str, names: &[String], consequence: &str) -> Option<Finding> {
    let listed = names.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = match names.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (!names.is_empty()).then(|| {
        finding(
            Severity::Warning,
            kind,
            format!("{} not moved: {listed}{more}; {consequence}", names.len()),
            Some("write them anew for the target"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_behind_is_named() {
        assert_eq!(judge("views", &[], "x"), None);
        let names: Vec<String> = (0..12).map(|number| format!("shop.v{number}")).collect();
        let found = judge("views", &names, "queries fail").expect("there are some");
        assert_eq!(found.severity, Severity::Warning);
        assert!(
            found.message.starts_with("12 not moved: shop.v0, ")
                && found.message.contains("shop.v9 and 2 more; ")
        );
    }
}
