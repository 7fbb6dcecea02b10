//! Whether the server keeps its log for as long as a copy may take.

use engine_core::Result;
use engine_core::finding::{Finding, Severity};
use engine_core::survey::Needs;
use tokio_postgres::Client;

use super::finding;
use crate::failure::translate;

/// What is counted on when nothing is known of servers and network, in bytes per second: a fraction
/// of what was measured.
const CAUTIOUS_RATE: u64 = 10_000_000;
/// What any task should be able to be stopped for, in seconds.
const LEAST: u64 = 3600;
const MEGABYTE: u64 = 1 << 20;

/// What the server keeps, and how fast it writes.
#[derive(Debug, Clone, Copy)]
struct Log {
    /// Bytes that a slot may hold back at most; `None` without a limit.
    kept: Option<u64>,
    /// Bytes per second that were written on average; `None` when the server doesn't count (before 14).
    rate: Option<f64>,
    /// Seconds after which a slot that nobody reads from is given up (since 18); `None` for never.
    idle: Option<u64>,
}

/// Holds what a slot may hold back against the time that the copy may take.
pub(super) async fn check(client: &Client, needs: &Needs) -> Result<Vec<Finding>> {
    let failed = |error| translate(error, "what the source keeps of its log can't be read");
    let row = client
        .query_one(
            "SELECT (SELECT setting::int8 FROM pg_catalog.pg_settings WHERE name = 'max_slot_wal_keep_size'), \
             (SELECT setting::int8 * CASE unit WHEN 'min' THEN 60 WHEN 'ms' THEN 0 ELSE 1 END \
              FROM pg_catalog.pg_settings WHERE name = 'idle_replication_slot_timeout'), \
             pg_catalog.to_regclass('pg_catalog.pg_stat_wal') IS NOT NULL",
            &[],
        )
        .await
        .map_err(failed)?;
    let (kept, idle): (Option<i64>, Option<i64>) = (row.get(0), row.get(1));
    let counts: bool = row.get(2);
    let rate = if counts {
        // Of the first minutes after the counters began, nothing can be told.
        let row = client
            .query_opt(
                "SELECT (wal_bytes / EXTRACT(EPOCH FROM now() - stats_reset))::float8 FROM pg_catalog.pg_stat_wal \
                 WHERE stats_reset < now() - interval '10 minutes'",
                &[],
            )
            .await
            .map_err(failed)?;
        row.and_then(|row| row.get(0))
    } else {
        None
    };
    let log = Log {
        kept: kept.and_then(|megabytes| u64::try_from(megabytes).ok()).map(|megabytes| megabytes * MEGABYTE),
        rate,
        idle: idle.and_then(|seconds| u64::try_from(seconds).ok()).filter(|&seconds| seconds > 0),
    };
    Ok([Some(judge(log, needs.bytes.unwrap_or(0))), idle_slots(log)].into_iter().flatten().collect())
}

fn judge(log: Log, bytes: u64) -> Finding {
    let subject = "max_slot_wal_keep_size";
    let copy = bytes / CAUTIOUS_RATE;
    let wanted = (2 * copy).max(LEAST);
    let Some(kept) = log.kept else {
        let written = match log.rate {
            Some(rate) => format!("; on average it writes {} MB an hour", megabytes(rate * 3600.0)),
            None => String::new(),
        };
        let message = format!(
            "no limit: the server keeps all log that the task has not applied, for as long as its disk has room{written}"
        );
        return finding(Severity::Pass, subject, message, None);
    };
    let limit =
        format!("the server gives a task up that is behind by more than {} MB of log", kept / MEGABYTE);
    let Some(rate) = log.rate else {
        return finding(Severity::Note, subject, format!("{limit}, and it has to begin anew"), None);
    };
    let lasts = kept as f64 / rate.max(1.0);
    if lasts < wanted as f64 {
        let message = format!(
            "{limit}; on average that is written in {}, and copying {} MB may take {}",
            time(lasts as u64),
            bytes / 1_000_000,
            time(copy)
        );
        let enough = megabytes(rate * wanted as f64).max(2 * kept / MEGABYTE);
        let fix = format!("ALTER SYSTEM SET {subject} = '{enough}MB'; SELECT pg_reload_conf()");
        return finding(Severity::Warning, subject, message, Some(&fix));
    }
    finding(
        Severity::Pass,
        subject,
        format!("{limit}; on average that is written in {}", time(lasts as u64)),
        None,
    )
}

fn idle_slots(log: Log) -> Option<Finding> {
    let idle = log.idle?;
    Some(finding(
        Severity::Warning,
        "idle_replication_slot_timeout",
        format!("a task that is stopped for longer than {} can't go on and has to begin anew", time(idle)),
        Some("ALTER SYSTEM SET idle_replication_slot_timeout = 0; SELECT pg_reload_conf()"),
    ))
}

fn megabytes(bytes: f64) -> u64 {
    (bytes / MEGABYTE as f64).ceil() as u64
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

    const LOG: Log = Log { kept: Some(1000 * MEGABYTE), rate: Some(100_000.0), idle: None };

    #[test]
    fn what_is_kept_has_to_outlast_the_copy_twice() {
        assert_eq!(judge(LOG, 1_000_000_000).severity, Severity::Pass);
        let short = judge(LOG, 100_000_000_000);
        assert_eq!(short.severity, Severity::Warning);
        assert!(short.message.contains("2 hours") && short.message.contains("1000 MB"), "{short}");
        assert_eq!(short.fix.as_deref().map(|fix| fix.contains("= '2000MB'")), Some(true), "{short}");
        assert_eq!(judge(Log { rate: Some(1e6), ..LOG }, 0).severity, Severity::Warning);
    }

    #[test]
    fn what_is_not_counted_is_not_guessed() {
        assert_eq!(judge(Log { rate: None, ..LOG }, 1 << 50).severity, Severity::Note);
        assert_eq!(judge(Log { kept: None, ..LOG }, 1 << 50).severity, Severity::Pass);
    }

    #[test]
    fn a_limit_on_idle_slots_is_a_limit_on_stops() {
        assert_eq!(idle_slots(LOG), None);
        let limited = idle_slots(Log { idle: Some(600), ..LOG }).expect("a finding");
        assert!(limited.message.contains("10 minutes"), "{limited}");
    }
}
