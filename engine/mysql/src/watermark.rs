//! What a read of the source contains, as positions.
//!
//! On MySQL the binlog's end runs ahead of what is visible, and the executed GTID set lags behind
//! it. So the lower bound is the set (or, without GTIDs, what `log_status` reports while it holds
//! commits back), and the upper bound is the end of the log. On MariaDB a consistent snapshot
//! knows its own position, which is both.
//!
//! That the set lags behind holds for every way to commit: `COMMIT`, `XA COMMIT` by the session that
//! prepared or by another, and `XA COMMIT … ONE PHASE`. All of them go through the server's group commit
//! (`MYSQL_BIN_LOG::ordered_commit`). The leader of its last stage commits a whole group in the storage
//! engines before it adds the group's GTIDs to the set (`process_commit_stage_queue`, then
//! `Gtid_state::update_commit_group`). With `binlog_order_commits = OFF` each session does so for itself
//! in the same order (`finish_commit`). InnoDB has ended the transaction for all new read views by the time
//! that its commit returns. A prepared transaction has a GTID of its own, which promises nothing but the log.
//!
//! MariaDB knows the GTIDs of a place in its log only by reading the file up to there. So they are
//! asked for where a stream may have to go by them, and a chunk is given its place alone.

use engine_core::position::Position;
use engine_core::{Error, ErrorKind, Result};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};

use crate::binlog::GtidSet;
use crate::error::server_error;
use crate::server::{Flavor, GtidMode, Server};

/// A position every transaction in which is visible to a read that begins after this call.
pub(crate) async fn low(conn: &mut Conn, server: &Server) -> Result<Position> {
    let failed = |error| server_error("the source's position can't be read", error);
    match server.gtid_mode {
        GtidMode::MySql => {
            let executed: Option<String> =
                conn.query_first("SELECT @@GLOBAL.gtid_executed").await.map_err(failed)?;
            let executed: String = executed.unwrap_or_default().split_whitespace().collect();
            Ok(Position(format!("server={};gtid={executed}", identity(server))))
        }
        GtidMode::Off => {
            let query = "SELECT JSON_UNQUOTE(JSON_EXTRACT(local, '$.binary_log_file')), \
                 JSON_EXTRACT(local, '$.binary_log_position') FROM performance_schema.log_status";
            let place: Option<(String, u64)> = conn.query_first(query).await.map_err(|error| {
                failed(error).help(
                    "without GTIDs the position comes from performance_schema.log_status: \
                     GRANT BACKUP_ADMIN ON *.* and SELECT ON performance_schema.log_status, or turn on gtid_mode",
                )
            })?;
            let (file, offset) = place.ok_or_else(no_binlog)?;
            Ok(file_position(server, &file, offset))
        }
        GtidMode::MariaDb => {
            conn.query_drop("START TRANSACTION WITH CONSISTENT SNAPSHOT").await.map_err(failed)?;
            let (file, offset) = snapshot_place(conn).await?;
            conn.query_drop("COMMIT").await.map_err(failed)?;
            mariadb_position(conn, server, &file, offset).await
        }
    }
}

/// A position that holds every transaction that a read ended before this call can have seen.
pub(crate) async fn high(conn: &mut Conn, server: &Server) -> Result<Position> {
    let row: Option<Row> = conn
        .query_first(server.binlog_status_statement())
        .await
        .map_err(|error| server_error("the end of the source's binlog can't be read", error))?;
    let place = row.and_then(|mut row| Some((row.take_opt(0)?.ok()?, row.take_opt(1)?.ok()?)));
    let (file, offset): (String, u64) = place.ok_or_else(no_binlog)?;
    if server.flavor == Flavor::MariaDb {
        return mariadb_position(conn, server, &file, offset).await;
    }
    let Position(place) = file_position(server, &file, offset);
    if server.gtid_mode != GtidMode::MySql {
        return Ok(Position(place));
    }
    // For a stream of another server, which has other files. What was in the log before is, by now,
    // executed or owned by a session that is about to have executed it; asked for in this order, so
    // that nothing slips from the one to the other in between.
    let failed = |error| server_error("the source's position can't be read", error);
    let owned: Option<String> = conn.query_first("SELECT @@GLOBAL.gtid_owned").await.map_err(failed)?;
    let executed: Option<String> = conn.query_first("SELECT @@GLOBAL.gtid_executed").await.map_err(failed)?;
    let sets = [owned.as_deref().map(without_owners), executed];
    let mut all = GtidSet::default();
    for set in sets.into_iter().flatten() {
        all.extend(&GtidSet::parse(&set).ok_or_else(|| {
            Error::new(ErrorKind::Internal, "the source's position can't be read")
                .because(format!("a GTID set is {set}"))
        })?);
    }
    Ok(Position(format!("{place};gtid={all}")))
}

