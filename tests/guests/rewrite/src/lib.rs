//! A plugin that puts the columns it is told about into upper case: what row code costs when the
//! code itself costs next to nothing.

use migration_sdk::batch::Row;
use migration_sdk::output::RowOutput;
use migration_sdk::{
    Calls, Description, Endpoint, Planner, PluginError, RowFailure, RunContext, TablePlan, TableSchema,
    Transformer, WriteColumn, export_plugin,
};
use serde::Deserialize;

struct Rewrite {
    columns: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Text columns, wherever a table has one of the name.
    columns: Vec<String>,
}

impl Planner for Rewrite {
    type Config = Config;

    fn describe() -> Description {
        Description::new("rewrite", env!("CARGO_PKG_VERSION"), "puts columns into upper case")
    }

    fn configure(_: RunContext, config: Config) -> Result<Self, PluginError> {
        Ok(Self { columns: config.columns })
    }

    fn plan_table(&self, schema: &TableSchema, _: &Endpoint, _: &Endpoint) -> Result<TablePlan, PluginError> {
        let mut plan = TablePlan::unchanged(schema);
        plan.transform_reads = self.columns.iter().filter_map(|name| schema.column_index(name)).collect();
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
}

export_plugin!(Rewrite: Transformer);
