//! What is worth knowing of a source before a task begins, and doesn't stand in its way.

use engine_core::Result;
use engine_core::finding::{Finding, Severity};
use engine_core::survey::Needs;
use tokio_postgres::Client;

use super::{finding, list, retention};
use crate::failure::translate;

/// A transaction open for longer than this is worth a word, in seconds.
const LONG_TRANSACTION: i32 = 600;

/// Looks around.
pub(in crate::source) async fn survey(client: &Client, needs: &Needs) -> Result<Vec<Finding>> {
    let mut findings = vec![connections(client, needs).await?];
    findings.extend(large_objects(client).await?);
    if needs.online {
        findings.extend(retention::check(client, needs).await?);
        findings.extend(transactions(client).await?);
        findings.extend(failover(client).await?);
    }
    Ok(findings)
}

async fn connections(client: &Client, needs: &Needs) -> Result<Finding> {
    let row = client
        .query_one(
            "SELECT current_setting('max_connections')::int8 \
                    - CASE WHEN r.rolsuper THEN 0 ELSE current_setting('superuser_reserved_connections')::int8 END, \
                    (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend'), \
                    LEAST(NULLIF(r.rolconnlimit, -1), NULLIF(d.datconnlimit, -1))::int8 \
             FROM pg_catalog.pg_roles r, pg_catalog.pg_database d \
             WHERE r.rolname = current_user AND d.datname = pg_catalog.current_database()",
            &[],
        )
        .await
        .map_err(|error| translate(error, "the source's limits can't be read"))?;
    let (most, used, limit): (i64, i64, Option<i64>) = (row.get(0), row.get(1), row.get(2));
    let free = (most - used).min(limit.unwrap_or(i64::MAX)).max(0).unsigned_abs();
    let message = format!("{used} of {most} are in use, the task takes up to {}", needs.connections);
    Ok(if free < needs.connections {
        let fix = "raise max_connections (or the limit of the role or database), or run with a smaller --parallelism";
        finding(Severity::Warning, "connections", format!("{message}, and {free} are free"), Some(fix))
    } else {
        finding(Severity::Pass, "connections", message, None)
    })
}

/// Large objects are in no table of the selection, and in no stream.
async fn large_objects(client: &Client) -> Result<Option<Finding>> {
    let row = client
        .query_one("SELECT count(*) FROM pg_catalog.pg_largeobject_metadata", &[])
        .await
        .map_err(|error| translate(error, "the source's large objects can't be counted"))?;
    let count: i64 = row.get(0);
    Ok((count > 0).then(|| {
        finding(
            Severity::Warning,
            "large objects",
            format!(
                "{count} large objects are not carried over; columns of type oid or lo keep their numbers"
            ),
            Some("move them into bytea columns first, with lo_get"),
        )
    }))
}

/// A slot is made when all transactions are over that had begun before.
async fn transactions(client: &Client) -> Result<Vec<Finding>> {
    let failed = |error| translate(error, "the source's transactions can't be listed");
    let rows = client
        .query(
            "SELECT pg_catalog.format('process %s (%s)', pid, COALESCE(usename::text, backend_type)) \
             FROM pg_catalog.pg_stat_activity \
             WHERE backend_xid IS NOT NULL AND xact_start < now() - pg_catalog.make_interval(secs => $1) \
             ORDER BY xact_start",
            &[&f64::from(LONG_TRANSACTION)],
        )
        .await
        .map_err(failed)?;
    let open: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let rows = client
        .query("SELECT gid FROM pg_catalog.pg_prepared_xacts ORDER BY prepared", &[])
        .await
        .map_err(failed)?;
    let prepared: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let mut findings = Vec::new();
    if !open.is_empty() {
        let message = format!(
            "open for longer than {} minutes: {}; the task begins only when they have ended",
            LONG_TRANSACTION / 60,
            list(&open)
        );
        let fix = "let them end, or SELECT pg_terminate_backend(…)";
        findings.push(finding(Severity::Warning, "transactions", message, Some(fix)));
    }
    if !prepared.is_empty() {
        let message = format!(
            "prepared and neither committed nor rolled back: {}; the task begins only when they are",
            list(&prepared)
        );
        let fix = "COMMIT PREPARED or ROLLBACK PREPARED each";
        findings.push(finding(Severity::Warning, "transactions", message, Some(fix)));
    }
    Ok(findings)
}

/// Whether a standby could take a slot over.
async fn failover(client: &Client) -> Result<Option<Finding>> {
    let row = client
        .query_one(
            "SELECT current_setting('server_version_num')::int4 >= 170000, \
             (SELECT count(*) FROM pg_catalog.pg_replication_slots WHERE slot_type = 'physical'), \
             (SELECT count(*) FROM pg_catalog.pg_stat_replication r \
              WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_replication_slots s WHERE s.active_pid = r.pid))",
            &[],
        )
        .await
        .map_err(|error| translate(error, "the source's standbys can't be counted"))?;
    let (hands_on, with_slot, without): (bool, i64, i64) = (row.get(0), row.get(1), row.get(2));
    Ok(standbys(hands_on, with_slot, without))
}

fn standbys(hands_on: bool, with_slot: i64, without: i64) -> Option<Finding> {
    if with_slot + without == 0 {
        return None;
    }
    let name = "failover";
    if !hands_on {
        return Some(finding(
            Severity::Note,
            name,
            "there are standbys, and before PostgreSQL 17 none of them gets the task's slot: when one is promoted, \
             the task has to begin anew",
            None,
        ));
    }
    let message = "there are standbys: the task's slot outlasts a failover to one that keeps a copy of it";
    let fix = "on such a standby sync_replication_slots = on, hot_standby_feedback = on, primary_slot_name, and a \
               database in primary_conninfo; here its slot in synchronized_standby_slots";
    Some(finding(Severity::Note, name, message, Some(fix)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standbys_are_told_what_they_need() {
        assert_eq!(standbys(true, 0, 0), None);
        let old = standbys(false, 0, 1).expect("a note");
        assert!(old.message.contains("begin anew") && old.fix.is_none(), "{old}");
        let new = standbys(true, 1, 0).expect("a note");
        assert!(new.fix.expect("a fix").contains("sync_replication_slots"));
    }
}
