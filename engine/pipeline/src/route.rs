//! The way of a table's rows: for each plugin its filter, its transform and the native operations,
//! over whole columns.

use std::collections::BTreeSet;
use std::sync::Arc;

use engine_core::batch::Batch;
use engine_core::bitmap::Bitmap;
use engine_core::column::{Column, Vector};
use engine_core::error::{Error, ErrorKind, Result};
use engine_core::logical::LogicalType;
use engine_core::plan::RowErrorPolicy;
use engine_core::target::{Refusal, RowCheck};
use engine_plugin::{Origin, RowError, Workers};

use crate::compose::{Composed, Stage, StageSource};
use crate::dead_letter::{DeadLetters, Letter, Operation, Values};
use crate::ops;
use crate::progress::now_ms;

/// Rows that came through, in the target's columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Routed {
    /// The rows, as [`TargetTable::written_columns`](engine_core::plan::TargetTable::written_columns).
    pub batch: Batch,
    /// Which input rows came through; `None` = all of them.
    pub kept: Option<Bitmap>,
    /// Input rows that a filter left out.
    pub filtered: u64,
    /// Input rows that are to be set aside, each once, in no order.
    pub refused: Vec<Refusal>,
    /// The rows as they were read, of a table whose bad rows are set aside.
    pub input: Option<Batch>,
}

impl Routed {
    /// For each row that came through its place in the input.
    pub fn places(&self) -> Vec<usize> {
        match &self.kept {
            None => (0..self.batch.rows).collect(),
            Some(kept) => kept.iter().enumerate().filter(|(_, kept)| *kept).map(|(row, _)| row).collect(),
        }
    }
}

/// Which state of a row is taken through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Image {
    /// One to be written.
    New,
    /// One that the target is to have no longer; it is told by its key where there is one.
    Old,
}

/// Where a row was met, for its letter.
#[derive(Debug, Clone)]
pub struct Met {
    /// What the source did with it.
    pub operation: Operation,
    /// In which transaction, or [that it was in the copy](crate::dead_letter::SNAPSHOT).
    pub position: String,
    /// In which chunk.
    pub chunk: Option<u64>,
}

/// The way of one table's rows.
pub struct Route {
    composed: Arc<Composed>,
    code: RowCode,
    dead_letters: Arc<DeadLetters>,
    check: Option<Arc<dyn RowCheck>>,
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
    /// The way of the rows of `composed`. What `check` refuses is set aside; without one, the target
    /// has the say.
    pub fn new(
        composed: Arc<Composed>,
        code: RowCode,
        dead_letters: Arc<DeadLetters>,
        check: Option<Arc<dyn RowCheck>>,
    ) -> Self {
        Self { composed, code, dead_letters, check }
    }

    /// The table.
    pub fn composed(&self) -> &Arc<Composed> {
        &self.composed
    }

    /// The rows that were set aside.
    pub fn dead_letters(&self) -> &Arc<DeadLetters> {
        &self.dead_letters
    }

    /// Takes rows as read from the source to what the target writes.
    pub async fn run(&self, batch: Batch, origin: Origin) -> Result<Routed> {
        self.image(batch, origin, Image::New).await
    }

    /// Takes rows as they were before a change to what the target may have of them. Where a row is
    /// told by its key, only that has to have a representation.
    pub async fn run_before(&self, batch: Batch) -> Result<Routed> {
        self.image(batch, Origin::ChangeStream, Image::Old).await
    }

    async fn image(&self, batch: Batch, origin: Origin, image: Image) -> Result<Routed> {
        let sets_aside = self.composed.target.on_row_error == RowErrorPolicy::DeadLetter;
        let input = sets_aside.then(|| batch.clone());
        let mut routed = Routed { batch, kept: None, filtered: 0, refused: Vec::new(), input };
        for (number, stage) in self.composed.stages.iter().enumerate() {
            self.stage(number, stage, origin, &mut routed).await?;
        }
        if let Some(check) = &self.check
            && routed.batch.rows > 0
        {
            let target = &self.composed.target;
            let key = target.row_key.as_ref().filter(|_| image == Image::Old);
            let columns: Vec<usize> = target
                .written_columns()
                .enumerate()
                .filter(|(_, column)| key.is_none_or(|key| key.contains(column)))
                .map(|(place, _)| place)
                .collect();
            let refusals = check.refusals(&routed.batch, &columns)?;
            refuse(&mut routed, refusals);
        }
        Ok(routed)
    }

