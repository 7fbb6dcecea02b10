//! What the target remembers of tasks, in schema `_migration`; its tables are listed in the crate's
//! documentation.
//!
//! # Fencing
//! [`claim`] adds one to the task's `epoch`. Every commit proves in its own transaction that the
//! epoch is still the one it claimed: a chunk's record is inserted only while the task's row is
//! locked `FOR SHARE` at that epoch, and a lane's row moves by an `UPDATE … WHERE epoch = …`. Both wait
//! for a claim in progress and then fail, and a claim waits for both. Chunks of many loaders share
//! their lock; each lane has a row of its own.
//!
//! So what a claimant reads of the task *after* its claim is final; read before, it may be
//! outdated by a last commit of the engine it replaced.
//!
//! # Durability
//! Sessions never run with `synchronous_commit` off, whatever the server is set to; but the
//! transactions of chunks do. A crash of the server may lose the newest of them, and then rows and record
//! are gone together. The engine, which lives on, has to ask: [`flush`] makes durable what is
//! there, since the write-ahead log is sequential, and chunks without a record then are copied again.

use engine_core::position::{Position, Watermarks};
use engine_core::schema::TableName;
use engine_core::source::{ChunkRange, KeyBound};
use engine_core::target::{ChunkRecord, TaskRecord};
use engine_core::{Error, ErrorKind, Result};
use sha2::{Digest, Sha256};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Transaction};

use crate::dialect::Dialect;
use crate::existing::has_record;
use crate::failure::translate;
use crate::lanes;

/// Version of the tables below.
const FORMAT: i32 = 5;

/// Serialises engines that create the tables at the same time; an arbitrary number.
const SETUP_LOCK: i64 = 0x6d69_6772_6174_696f;

/// The tables; `{numbered}` and `{applied}` are what a number that counts by itself, and bytes that are none at
/// first, are declared as.
const TABLES: &str = "
CREATE SCHEMA IF NOT EXISTS _migration;
COMMENT ON SCHEMA _migration IS 'State of migration tasks. Drop it when no task goes on any more.';
CREATE TABLE IF NOT EXISTS _migration.format (version integer NOT NULL);
CREATE TABLE IF NOT EXISTS _migration.task (
    name text PRIMARY KEY,
    epoch bigint NOT NULL,
    session bigint NOT NULL DEFAULT 0,
    plan_digest text NOT NULL,
    start_position text,
    built boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    claimed_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS _migration.lane (
    task text NOT NULL REFERENCES _migration.task (name) ON DELETE CASCADE,
    number integer NOT NULL,
    epoch bigint NOT NULL,
    session bigint NOT NULL,
    commits bigint NOT NULL DEFAULT 0,
    sequence bigint NOT NULL DEFAULT 0,
    position text,
    applied {applied},
    moved_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (task, number)
) WITH (fillfactor = 10);
CREATE TABLE IF NOT EXISTS _migration.chunk (
    task text NOT NULL,
    namespace text NOT NULL,
    name text NOT NULL,
    number bigint NOT NULL,
    range_after bytea,
    range_to bytea,
    row_count bigint NOT NULL,
    low text NOT NULL,
    high text NOT NULL,
    finished_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (task, namespace, name, number)
);
CREATE TABLE IF NOT EXISTS _migration.source_table (
    task text NOT NULL,
    namespace text NOT NULL,
    name text NOT NULL,
    definition text NOT NULL,
    as_of text,
    PRIMARY KEY (task, namespace, name)
);
CREATE TABLE IF NOT EXISTS _migration.dead_letter (
    task text NOT NULL,
    identity bytea NOT NULL,
    number {numbered},
    content text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (task, identity)
);
CREATE TABLE IF NOT EXISTS _migration.owned_table (
    namespace text NOT NULL,
    name text NOT NULL,
    task text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (namespace, name)
);";

fn tables(dialect: Dialect) -> String {
    let (numbered, applied) = match dialect {
        Dialect::Postgres => ("bigint NOT NULL GENERATED ALWAYS AS IDENTITY", "bytea NOT NULL DEFAULT ''"),
        // The default would be NULL where an empty string is.
        Dialect::OpenGauss(_) => ("bigserial NOT NULL", "bytea"),
    };
    TABLES.replace("{numbered}", numbered).replace("{applied}", applied)
}

/// The right to write for a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    /// Task.
    pub(crate) task: String,
    /// Its epoch at the time.
    pub(crate) epoch: i64,
}