/// `uuid:5#17:6#18` as a set: without the numbers of the sessions that own the transactions.
///
/// Between sets of the same server but of different tags, MySQL 9.7 writes nothing at all, so that such a
/// number runs into the next UUID: `uuid:5#17uuid:tag:1#18`. UUIDs are known by their length.
fn without_owners(owned: &str) -> String {
    let mut starts: Vec<usize> = (0..owned.len()).filter(|&place| is_uuid(owned.get(place..))).collect();
    if starts.first() != Some(&0) {
        return owned.to_owned();
    }
    starts.push(owned.len());
    let sets = starts.windows(2).filter_map(|bounds| owned.get(*bounds.first()?..*bounds.last()?));
    let sets: Vec<String> = sets
        .map(|set| {
            let mut in_owner = false;
            let kept: String = set
                .chars()
                .filter(|&character| {
                    in_owner = character == '#' || (in_owner && character.is_ascii_digit());
                    !in_owner
                })
                .collect();
            kept.trim_matches(|c: char| c == ',' || c.is_whitespace()).to_owned()
        })
        .collect();
    sets.join(",")
}

/// Whether text begins with a UUID, hyphens included.
fn is_uuid(text: Option<&str>) -> bool {
    const LENGTHS: [usize; 5] = [8, 4, 4, 4, 12];
    let Some(uuid) = text.and_then(|text| text.get(..36)) else { return false };
    let mut groups = uuid.split('-');
    LENGTHS.iter().all(|&length| {
        groups
            .next()
            .is_some_and(|group| group.len() == length && group.bytes().all(|b| b.is_ascii_hexdigit()))
    })
}

/// MariaDB: the position of the consistent snapshot that is open on `conn`; exactly the
/// transactions that it shows.
///
/// It is a place in the files of this server. `identified` adds the GTIDs before it, which takes
/// the server the time to read its current log file.
pub(crate) async fn snapshot(conn: &mut Conn, server: &Server, identified: bool) -> Result<Position> {
    let (file, offset) = snapshot_place(conn).await?;
    if identified {
        return mariadb_position(conn, server, &file, offset).await;
    }
    Ok(file_position(server, &file, offset))
}

/// MariaDB: `place`, a position in the files alone, with the GTIDs that are logged by now; the server has
/// them at hand.
pub(crate) async fn with_logged(conn: &mut Conn, place: &Position) -> Result<Position> {
    let state: Option<String> = conn
        .query_first("SELECT @@GLOBAL.gtid_binlog_pos")
        .await
        .map_err(|error| server_error("the source's position can't be read", error))?;
    Ok(Position(format!("{place};mariadb={}", state.unwrap_or_default())))
}

async fn snapshot_place(conn: &mut Conn) -> Result<(String, u64)> {
    let variables: Vec<(String, String)> = conn
        .query("SHOW STATUS WHERE Variable_name IN ('binlog_snapshot_file', 'binlog_snapshot_position')")
        .await
        .map_err(|error| server_error("the snapshot's position can't be read", error))?;
    let variable = |wanted: &str| {
        let found = variables.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.as_str())
    };
    let file = variable("binlog_snapshot_file").filter(|file| !file.is_empty());
    let offset = variable("binlog_snapshot_position").and_then(|offset| offset.parse().ok());
    file.map(str::to_owned).zip(offset).ok_or_else(no_binlog)
}

async fn mariadb_position(conn: &mut Conn, server: &Server, file: &str, offset: u64) -> Result<Position> {
    let query = format!("SELECT BINLOG_GTID_POS('{file}', {offset})");
    let state: Option<Option<String>> = conn
        .query_first(query)
        .await
        .map_err(|error| server_error("the GTID state of a binlog position can't be read", error))?;
    let Some(Some(state)) = state else {
        return Err(Error::new(
            ErrorKind::Precondition,
            "the server can't tell the GTIDs of its own position",
        )
        .at("position", format!("{file}:{offset}"))
        .because("BINLOG_GTID_POS answered NULL"));
    };
    let Position(place) = file_position(server, file, offset);
    Ok(Position(format!("{place};mariadb={state}")))
}

fn file_position(server: &Server, file: &str, offset: u64) -> Position {
    Position(format!("server={};file={file}:{offset}", identity(server)))
}

/// Whose files are meant: the UUID of MySQL, the number of MariaDB.
pub(crate) fn identity(server: &Server) -> String {
    match (server.flavor, &server.server_uuid) {
        (Flavor::MySql, Some(uuid)) => uuid.clone(),
        _ => server.server_id.to_string(),
    }
}

fn no_binlog() -> Error {
    Error::new(ErrorKind::Precondition, "the source writes no binlog")
        .help("set log_bin on the source and restart it, or migrate with --mode offline")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owned_transactions_read_as_a_set() {
        let uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
        let owned = without_owners(&format!("{uuid}:5#17:6#18#19,\n{uuid}:9#4"));
        assert_eq!(GtidSet::parse(&owned), GtidSet::parse(&format!("{uuid}:5-6:9")));
        assert_eq!(GtidSet::parse(&without_owners("")), Some(GtidSet::default()));
        let tagged = without_owners(&format!("{uuid}:5#17:6#18{uuid}:tag:1#19"));
        assert_eq!(GtidSet::parse(&tagged), GtidSet::parse(&format!("{uuid}:5-6:tag:1")));
        assert_eq!(GtidSet::parse(&without_owners("5#17")), None);
    }
}
