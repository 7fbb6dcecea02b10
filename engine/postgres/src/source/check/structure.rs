//! What tables have that no plan speaks of, and so stays behind or becomes less strict: a warning for each kind
//! and table.

use engine_core::Result;
use engine_core::finding::{Finding, Severity};
use engine_core::schema::TableName;
use engine_core::selection::Selection;
use std::collections::BTreeMap;
use tokio_postgres::Client;

use crate::failure::translate;
use crate::family::Family;
use crate::source::catalog::{carried_foreign_key, carried_index};

/// Of what, and what of it, is found where. A query answers schema, table and description.
struct Kind {
    /// What it is, and what becomes of it.
    message: &'static str,
    query: String,
}

const ALTER: &str = "alter the target's table once it is complete";

/// What stays behind, by table and kind.
type Found = BTreeMap<(TableName, &'static str), Vec<String>>;

/// Looks for all of it in the selection.
pub(super) async fn left_behind(
    client: &Client,
    family: Family,
    selection: &Selection,
) -> Result<Vec<Finding>> {
    let mut found = Found::new();
    for kind in kinds(family) {
        let query =
            format!("{} AND {} AND {} ORDER BY 1, 2, 3", kind.query, family.tables(), family.user_schemas());
        let rows = client.query(&query, &[]).await.map_err(|error| {
            translate(error, "what belongs to the source's tables can't be listed").at("kind", kind.message)
        })?;
        for row in &rows {
            let table = TableName::new(row.get::<_, &str>(0), row.get::<_, &str>(1));
            if selection.matches(&table) {
                found.entry((table, kind.message)).or_default().push(row.get(2));
            }
        }
    }
    Ok(told(found))
}

fn told(found: Found) -> Vec<Finding> {
    found
        .into_iter()
        .map(|((table, message), what)| Finding {
            severity: Severity::Warning,
            subject: table.to_string(),
            message: format!("{message}: {}", what.join("; ")),
            fix: Some(ALTER.to_owned()),
        })
        .collect()
}

/// Of constraints `k` of tables `c`.
fn constraints(what: &str, which: &str) -> String {
    format!(
        "SELECT n.nspname::text, c.relname::text, {what} FROM pg_catalog.pg_constraint k \
         JOIN pg_catalog.pg_class c ON c.oid = k.conrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE {which}"
    )
}

/// Of indexes `i`, called `x`, of tables `c`.
fn indexes(what: &str, which: &str) -> String {
    format!(
        "SELECT n.nspname::text, c.relname::text, {what} FROM pg_catalog.pg_index i \
         JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid JOIN pg_catalog.pg_am a ON a.oid = x.relam \
         JOIN pg_catalog.pg_class c ON c.oid = i.indrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE {which}"
    )
}

/// Of columns `v` of tables `c`.
fn columns(what: &str, join: &str, which: &str) -> String {
    format!(
        "SELECT n.nspname::text, c.relname::text, {what} FROM pg_catalog.pg_attribute v \
         JOIN pg_catalog.pg_class c ON c.oid = v.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         {join} WHERE v.attnum > 0 AND NOT v.attisdropped AND {which}"
    )
}

const DEFINED: &str = "k.conname || ' ' || pg_catalog.pg_get_constraintdef(k.oid)";

fn kinds(family: Family) -> Vec<Kind> {
    let kind = |message, query| Kind { message, query };
    let own = family.own_foreign_key();
    let mut kinds = vec![
        kind("its CHECK constraints are not carried over", constraints(DEFINED, "k.contype = 'c'")),
        kind(
            "the constraints of its columns' domains are not carried over",
            columns(
                "pg_catalog.concat(v.attname, ' ', pg_catalog.format_type(d.oid, NULL), \
                 CASE WHEN d.typnotnull THEN ' NOT NULL' END, ' DEFAULT ' || d.typdefault, ' ' || \
                 (SELECT pg_catalog.string_agg(pg_catalog.pg_get_constraintdef(k.oid), ' ' ORDER BY k.conname) \
                  FROM pg_catalog.pg_constraint k WHERE k.contypid = d.oid AND k.contype = 'c'))",
                "JOIN pg_catalog.pg_type d ON d.oid = v.atttypid",
                "d.typtype = 'd' AND (d.typnotnull OR d.typdefault IS NOT NULL \
                 OR EXISTS (SELECT 1 FROM pg_catalog.pg_constraint k WHERE k.contypid = d.oid))",
            ),
        ),
        kind("its exclusion constraints are not carried over", constraints(DEFINED, "k.contype = 'x'")),
        kind(
            "its foreign keys that were never validated are not carried over",
            constraints(
                DEFINED,
                &format!("k.contype = 'f' AND {own} AND NOT {}", carried_foreign_key(family)),
            ),
        ),
        kind(
            "its deferrable foreign keys are checked at once in the target, not at the end of a transaction",
            constraints(
                "k.conname::text",
                &format!("k.contype = 'f' AND k.condeferrable AND {own} AND {}", carried_foreign_key(family)),
            ),
        ),
        kind(
            "MATCH FULL is not carried over: the target takes a row of which some columns of the key are NULL",
            constraints(
                "k.conname::text",
                &format!(
                    "k.contype = 'f' AND k.confmatchtype = 'f' AND pg_catalog.array_length(k.conkey, 1) > 1 \
                     AND {own} AND {}",
                    carried_foreign_key(family)
                ),
            ),
        ),
        kind(
            "its deferrable keys become ordinary indexes, so that the target takes equal rows",
            constraints(DEFINED, "k.contype IN ('p', 'u') AND k.condeferrable"),
        ),
        kind(
            "its indexes that are partial, no trees, over whole documents or arrays, or invalid are not carried over",
            indexes(
                "pg_catalog.substr(pg_catalog.pg_get_indexdef(i.indexrelid), 8)",
                &format!("NOT {} AND NOT i.indisexclusion", carried_index(family)),
            ),
        ),
        kind(
            "the columns that its indexes only INCLUDE are not carried over",
            indexes("x.relname::text", &format!("i.indnatts > i.indnkeyatts AND {}", carried_index(family))),
        ),
    ];
    if family == Family::PostgreSql {
        kinds.extend([
            kind(
                "NULLS NOT DISTINCT of its keys is not carried over: the target takes any number of NULLs",
                indexes(
                    "x.relname::text",
                    &format!(
                        "coalesce((pg_catalog.to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false) AND {}",
                        carried_index(family)
                    ),
                ),
            ),
            kind(
                "SET NULL of some columns of a foreign key becomes that of all",
                constraints(
                    DEFINED,
                    &format!(
                        "k.contype = 'f' AND pg_catalog.to_jsonb(k) ->> 'confdelsetcols' IS NOT NULL AND {own} AND {}",
                        carried_foreign_key(family)
                    ),
                ),
            ),
            kind(
                "texts that these columns take for equal are not equal in the target",
                columns(
                    "v.attname || ' COLLATE ' || l.collname",
                    "JOIN pg_catalog.pg_collation l ON l.oid = v.attcollation",
                    "NOT l.collisdeterministic",
                ),
            ),
            kind(
                "how its sequences count is not carried over: the target goes on by ones",
                columns(
                    "pg_catalog.concat(v.attname, ' INCREMENT BY ', s.seqincrement, \
                     CASE WHEN s.seqcycle THEN ' CYCLE' END)",
                    "JOIN pg_catalog.pg_depend o ON o.refclassid = 'pg_catalog.pg_class'::regclass \
                     AND o.refobjid = v.attrelid AND o.refobjsubid = v.attnum \
                     AND o.classid = 'pg_catalog.pg_class'::regclass AND o.deptype IN ('a', 'i') \
                     JOIN pg_catalog.pg_sequence s ON s.seqrelid = o.objid",
                    "(s.seqincrement <> 1 OR s.seqcycle)",
                ),
            ),
            kind(
                "its policies of row security are not carried over: accounts of the target see every row",
                "SELECT n.nspname::text, c.relname::text, p.polname::text FROM pg_catalog.pg_policy p \
                 JOIN pg_catalog.pg_class c ON c.oid = p.polrelid \
                 JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE true"
                    .to_owned(),
            ),
        ]);
    }
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_told_of_once_for_each_kind() {
        let table = || TableName::new("shop", "orders");
        let found = Found::from([
            ((table(), "its gates are shut"), vec!["a".to_owned(), "b".to_owned()]),
            ((table(), "its locks are gone"), vec!["c".to_owned()]),
        ]);
        let told: Vec<String> = told(found).iter().map(ToString::to_string).collect();
        let expected =
            ["warning: shop.orders: its gates are shut: a; b", "warning: shop.orders: its locks are gone: c"];
        assert_eq!(told, expected.map(|said| format!("{said}; {ALTER}")));
    }
}
