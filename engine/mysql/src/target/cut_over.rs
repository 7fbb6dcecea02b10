//! The end of a task: whether applications can be let in, and the mark that it is over.

use engine_core::cut_over::CutOver;
use engine_core::finding::{Finding, Severity};
use engine_core::plan::TargetTable;
use engine_core::position::Position;
use engine_core::{Error, ErrorKind, Result};
use std::sync::Arc;

use super::control::{Claim, begin, exists, field};
use super::failure::translate;
use super::session::Session;
use crate::sql;

/// Made by the first task that is cut over, so that engines that know nothing of it read the rest.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS _migration.cut_over (\
    task VARCHAR(190) NOT NULL PRIMARY KEY, position LONGTEXT NOT NULL, source_before LONGTEXT, at_ms BIGINT NOT NULL, \
    way_back LONGTEXT) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";

/// Of tables made before there was a way back.
const WAY_BACK: &str = "ALTER TABLE _migration.cut_over ADD COLUMN way_back LONGTEXT";

/// The columns of the table; none when it is not there.
async fn columns(session: &mut Session) -> Result<Vec<String>> {
    let rows = session
        .query(
            "SELECT column_name FROM information_schema.columns \
             WHERE table_schema = '_migration' AND table_name = 'cut_over'",
        )
        .await
        .map_err(|error| translate(error, "the target's record of cut-overs can't be read"))?;
    rows.into_iter().map(|mut row| field(&mut row, 0)).collect()
}

pub(super) async fn count_rows(session: &mut Session, table: &TargetTable) -> Result<u64> {
    let rows = session
        .query(format!("SELECT COUNT(*) FROM {}", sql::table(&table.name)))
        .await
        .map_err(|error| translate(error, "a table's rows can't be counted").at("table", &table.name))?;
    match rows.into_iter().next() {
        Some(mut row) => field(&mut row, 0),
        None => Ok(0),
    }
}

/// Foreign keys of the task's tables. Triggers can't be disabled here.
pub(super) async fn ready_for_use(
    session: &mut Session,
    tables: &[Arc<TargetTable>],
) -> Result<Vec<Finding>> {
    let mut missing = Vec::new();
    let mut there = 0;
    for table in tables.iter().filter(|table| !table.foreign_keys.is_empty()) {
        let rows = session
            .select(
                "SELECT COUNT(*) FROM information_schema.table_constraints \
                 WHERE table_schema = ? AND table_name = ? AND constraint_type = 'FOREIGN KEY'",
                (&table.name.namespace, &table.name.name),
            )
            .await
            .map_err(|error| {
                translate(error, "the target's foreign keys can't be read").at("table", &table.name)
            })?;
        let found: u64 = match rows.into_iter().next() {
            Some(mut row) => field(&mut row, 0)?,
            None => 0,
        };
        there += found;
        if (found as usize) < table.foreign_keys.len() {
            missing.push(format!("{} has {found} of {}", table.name, table.foreign_keys.len()));
        }
    }
    let (severity, message, fix) = if missing.is_empty() {
        (Severity::Pass, format!("{there} are there"), None)
    } else {
        let fix = "run the task again: it builds what is missing".to_owned();
        (Severity::Failed, missing.join(", "), Some(fix))
    };
    Ok(vec![Finding { severity, subject: "target foreign keys".into(), message, fix }])
}

/// Records the end of the task. Adding to the epoch fences every engine that has the task.
pub(super) async fn mark(session: &mut Session, claim: &Claim, mark: &CutOver) -> Result<()> {
    let failed =
        |error| translate(error, "the cut-over can't be recorded in the target").at("task", &mark.task);
    let before = match &mark.before {
        None => None,
        Some(before) => Some(serde_json::to_string(before).map_err(|error| {
            Error::new(ErrorKind::Internal, "the source's setting can't be written down").caused_by(error)
        })?),
    };
    // Commits by itself.
    session.run(TABLE).await.map_err(failed)?;
    if !columns(session).await?.iter().any(|column| column == "way_back") {
        session.run(WAY_BACK).await.map_err(failed)?;
    }
    begin(session).await?;
    let fenced = session
        .change(
            "UPDATE _migration.task SET epoch = epoch + 1 WHERE name = ? AND epoch = ?",
            (&claim.task, claim.epoch),
        )
        .await
        .map_err(failed)?;
    if fenced != 1 {
        return Err(claim.lost());
    }
    session
        .change(
            "INSERT INTO _migration.cut_over (task, position, source_before, at_ms, way_back) VALUES (?, ?, ?, ?, ?)",
            (&mark.task, &mark.position.0, before, mark.at_ms, mark.way_back.as_ref().map(|place| &place.0)),
        )
        .await
        .map_err(failed)?;
    session.run("COMMIT").await.map_err(failed)
}

/// The record, if there is one.
pub(super) async fn read(session: &mut Session, task: &str) -> Result<Option<CutOver>> {
    let failed = |error| translate(error, "the target's record of cut-overs can't be read").at("task", task);
    if !exists(session).await? {
        return Ok(None);
    }
    let columns = columns(session).await?;
    if columns.is_empty() {
        return Ok(None);
    }
    let way_back = if columns.iter().any(|column| column == "way_back") { "way_back" } else { "NULL" };
    let query =
        format!("SELECT position, source_before, at_ms, {way_back} FROM _migration.cut_over WHERE task = ?");
    let rows = session.select(&query, (task,)).await.map_err(failed)?;
    let Some(mut row) = rows.into_iter().next() else { return Ok(None) };
    let before = match field::<Option<String>>(&mut row, 1)? {
        None => None,
        Some(text) => Some(serde_json::from_str(&text).map_err(|error| {
            Error::new(ErrorKind::State, "the target's record of the cut-over makes no sense")
                .at("task", task)
                .caused_by(error)
        })?),
    };
    Ok(Some(CutOver {
        task: task.to_owned(),
        position: Position(field(&mut row, 0)?),
        before,
        at_ms: field(&mut row, 2)?,
        way_back: field::<Option<String>>(&mut row, 3)?.map(Position),
    }))
}
