//! Having the server refuse writes, and take them again.
//!
//! `read_only` refuses them to every account without special rights, `super_read_only` of MySQL to
//! those as well. Setting either waits for commits in progress; a transaction that is open then can't
//! commit any more.

use engine_core::cut_over::WriteState;
use engine_core::finding::{Finding, Severity};
use engine_core::schema::TableSchema;
use engine_core::{Error, ErrorKind, Result};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error as DriverFailure, Row};
use std::time::Duration;

use crate::error::server_error;
use crate::server::{Flavor, Server};
use crate::{account, sql};

/// Reads `read_only` and `super_read_only`, which MariaDB doesn't have.
pub(crate) async fn state(conn: &mut Conn) -> Result<WriteState> {
    let rows: Vec<(String, String)> = conn
        .query("SHOW GLOBAL VARIABLES WHERE Variable_name IN ('read_only', 'super_read_only')")
        .await
        .map_err(|error| server_error("whether the source is read-only can't be read", error))?;
    let is_on = |wanted: &str| {
        rows.iter()
            .any(|(name, value)| name.eq_ignore_ascii_case(wanted) && !value.eq_ignore_ascii_case("OFF"))
    };
    let setting = match (is_on("super_read_only"), is_on("read_only")) {
        (true, _) => SUPER_READ_ONLY,
        (false, true) => READ_ONLY,
        (false, false) => OFF,
    };
    let statement = statement(setting, rows.len() > 1).to_owned();
    Ok(WriteState { frozen: setting != OFF, setting: setting.to_owned(), statement })
}

const OFF: &str = "read_only = OFF";
const READ_ONLY: &str = "read_only = ON";
const SUPER_READ_ONLY: &str = "super_read_only = ON";

/// The statement that makes a setting so, coming from [`freeze`].
fn statement(setting: &str, has_super: bool) -> &'static str {
    match setting {
        SUPER_READ_ONLY => "SET GLOBAL super_read_only = ON",
        READ_ONLY if has_super => "SET GLOBAL super_read_only = OFF",
        READ_ONLY => "SET GLOBAL read_only = ON",
        // Turns super_read_only off too.
        _ => "SET GLOBAL read_only = OFF",
    }
}

fn variable(server: &Server) -> &'static str {
    match server.flavor {
        Flavor::MySql => "super_read_only",
        Flavor::MariaDb => "read_only",
    }
}

/// Sets the variable to what it is.
pub(crate) async fn try_privilege(conn: &mut Conn, server: &Server) -> Result<()> {
    let name = variable(server);
    match conn.query_drop(format!("SET GLOBAL {name} = @@GLOBAL.{name}")).await {
        Ok(()) => Ok(()),
        Err(DriverFailure::Server(error)) if error.code == 1227 => {
            let grant = match server.flavor {
                Flavor::MySql => "SYSTEM_VARIABLES_ADMIN, CONNECTION_ADMIN",
                Flavor::MariaDb => "READ_ONLY ADMIN",
            };
            let account = account::current(conn).await?;
            Err(Error::new(ErrorKind::Precondition, format!("the account may not set {name}"))
                .because(error.message)
                .help(format!("GRANT {grant} ON *.* TO {account}, or stop the writes yourself and leave out --set-source-read-only")))
        }
        Err(other) => Err(server_error(format!("whether {name} can be set can't be tried"), other)),
    }
}

/// Has the server refuse writes.
pub(crate) async fn freeze(conn: &mut Conn, server: &Server, patience: Duration) -> Result<()> {
    let name = variable(server);
    let failed = |error| server_error(format!("the source can't be set {name}"), error);
    conn.query_drop(format!("SET SESSION lock_wait_timeout = {}", patience.as_secs().max(1)))
        .await
        .map_err(failed)?;
    match conn.query_drop(format!("SET GLOBAL {name} = ON")).await {
        Ok(()) => conn.query_drop("SET SESSION lock_wait_timeout = DEFAULT").await.map_err(failed),
        Err(DriverFailure::Server(error)) if error.code == 1205 => {
            Err(Error::new(ErrorKind::Precondition, format!("the source can't be set {name} in time"))
                .because("a statement or a lock held it up")
                .help("SHOW PROCESSLIST on the source shows who; end that, or give a longer --freeze-budget"))
        }
        Err(other) => Err(failed(other)),
    }
}

/// Has the server as it was.
pub(crate) async fn restore(conn: &mut Conn, before: &WriteState) -> Result<()> {
    let has_super = state(conn).await?.setting == SUPER_READ_ONLY;
    let statement = match before.setting.as_str() {
        setting @ (OFF | READ_ONLY | SUPER_READ_ONLY) => statement(setting, has_super),
        other => {
            return Err(Error::new(ErrorKind::State, "how the source was before is not known")
                .because(format!("it is on record as '{other}'"))
                .help("SET GLOBAL read_only = OFF, if it is to take writes"));
        }
    };
    conn.query_drop(statement)
        .await
        .map_err(|error| server_error("the source can't be set to take writes again", error))
}

/// Transactions that are prepared, or have been open since `ago` and changed rows. An account that may
/// not see them sees none.
pub(crate) async fn unfinished(conn: &mut Conn, ago: Duration) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    if let Ok(rows) = conn.query::<Row, _>("XA RECOVER").await
        && !rows.is_empty()
    {
        findings.push(Finding {
            severity: Severity::Failed,
            subject: "source XA transactions".into(),
            message: format!("{} are prepared, and may be committed at any time", rows.len()),
            fix: Some("XA RECOVER lists them; XA COMMIT or XA ROLLBACK ends each".into()),
        });
    }
    // Their times are in the system's zone, whatever the session's is.
    let writing: Option<u64> = conn
        .query_first(format!(
            "SELECT COUNT(*) FROM information_schema.innodb_trx \
             WHERE trx_rows_modified > 0 \
             AND trx_started <= CONVERT_TZ(NOW(), @@session.time_zone, 'SYSTEM') - INTERVAL {} SECOND",
            ago.as_secs()
        ))
        .await
        .unwrap_or(None);
    if let Some(open @ 1..) = writing {
        findings.push(Finding {
            severity: Severity::Warning,
            subject: "source transactions".into(),
            message: format!("{open} are open and have changed rows"),
            fix: Some("SELECT * FROM information_schema.innodb_trx shows them; end or KILL them".into()),
        });
    }
    Ok(findings)
}

/// Counts a table's rows, on a connection of its own.
pub(crate) async fn count(conn: &mut Conn, table: &TableSchema) -> Result<u64> {
    let rows: Option<u64> = conn
        .query_first(format!("SELECT COUNT(*) FROM {}", sql::table(&table.name)))
        .await
        .map_err(|error| server_error("a table's rows can't be counted", error).at("table", &table.name))?;
    Ok(rows.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_is_restored_by_one_statement() {
        assert_eq!(statement(OFF, true), "SET GLOBAL read_only = OFF");
        assert_eq!(statement(OFF, false), "SET GLOBAL read_only = OFF");
        assert_eq!(statement(READ_ONLY, true), "SET GLOBAL super_read_only = OFF");
        assert_eq!(statement(SUPER_READ_ONLY, true), "SET GLOBAL super_read_only = ON");
    }
}
