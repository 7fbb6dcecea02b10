//! The crash campaign: somebody keeps writing to a source while the engine follows it, and everything that can break is
//! broken at random, again and again. After each round both sides are compared row by row.
//!
//! What is random comes from a seed: the kinds and the moments of faults, and the writers' transactions. How they meet
//! is up to the machine, so that a seed makes a failure likely, not certain, to come again.

mod back;
mod campaign;
mod changes;
mod chaos;
mod distributed;
mod fault;
mod supervisor;
mod tables;
mod writers;

pub use campaign::{Campaign, Direction, Options, Tally};
pub use fault::Fault;
pub use tables::DATABASE;
pub use writers::Written;
