//! A plugin that puts the columns it is told about into upper case: what row code costs when the
//! code itself costs next to nothing.

use migration_sdk::batch::{Batch, Row};
use migration_sdk::output::{Output, RowOutput};
use migration_sdk::types::{Column, Varlen, Vector};
use migration_sdk::{
    Calls, Description, Endpoint, Planner, PluginError, RowFailure, RunContext, TablePlan, TableSchema,
    Transformer, WriteColumn, export_plugin,
};
use serde::Deserialize;

struct Rewrite {
    config: Config,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Text columns, wherever a table has one of the name.
    columns: Vec<String>,
    /// Which of the SDK's two interfaces to use.
    #[serde(default)]
    by: By,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum By {
    #[default]
    Row,
    Column,
}

impl Planner for Rewrite {
    type Config = Config;

    fn describe() -> Description {
        Description::new("rewrite", env!("CARGO_PKG_VERSION"), "puts columns into upper case")
    }

    fn configure(_: RunContext, config: Config) -> Result<Self, PluginError> {
        Ok(Self { config })
    }

    fn plan_table(&self, schema: &TableSchema, _: &Endpoint, _: &Endpoint) -> Result<TablePlan, PluginError> {
        let mut plan = TablePlan::unchanged(schema);
        plan.transform_reads =
            self.config.columns.iter().filter_map(|name| schema.column_index(name)).collect();
        plan.transform_writes = plan.transform_reads.iter().copied().map(WriteColumn::Input).collect();
        if !plan.transform_reads.is_empty() {
            plan.calls |= Calls::TRANSFORM;
        }
        Ok(plan)
    }
}

impl Transformer for Rewrite {
    /// Number of columns.
    type Table = usize;

    fn open_table(&self, _: &TableSchema, plan: &TablePlan) -> Result<usize, PluginError> {
        Ok(plan.transform_reads.len())
    }

    fn transform(&self, columns: &usize, row: Row<'_>, output: &mut RowOutput<'_>) -> Result<(), RowFailure> {
        for column in 0..*columns {
            let upper = row.text(column)?.map(str::to_ascii_uppercase);
            output.text(column, upper.as_deref())?;
        }
        Ok(())
    }

    fn transform_batch(
        &self,
        columns: &usize,
        batch: &Batch<'_>,
        output: &mut Output,
    ) -> Result<(), PluginError> {
        match self.config.by {
            By::Row => {
                for row in batch.rows() {
                    output.row(row.index(), |writer| self.transform(columns, row, writer));
                }
            }
            By::Column => {
                for position in 0..*columns {
                    upper_case(batch, position, output)?;
                }
            }
        }
        Ok(())
    }
}

/// Letters of ASCII keep their length, so that the values stay where they were.
fn upper_case(batch: &Batch<'_>, position: usize, output: &mut Output) -> Result<(), PluginError> {
    let missing = || PluginError::Fatal(format!("there is no text at {position}"));
    let input = batch.column(position).ok_or_else(missing)?.raw();
    let Vector::Varlen(values) = &input.values else { return Err(missing()) };
    let values = Varlen { offsets: values.offsets.clone(), data: values.data.to_ascii_uppercase() };
    let column = Column { values: Vector::Varlen(values), validity: input.validity.clone() };
    output.column(position).ok_or_else(missing)?.whole(column, batch.len())?;
    Ok(())
}

export_plugin!(Rewrite: Transformer);
