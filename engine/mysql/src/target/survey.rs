//! What is worth knowing of a target before a task begins, and doesn't stand in its way.

use engine_core::Result;
use engine_core::finding::{Finding, Severity};
use engine_core::plan::TargetTable;
use engine_core::survey::Needs;
use std::collections::HashMap;
use std::sync::Arc;

use super::control::field;
use super::existing;
use super::failure::translate;
use super::session::Session;
use crate::server::Server;

fn finding(severity: Severity, subject: &str, message: impl Into<String>, fix: Option<&str>) -> Finding {
    Finding {
        severity,
        subject: format!("target {subject}"),
        message: message.into(),
        fix: fix.map(str::to_owned),
    }
}

/// Looks around.
pub(super) async fn run(
    session: &mut Session,
    server: &Server,
    task: &str,
    tables: &[Arc<TargetTable>],
    needs: &Needs,
) -> Result<Vec<Finding>> {
    let variables = variables(session).await?;
    let value = |name: &str| variables.get(name).map_or("", String::as_str);
    let mut findings = vec![contents(session, server, task, tables, needs).await?];
    findings.push(connections(value, needs));
    if !matches!(value("local_infile"), "ON" | "1") {
        findings.push(finding(
            Severity::Note,
            "local_infile",
            "it is OFF: rows are copied by INSERT, which takes a fifth longer than LOAD DATA",
            Some("SET GLOBAL local_infile = ON for the time of the copy"),
        ));
    }
    if matches!(value("log_bin"), "ON" | "1") {
        findings.push(finding(
            Severity::Note,
            "log_bin",
            "what is written to the target goes into its binlog too: replicas get it, and the log takes room",
            None,
        ));
    }
    Ok(findings)
}

async fn variables(session: &mut Session) -> Result<HashMap<String, String>> {
    let failed = |error| translate(error, "the target's settings can't be read");
    let statements = [
        "SHOW GLOBAL VARIABLES WHERE Variable_name IN \
         ('local_infile', 'log_bin', 'max_connections', 'max_user_connections')",
        "SHOW GLOBAL STATUS LIKE 'Threads_connected'",
    ];
    let mut variables = HashMap::new();
    for statement in statements {
        for mut row in session.query(statement).await.map_err(failed)? {
            variables.insert(field(&mut row, 0)?, field(&mut row, 1)?);
        }
    }
    Ok(variables)
}

/// What is in the databases that the task writes to, and what will come.
async fn contents(
    session: &mut Session,
    server: &Server,
    task: &str,
    tables: &[Arc<TargetTable>],
    needs: &Needs,
) -> Result<Finding> {
    let mut namespaces: Vec<String> = tables
        .iter()
        .map(|table| existing::folded(&table.name, server.lower_case_table_names).namespace)
        .collect();
    namespaces.sort();
    namespaces.dedup();
    let own = existing::tables(session, task, tables, server.lower_case_table_names).await?;
    let own = own.iter().filter(|table| table.is_own).count() as u64;
    let (mut others, mut bytes) = (0, 0);
    for namespace in &namespaces {
        let rows = session
            .select(
                "SELECT COUNT(*), CAST(COALESCE(SUM(data_length + index_length), 0) AS UNSIGNED) \
                 FROM information_schema.tables WHERE table_schema = ? AND table_type = 'BASE TABLE'",
                (namespace,),
            )
            .await
            .map_err(|error| translate(error, "the target's tables can't be counted"))?;
        for mut row in rows {
            others += field::<u64>(&mut row, 0)?;
            bytes += field::<u64>(&mut row, 1)?;
        }
    }
    let others = others.saturating_sub(own);
    let megabytes = |bytes: u64| bytes.div_ceil(1_000_000);
    let there = match others {
        _ if namespaces.is_empty() => "no table is planned".to_owned(),
        0 => format!("no other tables in {}", namespaces.join(", ")),
        others => {
            format!(
                "{others} other tables in {}, {} MB with the task's own; they stay as they are",
                namespaces.join(", "),
                megabytes(bytes)
            )
        }
    };
    // The server does not tell how much room its disk has left.
    let come = needs.bytes.map(|bytes| {
        format!(
            "; about {} MB of data come, with indexes and logs perhaps {} MB: see that the disk has room",
            megabytes(bytes),
            megabytes(bytes) * 3
        )
    });
    let severity = if others == 0 { Severity::Pass } else { Severity::Note };
    Ok(finding(severity, "contents", format!("{there}{}", come.unwrap_or_default()), None))
}

fn connections<'a>(value: impl Fn(&str) -> &'a str, needs: &Needs) -> Finding {
    let number = |name: &str| value(name).parse::<u64>().ok();
    let most = number("max_connections").unwrap_or(u64::MAX);
    let used = number("Threads_connected").unwrap_or(0);
    // 0 stands for no limit.
    let limit = number("max_user_connections").filter(|&limit| limit > 0).unwrap_or(u64::MAX);
    let free = most.saturating_sub(used).min(limit);
    let message = format!("{used} of {most} are in use, the task takes up to {}", needs.connections);
    if free < needs.connections {
        let fix = "raise max_connections (or max_user_connections), or run with a smaller --parallelism";
        return finding(
            Severity::Warning,
            "connections",
            format!("{message}, and {free} are free"),
            Some(fix),
        );
    }
    finding(Severity::Pass, "connections", message, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_connections_are_a_warning() {
        let needs = Needs { connections: 10, ..Needs::default() };
        let severity = |most: &'static str, limit: &'static str| {
            let value = move |name: &str| match name {
                "max_connections" => most,
                "max_user_connections" => limit,
                _ => "5",
            };
            connections(value, &needs).severity
        };
        assert_eq!(severity("15", "0"), Severity::Pass);
        assert_eq!(severity("14", "0"), Severity::Warning);
        assert_eq!(severity("151", "9"), Severity::Warning);
    }
}
