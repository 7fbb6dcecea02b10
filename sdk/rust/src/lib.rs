//! Writes plugins of the migration engine: WebAssembly components that decide how tables move from
//! one database to another.
//!
//! A plugin is a crate of type `cdylib` with a type that implements [`Planner`], and one call of
//! [`export_plugin!`]. A planner is asked once per table and answers with a [`TablePlan`]: names,
//! types, conversions, filters, policies. The engine carries that out by itself, so a plugin that
//! only plans costs nothing per row.
//!
//! ```no_run
//! use migration_sdk::{
//!     ColumnMapping, ColumnRule, Description, Endpoint, LogicalType, Planner, PluginError, RunContext, TablePlan,
//!     TableSchema,
//! };
//!
//! /// Puts every table into one schema and stores booleans as text.
//! struct IntoOne {
//!     schema: String,
//! }
//!
//! #[derive(serde::Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Config {
//!     schema: String,
//! }
//!
//! impl Planner for IntoOne {
//!     type Config = Config;
//!
//!     fn describe() -> Description {
//!         Description::new("into-one", env!("CARGO_PKG_VERSION"), "puts every table into one schema")
//!     }
//!
//!     fn configure(_: RunContext, config: Config) -> Result<Self, PluginError> {
//!         Ok(Self { schema: config.schema })
//!     }
//!
//!     fn plan_table(&self, schema: &TableSchema, _: &Endpoint, _: &Endpoint) -> Result<TablePlan, PluginError> {
//!         let mut plan = TablePlan::unchanged(schema);
//!         plan.target.namespace = self.schema.clone();
//!         plan.columns = schema
//!             .columns
//!             .iter()
//!             .map(|column| match column.logical {
//!                 LogicalType::Boolean => ColumnRule::Remap(ColumnMapping {
//!                     target_type: Some("text".to_owned()),
//!                     ops: vec![migration_sdk::NativeOp::ToText],
//!                     ..ColumnMapping::unchanged()
//!                 }),
//!                 _ => ColumnRule::Keep,
//!             })
//!             .collect();
//!         Ok(plan)
//!     }
//! }
//!
//! migration_sdk::export_plugin!(IntoOne);
//! ```
//!
//! with this manifest:
//!
//! ```toml
//! [lib]
//! crate-type = ["cdylib", "rlib"]   # the rlib is for the crate's own tests
//!
//! [dependencies]
//! migration-sdk = { path = "../engine/sdk/rust" }
//! serde = { version = "1", features = ["derive"] }
//! ```
//!
//! `engine plugin build DIRECTORY` makes the component; `engine run --plugin FILE.wasm` takes it.
//!
//! # Row code
//!
//! A [`Transformer`] also sees rows: those columns, and only those, that the plan's
//! `filter_reads` and `transform_reads` name. Rows come as [`batch::Row`] with typed accessors, by
//! position in those lists, and go out through [`output::RowOutput`], by position in
//! `transform_writes`.
//!
//! ```no_run
//! use migration_sdk::batch::Row;
//! use migration_sdk::output::RowOutput;
//! # use migration_sdk::*;
//! # struct Trim;
//! # impl Planner for Trim {
//! #     type Config = NoConfig;
//! #     fn describe() -> Description { Description::new("trim", "1.0.0", "trims notes") }
//! #     fn configure(_: RunContext, _: NoConfig) -> Result<Self, PluginError> { Ok(Self) }
//! fn plan_table(&self, schema: &TableSchema, _: &Endpoint, _: &Endpoint) -> Result<TablePlan, PluginError> {
//!     let mut plan = TablePlan::unchanged(schema);
//!     if let Some(note) = schema.column_index("note") {
//!         plan.calls |= Calls::TRANSFORM;
//!         plan.transform_reads = vec![note];
//!         plan.transform_writes = vec![WriteColumn::Input(note)];
//!     }
//!     Ok(plan)
//! }
//! # }
//! # impl Transformer for Trim {
//! #     type Table = ();
//! #     fn open_table(&self, _: &TableSchema, _: &TablePlan) -> Result<(), PluginError> { Ok(()) }
//!
//! fn transform(&self, _: &(), row: Row<'_>, output: &mut RowOutput<'_>) -> Result<(), RowFailure> {
//!     output.text(0, row.text(0)?.map(str::trim))
//! }
//! # }
//! # export_plugin!(Trim: Transformer);
//! ```
//!
//! A row that can't be carried over is a [`RowFailure`]; the plan's `on_row_error` says whether the
//! task stops or sets the row aside. A panic reaches the engine's log with its message and place,
//! and the row at fault is found by dividing the batch.
//!
//! # Whole columns
//!
//! Rows are read and written through columns, and a plugin may do so itself by overriding
//! [`Transformer::transform_batch`]: [`batch::Batch::column`] reads one, [`output::Output::column`]
//! fills one. What changes every value alike is several times as fast that way.
//!
//! ```no_run
//! use migration_sdk::batch::Batch;
//! use migration_sdk::output::Output;
//! # use migration_sdk::*;
//! # struct Double;
//! # impl Planner for Double {
//! #     type Config = NoConfig;
//! #     fn describe() -> Description { Description::new("double", "1.0.0", "doubles prices") }
//! #     fn configure(_: RunContext, _: NoConfig) -> Result<Self, PluginError> { Ok(Self) }
//! #     fn plan_table(&self, schema: &TableSchema, _: &Endpoint, _: &Endpoint) -> Result<TablePlan, PluginError> {
//! #         Ok(TablePlan::unchanged(schema))
//! #     }
//! # }
//! # impl Transformer for Double {
//! #     type Table = ();
//! #     fn open_table(&self, _: &TableSchema, _: &TablePlan) -> Result<(), PluginError> { Ok(()) }
//!
//! fn transform_batch(&self, _: &(), batch: &Batch<'_>, output: &mut Output) -> Result<(), PluginError> {
//!     let (Some(prices), Some(doubled)) = (batch.column(0), output.column(0)) else {
//!         return Err(PluginError::Fatal("the plan has no price".to_owned()));
//!     };
//!     for row in 0..batch.len() {
//!         doubled.int(prices.int(row)?.map(|price| price * 2))?;
//!     }
//!     Ok(())
//! }
//! # }
//! # export_plugin!(Double: Transformer);
//! ```
//!
//! # What a plugin can rely on
//!
//! There is no operating system: no files, no network, no clock, no random numbers. Time and seed
//! of the run come in [`RunContext`]. An instance may be replaced at any time, so nothing it learnt
//! from earlier rows may matter; what has to survive belongs in [`TablePlan::state`]. [`log`]
//! writes into the engine's log. [`testing`] runs a plugin in its own unit tests.

