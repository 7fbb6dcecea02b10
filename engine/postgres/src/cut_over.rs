//! The end of a task: whether applications can be let in, and the mark that it is over.

use engine_core::Result;
use engine_core::cut_over::CutOver;
use engine_core::finding::{Finding, Severity};
use engine_core::plan::TargetTable;
use engine_core::position::Position;
use engine_core::{Error, ErrorKind};
use std::sync::Arc;
use tokio_postgres::{Client, GenericClient};

use crate::control::Claim;
use crate::existing::has_record;
use crate::failure::translate;
use crate::identifier::{fit, qualified};

/// Made by the first task that is cut over, so that engines that know nothing of it read the rest.
const TABLE: &str = "
CREATE TABLE IF NOT EXISTS _migration.cut_over (
    task text PRIMARY KEY,
    position text NOT NULL,
    source_before text,
    at_ms bigint NOT NULL,
    way_back text
)";

/// Of tables made before there was a way back.
const WAY_BACK: &str = "ALTER TABLE _migration.cut_over ADD COLUMN way_back text";

/// Whether the table has the column of [`WAY_BACK`].
async fn knows_ways_back(client: &impl GenericClient) -> Result<bool, tokio_postgres::Error> {
    let row = client
        .query_opt(
            "SELECT 1 FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = '_migration' \
             AND c.relname = 'cut_over' AND a.attname = 'way_back' AND NOT a.attisdropped",
            &[],
        )
        .await?;
    Ok(row.is_some())
}

/// Serialises engines that make the table at the same time; an arbitrary number.
const SETUP_LOCK: i64 = 0x6d69_6772_6375_7431;

pub(crate) async fn count_rows(client: &Client, table: &TargetTable) -> Result<u64> {
    let row = client
        .query_one(&format!("SELECT count(*) FROM {}", qualified(&table.name)), &[])
        .await
        .map_err(|error| translate(error, "a table's rows can't be counted").at("table", &table.name))?;
    Ok(row.get::<_, i64>(0) as u64)
}

/// Foreign keys and triggers of the task's tables.
pub(crate) async fn ready_for_use(client: &Client, tables: &[Arc<TargetTable>]) -> Result<Vec<Finding>> {
    let failed = |error| translate(error, "the target's constraints and triggers can't be read");
    let namespaces: Vec<String> = tables.iter().map(|table| fit(&table.name.namespace)).collect();
    let names: Vec<String> = tables.iter().map(|table| fit(&table.name.name)).collect();
    let row = client
        .query_one(
            "WITH own AS (SELECT c.oid FROM pg_catalog.pg_class c \
                 JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                 JOIN (SELECT unnest($1::text[]) AS namespace, unnest($2::text[]) AS name) AS w \
                   ON w.namespace = n.nspname AND w.name = c.relname) \
             SELECT (SELECT count(*) FROM pg_catalog.pg_constraint k JOIN own ON own.oid = k.conrelid \
                     WHERE k.contype = 'f'), \
                    (SELECT pg_catalog.string_agg(pg_catalog.format('ALTER TABLE %s VALIDATE CONSTRAINT %I', \
                         k.conrelid::regclass, k.conname), '; ') \
                     FROM pg_catalog.pg_constraint k JOIN own ON own.oid = k.conrelid WHERE NOT k.convalidated), \
                    (SELECT pg_catalog.string_agg(pg_catalog.format('ALTER TABLE %s ENABLE TRIGGER %I', \
                         t.tgrelid::regclass, t.tgname), '; ') \
                     FROM pg_catalog.pg_trigger t JOIN own ON own.oid = t.tgrelid WHERE t.tgenabled IN ('D', 'R'))",
            &[&namespaces, &names],
        )
        .await
        .map_err(failed)?;
    let (there, unvalidated, silent): (i64, Option<String>, Option<String>) =
        (row.get(0), row.get(1), row.get(2));
    let planned: usize = tables.iter().map(|table| table.foreign_keys.len()).sum();
    let finding = |severity, subject: &str, message: String, fix: Option<String>| Finding {
        severity,
        subject: format!("target {subject}"),
        message,
        fix,
    };
    let missing = planned.saturating_sub(there as usize);
    let foreign_keys = if missing > 0 {
        let fix = "run the task again: it builds what is missing".to_owned();
        finding(Severity::Failed, "foreign keys", format!("{missing} of {planned} are missing"), Some(fix))
    } else if let Some(statements) = unvalidated {
        let what = "constraints are there and not validated".to_owned();
        finding(Severity::Failed, "foreign keys", what, Some(statements))
    } else {
        finding(Severity::Pass, "foreign keys", format!("{there} are there and validated"), None)
    };
    let triggers = match silent {
        // The engine silences triggers for its own sessions alone, so these are somebody's decision.
        Some(statements) => {
            let what = "some are disabled, by somebody else than the engine".to_owned();
            finding(Severity::Warning, "triggers", what, Some(statements))
        }
        None => finding(Severity::Pass, "triggers", "every one is on".to_owned(), None),
    };
    Ok(vec![foreign_keys, triggers])
}

