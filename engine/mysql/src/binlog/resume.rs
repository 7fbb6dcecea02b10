//! Whether the stream can go on from a position.

use engine_core::transaction::TransactionSet;
use engine_core::{Error, ErrorKind, Result};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use std::cmp::Ordering;
use std::time::Duration;

use super::gtid::{GtidSet, GtidState, LoggedState, Origin};
use super::position::{FilePosition, LogPosition, Transactions};
use crate::error::server_error;
use crate::server::{GtidMode, Server};
use crate::watermark::identity;

fn unreadable(what: &str) -> Error {
    Error::new(ErrorKind::Internal, "the server's position can't be read").because(what)
}

async fn first_text(conn: &mut Conn, query: &str) -> Result<Option<String>> {
    conn.query_first::<Option<String>, _>(query)
        .await
        .map(Option::flatten)
        .map_err(|error| server_error("the server's position can't be read", error))
}

/// MySQL's `gtid_executed` or another set that it shows.
async fn gtid_set(conn: &mut Conn, variable: &str) -> Result<GtidSet> {
    let text = first_text(conn, &format!("SELECT @@GLOBAL.{variable}")).await?.unwrap_or_default();
    GtidSet::parse(&text).ok_or_else(|| unreadable("a GTID set is not in the form of one"))
}

/// How long the server may lag behind its own log: a stream can have delivered a transaction
/// that the server has not finished committing.
const SETTLE: Duration = Duration::from_secs(10);

/// Why the stream can't go on from `from`, if it can't; `applied` are transactions beyond it that
/// the task has seen all the same.
pub(crate) async fn check(
    conn: &mut Conn,
    server: &Server,
    from: &LogPosition,
    applied: &TransactionSet,
) -> Result<()> {
    match (&from.transactions, server.gtid_mode) {
        (Some(Transactions::Set(set)), GtidMode::MySql) => {
            let mut seen = set.clone();
            for transaction in applied.iter() {
                if let Some(origin) = Origin::parse(&transaction.origin) {
                    seen.insert(&origin, transaction.number, transaction.number);
                }
            }
            check_set(conn, set, &seen, from).await?;
            check_history(conn, server, from).await
        }
        (Some(Transactions::State(state)), GtidMode::MariaDb) => {
            check_state(conn, state, applied, from).await?;
            check_history(conn, server, from).await
        }
        _ => check_file(conn, server, &from.beginning()).await,
    }
}

async fn check_set(conn: &mut Conn, set: &GtidSet, seen: &GtidSet, from: &LogPosition) -> Result<()> {
    let purged = gtid_set(conn, "gtid_purged").await?;
    if !set.contains_all(&purged) {
        return Err(purged_error(from).because("gtid_purged holds transactions that the task has not seen"));
    }
    let until = tokio::time::Instant::now() + SETTLE;
    loop {
        let executed = gtid_set(conn, "gtid_executed").await?;
        if executed.contains_all(seen) {
            return Ok(());
        }
        if tokio::time::Instant::now() >= until {
            return Err(lacking_error(from).because(format!("its gtid_executed is {executed}")));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// MariaDB compares the state too when the stream is opened, but a stream may not be needed to find
/// that everything wanted is there.
async fn check_state(
    conn: &mut Conn,
    state: &GtidState,
    applied: &TransactionSet,
    from: &LogPosition,
) -> Result<()> {
    let text = first_text(conn, "SELECT @@GLOBAL.gtid_binlog_state").await?.unwrap_or_default();
    let logged =
        LoggedState::parse(&text).ok_or_else(|| unreadable("a GTID state is not in the form of one"))?;
    let has_applied = applied.iter().all(|transaction| {
        let origin = transaction.origin.split_once('-');
        let origin = origin.and_then(|(domain, server)| Some((domain.parse().ok()?, server.parse().ok()?)));
        // Without an identifier it is named after its place in the log, which is checked by itself.
        origin.is_none_or(|(domain, server)| logged.contains(domain, server, transaction.number))
    });
    if has_applied && state.iter().all(|(domain, server, sequence)| logged.contains(domain, server, sequence))
    {
        return Ok(());
    }
    Err(lacking_error(from).because(format!("its gtid_binlog_state is {text}")))
}

async fn check_file(conn: &mut Conn, server: &Server, from: &LogPosition) -> Result<()> {
    let Some(place) = &from.file else {
        return Err(Error::new(
            ErrorKind::Precondition,
            "the source no longer has the GTIDs that the task goes by",
        )
        .at("position", from)
        .help("set gtid_mode = ON again, or start a new task"));
    };
    if from.server != identity(server) {
        return Err(Error::new(ErrorKind::Precondition, "the position is one of another server's log")
            .at("position", from)
            .because(format!("this server is {}", identity(server)))
            .help("connect to the server that the task began with, or start a new task"));
    }
    let ends = log_ends(conn).await?;
    match ends.iter().find(|end| end.file == place.file) {
        Some(end) if place.offset <= end.offset => Ok(()),
        Some(_) => Err(shorter_error(from)),
        None => Err(purged_error(from).because("the file is not there any more")),
    }
}

/// A log that was reset begins to number its files and its transactions anew, so that the numbers of a task come to mean
/// other transactions once there are enough of them. The place in the log shows it, unless the new log has got there too.
async fn check_history(conn: &mut Conn, server: &Server, from: &LogPosition) -> Result<()> {
    let Some(place) = from.file.as_ref().filter(|_| from.server == identity(server)) else { return Ok(()) };
    let ends = log_ends(conn).await?;
    let is_before = |end: &FilePosition| end.compare(place) == Some(Ordering::Less);
    if ends.iter().all(is_before) { Err(shorter_error(from)) } else { Ok(()) }
}

/// The end of each file of the log that is there.
async fn log_ends(conn: &mut Conn) -> Result<Vec<FilePosition>> {
    let logs: Vec<Row> = conn
        .query("SHOW BINARY LOGS")
        .await
        .map_err(|error| server_error("the list of log files can't be read", error))?;
    let end = |row: &Row| Some(FilePosition { file: row.get_opt(0)?.ok()?, offset: row.get_opt(1)?.ok()? });
    logs.iter()
        .map(end)
        .collect::<Option<_>>()
        .ok_or_else(|| unreadable("the list of log files is in another form"))
}

fn lacking_error(from: &LogPosition) -> Error {
    Error::new(ErrorKind::Precondition, "the source lacks transactions that the task has applied")
        .at("position", from)
        .help("it is another server, or was restored from a backup: connect to the right one, or start a new task")
}

fn shorter_error(from: &LogPosition) -> Error {
    Error::new(ErrorKind::Precondition, "the source's log is shorter than the task has read")
        .at("position", from)
        .help("the log was reset or lost its end in a crash: start a new task")
}

fn purged_error(from: &LogPosition) -> Error {
    Error::new(ErrorKind::Precondition, "the source has purged the part of its binlog that is needed next")
        .at("position", from)
        .help("start a new task, and keep the log longer (binlog_expire_logs_seconds)")
}
