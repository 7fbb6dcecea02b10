//! Changes of structure in the target.
//!
//! Statements of structure commit by themselves, one by one. So what is to be done is put on record
//! first, in `_migration.intent`, with the number of the statement that is next and what the tables look
//! like before it. An engine that goes on after a crash compares: if they look the same, the statement
//! was not carried out, else it was. When all are, one transaction takes the intent off the record and
//! writes the new structure, the plan and the position.

use engine_core::batch::Batch;
use engine_core::failpoint::Failpoint;
use engine_core::plan::TargetTable;
use engine_core::position::{Position, Watermarks};
use engine_core::schema::TableName;
use engine_core::source::ChunkRange;
use engine_core::structure::{self, ColumnOrigin, Evolution, TargetAction, TargetEvolution};
use engine_core::target::ChunkRecord;
use engine_core::{Error, ErrorKind, Result};
use mysql_async::Error as DriverFailure;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

use super::alter::{self, Fill, Fills, Keys};
use super::connection::Connections;
use super::control::{self, Claim, Guard, field};
use super::failure::{is_ambiguous, translate};
use super::layout::TableLayout;
use super::session::Session;
use super::{columns, create, existing, index, lanes, statement, structure as records};
use crate::sql;

/// What is being done.
#[derive(Debug, Serialize, Deserialize)]
struct Intent {
    position: String,
    new_digest: String,
    statements: Vec<String>,
    /// Which statement is next, or was when the engine died.
    next: usize,
    /// What the tables look like before it.
    before: String,
}

/// Whether a change is on record that was begun and not finished.
pub(super) async fn is_begun(session: &mut Session, claim: &Claim) -> Result<bool> {
    Ok(read(session, claim).await?.is_some())
}

async fn read(session: &mut Session, claim: &Claim) -> Result<Option<Intent>> {
    let rows = session
        .select("SELECT content FROM _migration.intent WHERE task = ?", (&claim.task,))
        .await
        .map_err(|error| translate(error, "the target's record of a change can't be read"))?;
    let Some(mut row) = rows.into_iter().next() else { return Ok(None) };
    serde_json::from_str(&field::<String>(&mut row, 0)?).map(Some).map_err(|error| {
        Error::new(ErrorKind::State, "the target's record of a change makes no sense")
            .at("task", &claim.task)
            .caused_by(error)
            .help("go on with the version of the engine that wrote it, or begin a new task")
    })
}

async fn write(session: &mut Session, claim: &Claim, intent: &Intent) -> Result<()> {
    let content = serde_json::to_string(intent).map_err(|error| {
        Error::new(ErrorKind::Internal, "a change can't be written down").caused_by(error)
    })?;
    session
        .change(
            "INSERT INTO _migration.intent (task, content) VALUES (?, ?) ON DUPLICATE KEY UPDATE content = ?",
            (&claim.task, &content, &content),
        )
        .await
        .map(drop)
        .map_err(unwritable)
}

async fn forget(session: &mut Session, claim: &Claim) -> Result<()> {
    session
        .change("DELETE FROM _migration.intent WHERE task = ?", (&claim.task,))
        .await
        .map(drop)
        .map_err(unwritable)
}

fn unwritable(error: DriverFailure) -> Error {
    translate(error, "the target's record of a change can't be written")
}

/// Carries out a change of structure, or what is left of it.
pub(super) async fn evolve(connections: &Connections, claim: &Claim, evolution: &Evolution) -> Result<()> {
    let mut session = connections.open().await?;
    let guard = Guard::new(connections.open().await?, claim).await?;
    let mut intent = match read(&mut session, claim).await? {
        Some(intent)
            if intent.position == evolution.position.0 && intent.new_digest == evolution.new_digest =>
        {
            intent
        }
        Some(_) => {
            return Err(Error::new(
                ErrorKind::State,
                "another change of structure was begun in the target and not finished",
            )
            .at("task", &claim.task)
            .at("position", &evolution.position)
            .help("go on with the plugins and the configuration that it was begun with"));
        }
        None => plan(connections, &mut session, claim, evolution).await?,
    };
    if intent.statements.is_empty() {
        // Somebody has done it already, or says so. Nothing is on record yet.
        require_as_planned(connections, &mut session, evolution).await?;
    }
    carry_out(&mut session, claim, evolution, &mut intent).await?;
    guard.release().await?;
    finish(connections, session, claim, evolution).await
}

