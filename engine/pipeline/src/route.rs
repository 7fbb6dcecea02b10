//! The way of a table's rows: for each plugin its filter, its transform and the native operations,
//! over whole columns.

use std::collections::BTreeSet;
use std::sync::Arc;

use engine_core::batch::Batch;
use engine_core::bitmap::Bitmap;
use engine_core::column::Column;
use engine_core::error::{Error, ErrorKind, Result};
use engine_core::logical::LogicalType;
use engine_core::plan::RowErrorPolicy;
use engine_plugin::{Origin, RowError, Workers};

use crate::compose::{Composed, Stage, StageSource};
use crate::dead_letter::{DeadLetters, DeadRow};
use crate::ops;

/// Rows that came through, in the target's columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Routed {
    /// The rows, as [`TargetTable::written_columns`](engine_core::plan::TargetTable::written_columns).
    pub batch: Batch,
    /// Which input rows came through; `None` = all of them.
    pub kept: Option<Bitmap>,
    /// Input rows that a filter left out.
    pub filtered: u64,
    /// Input rows set aside in the dead-letter file.
    pub dead: u64,
}

/// The way of one table's rows.
pub struct Route {
    composed: Arc<Composed>,
    code: RowCode,
    dead_letters: Arc<DeadLetters>,
}

/// The threads that run row functions, and under which number each stage of a table is known there.
pub struct RowCode {
    /// The threads.
    pub workers: Workers,
    /// One entry per stage; `None` for a stage without row functions.
    pub handles: Vec<Option<usize>>,
}

/// A row at fault, and the column when one is known.
struct Failure {
    row: usize,
    column: Option<String>,
    code: String,
    message: String,
}

impl Route {
    /// The way of the rows of `composed`.
    pub fn new(composed: Arc<Composed>, code: RowCode, dead_letters: Arc<DeadLetters>) -> Self {
        Self { composed, code, dead_letters }
    }

    /// The table.
    pub fn composed(&self) -> &Arc<Composed> {
        &self.composed
    }

    /// Takes rows as read from the source to what the target writes.
    pub async fn run(&self, batch: Batch, origin: Origin) -> Result<Routed> {
        let mut routed = Routed { batch, kept: None, filtered: 0, dead: 0 };
        for (number, stage) in self.composed.stages.iter().enumerate() {
            self.stage(number, stage, origin, &mut routed).await?;
        }
        Ok(routed)
    }

    async fn stage(&self, number: usize, stage: &Stage, origin: Origin, routed: &mut Routed) -> Result<()> {
        let handle = self.code.handles.get(number).copied().flatten();
        let handle = || handle.ok_or_else(|| Error::new(ErrorKind::Internal, "a stage has no row functions"));
        if stage.calls.filter && routed.batch.rows > 0 {
            let input = project(&routed.batch, &stage.filter_reads);
            let filtered = self.code.workers.filter(handle()?, origin, input).await?;
            let failures: Vec<Failure> =
                filtered.errors.into_iter().map(|error| self.failure(number, error)).collect();
            let left_out = filtered.keep.len() - filtered.keep.count_ones();
            routed.filtered += left_out.saturating_sub(failures.len()) as u64;
            routed.dead += self.set_aside(number, stage, &failures, &routed.batch)?.count() as u64;
            retain(routed, &filtered.keep);
        }
        let mut failures = Vec::new();
        let mut written: Vec<Option<Column>> = Vec::new();
        if stage.calls.transform && routed.batch.rows > 0 {
            let input = project(&routed.batch, &stage.transform_reads);
            let transformed = self.code.workers.transform(handle()?, origin, input).await?;
            failures.extend(transformed.errors.into_iter().map(|error| self.failure(number, error)));
            written = transformed.output.columns.into_iter().map(Some).collect();
        } else if !stage.transform_writes.is_empty() {
            written =
                stage.transform_writes.iter().map(|logical| Some(logical.layout().empty_column())).collect();
        }

        let rows = routed.batch.rows;
        // Kept whole only while something may still have to be said about a row of it.
        let described = can_fail(stage).then(|| routed.batch.clone());
        let mut inputs: Vec<Option<Column>> =
            std::mem::take(&mut routed.batch.columns).into_iter().map(Some).collect();
        let mut columns = Vec::with_capacity(stage.columns.len());
        for output in &stage.columns {
            let missing = || Error::new(ErrorKind::Internal, "a column of the plan is not in the batch");
            let mut column = match &output.source {
                StageSource::Input(place) => {
                    inputs.get_mut(*place).and_then(Option::take).ok_or_else(missing)?
                }
                StageSource::Transformed(place) => {
                    written.get_mut(*place).and_then(Option::take).ok_or_else(missing)?
                }
                StageSource::Constant(value) => {
                    ops::constant(value, &output.logical, rows).ok_or_else(|| {
                        Error::new(ErrorKind::Plugin, "a constant does not fit its column's type")
                            .at("column", &output.source_name)
                    })?
                }
            };
            for (op, logical) in &output.ops {
                let mut failed = Vec::new();
                column = ops::apply(op, column, logical, &mut failed);
                failures.extend(failed.into_iter().map(|failure| Failure {
                    row: failure.row,
                    column: Some(output.source_name.clone()),
                    code: "conversion".into(),
                    message: failure.reason,
                }));
            }
            columns.push(column);
        }
        routed.batch = Batch { rows, columns };
        if let Some(input) = described.filter(|_| !failures.is_empty()) {
            let mut keep = Bitmap::filled(rows, true);
            for row in self.set_aside(number, stage, &failures, &input)? {
                keep.set(row, false);
                routed.dead += 1;
            }
            retain(routed, &keep);
        }
        Ok(())
    }

