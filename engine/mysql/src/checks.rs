//! Whether account and settings allow what a task needs. Settings are read; privileges are tried.

mod engines;
mod filters;
mod retention;
mod sight;

use std::collections::HashMap;
use std::time::Duration;

use engine_core::finding::{Finding, Severity};
use engine_core::schema::TableName;
use engine_core::selection::Selection;
use engine_core::{Error, ErrorKind, Result};
use futures_util::StreamExt;
use mysql_async::prelude::Queryable;
use mysql_async::{BinlogStreamRequest, Conn, Error as DriverFailure};

use crate::connect::Connector;
use crate::error::server_error;
use crate::server::{Flavor, GtidMode, Server};
use crate::{account, catalog, sql};

/// Tables whose readability is tried.
const TABLES_TRIED: usize = 500;

/// Checks the server; `online` asks for what following changes needs.
pub(crate) async fn run(
    conn: &mut Conn,
    server: &Server,
    connector: &Connector,
    selection: &Selection,
    online: bool,
) -> Result<Vec<Finding>> {
    let (selection, scope) = catalog::scope(server, selection);
    let account = account::current(conn).await?;
    let mut findings = vec![version(server)];
    findings.extend(readable_tables(conn, &selection, &scope, &account).await?);
    findings.extend(sight::check(conn, &selection, &account).await?);
    if online {
        findings.extend(engines::check(conn, &selection, &scope).await?);
        let variables = Variables::read(conn).await?;
        findings.extend(binlog_settings(server, &variables));
        if server.log_bin {
            findings.push(retention::check(conn, variables.retention(), &selection, &scope).await?);
            findings.extend(filters::check(conn, server, &variables, &selection, &scope).await?);
            findings.push(binlog_status(conn, server, &account).await?);
            if server.flavor == Flavor::MySql && server.gtid_mode == GtidMode::Off {
                findings.push(log_status(conn, &account).await?);
            }
            // A server without a number sends no binlog to anyone; that has been said.
            if server.server_id != 0 {
                findings.push(replication(connector, server, &account).await?);
            }
        }
    }
    Ok(findings)
}

fn finding(severity: Severity, subject: &str, message: impl Into<String>, fix: Option<&str>) -> Finding {
    Finding {
        severity,
        subject: format!("source {subject}"),
        message: message.into(),
        fix: fix.map(str::to_owned),
    }
}

fn version(server: &Server) -> Finding {
    finding(Severity::Pass, "version", server.name_and_version(), None)
}

/// Refuses a server that is too old to be read: what its catalog lacks would be met one by one.
pub(crate) fn refuse_too_old(server: &Server) -> Result<()> {
    let (oldest, supported) = match server.flavor {
        Flavor::MySql => ((8, 0, 0), "MySQL 8.0 to 9.7"),
        Flavor::MariaDb => ((10, 5, 0), "MariaDB 10.5 to 11.8"),
    };
    if server.version_number >= oldest {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Precondition, "the source is too old")
        .because(format!("it is a {}", server.name_and_version()))
        .help(format!(
            "upgrade it, or replicate it into a newer server and take that as the source; supported are {supported}"
        )))
}

/// Tries to read the first tables of the selection, a statement each that reads no row. An account
/// that may read some columns of a table only doesn't even see that there are others.
async fn readable_tables(
    conn: &mut Conn,
    selection: &Selection,
    scope: &str,
    account: &str,
) -> Result<Vec<Finding>> {
    let failed = |error| server_error("the source's tables can't be listed", error);
    let query = format!(
        "SELECT table_schema, table_name FROM information_schema.tables \
         WHERE table_schema {scope} AND table_type = 'BASE TABLE'"
    );
    let names: Vec<(String, String)> = conn.query(query).await.map_err(failed)?;
    let tables = names.into_iter().map(|(namespace, name)| TableName::new(namespace, name));
    let tables: Vec<TableName> = tables.filter(|table| selection.matches(table)).collect();
    let mut refused = Vec::new();
    for table in tables.iter().take(TABLES_TRIED) {
        match conn.query_drop(format!("SELECT * FROM {} LIMIT 0", sql::table(table))).await {
            Err(DriverFailure::Server(error)) if matches!(error.code, 1142 | 1143 | 1044) => {
                let fix = format!("GRANT SELECT ON {} TO {account}", sql::table(table));
                refused.push(finding(
                    Severity::Failed,
                    "privileges",
                    format!("the account may not read {table}"),
                    Some(&fix),
                ));
            }
            // An error here: dropped since, or unusable for a reason that reading it will tell.
            Ok(()) | Err(DriverFailure::Server(_)) => {}
            Err(other) => return Err(failed(other)),
        }
    }
    if refused.is_empty() {
        let message = match tables.len() {
            1 => "1 table is readable".to_owned(),
            all @ ..=TABLES_TRIED => format!("{all} tables are readable"),
            all => format!("the first {TABLES_TRIED} of {all} tables are readable"),
        };
        refused.push(finding(Severity::Pass, "privileges", message, None));
    }
    Ok(refused)
}