    /// The letter for a row of `input`, which is as it was read.
    pub fn letter(&self, input: &Batch, refusal: &Refusal, met: Met) -> Letter {
        Letter {
            table: self.composed.schema.name.to_string(),
            key: self.key_of(input, refusal.row),
            position: met.position,
            chunk: met.chunk,
            operation: met.operation,
            column: refusal.column.clone(),
            code: refusal.code.clone(),
            reason: refusal.reason.clone(),
            row: Values(self.describe(0, input, refusal.row)),
            occurrence: 0,
            at_ms: now_ms(),
            lost: None,
        }
    }

    /// The values of the row key in a row as it was read; `None` when the table has none that is read.
    pub fn key_of(&self, input: &Batch, row: usize) -> Option<Values> {
        let composed = &self.composed;
        let named = composed.schema.row_key()?.into_iter().map(|ordinal| {
            let column = composed.schema.columns.get(ordinal)?;
            let values = input.columns.get(composed.reads.iter().position(|&read| read == ordinal)?)?;
            let text = (!values.is_null(row)).then(|| ops::text_of(values, row, &column.logical));
            Some((column.name.clone(), text))
        });
        Some(Values(named.collect::<Option<Vec<_>>>()?)).filter(|key| !key.0.is_empty())
    }

    async fn stage(&self, number: usize, stage: &Stage, origin: Origin, routed: &mut Routed) -> Result<()> {
        let handle = self.code.handles.get(number).copied().flatten();
        let handle = || handle.ok_or_else(|| Error::new(ErrorKind::Internal, "a stage has no row functions"));
        if stage.calls.filter && routed.batch.rows > 0 {
            let input = project(&mut routed.batch, &stage.filter_reads);
            let filtered = self.code.workers.filter(handle()?, origin, input).await?;
            give_back(&mut routed.batch, &stage.filter_reads, filtered.input);
            let failures: Vec<Failure> =
                filtered.errors.into_iter().map(|error| self.failure(number, error)).collect();
            let left_out = filtered.keep.len() - filtered.keep.count_ones();
            routed.filtered += left_out.saturating_sub(failures.len()) as u64;
            let refused = self.refusals(number, stage, failures, &routed.batch)?;
            note(routed, refused);
            retain(routed, &filtered.keep);
        }
        let mut failures = Vec::new();
        let mut written: Vec<Option<Column>> = Vec::new();
        if stage.calls.transform && routed.batch.rows > 0 {
            let input = project(&mut routed.batch, &stage.transform_reads);
            let transformed = self.code.workers.transform(handle()?, origin, input).await?;
            give_back(&mut routed.batch, &stage.transform_reads, transformed.input);
            failures.extend(transformed.errors.into_iter().map(|error| self.failure(number, error)));
            written = transformed.output.columns.into_iter().map(Some).collect();
        } else if !stage.transform_writes.is_empty() {
            written =
                stage.transform_writes.iter().map(|logical| Some(logical.layout().empty_column())).collect();
        }

        let rows = routed.batch.rows;
        let mut inputs = Inputs::new(std::mem::take(&mut routed.batch));
        let mut columns = Vec::with_capacity(stage.columns.len());
        for (place_out, output) in stage.columns.iter().enumerate() {
            let missing = || Error::new(ErrorKind::Internal, "a column of the plan is not in the batch");
            let mut column = match &output.source {
                StageSource::Input(place) => {
                    inputs.pass_on(*place, place_out, !output.ops.is_empty()).ok_or_else(missing)?
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
        if !failures.is_empty() {
            let input = inputs.restored(&routed.batch);
            let refused = self.refusals(number, stage, failures, &input)?;
            refuse(routed, refused);
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

    /// Fails with the first bad row, or says which rows of a stage's input are to be set aside.
    fn refusals(
        &self,
        number: usize,
        stage: &Stage,
        failures: Vec<Failure>,
        input: &Batch,
    ) -> Result<Vec<Refusal>> {
        let mut rows = BTreeSet::new();
        let mut refusals = Vec::new();
        for failure in failures {
            if stage.on_row_error == RowErrorPolicy::Fail {
                let row = self.describe(number, input, failure.row);
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
                refusals.push(Refusal {
                    row: failure.row,
                    column: failure.column,
                    code: failure.code,
                    reason: failure.message,
                });
            }
        }
        Ok(refusals)
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

/// A stage's input while its columns become the output: whatever happens to them, a row of it can still be described.
struct Inputs {
    rows: usize,
    columns: Vec<InputColumn>,
}

enum InputColumn {
    /// Not in the output, or changed on the way there.
    Kept { column: Column, passed_on: bool },
    /// In the output at this place, as it was.
    Moved(usize),
}

impl Inputs {
    fn new(batch: Batch) -> Self {
        let columns = batch.columns.into_iter();
        Self {
            rows: batch.rows,
            columns: columns.map(|column| InputColumn::Kept { column, passed_on: false }).collect(),
        }
    }

    /// The column at `place`, for `to` of the output; `None` when it is not there any more. It is copied only when it
    /// `will_change`.
    fn pass_on(&mut self, place: usize, to: usize, will_change: bool) -> Option<Column> {
        let slot = self.columns.get_mut(place)?;
        match slot {
            InputColumn::Moved(_) | InputColumn::Kept { passed_on: true, .. } => None,
            InputColumn::Kept { column, passed_on } if will_change => {
                *passed_on = true;
                Some(column.clone())
            }
            InputColumn::Kept { .. } => match std::mem::replace(slot, InputColumn::Moved(to)) {
                InputColumn::Kept { column, .. } => Some(column),
                InputColumn::Moved(_) => None,
            },
        }
    }

    /// The input as it was; `output` is what it became.
    fn restored(self, output: &Batch) -> Batch {
        let columns = self.columns.into_iter().map(|column| match column {
            InputColumn::Kept { column, .. } => Some(column),
            InputColumn::Moved(place) => output.columns.get(place).cloned(),
        });
        Batch { rows: self.rows, columns: columns.map(|column| column.unwrap_or_else(placeholder)).collect() }
    }
}

/// Takes out of `batch` the columns that a row function reads; [`give_back`] puts them back.
fn project(batch: &mut Batch, reads: &[usize]) -> Batch {
    let mut columns: Vec<Column> = Vec::with_capacity(reads.len());
    for (number, place) in reads.iter().enumerate() {
        let earlier = reads.iter().take(number).position(|before| before == place);
        let column = match earlier.and_then(|earlier| columns.get(earlier)) {
            Some(taken) => Some(taken.clone()),
            None => batch.columns.get_mut(*place).map(|column| std::mem::replace(column, placeholder())),
        };
        columns.extend(column);
    }
    Batch { rows: batch.rows, columns }
}

/// Puts back what [`project`] took.
fn give_back(batch: &mut Batch, reads: &[usize], input: Batch) {
    for (place, column) in reads.iter().zip(input.columns) {
        if let Some(slot) = batch.columns.get_mut(*place) {
            *slot = column;
        }
    }
}

/// Stands where a column was taken out.
fn placeholder() -> Column {
    Column::new(Vector::Bits(Bitmap::new()))
}

/// Remembers rows of the batch as refused, by their places in the first input.
fn note(routed: &mut Routed, refusals: Vec<Refusal>) {
    if refusals.is_empty() {
        return;
    }
    let places = routed.places();
    routed.refused.extend(refusals.into_iter().filter_map(|refusal| {
        let row = *places.get(refusal.row)?;
        Some(Refusal { row, ..refusal })
    }));
}

/// Takes refused rows out of the batch.
fn refuse(routed: &mut Routed, refusals: Vec<Refusal>) {
    let mut keep = Bitmap::filled(routed.batch.rows, true);
    refusals.iter().for_each(|refusal| keep.set(refusal.row, false));
    note(routed, refusals);
    retain(routed, &keep);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> Batch {
        let columns = [1, 2, 3].map(|value| Column::new(Vector::I64(vec![value, value * 10])));
        Batch { rows: 2, columns: columns.to_vec() }
    }

    #[test]
    fn what_a_row_function_reads_comes_back() {
        let mut rest = batch();
        let reads = [2, 0, 2];
        let input = project(&mut rest, &reads);
        assert_eq!(
            input,
            Batch { rows: 2, columns: [2, 0, 2].map(|place| batch().columns[place].clone()).into() }
        );
        assert_ne!(rest, batch());
        give_back(&mut rest, &reads, input);
        assert_eq!(rest, batch());
    }

    #[test]
    fn the_input_can_be_told_after_it_became_the_output() {
        let mut inputs = Inputs::new(batch());
        let moved = inputs.pass_on(2, 0, false).expect("the third column");
        let mut changed = inputs.pass_on(0, 1, true).expect("the first column");
        assert!(inputs.pass_on(2, 2, false).is_none() && inputs.pass_on(0, 2, true).is_none());
        changed.set_null(1);
        let output = Batch { rows: 2, columns: vec![moved, changed] };
        assert_eq!(inputs.restored(&output), batch());
    }
}