impl Claim {
    /// The error of an engine whose claim was taken over.
    pub(crate) fn lost(&self) -> Error {
        Error::new(ErrorKind::Divergence, "another engine has taken over this task")
            .at("task", &self.task)
            .because(format_args!(
                "the target's epoch is no longer {}; nothing of this commit was kept",
                self.epoch
            ))
            .help("see which other engine runs a task of this name, and let only one of them go on")
    }
}

/// Creates the tables, and registers the task or takes it over.
pub(crate) async fn claim(
    client: &mut Client,
    dialect: Dialect,
    name: &str,
    plan_digest: &str,
    start: Option<&Position>,
) -> Result<Claim> {
    let failed = |error| translate(error, "the task can't be registered in the target").at("task", name);
    let transaction = client.transaction().await.map_err(failed)?;
    transaction
        .batch_execute(&format!("SELECT pg_catalog.pg_advisory_xact_lock({SETUP_LOCK})"))
        .await
        .map_err(failed)?;
    if !exists(&transaction).await? {
        transaction.batch_execute(&tables(dialect)).await.map_err(|error| {
            translate(error, "the schema _migration can't be created in the target")
                .help("GRANT CREATE ON DATABASE to the account")
        })?;
        transaction.execute("INSERT INTO _migration.format VALUES ($1)", &[&FORMAT]).await.map_err(failed)?;
    }
    check_format(&transaction).await?;
    let start = start.map(|position| position.0.as_str());
    // The lock above is held, so that no other claim comes between.
    let taken_over = transaction
        .query_opt(
            "UPDATE _migration.task SET epoch = epoch + 1, start_position = COALESCE(start_position, $2::text), \
             claimed_at = now() WHERE name = $1 RETURNING epoch, plan_digest",
            &[&name, &start],
        )
        .await
        .map_err(failed)?;
    let row = match taken_over {
        Some(row) => row,
        None => transaction
            .query_one(
                "INSERT INTO _migration.task (name, epoch, plan_digest, start_position) VALUES ($1, 1, $2, $3) \
                 RETURNING epoch, plan_digest",
                &[&name, &plan_digest, &start],
            )
            .await
            .map_err(failed)?,
    };
    let epoch: i64 = row.get(0);
    if !is_bound(&transaction, name).await? {
        begin_anew(&transaction, name, plan_digest, start).await?;
    } else if row.get::<_, &str>(1) != plan_digest {
        // Dropping the transaction leaves the task with whoever has it.
        return Err(Error::new(ErrorKind::State, "the plan is not the one that the task was begun with")
            .at("task", name)
            .because("rows already in the target followed another plan")
            .help("go back to the same plugins and configuration, or begin a new task with another --name"));
    }
    lanes::take_over(&transaction, name).await?;
    transaction.commit().await.map_err(failed)?;
    Ok(Claim { task: name.to_owned(), epoch })
}

/// Whether anything was made for the task.
async fn is_bound(transaction: &Transaction<'_>, name: &str) -> Result<bool> {
    let row = transaction
        .query_one(
            "SELECT EXISTS (SELECT 1 FROM _migration.owned_table WHERE task = $1) \
             OR EXISTS (SELECT 1 FROM _migration.chunk WHERE task = $1) \
             OR EXISTS (SELECT 1 FROM _migration.task WHERE name = $1 AND built)",
            &[&name],
        )
        .await
        .map_err(|error| {
            translate(error, "the target's record of the task can't be read").at("task", name)
        })?;
    Ok(row.get(0))
}

/// Replaces all that is on record of a task for which nothing was made, but its epoch.
async fn begin_anew(
    transaction: &Transaction<'_>,
    name: &str,
    plan_digest: &str,
    start: Option<&str>,
) -> Result<()> {
    let failed = |error| translate(error, "the task can't be registered in the target").at("task", name);
    transaction
        .execute(
            "UPDATE _migration.task SET plan_digest = $2, start_position = $3::text WHERE name = $1",
            &[&name, &plan_digest, &start],
        )
        .await
        .map_err(failed)?;
    for table in ["lane", "source_table"] {
        let sql = format!("DELETE FROM _migration.{table} WHERE task = $1");
        transaction.execute(&sql, &[&name]).await.map_err(failed)?;
    }
    Ok(())
}

