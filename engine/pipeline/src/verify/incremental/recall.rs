//! What an earlier run applied and did not live to compare.
//!
//! Everything up to the [floor](super::floor) was compared. A stream of its own tells what has changed between there
//! and where the target stands, and so what the target must have of each key now. That waits to be looked at like
//! what the lanes are given.

use std::collections::HashMap;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

use engine_core::batch::Batch;
use engine_core::error::{Error, ErrorKind, Result};
use engine_core::examine::{Field, Stand, fields};
use engine_core::finding::{Finding, Severity};
use engine_core::position::Position;
use engine_core::schema::TableName;
use engine_core::selection::Selection;

use crate::retry::may_pass;

use super::super::changes::{Changes, State};
use super::super::subject::{Subject, Table};
use super::super::trail::{self, Trail};
use super::Incremental;
use super::pending::{Expected, KeyRow, Noted};

impl Incremental {
    /// Has what was applied since the floor compared, once in a process. The target stands there, and no lane has anything yet.
    pub(super) async fn recall(&self, stop: &CancellationToken) -> Result<()> {
        let mut is_recalled = self.is_recalled.lock().await;
        if *is_recalled {
            return Ok(());
        }
        let mut examiner = self.spec.target.open_examiner().await?;
        let stand = &examiner.begin(&self.spec.name).await?;
        examiner.end().await?;
        let Some(position) = &stand.position else { return Ok(()) };
        if let Some(floor) = self.floor.read()?
            && floor.position != *position
        {
            let recalled = tokio::select! {
                biased;
                () = stop.cancelled() => Err(Error::new(ErrorKind::Interrupted, "stopped")),
                recalled = self.recall_from(&floor.position, floor.plan_digest == stand.plan_digest, stand, stop) => recalled,
            };
            match recalled {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted || may_pass(&error) => {
                    return Err(error);
                }
                Err(error) => {
                    let finding = finding(&self.spec.name, &error);
                    self.progress.update(|report| report.findings.push(finding));
                }
            }
            self.tell();
        } else {
            self.floor.raise(position, &stand.plan_digest)?;
        }
        *is_recalled = true;
        Ok(())
    }

    async fn recall_from(
        &self,
        floor: &Position,
        is_same_plan: bool,
        stand: &Stand,
        stop: &CancellationToken,
    ) -> Result<()> {
        let source = self.spec.source.as_ref();
        let is_ahead = match &stand.position {
            Some(position) => !source.covers(position, floor)?,
            None => true,
        };
        if is_ahead {
            return Err(Error::new(ErrorKind::Precondition, "the target stands before what was compared"));
        }
        if !is_same_plan {
            return Err(Error::new(ErrorKind::Precondition, "the tables have changed their structure since"));
        }
        let everything = Selection { database: None, include: Vec::new(), exclude: Vec::new() };
        let subject = Arc::new(Subject::open(self.spec.clone(), &everything, None, self.hashing).await?);
        trail::start(source, stand, subject.copied.as_ref())?;
        let changes = Changes::new(subject.tables.len());
        let trail = Trail::begin(&subject, floor.clone(), changes, stop).await?;
        trail.reach(stand, None).await?;
        let Some(position) = &stand.position else { return Ok(()) };
        let changes = trail.changes();
        let held = changes.held(source, position, &stand.applied)?;
        let places: HashMap<TableName, usize> =
            self.tables().iter().map(|table| (table.name().clone(), table.place)).collect();
        for table in subject.tables.iter().filter(|table| table.key.is_some()) {
            let Some(&place) = places.get(table.name()) else { continue };
            let states = changes.states(table.place, &held);
            self.pending().recall(place, states.iter().map(|state| noted(table, state)));
        }
        Ok(())
    }
}

/// What must be there under a key; `None` when the key can't be asked for.
fn noted(table: &Table, state: &State<'_>) -> Option<Noted> {
    let places = table.key.iter().flatten();
    let columns = fields(state.fields).zip(places).map(|((field, _), &place)| match field {
        Field::Value(value) => table.form.value(place, value),
        _ => None,
    });
    let columns = columns.collect::<Option<_>>()?;
    let expected = Expected { hash: state.expected, row: None, letter: state.letter.cloned() };
    let at = KeyRow { keys: Arc::new(Batch { rows: 1, columns }), row: 0 };
    Some(Noted { key: state.key, at, transaction: 0, expected })
}

fn finding(task: &str, error: &Error) -> Finding {
    let why = error.why().map_or_else(String::new, |why| format!(": {why}"));
    Finding {
        severity: Severity::Warning,
        subject: "changes".into(),
        message: format!(
            "what an earlier run applied and did not live to compare can't be compared any more: {}{why}",
            error.what()
        ),
        fix: Some(format!("engine verify {task} compares every row")),
    }
}
