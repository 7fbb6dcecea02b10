//! Taking over tables that have their rows already: those of the source that a way back leads to.

use engine_core::plan::TargetTable;
use engine_core::{Error, ErrorKind, Result};
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::connection::Connections;
use super::control::{Claim, Guard, begin, field};
use super::create;
use super::failure::translate;
use super::session::Session;

/// Puts the tables on record as the task's own.
pub(super) async fn tables(
    connections: &Connections,
    claim: &Claim,
    tables: &[Arc<TargetTable>],
) -> Result<()> {
    let mut session = connections.open().await?;
    let guard = Guard::new(connections.open().await?, claim).await?;
    for table in tables {
        look_at(&mut session, claim, table).await?;
    }
    let databases: BTreeSet<&str> = tables.iter().map(|table| table.name.namespace.as_str()).collect();
    for database in databases {
        refuse_events(&mut session, database).await?;
    }
    for table in tables {
        create::own(&mut session, claim, &table.name, true).await?;
    }
    guard.release().await
}

/// Removes what is on record of a task.
pub(super) async fn forget(session: &mut Session, task: &str) -> Result<()> {
    let failed = |error| translate(error, "the record of a task can't be removed").at("task", task);
    begin(session).await?;
    session.change("DELETE FROM _migration.task WHERE name = ?", (task,)).await.map_err(failed)?;
    for table in ["lane", "chunk", "source_table", "owned_table", "dead_letter", "intent"] {
        session
            .change(&format!("DELETE FROM _migration.{table} WHERE task = ?"), (task,))
            .await
            .map_err(failed)?;
    }
    session.run("COMMIT").await.map_err(failed)?;
    Ok(())
}

/// Whether rows that are written to the table are what it then has.
async fn look_at(session: &mut Session, claim: &Claim, table: &TargetTable) -> Result<()> {
    let name = &table.name;
    let refused = |what: &str| Error::new(ErrorKind::Precondition, what).at("table", name);
    let others = texts(
        session,
        "SELECT task FROM _migration.owned_table WHERE namespace = ? AND name = ? AND task <> ?",
        (&name.namespace, &name.name, &claim.task),
        ("table", name),
    )
    .await?;
    if let Some(other) = others.first() {
        return Err(refused("the table belongs to another task").at("task", other));
    }
    let columns = texts(
        session,
        "SELECT column_name FROM information_schema.columns WHERE table_schema = ? AND table_name = ?",
        (&name.namespace, &name.name),
        ("table", name),
    )
    .await?;
    if columns.is_empty() {
        return Err(refused("the table is not there, or the account may not see it"));
    }
    let there: HashSet<String> = columns.iter().map(|column| column.to_lowercase()).collect();
    if let Some(missing) = table.columns.iter().find(|column| !there.contains(&column.name.to_lowercase())) {
        return Err(refused("a column of the table is not there any more").at("column", &missing.name));
    }
    let needed = texts(
        session,
        "SELECT column_name FROM information_schema.columns WHERE table_schema = ? AND table_name = ? \
         AND is_nullable = 'NO' AND column_default IS NULL AND extra NOT LIKE '%auto_increment%' \
         AND extra NOT LIKE '%GENERATED%'",
        (&name.namespace, &name.name),
        ("table", name),
    )
    .await?;
    let written: HashSet<String> = table.columns.iter().map(|column| column.name.to_lowercase()).collect();
    if let Some(column) = needed.iter().find(|column| !written.contains(&column.to_lowercase())) {
        return Err(refused("new rows would have no value for a column of the table")
            .at("column", column)
            .because("it must not be NULL, has no default, and the other side does not have it")
            .help(format!(
                "ALTER TABLE {} ALTER COLUMN {} SET DEFAULT …",
                crate::sql::table(name),
                crate::sql::identifier(column)
            )));
    }
    let triggers = texts(
        session,
        "SELECT trigger_name FROM information_schema.triggers \
         WHERE event_object_schema = ? AND event_object_table = ?",
        (&name.namespace, &name.name),
        ("table", name),
    )
    .await?;
    if let Some(trigger) = triggers.first() {
        return Err(refused("a trigger of the table would act on rows that come back")
            .at("trigger", trigger)
            .because("MySQL can't silence it for one session, and what it does has happened on the other side already")
            .help("note down SHOW CREATE TRIGGER and drop it; create it again when applications go back"));
    }
    Ok(())
}

/// Events change rows without anybody on the other side knowing.
async fn refuse_events(session: &mut Session, database: &str) -> Result<()> {
    let events = texts(
        session,
        "SELECT event_name FROM information_schema.events \
         WHERE event_schema = ? AND status = 'ENABLED' AND @@GLOBAL.event_scheduler = 'ON'",
        (database,),
        ("database", &database),
    )
    .await?;
    let Some(event) = events.first() else { return Ok(()) };
    let event = format!("{}.{}", crate::sql::identifier(database), crate::sql::identifier(event));
    Err(Error::new(ErrorKind::Precondition, "an event of the database may change rows that come back")
        .at("event", &event)
        .because("what it does on this side is not known on the other, and what it does there comes back")
        .help(format!(
            "ALTER EVENT {event} DISABLE, or SET GLOBAL event_scheduler = OFF, until applications go back"
        )))
}

async fn texts(
    session: &mut Session,
    query: &str,
    parameters: impl Into<mysql_async::Params> + Send,
    (what, name): (&'static str, &impl std::fmt::Display),
) -> Result<Vec<String>> {
    let rows = session
        .select(query, parameters)
        .await
        .map_err(|error| translate(error, "the target's tables can't be looked at").at(what, name))?;
    rows.into_iter().map(|mut row| field(&mut row, 0)).collect()
}
