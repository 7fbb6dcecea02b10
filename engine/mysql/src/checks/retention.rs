//! Whether the log is kept for as long as a copy may take.

use engine_core::Result;
use engine_core::finding::{Finding, Severity};
use engine_core::selection::Selection;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::finding;
use crate::error::server_error;

/// What is counted on when nothing is known of servers and network, in bytes per second: a fraction
/// of what was measured.
const CAUTIOUS_RATE: u64 = 10_000_000;
/// What any task should be able to be stopped for, in seconds.
const LEAST: u64 = 3600;

/// Holds the time for which binlogs are kept (`None`: for ever) against the size of the selection.
pub(super) async fn check(
    conn: &mut Conn,
    kept: Option<u64>,
    selection: &Selection,
    scope: &str,
) -> Result<Finding> {
    let Some(kept) = kept else {
        return Ok(finding(Severity::Pass, "binlog retention", "binlogs are never purged", None));
    };
    let query = format!(
        "SELECT table_schema, table_name, COALESCE(data_length, 0) FROM information_schema.tables \
         WHERE table_schema {scope} AND table_type = 'BASE TABLE'"
    );
    let tables: Vec<(String, String, u64)> = conn
        .query(query)
        .await
        .map_err(|error| server_error("the size of the source's tables can't be read", error))?;
    let bytes = tables
        .into_iter()
        .filter(|(namespace, name, _)| {
            selection.matches(&engine_core::schema::TableName::new(namespace.as_str(), name.as_str()))
        })
        .map(|(_, _, bytes)| bytes)
        .sum();
    Ok(judge(kept, bytes))
}

fn judge(kept: u64, bytes: u64) -> Finding {
    let copy = bytes / CAUTIOUS_RATE;
    let wanted = (2 * copy).max(LEAST);
    let time = time(kept);
    if kept < wanted {
        let message = format!(
            "binlogs are kept for {time}; copying {} MB may take {} and a task that is behind by more than is kept \
             has to begin anew",
            bytes / 1_000_000,
            self::time(copy)
        );
        // A week, or more for the very large.
        let fix = format!("SET GLOBAL binlog_expire_logs_seconds = {}", wanted.max(7 * 86_400));
        return finding(Severity::Warning, "binlog retention", message, Some(&fix));
    }
    let message = format!("binlogs are kept for {time}; a task stopped for longer can't go on");
    finding(Severity::Pass, "binlog retention", message, None)
}

fn time(seconds: u64) -> String {
    match seconds {
        0..7200 => format!("{} minutes", seconds.div_ceil(60)),
        7200..172_800 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_has_to_outlast_the_copy_twice() {
        assert_eq!(judge(86_400, 1_000_000_000).severity, Severity::Pass);
        let short = judge(86_400, 600_000_000_000);
        assert_eq!(short.severity, Severity::Warning);
        assert!(short.message.contains("24 hours") && short.message.contains("16 hours"), "{short}");
        assert_eq!(judge(600, 0).severity, Severity::Warning);
    }
}
