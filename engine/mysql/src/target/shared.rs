//! Tables that several tasks write to, each its own rows: shards that become one.
//!
//! The tasks say so each for itself, and must agree in every definition. Which these are is on record in
//! `_migration.shared_table`. No task ever overwrites a row: it inserts each of its own once, where there
//! must be none, so that two shards with a row under the same key stop the second.

use engine_core::plan::TargetTable;
use engine_core::target::BuildStep;
use engine_core::{Error, ErrorKind, Result};
use std::collections::HashSet;
use std::sync::Arc;

use super::connection::Connections;
use super::control::{Claim, begin, exists, field};
use super::failure::translate;
use super::session::Session;
use super::{ddl, index};
use engine_core::schema::TableName;

/// Made by the first task that shares a table, so that engines that know nothing of it read the rest.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS _migration.shared_table (\
    namespace VARCHAR(128) NOT NULL, name VARCHAR(128) NOT NULL, task VARCHAR(190) NOT NULL, \
    definition LONGTEXT NOT NULL, PRIMARY KEY (namespace, name, task)\
    ) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";
/// Held while a task looks for the others and adds itself to them.
const LOCK: &str = "_migration.shared";

fn failed(error: mysql_async::Error) -> Error {
    translate(error, "the target's record of shared tables can't be read")
}

/// Whether there is a record of shared tables.
async fn is_kept(session: &mut Session) -> Result<bool> {
    let there = session
        .query(
            "SELECT 1 FROM information_schema.tables WHERE table_schema = '_migration' \
             AND table_name = 'shared_table'",
        )
        .await
        .map_err(failed)?;
    Ok(!there.is_empty())
}

/// The tasks on record for a table, with the definition that each has.
async fn sharers(session: &mut Session, name: &TableName) -> Result<Vec<(String, String)>> {
    if !exists(session).await? || !is_kept(session).await? {
        return Ok(Vec::new());
    }
    let rows = session
        .select(
            "SELECT task, definition FROM _migration.shared_table WHERE namespace = ? AND name = ? ORDER BY 1",
            (&name.namespace, &name.name),
        )
        .await
        .map_err(failed)?;
    rows.into_iter().map(|mut row| Ok((field(&mut row, 0)?, field(&mut row, 1)?))).collect()
}

/// Whether other tasks share the table.
pub(super) async fn has_others(session: &mut Session, task: &str, table: &TargetTable) -> Result<bool> {
    Ok(sharers(session, &table.name).await?.iter().any(|(sharer, _)| sharer != task))
}

/// Removes the rows that a task has copied to a table, and the record of it, unless it has others too.
pub(super) async fn clear_copy(
    session: &mut Session,
    claim: &Claim,
    table: &TargetTable,
    from: &[TableName],
) -> Result<bool> {
    let failed = |error| translate(error, "what was copied can't be removed").at("table", &table.name);
    begin(session).await?;
    claim.hold(session).await?;
    let mut copied = 0;
    for source in from {
        let sql = "SELECT CAST(COALESCE(SUM(row_count), 0) AS UNSIGNED) FROM _migration.chunk \
                   WHERE task = ? AND namespace = ? AND name = ?";
        let key = (&claim.task, &source.namespace, &source.name);
        if let Some(mut row) = session.select(sql, key).await.map_err(failed)?.into_iter().next() {
            copied += field::<u64>(&mut row, 0)?;
        }
        let sql = "DELETE FROM _migration.chunk WHERE task = ? AND namespace = ? AND name = ?";
        session.change(sql, key).await.map_err(failed)?;
    }
    let rows = session.change(&format!("DELETE FROM {}", crate::sql::table(&table.name)), ()).await;
    let is_own = rows.map_err(failed)? == copied && !has_others(session, &claim.task, table).await?;
    session.run(if is_own { "COMMIT" } else { "ROLLBACK" }).await.map_err(failed)?;
    Ok(is_own)
}

/// Those of `tables` that a task which shares them has made.
pub(super) async fn known(session: &mut Session, tables: &[Arc<TargetTable>]) -> Result<HashSet<TableName>> {
    let mut known = HashSet::new();
    for table in tables.iter().filter(|table| table.is_shared()) {
        if !sharers(session, &table.name).await?.is_empty() {
            known.insert(table.name.clone());
        }
    }
    Ok(known)
}

/// Everything that the table is made of, in a form to be compared.
fn definition(table: &Arc<TargetTable>) -> Result<String> {
    let mut statements = ddl::table(table)?;
    let jobs = index::jobs(BuildStep::Indexes, std::slice::from_ref(table))?;
    statements.extend(jobs.into_iter().flat_map(|job| job.statements));
    Ok(statements.join(";\n"))
}

