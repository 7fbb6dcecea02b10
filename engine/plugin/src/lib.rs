//! Hosts plugins: WebAssembly components that speak the contract in `wit/`.
//!
//! A [`PluginEngine`] compiles files to [`Plugin`]s and says precisely why a file is none. A
//! [`Control`] asks one plugin for plans and decisions, [`Workers`] run its row functions over columns
//! on threads of their own. A plugin can reach its log and nothing else, has a bounded amount of memory and CPU time, and can't take the engine
//! down: what it does wrong comes back as an error, or as the one row at fault.

mod bindings;
mod control;
mod convert;
mod deadline;
mod engine;
mod failure;
mod host;
mod inspect;
mod instance;
mod isolate;
mod opened;
mod plugin;
mod row_calls;
mod settings;
mod validate;
mod worker;
mod workers;

pub use control::{Control, DdlAction, DdlEvent, RowConflict, RowResolution};
pub use engine::{Limits, PluginEngine};
pub use inspect::{CONTRACT_VERSION, Interfaces};
pub use plugin::{Description, Plugin};
pub use settings::{ConfigPlace, RunContext, Settings};
pub use workers::{Filtered, Origin, RowError, Transformed, Workers};