/// Global variables by name, in lower case.
struct Variables(HashMap<String, String>);

impl Variables {
    async fn read(conn: &mut Conn) -> Result<Self> {
        let all: Vec<(String, String)> = conn
            .query(
                "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('binlog_format', 'binlog_row_image', \
                 'binlog_row_value_options', 'binlog_expire_logs_seconds', 'expire_logs_days', \
                 'enforce_gtid_consistency', 'log_replica_updates', 'log_slave_updates')",
            )
            .await
            .map_err(|error| server_error("the server's settings can't be read", error))?;
        Ok(Self(all.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect()))
    }

    fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// How long binlogs are kept, in seconds; `None` for ever.
    fn retention(&self) -> Option<u64> {
        let seconds = self.get("binlog_expire_logs_seconds").parse().unwrap_or(0u64);
        let days = self.get("expire_logs_days").parse().unwrap_or(0.0f64);
        [seconds, (days * 86_400.0) as u64].into_iter().filter(|&seconds| seconds > 0).min()
    }
}

/// For how long binlogs are kept; `None` for ever.
pub(crate) async fn log_kept_for(conn: &mut Conn) -> Result<Option<Duration>> {
    Ok(Variables::read(conn).await?.retention().map(Duration::from_secs))
}

fn binlog_settings(server: &Server, variables: &Variables) -> Vec<Finding> {
    if !server.log_bin {
        return vec![finding(
            Severity::Failed,
            "log_bin",
            "there is no binlog, so that changes can't be followed",
            Some("start the server with --log-bin and a --server-id, or migrate with --mode offline"),
        )];
    }
    let mut findings = vec![finding(Severity::Pass, "log_bin", "on", None)];
    let mut demand = |name: &str, wanted: &str, why: &str| {
        let found = variables.get(name);
        findings.push(if found.eq_ignore_ascii_case(wanted) {
            finding(Severity::Pass, name, wanted, None)
        } else {
            let message = format!("is {found}, must be {wanted}: {why}");
            let fix = format!(
                "SET GLOBAL {name} = '{wanted}', also in the server's configuration; \
                 sessions already open keep the old value, so let them reconnect"
            );
            finding(Severity::Failed, name, message, Some(&fix))
        });
    };
    demand("binlog_format", "ROW", "other formats log statements, not rows");
    demand("binlog_row_image", "FULL", "other images leave columns out");
    findings.push(match server.server_id {
        0 => finding(
            Severity::Failed,
            "server_id",
            "is 0, with which the server refuses to send its binlog",
            Some("SET GLOBAL server_id = 1, or another number unique among its replicas"),
        ),
        id => finding(Severity::Pass, "server_id", id.to_string(), None),
    });
    findings.push(match server.gtid_mode {
        GtidMode::MySql => finding(Severity::Pass, "gtid_mode", "positions are GTID sets", None),
        GtidMode::MariaDb => finding(Severity::Pass, "gtid", "positions are MariaDB GTIDs", None),
        GtidMode::Off => finding(
            Severity::Note,
            "gtid_mode",
            format!("is {}: positions are file and offset of this very server", server.gtid_mode_text),
            None,
        ),
    });
    findings.extend(gtid_consistency(server, variables));
    findings.extend(match variables.get("binlog_row_value_options") {
        "" => None,
        "PARTIAL_JSON" => Some(finding(
            Severity::Pass,
            "binlog_row_value_options",
            "PARTIAL_JSON: what updates of JSON columns log is applied to the documents before them",
            None,
        )),
        unknown => Some(finding(
            Severity::Failed,
            "binlog_row_value_options",
            format!("is {unknown}, which this engine does not know"),
            Some("SET GLOBAL binlog_row_value_options = ''"),
        )),
    });
    findings
}

/// GTIDs only name every transaction for certain when the server refuses those that can't have one.
fn gtid_consistency(server: &Server, variables: &Variables) -> Option<Finding> {
    let consistency = variables.get("enforce_gtid_consistency");
    (server.gtid_mode == GtidMode::Off && server.gtid_mode_text.starts_with("ON_")).then(|| {
        finding(
            Severity::Note,
            "gtid_mode",
            format!(
                "is {} with enforce_gtid_consistency = {consistency}: some transactions have a GTID and others not, so \
                 they are not gone by; without them the task can't go on from a replica",
                server.gtid_mode_text
            ),
            Some("SET GLOBAL enforce_gtid_consistency = ON; SET GLOBAL gtid_mode = ON"),
        )
    })
}

async fn binlog_status(conn: &mut Conn, server: &Server, account: &str) -> Result<Finding> {
    let privilege = match server.flavor {
        Flavor::MySql => "REPLICATION CLIENT",
        Flavor::MariaDb => "BINLOG MONITOR",
    };
    tried(conn.query_drop(server.binlog_status_statement()).await, privilege, account)
}

