//! For how long the source still has the changes that the task has yet to apply.
//!
//! A source purges its log by the clock, whoever has read it or not. What the target has applied up to was
//! committed at a known moment, and what comes after it is not purged before that moment plus the time for which the
//! source keeps its log.

use std::sync::Arc;
use std::time::Duration;

use engine_core::finding::{Finding, Severity};
use engine_core::source::Source;

use crate::progress::{Progress, now_ms};

/// How often the source is asked for how long it keeps its log.
const EVERY: Duration = Duration::from_secs(10);

/// Keeps [`log_kept_until_ms`](crate::progress::Report::log_kept_until_ms) up to date, and warns in time.
pub(crate) async fn watch(source: Arc<dyn Source>, progress: Arc<Progress>) {
    let mut kept = None;
    let mut is_warned = false;
    loop {
        // A task that holds keeps no connection; what the source keeps goes by the clock all the same.
        if !progress.report().paused {
            match source.log_kept_for().await {
                Ok(now) => kept = now,
                Err(error) => {
                    tracing::debug!(%error, "the source was not asked for how long it keeps its log");
                }
            }
        }
        let applied = progress.report().applied_at_ms;
        let until = kept.zip(applied).map(|(kept, applied)| applied.saturating_add(kept.as_millis() as u64));
        progress.update(|report| report.log_kept_until_ms = until);
        if let Some((kept, until)) = kept.zip(until) {
            let left = Duration::from_millis(until.saturating_sub(now_ms()));
            if left < kept / 4 && !is_warned {
                is_warned = true;
                progress.update(|report| report.findings.push(finding(kept, left)));
            }
            is_warned &= left < kept / 2;
        }
        tokio::time::sleep(EVERY).await;
    }
}

fn finding(kept: Duration, left: Duration) -> Finding {
    let seconds = kept.as_secs();
    Finding {
        severity: Severity::Warning,
        subject: "source log retention".into(),
        message: format!(
            "in {} seconds the source may purge changes that are not applied yet: it keeps its log for {seconds}, and the \
             target is behind by more than three quarters of that. Once they are gone the task can't go on",
            left.as_secs()
        ),
        fix: Some(format!(
            "SET GLOBAL binlog_expire_logs_seconds = {} on the source (before MariaDB 10.6 expire_logs_days), and see what \
             holds up the target",
            seconds.saturating_mul(4)
        )),
    }
}
