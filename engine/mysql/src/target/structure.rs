//! The record of the source's tables, `source_table`.

use engine_core::position::Position;
use engine_core::structure::RecordedTable;
use engine_core::{Error, ErrorKind, Result};
use mysql_async::{Error as DriverFailure, Value};

use super::control::{self, Claim, field};
use super::failure::translate;
use super::session::Session;

/// Tables recorded by one statement.
const AT_ONCE: usize = 200;

fn unreadable(error: DriverFailure) -> Error {
    translate(error, "the target's record of the source's tables can't be read")
}

fn unwritable(error: DriverFailure) -> Error {
    translate(error, "the target's record of the source's tables can't be written")
}

/// The recorded tables of a task, by name.
pub(super) async fn recorded(session: &mut Session, task: &str) -> Result<Vec<RecordedTable>> {
    if !control::exists(session).await? {
        return Ok(Vec::new());
    }
    let rows = session
        .select("SELECT definition, as_of FROM _migration.source_table WHERE task = ?", (task,))
        .await
        .map_err(unreadable)?;
    let mut tables = rows
        .into_iter()
        .map(|mut row| {
            let definition: String = field(&mut row, 0)?;
            let schema = serde_json::from_str(&definition).map_err(|error| {
                Error::new(ErrorKind::State, "the target's record of a source table makes no sense")
                    .at("task", task)
                    .caused_by(error)
                    .help("go on with the version of the engine that wrote it, or begin a new task")
            })?;
            Ok(RecordedTable { schema, as_of: field::<Option<String>>(&mut row, 1)?.map(Position) })
        })
        .collect::<Result<Vec<_>>>()?;
    tables.sort_by(|left, right| left.schema.name.cmp(&right.schema.name));
    Ok(tables)
}

/// Records tables in place of any others.
pub(super) async fn record(session: &mut Session, claim: &Claim, tables: &[RecordedTable]) -> Result<()> {
    control::begin(session).await?;
    claim.hold(session).await?;
    session
        .change("DELETE FROM _migration.source_table WHERE task = ?", (&claim.task,))
        .await
        .map_err(unwritable)?;
    put(session, claim, tables).await?;
    session.run("COMMIT").await.map_err(unwritable)
}

/// Records tables, in place of any of the same names, in the open transaction.
pub(super) async fn put(session: &mut Session, claim: &Claim, tables: &[RecordedTable]) -> Result<()> {
    for tables in tables.chunks(AT_ONCE) {
        let mut parameters: Vec<Value> = Vec::with_capacity(tables.len() * 5);
        for table in tables {
            let definition = serde_json::to_string(&table.schema).map_err(|error| {
                Error::new(ErrorKind::Internal, "a table can't be written down").caused_by(error)
            })?;
            parameters.extend([
                claim.task.as_str().into(),
                table.schema.name.namespace.as_str().into(),
                table.schema.name.name.as_str().into(),
                definition.into(),
                table.as_of.as_ref().map(|position| position.0.as_str()).into(),
            ]);
        }
        let rows = vec!["(?, ?, ?, ?, ?)"; tables.len()].join(", ");
        session
            .change(
                &format!(
                    "REPLACE INTO _migration.source_table (task, namespace, name, definition, as_of) VALUES {rows}"
                ),
                parameters,
            )
            .await
            .map_err(unwritable)?;
    }
    Ok(())
}