/// Records the end of the task. Adding to the epoch fences every engine that has the task.
pub(crate) async fn mark(client: &mut Client, claim: &Claim, mark: &CutOver) -> Result<()> {
    let failed =
        |error| translate(error, "the cut-over can't be recorded in the target").at("task", &mark.task);
    let before = match &mark.before {
        None => None,
        Some(before) => Some(serde_json::to_string(before).map_err(|error| {
            Error::new(ErrorKind::Internal, "the source's setting can't be written down").caused_by(error)
        })?),
    };
    let transaction = client.transaction().await.map_err(failed)?;
    transaction
        .batch_execute(&format!(
            "SELECT pg_catalog.set_config('synchronous_commit', 'on', true) \
             WHERE pg_catalog.current_setting('synchronous_commit') = 'off'; \
             SELECT pg_catalog.pg_advisory_xact_lock({SETUP_LOCK})"
        ))
        .await
        .map_err(failed)?;
    transaction.batch_execute(TABLE).await.map_err(failed)?;
    if !knows_ways_back(&transaction).await.map_err(failed)? {
        transaction.batch_execute(WAY_BACK).await.map_err(failed)?;
    }
    let fenced = transaction
        .execute(
            "UPDATE _migration.task SET epoch = epoch + 1 WHERE name = $1 AND epoch = $2",
            &[&claim.task, &claim.epoch],
        )
        .await
        .map_err(failed)?;
    if fenced != 1 {
        return Err(claim.lost());
    }
    transaction
        .execute(
            "INSERT INTO _migration.cut_over (task, position, source_before, at_ms, way_back) \
             VALUES ($1, $2, $3, $4, $5)",
            &[
                &mark.task,
                &mark.position.0,
                &before,
                &(mark.at_ms as i64),
                &mark.way_back.as_ref().map(|position| &position.0),
            ],
        )
        .await
        .map_err(failed)?;
    transaction.commit().await.map_err(failed)
}

/// The record, if there is one.
pub(crate) async fn read(client: &Client, task: &str) -> Result<Option<CutOver>> {
    let failed = |error| translate(error, "the target's record of cut-overs can't be read").at("task", task);
    if !has_record(client, "cut_over").await.map_err(failed)? {
        return Ok(None);
    }
    let way_back = if knows_ways_back(client).await.map_err(failed)? { "way_back" } else { "NULL::text" };
    let row = client
        .query_opt(
            &format!(
                "SELECT position, source_before, at_ms, {way_back} FROM _migration.cut_over WHERE task = $1"
            ),
            &[&task],
        )
        .await
        .map_err(failed)?;
    let Some(row) = row else { return Ok(None) };
    let before = match row.get::<_, Option<&str>>(1) {
        None => None,
        Some(text) => Some(serde_json::from_str(text).map_err(|error| {
            Error::new(ErrorKind::State, "the target's record of the cut-over makes no sense")
                .at("task", task)
                .caused_by(error)
        })?),
    };
    Ok(Some(CutOver {
        task: task.to_owned(),
        position: Position(row.get(0)),
        before,
        at_ms: row.get::<_, i64>(2) as u64,
        way_back: row.get::<_, Option<String>>(3).map(Position),
    }))
}