/// What is to be done, before anything is.
async fn plan(
    connections: &Connections,
    session: &mut Session,
    claim: &Claim,
    evolution: &Evolution,
) -> Result<Intent> {
    let fold = connections.server().lower_case_table_names;
    require_own(session, claim, evolution, fold).await?;
    let fills = fills(connections, evolution)?;
    let mut keys = Keys::new();
    for change in evolution.changes.iter().filter(|change| change.action == TargetAction::Translate) {
        if let Some(before) = &change.before {
            keys.insert(before.name.clone(), index::existing(session, &before.name).await?);
        }
    }
    let mut steps = alter::steps(evolution, &fills, &keys)?;
    for (table, why) in &steps.empty {
        if !existing::is_empty(session, table).await? {
            return Err(Error::new(
                ErrorKind::Unrepresentable,
                "a column was added whose values in the rows that were there can't be told",
            )
            .at("table", table)
            .because(why));
        }
    }
    for change in &evolution.changes {
        if let TargetAction::Execute(statements) = &change.action {
            steps.statements.extend(statements.iter().filter(|text| is_of_structure(text)).cloned());
        }
    }
    let before = look(session, evolution).await?;
    let (position, new_digest) = (evolution.position.0.clone(), evolution.new_digest.clone());
    Ok(Intent { position, new_digest, statements: steps.statements, next: 0, before })
}

/// Whether a statement commits by itself; others are part of the last transaction.
fn is_of_structure(statement: &str) -> bool {
    let word = statement.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    matches!(word.as_str(), "ALTER" | "CREATE" | "DROP" | "RENAME" | "TRUNCATE")
}

async fn carry_out(
    session: &mut Session,
    claim: &Claim,
    evolution: &Evolution,
    intent: &mut Intent,
) -> Result<()> {
    let mut resumed = read(session, claim).await?.is_some();
    while let Some(statement) = intent.statements.get(intent.next).cloned() {
        let is_done = resumed && look(session, evolution).await? != intent.before;
        if !is_done {
            if !resumed {
                intent.before = look(session, evolution).await?;
                write(session, claim, intent).await?;
            }
            if let Err(error) = session.run(&statement).await {
                // The server may have gone on with what an engine that was killed had it do.
                let done_meanwhile = resumed && look(session, evolution).await? != intent.before;
                if !done_meanwhile {
                    let error = translate(error, "a change of structure can't be carried out in the target")
                        .at("target statement", statement.chars().take(300).collect::<String>());
                    if intent.next == 0 && error.kind() != ErrorKind::Transient {
                        forget(session, claim).await?;
                    }
                    return Err(error);
                }
            }
        }
        resumed = false;
        intent.next += 1;
    }
    // All done: an engine that goes on must not take the last statement for one that wasn't.
    intent.before = look(session, evolution).await?;
    write(session, claim, intent).await
}

/// What the tables of a change look like, those that are there.
async fn look(session: &mut Session, evolution: &Evolution) -> Result<String> {
    let names: BTreeSet<&TableName> = evolution
        .changes
        .iter()
        .flat_map(|change| [&change.before, &change.after])
        .flatten()
        .map(|table| &table.name)
        .collect();
    let mut all = String::new();
    for name in names {
        let rows = match session.query(format!("SHOW CREATE TABLE {}", sql::table(name))).await {
            Ok(rows) => rows,
            // No such table, or database.
            Err(DriverFailure::Server(error)) if matches!(error.code, 1146 | 1049) => Vec::new(),
            Err(error) => {
                return Err(translate(error, "the target's tables can't be read").at("table", name));
            }
        };
        all.push_str(&name.to_string());
        for mut row in rows {
            // The next number of a column says nothing of its structure.
            let text = field::<String>(&mut row, 1)?;
            let (start, rest) = text.split_once(" AUTO_INCREMENT=").unwrap_or((&text, ""));
            all.push_str(start);
            all.push_str(rest.trim_start_matches(|c: char| c.is_ascii_digit()));
        }
        all.push('\n');
    }
    Ok(all)
}

