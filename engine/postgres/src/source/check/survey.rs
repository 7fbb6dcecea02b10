//! What is worth knowing of a source before a task begins, and doesn't stand in its way.

use engine_core::Result;
use engine_core::finding::{Finding, Severity};
use engine_core::selection::Selection;
use engine_core::survey::Needs;
use tokio_postgres::Client;

use super::{finding, left_behind, list, retention, structure};
use crate::failure::translate;
use crate::family::Family;
use crate::source::watermark;

/// A transaction open for longer than this is worth a word, in seconds.
const LONG_TRANSACTION: i32 = 600;
/// Bytes of log that a slot without a reader may hold back before it is worth a word.
const MUCH_LOG: i64 = 1 << 30;

/// Looks around.
pub(in crate::source) async fn survey(
    client: &Client,
    family: Family,
    selection: &Selection,
    needs: &Needs,
) -> Result<Vec<Finding>> {
    let mut findings = vec![connections(client, family, needs).await?];
    findings.extend(large_objects(client).await?);
    if needs.online {
        if family == Family::PostgreSql {
            findings.extend(retention::check(client, needs).await?);
            findings.extend(standbys(client).await?);
        }
        findings.extend(transactions(client, family).await?);
        findings.extend(idle_slots(client, family).await?);
    }
    findings.extend(structure::left_behind(client, family, selection).await?);
    if !needs.objects_planned {
        findings.extend(left_behind::check(client, family, selection).await?);
    }
    Ok(findings)
}

