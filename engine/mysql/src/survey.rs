//! What is worth knowing of a source before a task begins, and doesn't stand in its way.

mod objects;
mod structure;

use engine_core::Result;
use engine_core::finding::{Finding, Severity};
use engine_core::selection::Selection;
use engine_core::survey::Needs;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use std::collections::HashMap;

use crate::catalog;
use crate::charset::Charsets;
use crate::error::server_error;
use crate::server::{Flavor, Server};

/// A transaction open for longer than this is worth a word, in seconds.
const LONG_TRANSACTION: u64 = 600;

/// Looks around.
pub(crate) async fn run(
    conn: &mut Conn,
    server: &Server,
    charsets: &Charsets,
    selection: &Selection,
    needs: &Needs,
) -> Result<Vec<Finding>> {
    let (selection, scope) = catalog::scope(server, selection);
    let settings = Settings::read(conn).await?;
    let mut findings = vec![statistics(&settings), time_zone(&settings)];
    findings.extend(room(&settings, needs));
    findings.extend(read_only(&settings));
    findings.push(character_sets(conn, charsets, &scope).await?);
    if needs.online {
        findings.extend(prepared_transactions(conn).await);
        findings.extend(long_transactions(conn).await);
    }
    findings.extend(structure::left_behind(conn, server, &selection, &scope).await?);
    if server.flavor == Flavor::MariaDb {
        findings.extend(objects::sequences(conn, &selection, &scope).await?);
    }
    if !needs.objects_planned {
        findings.extend(objects::left_behind(conn, &selection, &scope).await?);
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

/// Global variables and counters by name, in lower case.
struct Settings(HashMap<String, String>);

impl Settings {
    async fn read(conn: &mut Conn) -> Result<Self> {
        let failed = |error| server_error("the server's settings can't be read", error);
        let mut all: Vec<(String, String)> = conn
            .query(
                "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('innodb_stats_on_metadata', 'time_zone', \
                 'system_time_zone', 'max_connections', 'max_user_connections', 'read_only', 'super_read_only')",
            )
            .await
            .map_err(failed)?;
        let connected: Vec<(String, String)> =
            conn.query("SHOW GLOBAL STATUS LIKE 'Threads_connected'").await.map_err(failed)?;
        all.extend(connected);
        Ok(Self(all.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect()))
    }

    fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.text(name).parse().ok()
    }

    fn is_on(&self, name: &str) -> bool {
        self.text(name).eq_ignore_ascii_case("ON")
    }
}

fn statistics(settings: &Settings) -> Finding {
    let name = "innodb_stats_on_metadata";
    if settings.is_on(name) {
        return finding(
            Severity::Warning,
            name,
            "is ON: each look at the catalog gathers statistics anew, which slows the source down",
            Some("SET GLOBAL innodb_stats_on_metadata = OFF"),
        );
    }
    finding(Severity::Pass, name, "OFF", None)
}

fn time_zone(settings: &Settings) -> Finding {
    let (zone, system) = (settings.text("time_zone"), settings.text("system_time_zone"));
    let zone = if zone == "SYSTEM" { format!("SYSTEM, that is {system}") } else { zone.to_owned() };
    let message =
        format!("{zone}; TIMESTAMP columns are read in UTC, DATETIME columns as they are, without a zone");
    finding(Severity::Note, "time_zone", message, None)
}

fn room(settings: &Settings, needs: &Needs) -> Option<Finding> {
    let (most, used) = (settings.number("max_connections")?, settings.number("threads_connected")?);
    let of_account = settings.number("max_user_connections").filter(|&most| most > 0);
    let free = most.saturating_sub(used).min(of_account.unwrap_or(u64::MAX));
    let message = format!("{used} of {most} are in use, the task takes up to {}", needs.connections);
    Some(if free < needs.connections {
        let fix = format!(
            "SET GLOBAL max_connections = {}, or run with a smaller --parallelism",
            used + needs.connections + 10
        );
        finding(Severity::Warning, "connections", message, Some(&fix))
    } else {
        finding(Severity::Pass, "connections", message, None)
    })
}

fn read_only(settings: &Settings) -> Option<Finding> {
    let name = ["super_read_only", "read_only"].into_iter().find(|name| settings.is_on(name))?;
    Some(finding(
        Severity::Note,
        name,
        "is ON: the server is a replica, or a cut-over left it so",
        Some("SET GLOBAL read_only = OFF, when applications are to write to it"),
    ))
}

/// Text is converted by the server's own tables: whether it gives them is tried.
async fn character_sets(conn: &mut Conn, charsets: &Charsets, scope: &str) -> Result<Finding> {
    let names: Vec<String> = conn
        .query(format!(
            "SELECT DISTINCT character_set_name FROM information_schema.columns \
             WHERE table_schema {scope} AND character_set_name IS NOT NULL ORDER BY 1"
        ))
        .await
        .map_err(|error| server_error("the source's character sets can't be listed", error))?;
    let list = if names.is_empty() { "none in use".to_owned() } else { names.join(", ") };
    Ok(match charsets.require(conn, names.iter().map(String::as_str)).await {
        Ok(()) => {
            finding(Severity::Pass, "character sets", format!("{list}: every one is known to the end"), None)
        }
        Err(error) => finding(
            Severity::Failed,
            "character sets",
            format!("of {list}, not every one can be read: {error}"),
            Some("ALTER TABLE … CONVERT TO CHARACTER SET utf8mb4, or exclude the table"),
        ),
    })
}

/// Transactions that are prepared and may be committed any time. An account that may not ask is not
/// told off for it.
async fn prepared_transactions(conn: &mut Conn) -> Option<Finding> {
    let rows: Vec<Row> = conn.query("XA RECOVER").await.ok()?;
    (!rows.is_empty()).then(|| {
        finding(
            Severity::Warning,
            "XA transactions",
            format!("{} are prepared and neither committed nor rolled back; they hold locks", rows.len()),
            Some("XA RECOVER lists them; XA COMMIT or XA ROLLBACK ends each"),
        )
    })
}

async fn long_transactions(conn: &mut Conn) -> Option<Finding> {
    // NULL when none is open.
    let oldest: Option<Option<u64>> = conn
        .query_first(
            "SELECT CAST(GREATEST(MAX(TIMESTAMPDIFF(SECOND, trx_started, CONVERT_TZ(NOW(), @@session.time_zone, 'SYSTEM'))), 0) AS UNSIGNED) FROM information_schema.innodb_trx",
        )
        .await
        .ok()?;
    let minutes = oldest.flatten().filter(|&seconds| seconds >= LONG_TRANSACTION)? / 60;
    Some(finding(
        Severity::Note,
        "transactions",
        format!("one is open for {minutes} minutes; what it changed arrives when it commits"),
        Some("SELECT * FROM information_schema.innodb_trx ORDER BY trx_started"),
    ))
}
