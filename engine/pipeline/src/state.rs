//! A task's directory: `<state-dir>/<task>/` with a lock, the store, the status file and the
//! dead-letter file.
//!
//! The target has the truth about a task. What is kept here is what the target can't say: the plan
//! in full, so that a change of plan can be explained, and the structures that the source's tables
//! had, by which old events are read.

mod context;
mod directory;
mod envelope;
mod records;
mod status;
mod store;

pub use context::{BegunWith, context, write_context};
pub use directory::{TaskDirectory, dead_letters, is_known, unknown_task};
pub use records::{PluginFile, PluginRecord, RunContext, TaskPlanRecord};
pub use status::{status, write_status};
pub use store::Store;