    fn failure(&self, number: usize, error: RowError) -> Failure {
        let name = |ordinal: usize| {
            let shown = &self.composed.planned.get(number)?.schema;
            shown.columns.get(ordinal).map(|column| column.name.clone())
        };
        Failure {
            row: error.row,
            column: error.column.and_then(name),
            code: error.code,
            message: error.message,
        }
    }

    /// Fails with the first bad row, or writes all of them to the dead-letter file and says which they are.
    fn set_aside(
        &self,
        number: usize,
        stage: &Stage,
        failures: &[Failure],
        input: &Batch,
    ) -> Result<impl Iterator<Item = usize> + use<>> {
        let mut rows = BTreeSet::new();
        for failure in failures {
            let row = self.describe(number, input, failure.row);
            if stage.on_row_error == RowErrorPolicy::Fail {
                let mut error = Error::new(ErrorKind::Unrepresentable, "a row can't be converted")
                    .at("table", &self.composed.schema.name)
                    .at("key", self.key_text(&row));
                if let Some(column) = &failure.column {
                    error = error.at("column", column);
                }
                return Err(error.because(&failure.message).help(
                    "change the plugin's rule for the column, mend the row on the source, or set such rows aside \
                     with the plugin's row-error policy 'dead-letter'",
                ));
            }
            if rows.insert(failure.row) {
                self.dead_letters.write(&DeadRow {
                    table: self.composed.schema.name.to_string(),
                    column: failure.column.clone(),
                    code: failure.code.clone(),
                    reason: failure.message.clone(),
                    row,
                })?;
            }
        }
        Ok(rows.into_iter())
    }

    /// The values of a stage's input row by column name.
    fn describe(&self, number: usize, batch: &Batch, row: usize) -> Vec<(String, Option<String>)> {
        let columns: Vec<(&str, &LogicalType)> = match number
            .checked_sub(1)
            .and_then(|n| self.composed.stages.get(n))
        {
            Some(previous) => {
                previous.columns.iter().map(|column| (column.source_name.as_str(), &column.logical)).collect()
            }
            None => self
                .composed
                .reads
                .iter()
                .filter_map(|&ordinal| self.composed.schema.columns.get(ordinal))
                .map(|column| (column.name.as_str(), &column.logical))
                .collect(),
        };
        columns
            .into_iter()
            .zip(&batch.columns)
            .map(|((name, logical), column)| {
                (name.to_owned(), (!column.is_null(row)).then(|| ops::text_of(column, row, logical)))
            })
            .collect()
    }

    fn key_text(&self, row: &[(String, Option<String>)]) -> String {
        let key = self.composed.schema.row_key().unwrap_or_default();
        let names: Vec<&str> = key
            .iter()
            .filter_map(|&ordinal| self.composed.schema.columns.get(ordinal))
            .map(|c| c.name.as_str())
            .collect();
        let parts: Vec<String> = row
            .iter()
            .filter(|(name, _)| names.contains(&name.as_str()))
            .map(|(name, value)| format!("{name}={}", value.as_deref().unwrap_or("NULL")))
            .collect();
        if parts.is_empty() { "(the table has none)".to_owned() } else { parts.join(",") }
    }
}

/// Whether the stage may find fault with a row.
fn can_fail(stage: &Stage) -> bool {
    stage.calls.transform || stage.columns.iter().any(|column| !column.ops.is_empty())
}

/// The columns that a row function reads.
fn project(batch: &Batch, reads: &[usize]) -> Batch {
    let columns = reads.iter().filter_map(|&place| batch.columns.get(place).cloned()).collect();
    Batch { rows: batch.rows, columns }
}

/// Drops the rows whose bit is clear, and remembers which of the first input's rows are left.
fn retain(routed: &mut Routed, keep: &Bitmap) {
    if keep.all() {
        return;
    }
    routed.batch = routed.batch.filter(keep);
    routed.kept = Some(match routed.kept.take() {
        None => keep.clone(),
        Some(before) => {
            let mut still = keep.iter();
            before.iter().map(|kept| kept && still.next().unwrap_or(false)).collect()
        }
    });
}
