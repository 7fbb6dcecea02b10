//! The way of a table's rows: for each plugin its filter, its transform and the native operations,
//! over whole columns.

use async_trait::async_trait;
use std::sync::Arc;

use engine_core::batch::Batch;
use engine_core::bitmap::Bitmap;
use engine_core::column::Column;
use engine_core::error::{Error, ErrorKind, Result};
use engine_core::logical::LogicalType;
use engine_core::plan::RowErrorPolicy;

use crate::compose::{Composed, Stage, StageSource};
use crate::dead_letter::{DeadLetters, DeadRow};
use crate::ops;

/// Where rows come from; plugins see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A chunk of the copy.
    Snapshot,
    /// The change stream.
    Changes,
}

/// A row that a plugin could not convert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowFailure {
    /// Row in the batch passed.
    pub row: usize,
    /// Machine-readable reason.
    pub code: String,
    /// Reason.
    pub message: String,
}

/// What a plugin's transform answered.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Transformed {
    /// The columns it writes, as long as the input; rows in `failures` hold nothing of use.
    pub columns: Vec<Column>,
    /// The rows it could not convert.
    pub failures: Vec<RowFailure>,
}

/// A batch on its way into a plugin.
#[derive(Debug, Clone)]
pub struct Call {
    /// Place of the plugin in the chain.
    pub plugin: usize,
    /// Number of the table in the task.
    pub table: usize,
    /// Where the rows come from.
    pub origin: Origin,
    /// Number of rows.
    pub rows: usize,
    /// The columns that the plan names.
    pub columns: Vec<Column>,
}

/// Runs the row functions of plugins.
#[async_trait]
pub trait RowCode: Send + Sync {
    /// The rows to keep.
    async fn filter(&self, call: Call) -> Result<Bitmap>;
    /// The columns that the transform writes, checked against `writes`.
    async fn transform(&self, call: Call, writes: &[LogicalType]) -> Result<Transformed>;
}

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
    table: usize,
    composed: Arc<Composed>,
    code: Arc<dyn RowCode>,
    dead_letters: Arc<DeadLetters>,
}

impl Route {
    /// The way for table number `table` of the task.
    pub fn new(
        table: usize,
        composed: Arc<Composed>,
        code: Arc<dyn RowCode>,
        dead_letters: Arc<DeadLetters>,
    ) -> Self {
        Self { table, composed, code, dead_letters }
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
        if stage.calls.filter && routed.batch.rows > 0 {
            let call = self.call(stage, origin, &routed.batch, &stage.filter_reads);
            let keep = self.code.filter(call).await?;
            routed.filtered += (keep.len() - keep.count_ones()) as u64;
            retain(routed, &keep);
        }
        let mut failures = Vec::new();
        let mut written: Vec<Option<Column>> = Vec::new();
        if stage.calls.transform && routed.batch.rows > 0 {
            let call = self.call(stage, origin, &routed.batch, &stage.transform_reads);
            let transformed = self.code.transform(call, &stage.transform_writes).await?;
            failures.extend(transformed.failures.into_iter().map(|failure| (failure, None)));
            written = transformed.columns.into_iter().map(Some).collect();
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
                failures.extend(failed.into_iter().map(|failure| {
                    let failure =
                        RowFailure { row: failure.row, code: "conversion".into(), message: failure.reason };
                    (failure, Some(output.source_name.as_str()))
                }));
            }
            columns.push(column);
        }
        routed.batch = Batch { rows, columns };
        if !failures.is_empty() {
            self.set_aside(number, stage, &failures, described.as_ref(), routed)?;
        }
        Ok(())
    }

    fn call(&self, stage: &Stage, origin: Origin, batch: &Batch, reads: &[usize]) -> Call {
        let columns = reads.iter().filter_map(|&place| batch.columns.get(place).cloned()).collect();
        Call { plugin: stage.plugin, table: self.table, origin, rows: batch.rows, columns }
    }

    /// Fails with the first bad row, or writes all of them to the dead-letter file and goes on without them.
    fn set_aside(
        &self,
        number: usize,
        stage: &Stage,
        failures: &[(RowFailure, Option<&str>)],
        input: Option<&Batch>,
        routed: &mut Routed,
    ) -> Result<()> {
        let mut keep = Bitmap::filled(routed.batch.rows, true);
        for (failure, column) in failures {
            let row = input.map(|batch| self.describe(number, batch, failure.row)).unwrap_or_default();
            if stage.on_row_error == RowErrorPolicy::Fail {
                let mut error = Error::new(ErrorKind::Unrepresentable, "a row can't be converted")
                    .at("table", &self.composed.schema.name)
                    .at("key", self.key_text(&row));
                if let Some(column) = column {
                    error = error.at("column", column);
                }
                return Err(error
                    .because(&failure.message)
                    .help("change the plugin's rule for the column, mend the row on the source, or set the row aside \
                           by the plugin's row-error policy 'dead-letter'"));
            }
            if keep.get(failure.row) {
                keep.set(failure.row, false);
                self.dead_letters.write(&DeadRow {
                    table: self.composed.schema.name.to_string(),
                    column: column.map(str::to_owned),
                    code: failure.code.clone(),
                    reason: failure.message.clone(),
                    row,
                })?;
            }
        }
        routed.dead += (keep.len() - keep.count_ones()) as u64;
        retain(routed, &keep);
        Ok(())
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
