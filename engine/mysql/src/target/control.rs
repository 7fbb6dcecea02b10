//! What the target remembers of tasks, in database `_migration`.
//!
//! # Fencing
//! [`claim`] adds one to the task's `epoch`. Every commit proves in its own transaction that the
//! epoch is still the one it claimed: a chunk's record is inserted only while the task's row is
//! locked for sharing at that epoch, and a lane's row moves by an `UPDATE … WHERE epoch = …`. Both wait
//! for a claim in progress and then fail, and a claim waits for both. Chunks of many loaders share
//! their lock; each lane has a row of its own.
//!
//! So what a claimant reads of the task *after* its claim is final; read before, it may be
//! outdated by a last commit of the engine it replaced.
//!
//! # Statements of structure
//! They commit by themselves, whatever transaction they are in. So another connection holds the task's
//! row while they run, see [`Guard`], and what they are about to make is on record before.

use engine_core::position::{Position, Watermarks};
use engine_core::schema::TableName;
use engine_core::source::{ChunkRange, KeyBound};
use engine_core::target::{ChunkRecord, TaskRecord};
use engine_core::{Error, ErrorKind, Result};
use mysql_async::prelude::FromValue;
use mysql_async::{Error as DriverFailure, Row, Value};

use super::failure::translate;
use super::session::Session;
use super::{lanes, shared};

/// Version of the tables below.
const FORMAT: i64 = 2;

/// Serialises engines that create the tables at the same time.
const SETUP_LOCK: &str = "_migration.setup";

/// Names are compared byte by byte, as the engine does.
const TABLES: [&str; 8] = [
    "CREATE TABLE IF NOT EXISTS _migration.task (\
        name VARCHAR(190) NOT NULL PRIMARY KEY, epoch BIGINT NOT NULL, session BIGINT NOT NULL DEFAULT 0, \
        plan_digest VARCHAR(190) NOT NULL, start_position LONGTEXT, built BOOLEAN NOT NULL DEFAULT FALSE, \
        created_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), \
        claimed_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)\
    ) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
    "CREATE TABLE IF NOT EXISTS _migration.lane (\
        task VARCHAR(190) NOT NULL, number INT NOT NULL, epoch BIGINT NOT NULL, session BIGINT NOT NULL, \
        commits BIGINT NOT NULL DEFAULT 0, sequence BIGINT NOT NULL DEFAULT 0, position LONGTEXT, \
        applied LONGBLOB NOT NULL, moved_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), \
        PRIMARY KEY (task, number)\
    ) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
    "CREATE TABLE IF NOT EXISTS _migration.chunk (\
        task VARCHAR(190) NOT NULL, namespace VARCHAR(128) NOT NULL, name VARCHAR(128) NOT NULL, \
        number BIGINT NOT NULL, range_after LONGBLOB, range_to LONGBLOB, row_count BIGINT NOT NULL, \
        low LONGTEXT NOT NULL, high LONGTEXT NOT NULL, \
        finished_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), \
        PRIMARY KEY (task, namespace, name, number)\
    ) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
    "CREATE TABLE IF NOT EXISTS _migration.source_table (\
        task VARCHAR(190) NOT NULL, namespace VARCHAR(128) NOT NULL, name VARCHAR(128) NOT NULL, \
        definition LONGTEXT NOT NULL, as_of LONGTEXT, PRIMARY KEY (task, namespace, name)\
    ) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
    "CREATE TABLE IF NOT EXISTS _migration.owned_table (\
        namespace VARCHAR(128) NOT NULL, name VARCHAR(128) NOT NULL, task VARCHAR(190) NOT NULL, \
        made BOOLEAN NOT NULL, created_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), \
        PRIMARY KEY (namespace, name)\
    ) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
    "CREATE TABLE IF NOT EXISTS _migration.dead_letter (\
        task VARCHAR(190) NOT NULL, identity BINARY(16) NOT NULL, number BIGINT NOT NULL AUTO_INCREMENT UNIQUE, \
        content LONGTEXT NOT NULL, recorded_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), \
        PRIMARY KEY (task, identity)\
    ) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
    "CREATE TABLE IF NOT EXISTS _migration.intent (\
        task VARCHAR(190) NOT NULL PRIMARY KEY, content LONGTEXT NOT NULL\
    ) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
    // Last, so that a server has all of them when it has this one with its row.
    "CREATE TABLE IF NOT EXISTS _migration.format (version BIGINT NOT NULL PRIMARY KEY) ENGINE = InnoDB \
        COMMENT = 'State of migration tasks. Drop the database when no task goes on any more.'",
];