async fn connections(client: &Client, family: Family, needs: &Needs) -> Result<Finding> {
    let (most, used) = match family {
        Family::PostgreSql => (
            "current_setting('max_connections')::int8 \
             - CASE WHEN r.rolsuper THEN 0 ELSE current_setting('superuser_reserved_connections')::int8 END",
            "backend_type = 'client backend'",
        ),
        Family::OpenGauss => ("current_setting('max_connections')::int8", "datname IS NOT NULL"),
    };
    let row = client
        .query_one(
            &format!(
                "SELECT {most}, (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE {used}), \
                    LEAST(NULLIF(r.rolconnlimit, -1), NULLIF(d.datconnlimit, -1))::int8 \
             FROM pg_catalog.pg_roles r, pg_catalog.pg_database d \
             WHERE r.rolname = current_user AND d.datname = pg_catalog.current_database()"
            ),
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
async fn transactions(client: &Client, family: Family) -> Result<Vec<Finding>> {
    let failed = |error| translate(error, "the source's transactions can't be listed");
    let (who, has_written) = match family {
        Family::PostgreSql => ("COALESCE(usename::text, backend_type)", "backend_xid IS NOT NULL"),
        Family::OpenGauss => (
            "usename",
            "EXISTS (SELECT 1 FROM pg_catalog.pg_locks l WHERE l.pid = a.pid AND l.granted \
                     AND l.locktype = 'transactionid')",
        ),
    };
    let rows = client
        .query(
            &format!(
                "SELECT pg_catalog.format('process %s (%s)', pid, {who}) FROM pg_catalog.pg_stat_activity a \
                 WHERE {has_written} AND xact_start < now() - $1 * interval '1 second' ORDER BY xact_start"
            ),
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

/// Slots that nobody reads from: what they hold back of the log fills the server's disk.
async fn idle_slots(client: &Client, family: Family) -> Result<Option<Finding>> {
    if family == Family::OpenGauss {
        return idle_slots_of_opengauss(client).await;
    }
    // A standby writes no log; what it has is held back by the same reckoning.
    let rows = client
        .query(
            "SELECT slot_name::text, pg_catalog.pg_wal_lsn_diff(CASE WHEN pg_catalog.pg_is_in_recovery() \
             THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_lsn() END, restart_lsn)::int8 \
             FROM pg_catalog.pg_replication_slots WHERE NOT active AND restart_lsn IS NOT NULL",
            &[],
        )
        .await
        .map_err(|error| translate(error, "the source's replication slots can't be read"))?;
    let slots = rows.iter().filter_map(|row| Some((row.get(0), row.get::<_, Option<i64>>(1)?)));
    Ok(held_back(&slots.collect::<Vec<_>>()))
}

/// The same of a server that has places as texts.
async fn idle_slots_of_opengauss(client: &Client) -> Result<Option<Finding>> {
    let end = watermark::end_of_log(client, Family::OpenGauss).await?;
    let rows = client
        .query(
            "SELECT slot_name::text, restart_lsn FROM pg_catalog.pg_replication_slots \
             WHERE NOT active AND pg_catalog.length(restart_lsn) > 0",
            &[],
        )
        .await
        .map_err(|error| translate(error, "the source's replication slots can't be read"))?;
    let mut slots = Vec::new();
    for row in &rows {
        let behind = end.0.saturating_sub(watermark::lsn(row.get(1))?.0);
        slots.push((row.get(0), i64::try_from(behind).unwrap_or(i64::MAX)));
    }
    Ok(held_back(&slots))
}

fn held_back(slots: &[(String, i64)]) -> Option<Finding> {
    let much: Vec<String> = slots
        .iter()
        .filter(|(_, bytes)| *bytes >= MUCH_LOG)
        .map(|(name, bytes)| format!("{name} ({} MB)", bytes >> 20))
        .collect();
    (!much.is_empty()).then(|| {
        finding(
            Severity::Warning,
            "replication slots",
            format!(
                "nobody reads from {}: the server keeps that much log until its disk is full",
                list(&much)
            ),
            Some("let their readers go on, or SELECT pg_drop_replication_slot(…) those of no more use"),
        )
    })
}

/// Servers that may be promoted in the place of this one.
async fn standbys(client: &Client) -> Result<Option<Finding>> {
    let row = client
        .query_one(
            "SELECT current_setting('server_version_num')::int4 >= 170000, \
             (SELECT count(*) FROM pg_catalog.pg_replication_slots WHERE slot_type = 'physical') \
             + (SELECT count(*) FROM pg_catalog.pg_stat_replication r \
                WHERE NOT EXISTS (SELECT 1 FROM pg_catalog.pg_replication_slots s WHERE s.active_pid = r.pid)), \
             COALESCE(current_setting('synchronized_standby_slots', true), '') <> ''",
            &[],
        )
        .await
        .map_err(|error| translate(error, "the source's standbys can't be counted"))?;
    Ok(failover(row.get(0), row.get(1), row.get(2)))
}

/// What becomes of a task when a standby is promoted; `waits` says that the stream never runs ahead of them.
fn failover(copies_slots: bool, standbys: i64, waits: bool) -> Option<Finding> {
    let there_are = format!("there are {standbys}: when one is promoted,");
    let (message, fix) = match (standbys, copies_slots, waits) {
        (0, ..) => return None,
        (_, false, _) => {
            (format!("{there_are} it lacks the task's slot, and the task has to begin anew"), None)
        }
        (_, true, true) => (
            format!("{there_are} the task goes on from it if it keeps a copy of the task's slot"),
            Some(
                "on each: sync_replication_slots = on, hot_standby_feedback = on, and a dbname in primary_conninfo",
            ),
        ),
        (_, true, false) => (
            format!(
                "{there_are} the task goes on from it if it keeps a copy of the task's slot and has all that the \
                 target has, for which nothing waits"
            ),
            Some(
                "here: synchronized_standby_slots with their slots; on each: sync_replication_slots = on, \
                 hot_standby_feedback = on, and a dbname in primary_conninfo",
            ),
        ),
    };
    Some(finding(Severity::Note, "standbys", message, fix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_promoted_standby_needs_is_told() {
        assert_eq!(failover(true, 0, false), None);
        assert!(failover(false, 1, false).expect("a note").message.ends_with("begin anew"));
        let fix = |waits| failover(true, 1, waits).expect("a note").fix.expect("a fix");
        assert!(fix(false).contains("synchronized_standby_slots") && !fix(true).contains("synchronized"));
    }

    #[test]
    fn only_slots_that_hold_back_much_are_told_of() {
        let slot = |name: &str, bytes| (name.to_owned(), bytes);
        assert_eq!(held_back(&[slot("a", 1 << 20)]), None);
        let told = held_back(&[slot("a", 1 << 20), slot("b", 5 << 30)]).expect("a finding");
        assert!(told.message.starts_with("nobody reads from b (5120 MB): "), "{told}");
    }
}
