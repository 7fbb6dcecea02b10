//! What is stored.

use serde::{Deserialize, Serialize};

use crate::compose::Composed;

/// What plugins get in place of a clock and of chance; the same for the whole life of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunContext {
    /// Names the task.
    pub run_id: String,
    /// When the task was begun, microseconds since 1970.
    pub started_at_us: i64,
    /// Derived from the task's name.
    pub seed: u64,
}

/// A plugin that the task was begun with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginRecord {
    /// Its name, by its own account.
    pub name: String,
    /// Its version, by its own account.
    pub version: String,
    /// SHA-256 of the file, in hexadecimal.
    pub digest: String,
    /// Its configuration as JSON; empty when none was given.
    pub config: String,
}

/// The plan that a task was begun with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskPlanRecord {
    /// Digest over plugins, configuration and tables.
    pub digest: String,
    /// The chain.
    pub plugins: Vec<PluginRecord>,
    /// What plugins were told.
    pub context: RunContext,
    /// The tables, with the structure that they had on the source.
    pub tables: Vec<Composed>,
}