/// The right to write for a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    /// Task.
    pub(super) task: String,
    /// Its epoch at the time.
    pub(super) epoch: i64,
}

impl Claim {
    /// The error of an engine whose claim was taken over.
    pub(super) fn lost(&self) -> Error {
        Error::new(ErrorKind::Divergence, "another engine has taken over this task")
            .at("task", &self.task)
            .because(format_args!(
                "the target's epoch is no longer {}; nothing of this commit was kept",
                self.epoch
            ))
            .help("see which other engine runs a task of this name, and let only one of them go on")
    }

    /// Fails unless the task is still this engine's, and keeps it so until the open transaction ends.
    pub(super) async fn hold(&self, session: &mut Session) -> Result<()> {
        let rows = session
            .select(
                "SELECT epoch FROM _migration.task WHERE name = ? AND epoch = ? LOCK IN SHARE MODE",
                (&self.task, self.epoch),
            )
            .await
            .map_err(|error| translate(error, "the target can't be asked whose the task is"))?;
        if rows.is_empty() { Err(self.lost()) } else { Ok(()) }
    }
}

/// A transaction on a connection of its own that keeps others from taking the task over while
/// statements run that commit by themselves. It ends with the connection.
pub(super) struct Guard {
    session: Session,
}

impl Guard {
    pub(super) async fn new(mut session: Session, claim: &Claim) -> Result<Self> {
        begin(&mut session).await?;
        claim.hold(&mut session).await?;
        Ok(Self { session })
    }

    pub(super) async fn release(mut self) -> Result<()> {
        self.session.run("ROLLBACK").await.map_err(|error| translate(error, "a transaction can't be ended"))
    }
}

pub(super) async fn begin(session: &mut Session) -> Result<()> {
    session.run("START TRANSACTION").await.map_err(|error| translate(error, "a transaction can't be begun"))
}

/// A field of a row that the engine wrote itself.
pub(super) fn field<T: FromValue>(row: &mut Row, index: usize) -> Result<T> {
    match row.take_opt::<T, usize>(index) {
        Some(Ok(value)) => Ok(value),
        _ => Err(Error::new(ErrorKind::State, "the target's record of the task makes no sense")
            .because(format_args!("field {index} is missing or of another type"))
            .help("go on with the version of the engine that wrote it, or begin a new task")),
    }
}

/// Creates the tables, and registers the task or takes it over.
pub(super) async fn claim(
    session: &mut Session,
    name: &str,
    plan_digest: &str,
    start: Option<&Position>,
) -> Result<Claim> {
    let failed = |error| translate(error, "the task can't be registered in the target").at("task", name);
    set_up(session).await?;
    begin(session).await?;
    let start = start.map(|position| position.0.as_str());
    session
        .change(
            "INSERT INTO _migration.task (name, epoch, plan_digest, start_position) VALUES (?, 1, ?, ?) \
             ON DUPLICATE KEY UPDATE epoch = epoch + 1, start_position = COALESCE(start_position, ?), \
             claimed_at = CURRENT_TIMESTAMP(6)",
            (name, plan_digest, start, start),
        )
        .await
        .map_err(failed)?;
    let rows = session
        .select("SELECT epoch, plan_digest FROM _migration.task WHERE name = ?", (name,))
        .await
        .map_err(failed)?;
    let mut row = rows.into_iter().next().ok_or_else(|| {
        Error::new(ErrorKind::Internal, "the target has no record of the task that was just made")
    })?;
    let (epoch, bound_to): (i64, String) = (field(&mut row, 0)?, field(&mut row, 1)?);
    if !is_bound(session, name).await? {
        begin_anew(session, name, plan_digest, start).await?;
    } else if bound_to != plan_digest {
        // Without a commit the task stays with whoever has it.
        session.run("ROLLBACK").await.map_err(failed)?;
        return Err(Error::new(ErrorKind::State, "the plan is not the one that the task was begun with")
            .at("task", name)
            .because("rows already in the target followed another plan")
            .help("go back to the same plugins and configuration, or begin a new task with another --name"));
    }
    lanes::take_over(session, name).await?;
    session.run("COMMIT").await.map_err(failed)?;
    Ok(Claim { task: name.to_owned(), epoch })
}

