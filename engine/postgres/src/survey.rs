//! What is worth knowing of a target before a task begins, and doesn't stand in its way.

use engine_core::Result;
use engine_core::finding::{Finding, Severity};
use engine_core::plan::TargetTable;
use engine_core::survey::Needs;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio_postgres::Client;

use crate::dialect::Dialect;
use crate::existing::has_record;
use crate::failure::translate;
use crate::identifier::fit;

/// Names that a finding lists.
const NAMED: usize = 10;

fn finding(severity: Severity, subject: &str, message: impl Into<String>, fix: Option<&str>) -> Finding {
    Finding {
        severity,
        subject: format!("target {subject}"),
        message: message.into(),
        fix: fix.map(str::to_owned),
    }
}

/// Looks around.
pub(crate) async fn run(
    client: &Client,
    dialect: Dialect,
    task: &str,
    tables: &[Arc<TargetTable>],
    needs: &Needs,
) -> Result<Vec<Finding>> {
    let mut findings = vec![contents(client, task, needs).await?, connections(client, dialect, needs).await?];
    findings.push(locale(client).await?);
    findings.extend(event_triggers(client).await?);
    findings.extend(table_triggers(client, tables).await?);
    findings.push(names(client, tables).await?);
    Ok(findings)
}

/// The least object identifier that a server does not give out when it is set up (`FirstNormalObjectId`).
const FIRST_OF_USERS: u32 = 16_384;

/// What is in the database, and what will come.
async fn contents(client: &Client, task: &str, needs: &Needs) -> Result<Finding> {
    let failed = |error| translate(error, "the target's tables can't be counted");
    let others = if has_record(client, "owned_table").await.map_err(failed)? {
        "NOT EXISTS (SELECT 1 FROM _migration.owned_table o \
         WHERE o.namespace = n.nspname AND o.name = c.relname AND o.task = $1)"
    } else {
        // The task's name, unused, keeps the parameters the same.
        "$1::text IS NOT NULL"
    };
    let row = client
        .query_one(
            &format!(
                "SELECT count(*), pg_catalog.pg_size_pretty(pg_catalog.pg_database_size(pg_catalog.current_database())) \
                 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                 WHERE c.relkind IN ('r', 'p') AND n.nspname <> 'information_schema' AND n.nspname <> '_migration' \
                 AND n.nspname NOT LIKE 'pg\\_%' AND {others} \
                 AND c.oid >= {FIRST_OF_USERS} AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend e \
                     WHERE e.classid = 'pg_catalog.pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')"
            ),
            &[&task],
        )
        .await
        .map_err(failed)?;
    let (tables, size): (i64, String) = (row.get(0), row.get(1));
    let there = match tables {
        0 => format!("no other tables, {size}"),
        tables => format!("{tables} other tables, {size}; they stay as they are"),
    };
    // The server does not tell how much room its disk has left.
    let come = needs.bytes.map(|bytes| {
        let megabytes = bytes.div_ceil(1_000_000);
        format!(
            "; about {megabytes} MB of data come, with indexes and log perhaps {} MB: see that the disk has room",
            megabytes * 3
        )
    });
    let message = format!("{there}{}", come.unwrap_or_default());
    Ok(finding(if tables == 0 { Severity::Pass } else { Severity::Note }, "contents", message, None))
}

async fn connections(client: &Client, dialect: Dialect, needs: &Needs) -> Result<Finding> {
    // openGauss does not say which of its threads serve clients; only those have a port on the other side.
    let (of_clients, reserved) = match dialect {
        Dialect::Postgres => ("backend_type = 'client backend'", "superuser_reserved_connections"),
        Dialect::OpenGauss(_) => ("client_port IS NOT NULL", "sysadmin_reserved_connections"),
    };
    let row = client
        .query_one(
            &format!(
                "SELECT pg_catalog.current_setting('max_connections')::int8 - CASE WHEN r.rolsuper THEN 0 ELSE \
                        COALESCE((SELECT s.setting::int8 FROM pg_catalog.pg_settings s \
                                  WHERE s.name = '{reserved}'), 0) END, \
                        (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE {of_clients}), \
                        NULLIF(r.rolconnlimit, -1)::int8, NULLIF(d.datconnlimit, -1)::int8 \
                 FROM pg_catalog.pg_roles r, pg_catalog.pg_database d \
                 WHERE r.rolname = current_user AND d.datname = pg_catalog.current_database()"
            ),
            &[],
        )
        .await
        .map_err(|error| translate(error, "the target's limits can't be read"))?;
    let (most, used): (i64, i64) = (row.get(0), row.get(1));
    let limits: [Option<i64>; 2] = [row.get(2), row.get(3)];
    let limit = limits.into_iter().flatten().min().unwrap_or(i64::MAX);
    let free = (most - used).min(limit).max(0) as u64;
    let message = format!("{used} of {most} are in use, the task takes up to {}", needs.connections);
    Ok(if free < needs.connections {
        let fix = "raise max_connections (or the limit of the role or database), or run with a smaller --parallelism";
        finding(Severity::Warning, "connections", format!("{message}, and {free} are free"), Some(fix))
    } else {
        finding(Severity::Pass, "connections", message, None)
    })
}