/// The error of a task whose table is not defined as another's. Of one that shares the table already that is
/// no error: its shard has changed its structure, as the others have yet to do.
pub(super) async fn disagreement(
    session: &mut Session,
    task: &str,
    table: &Arc<TargetTable>,
) -> Result<Option<Error>> {
    let own = definition(table)?;
    let sharers = sharers(session, &table.name).await?;
    if sharers.iter().any(|(sharer, _)| sharer == task) {
        return Ok(None);
    }
    let other = sharers.into_iter().find(|(other, theirs)| other != task && *theirs != own);
    Ok(other.map(|(other, theirs)| {
        let differs = own.lines().zip(theirs.lines()).find(|(own, theirs)| own != theirs);
        let (own, theirs) = differs.unwrap_or((&own, &theirs));
        Error::new(ErrorKind::Precondition, "the tasks that merge a table don't define it alike")
            .at("table", &table.name)
            .at("task", task)
            .at("other task", other)
            .because(format!("{}, and the other has {}", own.trim(), theirs.trim()))
            .help("give the shards the same structure, or map types and names alike in the plugin's configuration")
    }))
}

/// Puts on record that the task shares the table, unless another defines it otherwise; whether the table is
/// there. Until [`let_others`], or the end of the session, no other task can join.
pub(super) async fn join(session: &mut Session, claim: &Claim, table: &Arc<TargetTable>) -> Result<bool> {
    let unwritable = |error| translate(error, "the target's record of shared tables can't be written");
    session.run(TABLE).await.map_err(unwritable)?;
    let locked = session.select("SELECT GET_LOCK(?, 60)", (LOCK,)).await.map_err(failed)?;
    let locked: Option<i64> = match locked.into_iter().next() {
        Some(mut row) => field(&mut row, 0)?,
        None => None,
    };
    if locked != Some(1) {
        return Err(Error::new(ErrorKind::Transient, "another engine creates a shared table just now"));
    }
    if let Some(error) = disagreement(session, &claim.task, table).await? {
        return Err(error);
    }
    let own = definition(table)?;
    session
        .change(
            "INSERT INTO _migration.shared_table (namespace, name, task, definition) VALUES (?, ?, ?, ?) \
             ON DUPLICATE KEY UPDATE definition = ?",
            (&table.name.namespace, &table.name.name, &claim.task, &own, &own),
        )
        .await
        .map_err(unwritable)?;
    let there = session
        .select(
            "SELECT 1 FROM information_schema.tables WHERE LOWER(table_schema) = LOWER(?) \
             AND LOWER(table_name) = LOWER(?)",
            (&table.name.namespace, &table.name.name),
        )
        .await
        .map_err(failed)?;
    Ok(!there.is_empty())
}

/// Lets other tasks [join](self::join).
pub(super) async fn let_others(session: &mut Session) -> Result<()> {
    session.select("SELECT RELEASE_LOCK(?)", (LOCK,)).await.map(drop).map_err(failed)
}

/// Takes a task off the record of those that share tables, in the open transaction.
pub(super) async fn leave(session: &mut Session, task: &str) -> Result<()> {
    if !is_kept(session).await? {
        return Ok(());
    }
    session
        .change("DELETE FROM _migration.shared_table WHERE task = ?", (task,))
        .await
        .map(drop)
        .map_err(|error| translate(error, "the target's record of shared tables can't be written"))
}

/// Says of a row that is in the way, or gone, which tasks may have written it.
pub(super) async fn explain(
    connections: &Connections,
    claim: &Claim,
    table: &TargetTable,
    error: Error,
) -> Error {
    if !table.is_shared() || error.kind() != ErrorKind::Divergence {
        return error;
    }
    // The session of the failed statement is in the middle of a transaction.
    let others = match connections.open().await {
        Ok(mut session) => sharers(&mut session, &table.name).await.unwrap_or_default(),
        Err(_) => Vec::new(),
    };
    let others: Vec<String> =
        others.into_iter().map(|(task, _)| task).filter(|task| *task != claim.task).collect();
    let error = error.at("task", &claim.task);
    let error = if others.is_empty() { error } else { error.at("merged with task", others.join(", ")) };
    error.help(
        "two shards have rows under the same key, and no row is ever overwritten: see which of them may keep its \
         own, give the other row another key on its source, and run the task again",
    )
}
