//! Whether a server and an account can take what a plan asks for.

mod definition;

use engine_core::Result;
use engine_core::finding::{Finding, Severity};
use engine_core::plan::TargetTable;
use engine_core::schema::TableName;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::control::field;
use super::existing;
use super::failure::translate;
use super::foreign_key;
use super::layout::TableLayout;
use super::objects;
use super::privileges::{self, Privilege};
use super::session::Session;
use super::shared;
use crate::server::{Flavor, Server};
use crate::sql;

/// Smallest `max_allowed_packet` that no statement of the engine but one with a big row exceeds, in bytes.
const PACKET: u64 = 4 << 20;

fn finding(severity: Severity, subject: &str, message: impl Into<String>, fix: Option<String>) -> Finding {
    Finding { severity, subject: subject.to_owned(), message: message.into(), fix }
}

/// Everything that can be told before anything is written.
pub(super) async fn check(
    session: &mut Session,
    server: &Server,
    task: &str,
    tables: &[Arc<TargetTable>],
    online: bool,
) -> Result<Vec<Finding>> {
    let mut findings = vec![version(server)];
    findings.extend(types(server, tables));
    findings.extend(names(server, tables));
    findings.extend(definition::check(tables));
    findings.extend(foreign_key::check(tables));
    findings.extend(settings(session, tables).await?);
    findings.extend(foreign_tables(session, server, task, tables).await?);
    for table in tables.iter().filter(|table| table.is_shared()) {
        if let Some(error) = shared::disagreement(session, task, table).await? {
            let message = format!("{}: {}", error.what(), error.why().unwrap_or_default());
            let fix = error.remedy().map(str::to_owned);
            findings.push(finding(Severity::Failed, &table.name.to_string(), message, fix));
        }
    }
    findings.extend(privileges(session, tables).await?);
    if online {
        findings.extend(triggers(session, task, tables).await?);
    }
    Ok(findings)
}

fn version(server: &Server) -> Finding {
    let (name, oldest, newest, wanted) = match server.flavor {
        Flavor::MySql => ("MySQL", (8, 0), (9, 99), "use MySQL 8 or 9"),
        Flavor::MariaDb => ("MariaDB", (10, 6), (11, 99), "use MariaDB 10.6 to 11"),
    };
    let (major, minor, _) = server.version_number;
    let says = format!("{name} {}", server.version);
    if (major, minor) < oldest {
        finding(Severity::Failed, "target version", format!("{says} is too old"), Some(wanted.to_owned()))
    } else if (major, minor) > newest {
        finding(Severity::Warning, "target version", format!("{says} is newer than what was tested"), None)
    } else {
        finding(Severity::Pass, "target version", says, None)
    }
}

fn types(server: &Server, tables: &[Arc<TargetTable>]) -> Vec<Finding> {
    let refused = tables.iter().filter_map(|table| TableLayout::new(table, server.flavor).err());
    refused
        .map(|error| {
            let place: Vec<&str> = error
                .place()
                .iter()
                .filter(|(what, _)| matches!(*what, "table" | "column"))
                .map(|(_, value)| value.as_str())
                .collect();
            finding(
                Severity::Failed,
                &place.join("."),
                format!("{}: {}", error.what(), error.why().unwrap_or_default()),
                error.remedy().map(str::to_owned),
            )
        })
        .collect()
}

fn names(server: &Server, tables: &[Arc<TargetTable>]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut taken: HashMap<TableName, &TableName> = HashMap::new();
    for table in tables {
        let folded = existing::folded(&table.name, server.lower_case_table_names);
        if let Some(other) = taken.insert(folded.clone(), &table.name)
            && *other != table.name
        {
            findings.push(finding(
                Severity::Failed,
                &table.name.to_string(),
                format!("the target does not tell its name from {other} (lower_case_table_names)"),
                Some("give one of them another name in the plugin's configuration".to_owned()),
            ));
        } else if folded != table.name && server.lower_case_table_names == 1 {
            findings.push(finding(
                Severity::Note,
                &table.name.to_string(),
                format!("the target keeps names in lower case: it becomes {folded}"),
                None,
            ));
        }
        if ["mysql", "information_schema", "performance_schema", "sys", "_migration"]
            .contains(&table.name.namespace.as_str())
        {
            findings.push(finding(
                Severity::Failed,
                &table.name.to_string(),
                format!("the database {} belongs to the server or the engine", table.name.namespace),
                Some("map it to another database in the plugin's configuration".to_owned()),
            ));
        }
    }
    findings
}