/// Whether anything was made for the task. A table that is there may have been made although that is not on
/// record, by an engine that died before.
async fn is_bound(session: &mut Session, name: &str) -> Result<bool> {
    let failed = |error| translate(error, "the target's record of the task can't be read").at("task", name);
    let made = session
        .select(
            "SELECT EXISTS (SELECT 1 FROM _migration.owned_table WHERE task = ? AND made) \
             OR EXISTS (SELECT 1 FROM _migration.chunk WHERE task = ?) \
             OR EXISTS (SELECT 1 FROM _migration.task WHERE name = ? AND built)",
            (name, name, name),
        )
        .await
        .map_err(failed)?;
    if let Some(mut row) = made.into_iter().next()
        && field(&mut row, 0)?
    {
        return Ok(true);
    }
    let begun = session
        .select("SELECT namespace, name FROM _migration.owned_table WHERE task = ?", (name,))
        .await
        .map_err(failed)?;
    for mut row in begun {
        let there = session
            .select(
                "SELECT 1 FROM information_schema.tables WHERE LOWER(table_schema) = LOWER(?) \
                 AND LOWER(table_name) = LOWER(?)",
                (field::<String>(&mut row, 0)?, field::<String>(&mut row, 1)?),
            )
            .await
            .map_err(failed)?;
        if !there.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Replaces all that is on record of a task for which nothing was made, but its epoch.
async fn begin_anew(session: &mut Session, name: &str, plan_digest: &str, start: Option<&str>) -> Result<()> {
    let failed = |error| translate(error, "the task can't be registered in the target").at("task", name);
    session
        .change(
            "UPDATE _migration.task SET plan_digest = ?, start_position = ? WHERE name = ?",
            (plan_digest, start, name),
        )
        .await
        .map_err(failed)?;
    for table in ["lane", "source_table", "owned_table"] {
        session
            .change(&format!("DELETE FROM _migration.{table} WHERE task = ?"), (name,))
            .await
            .map_err(failed)?;
    }
    shared::leave(session, name).await
}

/// Makes what isn't there of the database. Statements of structure commit by themselves, so each does
/// nothing when what it makes is there.
async fn set_up(session: &mut Session) -> Result<()> {
    let failed = |error| {
        translate(error, "the database _migration can't be created in the target")
            .help("GRANT ALL ON `\\_migration`.* to the account")
    };
    if !exists(session).await? {
        let locked = session.select("SELECT GET_LOCK(?, 60)", (SETUP_LOCK,)).await.map_err(failed)?;
        let locked: Option<i64> = match locked.into_iter().next() {
            Some(mut row) => field(&mut row, 0)?,
            None => None,
        };
        if locked != Some(1) {
            return Err(Error::new(ErrorKind::Transient, "another engine sets the target up just now"));
        }
        session.run("CREATE DATABASE IF NOT EXISTS _migration").await.map_err(failed)?;
        for table in TABLES {
            session.run(table).await.map_err(failed)?;
        }
        session
            .run(format!("INSERT IGNORE INTO _migration.format VALUES ({FORMAT})"))
            .await
            .map_err(failed)?;
        session.select("SELECT RELEASE_LOCK(?)", (SETUP_LOCK,)).await.map_err(failed)?;
    }
    check_format(session).await
}

fn unreadable(error: DriverFailure) -> Error {
    translate(error, "the target's record of tasks can't be read")
}

/// Whether the tables are there, with the version that says that all are.
pub(super) async fn exists(session: &mut Session) -> Result<bool> {
    let rows = session
        .query(
            "SELECT 1 FROM information_schema.tables WHERE table_schema = '_migration' AND table_name = 'format'",
        )
        .await
        .map_err(unreadable)?;
    if rows.is_empty() {
        return Ok(false);
    }
    Ok(!session.query("SELECT 1 FROM _migration.format").await.map_err(unreadable)?.is_empty())
}

pub(super) async fn check_format(session: &mut Session) -> Result<()> {
    let rows = session.query("SELECT version FROM _migration.format").await.map_err(unreadable)?;
    let versions: Vec<i64> = rows.into_iter().map(|mut row| field(&mut row, 0)).collect::<Result<_>>()?;
    if versions == [FORMAT] {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::State,
        "database _migration in the target was made by another version of the engine",
    )
    .because(format_args!("it has format {versions:?}, this engine writes {FORMAT}"))
    .help(
        "go on with the version that began the task, or finish it, DROP DATABASE _migration, and begin anew",
    ))
}

/// Reads what the target knows of a task, all of it at one moment.
pub(super) async fn task(session: &mut Session, name: &str) -> Result<Option<TaskRecord>> {
    let failed = |error| translate(error, "the target's record of the task can't be read").at("task", name);
    if !exists(session).await? {
        return Ok(None);
    }
    check_format(session).await?;
    session.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").await.map_err(failed)?;
    session.run("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY").await.map_err(failed)?;
    let rows = session
        .select(
            "SELECT plan_digest, start_position, built, (SELECT l.position FROM _migration.lane l \
             WHERE l.task = t.name ORDER BY sequence DESC LIMIT 1) FROM _migration.task t WHERE name = ?",
            (name,),
        )
        .await
        .map_err(failed)?;
    let chunks = session
        .select(
            "SELECT namespace, name, number, range_after, range_to, row_count, low, high FROM _migration.chunk \
             WHERE task = ? ORDER BY namespace, name, number",
            (name,),
        )
        .await
        .map_err(failed)?;
    session.run("COMMIT").await.map_err(failed)?;
    let Some(mut row) = rows.into_iter().next() else { return Ok(None) };
    // What is made on a server whose statements of structure commit by themselves is in no snapshot.
    let is_bound = is_bound(session, name).await?;
    Ok(Some(TaskRecord {
        plan_digest: field(&mut row, 0)?,
        start: field::<Option<String>>(&mut row, 1)?.map(Position),
        built: field(&mut row, 2)?,
        position: field::<Option<String>>(&mut row, 3)?.map(Position),
        chunks: chunks.into_iter().map(chunk).collect::<Result<_>>()?,
        is_bound,
    }))
}

fn chunk(mut row: Row) -> Result<ChunkRecord> {
    Ok(ChunkRecord {
        table: TableName::new(field::<String>(&mut row, 0)?, field::<String>(&mut row, 1)?),
        number: field(&mut row, 2)?,
        range: ChunkRange {
            after: field::<Option<Vec<u8>>>(&mut row, 3)?.map(KeyBound),
            to: field::<Option<Vec<u8>>>(&mut row, 4)?.map(KeyBound),
        },
        rows: field(&mut row, 5)?,
        watermarks: Watermarks { low: Position(field(&mut row, 6)?), high: Position(field(&mut row, 7)?) },
    })
}

/// Inserts a chunk's record in the open transaction, while the claim holds.
pub(super) async fn insert_chunk(session: &mut Session, claim: &Claim, record: &ChunkRecord) -> Result<()> {
    claim.hold(session).await?;
    let bound = |bound: &Option<KeyBound>| match bound {
        Some(bound) => Value::Bytes(bound.0.clone()),
        None => Value::NULL,
    };
    let parameters: Vec<Value> = vec![
        claim.task.as_str().into(),
        record.table.namespace.as_str().into(),
        record.table.name.as_str().into(),
        record.number.into(),
        bound(&record.range.after),
        bound(&record.range.to),
        record.rows.into(),
        record.watermarks.low.0.as_str().into(),
        record.watermarks.high.0.as_str().into(),
    ];
    session
        .change(
            "INSERT INTO _migration.chunk \
             (task, namespace, name, number, range_after, range_to, row_count, low, high) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            parameters,
        )
        .await
        .map_err(|error| {
            if matches!(&error, DriverFailure::Server(error) if error.code == 1062) {
                // Most likely a commit of this very chunk whose answer was lost.
                return Error::new(ErrorKind::State, "the target already has this chunk")
                    .at("table", &record.table)
                    .at("chunk", record.number)
                    .help("run the same command again: it goes on from what the target has");
            }
            translate(error, "a chunk's record can't be written").at("table", &record.table)
        })?;
    Ok(())
}

/// Records that indexes and foreign keys are built.
pub(super) async fn record_built(session: &mut Session, claim: &Claim) -> Result<()> {
    let held = session
        .change(
            "UPDATE _migration.task SET built = TRUE WHERE name = ? AND epoch = ?",
            (&claim.task, claim.epoch),
        )
        .await
        .map_err(|error| translate(error, "the task's record can't be written").at("task", &claim.task))?;
    if held == 1 { Ok(()) } else { Err(claim.lost()) }
}

/// Makes what is committed survive a crash of the server. The log is written in the order of commits, so a
/// commit that is durable makes all before it so; a server that is set not to wait for its disk is made to
/// by FLUSH, where the account may.
pub(super) async fn flush(session: &mut Session, claim: &Claim) -> Result<()> {
    let failed = |error| translate(error, "the copied rows can't be made durable").at("task", &claim.task);
    let rows = session.query("SELECT @@GLOBAL.innodb_flush_log_at_trx_commit").await.map_err(failed)?;
    let durable = match rows.into_iter().next() {
        Some(mut row) => field::<i64>(&mut row, 0)? == 1,
        None => false,
    };
    begin(session).await?;
    let touched = session
        .change(
            "UPDATE _migration.task SET claimed_at = CURRENT_TIMESTAMP(6) WHERE name = ? AND epoch = ?",
            (&claim.task, claim.epoch),
        )
        .await
        .map_err(failed)?;
    if touched != 1 {
        return Err(claim.lost());
    }
    session.run("COMMIT").await.map_err(failed)?;
    if durable {
        return Ok(());
    }
    match session.run("FLUSH LOCAL ENGINE LOGS").await {
        // `check` has warned of such a server.
        Ok(()) | Err(DriverFailure::Server(_)) => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

/// Whether the target holds `record`, asked over a new connection after a `COMMIT` whose answer was
/// lost. A record that isn't committed yet is locked by its transaction, so that asking for its lock
/// waits until the transaction in doubt has ended.
pub(super) async fn has_chunk(session: &mut Session, claim: &Claim, record: &ChunkRecord) -> Result<bool> {
    let rows = session
        .select(
            "SELECT namespace, name, number, range_after, range_to, row_count, low, high FROM _migration.chunk \
             WHERE task = ? AND namespace = ? AND name = ? AND number = ? FOR UPDATE",
            (&claim.task, &record.table.namespace, &record.table.name, record.number),
        )
        .await
        .map_err(|error| {
            translate(error, "the target can't be asked about a chunk").at("table", &record.table)
        })?;
    match rows.into_iter().next() {
        Some(row) => Ok(chunk(row)? == *record),
        None => Ok(false),
    }
}
