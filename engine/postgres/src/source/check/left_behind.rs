//! Objects of the source that aren't tables, and so stay behind.

use engine_core::Result;
use engine_core::finding::{Finding, Severity};
use engine_core::schema::TableName;
use engine_core::selection::Selection;
use tokio_postgres::Client;

use super::{finding, list};
use crate::failure::translate;
use crate::family::Family;

/// What belongs to an extension comes with it; `{class}` and `{oid}` say what of.
const NOT_OF_AN_EXTENSION: &str = "NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend e WHERE e.deptype = 'e' \
    AND e.classid = '{class}'::regclass AND e.objid = {oid})";

/// A kind of object: what a finding calls it, how it is found (schema, name, and the table that patterns
/// are held against, if it has one), what becomes of doing without.
struct Kind {
    name: &'static str,
    query: &'static str,
    class: &'static str,
    oid: &'static str,
    consequence: &'static str,
}

const KINDS: [Kind; 5] = [
    Kind {
        name: "views",
        query: "SELECT n.nspname::text, c.relname::text, c.relname::text FROM pg_catalog.pg_class c \
                JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('v', 'm')",
        class: "pg_class",
        oid: "c.oid",
        consequence: "queries that read them fail on the target",
    },
    Kind {
        name: "triggers",
        query: "SELECT n.nspname::text, t.tgname::text, c.relname::text FROM pg_catalog.pg_trigger t \
                JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                WHERE NOT t.tgisinternal",
        class: "pg_trigger",
        oid: "t.oid",
        consequence: "what they do on the source arrives with the data; after the switch nothing does it",
    },
    Kind {
        name: "rules",
        query: "SELECT n.nspname::text, r.rulename::text, c.relname::text FROM pg_catalog.pg_rewrite r \
                JOIN pg_catalog.pg_class c ON c.oid = r.ev_class JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                WHERE c.relkind IN ('r', 'p')",
        class: "pg_rewrite",
        oid: "r.oid",
        consequence: "what they do on the source arrives with the data; after the switch nothing does it",
    },
    Kind {
        name: "routines",
        query: "SELECT n.nspname::text, p.proname::text, NULL::text FROM pg_catalog.pg_proc p \
                JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE true",
        class: "pg_proc",
        oid: "p.oid",
        consequence: "calls of them fail on the target",
    },
    Kind {
        name: "sequences of no column",
        query: "SELECT n.nspname::text, c.relname::text, NULL::text FROM pg_catalog.pg_class c \
                JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('S', 'L') \
                AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_class'::regclass \
                                AND d.objid = c.oid AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i'))",
        class: "pg_class",
        oid: "c.oid",
        consequence: "whoever takes numbers from them finds none on the target",
    },
];

/// A warning for each kind of which there are some.
pub(super) async fn check(client: &Client, family: Family, selection: &Selection) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for kind in KINDS {
        let own = NOT_OF_AN_EXTENSION.replace("{class}", kind.class).replace("{oid}", kind.oid);
        let query = format!("{} AND {own} AND {} ORDER BY 1, 2", kind.query, family.user_schemas());
        let rows = client
            .query(&query, &[])
            .await
            .map_err(|error| translate(error, format!("the source's {} can't be listed", kind.name)))?;
        let names: Vec<String> = rows
            .iter()
            .map(|row| (row.get::<_, &str>(0), row.get::<_, &str>(1), row.get::<_, Option<&str>>(2)))
            // --include and --exclude are about tables.
            .filter(|(schema, _, table)| {
                table.is_none_or(|table| selection.matches(&TableName::new(*schema, table)))
            })
            .map(|(schema, name, _)| format!("{schema}.{name}"))
            .collect();
        findings.extend(judge(kind.name, &names, kind.consequence));
    }
    if findings.is_empty() {
        let none = "no views, triggers, rules, routines or sequences of their own";
        findings.push(finding(Severity::Pass, "objects", none, None));
    }
    Ok(findings)
}

fn judge(kind: &str, names: &[String], consequence: &str) -> Option<Finding> {
    (!names.is_empty()).then(|| {
        let message = format!("{} not moved: {}; {consequence}", names.len(), list(names));
        finding(Severity::Warning, kind, message, Some("write them anew for the target"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_behind_is_named() {
        assert_eq!(judge("views", &[], "x"), None);
        let names: Vec<String> = (0..12).map(|number| format!("shop.v{number}")).collect();
        let finding = judge("views", &names, "nobody reads them").expect("a finding");
        assert_eq!(finding.severity, Severity::Warning);
        assert!(finding.message.starts_with("12 not moved: shop.v0, "), "{finding}");
        assert!(finding.message.ends_with("and 2 more; nobody reads them"), "{finding}");
    }
}
