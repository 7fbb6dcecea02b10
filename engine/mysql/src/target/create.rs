//! Creating a task's tables.
//!
//! `CREATE TABLE` commits by itself. So it is on record before that the task makes the table, and
//! afterwards that it has.

use engine_core::plan::TargetTable;
use engine_core::schema::TableName;
use engine_core::{Error, ErrorKind, Result};
use std::collections::HashSet;
use std::sync::Arc;

use super::connection::Connections;
use super::control::field;
use super::control::{Claim, Guard};
use super::failure::translate;
use super::session::Session;
use super::{ddl, evolve, existing, shared};

/// Creates what isn't there, unless something is that isn't the task's own: then nothing at all.
pub(super) async fn tables(
    connections: &Connections,
    claim: &Claim,
    tables: &[Arc<TargetTable>],
) -> Result<()> {
    let mut session = connections.open().await?;
    let guard = Guard::new(connections.open().await?, claim).await?;
    if evolve::is_begun(&mut session, claim).await? {
        // Some of the tables are under other names already, or gone. The stream comes to it.
        return guard.release().await;
    }
    let fold = connections.server().lower_case_table_names;
    let (there, mut foreign): (Vec<_>, Vec<_>) = existing::tables(&mut session, &claim.task, tables, fold)
        .await?
        .into_iter()
        .partition(|table| table.is_own);
    if !foreign.is_empty() {
        foreign.sort();
        return Err(Error::new(ErrorKind::Precondition, existing::NOT_OURS)
            .at("task", &claim.task)
            .because(existing::list(&foreign))
            .help(existing::WAY_OUT));
    }
    let there: HashSet<TableName> = there.into_iter().map(|table| table.name).collect();
    for table in tables {
        if table.is_shared() {
            if !shared::join(&mut session, claim, table).await? {
                self::table(&mut session, claim, table).await?;
            }
            shared::let_others(&mut session).await?;
            continue;
        }
        if there.contains(&existing::folded(&table.name, fold)) {
            own(&mut session, claim, &table.name, true).await?;
        } else {
            self::table(&mut session, claim, table).await?;
        }
    }
    guard.release().await
}

/// Creates a table that isn't there.
pub(super) async fn table(session: &mut Session, claim: &Claim, table: &TargetTable) -> Result<()> {
    refuse_lost_rows(session, claim, table).await?;
    own(session, claim, &table.name, false).await?;
    for statement in ddl::table(table)? {
        session.run(statement).await.map_err(|error| {
            translate(error, "a table can't be created in the target").at("table", &table.name)
        })?;
    }
    own(session, claim, &table.name, true).await
}

/// Puts on record that the task makes a table, or has made it.
pub(super) async fn own(session: &mut Session, claim: &Claim, name: &TableName, made: bool) -> Result<()> {
    session
        .change(
            "INSERT INTO _migration.owned_table (namespace, name, task, made) VALUES (?, ?, ?, ?) \
             ON DUPLICATE KEY UPDATE task = ?, made = ?",
            (&name.namespace, &name.name, &claim.task, made, &claim.task, made),
        )
        .await
        .map_err(|error| translate(error, "the target's tables can't be created"))?;
    Ok(())
}

/// The number that a numbering column goes on with.
pub(super) async fn next_number(session: &mut Session, name: &TableName) -> Result<Option<u64>> {
    let rows = session
        .select(
            "SELECT auto_increment FROM information_schema.tables WHERE table_schema = ? AND table_name = ?",
            (&name.namespace, &name.name),
        )
        .await
        .map_err(|error| translate(error, "the next number of a column can't be read").at("table", name))?;
    match rows.into_iter().next() {
        Some(mut row) => field(&mut row, 0),
        None => Ok(None),
    }
}

/// Refuses to create a table anew whose rows the target is on record as having: they would be
/// missing and nobody would know.
async fn refuse_lost_rows(session: &mut Session, claim: &Claim, table: &TargetTable) -> Result<()> {
    let chunks = session
        .select(
            "SELECT 1 FROM _migration.chunk WHERE task = ? AND namespace = ? AND name = ? LIMIT 1",
            (&claim.task, &table.source.namespace, &table.source.name),
        )
        .await
        .map_err(|error| translate(error, "the target's record of tasks can't be read"))?;
    if chunks.is_empty() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Divergence, "a table that the task has copied rows to is gone from the target")
        .at("task", &claim.task)
        .at("table", &table.name)
        .help("restore it, or drop the task's other tables too and begin a new task with another --name"))
}
