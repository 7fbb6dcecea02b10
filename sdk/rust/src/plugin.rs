//! The traits that a plugin implements.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::batch::{Batch, Row};
use crate::output::{Output, RowOutput};
use crate::{
    DatabaseObject, DdlAction, DdlEvent, Description, Endpoint, ObjectAction, PluginError, RowConflict,
    RowFailure, RowResolution, RunContext, TablePlan, TableSchema,
};

/// Configuration of a plugin that takes none.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

/// Decides per table, once: names, types, conversions, filters, policies. Every plugin is a planner.
pub trait Planner: Sized + 'static {
    /// The configuration, read from the user's JSON object. An object without members is read when
    /// the user gave none; deny unknown fields, so that a misspelt setting is told.
    type Config: DeserializeOwned;

    /// Who the plugin is and which databases it understands.
    fn describe() -> Description;

    /// Starts the plugin. `context` holds the only clock and the only entropy there is.
    ///
    /// # Errors
    /// [`PluginError::InvalidConfig`] with the JSON pointer of the setting that can't be used.
    fn configure(context: RunContext, config: Self::Config) -> Result<Self, PluginError>;

    /// Plans one table. `schema` is the source's as the plugins before this one in the chain left
    /// it: names may have changed, and `target_type` says what an earlier plugin decided.
    ///
    /// # Errors
    /// [`PluginError::Unsupported`] when the table can't be migrated as configured.
    fn plan_table(
        &self,
        schema: &TableSchema,
        source: &Endpoint,
        target: &Endpoint,
    ) -> Result<TablePlan, PluginError>;
}

/// Reads and rewrites rows. Called for tables whose plan sets [`crate::Calls`].
///
/// The functions must be pure: the same plan and row give the same answer, in whichever batch the
/// row comes and however often.
pub trait Transformer: Planner {
    /// What a worker keeps per table between batches, such as what `plan_table` stored in
    /// [`TablePlan::state`].
    type Table;

    /// Prepares a table in a worker, before its first batch.
    ///
    /// # Errors
    /// Any [`PluginError`] stops the table.
    fn open_table(&self, schema: &TableSchema, plan: &TablePlan) -> Result<Self::Table, PluginError>;

    /// Whether to keep a row. `row` holds the columns of [`TablePlan::filter_reads`].
    ///
    /// # Errors
    /// A [`RowFailure`] fails the whole call, since a filter has no row errors of its own: the host
    /// then names the table.
    fn keep(&self, table: &Self::Table, row: Row<'_>) -> Result<bool, RowFailure> {
        let _ = (table, row);
        Ok(true)
    }

    /// Rewrites one row: reads the columns of [`TablePlan::transform_reads`] and writes every column
    /// of [`TablePlan::transform_writes`] exactly once.
    ///
    /// # Errors
    /// A [`RowFailure`] takes the row out; the table's row-error policy decides what follows.
    fn transform(
        &self,
        table: &Self::Table,
        row: Row<'_>,
        output: &mut RowOutput<'_>,
    ) -> Result<(), RowFailure> {
        let _ = (table, row, output);
        Ok(())
    }

    /// Rewrites a whole batch; by default [`Transformer::transform`] for each row. To be overridden
    /// where working column by column pays: every column of [`TablePlan::transform_writes`] gets one
    /// value per row of the batch, and [`Output::fail`] names a row that can't be carried over.
    ///
    /// # Errors
    /// Any [`PluginError`] stops the table.
    fn transform_batch(
        &self,
        table: &Self::Table,
        batch: &Batch<'_>,
        output: &mut Output,
    ) -> Result<(), PluginError> {
        for row in batch.rows() {
            output.row(row.index(), |writer| self.transform(table, row, writer));
        }
        Ok(())
    }
}

/// Decides what happens to a row whose key the target already has.
pub trait ConflictResolver: Planner {
    /// One conflict of a table whose plan says [`crate::ConflictPolicy::AskPlugin`].
    ///
    /// # Errors
    /// Any [`PluginError`] stops the table.
    fn resolve(&self, conflict: &RowConflict) -> Result<RowResolution, PluginError>;
}

/// Decides about schema changes seen in the change stream.
pub trait DdlMapper: Planner {
    /// One schema change.
    ///
    /// # Errors
    /// Any [`PluginError`] stops the task.
    fn map_ddl(&self, event: &DdlEvent, target: &Endpoint) -> Result<DdlAction, PluginError>;
}

/// Decides about views, triggers, functions, procedures and events.
pub trait ObjectMapper: Planner {
    /// One object. Of several plugins in a chain the first that is an `ObjectMapper` decides.
    ///
    /// # Errors
    /// Any [`PluginError`] stops the task.
    fn map_object(
        &self,
        object: &DatabaseObject,
        source: &Endpoint,
        target: &Endpoint,
    ) -> Result<ObjectAction, PluginError>;
}
