//! The end of a task: its source takes no more writes, and its target has everything.

use serde::{Deserialize, Serialize};

use crate::position::Position;

/// Whether a source takes writes, and what brings that about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteState {
    /// Whether writes are refused.
    pub frozen: bool,
    /// The setting, in the connector's own words.
    pub setting: String,
    /// The statement that makes it so, for a person to run.
    pub statement: String,
}

/// A task that was cut over, as the target has it on record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutOver {
    /// Task.
    pub task: String,
    /// The target has exactly what the source had here.
    pub position: Position,
    /// Where the way back begins in the target's own log, when it was asked for.
    #[serde(default)]
    pub way_back: Option<Position>,
    /// How the source was before its writes were forbidden; `None` when nobody did that.
    pub before: Option<WriteState>,
    /// Milliseconds since 1970.
    pub at_ms: u64,
}