/// Whether there are records of tasks, of this format.
pub(crate) async fn knows_tasks(client: &mut Client) -> Result<bool> {
    let failed = |error| translate(error, "the target's record of tasks can't be read");
    let transaction = client.transaction().await.map_err(failed)?;
    if !exists(&transaction).await? {
        return Ok(false);
    }
    check_format(&transaction).await?;
    transaction.commit().await.map_err(failed)?;
    Ok(true)
}

async fn exists(transaction: &Transaction<'_>) -> Result<bool> {
    has_record(transaction, "format")
        .await
        .map_err(|error| translate(error, "the target's record of tasks can't be read"))
}

async fn check_format(transaction: &Transaction<'_>) -> Result<()> {
    let rows = transaction
        .query("SELECT version FROM _migration.format", &[])
        .await
        .map_err(|error| translate(error, "the target's record of tasks can't be read"))?;
    let versions: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
    if versions == [FORMAT] {
        return Ok(());
    }
    Err(Error::new(ErrorKind::State, "schema _migration in the target was made by another version of the engine")
        .because(format_args!("it has format {versions:?}, this engine writes {FORMAT}"))
        .help("go on with the version that began the task, or finish it, DROP SCHEMA _migration CASCADE, and begin anew"))
}

/// Reads what the target knows of a task, all of it at one moment.
pub(crate) async fn task(client: &mut Client, name: &str) -> Result<Option<TaskRecord>> {
    let failed = |error| translate(error, "the target's record of the task can't be read").at("task", name);
    let transaction = client
        .build_transaction()
        .isolation_level(tokio_postgres::IsolationLevel::RepeatableRead)
        .read_only(true)
        .start()
        .await
        .map_err(failed)?;
    if !exists(&transaction).await? {
        return Ok(None);
    }
    check_format(&transaction).await?;
    let row = transaction
        .query_opt(
            "SELECT plan_digest, start_position, built, (SELECT l.position FROM _migration.lane l WHERE l.task = t.name \
             ORDER BY sequence DESC LIMIT 1) FROM _migration.task t WHERE name = $1",
            &[&name],
        )
        .await
        .map_err(failed)?;
    let Some(row) = row else { return Ok(None) };
    let chunks = transaction
        .query(
            "SELECT namespace, name, number, range_after, range_to, row_count, low, high FROM _migration.chunk \
             WHERE task = $1 ORDER BY namespace, name, number",
            &[&name],
        )
        .await
        .map_err(failed)?;
    let is_bound = is_bound(&transaction, name).await?;
    transaction.commit().await.map_err(failed)?;
    Ok(Some(TaskRecord {
        plan_digest: row.get(0),
        start: row.get::<_, Option<String>>(1).map(Position),
        built: row.get(2),
        position: row.get::<_, Option<String>>(3).map(Position),
        chunks: chunks.iter().map(chunk).collect(),
        is_bound,
    }))
}

fn chunk(row: &tokio_postgres::Row) -> ChunkRecord {
    ChunkRecord {
        table: TableName::new(row.get::<_, String>(0), row.get::<_, String>(1)),
        number: row.get::<_, i64>(2) as u64,
        range: ChunkRange {
            after: row.get::<_, Option<Vec<u8>>>(3).map(KeyBound),
            to: row.get::<_, Option<Vec<u8>>>(4).map(KeyBound),
        },
        rows: row.get::<_, i64>(5) as u64,
        watermarks: Watermarks { low: Position(row.get(6)), high: Position(row.get(7)) },
    }
}

