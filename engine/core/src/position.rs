//! A place in a source's change stream.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A source's own coordinate, as text that only its connector reads. Two positions are compared
/// by [`Source::covers`](crate::source::Source::covers), never as text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position(pub String);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a read of the source is known to contain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watermarks {
    /// Every transaction in `low` was visible to the read.
    pub low: Position,
    /// No transaction beyond `high` was visible to it.
    pub high: Position,
}