async fn log_status(conn: &mut Conn, account: &str) -> Result<Finding> {
    let trial = conn.query_drop("SELECT local FROM performance_schema.log_status").await;
    let mut finding = tried(trial, "BACKUP_ADMIN", account)?;
    if finding.severity == Severity::Failed {
        finding.fix = Some(format!(
            "GRANT BACKUP_ADMIN ON *.* TO {account}; GRANT SELECT ON performance_schema.log_status TO {account}; \
             or turn on gtid_mode"
        ));
    }
    Ok(finding)
}

/// What a trial says about a global privilege.
fn tried(trial: Result<(), DriverFailure>, privilege: &str, account: &str) -> Result<Finding> {
    match trial {
        Ok(()) => Ok(finding(Severity::Pass, "privileges", format!("{privilege} works"), None)),
        Err(DriverFailure::Server(error)) if matches!(error.code, 1045 | 1142 | 1227) => {
            let fix = format!("GRANT {privilege} ON *.* TO {account}");
            Ok(finding(
                Severity::Failed,
                "privileges",
                format!("{privilege} is missing: {}", error.message),
                Some(&fix),
            ))
        }
        Err(other) => Err(server_error("a privilege can't be tried", other)),
    }
}

/// Asks for the binlog from its end and takes the first event, on a connection of its own.
async fn replication(connector: &Connector, server: &Server, account: &str) -> Result<Finding> {
    let mut conn = connector.open().await?;
    let status: Option<mysql_async::Row> = match conn.query_first(server.binlog_status_statement()).await {
        Ok(status) => status,
        // Reported as a privilege of its own already.
        Err(error) => return tried(Err(error), "REPLICATION SLAVE", account),
    };
    let file: Option<String> = status.and_then(|mut row| row.take_opt(0)?.ok());
    let file = file.unwrap_or_default();
    // Any number that no other replica uses.
    let id = std::process::id() ^ 0x5e00_0000;
    let request = BinlogStreamRequest::new(id).with_filename(file.as_bytes()).with_pos(4).with_non_blocking();
    let first = async {
        let mut stream = conn.get_binlog_stream(request).await?;
        stream.next().await.transpose()
    };
    match tokio::time::timeout(Duration::from_secs(10), first).await {
        Ok(Ok(_)) | Err(_) => tried(Ok(()), "REPLICATION SLAVE", account),
        Ok(Err(error)) => tried(Err(error), "REPLICATION SLAVE", account),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(log_bin: bool, server_id: u64) -> Server {
        Server {
            flavor: Flavor::MySql,
            version: "8.4.0".into(),
            version_number: (8, 4, 0),
            gtid_mode: GtidMode::Off,
            gtid_mode_text: "OFF".into(),
            server_id,
            server_uuid: None,
            log_bin,
            lower_case_table_names: 0,
            logs_cascades: true,
        }
    }

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        Variables(pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    fn failed(findings: &[Finding]) -> Vec<&str> {
        let failed = findings.iter().filter(|finding| finding.severity == Severity::Failed);
        failed.map(|finding| finding.subject.as_str()).collect()
    }

    #[test]
    fn each_wrong_setting_is_named_with_its_cure() {
        let wrong = variables(&[
            ("binlog_format", "MIXED"),
            ("binlog_row_image", "MINIMAL"),
            ("binlog_row_value_options", "PARTIAL_ANYTHING"),
        ]);
        let findings = binlog_settings(&server(true, 0), &wrong);
        assert_eq!(
            failed(&findings),
            [
                "source binlog_format",
                "source binlog_row_image",
                "source server_id",
                "source binlog_row_value_options"
            ]
        );
        assert!(
            findings.iter().filter(|finding| finding.severity == Severity::Failed).all(|f| f.fix.is_some())
        );
        assert_eq!(failed(&binlog_settings(&server(false, 1), &wrong)), ["source log_bin"]);
    }

    #[test]
    fn a_server_that_is_too_old_is_refused_with_its_version() {
        let old = Server { version: "5.6.24-log".into(), version_number: (5, 6, 24), ..server(true, 1) };
        let error = refuse_too_old(&old).expect_err("too old");
        assert!(error.to_string().contains("MySQL 5.6.24-log"), "{error}");
        assert!(refuse_too_old(&server(true, 1)).is_ok());
    }

    #[test]
    fn good_settings_pass() {
        let good = variables(&[
            ("binlog_format", "ROW"),
            ("binlog_row_image", "FULL"),
            ("binlog_row_value_options", "PARTIAL_JSON"),
        ]);
        assert_eq!(failed(&binlog_settings(&server(true, 7), &good)), Vec::<&str>::new());
    }

    #[test]
    fn retention_is_the_shorter_of_two_settings() {
        assert_eq!(variables(&[("expire_logs_days", "0.5")]).retention(), Some(43_200));
        assert_eq!(variables(&[("binlog_expire_logs_seconds", "0")]).retention(), None);
    }
}