/// Inserts a chunk's record in the open transaction, while the claim holds.
pub(crate) async fn insert_chunk(client: &Client, claim: &Claim, record: &ChunkRecord) -> Result<()> {
    let (number, rows) = (record.number as i64, record.rows as i64);
    let bound = |bound: &Option<KeyBound>| bound.as_ref().map(|bound| bound.0.clone());
    let (after, to) = (bound(&record.range.after), bound(&record.range.to));
    let lock = chunk_lock(claim, record);
    let parameters: [&(dyn ToSql + Sync); 11] = [
        &claim.task,
        &claim.epoch,
        &record.table.namespace,
        &record.table.name,
        &number,
        &after,
        &to,
        &rows,
        &record.watermarks.low.0,
        &record.watermarks.high.0,
        &lock,
    ];
    let inserted = client
        .execute(
            "WITH claim AS (SELECT name FROM _migration.task WHERE name = $1 AND epoch = $2 FOR SHARE) \
             INSERT INTO _migration.chunk \
             (task, namespace, name, number, range_after, range_to, row_count, low, high) \
             SELECT name, $3::text, $4::text, $5::bigint, $6::bytea, $7::bytea, $8::bigint, $9::text, $10::text \
             FROM claim, pg_catalog.pg_advisory_xact_lock($11::bigint)",
            &parameters,
        )
        .await
        .map_err(|error| {
            if error.code().is_some_and(|state| state.code() == "23505") {
                // Most likely a commit of this very chunk whose answer was lost.
                return Error::new(ErrorKind::State, "the target already has this chunk")
                    .at("table", &record.table)
                    .at("chunk", record.number)
                    .help("run the same command again: it goes on from what the target has");
            }
            translate(error, "a chunk's record can't be written").at("table", &record.table)
        })?;
    if inserted == 1 { Ok(()) } else { Err(claim.lost()) }
}

/// Makes every commit before this one survive a crash of the server.
pub(crate) async fn flush(client: &Client, claim: &Claim) -> Result<()> {
    let failed =
        |error| translate(error, "the target can't be told to keep the copy").at("task", &claim.task);
    // Something has to be written for the commit to wait for the disk.
    let held = client
        .execute(
            "UPDATE _migration.task SET claimed_at = claimed_at WHERE name = $1 AND epoch = $2",
            &[&claim.task, &claim.epoch],
        )
        .await
        .map_err(failed)?;
    if held == 1 { Ok(()) } else { Err(claim.lost()) }
}

/// Records that indexes and foreign keys are built.
pub(crate) async fn record_built(client: &Client, claim: &Claim) -> Result<()> {
    let failed = |error| translate(error, "the task's record can't be written").at("task", &claim.task);
    let held = client
        .execute(
            "UPDATE _migration.task SET built = true WHERE name = $1 AND epoch = $2",
            &[&claim.task, &claim.epoch],
        )
        .await
        .map_err(failed)?;
    if held == 1 { Ok(()) } else { Err(claim.lost()) }
}

/// The advisory lock that the transaction of a chunk holds to its end.
fn chunk_lock(claim: &Claim, record: &ChunkRecord) -> i64 {
    let digest = Sha256::new()
        .chain_update(&claim.task)
        .chain_update([0])
        .chain_update(&record.table.namespace)
        .chain_update([0])
        .chain_update(&record.table.name)
        .chain_update(record.number.to_be_bytes())
        .finalize();
    digest.iter().take(8).fold(0, |number, &byte| number << 8 | i64::from(byte))
}

/// Whether the target holds `record`, asked over a new connection after a `COMMIT` whose answer was
/// lost. Waits until the transaction in doubt has ended.
pub(crate) async fn has_chunk(client: &Client, claim: &Claim, record: &ChunkRecord) -> Result<bool> {
    let failed =
        |error| translate(error, "the target can't be asked about a chunk").at("table", &record.table);
    client
        .query("SELECT pg_catalog.pg_advisory_xact_lock($1)", &[&chunk_lock(claim, record)])
        .await
        .map_err(failed)?;
    let row = client
        .query_opt(
            "SELECT namespace, name, number, range_after, range_to, row_count, low, high FROM _migration.chunk \
             WHERE task = $1 AND namespace = $2 AND name = $3 AND number = $4",
            &[&claim.task, &record.table.namespace, &record.table.name, &(record.number as i64)],
        )
        .await
        .map_err(failed)?;
    Ok(row.is_some_and(|row| chunk(&row) == *record))
}
