//! Work that was begun on the source and may still be committed.

use engine_core::Result;
use engine_core::finding::{Finding, Severity};
use std::time::Duration;
use tokio_postgres::Client;

use crate::failure::translate;

/// A failed finding for transactions that are prepared, whoever ends them and when; a warning for those that
/// have changed something, are open, and were begun `ago` or earlier, or nobody says when.
pub(super) async fn transactions(client: &Client, ago: Duration) -> Result<Vec<Finding>> {
    let row = client
        .query_one(
            "SELECT (SELECT count(*) FROM pg_catalog.pg_prepared_xacts \
                     WHERE database = pg_catalog.current_database()), \
                    (SELECT count(*) FROM pg_catalog.pg_stat_activity a \
                     WHERE a.datname = pg_catalog.current_database() \
                     AND (a.xact_start IS NULL OR a.xact_start <= pg_catalog.now() - $1 * interval '1 microsecond') \
                     AND EXISTS (SELECT 1 FROM pg_catalog.pg_locks l WHERE l.pid = a.pid \
                                 AND l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted))",
            &[&(ago.as_micros() as f64)],
        )
        .await
        .map_err(|error| translate(error, "the source can't be asked for open transactions"))?;
    let (prepared, open): (i64, i64) = (row.get(0), row.get(1));
    let mut findings = Vec::new();
    if prepared > 0 {
        findings.push(Finding {
            severity: Severity::Failed,
            subject: "source prepared transactions".into(),
            message: format!("{prepared} are prepared, and may be committed at any time"),
            fix: Some(
                "SELECT * FROM pg_prepared_xacts lists them; COMMIT PREPARED or ROLLBACK PREPARED ends each"
                    .into(),
            ),
        });
    }
    if open > 0 {
        findings.push(Finding {
            severity: Severity::Warning,
            subject: "source transactions".into(),
            message: format!("{open} are open and have changed something"),
            fix: Some(
                "SELECT * FROM pg_stat_activity shows them; end them, or pg_terminate_backend()".into(),
            ),
        });
    }
    Ok(findings)
}