/// Refuses to touch a table that is not the task's own, and to make one that is there.
async fn require_own(
    session: &mut Session,
    claim: &Claim,
    evolution: &Evolution,
    lower_case_table_names: u8,
) -> Result<()> {
    let touched = |change: &&TargetEvolution| change.action == TargetAction::Translate;
    let changes = || evolution.changes.iter().filter(touched);
    let before: Vec<Arc<TargetTable>> = changes().filter_map(|change| change.before.clone()).collect();
    let there = existing::tables(session, &claim.task, &before, lower_case_table_names).await?;
    for table in &before {
        let name = existing::folded(&table.name, lower_case_table_names);
        if !there.iter().any(|known| known.is_own && known.name == name) {
            return Err(Error::new(
                ErrorKind::Precondition,
                "a table that changes is not one that this task created, or is gone",
            )
            .at("table", &table.name)
            .help("restore the table that the task created, then run the same command again"));
        }
    }
    let created: Vec<Arc<TargetTable>> = changes()
        .filter(|change| change.before.is_none())
        .filter_map(|change| change.after.clone())
        .collect();
    let taken = existing::tables(session, &claim.task, &created, lower_case_table_names).await?;
    let free: Vec<TableName> =
        before.iter().map(|table| existing::folded(&table.name, lower_case_table_names)).collect();
    if let Some(taken) = taken.iter().find(|taken| !free.contains(&taken.name)) {
        return Err(Error::new(ErrorKind::Precondition, existing::NOT_OURS)
            .at("table", &taken.name)
            .help("drop or rename it, then run the same command again"));
    }
    Ok(())
}

/// Looks at tables that others were to change, plugins or people.
async fn require_as_planned(
    connections: &Connections,
    session: &mut Session,
    evolution: &Evolution,
) -> Result<()> {
    for change in evolution.changes.iter().filter(|change| change.action != TargetAction::Translate) {
        if let Some(table) = &change.after {
            columns::require(session, table, connections.flavor()).await?;
        }
    }
    Ok(())
}

/// The values of added columns.
fn fills(connections: &Connections, evolution: &Evolution) -> Result<Fills> {
    let mut fills = Fills::new();
    for (number, change) in evolution.changes.iter().enumerate() {
        let (Some(_), Some(after), TargetAction::Translate) = (&change.before, &change.after, &change.action)
        else {
            continue;
        };
        let layout = TableLayout::new(after, connections.flavor())?;
        for (ordinal, origin) in change.columns.iter().enumerate() {
            let ColumnOrigin::Added(fill) = origin else { continue };
            let place = layout.columns.iter().position(|column| column.ordinal == ordinal);
            let Some(place) = place.filter(|&place| layout.columns.get(place).is_some_and(|c| !c.generated))
            else {
                continue;
            };
            let fill = match fill {
                structure::Fill::Unknown(why) => Err(why.clone()),
                structure::Fill::Value(value) if value.is_null(0) => Ok(Fill::Null),
                structure::Fill::Value(value) => {
                    let batch = Batch { rows: 1, columns: vec![value.clone()] };
                    match statement::expression(&layout, &batch, place) {
                        Ok(text) => Ok(Fill::Value(text)),
                        Err(error) => {
                            Err(error.why().unwrap_or("the value has no representation").to_owned())
                        }
                    }
                }
            };
            fills.insert((number, ordinal), fill);
        }
    }
    Ok(fills)
}

/// Writes all records of the change and the position in one transaction.
async fn finish(
    connections: &Connections,
    mut session: Session,
    claim: &Claim,
    evolution: &Evolution,
) -> Result<()> {
    let failed = |error| translate(error, "the target's record of the task can't be written");
    control::begin(&mut session).await?;
    let moved = session
        .change(
            "UPDATE _migration.task SET plan_digest = ? WHERE name = ? AND epoch = ? AND plan_digest = ?",
            (&evolution.new_digest, &claim.task, claim.epoch, &evolution.old_digest),
        )
        .await
        .map_err(failed)?;
    if moved != 1 {
        return Err(claim.lost());
    }
    for change in &evolution.changes {
        if let TargetAction::Execute(statements) = &change.action {
            for statement in statements.iter().filter(|text| !is_of_structure(text)) {
                session.run(statement).await.map_err(|error| {
                    translate(error, "a change of structure can't be carried out in the target")
                        .at("target statement", statement.chars().take(300).collect::<String>())
                })?;
            }
        }
    }
    require_as_planned(connections, &mut session, evolution).await?;
    keep_records(&mut session, claim, evolution).await?;
    forget(&mut session, claim).await?;
    lanes::move_to(&mut session, claim, &evolution.position).await?;
    Failpoint::StructureChanged.reach();
    let Err(error) = session.run("COMMIT").await else { return Ok(()) };
    let is_ambiguous = is_ambiguous(&error);
    let broken =
        translate(error, "a change of structure can't be committed").at("position", &evolution.position);
    if is_ambiguous && is_done(&mut connections.open().await?, claim, evolution).await? {
        return Ok(());
    }
    Err(broken)
}

