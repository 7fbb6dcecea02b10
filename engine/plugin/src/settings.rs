//! What a plugin is told before anything else.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

use crate::bindings::contract::lifecycle;

/// All that would otherwise be ambient to a plugin. Kept with the task, so that a task that goes on
/// later shows its plugins the same world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunContext {
    /// Names the run.
    pub run_id: String,
    /// The plugin's clock: microseconds since 1970 at the start of the task.
    pub started_at_us: i64,
    /// The plugin's entropy.
    pub seed: u64,
    /// Open-ended facts.
    pub attributes: Vec<(String, String)>,
}

/// How the instances of one plugin are configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The world it sees.
    pub context: RunContext,
    /// JSON text of an object; empty = none given.
    pub config: String,
    /// Where that stands, for whoever has to correct it.
    pub place: Option<ConfigPlace>,
}

/// Where the configuration of a plugin stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigPlace {
    /// The file.
    pub file: PathBuf,
    /// The section in it, as in `plugin.mysql2og`.
    pub section: String,
}

impl RunContext {
    pub(crate) fn to_wit(&self) -> lifecycle::RunContext {
        lifecycle::RunContext {
            run_id: self.run_id.clone(),
            started_at_us: self.started_at_us,
            seed: self.seed,
            attributes: self.attributes.clone(),
        }
    }
}
