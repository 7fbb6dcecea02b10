//! x
#[doc(hidden)]
pub mod bindings;
pub mod batch;
mod export;
mod failure;
#[doc(hidden)]
pub mod instance;
pub mod log;
pub mod output;
mod plan;
mod plugin;
#[doc(hidden)]
pub mod section;
pub mod temporal;

/// Shared vocabulary of the contract: schemas, types, vectors, errors.
pub use bindings::migration::plugin::types;
/// What a plan says.
pub use bindings::exports::migration::plugin::planning;

pub use bindings::exports::migration::plugin::conflicts::{RowConflict, RowResolution};
pub use bindings::exports::migration::plugin::ddl::{DdlAction, DdlEvent};
pub use bindings::exports::migration::plugin::lifecycle::{Description, RunContext};
pub use failure::RowFailure;
pub use planning::{
    Calls, ColumnMapping, ColumnRule, ConflictPolicy, Disposition, ExtraColumn, ExtraSource, Finding, NativeOp,
    RowErrorPolicy, Severity, TablePlan, TargetTable, WriteColumn,
};
pub use plugin::{ConflictResolver, DdlMapper, NoConfig, Planner, Transformer};
pub use types::{ColumnSchema, Endpoint, LogicalType, PluginError, Scalar, TableId, TableSchema};