/// Whether the change was committed, asked after an answer was lost.
async fn is_done(session: &mut Session, claim: &Claim, evolution: &Evolution) -> Result<bool> {
    let rows = session
        .select(
            "SELECT plan_digest FROM _migration.task WHERE name = ? AND epoch = ? FOR UPDATE",
            (&claim.task, claim.epoch),
        )
        .await
        .map_err(|error| translate(error, "the target can't be asked for its plan"))?;
    let mut row = rows.into_iter().next().ok_or_else(|| claim.lost())?;
    Ok(field::<String>(&mut row, 0)? == evolution.new_digest && !is_begun(session, claim).await?)
}

/// Brings the records of tables and chunks to the structure after the change.
async fn keep_records(session: &mut Session, claim: &Claim, evolution: &Evolution) -> Result<()> {
    let failed = |error| translate(error, "the target's record of the task can't be written");
    let aside = |number: usize| format!("\u{1}{number}");
    // Aside first: a table may take the name of another.
    for (number, change) in evolution.changes.iter().enumerate() {
        if let Some(source) = &change.source {
            let sql =
                "UPDATE _migration.chunk SET namespace = ? WHERE task = ? AND namespace = ? AND name = ?";
            let values = (aside(number), &claim.task, &source.namespace, &source.name);
            session.change(sql, values).await.map_err(failed)?;
        }
        if let (Some(before), TargetAction::Translate) = (&change.before, &change.action) {
            let sql = "UPDATE _migration.owned_table SET namespace = ? WHERE task = ? AND namespace = ? AND name = ?";
            let values = (aside(number), &claim.task, &before.name.namespace, &before.name.name);
            session.change(sql, values).await.map_err(failed)?;
        }
    }
    for (number, change) in evolution.changes.iter().enumerate() {
        let Some(after) = &change.after else {
            for table in ["chunk", "owned_table"] {
                let sql = format!("DELETE FROM _migration.{table} WHERE task = ? AND namespace = ?");
                session.change(&sql, (&claim.task, aside(number))).await.map_err(failed)?;
            }
            continue;
        };
        for (table, name) in [("chunk", &after.source), ("owned_table", &after.name)] {
            let sql = format!(
                "UPDATE _migration.{table} SET namespace = ?, name = ? WHERE task = ? AND namespace = ?"
            );
            let values = (&name.namespace, &name.name, &claim.task, aside(number));
            session.change(&sql, values).await.map_err(failed)?;
        }
        if change.before.is_none() {
            begin_records(session, claim, after, &evolution.position).await?;
        }
    }
    for name in &evolution.forgotten {
        let sql = "DELETE FROM _migration.source_table WHERE task = ? AND namespace = ? AND name = ?";
        session.change(sql, (&claim.task, &name.namespace, &name.name)).await.map_err(failed)?;
    }
    records::put(session, claim, &evolution.recorded).await
}

/// The records of a table that comes into being: the task's own, and copied completely.
async fn begin_records(
    session: &mut Session,
    claim: &Claim,
    table: &TargetTable,
    position: &Position,
) -> Result<()> {
    create::own(session, claim, &table.name, true).await?;
    if !table.with_rows {
        return Ok(());
    }
    let watermarks = Watermarks { low: position.clone(), high: position.clone() };
    let range = ChunkRange { after: None, to: None };
    let record = ChunkRecord { table: table.source.clone(), number: 0, range, rows: 0, watermarks };
    control::insert_chunk(session, claim, &record).await
}
