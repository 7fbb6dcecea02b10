//! Room for slots, and the state of the task's own.

use engine_core::Result;
use engine_core::finding::{Finding, Severity};
use tokio_postgres::Client;

use super::facts::{Facts, Room};
use super::finding;
use crate::failure::translate;
use crate::identifier::literal;

/// What a task takes: a stream for its run, and another for a check beside it.
const WANTED: u64 = 2;

/// Holds what is free against what a task takes.
pub(super) fn room(facts: &Facts) -> [Finding; 2] {
    [judge(facts, "max_replication_slots", facts.slots), judge(facts, "max_wal_senders", facts.senders)]
}

fn judge(facts: &Facts, setting: &str, room: Room) -> Finding {
    let Room { most, used } = room;
    let message = format!("{used} of {most} are in use by others");
    let enough = (used.max(most) + WANTED).to_string();
    let fix = format!("{}, then restart the server", facts.setting(setting, &enough));
    match room.free() {
        0 => finding(
            Severity::Failed,
            setting,
            format!("{message}: there is none for the stream of changes"),
            Some(&fix),
        ),
        1 => finding(
            Severity::Note,
            setting,
            format!("{message}: a check beside a running task finds none"),
            Some(&fix),
        ),
        _ => finding(Severity::Pass, setting, message, None),
    }
}

/// A slot, with what some versions don't tell.
#[derive(Debug, Default)]
struct Slot {
    name: String,
    /// Since 13: `reserved`, `extended`, `unreserved`, `lost`.
    wal_status: Option<String>,
    /// Bytes that may still be written until it may be lost; since 13, with a limit.
    safe_bytes: Option<i64>,
    /// Since 17.
    invalidation: Option<String>,
    /// Since 16: a standby had to remove what it needs.
    is_conflicting: Option<bool>,
    /// Since 17: standbys take it over.
    is_failover: Option<bool>,
    /// Since 17: it is a copy of the primary's.
    is_synced: Option<bool>,
}

/// Looks at the task's slot, if it has one already.
pub(super) async fn ours(client: &Client, slot: &str) -> Result<Option<Finding>> {
    let row = client
        .query_opt(
            "SELECT s.slot_name::text, s.wal_status, s.safe_wal_size, \
             pg_catalog.to_jsonb(s) ->> 'invalidation_reason', (pg_catalog.to_jsonb(s) ->> 'conflicting')::bool, \
             (pg_catalog.to_jsonb(s) ->> 'failover')::bool, (pg_catalog.to_jsonb(s) ->> 'synced')::bool \
             FROM pg_catalog.pg_replication_slots s WHERE s.slot_name = $1",
            &[&slot],
        )
        .await
        .map_err(|error| translate(error, "the source's replication slots can't be read"))?;
    Ok(row.and_then(|row| {
        state(&Slot {
            name: row.get(0),
            wal_status: row.get(1),
            safe_bytes: row.get(2),
            invalidation: row.get(3),
            is_conflicting: row.get(4),
            is_failover: row.get(5),
            is_synced: row.get(6),
        })
    }))
}

/// What is to be said of a slot: that it is lost, or soon may be; or whether it outlasts its server.
fn state(slot: &Slot) -> Option<Finding> {
    let name = format!("replication slot {}", slot.name);
    let drop = format!("SELECT pg_drop_replication_slot({})", literal(&slot.name));
    let is_lost = slot.wal_status.as_deref() == Some("lost")
        || slot.invalidation.is_some()
        || slot.is_conflicting == Some(true);
    if is_lost {
        let why = match slot.invalidation.as_deref() {
            Some("wal_removed") | None => {
                "the server has removed log that it was to keep (max_slot_wal_keep_size)"
            }
            Some("rows_removed") => "a standby has removed rows that it needs",
            Some("wal_level_insufficient") => "the server ran with another wal_level than logical",
            Some("idle_timeout") => {
                "nobody read from it for longer than the server allows (idle_replication_slot_timeout)"
            }
            Some(other) => other,
        };
        let message = format!("can't be read any more, {why}: a task that began with it has to begin anew");
        let fix = format!("begin a new task with another --name; {drop} when this one is of no more use");
        return Some(finding(Severity::Warning, &name, message, Some(&fix)));
    }
    if slot.wal_status.as_deref() == Some("unreserved") || slot.safe_bytes.is_some_and(|bytes| bytes <= 0) {
        let fix = format!(
            "let its task go on; or raise max_slot_wal_keep_size and reload; or, when it is of no more use, {drop}"
        );
        let message = "has fallen behind by more than max_slot_wal_keep_size: the server may remove its log at the \
                       next checkpoint";
        return Some(finding(Severity::Warning, &name, message, Some(&fix)));
    }
    match (slot.is_synced, slot.is_failover) {
        (Some(true), _) => Some(finding(
            Severity::Note,
            &name,
            "is a copy of the primary's: it can be read from once this server is promoted",
            None,
        )),
        (_, Some(true)) => Some(finding(
            Severity::Note,
            &name,
            "is handed on to standbys that have sync_replication_slots on; a task goes on from one that is promoted",
            None,
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_needed_for_a_stream_and_liked_for_a_check() {
        let severity = |most, used| judge(&Facts::good(), "max_wal_senders", Room { most, used }).severity;
        assert_eq!(severity(10, 8), Severity::Pass);
        assert_eq!(severity(10, 9), Severity::Note);
        assert_eq!(severity(10, 10), Severity::Failed);
        assert_eq!(severity(0, 0), Severity::Failed);
        let fix = judge(&Facts::good(), "max_wal_senders", Room { most: 10, used: 10 }).fix.expect("a fix");
        assert!(fix.starts_with("ALTER SYSTEM SET max_wal_senders = 12"), "{fix}");
    }

    #[test]
    fn a_lost_slot_says_why() {
        let slot = |wal_status: &str, invalidation: Option<&str>| Slot {
            name: "engine_a".to_owned(),
            wal_status: Some(wal_status.to_owned()),
            invalidation: invalidation.map(str::to_owned),
            ..Slot::default()
        };
        assert_eq!(state(&slot("reserved", None)), None);
        let lost = state(&slot("lost", None)).expect("a finding");
        assert!(lost.message.contains("max_slot_wal_keep_size"), "{lost}");
        assert!(lost.fix.expect("a fix").contains("SELECT pg_drop_replication_slot('engine_a')"));
        let idle = state(&slot("unreserved", Some("idle_timeout"))).expect("a finding");
        assert!(idle.message.contains("idle_replication_slot_timeout"), "{idle}");
        let behind = state(&slot("unreserved", None)).expect("a finding");
        assert!(behind.message.contains("next checkpoint"), "{behind}");
    }

    #[test]
    fn a_slot_that_outlasts_its_server_is_told_of() {
        let slot = Slot { is_failover: Some(true), is_synced: Some(false), ..Slot::default() };
        assert!(state(&slot).expect("a note").message.contains("sync_replication_slots"));
        let slot = Slot { is_failover: Some(true), is_synced: Some(true), ..Slot::default() };
        assert!(state(&slot).expect("a note").message.contains("copy of the primary's"));
    }
}
