//! What a task will ask of a server, for a look ahead.

use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Needs {
    /// Connections open at the same time, at most.
    pub connections: u64,
    /// Bytes of data to move, by the source's statistics.
    pub bytes: Option<u64>,
    /// Whether changes are to be followed.
    pub online: bool,
    /// Whether objects other than tables are planned, and so told of elsewhere.
    pub objects_planned: bool,
}