async fn locale(client: &Client) -> Result<Finding> {
    let row = client
        .query_one(
            "SELECT d.datcollate::text, pg_catalog.current_setting('TimeZone') FROM pg_catalog.pg_database d \
             WHERE d.datname = pg_catalog.current_database()",
            &[],
        )
        .await
        .map_err(|error| translate(error, "the target's locale can't be read"))?;
    let (collation, zone): (String, String) = (row.get(0), row.get(1));
    let message = format!(
        "text is sorted and compared by {collation}, not by the source's collations; TimeZone is {zone}"
    );
    Ok(finding(Severity::Note, "locale", message, None))
}

async fn event_triggers(client: &Client) -> Result<Option<Finding>> {
    // openGauss has them since version 6.
    let catalog = client
        .query_opt(
            "SELECT 1 FROM pg_catalog.pg_class WHERE relname = 'pg_event_trigger' AND relkind = 'r'",
            &[],
        )
        .await
        .map_err(|error| translate(error, "the target's event triggers can't be read"))?;
    if catalog.is_none() {
        return Ok(None);
    }
    let row = client
        .query_one(
            "SELECT pg_catalog.string_agg(evtname::text, ', ' ORDER BY evtname) FROM pg_catalog.pg_event_trigger \
             WHERE evtenabled <> 'D'",
            &[],
        )
        .await
        .map_err(|error| translate(error, "the target's event triggers can't be read"))?;
    let names: Option<String> = row.get(0);
    Ok(names.map(|names| {
        finding(
            Severity::Warning,
            "event triggers",
            format!("{names}: they act on the tables and indexes that the task creates"),
            Some("ALTER EVENT TRIGGER … DISABLE while the task runs, unless they are meant to"),
        )
    }))
}

/// Triggers on tables of the task that an earlier run created.
async fn table_triggers(client: &Client, tables: &[Arc<TargetTable>]) -> Result<Option<Finding>> {
    let namespaces: Vec<String> = tables.iter().map(|table| fit(&table.name.namespace)).collect();
    let names: Vec<String> = tables.iter().map(|table| fit(&table.name.name)).collect();
    let rows = client
        .query(
            "SELECT n.nspname || '.' || c.relname || ' ' || t.tgname FROM pg_catalog.pg_trigger t \
             JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             JOIN (SELECT unnest($1::text[]) AS namespace, unnest($2::text[]) AS name) AS w \
               ON w.namespace = n.nspname AND w.name = c.relname \
             WHERE NOT t.tgisinternal ORDER BY 1",
            &[&namespaces, &names],
        )
        .await
        .map_err(|error| translate(error, "the target's triggers can't be read"))?;
    let names: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    Ok((!names.is_empty()).then(|| {
        let message = format!("{}; they are silent for what the engine writes", list(&names));
        finding(Severity::Note, "triggers", message, None)
    }))
}

/// Names that queries have to quote: reserved words, and those that are not in lower case.
async fn names(client: &Client, tables: &[Arc<TargetTable>]) -> Result<Finding> {
    let rows = client
        .query("SELECT word FROM pg_catalog.pg_get_keywords() WHERE catcode IN ('R', 'T')", &[])
        .await
        .map_err(|error| translate(error, "the target's reserved words can't be read"))?;
    let reserved: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
    let found = quoted(tables, &reserved);
    if found.is_empty() {
        return Ok(finding(Severity::Pass, "names", "none needs quoting", None));
    }
    let message = format!(
        "{} have to be quoted in queries: {}",
        found.len(),
        list(&found.into_iter().collect::<Vec<_>>())
    );
    Ok(finding(Severity::Note, "names", message, Some("give them other names in the plugin's configuration")))
}

fn quoted(tables: &[Arc<TargetTable>], reserved: &BTreeSet<String>) -> BTreeSet<String> {
    let is_plain = |name: &str| {
        let begins = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
        begins
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '$'))
            && !reserved.contains(name)
    };
    let mut found = BTreeSet::new();
    for table in tables {
        for name in [&table.name.namespace, &table.name.name] {
            if !is_plain(name) {
                found.insert(name.clone());
            }
        }
        for column in table.columns.iter().filter(|column| !is_plain(&column.name)) {
            found.insert(format!("{}.{}", table.name.name, column.name));
        }
    }
    found
}

fn list(names: &[String]) -> String {
    let listed = names.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => listed,
        more => format!("{listed} and {more} more"),
    }
}
