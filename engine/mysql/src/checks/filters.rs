//! Changes that the server makes and doesn't log: of databases left out of its binlog, and those that
//! it takes over from another server.

use engine_core::Result;
use engine_core::finding::{Finding, Severity};
use engine_core::selection::Selection;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error as DriverFailure, Row};

use super::{Variables, finding};
use crate::error::server_error;
use crate::server::{Flavor, Server};

pub(super) async fn check(
    conn: &mut Conn,
    server: &Server,
    variables: &Variables,
    selection: &Selection,
    scope: &str,
) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    findings.extend(unlogged_databases(conn, server, selection, scope).await?);
    findings.extend(unlogged_replication(conn, server, variables).await?);
    Ok(findings)
}

/// `binlog_do_db` and `binlog_ignore_db`, which only the status of the binlog tells.
async fn unlogged_databases(
    conn: &mut Conn,
    server: &Server,
    selection: &Selection,
    scope: &str,
) -> Result<Option<Finding>> {
    // Without the privilege there is a finding already.
    let Ok(Some(mut row)) = conn.query_first::<Row, _>(server.binlog_status_statement()).await else {
        return Ok(None);
    };
    let mut list = |column: usize| -> Vec<String> {
        let text: Option<String> = row.take_opt(column).and_then(Result::ok);
        let names = text.unwrap_or_default();
        names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
    };
    let (only, ignored) = (list(2), list(3));
    if only.is_empty() && ignored.is_empty() {
        return Ok(Some(finding(Severity::Pass, "binlog filters", "every database is logged", None)));
    }
    let databases: Vec<String> = conn
        .query(format!("SELECT schema_name FROM information_schema.schemata WHERE schema_name {scope}"))
        .await
        .map_err(|error| server_error("the source's databases can't be listed", error))?;
    let is_taken = |database: &&String| selection.database.as_ref().is_none_or(|wanted| wanted == *database);
    let unlogged: Vec<&str> = databases
        .iter()
        .filter(is_taken)
        .filter(|database| (!only.is_empty() && !only.contains(database)) || ignored.contains(database))
        .map(String::as_str)
        .collect();
    if unlogged.is_empty() {
        // With row format the filter goes by the table's own database.
        return Ok(Some(finding(Severity::Pass, "binlog filters", "the databases taken are logged", None)));
    }
    Ok(Some(finding(
        Severity::Failed,
        "binlog filters",
        format!(
            "changes of {} are not in the binlog: binlog_do_db is '{}', binlog_ignore_db is '{}'",
            unlogged.join(", "),
            only.join(","),
            ignored.join(",")
        ),
        Some(
            "take binlog_do_db and binlog_ignore_db out of the server's configuration and restart it, or leave the \
             databases out, or migrate with --mode offline",
        ),
    )))
}

/// A replica that keeps no log of what it replicates.
async fn unlogged_replication(
    conn: &mut Conn,
    server: &Server,
    variables: &Variables,
) -> Result<Option<Finding>> {
    let logs = ["log_replica_updates", "log_slave_updates"]
        .into_iter()
        .map(|name| (name, variables.get(name)))
        .find(|(_, value)| !value.is_empty());
    let Some((name, value)) = logs else { return Ok(None) };
    if value.eq_ignore_ascii_case("ON") || value == "1" {
        return Ok(None);
    }
    let statement = match server.flavor {
        Flavor::MySql if server.version_number >= (8, 0, 22) => "SHOW REPLICA STATUS",
        Flavor::MySql => "SHOW SLAVE STATUS",
        Flavor::MariaDb => "SHOW ALL SLAVES STATUS",
    };
    let fix =
        format!("set {name} = ON in the server's configuration and restart it, or read from the primary");
    let judged = match conn.query::<Row, _>(statement).await {
        Ok(rows) if rows.is_empty() => None,
        Ok(_) => Some((
            Severity::Failed,
            format!("the server is a replica and {name} is OFF: what it replicates is not in its binlog"),
        )),
        Err(DriverFailure::Server(error)) => Some((
            Severity::Warning,
            format!(
                "{name} is OFF; if the server is a replica, what it replicates is not in its binlog, and whether it is \
                 one can't be asked: {}",
                error.message
            ),
        )),
        Err(other) => return Err(server_error("the source's replication can't be read", other)),
    };
    Ok(judged.map(|(severity, message)| finding(severity, name, message, Some(&fix))))
}
