//! One running instance of a plugin: what the exported functions call.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

use crate::batch::Batch;
use crate::bindings::exports::migration::plugin::transform as contract;
use crate::log::install_panic_hook;
use crate::output::Output;
use crate::plugin::{ConflictResolver, DdlMapper, ObjectMapper, Planner, Transformer};
use crate::{
    DatabaseObject, DdlAction, DdlEvent, Description, Endpoint, ObjectAction, PluginError, RowConflict,
    RowResolution, RunContext, TableId, TablePlan, TableSchema,
};

/// The plugin once configured.
pub struct Instance<P> {
    plugin: RefCell<Option<P>>,
}

impl<P: Planner> Instance<P> {
    /// Not configured yet.
    pub const fn new() -> Self {
        Self { plugin: RefCell::new(None) }
    }

    /// See the contract's `lifecycle.describe`.
    pub fn describe(&self) -> Description {
        install_panic_hook();
        P::describe()
    }

    /// See the contract's `lifecycle.configure`.
    pub fn configure(&self, context: RunContext, config: &str) -> Result<(), PluginError> {
        install_panic_hook();
        let config = if config.is_empty() { "{}" } else { config };
        *self.plugin.borrow_mut() = Some(P::configure(context, parsed(config)?)?);
        Ok(())
    }

    /// See the contract's `planning.plan-table`.
    pub fn plan_table(
        &self,
        schema: &TableSchema,
        source: &Endpoint,
        target: &Endpoint,
    ) -> Result<TablePlan, PluginError> {
        self.with(|plugin| plugin.plan_table(schema, source, target))
    }

    /// See the contract's `conflicts.resolve-rows`.
    pub fn resolve_rows(&self, conflicts: &[RowConflict]) -> Result<Vec<RowResolution>, PluginError>
    where
        P: ConflictResolver,
    {
        self.with(|plugin| conflicts.iter().map(|conflict| plugin.resolve(conflict)).collect())
    }

    /// See the contract's `ddl.map-ddl`.
    pub fn map_ddl(&self, event: &DdlEvent, target: &Endpoint) -> Result<DdlAction, PluginError>
    where
        P: DdlMapper,
    {
        self.with(|plugin| plugin.map_ddl(event, target))
    }

    /// See the contract's `objects.map-object`.
    pub fn map_object(
        &self,
        object: &DatabaseObject,
        source: &Endpoint,
        target: &Endpoint,
    ) -> Result<ObjectAction, PluginError>
    where
        P: ObjectMapper,
    {
        self.with(|plugin| plugin.map_object(object, source, target))
    }

    fn with<T>(&self, call: impl FnOnce(&P) -> Result<T, PluginError>) -> Result<T, PluginError> {
        match &*self.plugin.borrow() {
            Some(plugin) => call(plugin),
            None => Err(PluginError::Fatal("the plugin was called before it was configured".to_owned())),
        }
    }
}

/// A configuration of what type a plugin takes. The error has the pointer to the setting, and no line: the
/// host wrote the text.
fn parsed<T: DeserializeOwned>(config: &str) -> Result<T, PluginError> {
    let text: Value = serde_json::from_str(config)
        .map_err(|error| PluginError::InvalidConfig((String::new(), error.to_string())))?;
    serde_path_to_error::deserialize(text).map_err(|error| {
        let pointer = pointer(error.path());
        PluginError::InvalidConfig((pointer, error.into_inner().to_string()))
    })
}

/// A path as JSON pointer.
fn pointer(path: &Path) -> String {
    path.iter().fold(String::new(), |pointer, segment| match segment {
        Segment::Seq { index } => format!("{pointer}/{index}"),
        Segment::Map { key } => format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1")),
        // Variants of enums are no places in the text.
        Segment::Enum { .. } | Segment::Unknown => pointer,
    })
}

impl<P: Planner> Default for Instance<P> {
    fn default() -> Self {
        Self::new()
    }
}

struct OpenTable<T> {
    schema: TableSchema,
    plan: TablePlan,
    state: T,
}

/// The tables that a worker has open.
pub struct OpenTables<P: Transformer> {
    tables: RefCell<BTreeMap<TableId, OpenTable<P::Table>>>,
}

impl<P: Transformer> OpenTables<P> {
    /// None yet.
    pub const fn new() -> Self {
        Self { tables: RefCell::new(BTreeMap::new()) }
    }

    /// See the contract's `lifecycle.open-table`.
    pub fn open(
        &self,
        instance: &Instance<P>,
        table: TableId,
        schema: TableSchema,
        plan: TablePlan,
    ) -> Result<(), PluginError> {
        let state = instance.with(|plugin| plugin.open_table(&schema, &plan))?;
        self.tables.borrow_mut().insert(table, OpenTable { schema, plan, state });
        Ok(())
    }

    /// See the contract's `lifecycle.close-table`.
    pub fn close(&self, table: TableId) {
        self.tables.borrow_mut().remove(&table);
    }

    /// See the contract's `transform.filter`.
    pub fn filter(&self, instance: &Instance<P>, input: &contract::Batch) -> Result<Vec<u8>, PluginError> {
        self.with(instance, input.table, |plugin, open| {
            let batch = Batch::new(input);
            let mut keep = vec![0; batch.len().div_ceil(8)];
            for row in batch.rows() {
                let kept = plugin.keep(&open.state, row).map_err(|failure| {
                    PluginError::Fatal(format!("row {} of the batch: {}", row.index(), failure.message))
                })?;
                if let Some(byte) = keep.get_mut(row.index() / 8) {
                    *byte |= u8::from(kept) << (row.index() % 8);
                }
            }
            Ok(keep)
        })
    }

    /// See the contract's `transform.transform-batch`.
    pub fn transform(
        &self,
        instance: &Instance<P>,
        input: &contract::Batch,
    ) -> Result<contract::BatchOutput, PluginError> {
        self.with(instance, input.table, |plugin, open| {
            let batch = Batch::new(input);
            let mut output = Output::new(&open.schema, &open.plan, batch.len()).ok_or_else(|| {
                PluginError::Fatal("the plan writes a column that does not exist".to_owned())
            })?;
            output.expect(&input.columns);
            plugin.transform_batch(&open.state, &batch, &mut output)?;
            Ok(output.finish())
        })
    }

    fn with<T>(
        &self,
        instance: &Instance<P>,
        table: TableId,
        call: impl FnOnce(&P, &OpenTable<P::Table>) -> Result<T, PluginError>,
    ) -> Result<T, PluginError> {
        let tables = self.tables.borrow();
        let Some(open) = tables.get(&table) else {
            return Err(PluginError::Fatal(format!("table {table} was not opened")));
        };
        instance.with(|plugin| call(plugin, open))
    }
}

impl<P: Transformer> Default for OpenTables<P> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_setting_is_told_by_its_path() {
        let refused = |text: &str| match parsed::<BTreeMap<String, Vec<u8>>>(text) {
            Err(PluginError::InvalidConfig(error)) => error,
            other => panic!("{other:?}"),
        };
        let (path, message) = refused(r#"{"a": [1], "b/c": [1, "two"]}"#);
        assert_eq!(path, "/b~1c/1");
        assert!(message.contains("two") && !message.contains("line"), "{message}");
        assert_eq!(refused("[]").0, "");
    }
}