async fn settings(session: &mut Session, tables: &[Arc<TargetTable>]) -> Result<Vec<Finding>> {
    let mut rows = session
        .query(
            "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('read_only', 'super_read_only', 'log_bin', \
             'binlog_format', 'innodb_flush_log_at_trx_commit', 'max_allowed_packet', \
             'sql_require_primary_key', 'innodb_force_primary_key')",
        )
        .await
        .map_err(|error| translate(error, "the target's settings can't be read"))?;
    let mut variables = HashMap::new();
    for row in &mut rows {
        variables.insert(field::<String>(row, 0)?, field::<String>(row, 1)?);
    }
    let value = |name: &str| variables.get(name).map_or("", String::as_str);
    let is_on = |name: &str| matches!(value(name), "ON" | "1");
    let mut findings = Vec::new();
    if is_on("read_only") || is_on("super_read_only") {
        findings.push(finding(
            Severity::Failed,
            "target read_only",
            "the server takes no writes: it is a replica, or was set so",
            Some("name the primary in the target URL, or SET GLOBAL read_only = OFF".to_owned()),
        ));
    }
    if is_on("log_bin") && value("binlog_format") == "STATEMENT" {
        findings.push(finding(
            Severity::Failed,
            "target binlog_format",
            "STATEMENT can't log the engine's transactions, which are READ COMMITTED",
            Some("SET GLOBAL binlog_format = ROW".to_owned()),
        ));
    }
    let flush = value("innodb_flush_log_at_trx_commit");
    findings.push(if flush == "1" {
        finding(Severity::Pass, "target innodb_flush_log_at_trx_commit", flush, None)
    } else {
        finding(
            Severity::Warning,
            "target innodb_flush_log_at_trx_commit",
            format!(
                "it is {flush}: a crash of the target loses its last commits; a task that is still running copies \
                 and applies them again, one that has ended does not"
            ),
            Some("SET GLOBAL innodb_flush_log_at_trx_commit = 1".to_owned()),
        )
    });
    let packet: u64 = value("max_allowed_packet").parse().unwrap_or(0);
    if packet < PACKET {
        findings.push(finding(
            Severity::Failed,
            "target max_allowed_packet",
            format!("{packet} bytes are fewer than a statement of the engine may have, {PACKET}"),
            Some("SET GLOBAL max_allowed_packet = 1073741824".to_owned()),
        ));
    }
    let keyless: Vec<String> =
        tables.iter().filter(|table| table.row_key.is_none()).map(|table| table.name.to_string()).collect();
    if (is_on("sql_require_primary_key") || is_on("innodb_force_primary_key")) && !keyless.is_empty() {
        findings.push(finding(
            Severity::Failed,
            "target sql_require_primary_key",
            format!("tables without a key can't be created: {}", keyless.join(", ")),
            Some("turn the setting off for the time of the migration, or exclude the tables".to_owned()),
        ));
    }
    Ok(findings)
}

async fn foreign_tables(
    session: &mut Session,
    server: &Server,
    task: &str,
    tables: &[Arc<TargetTable>],
) -> Result<Option<Finding>> {
    let mut foreign = existing::tables(session, task, tables, server.lower_case_table_names).await?;
    foreign.retain(|table| !table.is_own);
    foreign.sort();
    Ok((!foreign.is_empty()).then(|| {
        let message = format!("{}: {}", existing::NOT_OURS, existing::list(&foreign));
        finding(Severity::Failed, "target tables", message, Some(existing::WAY_OUT.to_owned()))
    }))
}

async fn privileges(session: &mut Session, tables: &[Arc<TargetTable>]) -> Result<Vec<Finding>> {
    let mut needs = BTreeMap::from([("_migration", BTreeSet::from(privileges::OF_RECORDS))]);
    for table in tables {
        let needed = needs.entry(table.name.namespace.as_str()).or_default();
        needed.extend(privileges::OF_TABLES);
        for key in &table.foreign_keys {
            needs.entry(&key.parent.namespace).or_default().insert(Privilege::References);
        }
    }
    let mut findings = privileges::lacking(session, &needs).await?;
    if findings.is_empty() {
        let databases: Vec<&str> = needs.into_keys().collect();
        findings.push(finding(
            Severity::Pass,
            "target privileges",
            format!(
                "tried: databases, tables and indexes can be created and written to in {}",
                databases.join(", ")
            ),
            None,
        ));
    }
    Ok(findings)
}

async fn triggers(session: &mut Session, task: &str, tables: &[Arc<TargetTable>]) -> Result<Vec<Finding>> {
    // Of a cut-over that was killed: they are removed before any change is applied.
    let own = objects::own_triggers(session, task).await?;
    let failed = |error| translate(error, "the target's triggers can't be read");
    let databases: BTreeSet<&str> = tables.iter().map(|table| table.name.namespace.as_str()).collect();
    let mut findings = Vec::new();
    for database in databases {
        let rows = session
            .select(
                "SELECT CONVERT(event_object_table USING utf8mb4), CONVERT(trigger_name USING utf8mb4) \
                 FROM information_schema.triggers WHERE LOWER(event_object_schema) = LOWER(?)",
                (database,),
            )
            .await
            .map_err(failed)?;
        for mut row in rows {
            let (table, trigger) = (field::<String>(&mut row, 0)?, field::<String>(&mut row, 1)?);
            let ours = tables
                .iter()
                .any(|ours| ours.name.namespace == database && ours.name.name.eq_ignore_ascii_case(&table));
            let is_own = own.contains(&TableName::new(database, trigger.as_str()));
            if ours && !is_own {
                findings.push(finding(
                    Severity::Failed,
                    &format!("{database}.{table}"),
                    format!(
                        "the trigger {trigger} of the target would act on changes that the source has already carried through"
                    ),
                    Some(format!("DROP TRIGGER {}.{}", sql::identifier(database), sql::identifier(&trigger))),
                ));
            }
        }
    }
    Ok(findings)
}