pub mod batch;
#[doc(hidden)]
pub mod bindings;
mod builder;
mod column;
mod description;
mod export;
mod failure;
#[doc(hidden)]
pub mod instance;
pub mod log;
pub mod mysql;
pub mod output;
mod plan;
mod plugin;
mod schema;
#[doc(hidden)]
pub mod section;
pub mod selection;
pub mod settings;
pub mod temporal;
pub mod testing;

/// What a plan says.
pub use bindings::exports::migration::plugin::planning;
/// Shared vocabulary of the contract: schemas, types, vectors, errors.
pub use bindings::migration::plugin::types;

pub use bindings::exports::migration::plugin::conflicts::{RowConflict, RowResolution};
pub use bindings::exports::migration::plugin::ddl::{DdlAction, DdlEvent};
pub use bindings::exports::migration::plugin::lifecycle::{Description, RunContext};
pub use bindings::exports::migration::plugin::objects::{
    DatabaseObject, ObjectAction, ObjectDefiner, ObjectMapping,
};
pub use failure::RowFailure;
pub use planning::{
    Calls, ColumnMapping, ColumnRule, ConflictPolicy, Disposition, ExtraColumn, ExtraSource, Finding,
    NativeOp, RowErrorPolicy, Severity, TablePlan, TargetTable, WriteColumn,
};
pub use plugin::{ConflictResolver, DdlMapper, NoConfig, ObjectMapper, Planner, Transformer};
pub use types::{ColumnSchema, Endpoint, LogicalType, PluginError, Scalar, TableId, TableSchema};
