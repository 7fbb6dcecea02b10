//! Whether the tables of the selection can be read and followed.

use engine_core::Result;
use engine_core::finding::{Finding, Severity};
use engine_core::schema::TableName;
use engine_core::selection::Selection;
use std::collections::BTreeSet;
use tokio_postgres::Client;

use super::facts::Facts;
use super::{finding, list};
use crate::failure::translate;
use crate::family::Family;
use crate::identifier::quote;
use crate::source::catalog::full_identity;
use crate::source::chunk::relation as quoted;

/// Tables whose replica identity is told of one by one.
const TOLD: usize = 50;

/// What a table is to the server and to the account.
#[derive(Debug, Clone)]
pub(super) struct Table {
    name: TableName,
    kind: Kind,
    is_unlogged: bool,
    identity: Identity,
    /// A primary key that its replica identity can be.
    has_key: bool,
    /// Unique keys that are not its replica identity.
    other_keys: Vec<String>,
    /// Columns whose values may be stored out of line.
    large: Vec<String>,
    may_use_schema: bool,
    may_read: bool,
    /// Policies apply to what the account reads.
    hides_rows: bool,
    owner: String,
    /// The account is the owner, or a member of it.
    is_owned: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Foreign,
    /// With all its partitions, which are no tables of their own here.
    Partitioned,
    /// Parent or child.
    Inheritance,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Identity {
    Default,
    Nothing,
    Full,
    Index,
}

/// Reads the tables of the selection. Temporary ones are their session's own.
pub(super) async fn read(client: &Client, family: Family, selection: &Selection) -> Result<Vec<Table>> {
    let (kind, hides_rows, tables) = match family {
        Family::PostgreSql => (
            "c.relkind::text",
            "pg_catalog.row_security_active(c.oid)",
            "c.relkind IN ('r', 'p', 'f') AND NOT c.relispartition AND c.relpersistence <> 't'".to_owned(),
        ),
        Family::OpenGauss => (
            "CASE WHEN c.parttype <> 'n' THEN 'p' ELSE c.relkind::text END",
            "coalesce(pg_catalog.array_to_string(c.reloptions, ',') LIKE '%enable_rowsecurity=true%', false) \
             AND NOT pg_catalog.pg_has_role(c.relowner, 'USAGE')",
            format!("({} OR c.relkind = 'f')", family.tables()),
        ),
    };
    let query = format!(
        "SELECT n.nspname::text, c.relname::text, {kind}, \
         EXISTS (SELECT 1 FROM pg_catalog.pg_inherits i WHERE c.oid IN (i.inhrelid, i.inhparent)), \
         c.relpersistence = 'u', c.relreplident::text, \
         EXISTS (SELECT 1 FROM pg_catalog.pg_index x WHERE x.indrelid = c.oid AND x.indisprimary AND x.indimmediate), \
         pg_catalog.has_schema_privilege(n.oid, 'USAGE'), pg_catalog.has_table_privilege(c.oid, 'SELECT'), \
         {hides_rows}, pg_catalog.pg_get_userbyid(c.relowner)::text, \
         pg_catalog.pg_has_role(c.relowner, 'USAGE'), \
         ARRAY(SELECT k.relname::text FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class k ON k.oid = x.indexrelid \
               WHERE x.indrelid = c.oid AND x.indisunique AND NOT x.indisreplident \
               AND NOT (x.indisprimary AND c.relreplident = 'd') ORDER BY 1), \
         ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 \
               AND NOT a.attisdropped AND a.attlen = -1 AND a.attstorage <> 'p' ORDER BY a.attnum) \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE {tables} AND {} ORDER BY 1, 2",
        family.user_schemas()
    );
    let rows = client
        .query(&query, &[])
        .await
        .map_err(|error| translate(error, "the source's tables can't be listed"))?;
    let tables = rows.iter().map(|row| Table {
        name: TableName::new(row.get::<_, String>(0), row.get::<_, String>(1)),
        kind: match (row.get(2), row.get(3)) {
            ("f", _) => Kind::Foreign,
            ("p", _) => Kind::Partitioned,
            (_, true) => Kind::Inheritance,
            _ => Kind::Plain,
        },
        is_unlogged: row.get(4),
        identity: match row.get(5) {
            "f" => Identity::Full,
            "n" => Identity::Nothing,
            "i" => Identity::Index,
            _ => Identity::Default,
        },
        has_key: row.get(6),
        may_use_schema: row.get(7),
        may_read: row.get(8),
        hides_rows: row.get(9),
        owner: row.get(10),
        is_owned: row.get(11),
        other_keys: row.get(12),
        large: row.get(13),
    });
    Ok(tables.filter(|table| selection.matches(&table.name)).collect())
}

/// Tables that the account can't read, or not every row of.
pub(super) fn readable(facts: &Facts, tables: &[Table]) -> Vec<Finding> {
    let account = quote(&facts.account);
    let closed: BTreeSet<_> =
        tables.iter().filter(|table| !table.may_use_schema).map(|table| &table.name.namespace).collect();
    let mut findings: Vec<_> = closed
        .into_iter()
        .map(|schema| {
            let fix = format!("GRANT USAGE ON SCHEMA {} TO {account}", quote(schema));
            let message = format!("the account may not use the schema {schema}");
            finding(Severity::Failed, "privileges", message, Some(&fix))
        })
        .collect();
    for table in tables.iter().filter(|table| !table.may_read && table.kind != Kind::Foreign) {
        let fix = format!("GRANT SELECT ON {} TO {account}", quoted(&table.name));
        let message = format!("the account may not read {}", table.name);
        findings.push(finding(Severity::Failed, "privileges", message, Some(&fix)));
    }
    let hidden: Vec<_> = tables.iter().filter(|table| table.hides_rows).map(|table| &table.name).collect();
    if !hidden.is_empty() {
        let message = format!("{}: row security may hide rows from the account", list(&hidden));
        let fix = format!("ALTER ROLE {account} BYPASSRLS (as a superuser), or exclude the tables");
        findings.push(finding(Severity::Failed, "row security", message, Some(&fix)));
    }
    if findings.is_empty() {
        let message = format!("{} tables are readable", tables.len());
        findings.push(finding(Severity::Pass, "privileges", message, None));
    }
    findings
}

/// Tables that are more, or less, than rows of their own.
pub(super) fn kinds(family: Family, tables: &[Table], online: bool) -> Vec<Finding> {
    let partitioned = if online && family.is_opengauss() {
        // By the table's name, its stream has what is done to rows, and not what is done to partitions.
        (
            Severity::Failed,
            "partitioned: what empties, drops or detaches a partition is not in the stream, so that its rows would \
             stay in the target",
            Some("exclude them, or migrate with --mode offline"),
        )
    } else if online {
        (
            Severity::Note,
            "partitioned; each is carried over as one table. Partitions may be made meanwhile, and each needs its own \
             REPLICA IDENTITY FULL; one that is attached with rows, detached, dropped or truncated stops the task",
            None,
        )
    } else {
        (Severity::Note, "partitioned; each is carried over as one table", None)
    };
    let judgements = [
        (
            Kind::Foreign,
            (
                Severity::Warning,
                "foreign tables, which are not carried over: their rows are on another server",
                Some("migrate them from where they are"),
            ),
        ),
        (Kind::Partitioned, partitioned),
        (
            Kind::Inheritance,
            (
                Severity::Failed,
                "inherit from tables or are inherited from, which this version does not carry over: a row of a \
                 child is one of its parent too",
                Some("exclude them, or ALTER TABLE … NO INHERIT …"),
            ),
        ),
    ];
    let told = judgements.into_iter().filter_map(|(kind, (severity, what, fix))| {
        let of_kind: Vec<_> =
            tables.iter().filter(|table| table.kind == kind).map(|table| &table.name).collect();
        (!of_kind.is_empty()).then(|| finding(severity, "tables", format!("{}: {what}", list(&of_kind)), fix))
    });
    told.collect()
}

/// Tables whose changes are in no log.
pub(super) fn logged(tables: &[Table]) -> Option<Finding> {
    let unlogged: Vec<_> = tables.iter().filter(|table| table.is_unlogged).map(|table| &table.name).collect();
    let first = unlogged.first()?;
    let fix = format!(
        "ALTER TABLE {} SET LOGGED, and so for each; or exclude them, or migrate with --mode offline",
        quoted(first)
    );
    Some(finding(
        Severity::Failed,
        "tables",
        format!("{}: unlogged, so that no change of theirs is in the log", list(&unlogged)),
        Some(&fix),
    ))
}

/// Tables that are logged without the rows of before, with the statement that mends each.
pub(super) fn identities(tables: &[Table]) -> Vec<Finding> {
    let followed: Vec<_> = tables.iter().filter(|table| table.kind == Kind::Plain).collect();
    let wanting: Vec<_> = followed.iter().filter(|table| table.identity != Identity::Full).copied().collect();
    if wanting.is_empty() {
        let message = format!("FULL for {} tables", followed.len());
        return vec![finding(Severity::Pass, "replica identity", message, None)];
    }
    let mut findings: Vec<_> = wanting.iter().take(TOLD).map(|table| identity(table)).collect();
    if let Some(more) = wanting.len().checked_sub(TOLD).filter(|&more| more > 0) {
        let fix = "SELECT format('ALTER TABLE %s REPLICA IDENTITY FULL', oid::regclass) FROM pg_class \
                   WHERE relkind = 'r' AND relreplident <> 'f' AND relpersistence = 'p' AND relnamespace = '…'::regnamespace \
                   writes such a statement for each table of a schema; \\gexec of psql runs them";
        let message = format!("{more} more tables have another replica identity than FULL");
        findings.push(finding(Severity::Failed, "replica identity", message, Some(fix)));
    }
    findings
}

fn identity(table: &Table) -> Finding {
    let is = match table.identity {
        Identity::Nothing => "nothing",
        Identity::Index => "an index",
        Identity::Default if table.has_key => "its primary key",
        Identity::Default | Identity::Full => "the primary key, and there is none",
    };
    let mut lacking = Vec::new();
    if !table.other_keys.is_empty() {
        lacking.push(format!("old values of other unique keys ({})", list(&table.other_keys)));
    }
    if !table.large.is_empty() {
        lacking.push(format!("large values that a change leaves alone ({})", list(&table.large)));
    }
    lacking.push("what the row was, which filters and a check beside the task go by".to_owned());
    let mut message =
        format!("its replica identity is {is}, must be FULL: else the log lacks {}", lacking.join(", and "));
    // The server refuses such statements once the table is in a publication.
    if table.identity == Identity::Nothing || (table.identity == Identity::Default && !table.has_key) {
        message.push_str("; and UPDATE and DELETE would fail on the source once its changes are followed");
    }
    Finding {
        severity: Severity::Failed,
        subject: table.name.to_string(),
        message,
        fix: Some(full_identity(&table.name)),
    }
}

/// Tables that the account can't put into a publication: only their owner can.
pub(super) fn owners(facts: &Facts, tables: &[Table]) -> Vec<Finding> {
    let is_published = |table: &&Table| matches!(table.kind, Kind::Plain | Kind::Partitioned);
    let foreign: Vec<_> = tables.iter().filter(is_published).filter(|table| !table.is_owned).collect();
    let owners: BTreeSet<_> = foreign.iter().map(|table| table.owner.as_str()).collect();
    owners
        .into_iter()
        .map(|owner| {
            let of_owner: Vec<_> =
                foreign.iter().filter(|table| table.owner == owner).map(|table| &table.name).collect();
            let message =
                format!("{}: owned by {owner}, and only an owner can publish a table", list(&of_owner));
            let fix = format!(
                "GRANT {} TO {}, or give them an owner that the account is a member of",
                quote(owner),
                quote(&facts.account)
            );
            finding(Severity::Failed, "privileges", message, Some(&fix))
        })
        .collect()
}

#[cfg(test)]
mod tests;
